"""A training step of arcmix, compared with the unmodified `SFTTrainer` of TRL.

Both trainers use the same samples of ARC-AGI-1 in the same order, and the same model, adapter,
dtype and optimizer. Gradient checkpointing and autocast are off, although TRL turns them on by
default, because both cost time, autocast most of the time on a CPU. TRL tokenizes the texts of
prompts and answers itself, pads a batch to its longest sample and trains on the answers. For loss
on more tokens, TRL gets the tokens and labels of arcmix, because it cannot derive them from texts.

The benchmark verifies that the losses of all steps are equal. Each measurement runs in its own
process, which measures its own peak memory. The measurements of a case alternate, so that other
load on the machine affects all of them. The time of a step starts at the end of the step before.
The first step, of short samples, is not measured. Without a GPU, the time is processor time divided
by the number of threads, which excludes other processes. `--threads 1` is most reliable, because
waiting threads use processor time too.

By default, the benchmark compares loss on the answer and loss on all outputs, in a few minutes.
`--full` compares all ways and lengths of samples, on one thread and on all threads.
"""

import argparse
import functools
import multiprocessing
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import data_path
import datasets
import numpy as np
import sft
import torch
from transformers import TrainerCallback

from arcmix.config import scales
from arcmix.models import adapters, pretrained
from arcmix.sampling import augment, sample_table
from arcmix.sources import package
from arcmix.text import fastpath, prompt, tokenization
from arcmix.text.encode import Encoder
from arcmix.training import trainer
from arcmix.training.plan import Plan

SEED = 0

LENGTHS = (256, 512, 1024, 2048)
"""Lengths of samples in tokens that `--full` compares."""

DRAWN = 100_000
"""Number of samples from which samples of a length are selected."""

FINETUNE = scales.Finetune(
    budget=1,
    unit="steps",
    batch=8,
    micro_tokens=512,
    max_tokens=512,
    too_long="skip",
    loss="answer",
    learning_rate=1e-4,
    schedule="constant",
    cycles=1,
    warmup=0.0,
    optimizer="adamw",
    weight_decay=0.0,
    max_grad_norm=1.0,
    dtype="bfloat16",
    gradient_checkpointing=False,
    # Only at the end.
    eval_every=1_000_000,
    eval_tokens=2048,
    method="lora",
    lora=scales.Lora(
        rank=32,
        alpha=64,
        scale="alpha",
        dropout=0.0,
        targets=("all-linear",),
        rslora=False,
        dora=False,
        init="default",
    ),
)
"""The settings of the scale quick, except the batch."""

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.02}
"""Maximum relative difference of two losses that should be equal."""

MIB = 2**20

WARM_UP = 128
"""Maximum number of tokens of a sample of the first step."""


@dataclass(frozen=True)
class Way:
    """A way to train, which is a row of the table."""

    name: str
    trl: bool
    """Whether the trainer is that of TRL, not that of arcmix."""
    settings: scales.Finetune


@dataclass(frozen=True)
class Case:
    """Ways that are compared on the same samples; the first way is the baseline."""

    name: str
    lengths: tuple[int, int]
    """Minimum and maximum number of tokens of a sample."""
    ways: Sequence[Way]


@dataclass(frozen=True)
class Job:
    """The arguments of one measurement."""

    folder: Path
    case: Case
    way: Way
    steps: int
    threads: int


@dataclass(frozen=True)
class Result:
    """The result of one measurement; a list has one number per step."""

    wall: list[float]
    """Elapsed seconds of each step except the first."""
    counted: list[float]
    """Seconds of each step except the first: elapsed with a GPU, otherwise of the processor."""
    losses: list[float]
    """Loss of each step."""
    samples: int
    """Number of samples of the measured steps."""
    tokens: int
    """Number of tokens of the measured steps, without padding."""
    labelled: int
    """Number of tokens with loss."""
    padded: int
    """Number of tokens with padding."""
    peak: int
    """Peak memory in bytes, in addition to the loaded model."""
    parameters: int
    """Number of parameters of the model, without its embeddings."""


class Clock(TrainerCallback):
    """Records the times at which steps end, and their losses."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.counted: list[float] = []
        self.losses: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        """Record the time."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        per_thread = time.process_time() / torch.get_num_threads()
        self.wall.append(now)
        self.counted.append(now if torch.cuda.is_available() else per_thread)

    def on_log(self, *_: object, logs: dict[str, float], **__: object) -> None:
        """Record the loss."""
        if "loss" in logs:
            self.losses.append(logs["loss"])


