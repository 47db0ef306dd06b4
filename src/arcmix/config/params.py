"""What `params.yaml` holds once its defaults are merged, typed; budgets are in `scales`.

Nothing here has a default, and no validator changes a value: DVC could not see it.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from arcmix.config.origins import Model, Source
from arcmix.config.scales import (
    Scale,
)
from arcmix.config.schema import NaturalInt, PositiveInt, Probability, Section

PARTITION_TABLES = (
    "train",
    "evaluation",
    "new-train",
    "val-n-1",
    "val-demonstrations",
    "measured",
)
"""The task tables of stage `partition`: those of ARC-AGI-1, and the tasks that are measured."""

MEASURABLE = ("validation", "train", "evaluation", "new-train", "val-n-1")
"""The parts of ARC-AGI-1 that may be measured: the drawn validation tasks, or a table."""

Weight = Annotated[float, Field(ge=0)]
All = Literal["all"]
Percent = Annotated[str, Field(pattern=r"^(100|[1-9]?\d)(\.\d+)?%$")]
Selection = Literal["vote_count", "vote_logprob", "product", "best"]


class Component(Section):
    """One part of a training dataset."""

    tasks: str
    """A task table: one of `PARTITION_TABLES`, or a source. A component is named after its table;
    one of two components on one table states it."""
    subset: All | PositiveInt | Percent
    """Tasks kept: all, a number of them or a share such as 20%; less is a part of more."""
    hardest: All | Percent
    """Share of the variations of each task that is kept, by PSO-difficulty; of generators."""
    variations: All | PositiveInt
    """Most variations kept of each task; only generators draw more than one."""
    pool: bool
    """Whether each sample draws its pairs anew from those of all variations of a task."""
    examples: All | PositiveInt
    """Most demonstrations kept of each task; fewer are a part of more."""
    n_minus: Literal[0, 1, 2]
    """1: each demonstration in turn is the only test; 2: those, and again from each of them."""
    per_test: bool
    """Whether a task with k test pairs counts as k entries of one test pair each."""
    weight: PositiveInt
    """Times each entry is drawn in one pass over the dataset."""

    @model_validator(mode="after")
    def _pool_is_one_entry(self) -> Self:
        if self.pool and (self.n_minus or self.per_test):
            raise ValueError("a pool is one entry: it needs n_minus 0 and per_test false")
        return self


Dataset = Annotated[dict[str, Component], Field(min_length=1)]
"""A training dataset: its components by name."""


class Partition(Section):
    """The split of ARC-AGI-1 into training and validation tasks (arc24 notebook 005)."""

    source: str
    """The source that holds ARC-AGI-1."""
    seed: NaturalInt
    """Seed of the draw; the published numbers have 7."""
    tasks: PositiveInt
    """Evaluation tasks drawn for validation; the others join the training tasks."""


class Measure(Section):
    """Which tasks a run is measured on, of which the scale takes the shortest."""

    source: str
    """A source: the partition's, or another one of tasks with splits."""
    part: str
    """Of the partition's source one of `MEASURABLE`; of another a split of it, or all."""


class Audit(Section):
    """What follows where training and validation have pairs in common."""

    drop: Literal["leaks", "none"]
    """leaks: training does without the tasks that leak into the measured part; none: they stay."""


class NewTaskWeights(Section):
    """How often each way of making a new task is drawn, against the others."""

    geometric: Weight
    """A symmetry of the square, but the one that changes nothing."""
    padding: Weight
    """A frame of one color, 1 to 5 wide."""
    upscale: Weight
    """Each cell becomes several, up to 4 on an axis."""
    mirror: Weight
    """The mirror image beside the grid."""

    @model_validator(mode="after")
    def _one_can_be_drawn(self) -> Self:
        if not any(value for _, value in self):
            raise ValueError("one weight or more is above 0, got 0 for all")
        return self


