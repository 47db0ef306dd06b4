"""What an entry of `scales` in `params.yaml` may hold, typed, as `params` has the rest."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from arcmix.config.schema import NaturalInt, PositiveInt, Probability, Section


class ScaleValidation(Section):
    """How many tasks a run is measured on, and how long."""

    tasks: PositiveInt
    """How many tasks of the measured part: those with the fewest cells."""
    max_tokens: PositiveInt
    """Longest prompt that is answered, and longest prompt and answer that have a loss."""


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
    """Whether the room that keys and values take without drafts is reserved at once."""
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
    samples: PositiveInt
    """Training samples drawn; `finetune` skips or shortens those over its token limit."""
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
