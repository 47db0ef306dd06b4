from typing import Literal

from arcmix.ledger import markdown

COLUMNS: dict[str, Literal["<", ">"]] = {"dataset": "<", "seeds": ">"}


def test_a_column_is_aligned_in_the_source_too() -> None:
    assert markdown.table(COLUMNS, [["train", "3"], ["new-train", "12"]]).splitlines() == [
        "| dataset   |   seeds |",
        "|:----------|--------:|",
        "| train     |       3 |",
        "| new-train |      12 |",
    ]


def test_a_cell_that_looks_like_a_number_keeps_its_text() -> None:
    lines = markdown.table(COLUMNS, [["00576224", "0.6100"], ["12e45678", ""]]).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert cells == [["00576224", "0.6100"], ["12e45678", ""]]


def test_a_table_without_rows_is_a_header() -> None:
    assert len(markdown.table(COLUMNS, []).splitlines()) == 2
