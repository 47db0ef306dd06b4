"""Tables in Markdown."""

from collections.abc import Mapping, Sequence

from tabulate import tabulate

ALIGN = {"<": "left", ">": "right"}
"""Alignment of a column -> its name in tabulate."""


def table(columns: Mapping[str, str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown whose columns are also aligned in the source.

    Args:
        columns: Name of each column -> its alignment, `<` for left or `>` for right.
        rows: The texts of the cells of each row.
    """
    sides = [ALIGN[side] for side in columns.values()]
    return tabulate(rows, [*columns], tablefmt="pipe", colalign=sides, disable_numparse=True)
