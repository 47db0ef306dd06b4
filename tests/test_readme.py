"""The README agrees with the pipeline and its results."""

import io
import json
import re
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from arcmix.config import check
from arcmix.tasks import Pair
from arcmix.text.encode import Encoder
from arcmix.text.prompt import Style, render

ROOT = Path(__file__).parents[1]


def committed(name: str) -> str:
    """Return the committed content of a file, because runs of a user change the table."""
    command = ["git", "show", f"HEAD:{name}"]
    return subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8"
    ).stdout


def test_the_readme_shows_the_committed_table():
    [shown] = re.findall(r"<!-- table -->\n(.*)<!-- end -->", committed("README.md"), re.DOTALL)
    assert shown == committed("results/ablation.md"), "run: make readme"


def test_every_dataset_and_stage_that_the_readme_names_exists():
    text = (ROOT / "README.md").read_text()
    file = check.check_file(ROOT / "params.yaml")
    datasets = {*re.findall(r"\bdataset=([\w-]+)", text)} - {"my-mix", "my-tasks"}
    assert {"new-train", "combo-v2"} <= datasets <= {*file.datasets}
    assert {*re.findall(r"\bscale=([\w-]+)", text)} == {"gpu", "paper"} <= {*file.scales}
    chain = re.search(r"code → .*?ablation", text, re.DOTALL)
    assert chain is not None
    stages = [*YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]]
    assert re.findall(r"\w+", chain[0]) == [
        stage for stage in stages if not stage.startswith("fetch")
    ]


def test_the_picture_of_the_pipeline_shows_every_stage():
    picture = (ROOT / "docs/pipeline.svg").read_text()
    shown = re.findall(r'class="name">(\w+)<', picture)
    assert {*shown} == {*YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]}
    assert len(shown) == len({*shown})


def row(dataset: str) -> dict[str, Any]:
    """Return the run that the first line of a dataset in the committed table is about."""
    table = pd.read_csv(io.StringIO(committed("results/ablation.csv")))
    chosen = table["dataset"].eq(dataset) & table["scale"].eq("quick")
    line = table[chosen & table["model"].eq("smollm2-135m")].iloc[0]
    found = json.loads(committed(f"results/ledger/{dataset}/0-{line['fingerprint']}.json"))
    return found | {"seeds": int(line["seeds"])}


def test_the_statements_of_the_readme_about_the_table_are_true():
    text = re.sub(r"\s+", " ", committed("README.md"))
    combo, plain, small = row("combo-v2"), row("new-train"), row("train")
    ran = combo, plain, small
    losses = [one["metrics"]["best_val_loss"] for one in ran]
    uses = [one["mix"]["uses_validation_demonstrations"] for one in ran]
    published = check.check_file(ROOT / "params.yaml").studies["published"]
    metrics, parts = combo["metrics"], combo["mix"]["components"]
    size = metrics["steps"], metrics["val_tasks"]
    device = combo["machines"]["finetune"]["device"].replace("(R)", "").removesuffix(" Processor")
    claims = {
        "on any of these datasets lowers the loss below that of the untrained model": (
            max(losses) < metrics["val_loss_step_0"]
        ),
        "and `combo-v2` lowers it most": losses[0] == min(losses),
        "`combo-v2` contains solved pairs of the validation tasks": uses == [True, False, False],
        "each dataset ran with one seed": {one["seeds"] for one in ran} == {1},
        "has eight more datasets and two more seeds": (
            len({*published.datasets} - {"combo-v2", "new-train", "train"}),
            len(published.seeds),
        )
        == (8, 3),
        "No task is solved": {one["metrics"]["pass_n"] for one in ran} == {0},
        "80 steps of a model of 135M parameters on 24 short tasks": size == (80, 24),
        f"a validation loss of {metrics['val_loss']:.4f} on an {device} with AVX-512": (
            "AVX512" in combo["machines"]["finetune"]["instructions"]
        ),
        "all of ARC-AGI-1 without the 100 validation tasks: 700 tasks": (
            [part["tasks"] for part in parts] == [700, 100]
        ),
    }
    assert [claim for claim in claims if claim not in text] == [], "not in README.md any more"
    assert [claim for claim, true in claims.items() if not true] == [], "correct README.md"


def test_the_prompt_of_the_readme_has_the_default_format():
    text = (ROOT / "README.md").read_text()
    [(shown, answer)] = re.findall(
        r"<!-- prompt -->\n(.*)<!-- answer -->\n(.*)<!-- prompt end -->", text, re.DOTALL
    )
    settings = check.check_file(ROOT / "params.yaml").scales["quick"].prompt
    encoder = Encoder(settings.encoder)
    style = Style(settings.format, encoder, lambda _: "", "<end>", "answer")
    inputs = [encoder.decode(cells) for cells in ("120\n000", "003\n040", "500\n607")]
    pairs = [Pair(grid, np.fliplr(grid)) for grid in inputs if grid is not None]
    *train, test = pairs

    found = render(style, train, test.input, test.output)

    assert textwrap.dedent(shown) == found.prompt
    assert textwrap.dedent(answer) == found.answer.removesuffix("<end>") + "\n"


def test_the_architecture_names_every_module():
    text = (ROOT / "docs/architecture.md").read_text()
    modules = {file.stem for file in (ROOT / "src/arcmix").rglob("*.py")} - {"__init__"}
    assert [name for name in sorted(modules) if f"`{name}`" not in text] == []
