import math
from dataclasses import replace

import pytest

from arcmix.ledger import summary, table
from tests.ledger.test_table import OTHER, blocks
from tests.rows import row, sealed

SCORES = ("4.2 % (0.0 to 81.0)", "8.4 % (0.2 to 82.6)", "12.6 % (0.4 to 84.2)")
NONE = ("0.0 % (0.0 to 79.3)",) * 3


def test_markdown_shows_lines_and_what_they_say() -> None:
    entries = [
        row("combo-v2", 0, loss=0.6, uses_validation=True, answering=0.5),
        row("combo-v2", 1, loss=0.62, last=0.7, uses_validation=True, answering=0.6),
        row("train", 0, loss=0.8, tasks=400, accuracy=0.0),
    ]
    text = summary.as_markdown(blocks(entries))
    cells = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    shown, demonstrated = cells[:3], cells[3:]
    assert [[cell.strip() for cell in line] for line in shown[2:]] == [
        [
            *("train", "baseline", "0.8000", "1", "400", "160", "0.4", "360", "2.80 k", "0.8000"),
            *("40 of 40", *NONE, "no"),
        ]
    ]
    assert [[cell.strip() for cell in line] for line in demonstrated[2:]] == [
        [
            *("combo-v2", "no baseline: none of train is here", "0.6500 ± 0.0707", "2", "800"),
            *("160", "0.4", "360", "2.80 k", "0.6100 ± 0.0141", "20-40 of 40"),
            *(*SCORES, "no"),
        ]
    ]
    assert [cell.strip() for cell in shown[0]] == [*summary.COLUMNS]
    assert text.startswith("### smollm2-135m at quick on arc-agi-1 validation\n\n| dataset ")
    assert "train is the only dataset of this table, so nothing is compared." in text
    assert "Without a baseline, nothing is said about which dataset is better." in text
    machine = "1. Xeon, AVX512, 2 threads, python 3.11.7, torch 2.13.0"
    assert text.endswith(f"{summary.LEGEND}\n\nMachines:\n\n{machine}\n")


def test_what_a_table_says_counts_its_verdicts_and_names_the_lowest_loss() -> None:
    entries = [
        row(name, seed, per_cell=[level + noise * (seed - 0.5), level + noise * (seed - 0.4)])
        for name, level, noise in [
            *(("train", 0.5, 0.0), ("a", 0.4, 0.0), ("b", 0.6, 0.0)),
            ("c", 0.495, 1.0),
        ]
        for seed in range(2)
    ]
    (block,) = blocks([one for one in entries if one.dataset != "c"])
    assert summary.findings(block) == (
        "Compared with train: 1 better: a; 1 worse: b. The lowest loss of these is that of a, 0.100"
        " ± 0.000 nats per cell below train, more than chance explains."
    )
    (block,) = blocks([one for one in entries if one.dataset in ("train", "c")])
    found = summary.findings(block)
    assert found.startswith("Compared with train: 1 not certain: c. The lowest loss of these is")
    assert found.endswith(" nats per cell above train.")


def test_what_a_table_of_single_seeds_says_is_how_many_seeds_it_needs() -> None:
    (block,) = blocks([row("train", per_cell=[0.5, 0.6]), row("re-arc", per_cell=[0.4, 0.7])])
    expected = "No dataset can be compared with train yet. This needs 2 seeds that both have."
    assert summary.findings(block) == expected


def test_a_block_with_leaks_shows_the_clean_tasks() -> None:
    entries = [
        row(per_cell=[0.5, 0.7, 0.1], leaked=1),
        row("train", per_cell=[0.5, 0.5, 0.5], leaked=3),
        row("concept-arc", per_cell=[0.6, 0.8, 1.0]),
    ]
    text = summary.as_markdown(blocks(entries))
    cells = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    header, _, *lines = [[cell.strip() for cell in line][-3:] for line in cells]
    assert [header, *lines] == [
        [*summary.CLEAN_COLUMNS],
        ["2", "0.6000", "12.6 % (0.7 to 73.7)"],
        ["0", "", ""],
        ["3", "0.8000", "12.6 % (1.1 to 66.1)"],
    ]
    frame = table.as_frame(blocks(entries)).set_index("dataset")
    assert frame["clean_answering_loss_per_cell"].to_dict() == {
        "combo-v2": pytest.approx(0.6),
        "train": pytest.approx(math.nan, nan_ok=True),
        "concept-arc": pytest.approx(0.8),
    }
    assert "clean tasks" not in summary.as_markdown(blocks(entries[2:]))


def test_a_block_with_test_time_fine_tuning_shows_the_loss_before_and_after() -> None:
    entry = row(loss=0.6, last=0.7, answering=0.5)
    adapted = replace(entry, metrics=entry.metrics | {"adapted_tasks": 6})
    best = sealed(adapted, settings=adapted.settings | {"checkpoint": "best"})
    for one, before in ((adapted, "0.7000"), (best, "0.6000")):
        text = summary.as_markdown(blocks([one]))
        cells = [line.split("|")[-3:-1] for line in text.splitlines() if line.startswith("|")]
        assert [cell.strip() for cell in cells[0]] == [*summary.ADAPTED_COLUMNS]
        assert [cell.strip() for cell in cells[2]] == [before, "0.5000"]
    assert "val loss before |" not in summary.as_markdown(blocks([entry]))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((0, "0"), (999, "999"), (999.6, "1.00 k"), (5337, "5.34 k"), (41234, "41.2 k")),
        *((999_400, "999 k"), (999_600, "1.00 M"), (4e6, "4.00 M"), (123_456_789, "123 M")),
    ],
)
def test_a_number_of_tokens_has_three_digits(number: float, text: str) -> None:
    assert summary.count(number) == text


def test_markdown_is_aligned_in_the_source() -> None:
    entries = [row(), row(seed=1), row("concept-arc", loss=0.123456), row(model="tiny", code=OTHER)]
    for block in summary.as_markdown(blocks(entries)).split("\n\n"):
        if block.startswith("|"):
            assert len({len(line) for line in block.splitlines()}) == 1
