import csv
import hashlib
import logging
from pathlib import Path

import pytest

from arcmix.config import params
from arcmix.ledger import records
from arcmix.ledger.commits import LOCK
from stages import ablation
from tests.repository import commit
from tests.rows import row


class Ledger:
    """A ledger, the fingerprint of the present code, and the stage that makes the table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "new/results"
        self.present = "c0de00000001"
        self.rows = folder / "ledger"
        self.rows.mkdir()

    def enter(self, dataset: str = "combo-v2", seed: int = 0, loss: float = 0.7) -> None:
        records.write(self.rows, row(dataset, seed, loss=loss, code=self.present))

    def sum_up(self) -> dict[str, bytes]:
        (self.folder / "code").write_text(f"{self.present}\n")
        ablation.run(
            config=ablation.Params(ablation=params.Ablation(baseline=("train",))),
            run_code=self.folder / "code",
            repository=self.folder,
            rows=self.rows,
            csv=self.results / "ablation.csv",
            markdown=self.results / "ablation.md",
            forest=self.results / "ablation.png",
            curves=self.results / "loss.png",
            page=self.results / "study.html",
        )
        return {path.name: path.read_bytes() for path in self.results.iterdir()}

    def lines(self) -> list[dict[str, str]]:
        return list(csv.DictReader((self.results / "ablation.csv").read_text().splitlines()))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def test_run_writes_the_table_and_its_figures(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ledger.enter("combo-v2", 0, loss=0.625)
    ledger.enter("combo-v2", 1, loss=0.875)
    ledger.enter("train", 0, loss=0.5)
    found = ledger.sum_up()
    pages = {"ablation.md", "study.html"}
    assert found.keys() == {"ablation.csv", "ablation.png", "loss.png"} | pages
    lines = [(line["dataset"], line["best_val_loss"], line["seeds"]) for line in ledger.lines()]
    assert lines == [
        ("train", "0.5", "1"),
        ("combo-v2", "0.75", "2"),
    ]
    assert ledger.lines()[0]["best_val_loss_sd"] == ""
    text = found["ablation.md"].decode()
    assert "0.7500 ± 0.1768" in text
    assert "combo-v2/1-" in found["study.html"].decode()
    assert "| baseline " in text
    assert caplog.messages == ["rows of the present code: 3, of other code: 0"]


def test_run_writes_equal_bytes_for_an_equal_ledger(ledger: Ledger) -> None:
    for seed in range(3):
        ledger.enter("combo-v2", seed, loss=0.6 + 0.01 * seed)
    assert ledger.sum_up() == ledger.sum_up()


def test_rows_of_earlier_code_name_its_commit(ledger: Ledger) -> None:
    ledger.enter(seed=0, loss=0.5)
    ledger.sum_up()
    assert [line["code"] for line in ledger.lines()] == ["c0de00000001"]
    hashed = hashlib.md5(b"c0de00000001\n", usedforsecurity=False).hexdigest()
    made = commit(ledger.folder, LOCK, f"md5: {hashed}\n")
    ledger.present = "c0de00000002"
    ledger.enter(seed=1, loss=0.25)
    ledger.sum_up()
    lines = [(line["code"], line["commit"], line["best_val_loss"]) for line in ledger.lines()]
    assert lines == [("c0de00000002", "", "0.25"), ("c0de00000001", made, "0.5")]
    assert f"code of commit {made[:7]}" in (ledger.results / "ablation.md").read_text()


def test_run_refuses_an_empty_ledger(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match=r"no rows in .*ledger; .*: dvc repro"):
        ledger.sum_up()
    assert not ledger.results.exists()
