import pytest

from arcmix import tasks
from arcmix.tasks import Task
from tests.arc import pair
from tests.benchmarks.running import run

pytestmark = pytest.mark.slow

TINY = ("--base-model", "tiny", "--device", "cpu", "--dtype", "float32", "--side", "4")


@pytest.fixture
def validation(tmp_path):
    pairs = [pair(number, 2, 3) for number in range(3)]
    alike = [type(one)(one.input, one.input) for one in pairs]
    tasks.write(
        tmp_path / "validation.parquet",
        [
            Task("same", "arc", "training", 0, tuple(alike[:2]), tuple(alike[2:])),
            Task("other", "arc", "training", 0, tuple(pairs[:2]), tuple(pairs[2:])),
        ],
    )
    return tmp_path / "validation.parquet"


# The programs themselves compare the results of all ways and raise an error if two differ.


def test_the_ways_to_answer_give_the_same_tokens(validation):
    flags = ("--sizes", "all", "--views", "2", "--threads", "2", "--batch-tokens", "200")
    _, rows = run("predict", *TINY, "--tasks", validation, *flags)
    assert [row[0] for row in rows] == [
        "generate, 1",
        "generate, 8",
        "arcmix, no draft",
        "arcmix, copy",
        "arcmix, views",
        "arcmix, copy, processes",
    ]
    assert {row[9] for row in rows} == {"4/4"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_ways_to_score_give_the_same_log_probabilities(validation, dtype):
    flags = ("--sizes", "all", "--batch", "3", "--dtype", dtype)
    told, rows = run("score", *TINY, "--tasks", validation, *flags)
    assert [row[0] for row in rows] == ["each anew, 3", "arcmix, prompt once"]
    assert "| 2 prompts |" in told
    assert (rows[0][6] == "0.00000") == (dtype == "float32")
