import pytest

from benchmarks import page
from tests.benchmarks.running import run


@pytest.mark.slow
def test_the_page_has_a_table_of_each_benchmark(tmp_path):
    small = ("--base-model", "tiny", "--device", "cpu", "--dtype", "float32")
    told, rows = run("page", *small, "--tasks", tmp_path / "none.parquet", "--threads", "1")
    titles = ["Training", "Answers", "Scores", "Test-time fine-tuning"]
    assert [line[3:] for line in told.splitlines() if line.startswith("## ")] == titles
    assert "\n4 of 4 sections in " in told
    assert [row[0] for row in rows if row[0].startswith("arcmix")] == [
        "arcmix",
        "arcmix, no draft",
        "arcmix, copy",
        "arcmix, views",
        "arcmix, prompt once",
        "arcmix",
    ]


def test_a_section_that_fails_is_told(capfd):
    section = page.Section("None", "none", [], ["--steps", "1"], share=1)
    assert not section.print(["--device", "cpu"])
    printed = capfd.readouterr()
    assert "\n    python -m benchmarks.none --steps 1 --device cpu\n" in printed.out
    assert "Ended with status 1" in printed.out
    assert "No module named benchmarks.none" in printed.err
