"""Types of an entry of `scales` in `params.yaml`: the budgets of a run."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from arcmix.config.schema import NaturalInt, PositiveInt, Probability, Section

Encoder = Literal[
    "minimal", "separator", "repeat", "tokens", "row_number", "code_block", "shape", "symbols"
]
Parse = Literal["strict", "lenient"]
LearningRate = Annotated[float, Field(gt=0, le=10)]
"""AdamW moves each weight by about this much per step."""


class ScaleValidation(Section):
    """The number and the length of the tasks on which a run is measured."""

    tasks: PositiveInt
    """Number of tasks. The tasks of the measured part with the fewest cells are used."""
    max_tokens: PositiveInt
    """Maximum length in tokens of a prompt that is answered, and of a prompt with its right answer
    whose loss is measured. Longer ones are left out."""


class Prompt(Section):
    """The text of a task."""

    format: Literal["bare", "v0", "v1", "dialog"]
    """bare: grids and markers only. v0, v1, dialog: chats like those of arc24, in other words."""
    encoder: Annotated[tuple[Encoder, ...], Field(min_length=1)]
    """Grid encoders, innermost first, for example [minimal, row_number, shape]."""


class Lora(Section):
    """The low-rank adapter (Hu et al. 2021), with peft's terms."""

    rank: Annotated[int, Field(ge=1, le=2**14)]
    """Rank r of the update."""
    alpha: PositiveInt
    """Scale of the update: alpha / r, or alpha / sqrt(r) with `rslora`."""
    scale: Literal["alpha"] | Annotated[float, Field(gt=0, le=10**6)]
    """alpha: the scale follows from `alpha` and `rank`. A number: this is the scale, and `alpha` is
    not used."""
    dropout: Probability
    """Dropout on the adapter's input."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the adapted layers. [all-linear]: every linear layer except the head."""
    rslora: bool
    """Whether the scale is rank-stabilized: alpha / sqrt(r) (Kalajdzievski 2023)."""
    dora: bool
    """Whether the update is weight-decomposed (DoRA, Liu et al. 2024)."""
    init: Literal["default", "gaussian", "pissa", "olora"]
    """Initial weights of the adapter. default, gaussian: B = 0, so the update is zero. pissa: the
    principal components of the weights (Meng et al. 2024). olora: an orthonormal part of the
    weights (Buyukakyuz 2024)."""


class Finetune(Section):
    """The budget and the other settings of the fine-tune."""

    budget: NaturalInt
    """Length of the training, in `unit`. 0: nothing is trained, and the base model is measured, or
    the adapter that the run starts from."""
    unit: Literal["steps", "samples", "answer_tokens"]
    """Unit of `budget`. steps: optimizer steps. samples, answer_tokens: training ends with the step
    that reaches this number of samples, or of tokens with loss."""
    batch: PositiveInt
    """Number of samples per optimizer step."""
    micro_tokens: PositiveInt
    """Maximum number of tokens of one forward and backward pass. Samples of a step are packed up to
    it; a longer sample has a pass of its own. At test time on a GPU, the tasks whose samples fill
    it train side by side. Changes speed and memory, not the gradient."""
    max_tokens: PositiveInt
    """Maximum length of a training sample in tokens, prompt and answer together."""
    too_long: Literal["skip", "shorten"]
    """What happens to longer samples. skip: they are dropped and counted. shorten: they lose their
    last demonstrations until they fit; a sample that is too long with one demonstration is
    dropped."""
    loss: Literal["answer", "outputs"]
    """The tokens with loss. answer: the answer. outputs: every output of a sample except the
    first."""
    learning_rate: LearningRate
    """Peak learning rate."""
    schedule: Literal["linear", "constant", "cosine", "cosine_with_restarts", "cyclic"]
    """Schedule of the learning rate after the warmup. cyclic: each cycle has a warmup and a linear
    decay, and a lower peak than the cycle before (arc24, iteration 12)."""
    cycles: PositiveInt
    """Number of cycles of cosine_with_restarts and cyclic."""
    warmup: Probability
    """Share of the steps in which the learning rate rises; for cyclic, share of each cycle."""
    optimizer: Literal["adamw", "paged_adamw_8bit"]
    """adamw: AdamW. paged_adamw_8bit: AdamW of bitsandbytes with an 8-bit state; needs a GPU."""
    weight_decay: Annotated[float, Field(ge=0, le=1000)]
    """Decoupled weight decay of AdamW."""
    max_grad_norm: Annotated[float, Field(gt=0, le=10**9)]
    """Maximum norm of the gradient; a larger gradient is clipped to it."""
    dtype: Literal["bfloat16", "float32", "float16"]
    """Type of the model's weights and of the forward pass. Weights of an adapter are float32."""
    gradient_checkpointing: bool
    """Whether the backward pass recomputes activations, which takes less memory and more time."""
    eval_every: PositiveInt
    """Steps between two validation losses. Step 0 and the last step are always measured."""
    eval_tokens: PositiveInt
    """Maximum number of tokens of one forward pass of validation. Does not change the loss."""
    method: Literal["lora", "qlora", "full"]
    """The weights that are trained. lora: an adapter. qlora: an adapter on weights of 4 bits
    (Dettmers et al. 2023); needs a GPU. full: all weights."""
    lora: Lora
    """The adapter. Not used with method full."""

    @model_validator(mode="after")
    def _method_has_its_weights(self) -> Self:
        if self.method == "qlora" and self.lora.init in ("pissa", "olora"):
            raise ValueError(
                f"init {self.lora.init} decomposes the weights, but those of method qlora have"
                " only 4 bits; choose init default or gaussian, or method lora"
            )
        return self


