"""Tables in Markdown."""

from collections.abc import Mapping, Sequence

from tabulate import tabulate

ALIGN = {"<": "left", ">": "right"}


def table(columns: Mapping[str, str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose source is aligned too.

    Args:
        columns: Name of each column -> its alignment, `<` for left or `>` for right.
        rows: The cells.
    """
    sides = [ALIGN[side] for side in columns.values()]
    return tabulate(rows, [*columns], tablefmt="pipe", colalign=sides, disable_numparse=True)
