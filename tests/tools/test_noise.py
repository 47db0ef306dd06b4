import inspect
import logging
from pathlib import Path

import pytest

from arcmix.ledger import records
from tests import targets
from tests.rows import row, sealed
from tools import noise

ROOT = Path(__file__).parents[2]
PRESENT = "c0de00000001"


@pytest.fixture
def ledger(tmp_path):
    """A ledger with two runs of the present code and one of other code."""
    for seed, loss, code in ((0, 0.5, PRESENT), (1, 0.7, PRESENT), (2, 9.0, "0fe000000000")):
        made = row(seed=seed, loss=loss, code=code)
        made = sealed(made, settings=made.settings | {"init_seed": 0})
        made.metrics.update(dict.fromkeys(noise.METRICS[1:], 0.25))
        records.write(tmp_path / "ledger", made)
    (tmp_path / "code").write_text(f"{PRESENT}\n")
    return tmp_path / "ledger"


def test_run_prints_the_spread_of_the_rows_of_the_present_code(tmp_path, ledger, capsys, caplog):
    caplog.set_level(logging.INFO)
    noise.run(run_code=tmp_path / "code", rows=ledger)
    assert "2 of 3 rows are of the present code" in caplog.messages
    [seed] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| `seed`")]
    cells = [cell.strip() for cell in seed.split("|")[1:-1]]
    assert cells == ["`seed`", "1", "2", "0.6000 ± 0.1414", *["0.2500 ± 0.0000"] * 3]


def test_make_updates_the_fingerprint_of_the_code_first():
    *_, fingerprint, told = targets.commands("noise")
    assert fingerprint.endswith("dvc repro code >/dev/null")
    assert told.endswith("-m tools.noise --run-code data/code/all --rows results/ledger")
    assert targets.tool("noise")[1].keys() == inspect.signature(noise.run).parameters.keys()
