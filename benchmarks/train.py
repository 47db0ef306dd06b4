"""A training step of arcmix, compared with the `SFTTrainer` of TRL.

All ways have the same samples in the same order, and the same model, adapter, dtype and optimizer:

- `TRL, padded`: TRL tokenizes the texts, pads a batch to its longest sample and trains on the
  answers.
- `TRL, packed`: the same in rows of `micro_tokens` without padding, with the best attention that is
  installed. TRL packs all samples before the first step, so its steps are other ones.
- `arcmix`: as stage `finetune` trains.

Gradient checkpointing and autocast are off, although TRL turns them on by default, because both
cost time, autocast most of the time on a CPU. For loss on all outputs, TRL gets the tokens and
labels of arcmix, because it cannot derive them from texts; it does not pack them.

Each way takes all steps twice. The first time warms up: caches, kernels and plans for each shape.
The benchmark verifies that all ways but the packed one have equal losses in all steps. If a way
does not fit into the card's memory, it gets half of the tokens in a pass until it fits.
"""

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import datasets
import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from arcmix.config import scales
from arcmix.models import adapters, loss, pretrained
from arcmix.sampling import augment, sample_table
from arcmix.text import fastpath, prompt
from arcmix.text.tokenization import Example
from arcmix.training import finetune, trainer
from arcmix.training.plan import Plan
from benchmarks import harness, sft
from benchmarks.harness import Setting, Used

DRAWN = 100_000
"""Number of samples from which samples of a length are selected."""

CHUNK = 512
"""Number of samples drawn at once."""

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.02}
"""Maximum relative difference of two losses that should be equal."""

HEAD = (
    "s/step",
    "wall s/step",
    "tokens/s",
    "labelled/s",
    "not padding",
    "tokens a pass",
    "peak MiB",
    "MFU",
    "loss",
    "x tokens/s",
    "x labelled/s",
)


@dataclass(frozen=True)
class Way:
    """A way to train, which is a row of the table."""

    name: str
    trainer: Literal["padded", "packed", "arcmix"]
    """The trainer: that of TRL with or without padding, or that of arcmix."""
    settings: scales.Finetune
    parts: int = 1
    """Number of passes of a step, or of a row of arcmix, for want of memory."""


@dataclass(frozen=True)
class Result:
    """What the timed steps of a way took."""

    used: Used
    """Time of the second half of the steps, and memory of all steps."""
    losses: list[float]
    """Loss of each step, of the first ones too."""
    tokens: int
    """Number of tokens without padding."""
    labelled: int
    """Number of tokens with loss."""
    padded: int
    """Number of tokens with padding."""
    largest: int
    """Number of tokens of the largest pass, with padding."""
    parameters: int
    """Number of parameters of the model, without its embeddings."""


