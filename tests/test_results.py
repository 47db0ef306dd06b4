"""docs/results.md agrees with the ledger, with the page of the study and with arc24's table."""

import html
import io
import json
import re
import statistics
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from arcmix.config import check
from arcmix.ledger import noise
from tests.test_readme import committed
from tools import arc24

ROOT = Path(__file__).parents[1]
STUDY = check.check_file(ROOT / "params.yaml").studies["published"]
PAGE = "docs/results.md"


@pytest.fixture(scope="module")
def table():
    """Return the lines of the committed table."""
    return pd.read_csv(io.StringIO(committed("results/ablation.csv"))).to_dict("records")


@pytest.fixture(scope="module")
def lines(table):
    """Return the lines of the study, by dataset."""
    return {line["dataset"]: line for line in arc24.chosen(table, STUDY)}


@pytest.fixture(scope="module")
def shown():
    """Return the text of the committed page of the study."""
    return plain(html.unescape(re.sub(r"<[^>]+>", " ", committed("results/study.html"))))


def plain(text):
    """Return a text with single spaces."""
    return re.sub(r"\s+", " ", text).strip()


@pytest.fixture(scope="module")
def rows(lines):
    """Return the committed rows of these lines."""
    names = subprocess.run(
        ["git", "ls-files", "results/ledger"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    ran = {(name, line["code"], line["fingerprint"]) for name, line in lines.items()}
    found = [json.loads(committed(name)) for name in names]
    return [one for one in found if (one["dataset"], one["code"], one["fingerprint"]) in ran]


def test_the_comparison_is_that_of_the_committed_table(lines):
    theirs = pd.read_csv(ROOT / "docs/arc24.csv").set_index("dataset").to_dict("index")
    made = arc24.compared([*lines.values()], theirs, STUDY)
    found = arc24.PLACE.search(committed(PAGE))
    assert found is not None
    assert found[0] == f"<!-- arc24 -->\n{made}<!-- end -->", "run: make arc24"


QUOTE = re.compile(r"^> .*(?:\n> .*)*$", re.MULTILINE)
"""Pattern of a quotation from the page of the study."""

NOISE = re.compile(r"^\| `(seed|init_seed|partition\.seed)` \|(.*)\|$", re.MULTILINE)
"""Pattern of a line of the table of the noise."""


def test_what_the_page_quotes_is_in_the_page_of_the_study(shown):
    found = [
        plain(one.replace("\n> ", " ").removeprefix("> ")) for one in QUOTE.findall(committed(PAGE))
    ]
    assert found
    assert [one for one in found if one not in shown] == []


def test_the_table_of_the_noise_is_that_of_the_page_of_the_study(shown):
    found = NOISE.findall(committed(PAGE))
    assert [name for name, _ in found] == [*noise.FACTORS]
    for name, cells in found:
        assert plain(f"{name} {cells.replace('|', ' ')}") in shown


def test_each_loss_of_the_page_is_in_the_ledger(table, rows):
    text = NOISE.sub("", QUOTE.sub("", arc24.PLACE.sub("", committed(PAGE))))
    numbers = pd.DataFrame(table).select_dtypes("number").abs()
    known = {*numbers.to_numpy().flat}
    known |= {row["metrics"]["val_loss_step_0"] for row in rows}
    known |= {abs(line["baseline_difference_high"] - line["baseline_difference"]) for line in table}
    shown = {f"{value:.{places}f}" for value in known for places in (3, 4)}
    chance = re.findall(r"Chance alone: .*?cell\.", committed("results/ablation.md"), re.DOTALL)
    shown |= {*re.findall(r"\d\.\d{3}", " ".join(chance))}
    stated = re.findall(r"\b\d\.\d{3,4}\b", text)
    assert stated
    assert [one for one in stated if one not in shown] == []


def by(line):
    """Return the difference of a line from its baseline, in words."""
    mean = line["baseline_difference"]
    half = line["baseline_difference_high"] - mean
    return f"{'lower' if mean < 0 else 'higher'} by {abs(mean):.3f} ± {half:.3f}"


def test_the_statements_of_the_page_are_true(table, lines, rows, shown):
    text = re.sub(r"\s+", " ", committed(PAGE))
    metrics = [row["metrics"] for row in rows]
    tokens = [line["answer_tokens"] for line in lines.values()]
    losses = {name: line["best_val_loss"] for name, line in lines.items()}
    uses = {name for name, line in lines.items() if line["uses_validation_demonstrations"]}
    start = {one["val_loss_step_0"] for one in metrics}
    verdicts = {name: line["verdict"].split()[0] for name, line in lines.items()}
    unclear = [one["verdict"] for one in lines.values() if one["verdict"].startswith("cannot tell")]
    stages = {line["start"].split("/")[0]: line for line in table if line["start"] != "none"}
    [tenth] = [line for line in table if line["differs"] == "new-train.subset=10%"]
    alone = {
        row["seed"]: row["metrics"]["answering_loss_per_cell"]
        for row in rows
        if row["dataset"] == "new-train"
    }
    compared = [
        line
        for line in table
        if line["code"] == lines["new-train"]["code"]
        and not line["uses_validation_demonstrations"]
        and line["baseline_difference"] == line["baseline_difference"]  # not missing
    ]
    last = [line["best_val_step"] == line["last_step"] for line in lines.values()]
    claims = {
        "All 33 runs are done": arc24.ran([*lines.values()], STUDY) == 33,
        "Of `concept-arc`, `re-arc`, `mini-arc` and `arc-1d`, the loss per token rises before": (
            {name for name, line in lines.items() if line["last_val_loss"] > line["best_val_loss"]}
            == {"concept-arc", "re-arc", "mini-arc", "arc-1d"}
        ),
        f"With the control, the loss is {by(stages['new-train'])}": (
            stages["new-train"]["verdict"].startswith("better")
        ),
        f"and 10 % of new-train, {by(tenth)}": True,
        "whose one-stage runs are the two worst of four": (
            sorted(alone, key=alone.__getitem__)[2:] == [1, 0]
        ),
        f"After RE-ARC, it is {by(stages['re-arc'])}": (
            stages["re-arc"]["verdict"].startswith("cannot tell")
        ),
        "the only line of the table that is certainly better": (
            sum(line["verdict"].startswith("better") for line in table) == 1
        ),
        "RE-ARC alone and 1D-ARC are worse than new-train": (
            {name for name, verdict in verdicts.items() if verdict == "worse"}
            == {"re-arc", "arc-1d"}
        ),
        "No dataset is certainly better": "better" not in verdicts.values(),
        "seven differences that are not certain. For six of them, more seeds would not be": (
            (len(unclear), sum("more validation tasks" in one for one in unclear)) == (7, 6)
        ),
        "For `train`, the present difference would be certain with about 40 seeds": (
            "about 40 seeds would settle it" in lines["train"]["verdict"]
        ),
        "rank correlation is -0.64 (95 % interval -0.89 to -0.12)": (
            "train loss and validation loss: -0.64 (-0.89 to -0.12), n = 14" in shown
        ),
        f"corrected for the {len(compared)} comparisons with new-train": True,
        f"`re-arc` is {by(lines['re-arc'])}": True,
        f"`arc-1d` is {by(lines['arc-1d'])}": True,
        f"`mini-arc`, {by(lines['mini-arc'])}": True,
        f"`re-arc-mini-arc`, {by(lines['re-arc-mini-arc'])}": True,
        f"`train`, which has 400 of its 700 tasks, is {by(lines['train'])}": True,
        f"(`combo-v1`), the loss is {by(lines['combo-v1'])}": True,
        f"With RE-ARC added, it is {by(lines['new-train-re-arc'])}": True,
        f"`val-n-1` is {by(lines['val-n-1'])}": True,
        f"without it, to {min(losses.values()):.2f} to {max(losses.values()):.2f}": True,
        "Most datasets have their lowest loss at the last step": sum(last) > len(last) / 2,
        "37 to 39 of 3000 samples have at most 512 tokens": (
            {
                round(160 / row["history"][-1]["epochs"])
                for row in rows
                if row["dataset"] == "re-arc"
            }
            == {37, 39}
        ),
        "in 80 steps of 2 samples": {(one["steps"]) for one in metrics} == {80},
        "So each dataset gives 160 samples": {line["samples"] for line in lines.values()} == {160},
        f"with {min(tokens) / 1000:.0f} to {max(tokens) / 1000:.0f} thousand answer tokens": True,
        "24 of the 100 validation tasks": {one["val_tasks"] for one in metrics} == {24},
        "They have 27 tests": {one["val_tests"] for one in metrics} == {27},
        "with one thread each": ({row["machines"]["finetune"]["threads"] for row in rows} == {1}),
        f"lowers the loss, which is {statistics.mean(start):.4f} nats per answer token": (
            len(start) == 1 and max(losses.values()) < min(start)
        ),
        "0 of 24 tasks are solved": {one["pass_n"] for one in metrics} == {0},
        "so the share is at most 13.8 %": (
            {round(one["pass_n_high"], 3) for one in metrics} == {0.138}
        ),
        "Rows with validation demonstrations** (`val-n-1`, `combo-v2`)": (
            uses == {"val-n-1", "combo-v2"}
        ),
    }
    assert [claim for claim in claims if claim not in text] == [], f"not in {PAGE} any more"
    assert [claim for claim, true in claims.items() if not true] == [], f"correct {PAGE}"
