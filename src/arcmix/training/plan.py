"""The plan of a fine-tune: its samples, their order and its number of steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from arcmix.config import scales
from arcmix.text.tokenization import Example
from arcmix.training import schedule


@dataclass
class Plan:
    """The data, the order and the length of a fine-tune.

    Raises:
        ValueError: If there are no validation prompts, or no samples for a budget above 0.
    """

    samples: Sequence[Example]
    """Training samples as token ids. Step k, from 0, takes `batch` samples from sample k * batch;
    after the last sample, the first one follows."""
    validation: Sequence[Example]
    """Validation prompts as token ids."""
    settings: scales.Finetune
    """Budget and hyperparameters."""
    seed: int
    """Seed of the dropout."""
    report_to: str
    """Name of an experiment tracker of the Trainer, or `none`."""
    state: Path | None
    """File of the initial optimizer state (`optimizer.save_state`); none for a new optimizer."""
    steps: int = field(init=False)
    """Number of optimizer steps in the budget."""
    order: np.ndarray = field(init=False)
    """Index of each sample in training order, int64 (steps * batch,)."""

    def __post_init__(self) -> None:
        for what, limit, examples, needed in (
            ("training sample", "finetune", self.samples, self.settings.budget > 0),
            ("validation prompt", "validation", self.validation, True),
        ):
            if needed and not examples:
                raise ValueError(
                    f"no {what} is short enough, and training needs at least one;"
                    f" raise {limit}.max_tokens of the scale"
                )
        counts = [one.trained_tokens for one in self.samples]
        self.steps = schedule.samples(self.settings, counts) // self.settings.batch
        self.order = np.arange(self.steps * self.settings.batch) % max(1, len(self.samples))

    def per_step(self, values: Sequence[int]) -> np.ndarray:
        """Return the sum of the samples' values in each step, int64 (steps,).

        Args:
            values: A value for each sample, such as its number of tokens.
        """
        chosen = np.asarray(values)[self.order]
        return chosen.reshape(self.steps, self.settings.batch).sum(axis=1)


def adapter_seed(seed: int, init_seed: int | Literal["seed"]) -> int:
    """Return the seed of an adapter's initial weights and of its dropout."""
    return seed if init_seed == "seed" else init_seed
