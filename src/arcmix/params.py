"""What `params.yaml` may hold, typed.

Nothing here has a default and no validator changes a value: a default would be a value
that DVC cannot see.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from arcmix.schema import Section

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

PositiveInt = Annotated[int, Field(ge=1)]
NaturalInt = Annotated[int, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
All = Literal["all"]
Percent = Annotated[str, Field(pattern=r"^(100|[1-9]?\d)(\.\d+)?%$")]
Selection = Literal["vote", "vote_logprob", "product", "best"]
Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]


class Tasks(Section):
    """What a source must hold once parsed; a mismatch stops the download."""

    max_side: Annotated[int, Field(ge=1, le=255)]
    """Longest side of a grid; a task with a longer one is rejected and counted."""
    tasks: PositiveInt
    """Number of tasks."""
    tests: PositiveInt
    """Number of test pairs."""
    digest: Sha256
    """sha256 over the parsed tasks (`tasks.digest`), whatever file they came in."""


class PackageSource(Tasks):
    """Tasks in a data file of an installed Python package."""

    kind: Literal["package"]
    """How the tasks are had."""
    package: str
    """Name of the package."""
    file: str
    """Path of a JSON file inside the package: key of a split -> task id -> task."""
    splits: dict[str, str]
    """Split -> its key in the file."""


class ArchiveSource(Tasks):
    """Tasks in the archive of a GitHub repository at one commit, one JSON file each."""

    kind: Literal["archive"]
    """How the tasks are had."""
    repository: Annotated[str, Field(pattern="^[^/]+/[^/]+$")]
    """OWNER/REPO on GitHub."""
    commit: Commit
    """The pinned commit; quoted, since some hashes read as numbers."""
    files: dict[str, tuple[str, ...]]
    """Split -> glob patterns of its files inside the repository; a task's id is the stem, its group
    the folder that a wildcard matches."""


class GeneratorSource(Section):
    """RE-ARC: tasks drawn by the 400 generators that the reasoning-gym wheel carries."""

    kind: Literal["generator"]
    """How the tasks are had."""
    requirement: str
    """The wheel on the package index, `name==version`."""
    sha256: Sha256
    """Hash of the wheel."""
    seed: NaturalInt
    """Seed of the draws; each generator has a stream of its own."""
    variations: PositiveInt
    """Tasks drawn from each generator."""
    examples: Annotated[int, Field(ge=2)]
    """Pairs of each drawn task; the last is its test pair."""
    max_side: Annotated[int, Field(ge=1, le=255)]
    """Longest side of a grid; an example with a longer one is drawn again and counted."""
    tasks: PositiveInt
    """Number of generators."""


class CountingSource(Section):
    """Learn-to-count: grids of random objects, drawn here; each is a task of its own."""

    kind: Literal["counting"]
    """How the tasks are had."""
    seed: NaturalInt
    """Seed of the draws; grid i depends on it and on i."""
    max_side: Annotated[int, Field(ge=3, le=30)]
    """Longest side of a grid; the shortest is 3."""
    curriculum: PositiveInt
    """Draws of which each side is the smallest: 1 makes all sides as frequent, more of them
    make small grids more frequent."""
    objects: PositiveInt
    """Most objects of a grid; small grids have no place for many."""
    background: Probability
    """Chance that the background may be of any color; else it is 0."""
    tasks: PositiveInt
    """Number of grids."""


Source = Annotated[
    PackageSource | ArchiveSource | GeneratorSource | CountingSource, Field(discriminator="kind")
]


class Component(Section):
    """One part of a training dataset."""

    tasks: str
    """A task table: one of `PARTITION_TABLES`, or a source."""
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


class WheelModel(Section):
    """A GGUF model inside a wheel of the package index."""

    kind: Literal["wheel"]
    """How the model is had."""
    requirement: str
    """The wheel, `name==version`."""
    sha256: Sha256
    """Hash of the wheel."""
    file: str
    """Path of the GGUF file inside the wheel."""


class HubModel(Section):
    """A repository of the Hugging Face hub at one revision."""

    kind: Literal["hub"]
    """How the model is had."""
    repository: Annotated[str, Field(pattern="^[^/]+/[^/]+$")]
    """OWNER/NAME on the hub."""
    revision: Commit
    """The pinned commit."""


class FolderModel(Section):
    """A local folder in Hugging Face format."""

    kind: Literal["folder"]
    """How the model is had."""
    path: str
    """The folder; `~` is expanded."""


class RandomModel(Section):
    """A Llama of random weights with a character tokenizer, for tests and rehearsals."""

    kind: Literal["random"]
    """How the model is had."""
    seed: NaturalInt
    """Seed of the weights."""
    hidden: PositiveInt
    """Width of the residual stream."""
    layers: PositiveInt
    """Number of decoder layers."""
    heads: PositiveInt
    """Attention heads; twice their number divides `hidden`."""
    positions: PositiveInt
    """Longest sequence in tokens."""

    @model_validator(mode="after")
    def _heads_have_even_widths(self) -> Self:
        # Rotary position embeddings turn pairs of features.
        if self.hidden % (2 * self.heads):
            raise ValueError(f"2 * heads divides hidden, got {self.heads} for {self.hidden}")
        return self


Model = Annotated[WheelModel | HubModel | FolderModel | RandomModel, Field(discriminator="kind")]


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


class ScaleValidation(Section):
    """How many tasks a run is measured on, and how long."""

    tasks: PositiveInt
    """How many tasks of the measured part: those with the fewest cells."""
    max_tokens: PositiveInt
    """Longest prompt and answer together; a longer one has no loss and no answer."""


class ScaleAugment(Section):
    """How much training data is drawn."""

    samples: PositiveInt
    """Samples drawn; `finetune` passes over those that fit its token limit."""


class Prompt(Section):
    """How a task becomes text."""

    format: Literal["bare", "v0", "v1", "dialog"]
    """bare: grids and markers only; v0, v1, dialog: the chat prompts of arc24."""
    encoder: Annotated[tuple[str, ...], Field(min_length=1)]
    """Grid encoders from the inside out, e.g. [minimal, row_number, shape]."""


class Lora(Section):
    """The low-rank adapter (Hu et al. 2021), as peft names its parts."""

    rank: PositiveInt
    """Rank r of the update."""
    alpha: PositiveInt
    """Scale of the update: alpha / r, or alpha / sqrt(r) with `rslora`."""
    scale: Literal["alpha"] | Annotated[float, Field(gt=0)]
    """alpha: as `alpha` gives it; a number: this scale at every rank, whatever `alpha`."""
    dropout: Probability
    """Dropout on the adapter's input."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the adapted layers; [all-linear] for every one but the head."""
    rslora: bool
    """Rank-stabilised scale (Kalajdzievski 2023)."""
    dora: bool
    """Weight-decomposed update (Liu et al. 2024)."""
    init: Literal["default", "gaussian", "pissa", "olora"]
    """Start of the update: zero by B = 0 (default, gaussian), or the weights' principal (pissa,
    Meng et al. 2024) or orthonormal part (olora, Buyukakyuz 2024)."""


