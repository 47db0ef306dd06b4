"""What the benchmarks share: the device, the inputs, clocks, peak memory and tables.

A benchmark needs a base model and nothing else: no network, no package that the pipeline does not
need, and no results of a run. Tasks and an adapter that are missing are drawn.

Sizes come from a scale of `params.yaml`: `gpu` on a card, `quick` on a CPU. On a CPU, each
measurement has a process of its own, because the peak memory of a process covers all that it did,
and time is processor time per thread, which other processes hardly affect. On a card, all
measurements share one process, the card's memory is counted, and time is wall time.
"""

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ParamSpec, TypeVar

import numpy as np
import torch

from arcmix import randomness, tasks, transforms
from arcmix.config import check, origins, params, scales
from arcmix.models import adapters, fetch, numerics, pretrained
from arcmix.tasks import Pair, Task

P = ParamSpec("P")
T = TypeVar("T")

SEED = 0

MIB = 2**20

STATUS = Path("/proc/self/status")

TINY = origins.RandomModel(kind="random", seed=0, hidden=32, layers=2, heads=2, positions=8192)
"""The model of `--base-model tiny`."""

IMPORTED = ("arcmix.training.finetune", "arcmix.prediction.answering", "benchmarks.harness")
"""Modules that are imported once for all processes."""


@dataclass(frozen=True)
class Setting:
    """What all measurements of a program share."""

    base_model: Path
    """Folder of the base model."""
    adapter: Path
    """An adapter folder as stage `finetune` writes it."""
    tasks: Sequence[Task]
    """The tasks, in the order of their table."""
    finetune: scales.Finetune
    """The fine-tune of the scale, with the dtype of the command line and no dropout."""
    test_time: scales.TestTime
    """The test-time fine-tuning of the scale."""
    predict: scales.Predict
    """The greedy answers of the scale, without scores."""
    prompt: scales.Prompt
    """The text of a task."""
    augment: params.Augment
    """The augmentation of training samples."""
    max_tokens: int
    """Maximum length of a prompt in tokens."""
    threads: int
    """Number of threads on a CPU."""

    @property
    def dtype(self) -> str:
        """Name of the dtype of the weights."""
        return self.finetune.dtype


@dataclass(frozen=True)
class Used:
    """What some work took."""

    seconds: float
    """Time by `clock`."""
    wall: float
    """Elapsed seconds."""
    peak: float
    """Peak memory in MiB, in addition to what was in use before."""


def parser(description: str | None, table: str) -> argparse.ArgumentParser:
    """Return the command line that all programs have.

    Args:
        description: The docstring of the program.
        table: The default of `--tasks`.
    """
    found = argparse.ArgumentParser(description=description and description.partition("\n")[0])
    found.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda if there is one")
    found.add_argument("--base-model", default="data/base-model", help="a folder, or tiny")
    found.add_argument("--adapter", type=Path, default=Path("data/adapter"), help="or a new one")
    found.add_argument("--tasks", type=Path, default=Path(table), help="a table, or drawn ones")
    found.add_argument("--params", type=Path, default=Path("params.yaml"))
    found.add_argument("--scale", help="of params.yaml; default: gpu on a card, else quick")
    found.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    found.add_argument("--threads", type=int, help="on a CPU; default: all")
    found.add_argument("--repeats", type=int, default=1, help="of each way; they alternate")
    return found


@contextmanager
def started(given: argparse.Namespace) -> Iterator[Setting]:
    """Yield the setting of a command line; end the program if a card or the model is missing."""
    pretrained.quiet()
    if given.device == "cpu":
        hide_card()
    elif given.device == "cuda" and not on_card():
        sys.exit("--device is cuda, but torch finds no card; leave it out, or set it to cpu")
    file = check.check_file(given.params)
    scale = file.scales[given.scale or ("gpu" if on_card() else "quick")]
    finetune = scale.finetune.model_copy(
        update={"dtype": given.dtype, "lora": scale.finetune.lora.model_copy(update={"dropout": 0})}
    )
    with TemporaryDirectory() as made:
        base, adapter = _base_model(given.base_model, Path(made)), given.adapter
        if given.base_model == "tiny" or not adapter.is_dir():
            adapter = Path(made, "adapter")
            _write_adapter(base, adapter, finetune, scale.prompt)
        yield Setting(
            base_model=base,
            adapter=adapter,
            tasks=tasks.read(given.tasks) if given.tasks.exists() else drawn(400),
            finetune=finetune,
            test_time=scale.test_time,
            predict=scale.predict.model_copy(update={"search": "greedy", "rescore": 0}),
            prompt=scale.prompt,
            augment=file.augment,
            max_tokens=scale.validation.max_tokens,
            threads=given.threads or torch.get_num_threads(),
        )