def samples(
    tokenizer: pretrained.PreTrainedTokenizerBase,
    style: prompt.Style,
    lengths: tuple[int, int],
    count: int,
) -> Iterator[tuple[prompt.Text, tokenization.Example]]:
    """Yield the texts and the tokens of `count` samples in a range of lengths.

    Each call yields the same samples.
    """
    pool, found = _pool(), 0
    for chunk in data_path.chunks(pool, np.arange(len(pool.first_pair)), DRAWN):
        examples = fastpath.as_texts(tokenizer, style, chunk)
        for pairs, example in zip(sample_table.split(chunk), examples, strict=True):
            if found < count and lengths[0] <= len(example.input_ids) <= lengths[1]:
                found += 1
                shown = pairs[:-1], pairs[-1].input, pairs[-1].output
                yield prompt.render(style, *shown), example
        if found == count:
            return


@functools.cache
def _pool() -> augment.Pool:
    return augment.pool(package.load("arc-agi-1", data_path.ARC).tasks)


def measure(job: Job) -> Result:
    """Return the result of some steps; call this in its own process."""
    torch.set_num_threads(job.threads)
    pretrained.quiet()
    datasets.disable_progress_bars()
    settings, steps = job.way.settings, job.steps + 1
    tokenizer = pretrained.load_tokenizer(job.folder)
    base = pretrained.load(job.folder, settings.dtype)
    parameters = base.num_parameters(exclude_embeddings=True)
    style = tokenization.style(tokenizer, "bare", Encoder(("minimal",)), settings.loss)
    drawn = [
        *samples(tokenizer, style, (1, WARM_UP), settings.batch),
        *samples(tokenizer, style, job.case.lengths, job.steps * settings.batch),
    ]
    texts, examples = zip(*drawn, strict=True)
    one = adapters.attach(base, settings, SEED, [])
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        if job.way.trl:
            runner = sft.trainer(one, tokenizer, (texts, examples), settings, steps, Path(folder))
            runner.add_callback(clock)
        else:
            settings = settings.model_copy(update={"budget": steps})
            plan = Plan(examples, examples[:1], settings, SEED, "none", None)
            runner = trainer.trainer(one, tokenizer, plan, Path(folder), clock)
        with torch.inference_mode():
            # Weights that are mapped from a file are in memory only after their first use.
            one(torch.zeros(1, 8, dtype=torch.long, device=one.device))
        before = _memory()
        runner.train()
        peak = _peak() - before
    lengths = np.array([len(example.input_ids) for example in examples]).reshape(steps, -1)[1:]
    padded = lengths.max(axis=1).sum() * settings.batch if job.way.trl else lengths.sum()
    return Result(
        wall=np.diff(clock.wall).tolist(),
        counted=np.diff(clock.counted).tolist(),
        losses=clock.losses,
        samples=lengths.size,
        tokens=int(lengths.sum()),
        labelled=sum(example.trained_tokens for example in examples[settings.batch :]),
        padded=int(padded),
        peak=peak,
        parameters=parameters,
    )


def _memory() -> int:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _peak() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cases(dtype: str) -> list[Case]:
    """Return the default case, which takes minutes: samples as in the scale quick."""
    trl, ours, *_, trl_outputs, outputs = _ways(dtype, 8)
    return [Case("up to 512 tokens, batch 8", (1, 512), (trl, ours, trl_outputs, outputs))]