class Finetune(Section):
    """The budget and the settings of a fine-tune."""

    budget: PositiveInt
    """How long it trains, in `unit`."""
    unit: Literal["steps", "samples", "answer_tokens"]
    """Optimizer steps, or as few of them as see so many samples or tokens that carry loss."""
    batch: PositiveInt
    """Samples of one optimizer step."""
    micro_tokens: PositiveInt
    """Tokens of one forward and backward pass: samples of a step are packed up to it, one of
    more tokens goes alone. Changes speed and memory, not the gradient."""
    max_tokens: PositiveInt
    """Longest training sample, prompt and answer."""
    too_long: Literal["skip", "shorten"]
    """A longer sample. skip: is dropped and counted; shorten: loses its last demonstrations until
    it fits or has one left, and is dropped if that is too long."""
    loss: Literal["answer", "outputs"]
    """What carries loss: the answer, or every output of a sample but the first."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate."""
    schedule: Literal["linear", "constant", "cosine", "cosine_with_restarts", "cyclic"]
    """Course of the learning rate after the warmup; cyclic: warmup and linear fall in every
    cycle, each peak lower than the last (arc24, iteration 12)."""
    cycles: PositiveInt
    """Cycles of the two schedules that have them."""
    warmup: Probability
    """Share of the steps, or of each cycle of cyclic, in which the learning rate rises."""
    optimizer: Literal["adamw", "paged_adamw_8bit"]
    """AdamW, or bitsandbytes' with a state of 8 bits, which needs a GPU."""
    weight_decay: Annotated[float, Field(ge=0)]
    """AdamW's decoupled weight decay."""
    max_grad_norm: Annotated[float, Field(gt=0)]
    """Gradients are clipped to this norm."""
    dtype: Literal["bfloat16", "float32", "float16"]
    """Type of the weights and of the forward pass; an adapter's own are float32."""
    gradient_checkpointing: bool
    """Whether activations are computed again in the backward pass: less memory, more time."""
    cut_vocabulary: bool
    """Whether the softmax is over the tokens that training and validation have, and no others:
    less time and memory, and a loss that compares only with others like it."""
    eval_every: PositiveInt
    """Steps between validation losses; step 0 and the last step are always measured."""
    eval_tokens: PositiveInt
    """Tokens of one forward pass of validation; does not change the loss."""
    method: Literal["lora", "qlora", "full"]
    """What trains: an adapter, one on weights of 4 bits (Dettmers et al. 2023, needs a GPU), or
    all weights."""
    lora: Lora
    """The adapter; a full fine-tune has none."""

    @model_validator(mode="after")
    def _method_has_its_weights(self) -> Self:
        if self.method == "qlora" and self.lora.init in ("pissa", "olora"):
            raise ValueError(
                f"qlora has weights of 4 bits, which init {self.lora.init} cannot take a part of;"
                " choose init default or gaussian, or method lora"
            )
        if self.method == "full" and self.cut_vocabulary:
            raise ValueError(
                "a full fine-tune of a cut vocabulary would save a model without the others'"
                " embeddings; set cut_vocabulary to false or choose method lora"
            )
        return self


