import pytest

from tests.benchmarks.running import run

pytestmark = pytest.mark.slow

# The program itself compares the losses of the ways and raises an error if two differ.

TINY = ("--base-model", "tiny", "--device", "cpu", "--dtype", "float32", "--threads", "1")
NO_TASKS = ("--tasks", "none.parquet")


def test_the_benchmark_finds_equal_losses_and_prints_the_cost_of_each_way():
    _, found = run(
        "train", *TINY, *NO_TASKS, "--loss", "answer", "outputs", "--micro-tokens", "512"
    )
    assert [row[0] for row in found] == [
        "TRL, padded",
        "TRL, packed",
        "arcmix",
        "TRL, padded, our labels",
        "arcmix",
    ]
    padding = [int(row[5].removesuffix(" %")) for row in found]
    assert padding[0] == padding[3] < padding[1] == padding[2] == padding[4] == 100
    assert {row[9] for row in found[:3:2]} == {found[0][9]}
    labelled = [float(row[4].replace(",", "")) / float(row[3].replace(",", "")) for row in found]
    assert labelled[4] > 2 * labelled[2]
    assert found[0][10:] == ["1.00", "1.00"]


def test_each_length_and_each_size_of_rows_is_measured():
    flags = ("--lengths", "256", "384", "--micro-tokens", "1", "2048", "--batch", "2")
    told, found = run("train", *TINY, *NO_TASKS, *flags)
    assert "| 224 to 256 tokens, loss on answer |" in told
    assert "| 336 to 384 tokens, loss on answer |" in told
    own = ["arcmix, rows of 1", "arcmix, rows of 2048"]
    assert [row[0] for row in found] == ["TRL, padded", "TRL, packed", *own] * 2


def test_without_a_model_the_benchmark_says_what_to_do(tmp_path):
    told, _ = run("train", "--base-model", str(tmp_path / "none"), status=1)
    assert "none; run: dvc repro fetch_model, or set --base-model to a folder or to tiny" in told
