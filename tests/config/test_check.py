import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from arcmix.config import check

ROOT = Path(__file__).parents[2]


@pytest.fixture
def edited(tmp_path: Path):
    """Return a writer of the project's params.yaml with one value changed."""

    def edit(place: str, value: Any) -> Path:
        yaml = YAML(typ="safe")
        values = yaml.load(ROOT / "params.yaml")
        node, *steps = values, *place.split("/")
        for step in steps[:-1]:
            node = node[int(step) if isinstance(node, list) else step]
        node[steps[-1]] = value
        path = tmp_path / "params.yaml"
        yaml.dump(values, path)
        return path

    return edit


def test_check_takes_the_file_of_the_project() -> None:
    found = check.check_file(ROOT / "params.yaml")

    assert found.dataset in found.datasets
    assert "qwen2-0.5b-instruct" in found.models


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ("dataset", "1d-arc"),
        ("model", "qwen2-0.5b-instruct"),
        ("scale", "paper"),
    ],
)
def test_check_takes_every_kind_of_name(edited, choice: str, name: str) -> None:
    assert getattr(check.check_file(edited(choice, name)), choice) == name


@pytest.mark.parametrize(
    ("choice", "typo", "meant"),
    [
        ("dataset", "combo2", "combo-v2"),
        ("model", "qwen2-0.5b-instrct", "qwen2-0.5b-instruct"),
        ("scale", "quik", "quick"),
    ],
)
def test_check_answers_a_typo_with_the_names(edited, choice: str, typo: str, meant: str) -> None:
    message = (
        rf"params.yaml: {choice}: '{re.escape(typo)}' is not one of \[.*'{re.escape(meant)}'.*\];"
        rf" did you mean '{re.escape(meant)}'\?; choose with: dvc exp run -S {choice}=NAME$"
    )

    with pytest.raises(ValueError, match=message):
        check.check_file(edited(choice, typo))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        pytest.param("sed", 1, "sed: Extra inputs are not permitted, got 1", id="name"),
        pytest.param(
            "datasets/v2.1",
            [],
            "a name is of letters, digits, -, _ and +, got 'v2.1' in datasets;",
            id="dot",
        ),
        pytest.param(
            "datasets/7", [], "datasets.7: Tuple should have at least 1 item", id="no-component"
        ),
        pytest.param("scales/a b", {}, "got 'a b' in scales;", id="space"),
        pytest.param("models", {7: {}}, "got 7 in models;", id="number"),
        pytest.param(
            "models/tiny/heads",
            3,
            "models.tiny: 2 * heads divides hidden, got 3 for 32",
            id="heads",
        ),
        pytest.param(
            "models/new",
            {"repository": "a/b"},
            "models.new: Unable to extract tag using discriminator 'kind'",
            id="kind",
        ),
        pytest.param(
            "models/new-1",
            {"5b": {"kind": "folder"}},
            "models.new-1.5b.path: Field required",
            id="nested",
        ),
        pytest.param(
            "datasets/train/0/tasks",
            "concept",
            "tasks of datasets.train: 'concept' is not one of ['1d-arc', ",
            id="table",
        ),
        pytest.param(
            "partition/source",
            "re-arc",
            "partition.source: 're-arc' is not one of ['arc-agi-1', 'arc-agi-1-github']",
            id="source",
        ),
        pytest.param(
            "measure/source",
            "re-arc",
            "measure.source: 're-arc' is not one of ['1d-arc', 'arc-agi-1', 'arc-agi-1-github',"
            " 'arc-agi-2', 'concept-arc', 'mini-arc']; did you mean",
            id="measured-source",
        ),
        pytest.param(
            "measure/part",
            "training",
            "measure.part of arc-agi-1: 'training' is not one of ['evaluation', 'new-train',"
            " 'train', 'val-n-1', 'validation']",
            id="measured-part",
        ),
        pytest.param(
            "measure/part",
            "val-demonstrations",
            "'val-demonstrations' is not one of ['evaluation', ",
            id="without-tests",
        ),
        pytest.param(
            "measure",
            {"source": "concept-arc", "part": "validation"},
            "measure.part of concept-arc: 'validation' is not one of ['all', 'corpus', 'minimal'];"
            " for that, set measure.source to arc-agi-1",
            id="measured-elsewhere",
        ),
        pytest.param(
            "partition/source",
            "arc-agi-1-github",
            "measure.part of arc-agi-1: 'validation' is not one of ['all', 'evaluation',"
            " 'training']; did you mean 'evaluation'?; for that, set measure.source to"
            " arc-agi-1-github",
            id="measured-with-another-partition",
        ),
        pytest.param(
            "init",
            {"adapter": "re-arc/0-123", "checkpoint": "best", "optimizer": "state"},
            "init: the optimizer's state is kept for the last step: set checkpoint to last, or"
            " optimizer to fresh, got best and state",
            id="init",
        ),
        pytest.param(
            "selection",
            "votes",
            "selection: Input should be 'vote', 'vote_logprob', 'product' or 'best', got 'votes'",
            id="selection",
        ),
        pytest.param(
            "scales/quick/validation/tasks",
            101,
            "scales.quick.validation.tasks is 101, more than the 100 of partition.tasks",
            id="validation",
        ),
    ],
)
def test_check_refuses(edited, place: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check.check_file(edited(place, value))


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("arc-agi-1", "train"),
        ("arc-agi-1", "val-n-1"),
        ("arc-agi-1-github", "training"),
        ("concept-arc", "corpus"),
        ("1d-arc", "all"),
    ],
)
def test_check_takes_every_part_of_tasks(edited, source: str, part: str) -> None:
    found = check.check_file(edited("measure", {"source": source, "part": part}))

    assert (found.measure.source, found.measure.part) == (source, part)


def test_a_larger_part_may_measure_more_tasks_than_are_drawn(edited) -> None:
    path = edited("scales/quick/validation/tasks", 400)
    path.write_text(path.read_text().replace("part: validation", "part: train"))

    assert check.check_file(path).scales["quick"].validation.tasks == 400


def test_check_refuses_a_pool_without_swap(edited) -> None:
    path = edited("datasets/combo-v2/0/pool", value=True)
    check.check_file(path)
    path.write_text(path.read_text().replace("swap: true", "swap: false"))

    with pytest.raises(ValueError, match=r"datasets\.combo-v2 draws from a pool, which is what"):
        check.check_file(path)


def test_check_refuses_the_product_without_scores(edited) -> None:
    path = edited("selection", "product")
    text = path.read_text()
    none, some = (re.sub(r"rescore: \d+", f"rescore: {count}", text) for count in (0, 2))
    path.write_text(some)
    check.check_file(path)

    path.write_text(none)
    with pytest.raises(
        ValueError,
        match=r"selection product goes by scores, and scales\.\w+\.predict\.rescore is 0; set it",
    ):
        check.check_file(path)


def test_check_refuses_a_source_named_as_a_table_of_the_partition(edited) -> None:
    generator = YAML(typ="safe").load(ROOT / "params.yaml")["sources"]["re-arc"]

    with pytest.raises(ValueError, match=r"the partition draws tables \['train'\]"):
        check.check_file(edited("sources/train", generator))


@pytest.mark.parametrize("choice", ["datasets", "models", "sources", "partition"])
def test_check_refuses_a_map_that_is_none(edited, choice: str) -> None:
    with pytest.raises(ValueError, match=rf"params.yaml: {choice}: Input should be .*, got 'x'"):
        check.check_file(edited(choice, "x"))
