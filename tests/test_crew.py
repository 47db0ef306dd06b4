from arcmix import crew, files
from tests.stages.test_finetune_started import TWO, finish, launched

TELL = """
import os
import sys
from pathlib import Path
from arcmix import crew, files, processes

rank = int(os.environ["RANK"])
told = {
    "turn": crew.everyone().turn("abcde"),
    "merged": crew.everyone().merged({f"by {rank}": rank}),
    "alone": crew.ALONE.merged({f"by {rank}": rank}),
}
files.write_json(Path(sys.argv[1]) / f"{rank}.json", told)
processes.part()
"""
"""Tells, of each process, what part it has and what it comes to know."""


def test_one_process_has_all_of_the_work():
    assert crew.everyone() == crew.ALONE
    assert crew.ALONE.turn("abcde") == "abcde"
    assert crew.ALONE.merged({"any": 1}) == {"any": 1}


def test_two_processes_take_turns_and_know_what_both_found(tmp_path):
    (tmp_path / "tell.py").write_text(TELL)
    finish(launched(TWO, tmp_path / "tell.py", tmp_path))
    first, other = (files.read_json(tmp_path / f"{rank}.json") for rank in (0, 1))
    assert (first["turn"], other["turn"]) == ("ace", "bd")
    assert first["merged"] == other["merged"] == {"by 0": 0, "by 1": 1}
    assert (first["alone"], other["alone"]) == ({"by 0": 0}, {"by 1": 1})