class NewTasks(Section):
    """New tasks from old: only the inputs or only the outputs of a sample are changed."""

    probability: Probability
    """Share of the samples that become new tasks; those with a side above 30 stay as they were."""
    weights: NewTaskWeights
    """The ways of it."""


class Augment(Section):
    """How a training sample differs from the entry it is drawn from."""

    symmetries: Annotated[int, Field(ge=1, le=8)]
    """Symmetries of the square that an entry comes in; 1: grids keep their orientation."""
    swap: bool | Literal["exchange"]
    """true: any pair of a task may be its test pair, all alike; exchange: the task as it is, or
    one demonstration and one test exchanged, all such alike; false: tests stay tests."""
    permute: bool
    """Whether the order of the training pairs is shuffled."""
    color_swaps: NaturalInt
    """Recolored samples for each one in the original colors; 0 never recolors."""
    preserve_colors: bool
    """Whether samples in the original colors stay in the mix."""
    background: Probability
    """Chance that a recoloring moves color 0, the background, too."""
    new_tasks: NewTasks
    """What is done on top to one side of the pairs."""


class Init(Section):
    """What the fine-tune starts from: the second of two stages starts from the first."""

    adapter: Annotated[str, Field(min_length=1)]
    """none: a fresh adapter; a row of the ledger, DATASET/SEED-FINGERPRINT; or a revision of git
    or an experiment of DVC, whose adapter is taken."""
    checkpoint: Literal["best", "last"]
    """The adapter of the lowest validation loss, or of the last step."""
    optimizer: Literal["fresh", "state"]
    """state: the moments that the optimizer had in the end are taken over, too; the learning
    rate and all else are this run's in either case."""

    @model_validator(mode="after")
    def _state_is_that_of_the_last_step(self) -> Self:
        if self.optimizer == "state" and self.checkpoint != "last":
            raise ValueError(
                "the optimizer's state is kept for the last step: set checkpoint to last,"
                f" or optimizer to fresh, got {self.checkpoint} and {self.optimizer}"
            )
        return self


class File(Section):
    """All of `params.yaml`."""

    report_to: Literal["none", "tensorboard", "wandb", "mlflow"]
    """A tracker that follows the fine-tune beside the record of it, by its own settings."""
    launch: str
    """The command that starts the stages finetune, adapt and predict, in one process or in several
    that share the work: python, or accelerate launch and its options."""
    dataset: str
    """The training dataset: a name in `datasets`."""
    model: str
    """The base model: a name in `models`."""
    scale: str
    """The budgets: a name in `scales`."""
    seed: NaturalInt
    """Seed of the training samples and their order, and of the views of a test."""
    init_seed: NaturalInt | Literal["seed"]
    """Seed of the adapter's start and of its dropout; seed: the same as `seed`."""
    init: Init
    """What the fine-tune starts from."""
    selection: Selection
    """The rule that selects the answers. vote_count: most candidates; vote_logprob: most
    candidates, then the highest mean log-probability per token; product: the highest product of the
    probabilities in all views, which needs `predict.rescore`; best: the most probable candidate."""
    mirror: str
    """Where archives come from: github, or a folder or base URL of REPO-COMMIT.tar.gz."""
    partition: Partition
    """The split into training and validation."""
    measure: Measure
    """The tasks of validation."""
    audit: Audit
    """The comparison of training with validation."""
    augment: Augment
    """The augmentation of training samples."""
    checkpoint: Literal["best", "last"]
    """The weights that answer: those of the lowest validation loss, or of the last step."""
    datasets: dict[str, Dataset]
    """Training datasets by name."""
    scales: dict[str, Scale]
    """Budgets by name."""
    models: dict[str, Model]
    """Base models by name."""
    sources: dict[str, Source]
    """Sources of tasks by name."""


def adapter_seed(seed: int, init_seed: int | Literal["seed"]) -> int:
    """Return the seed of an adapter's start and of its dropout."""
    return seed if init_seed == "seed" else init_seed
