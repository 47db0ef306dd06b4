"""What a fine-tune takes its steps on, before it takes any."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from arcmix.config import scales
from arcmix.text.tokenization import Example
from arcmix.training import schedule


@dataclass
class Plan:
    """What is trained on, in which order, for how long.

    Raises:
        ValueError: If there are no samples or no validation prompts.
    """

    samples: Sequence[Example]
    """Training samples in tokens; step k takes samples k * batch and on, and when they are used
    up they come again from the first."""
    validation: Sequence[Example]
    """Validation prompts in tokens."""
    settings: scales.Finetune
    """Budget and hyperparameters."""
    seed: int
    """Seed of dropout."""
    report_to: str
    """A tracker that the Trainer knows, or none."""
    state: Path | None
    """The state of an optimizer to begin with (`optimizer.save_state`), if not afresh."""
    steps: int = field(init=False)
    """Optimizer steps of the budget."""
    order: np.ndarray = field(init=False)
    """Number of the sample at each place of the stream, int64 (steps * batch,)."""

    def __post_init__(self) -> None:
        for what, examples in (
            ("training sample", self.samples),
            ("validation prompt", self.validation),
        ):
            if not examples:
                raise ValueError(f"no {what} is short enough; raise the scale's max_tokens")
        counts = [one.trained_tokens for one in self.samples]
        self.steps = schedule.samples(self.settings, counts) // self.settings.batch
        self.order = np.arange(self.steps * self.settings.batch) % len(self.samples)

    def per_step(self, numbers: Sequence[int]) -> np.ndarray:
        """Return the sum over the samples of each step of a number of each sample."""
        chosen = np.asarray(numbers)[self.order]
        return chosen.reshape(self.steps, self.settings.batch).sum(axis=1)
