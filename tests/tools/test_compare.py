import inspect
import re
from pathlib import Path

from arcmix.ledger import records
from tests import targets
from tests.rows import row
from tools import compare

ROOT = Path(__file__).parents[2]


def test_run_prints_how_own_runs_of_the_present_code_differ(tmp_path, capsys):
    (tmp_path / "code").write_text("c0de00000001\n")
    for entry in (row(loss=0.5426), row("train", code="0fe000000000")):
        records.write(tmp_path / "ledger", entry)
    records.write(tmp_path / "own", row(loss=0.5462, instructions="AVX2"))
    records.write(tmp_path / "own", row("train", code="0fe000000000", loss=0.1))
    compare.run(run_code=tmp_path / "code", rows=tmp_path / "ledger", own=tmp_path / "own")
    out = capsys.readouterr().out
    assert out.startswith("0 of 1 runs made here equal those of the ledger.\n\n| run ")
    assert re.search(r"\| best_val_loss +\| +0\.5426 \| +0\.5462 \| +\+0\.0036 \|", out)
    assert "the machines differ in instructions. Ledger: Xeon, AVX512, " in out
    assert "train" not in out


def test_a_repository_without_own_runs_has_nothing_to_compare(tmp_path, capsys):
    (tmp_path / "code").write_text("c0de00000001\n")
    records.write(tmp_path / "ledger", row())
    compare.run(run_code=tmp_path / "code", rows=tmp_path / "ledger", own=tmp_path / "own")
    assert capsys.readouterr().out == "0 of 0 runs made here equal those of the ledger.\n"


def test_make_repro_compares_after_the_table():
    *_, table, told = targets.commands("repro")
    assert table == "cat results/ablation.md"
    assert "-m tools.compare" in told
    name, named = targets.tool("repro")
    assert name == "compare"
    assert named.keys() == inspect.signature(compare.run).parameters.keys()
    pipeline = (ROOT / "dvc.yaml").read_text()
    assert f'--own "$DVC_ROOT/{named["own"]}"' in pipeline
    assert f"--rows {named['rows']}" in pipeline
