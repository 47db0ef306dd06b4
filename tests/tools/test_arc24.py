import inspect
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import targets
from tools import arc24

ROOT = Path(__file__).parents[2]
PAGE = "before\n<!-- arc24 -->\nold\n<!-- end -->\nafter\n"


def line(dataset, loss, code="c0de00000001", seeds=1, **changes):
    found = {"dataset": dataset, "start": "none", "model": "smollm2-135m", "scale": "quick"}
    found |= {"code": code, "seeds": seeds, "best_val_loss": loss, "differs": None}
    return found | changes


def written(folder, lines):
    """Return the page after a run on these lines of the table."""
    pd.DataFrame(lines).to_csv(folder / "table.csv", index=False)
    (folder / "page.md").write_text(PAGE)
    arc24.run(
        params=ROOT / "params.yaml",
        name="published",
        table=folder / "table.csv",
        arc24=ROOT / "docs/arc24.csv",
        page=folder / "page.md",
    )
    return (folder / "page.md").read_text()


def cells(page):
    rows = [row.strip("|").split("|") for row in page.splitlines() if row.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_ranks_of_both_tables_and_their_correlation(tmp_path):
    page = written(
        tmp_path,
        [
            line("train", 0.5),
            line("new-train", 0.4, seeds=3),
            line("combo-v2", 0.41, seeds=2),
            line("arc-1d", 0.9),
            line("re-arc-mini-arc", 0.1),  # arc24 has no such row
        ],
    )
    assert page.startswith("before\n<!-- arc24 -->\n8 of 33 cells ran, under code `c0de00000001`.")
    assert cells(page) == [
        ["new-train", "3", "0.4000", "1", "0.1406", "6000", "2"],
        ["combo-v2", "2", "0.4100", "2", "0.1145", "6000", "1"],
        ["train", "1", "0.5000", "3", "0.1831", "3100", "3"],
        ["arc-1d", "1", "0.9000", "4", "0.3400", "100", "4"],
    ]
    assert "over these 4 datasets is 0.80 (two-sided permutation test: p = 0.333)." in page
    assert page.endswith("\n<!-- end -->\nafter\n")
    assert "old" not in page


def test_more_seeds_than_the_study_has_are_no_cells_of_it(tmp_path):
    page = written(tmp_path, [line("train", 0.5, seeds=4), line("new-train", 0.6, seeds=2)])
    assert "\n5 of 33 cells ran, " in page


def test_lines_of_other_runs_are_left_out(tmp_path):
    page = written(
        tmp_path,
        [
            line("train", 0.5, seeds=2),
            line("new-train", 0.6),
            line("train", 0.1, code="0fe000000000", seeds=2),
            line("train", 0.2, scale="tiny"),
            line("train", 0.2, model="qwen"),
            line("train", 0.2, start="0123456789ab"),
            line("train", 0.2, differs="seed"),
            line("my-mix", 0.2),
        ],
    )
    assert [row[:3] for row in cells(page)] == [
        ["train", "2", "0.5000"],
        ["new-train", "1", "0.6000"],
    ]
    assert "correlation" not in page


def test_equal_losses_share_a_rank(tmp_path):
    page = written(tmp_path, [line("train", 0.5), line("arc-1d", 0.5), line("re-arc", 0.4)])
    assert [row[3] for row in cells(page)] == ["1", "2.5", "2.5"]


def test_a_table_without_the_study_and_a_page_without_the_place_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no run of the study"):
        written(tmp_path, [line("my-mix", 0.5)])
    page = tmp_path / "empty.md"
    page.write_text("text\n")
    with pytest.raises(ValueError, match="no line <!-- arc24 -->"):
        arc24.run(
            params=ROOT / "params.yaml",
            name="published",
            table=tmp_path / "table.csv",
            arc24=ROOT / "docs/arc24.csv",
            page=page,
        )


def test_the_p_value_is_the_share_of_the_orders_that_correlate_as_much():
    first, second = np.array([0.3, 0.1, 0.9, 0.5, 0.7, 0.8]), np.array([2.0, 1, 4, 5, 3, 7])
    rho, p_value = arc24.correlation(first, second)
    ranks = pd.Series(second).rank()
    found = [pd.Series(own).rank().corr(ranks) for own in itertools.permutations(first)]
    assert rho == pytest.approx(found[0])  # the first is the order itself
    assert p_value == pytest.approx(np.mean(np.abs(found) >= abs(rho) - 1e-9))


def test_make_calls_the_tool_with_files_that_exist():
    name, named = targets.tool("arc24")
    assert name == "arc24"
    assert named.keys() == inspect.signature(arc24.run).parameters.keys()
    assert all((ROOT / path).exists() for name, path in named.items() if name != "name")