class TestTime(Section):
    """Test-time fine-tuning: a fine-tune on each validation task alone.

    All settings that are not here are those of `finetune`.
    """

    steps: NaturalInt
    """Maximum number of optimizer steps per task. 0: no test-time fine-tuning."""
    batch: PositiveInt
    """Number of samples per optimizer step, drawn from the demonstrations of the task."""
    learning_rate: LearningRate
    """Peak learning rate."""
    eval_every: PositiveInt
    """Steps between two losses on the demonstrations of the task, each held out in turn."""
    patience: PositiveInt
    """Number of consecutive losses without a new minimum after which the task stops early."""


class Predict(Section):
    """The generation of answers."""

    views: Annotated[int, Field(ge=1, le=10**4)]
    """Number of augmented copies of each test that are answered. The first is the original."""
    search: Literal["greedy", "sample", "beam", "dfs"]
    """How answers are searched for. greedy: the most probable token at each step. sample: tokens
    drawn by their probabilities. beam: beam search. dfs: depth-first search for all answers above a
    probability (ARChitects 2024)."""
    width: Annotated[int, Field(ge=1, le=10**4)]
    """Number of answers that `sample` draws for a view, or number of beams of `beam`."""
    temperature: Annotated[float, Field(ge=10**-6, le=1000)]
    """Divisor of the logits in `sample`."""
    threshold: Annotated[float, Field(ge=10**-6, lt=1)]
    """Minimum probability of an answer of `dfs`."""
    grammar: bool
    """Whether only tokens that can continue the text of a grid are allowed."""
    draft: Literal["none", "copy", "views"]
    """The draft that `greedy` verifies (speculative decoding), which changes the time and not the
    answer. none: no draft. copy: the input of the test. views: the answer to the first view if it
    exists, otherwise the input of the test."""
    kv_format: Literal["none", "fp8_e5m2", "fp8_e4m3", "int8", "int4"]
    """Format to which the keys and values of attention are rounded. none: no rounding."""
    kv_static: bool
    """Whether memory for the keys and values of the longest answer is allocated in advance. On an
    NVIDIA GPU, passes are then recorded as CUDA graphs."""
    batch_tokens: PositiveInt | Literal["auto"]
    """Maximum number of tokens that are answered at once: the length of the longest prompt with its
    answer, times the number of answers. auto: as many as fit a quarter of the free memory of a GPU
    with their keys and values; 16384 on a CPU. It changes answers by rounding only."""
    max_side: Annotated[int, Field(ge=1, le=30)]
    """Height and width of the grid whose text sets the maximum length of an answer."""
    rescore: NaturalInt
    """Number of candidates per test that are scored in all views of the test. 0: no scores."""
    parse: Parse
    """What is a grid. strict: only the text that the encoder writes, with the end token. lenient:
    what arc24 reads as a grid, also with a wrong shape or row number, text after the grid, or no
    end."""


class Scale(Section):
    """The budgets of a run."""

    validation: ScaleValidation
    """The tasks on which a run is measured."""
    samples: PositiveInt
    """Number of training samples drawn. `finetune` drops or shortens samples that are too long."""
    prompt: Prompt
    """The text of a task."""
    finetune: Finetune
    """The fine-tune."""
    test_time: TestTime
    """The test-time fine-tuning."""
    predict: Predict
    """The generation of answers."""

    @model_validator(mode="after")
    def _test_time_needs_an_adapter(self) -> Self:
        if self.test_time.steps and self.finetune.method == "full":
            raise ValueError(
                "test-time fine-tuning needs an adapter, but finetune.method is full; set"
                " test_time.steps to 0, or choose method lora or qlora"
            )
        return self
