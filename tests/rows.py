"""Rows of a ledger for tests, with the minimum that the table and the figures need."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from arcmix.ledger import records, verification
from arcmix.ledger.records import Row, fingerprint
from arcmix.scoring import metrics
from arcmix.stats import shares
from tests.arc import component

MACHINE = {
    "device": "Xeon",
    "instructions": "AVX512",
    "threads": 2,
    "ranks": 1,
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
}
"""The fields of a machine."""


def plain_settings(**changes: Any) -> dict[str, Any]:
    """Return the settings of a row, with some of them changed."""
    return {
        "partition": {"source": "arc-agi-1", "seed": 7, "tasks": 100},
        "measure": {"source": "arc-agi-1", "part": "validation"},
        "audit": {"drop": "leaks"},
        "augment": {"color_swaps": 0},
        "model": {"kind": "random"},
        "scale": {"prompt": {"format": "bare", "encoder": ["minimal"]}},
        "init_seed": "seed",
    } | changes


def sealed(row: Row, **changes: Any) -> Row:
    """Return a row with some fields changed, and with the fingerprints of its values."""
    changed = replace(row, **changes)
    return replace(
        changed,
        settings_fingerprint=fingerprint(changed.settings),
        fingerprint=records.experiment(
            changed.code,
            changed.model,
            changed.scale,
            changed.settings,
            changed.components,
            changed.mix,
            changed.start,
        ),
    )


def start_of(adapter: str) -> dict[str, Any]:
    """Return the start of a run from the adapter of a row, or from a new one."""
    if adapter == "none":
        return {"adapter": adapter}
    return {
        "adapter": adapter,
        "address": f"{'a' * 32}.dir",
        "checkpoint": "last",
        "optimizer": "fresh",
        "uses_validation_demonstrations": False,
    }


def row(
    dataset: str = "combo-v2",
    seed: int = 0,
    *,
    loss: float = 0.7,
    model: str = "smollm2-135m",
    scale: str = "quick",
    code: str = "c0de00000001",
    variant: int = 0,
    settings: int = 0,
    init_seed: int | str = "seed",
    measured: str = "validation",
    last: float | None = None,
    accuracy: float = 0.042,
    uses_validation: bool = False,
    steps: int = 40,
    tasks: int = 800,
    start: str = "none",
    answering: float | None = None,
    per_cell: Sequence[float] | None = None,
    leaked: int = 0,
    **machine: Any,
) -> Row:
    """Return a row; another `variant` or other `settings` stand for another experiment.

    The loss falls from 0.99 to `loss` at the last step, or, where the `last` one is
    given, at half of the steps. The models that answer have the loss `answering`, or the last one.
    They have the losses `per_cell` on the tasks, in nats per cell, or the last one on one task.
    The last `leaked` tasks are not clean. `machine` changes fields of the machine.
    """
    values = plain_settings(
        model={"kind": model},
        augment={"color_swaps": settings},
        measure={"source": "arc-agi-1", "part": measured},
        init_seed=init_seed,
    )
    middle = (0.99 + loss) / 2 if last is None else loss
    end = loss if last is None else last
    cells = [end] if per_cell is None else [*per_cell]
    curve = [(0, 0.99), (steps // 2, middle), (steps, end)]
    clean = cells[: len(cells) - leaked]
    shares_ = {
        "accuracy": accuracy,
        "correct_pixels": 0.5,
        "correct_size": 0.75,
        "pass_n": 2 * accuracy,
        "selected_1": accuracy,
        "selected_2": 3 * accuracy,
        "unanswered": 0.125,
    }
    ends = {
        f"{name}_{side}": end_
        for name in metrics.HEADLINE
        for side, end_ in zip(
            ("low", "high"), shares.interval(min(1, shares_[name]), len(cells)), strict=True
        )
    }
    drawn = {"table": dataset, "tasks": tasks, "entries": tasks + 3, "weight": 1, "samples": 3000}
    return sealed(
        Row(
            dataset=dataset,
            model=model,
            scale=scale,
            seed=seed,
            fingerprint="",
            code=code,
            settings_fingerprint="",
            settings=values,
            components=[component(dataset)],
            mix={
                "tasks": tasks,
                "entries": tasks + 3,
                "samples": 3000,
                "uses_validation_demonstrations": uses_validation,
                "components": [drawn | {"digest": f"{variant:064x}"}],
            },
            start=start_of(start),
            adapter=f"{fingerprint(dataset, seed)}{'0' * 20}.dir",
            data={name: fingerprint(name, dataset, seed)[:8] * 4 for name in verification.TABLES},
            metrics={
                **shares_,
                **ends,
                "answering_loss_per_cell": statistics.fmean(cells),
                "answering_val_loss": end if answering is None else answering,
                "best_val_loss": loss,
                "best_val_step": steps if last is None else steps // 2,
                "steps": steps,
                "train_loss": end - 0.1,
                "clean_tasks": len(clean),
                **(
                    {
                        **{f"clean_{name}": shares_[name] for name in metrics.HEADLINE},
                        "clean_answering_loss_per_cell": statistics.fmean(clean),
                    }
                    if clean
                    else {}
                ),
                "val_loss": end,
                "val_loss_step_0": 0.99,
                "val_tasks": len(cells),
                "val_tests": len(cells),
            },
            history=[
                {
                    "step": step,
                    "samples": 4 * step,
                    "epochs": step / 100,
                    "answer_tokens": 9 * step,
                    "tokens": 70 * step,
                    "learning_rate": 0.001,
                    "train_loss": None if step == 0 else value - 0.1,
                    "val_loss": value,
                }
                for step, value in curve
            ],
            tasks={
                f"{number:08x}": {
                    "tests": 1,
                    "clean": int(number < len(clean)),
                    **shares_,
                    "val_loss": None,
                    "answering_loss_per_cell": value,
                }
                for number, value in enumerate(cells)
            },
            machines={"finetune": MACHINE | machine},
        )
    )
