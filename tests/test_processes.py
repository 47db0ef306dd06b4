import torch

from arcmix import files, processes
from tests.stages.test_finetune_started import TWO, finish, launched

TELL = """
import os
import sys
from pathlib import Path
import torch
from arcmix import files, processes

rank = int(os.environ["RANK"])
chosen = []
told = {
    "leads": processes.leads(),
    "total": processes.total(torch.tensor([rank + 1.5, -rank], dtype=torch.float64)).tolist(),
    "agreed": processes.agreed(lambda: chosen.append(rank) or f"of {rank}"),
    "chosen": chosen,
}
files.write_json(Path(sys.argv[1]) / f"{rank}.json", told)
processes.part()
"""
"""Tells, of each process, what it comes to know."""


def test_one_process_leads_and_has_the_whole():
    values = torch.tensor([0.1, 2.0], dtype=torch.float64)
    assert processes.leads()
    assert processes.total(values).tolist() == [0.1, 2.0]
    assert processes.agreed(lambda: ("any", 1)) == ("any", 1)


def test_two_processes_have_one_that_leads_one_total_and_one_choice(tmp_path):
    (tmp_path / "tell.py").write_text(TELL)
    finish(launched(TWO, tmp_path / "tell.py", tmp_path))
    first, other = (files.read_json(tmp_path / f"{rank}.json") for rank in (0, 1))
    assert (first["leads"], other["leads"]) == (True, False)
    assert first["total"] == other["total"] == [4.0, -1.0]
    assert first["agreed"] == other["agreed"] == "of 0"
    assert (first["chosen"], other["chosen"]) == ([0], [])
