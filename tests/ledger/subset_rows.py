"""Rows of a ledger that differ in how much they use of their component, for tests."""

from collections.abc import Sequence
from typing import Any

from arcmix.ledger.records import Row
from tests.arc import component
from tests.rows import row, sealed


def subset_row(
    tasks: int,
    seed: int = 0,
    *,
    per_cell: Sequence[float] = (0.5,),
    table: str = "new-train",
    beside: Sequence[str] = (),
    changes: dict[str, Any] | None = None,
    **fields: Any,
) -> Row:
    """Return a run on a subset of `tasks` tasks of a table, beside whole other tables.

    Args:
        tasks: Number of training tasks.
        seed: The experiment's seed.
        per_cell: The losses on the validation tasks, in nats per cell.
        table: Name of the task table.
        beside: Names of the tables of other components.
        changes: Values of the component.
        fields: Other arguments of `rows.row`.
    """
    plain = row(f"{table}-{tasks}", seed, per_cell=per_cell, tasks=tasks, **fields)
    (drawn,) = plain.mix["components"]
    parts = [drawn | {"table": table}]
    parts += [drawn | {"table": one, "tasks": 99} for one in beside]
    components = [component(table, subset=tasks, **(changes or {})), *map(component, beside)]
    return sealed(plain, components=components, mix=plain.mix | {"components": parts})
