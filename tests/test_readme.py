"""The README agrees with the pipeline and its results."""

import io
import json
import re
import subprocess
import textwrap
from pathlib import Path

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
    datasets = {*re.findall(r"\bdataset=([\w-]+)", text)} - {"my-mix"}
    assert {"new-train", "combo-v2"} <= datasets <= {*file.datasets}
    assert {*re.findall(r"\bscale=([\w-]+)", text)} == {"paper"} <= {*file.scales}
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


def test_the_statements_of_the_readme_about_the_table_are_true():
    text = re.sub(r"\s+", " ", committed("README.md"))
    table = pd.read_csv(io.StringIO(committed("results/ablation.csv"))).set_index("dataset")
    combo, re_arc = table.loc["combo-v2"], table.loc["re-arc"]
    metrics = json.loads(committed("results/metrics.json"))
    assert "on either dataset lowers the loss below that of the untrained model" in text
    assert "and `combo-v2` lowers it further" in text
    assert combo["best_val_loss"] < re_arc["best_val_loss"] < metrics["val_loss_step_0"]
    assert "`combo-v2` contains solved pairs of the validation tasks" in text
    assert (combo["uses_validation_demonstrations"], re_arc["uses_validation_demonstrations"]) == (
        1,
        0,
    )
    assert "each dataset ran with one seed" in text
    assert {*table["seeds"]} == {1}
    assert "No task is solved" in text
    assert {*table["selected_2"], *table["pass_n"]} == {0}
    assert "40 steps of a model of 135M parameters on 24 short tasks" in text
    assert (metrics["steps"], metrics["val_tasks"], combo["model"]) == (40, 24, "smollm2-135m")
    assert f"a validation loss of {metrics['val_loss']:.4f} on an AMD EPYC" in text
    counts = json.loads(committed("results/partition.json"))["tasks"]
    assert "all of ARC-AGI-1 without the 100 validation tasks: 700 tasks" in text
    assert (counts["validation"], counts["new-train"]) == (100, 700)


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
