"""Types of `params.yaml` after its defaults are merged; the types of budgets are in `scales`.

No field has a default and no validator changes a value, because DVC sees only the file. A name that
an entry may leave out is None, which is no value.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from arcmix import redaction
from arcmix.config import command
from arcmix.config.document import shown
from arcmix.config.origins import Model, Source
from arcmix.config.scales import Scale
from arcmix.config.schema import Name, NaturalInt, PositiveInt, Probability, Section, Seed
from arcmix.config.studies import Study

PARTITION_TABLES = (
    "train",
    "evaluation",
    "new-train",
    "val-n-1",
    "val-demonstrations",
    "measured",
)
"""The task tables that stage `partition` writes: tables of ARC-AGI-1, and the measured tasks."""

MEASURABLE = ("validation", "train", "evaluation", "new-train", "val-n-1")
"""The parts of ARC-AGI-1 that can be measured: the drawn validation tasks, or a table."""

Weight = Annotated[float, Field(ge=0, le=10**6)]
All = Literal["all"]
Percent = Annotated[str, Field(pattern=r"^(100|[1-9]?\d)(\.\d+)?%$")]


def _share(value: object) -> object:
    """Refuse a fraction, which stands for a share, but is no number of tasks."""
    if isinstance(value, float):
        raise ValueError(  # noqa: TRY004 - the file is wrong, not the caller's type
            f"a share has a percent sign: write {100 * value:g}%, got {value}"
        )
    return value


Part = Annotated[All | PositiveInt | Percent, BeforeValidator(_share)]
Share = Annotated[All | Percent, BeforeValidator(_share)]
Selection = Literal["vote_count", "vote_logprob", "product", "best"]
Checkpoint = Literal["best", "last"]
Tracker = Literal["none", "tensorboard", "wandb", "mlflow"]
InitSeed = Seed | Literal["seed"]


def _mirror(place: str) -> str:
    if (hidden := redaction.redacted(place)) != place:
        raise ValueError(
            f"the mirror has credentials, {shown(hidden)}, and git and dvc.lock would keep them;"
            " set the environment variable ARCMIX_MIRROR instead"
        )
    scheme, url, _ = place.rpartition("://")
    if "::" in place or (url and scheme not in ("https", "http")):
        raise ValueError(
            "a mirror is github, a folder, or a URL that starts with https:// or http://, got"
            f" {shown(place)}"
        )
    return place


PATH_STARTS = ("/", "./", "../", "~/")
"""Starts of a path in `init.adapter`; no name of a row or of a revision starts so."""


def _run(name: str) -> str:
    if name.startswith(PATH_STARTS):
        return name
    if name.startswith("-") or ".." in name or set(name) & set(" \\:*?["):
        raise ValueError(
            "none, a row of the ledger, a git revision or an experiment has no leading -, no .. and"
            f" none of space \\ : * ? [, and a path starts with {' or '.join(PATH_STARTS)}, got"
            f" {shown(name)}"
        )
    return name


Mirror = Annotated[str, Field(min_length=1), AfterValidator(_mirror)]
Run = Annotated[str, Field(min_length=1), AfterValidator(_run)]
Launch = Annotated[str, AfterValidator(command.checked)]


class Component(Section):
    """One part of a training dataset."""

    tasks: Name
    """The task table: a table of the partition or a source. By default, it is the table with the
    name of the component. Set it to use one table in two components."""
    split: All | Name
    """The part of the table: all of it, or one split. All other settings apply to this part."""
    subset: Part
    """The tasks that are used: all, a number, or a share such as 20%. A smaller selection is a
    subset of each larger one."""
    hardest: Share
    """The share of each task's variations that is used: those with the highest PSO-difficulty.
    Only tasks of generators have a difficulty; for other tasks, set it to all."""
    variations: All | PositiveInt
    """Maximum number of variations of each task. Only generators draw more than one."""
    pool: bool
    """Whether each sample draws its pairs from all variations of a task, not from one of them."""
    examples: All | PositiveInt
    """Maximum number of demonstrations of each task. A smaller selection is a subset of each
    larger one."""
    n_minus: Annotated[int, Field(ge=0, le=2)]
    """Number of times that a demonstration is left out and becomes the only test. 0: tasks keep
    their tests. 1: one task for each left-out demonstration. 2: these tasks, and the tasks from
    the same step on each of them."""
    per_test: bool
    """Whether a task with k tests becomes k entries with one test each."""
    weight: Annotated[int, Field(ge=1, le=10**4)]
    """Number of times that each entry is drawn in one pass over the dataset."""

    @model_validator(mode="after")
    def _pool_is_one_entry(self) -> Self:
        if self.pool and (self.n_minus or self.per_test):
            raise ValueError(
                "a pool is one entry, so it needs n_minus 0 and per_test false, got n_minus"
                f" {self.n_minus} and per_test {self.per_test}; change them, or set pool to false"
            )
        return self


Dataset = Annotated[dict[str, Component], Field(min_length=1)]
"""A training dataset: name -> component."""


class Partition(Section):
    """The split of ARC-AGI-1 into training and validation tasks (arc24, notebook 005)."""

    source: Name
    """The source with the tasks of ARC-AGI-1."""
    seed: Seed
    """Seed of the draw. The published numbers use 7."""
    tasks: PositiveInt
    """Number of evaluation tasks drawn for validation. The table `new-train` contains the others
    and the training tasks."""


class Measure(Section):
    """The tasks on which a run is measured. The scale selects the shortest of them."""

    source: Name
    """The source of the tasks: the partition's source, or another source that has splits."""
    part: Name
    """The part of the source. For the partition's source: validation, train, evaluation, new-train
    or val-n-1. For another source: the name of a split, or all."""


