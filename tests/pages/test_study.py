import re

import numpy as np
import pytest
from selenium.webdriver.common.by import By

from arcmix.ledger import table
from arcmix.pages import study
from tests.ledger.subset_rows import subset_row
from tests.rows import row, sealed

CODE = row().code
RUNS = [
    row(name, seed, per_cell=[0.5 + shift, 0.25 + shift, 0.75 + 2 * shift + seed / 100])
    for name, shift in [("train", 0.0), ("combo-v2", -0.1), ("re-arc", 0.05)]
    for seed in range(3)
]


def blocks(entries=RUNS, commits=None):
    return table.blocks(entries, CODE, ["train"], commits or {})


def cells_of(matrix: study.Matrix, task: str) -> dict[str, study.Cell]:
    """Return the cells of a task that have a loss."""
    named = zip(matrix.names, matrix.rows[task], strict=True)
    return {name: cell for name, cell in named if cell is not None}


def test_the_matrix_has_the_difference_from_the_baseline_of_each_task() -> None:
    found = study.matrix(blocks()[0])
    assert sorted(found.names) == ["combo-v2", "re-arc", "train"]
    # The easiest task of the baseline comes first.
    assert [*found.rows] == ["00000001", "00000000", "00000002"]
    cells = cells_of(found, "00000002")
    assert {name: (one.text, one.kind) for name, one in cells.items()} == {
        "train": ("0.760", ""),
        "combo-v2": ("-0.200", "better"),
        "re-arc": ("+0.100", "worse"),
    }
    assert cells["combo-v2"].strength == pytest.approx(0.4)


def test_the_matrix_says_how_many_runs_solve_a_task() -> None:
    entries = [row(per_cell=[0.5, 0.6], accuracy=0.25 * seed, seed=seed) for seed in range(2)]
    (cell,) = cells_of(study.matrix(blocks(entries)[0]), "00000000").values()
    assert (cell.text, cell.kind, cell.solved) == ("0.500", "", "38 %")


def test_a_task_without_a_loss_of_a_line_has_an_empty_cell() -> None:
    entries = [row("train", per_cell=[0.5, 0.6]), row("re-arc", per_cell=[0.7])]
    found = study.matrix(blocks(entries)[0])
    assert [*cells_of(found, "00000001")] == ["train"]
    assert {*cells_of(found, "00000000")} == {"train", "re-arc"}


def test_the_page_has_each_run_with_the_command_that_repeats_it() -> None:
    text = study.page(blocks())
    for run in RUNS:
        assert f"<h4>{run.name}</h4>" in text
    assert text.count("<pre>dvc exp run -S dataset=") == len(RUNS)
    assert study.page(blocks(RUNS[::-1])) == text


def test_the_page_of_earlier_code_names_its_commit() -> None:
    entries = [row(code="0fe000000000")]
    commit = "87e13db5" * 5
    text = study.page(blocks(entries, {"0fe000000000": commit}))
    assert f"<code>{commit}</code>" in text


def test_names_are_escaped() -> None:
    entry = row(device="<b>GPU</b>")
    assert "<b>GPU" not in study.page(blocks([entry]))


def widths(browser):
    """Return the width of the page and that of the window, in pixels."""
    script = "return [document.documentElement.scrollWidth, window.innerWidth]"
    return browser.execute_script(script)


@pytest.mark.parametrize("width", [400, 1400])
def test_a_browser_shows_all_charts_and_needs_no_sideways_scrolling(
    tmp_path, browse, browser, width
) -> None:
    page = tmp_path / "study.html"
    page.write_text(study.page([*blocks(), *blocks([row("train", uses_validation=True)])]))
    browse(page)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    try:
        charts = browser.find_elements(By.CSS_SELECTOR, ".chart img")
        sizes = [one.get_property("naturalWidth") for one in charts]
        assert len(sizes) == 5  # two of each block, and the metrics of three datasets
        assert min(sizes) > 300
        found, room = widths(browser)
        assert found <= room
        for one in browser.find_elements(By.TAG_NAME, "summary"):
            one.click()
        found, room = widths(browser)
        assert found <= room
        assert browser.find_element(By.CSS_SELECTOR, ".matrix .better").text == "-0.100 ✓ 13 %"
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert browser.get_log("browser") == []


def test_the_page_fetches_nothing() -> None:
    text = study.page(blocks())
    found = re.findall(r"(?:src|href)=\"([^\"]{0,30})", text)
    assert found
    assert all(one.startswith("data:image/svg+xml;base64,") for one in found)


def sized(tasks: int, seed: int, examples: int | None = None, losses: int = 24):
    """Return a run on a subset of new-train whose loss falls with its tasks and examples."""
    random = np.random.default_rng([tasks, seed])
    fall = 0.2 * (700 / tasks) ** 0.5 + (0.1 / examples if examples else 0)
    values = np.linspace(0.2, 1.0, losses) + fall + 0.01 * random.standard_normal(losses)
    return subset_row(
        tasks, seed, per_cell=values.tolist(), changes={"examples": examples or "all"}
    )


def test_the_page_shows_scaling_and_the_grid_of_tasks_and_examples() -> None:
    plain = [sized(tasks, seed) for tasks in (70, 140, 350, 700) for seed in range(3)]
    few = [
        sized(tasks, seed, count) for tasks in (70, 700) for count in (1, 2) for seed in range(3)
    ]
    text = study.page(blocks([*plain, *few]))
    assert "<h3>More training tasks</h3>" in text
    assert "falls by 0." in text
    assert "with each doubling of the tasks, from 70 to 700" in text
    assert "<h3>More tasks, or more examples of each?</h3>" in text
    assert "Different tasks matter more: the loss with twice as many tasks is" in text
    assert "Rank correlation over the datasets" in text
    assert text.count('<figure class="chart">') >= 5
    assert "<h3>More training tasks</h3>" not in study.page(blocks())


def test_the_page_shows_the_noise_by_seed() -> None:
    varied = [
        sealed(one, settings=one.settings | changes)
        for seed, changes in [
            (0, {"init_seed": 0}),
            (1, {"init_seed": 0}),
            (0, {"init_seed": 1}),
            (0, {"init_seed": 0, "partition": {"source": "arc-agi-1", "seed": 8, "tasks": 100}}),
        ]
        for one in [row("train", seed, per_cell=[0.5 + 0.01 * seed + 0.02 * len(changes)])]
    ]
    text = study.page(blocks(varied))
    assert "<h2>Noise of the loss per cell</h2>" in text
    cells = re.findall(r"<td>([^<]*)</td>", text[text.index('<table class="noise">') :])
    assert cells[:4] == ["seed", "1", "2", "0.5250 ± 0.0071"]
    assert cells[5:9] == ["init_seed", "1", "2", "0.5200 ± 0.0000"]
    assert "Noise of the loss per cell" not in study.page(blocks())


def test_a_page_without_pictures_has_all_else() -> None:
    text = study.page(blocks())
    plain = study.without_pictures(text)
    assert len(plain) < len(text) / 3
    assert "base64" not in plain
    assert plain.count('<figure class="chart"><img src="" alt="') == 3
    assert RUNS[0].name in plain