class TestTime(Section):
    """Fine-tuning on each validation task alone, as in the fine-tune but for what is here."""

    steps: NaturalInt
    """Most optimizer steps of a task; 0 for no such fine-tuning."""
    batch: PositiveInt
    """Samples of one optimizer step, drawn from the task's demonstrations."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate."""
    eval_every: PositiveInt
    """Steps between losses on the task's own demonstrations, each held out in turn."""
    patience: PositiveInt
    """A task stops after so many losses in a row that are no better than the best before."""


class Predict(Section):
    """How answers are generated."""

    checkpoint: Literal["best", "last"]
    """The adapter of the lowest validation loss, or of the last step."""
    views: PositiveInt
    """Augmented copies of each test, each answered; the first is the original."""
    search: Literal["greedy", "sample", "beam", "dfs"]
    """How an answer is found: token by token the most probable one, drawn, the best of several
    kept side by side, or all answers above a probability (ARChitects 2024)."""
    width: PositiveInt
    """Answers to a view: how many are drawn, or kept side by side."""
    temperature: Annotated[float, Field(gt=0)]
    """What `sample` divides the logits by."""
    threshold: Annotated[float, Field(gt=0, lt=1)]
    """The least probability of an answer of `dfs`."""
    grammar: bool
    """Whether an answer has to be a grid; the model's own choice stands where it can be one."""
    draft: Literal["none", "copy", "views"]
    """What `greedy` reads ahead, which changes the time and not the answer: nothing, the test's
    input, or the answer to the first view where there is one."""
    kv_format: Literal["none", "fp8_e5m2", "fp8_e4m3", "int8", "int4"]
    """What keys and values of attention are rounded to; `none` leaves them as they are."""
    kv_static: bool
    """Whether the room for keys and values is reserved at once, and does not grow."""
    batch_tokens: PositiveInt
    """Most tokens of a batch: the longest prompt and answer, times the answers."""
    max_side: Annotated[int, Field(ge=1, le=30)]
    """An answer may take the tokens of a grid of this height and width."""
    rescore: Annotated[int, Field(ge=0)]
    """How many of a test's candidates are scored in all of its views; 0 for no scores."""


class Scale(Section):
    """How much of everything: the budgets of one run."""

    validation: ScaleValidation
    """Tasks of validation."""
    augment: ScaleAugment
    """Amount of training data."""
    prompt: Prompt
    """The text of a task."""
    finetune: Finetune
    """The fine-tune."""
    test_time: TestTime
    """The fine-tuning on each validation task."""
    predict: Predict
    """The answers."""

    @model_validator(mode="after")
    def _an_adapter_goes_back_to_its_start(self) -> Self:
        if self.test_time.steps and self.finetune.method == "full":
            raise ValueError(
                "test-time fine-tuning keeps an adapter of each task, got finetune.method full;"
                " set test_time.steps to 0 or choose method lora"
            )
        return self


class File(Section):
    """All of `params.yaml`."""

    report_to: Literal["none", "tensorboard", "wandb", "mlflow"]
    """A tracker that follows the fine-tune beside the record of it, by its own settings."""
    launch: str
    """The command that starts the program of the fine-tune, in one process or in several that
    share each step: python, or accelerate launch and its options."""
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
    """What answers are chosen by. vote: the number of candidates; vote_logprob: that, then their
    mean log-probability per token; product: the probability in all views, which needs
    `predict.rescore`; best: the probability of a single candidate."""
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
    datasets: dict[str, Annotated[tuple[Component, ...], Field(min_length=1)]]
    """Training datasets by name."""
    scales: dict[str, Scale]
    """Budgets by name."""
    models: dict[str, Model]
    """Base models by name."""
    sources: dict[str, Source]
    """Sources of tasks by name."""