class Ablation(Section):
    """The comparisons of the ablation table."""

    baseline: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Names of datasets. The first one that a table has is what its other rows are compared with.
    Rows that were trained on validation demonstrations are in a table of their own."""


class Audit(Section):
    """The treatment of pairs that training and validation share."""

    drop: Literal["leaks", "none"]
    """leaks: drop the training tasks that leak into the measured part; none: keep them."""


class NewTaskWeights(Section):
    """Relative frequencies of the changes that make a new task."""

    geometric: Weight
    """Weight of a rotation or reflection of the grid."""
    padding: Weight
    """Weight of a frame of one color, 1 to 5 cells wide."""
    upscale: Weight
    """Weight of an enlargement: each cell becomes a block of up to 4 x 4 cells."""
    mirror: Weight
    """Weight of appending the mirror image to the grid."""

    @model_validator(mode="after")
    def _one_can_be_drawn(self) -> Self:
        if not any(value for _, value in self):
            raise ValueError("all weights are 0; set at least one of them above 0")
        return self


class NewTasks(Section):
    """New tasks, made by a change of only the inputs or only the outputs of a sample."""

    probability: Probability
    """Share of the samples that become new tasks. A sample stays as it is if no change of the drawn
    kind keeps its sides within 30."""
    weights: NewTaskWeights
    """Relative frequencies of the changes."""


class Augment(Section):
    """The augmentation: the differences between a training sample and its entry."""

    symmetries: Annotated[int, Field(ge=1, le=8)]
    """Number of symmetries of the square in which an entry occurs. 1: only its own orientation."""
    swap: bool | Literal["exchange"]
    """Which pair is the test of a sample. true: any pair of the task, with equal probability.
    false: a test of the task. exchange: as false, or one demonstration and one test are exchanged;
    the task without an exchange and each exchange have equal probability, and a pass draws a task
    once for each of them and each of its tests."""
    permute: bool
    """Whether the order of the demonstrations is shuffled."""
    color_swaps: NaturalInt
    """Number of recolored samples per sample in the original colors. 0: no recoloring."""
    preserve_colors: bool
    """Whether samples in the original colors are drawn. false: all samples are recolored, unless
    `color_swaps` is 0."""
    background: Probability
    """Probability that a recoloring also permutes color 0, the background."""
    new_tasks: NewTasks
    """The change that makes a sample a new task."""


class Init(Section):
    """The start of the fine-tune: a new adapter, or the adapter of an earlier run."""

    adapter: Run
    """none: a new adapter. Otherwise the run whose adapter is the start: a row of the ledger,
    DATASET/SEED-FINGERPRINT, a git revision, or the name of a DVC experiment. Or a folder with an
    adapter of peft: a path that starts with / or ~/, or one from the root of the repository that
    starts with ./ or ../."""
    checkpoint: Checkpoint
    """The adapter of that run. best: of the lowest validation loss; last: of the last step. A
    folder has one adapter."""
    optimizer: Literal["fresh", "state"]
    """fresh: the optimizer starts without state. state: it starts with the moments of that run's
    optimizer. The learning rate and all other settings are those of this run in both cases."""

    @model_validator(mode="after")
    def _state_is_that_of_the_last_step(self) -> Self:
        if self.optimizer == "state" and self.checkpoint != "last":
            raise ValueError(
                "the optimizer's state is saved only for the last step, got checkpoint"
                f" {self.checkpoint} with optimizer {self.optimizer}; set checkpoint to last, or"
                " optimizer to fresh"
            )
        return self


class File(Section):
    """The whole of `params.yaml`."""

    report_to: Tracker
    """The experiment tracker to which the fine-tune also reports. The tracker has its own
    settings, for example in environment variables."""
    launch: Launch
    """The command that starts the stages finetune, adapt and predict: python for one process, or
    accelerate launch with its options for several processes that share the work. `config.command`
    has the options that are allowed."""
    dataset: Name
    """The training dataset: a name in `datasets`."""
    model: Name
    """The base model: a name in `models`."""
    scale: Name
    """The budgets: a name in `scales`."""
    seed: Seed
    """Seed of the training samples, of their order, and of the views of a test."""
    init_seed: InitSeed
    """Seed of the adapter's initial weights and of its dropout. seed: the value of `seed`."""
    init: Init
    """The start of the fine-tune."""
    selection: Selection
    """The rule that selects the answers. vote_count: the grids with most candidates. vote_logprob:
    the same, with ties broken by the mean log-probability per token. product: the grids with the
    highest product of their probabilities in all views; needs `predict.rescore` above 0. best: the
    candidates with the highest probability."""
    mirror: Mirror
    """The origin of archives: github, or a folder or base URL that contains REPO-COMMIT.tar.gz."""
    partition: Partition
    """The split into training and validation."""
    measure: Measure
    """The tasks on which a run is measured."""
    audit: Audit
    """The treatment of pairs that training and validation share."""
    ablation: Ablation
    """The comparisons of the ablation table."""
    augment: Augment
    """The augmentation of training samples."""
    checkpoint: Checkpoint
    """The adapter that answers. best: of the lowest validation loss; last: of the last step."""
    datasets: dict[str, Dataset]
    """Training datasets by name."""
    scales: dict[str, Scale]
    """Budgets by name."""
    models: dict[str, Model]
    """Base models by name."""
    sources: dict[str, Source]
    """Sources of tasks by name."""
    studies: dict[str, Study]
    """Studies by name: sets of runs for `make study`."""
