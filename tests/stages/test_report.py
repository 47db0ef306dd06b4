import json
import re
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from arcmix import files, tasks
from arcmix.config import schema
from arcmix.scoring import evaluation
from arcmix.scoring.metrics import HEADLINE
from arcmix.tasks import Pair, Task
from stages import report
from tests.answers import PLAIN

TRUTH = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
CLOSE = np.array([[1, 2, 3], [4, 0, 6]], np.uint8)
FAR = np.array([[7, 7]], np.uint8)
SHOWN = Pair(TRUTH.T, FAR)

# The id of the second task must stay a text.
TASKS = [
    Task("b", "s", "e", 0, (SHOWN,), (Pair(FAR, TRUTH), Pair(FAR, TRUTH))),
    Task("00000001", "s", "e", 0, (SHOWN, SHOWN), (Pair(TRUTH, TRUTH),)),
]


def candidate(
    task: str, test: int, view: int, rank: int, grid: np.ndarray | None, logprob: float
) -> dict[str, Any]:
    height, width = (None, None) if grid is None else grid.shape
    return {
        "task": task,
        "test": test,
        "view": view,
        "rank": rank,
        "grid": None if grid is None else grid.reshape(-1),
        "height": height,
        "width": width,
        "logprob": logprob,
        "tokens": 0 if grid is None else 4,
        "ended": grid is not None,
    }


CANDIDATES = [
    candidate("b", 0, 0, 0, FAR, -1.0),
    candidate("b", 0, 0, 1, CLOSE, -2.0),
    candidate("b", 0, 1, 0, TRUTH, -3.0),
    candidate("b", 1, 0, 0, None, 0.0),
    candidate("b", 1, 1, 0, FAR, -1.0),
    candidate("00000001", 0, 0, 0, None, 0.0),
    candidate("00000001", 0, 1, 0, None, 0.0),
]
SCORES = [
    ("b", 0, 0, 0, -9.0, 4),
    ("b", 0, 0, 1, -9.5, 4),
    ("b", 0, 2, 0, -1.0, 4),
    ("b", 0, 2, 1, -1.25, 4),
]
COLUMNS = ["task", "test", "candidate", "view", "logprob", "tokens"]


def run(
    folder: Path,
    selection: str = "vote_logprob",
    scores: list[tuple] | None = None,
    budget: int = 1,
    adapter: str = "none",
) -> dict[str, Path]:
    """Write the files of a run and its report, and return the paths."""
    names = ("validation", "candidates", "scores", "table", "metrics", "page", "figure")
    paths = {name: folder / f"{name}.png" for name in names}
    tasks.write(paths["validation"], TASKS)
    answers = pd.DataFrame(CANDIDATES).astype({"height": "UInt8", "width": "UInt8"})
    files.write_parquet(paths["candidates"], answers)
    files.write_parquet(paths["scores"], pd.DataFrame(scores or [], columns=COLUMNS))
    shares = dict.fromkeys(evaluation.TASK_COLUMNS, 0.5)
    table = {"task": ["b", "00000001"], "tests": [2, 1], "clean": [1, 0]} | shares
    table |= {"val_loss": [None, 0.5], "answering_loss_per_cell": [None, 0.5]}
    files.write_csv(paths["table"], pd.DataFrame(table))
    scores_ = [f"{name}{end}" for name in HEADLINE for end in ("", "_low", "_high")]
    files.write_json(paths["metrics"], dict.fromkeys([*scores_, "metrics_version"], 0.5))
    names = {"dataset": "mix", "model": "tiny", "scale": "quick", "seed": 3}
    given = schema.load(Path(__file__).parents[2] / "params.yaml", report.Params).model_dump()
    changed = names | {"selection": selection, "predict": PLAIN | {"views": 2}}
    changed["init"] = given["init"] | {"adapter": adapter}
    changed["finetune"] = given["finetune"] | {"budget": budget}
    config = report.Params.model_validate(given | changed)
    report.run(config=config, **paths)
    return paths


def shown(page: Path) -> dict[str, Any]:
    """Return the data of each task in a page."""
    [found] = re.findall(
        '<script type="application/json" id="data">(.*)</script>', page.read_text()
    )
    return {task["id"]: task for task in json.loads(found)["tasks"]}


def grids(test: dict[str, Any]) -> list[str]:
    return [answer[0] for answer in test["answers"]]


def test_run_shows_the_answers_to_each_task_and_its_loss(tmp_path: Path) -> None:
    found = shown(run(tmp_path)["page"])
    assert [*found] == ["b", "00000001"]
    assert [found[task]["loss"] for task in found] == [None, 0.5]
    assert [found[task]["status"] for task in found] == ["unsolved", "unanswered"]
    first, second = found["b"]["tests"]
    assert (grids(first), first["asked"]) == (["77", "/406", "/"], 3)
    assert (grids(second), second["asked"]) == (["77"], 2)
    assert [test["answers"] for test in found["00000001"]["tests"]] == [[]]


def test_run_ranks_by_the_selection(tmp_path: Path) -> None:
    found = shown(run(tmp_path, "product", SCORES)["page"])
    first, _ = found["b"]["tests"]
    assert grids(first) == ["/", "77", "/406"]
    assert [answer[3] for answer in first["answers"]] == [-2.25, -18.5, None]
    assert found["b"]["status"] == "partly"


def test_the_page_of_a_run_that_trains_nothing_says_so(tmp_path: Path) -> None:
    text = run(tmp_path, budget=0)["page"].read_text()
    assert "<h1>untrained, tiny at quick, seed 3</h1>" in text
    text = run(tmp_path, budget=0, adapter="re-arc/0-0123")["page"].read_text()
    assert "<h1>untrained ← re-arc/0-0123, tiny at quick, seed 3</h1>" in text


def test_the_page_names_the_run(tmp_path: Path) -> None:
    text = run(tmp_path)["page"].read_text()
    assert "<h1>mix, tiny at quick, seed 3</h1>" in text
    assert "The answers to 2 validation tasks, ranked by vote_logprob." in text
    assert "<li>selected_2 <b>0.500 (0.500 to 0.500)</b></li>" in text
    for setting in ("selection vote_logprob", "predict.views 2", "finetune.lora.rank 32"):
        assert f"<li>{setting}</li>" in text


def test_run_writes_the_figure_of_the_best_and_the_worst(tmp_path: Path) -> None:
    image = matplotlib.image.imread(run(tmp_path)["figure"])
    # The figure has one row of the best tasks and one of the worst.
    assert image.shape[:2] == (750, 2400)


def test_equal_files_give_equal_bytes(tmp_path: Path) -> None:
    first, again = run(tmp_path / "first"), run(tmp_path / "again")
    for name in ("page", "figure"):
        assert first[name].read_bytes() == again[name].read_bytes()


def test_run_refuses_scores_of_another_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'c', 0.* is not a validation task and one of its tests"):
        run(tmp_path, scores=[("c", 0, 0, 0, -1.0, 4)])


def test_a_browser_opens_the_page(tmp_path: Path, browse) -> None:
    browser = browse(run(tmp_path)["page"].rename(tmp_path / "report.html"))
    assert browser.find_element("id", "shown").text == "2 of 2 tasks"