class Clock(TrainerCallback):
    """Reads the clock after half of the steps and after the last one, and collects the losses."""

    def __init__(self) -> None:
        self.read: list[tuple[float, float]] = []
        self.losses: list[float] = []

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **__: object
    ) -> None:
        """Read the clock, but not after each step, because a card would have to wait for it."""
        del args, control
        if state.global_step in (state.max_steps // 2, state.max_steps):
            self.read.append((harness.clock(), time.perf_counter()))

    def on_log(self, *_: object, logs: dict[str, float], **__: object) -> None:
        """Collect the loss."""
        if "loss" in logs:
            self.losses.append(logs["loss"])


def samples(
    setting: Setting,
    tokenizer: pretrained.PreTrainedTokenizerBase,
    style: prompt.Style,
    lengths: tuple[int, int],
    count: int,
) -> list[tuple[prompt.Text, Example]]:
    """Return the texts and the tokens of `count` samples in a range of lengths.

    Raises:
        ValueError: If the tasks have too few samples of these lengths.
    """

    def fitting() -> Iterator[tuple[prompt.Text, Example]]:
        pool, slots = augment.pool(setting.tasks), np.arange(len(setting.tasks))
        shown = sample_table.from_pairs([(*task.train, *task.test) for task in setting.tasks[:9]])
        tokenize = fastpath.sample_tokenizer(tokenizer, style, shown)
        for first in range(0, DRAWN, CHUNK):
            chunk = augment.draw(pool, slots, setting.augment, harness.SEED, first, CHUNK)
            for pairs, example in zip(sample_table.split(chunk), tokenize(chunk), strict=True):
                if lengths[0] <= len(example.input_ids) <= lengths[1]:
                    *demonstrations, test = pairs
                    text = prompt.render(style, demonstrations, test.input, test.output)
                    yield text, Example(*map(np.copy, example))

    found = [one for _, one in zip(range(count), fitting(), strict=False)]
    if len(found) < count:
        raise ValueError(
            f"of {DRAWN} samples, {len(found)} have {lengths[0]} to {lengths[1]} tokens, and"
            f" {count} are needed; choose other --lengths, or other --tasks"
        )
    return found


def measure(setting: Setting, way: Way, lengths: tuple[int, int], steps: int) -> Result:
    """Return the result of a way; call this by `harness.alone`."""
    torch.set_num_threads(setting.threads)
    pretrained.quiet()
    datasets.disable_progress_bars()
    settings = way.settings
    tokenizer, style = adapters.load_text(setting.adapter, settings.loss)
    drawn = samples(setting, tokenizer, style, lengths, steps * settings.batch)
    texts, examples = zip(*drawn, strict=True)
    if way.trainer == "arcmix":
        # Without an earlier adapter, it makes a new one.
        none = setting.base_model / "none"
        model = finetune.load(
            setting.base_model, none, setting.prompt, settings, harness.SEED
        ).model
    else:
        model = sft.tuned(setting.base_model, settings, packed=way.trainer == "packed")
    parameters = model.num_parameters(exclude_embeddings=True)
    clock, sizes = Clock(), [len(one.input_ids) for one in examples]
    with tempfile.TemporaryDirectory() as folder:
        if way.trainer == "arcmix":
            settings = loss.fitted(settings, model).model_copy(update={"budget": 2 * steps})
            settings = _smaller(settings, way.parts)
            plan = Plan(examples, examples[:1], settings, harness.SEED, "none", None)
            runner = trainer.trainer(model, tokenizer, plan, Path(folder), clock)
            padded, largest = sum(sizes), max(settings.micro_tokens, *sizes)
        else:
            runner = sft.trainer(
                model,
                tokenizer,
                (texts, examples),
                settings,
                steps,
                parts=way.parts,
                packed=way.trainer == "packed",
                folder=Path(folder),
            )
            runner.add_callback(clock)
            passes = sft.passes(runner)
            padded, largest = sum(map(_padded, passes)), max(map(_padded, passes))
            if way.trainer == "packed":
                padded, largest = sum(sizes), max(map(sum, passes))
        with torch.inference_mode():
            # Weights that are mapped from a file are in memory only after their first use.
            model(torch.zeros(1, 8, dtype=torch.long, device=model.device))
        meter = harness.Meter()
        runner.train()
        peak = meter.read().peak
    (seconds, wall), (ended, wall_ended) = clock.read
    return Result(
        used=Used(ended - seconds, wall_ended - wall, peak),
        losses=clock.losses,
        tokens=sum(sizes),
        labelled=sum(one.trained_tokens for one in examples),
        padded=padded,
        largest=largest,
        parameters=parameters,
    )


def _smaller(settings: scales.Finetune, parts: int) -> scales.Finetune:
    return settings.model_copy(update={"micro_tokens": max(1, settings.micro_tokens // parts)})


def _padded(lengths: Sequence[int]) -> int:
    return max(lengths) * len(lengths)


def fitted(setting: Setting, way: Way, lengths: tuple[int, int], steps: int) -> Result:
    """Return the result of a way, with as few tokens in a pass as the card's memory needs."""
    while True:
        try:
            return harness.alone(measure, setting, way, lengths, steps)
        except torch.OutOfMemoryError:
            if way.parts >= way.settings.batch:
                raise
        harness.forget()
        way = dataclasses.replace(way, parts=2 * way.parts)
        print(f"{way.name}: out of memory; {way.parts} passes instead", file=sys.stderr)


def ways(settings: scales.Finetune, micro_tokens: Sequence[int]) -> list[Way]:
    """Return the ways that are compared; the first one is the baseline."""
    own = [
        Way(
            "arcmix" if micro_tokens == [settings.micro_tokens] else f"arcmix, rows of {tokens}",
            "arcmix",
            settings.model_copy(update={"micro_tokens": tokens}),
        )
        for tokens in micro_tokens
    ]
    if settings.loss != "answer":
        return [Way("TRL, padded, our labels", "padded", settings), *own]
    return [Way("TRL, padded", "padded", settings), Way("TRL, packed", "packed", settings), *own]


def check(found: Sequence[tuple[Way, Sequence[Result]]]) -> None:
    """Check that all ways but the packed one have the same losses.

    Raises:
        ValueError: If the losses of two ways differ.
    """
    alike = [(way, results[0].losses) for way, results in found if way.trainer != "packed"]
    (_, expected), *others = alike
    for way, losses in others:
        if not np.allclose(losses, expected, rtol=TOLERANCE[way.settings.dtype]):
            raise ValueError(
                f"{way.name}: the losses of the steps are {losses}, but those of TRL {expected};"
                " they have to be equal: correct arcmix.training"
            )


def row(results: Sequence[Result], first: Sequence[Result], rate: float, steps: int) -> list[str]:
    """Return the cells of a way, with medians over the repeats.

    Args:
        results: The results of the way.
        first: The results of the baseline.
        rate: Measured operations per second of matrix products.
        steps: Number of timed steps of the samples.
    """
    seconds, base = (
        statistics.median(one.used.seconds for one in found) for found in (results, first)
    )
    one = results[0]
    # A frozen weight needs two operations in the forward pass and two in the backward pass, for
    # the gradient of the activations.
    operations = 4 * one.parameters * one.tokens
    return [
        f"{seconds / steps:.2f}",
        f"{statistics.median(each.used.wall for each in results) / steps:.2f}",
        f"{one.tokens / seconds:,.0f}",
        f"{one.labelled / seconds:,.0f}",
        f"{100 * one.tokens / one.padded:.0f} %",
        f"{one.largest:,}",
        f"{statistics.median(each.used.peak for each in results):,.0f}",
        f"{100 * operations / seconds / rate:.1f} %",
        f"{one.losses[-1]:.4f}",
        f"{base / seconds:.2f}",
        f"{one.labelled / first[0].labelled * base / seconds:.2f}",
    ]


def compare(setting: Setting, given: argparse.Namespace) -> None:
    """Print a table for each length of samples."""
    rate = harness.alone(harness.matrix_rate, setting.dtype, setting.threads)
    limit = setting.finetune.max_tokens
    cases = [(length * 7 // 8, length) for length in given.lengths or ()] or [(1, limit)]
    for lengths in cases:
        first: list[Result] = []
        for part in given.loss:
            settings = _settings(setting, given, lengths[1], part)
            micro_tokens = given.micro_tokens or [settings.micro_tokens]
            chosen = ways(settings, micro_tokens)
            results = [
                [fitted(setting, way, lengths, given.steps) for way in chosen]
                for _ in range(given.repeats)
            ]
            found = [*zip(chosen, zip(*results, strict=True), strict=True)]
            check(found)
            first = first or [*found[0][1]]
            harness.table(
                f"{lengths[0]} to {lengths[1]} tokens, loss on {part}",
                HEAD,
                [(way.name, row(own, first, rate, given.steps)) for way, own in found],
                f"{harness.where(setting)}; steps of {settings.batch} samples, matrix"
                f" products at {rate / 1e12:.3g} TFLOP/s, attention of TRL packed:"
                f" {sft.attention(packed=True)}.",
            )


def _settings(
    setting: Setting, given: argparse.Namespace, longest: int, part: str
) -> scales.Finetune:
    """Return the settings of all ways: those of the scale, with a constant learning rate."""
    batch = given.batch or setting.finetune.batch
    return setting.finetune.model_copy(
        update={
            "unit": "steps",
            "budget": 1,
            "batch": batch,
            "max_tokens": longest,
            "loss": part,
            "learning_rate": 1e-4,
            "schedule": "constant",
            "warmup": 0.0,
            # Only at the end.
            "eval_every": 10**6,
        }
    )


def main() -> None:
    """Run the benchmark."""
    parser = harness.parser(__doc__, "data/partition/new-train.parquet")
    parser.add_argument("--steps", type=int, default=1, help="timed steps, and as many before")
    parser.add_argument("--batch", type=int, help="samples of a step")
    parser.add_argument("--micro-tokens", type=int, nargs="+", help="tokens of a row of arcmix")
    parser.add_argument("--lengths", type=int, nargs="+", help="of samples; a table for each")
    parser.add_argument("--loss", nargs="+", choices=["answer", "outputs"], default=["answer"])
    given = parser.parse_args()
    with harness.started(given) as setting:
        compare(setting, given)


if __name__ == "__main__":
    main()