def _base_model(name: str, made: Path) -> Path:
    folder = made / "base-model" if name == "tiny" else Path(name)
    if name == "tiny":
        fetch.random(TINY, folder)
    elif not folder.is_dir():
        sys.exit(
            f"there is no model in {folder}; run: dvc repro fetch_model, or set --base-model to a"
            " folder or to tiny"
        )
    return folder


def _write_adapter(
    base: Path, folder: Path, settings: scales.Finetune, prompt: scales.Prompt
) -> None:
    """Write a new adapter, which changes no answer, but costs as much as any other."""
    tuned = adapters.attach(pretrained.load(base, settings.dtype), settings, SEED, [])
    adapters.save(tuned, folder / "last")
    adapters.save_text(folder, pretrained.load_tokenizer(base), prompt)


def drawn(count: int) -> list[Task]:
    """Return tasks with sides as in ARC, whose outputs are their inputs in other colors.

    Sides are the smaller of two numbers from 3 to 30, which gives texts about as long as ARC's.
    """
    found = []
    for number in range(count):
        purpose = f"benchmarks/task/{number}"
        sides = randomness.below(randomness.words(SEED, purpose, 0, 2, 2), 28).min(axis=0) + 3
        shown = 3 + number % 3
        cells = randomness.words(SEED, f"{purpose}/cells", 0, shown, int(sides.prod())) % 10
        colors = tuple(randomness.permutation(SEED, purpose, 0, 10).tolist())
        pairs = [
            Pair(grid, transforms.Transform(0, colors).apply(grid))
            for grid in cells.astype(np.uint8).reshape(shown, *sides)
        ]
        found.append(
            Task(f"drawn{number}", "drawn", "training", 0, tuple(pairs[:-1]), tuple(pairs[-1:]))
        )
    return found


def on_card() -> bool:
    """Return whether the pipeline computes on a card."""
    return torch.cuda.is_available()


def hide_card() -> None:
    """Make this process and those that it starts compute on the CPU."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def alone(work: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """Return the result of a measurement that no other one affects."""
    if on_card():
        result = work(*arguments, **keywords)
        forget()
        return result
    # The server computes nothing, so its processes start fast and clean.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    with ProcessPoolExecutor(1, context) as process:
        return process.submit(work, *arguments, **keywords).result()


def forget() -> None:
    """Free the card's memory that no object needs any more."""
    gc.collect()
    if on_card():
        torch.cuda.empty_cache()


def clock(*, wait: bool = True) -> float:
    """Return a time in seconds: elapsed time on a card, processor time per thread on a CPU.

    Args:
        wait: Whether to wait until the card has finished its work.
    """
    if not on_card():
        return time.process_time() / torch.get_num_threads()
    if wait:
        torch.cuda.synchronize()
    return time.perf_counter()


class Meter:
    """A meter of time and memory, from its creation on."""

    def __init__(self) -> None:
        if on_card():
            torch.cuda.reset_peak_memory_stats()
        elif STATUS.exists():
            STATUS.with_name("clear_refs").write_text("5")
        self._memory = _memory("VmRSS")
        self._seconds, self._wall = clock(), time.perf_counter()

    def read(self) -> Used:
        """Return what was used since the creation."""
        seconds, wall = clock(), time.perf_counter()
        return Used(seconds - self._seconds, wall - self._wall, _memory("VmHWM") - self._memory)


def _memory(what: str) -> float:
    """Return the memory in use (VmRSS) or its peak (VmHWM), in MiB; NaN where it is unknown."""
    if on_card():
        peak = what == "VmHWM"
        found = torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
        return found / MIB
    if not STATUS.exists():
        return float("nan")
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return float(lines[what].split()[0]) / 1024


def matrix_rate(dtype: str, threads: int) -> float:
    """Return the measured operations per second of products of square matrices."""
    torch.set_num_threads(threads)
    side, repeats = (8192, 20) if on_card() else (1024, 10)
    device = "cuda" if on_card() else "cpu"
    one, other = torch.randn(2, side, side, device=device, dtype=getattr(torch, dtype))
    for _ in range(3):
        torch.mm(one, other)
    before = clock()
    for _ in range(repeats):
        torch.mm(one, other)
    return 2 * side**3 * repeats / (clock() - before)


def where(setting: Setting) -> str:
    """Return the machine, the model and the dtype, for the line above a table."""
    found = numerics.machine()
    threads = "" if on_card() else f", threads: {setting.threads}"
    return (
        f"{setting.base_model.name} in {setting.dtype}, {found.device}{threads},"
        f" torch {found.versions['torch']}"
    )


def table(
    title: str, head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], notes: str
) -> None:
    """Print notes, and a table in Markdown with a row for each way.

    Args:
        title: Head of the first column.
        head: Heads of the other columns.
        rows: Name of each way, and its cells.
        notes: A paragraph that says what was measured.
    """
    print(f"\n{notes}\n\n| {title} | {' | '.join(head)} |\n| --- |{' ---: |' * len(head)}")
    for name, cells in rows:
        print(f"| {name} | {' | '.join(cells)} |")
    print(flush=True)
