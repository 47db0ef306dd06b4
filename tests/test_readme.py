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
from tools import arc24

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


def test_the_statements_of_the_readme_about_the_table_are_true():
    text = re.sub(r"\s+", " ", committed("README.md"))
    study = check.check_file(ROOT / "params.yaml").studies["published"]
    table = pd.read_csv(io.StringIO(committed("results/ablation.csv"))).to_dict("records")
    lines = {line["dataset"]: line for line in arc24.chosen(table, study)}
    name = f"results/ledger/combo-v2/0-{lines['combo-v2']['fingerprint']}.json"
    combo = json.loads(committed(name))
    metrics, parts = combo["metrics"], combo["mix"]["components"]
    theirs = pd.read_csv(ROOT / "docs/arc24.csv").set_index("dataset")["best_val_loss"]
    ours = [lines[dataset]["best_val_loss"] for dataset in theirs.index]
    runs = arc24.ran([*lines.values()], study)
    device = combo["machines"]["finetune"]["device"].replace("(R)", "").removesuffix(" Processor")
    worse = [f"`{name}`" for name, one in lines.items() if one["verdict"].startswith("worse")]
    claims = {
        f"lowers the loss per answer token, which is {metrics['val_loss_step_0']:.4f} without": (
            max(line["best_val_loss"] for line in lines.values()) < metrics["val_loss_step_0"]
        ),
        f"Certainly worse than `new-train`: {', '.join(worse)}.**": True,
        "**No dataset is certainly better.** Only a second stage of training on `new-train`": (
            not any(line["verdict"].startswith("better") for line in lines.values())
        ),
        "is, with twice the steps and two seeds": (
            [line["start"].split("/")[0] for line in table if line["verdict"].startswith("better")]
            == ["new-train"]
        ),
        "the loss falls by 0.013 ± 0.012 nats per cell for each doubling, from 70 tasks to 700": (
            "falls by 0.013 ± 0.012 with each doubling of the tasks, from 70 to 700;"
            in committed("results/study.html")
        ),
        f"The study `published` has {len(study.datasets)} datasets with {len(study.seeds)} seeds": (
            runs == len(study.datasets) * len(study.seeds)
        ),
        "The order of the losses resembles that of": (
            arc24.correlation(np.array(ours), theirs.to_numpy())[1] < 0.05
        ),
        "`val-n-1` and `combo-v2` contain solved pairs of the validation tasks": (
            {dataset for dataset, line in lines.items() if line["uses_validation_demonstrations"]}
            == {"val-n-1", "combo-v2"}
        ),
        "No task is solved": {line["pass_n"] for line in lines.values()} == {0},
        "80 steps of a model of 135M parameters on 24 short tasks": (
            (metrics["steps"], metrics["val_tasks"]) == (80, 24)
        ),
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
