"""Rows of a ledger for tests, with the minimum that the table and the figures need."""

from arcmix.ledger.records import Row, fingerprint
from tests.arc import component


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
    measured: str = "validation",
    last: float | None = None,
    accuracy: float = 0.042,
    uses_validation: bool = False,
    steps: int = 40,
    tasks: int = 800,
    start: str = "none",
) -> Row:
    """Return a row; another `variant` or other `settings` stand for another experiment.

    The loss falls from 0.99 to `loss` at the last step, or, where the `last` one is
    given, at half of the steps.
    """
    values = {
        "model": {"kind": model},
        "augment": {"color_swaps": settings},
        "measure": {"source": "arc-agi-1", "part": measured},
    }
    middle = (0.99 + loss) / 2 if last is None else loss
    end = loss if last is None else last
    curve = [(0, 0.99), (steps // 2, middle), (steps, end)]
    return Row(
        dataset=dataset,
        model=model,
        scale=scale,
        seed=seed,
        fingerprint=fingerprint(dataset, model, scale, code, variant, settings, start),
        code=code,
        settings_fingerprint=fingerprint(values),
        settings=values,
        components=[component(dataset)],
        mix={
            "tasks": tasks,
            "entries": tasks + 3,
            "samples": 3000,
            "uses_validation_demonstrations": uses_validation,
            "components": [],
        },
        start={"adapter": start},
        adapter=f"{fingerprint(dataset, seed)}.dir",
        metrics={
            "accuracy": accuracy,
            "best_val_loss": loss,
            "best_val_step": steps if last is None else steps // 2,
            "pass_n": 2 * accuracy,
            "selected_2": 3 * accuracy,
            "selected_2_high": 4 * accuracy,
            "selected_2_low": accuracy,
            "val_loss": end,
            "val_loss_step_0": 0.99,
        },
        history=[
            {
                "step": step,
                "samples": 4 * step,
                "train_loss": None if step == 0 else value - 0.1,
                "val_loss": value,
            }
            for step, value in curve
        ],
        tasks={"00576224": {"tests": 1, "accuracy": accuracy, "val_loss": None}},
        packages={"torch": "2.13.0"},
    )