def all_cases(dtype: str, lengths: Sequence[int]) -> list[Case]:
    """Return all cases: one with samples of mixed lengths, then one for each length."""
    mixed = Case("up to 1024 tokens, batch 8", (1, 1024), _ways(dtype, 8))
    trl, ours, *_ = _ways(dtype, 4)
    return [mixed] + [
        Case(f"about {length} tokens, batch 4", (length * 7 // 8, length), (trl, ours))
        for length in lengths
    ]


def _ways(dtype: str, batch: int) -> list[Way]:
    plain = FINETUNE.model_copy(update={"dtype": dtype, "batch": batch})

    def way(name: str, *, trl: bool = False, **changes: object) -> Way:
        return Way(name, trl, plain.model_copy(update=changes))

    return [
        way("TRL, texts", trl=True),
        way("arcmix"),
        way("arcmix, a sample a row", micro_tokens=1),
        way("arcmix, rows of 2048", micro_tokens=2048),
        way("TRL, our labels of all outputs", trl=True, loss="outputs"),
        way("arcmix, all outputs", loss="outputs"),
    ]


def check(case: Case, results: Sequence[Result]) -> None:
    """Check that ways with loss on the same tokens have the same losses.

    Raises:
        ValueError: If the losses of two such ways differ.
    """
    firsts: dict[str, Result] = {}
    for way, result in zip(case.ways, results, strict=True):
        like = firsts.setdefault(way.settings.loss, result)
        if not np.allclose(result.losses, like.losses, rtol=TOLERANCE[way.settings.dtype]):
            raise ValueError(
                f"{way.name}: the losses of the steps are {result.losses}, but another way with"
                f" loss on the same tokens has {like.losses}; they have to be equal: correct"
                " arcmix.training"
            )


def row(
    way: Way, repeats: Sequence[Result], first: Sequence[Result], tflops: float | None
) -> list[str]:
    """Return a row of the table with medians over the steps of all repeats.

    Args:
        way: The way of the row.
        repeats: Its results.
        first: The results of the baseline.
        tflops: Peak speed of the GPU, for the model FLOPs utilization; None for no such column.
    """
    one, other = repeats[0], first[0]
    seconds, base = (
        statistics.median(step for each in found for step in each.counted)
        for found in (repeats, first)
    )
    wall = statistics.median(step for each in repeats for step in each.wall)
    steps = len(one.wall)
    rate, labelled = one.tokens / steps / seconds, one.labelled / steps / seconds
    cells = [
        way.name,
        f"{seconds:.2f}",
        f"{wall:.2f}",
        f"{one.samples / steps / seconds:.2f}",
        f"{rate:,.0f}",
        f"{labelled:,.0f}",
        f"{100 * one.tokens / one.padded:.0f} %",
        f"{statistics.median(each.peak for each in repeats) / MIB:,.0f}",
        f"{one.losses[-1]:.4f}",
        f"{base / seconds:.2f}",
        f"{labelled / (other.labelled / steps / base):.2f}",
    ]
    if tflops is not None:
        # A frozen weight needs two operations in the forward pass and two in the backward pass, for
        # the gradient of the activations.
        cells.append(f"{4 * one.parameters * rate / (tflops * 1e10):.0f} %")
    return cells


def compare(folder: Path, chosen: Sequence[Case], arguments: argparse.Namespace) -> None:
    """Print a table for each case and number of threads."""
    header = HEADER if arguments.tflops is None else (*HEADER, "MFU")
    # The server imports all modules once and computes nothing, so processes start fast.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "trl.trainer.sft_trainer", "arcmix.training.trainer"])
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as alone:
        for case, threads in ((one, count) for one in chosen for count in arguments.threads):
            jobs = [Job(folder, case, way, arguments.steps, threads) for way in case.ways]
            # The repeats of the ways alternate.
            results = list(alone.map(measure, jobs * arguments.repeats))
            found = [results[number :: len(jobs)] for number in range(len(jobs))]
            check(case, results[: len(jobs)])
            title = f"{case.name}, {threads} thread{'s' * (threads > 1)}"
            print(f"| {title} | {' | '.join(header)} |\n| --- |{' ---: |' * len(header)}")
            for way, repeats in zip(case.ways, found, strict=True):
                print(f"| {' | '.join(row(way, repeats, found[0], arguments.tflops))} |")
            print(flush=True)


HEADER = (
    "s/step",
    "wall s/step",
    "samples/s",
    "tokens/s",
    "labelled/s",
    "not padding",
    "peak MiB",
    "loss",
    "x samples/s",
    "x labelled/s",
)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="A training step against TRL's SFTTrainer.")
    parser.add_argument("--model", type=Path, default=Path("data/base-model"), help="folder")
    parser.add_argument("--dtype", choices=sorted(TOLERANCE), default="bfloat16")
    parser.add_argument("--full", action="store_true", help="compare all ways and lengths")
    parser.add_argument("--steps", type=int, default=1, help="measured steps of each repeat")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--lengths", type=int, nargs="*", help="of samples; alone or with --full")
    parser.add_argument("--threads", type=int, nargs="+", help="default: all; --full: 1 and all")
    parser.add_argument("--tflops", type=float, help="peak of the GPU in this dtype, for MFU")
    arguments = parser.parse_args()
    if not arguments.model.is_dir():
        print("train: there is no model; run: dvc repro fetch_model, or set --model to a folder")
        return
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    print(
        f"{arguments.model.name}, {arguments.dtype}, {where}, load {os.getloadavg()[0]:.1f};"
        f" {arguments.repeats} x {arguments.steps} steps\n",
        flush=True,
    )
    chosen, threads = cases(arguments.dtype), {torch.get_num_threads()}
    if arguments.full:
        lengths = LENGTHS if arguments.lengths is None else arguments.lengths
        chosen, threads = all_cases(arguments.dtype, lengths), threads | {1}
    elif arguments.lengths:
        chosen = all_cases(arguments.dtype, arguments.lengths)[1:]
    arguments.threads = arguments.threads or sorted(threads)
    compare(arguments.model, chosen, arguments)


if __name__ == "__main__":
    main()
