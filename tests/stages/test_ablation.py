import csv
import logging
from pathlib import Path

import pytest

from arcmix.ledger import code, records
from stages import ablation
from tests.rows import row


class Repository:
    """A repository of one program, its ledger, and the command to sum it up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "new/results"
        self.program = folder / "stages/predict.py"
        self.program.parent.mkdir(parents=True)
        self.program.write_text("VIEWS = 8\n")
        (folder / "stages/record.py").write_text("KEPT = 1\n")
        self.library = folder / "src/arcmix"
        self.library.mkdir(parents=True)
        self.rows = folder / "ledger"
        self.rows.mkdir()

    def enter(self, dataset: str = "combo-v2", seed: int = 0, loss: float = 0.7) -> None:
        present = code.fingerprint([self.program], self.library)
        records.write(self.rows, row(dataset, seed, loss=loss, code=present))

    def sum_up(self) -> dict[str, bytes]:
        ablation.run(
            library=self.library,
            programs=self.folder / "stages",
            rows=self.rows,
            csv=self.results / "ablation.csv",
            markdown=self.results / "ablation.md",
            bars=self.results / "ablation.png",
            curves=self.results / "loss.png",
        )
        return {path.name: path.read_bytes() for path in self.results.iterdir()}

    def lines(self) -> list[dict[str, str]]:
        return list(csv.DictReader((self.results / "ablation.csv").read_text().splitlines()))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_run_writes_the_table_and_its_figures(
    repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    repository.enter("combo-v2", 0, loss=0.625)
    repository.enter("combo-v2", 1, loss=0.875)
    repository.enter("train", 0, loss=0.5)
    found = repository.sum_up()
    assert found.keys() == {"ablation.csv", "ablation.md", "ablation.png", "loss.png"}
    assert [
        (line["label"], line["best_val_loss"], line["seeds"]) for line in repository.lines()
    ] == [
        ("train", "0.5", "1"),
        ("combo-v2", "0.75", "2"),
    ]
    assert repository.lines()[0]["best_val_loss_sd"] == ""
    assert "0.7500 ± 0.1768" in found["ablation.md"].decode()
    assert caplog.messages == ["rows of the present code: 3, of other code: 0"]


def test_run_writes_equal_bytes_again(repository: Repository) -> None:
    for seed in range(3):
        repository.enter("combo-v2", seed, loss=0.6 + 0.01 * seed)
    assert repository.sum_up() == repository.sum_up()


def test_run_shows_rows_as_stale_when_the_code_changes(repository: Repository) -> None:
    repository.enter(seed=0, loss=0.5)
    repository.sum_up()
    assert [line["stale"] for line in repository.lines()] == ["0"]
    repository.program.write_text("VIEWS = 16\n")
    repository.enter(seed=1, loss=0.25)
    repository.sum_up()
    assert [(line["stale"], line["best_val_loss"]) for line in repository.lines()] == [
        ("0", "0.25"),
        ("1", "0.5"),
    ]


def test_code_that_makes_no_number_makes_no_row_stale(repository: Repository) -> None:
    repository.enter()
    before = repository.sum_up()
    (repository.folder / "stages/record.py").write_text("KEPT = 2\n")
    (repository.library / "figures.py").write_text("COLORS = 9\n")
    repository.program.write_text('"""Now explained."""\nVIEWS = 8  # one a symmetry\n')
    assert repository.sum_up() == before


def test_run_refuses_an_empty_ledger(repository: Repository) -> None:
    with pytest.raises(ValueError, match=r"no rows in .*ledger; .*: dvc repro"):
        repository.sum_up()
    assert not repository.results.exists()
