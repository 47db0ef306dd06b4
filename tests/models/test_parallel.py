import pytest
import torch

from arcmix import files
from arcmix.models import parallel
from tests.launching import REAL, TWO, finish, start

REPORT = """
import os
import sys
from pathlib import Path
import torch
from arcmix import files
from arcmix.models import parallel

rank = int(os.environ["RANK"])
called = []
summed = torch.tensor([rank + 1.5, -rank], dtype=torch.float64)
seen = {
    "share": parallel.all_ranks().share("abcde"),
    "gathered": parallel.all_ranks().gather({f"by {rank}": rank}),
    "alone": parallel.ONE_RANK.gather({f"by {rank}": rank}),
    "main": parallel.is_main(),
    "sum": parallel.all_reduce_sum(summed).tolist(),
    "from main": parallel.from_main(lambda: called.append(rank) or f"of {rank}"),
    "called": called,
}
files.write_json(Path(sys.argv[1]) / f"{rank}.json", seen)
parallel.leave()
"""
"""A program in which each rank writes what it sees."""


def test_a_single_process_is_the_main_rank_and_does_all_work():
    values = torch.tensor([0.1, 2.0], dtype=torch.float64)
    assert parallel.all_ranks() == parallel.ONE_RANK
    assert parallel.ONE_RANK.share("abcde") == "abcde"
    assert parallel.ONE_RANK.gather({"any": 1}) == {"any": 1}
    assert parallel.is_main()
    assert parallel.all_reduce_sum(values).tolist() == [0.1, 2.0]
    assert parallel.from_main(lambda: ("any", 1)) == ("any", 1)


@pytest.mark.parametrize("launch", [TWO, REAL], ids=["forked", "launcher"])
def test_two_ranks_share_the_work_and_both_get_all_results(tmp_path, launch):
    (tmp_path / "report.py").write_text(REPORT)
    finish(start(launch, str(tmp_path / "report.py"), tmp_path))
    first, other = (files.read_json(tmp_path / f"{rank}.json") for rank in (0, 1))
    assert (first["share"], other["share"]) == ("ace", "bd")
    assert first["gathered"] == other["gathered"] == {"by 0": 0, "by 1": 1}
    assert (first["alone"], other["alone"]) == ({"by 0": 0}, {"by 1": 1})
    assert (first["main"], other["main"]) == (True, False)
    assert first["sum"] == other["sum"] == [4.0, -1.0]
    assert first["from main"] == other["from main"] == "of 0"
    assert (first["called"], other["called"]) == ([0], [])
