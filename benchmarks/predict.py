"""Greedy generation of answers by arcmix, compared with transformers' `generate`.

All ways use the same fine-tuned model, prompts, dtype and token budget:

- `generate, one`: `model.generate` with one prompt at a time.
- `generate, 8`: the same with batches of eight prompts in the order of the tasks, padded.
- `arcmix, no draft`, `arcmix, copy`, `arcmix, views`: arcmix with each setting of `predict.draft`.
- `arcmix, copy, processes`: the same as `arcmix, copy` with one process per thread, as `launch`
  starts them.

The prompts are views of the validation tests whose answer has the shape of the input, for which the
draft `copy` is meant; `--sizes all` includes the other tests. In float32, the benchmark verifies
that all ways give the same tokens. In bfloat16, in which batches differ in the last bits, it counts
the equal answers. Each way runs in its own process, which measures its own peak memory. The model
and the tasks are those of the last `dvc repro`; `--base-model tiny` uses random weights instead.

The column *x after* is the speed-up of the time after the prompts are evaluated. Batches hardly
speed up the evaluation of prompts if the processor is the limit.
"""

import argparse
import dataclasses
import json
import math
import multiprocessing
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import padding
import torch
import transformers

from arcmix import files, tasks
from arcmix.config import origins, scales
from arcmix.models import adapters, fetch, parallel, pretrained
from arcmix.prediction import batching, generate, views
from arcmix.prediction.generate import Answer
from arcmix.prediction.language import Language
from arcmix.prediction.prompt_set import PromptSet
from arcmix.prediction.solver import Solver

INFO, STATUS = Path("/proc/cpuinfo"), Path("/proc/self/status")

SEED = 0

DEVICE = (
    torch.cuda.get_device_name()
    if torch.cuda.is_available()
    else next(
        (
            line.partition(": ")[2]
            for line in (INFO.read_text().splitlines() if INFO.exists() else [])
            if line.startswith("model name")
        ),
        platform.machine(),
    )
)
"""Name of the accelerator, or of the processor if there is none."""

SETTINGS = scales.Predict(
    views=1,
    search="greedy",
    width=1,
    temperature=1.0,
    threshold=0.1,
    grammar=False,
    draft="none",
    kv_format="none",
    kv_static=False,
    batch_tokens=16384,
    max_side=12,
    rescore=0,
    parse="strict",
)

TINY = origins.RandomModel(kind="random", seed=0, hidden=32, layers=2, heads=2, positions=8192)


@dataclass(frozen=True)
class Setting:
    """The arguments of the benchmark, which all ways share."""

    base_model: Path
    adapter: Path | None
    """None for random weights."""
    validation: Path
    tests: int
    views: int
    max_tokens: int
    sizes: str
    dtype: str
    threads: int
    batch_tokens: int
    side: int


@dataclass(frozen=True)
class Result:
    """The measurements of one run of a way."""

    seconds: float
    """Elapsed time."""
    busy: float
    """Processor time in seconds."""
    reading: float
    """Part of `seconds` for the evaluation of prompts."""
    passes: int
    """Number of forward passes of the model."""
    peak: float
    """Peak memory in MiB, in addition to the loaded model."""
    answers: list[list[int]]
    """Tokens of the answer to each prompt with its end token, at most the token budget."""


def load(setting: Setting) -> tuple[transformers.PreTrainedModel, PromptSet]:
    """Return the model and the views of the tests."""
    torch.set_num_threads(setting.threads)
    pretrained.quiet()
    folder = setting.adapter or setting.base_model
    chosen = scales.Predict.model_copy(SETTINGS, update={"max_side": setting.side})
    found = [
        view
        for task in tasks.read(setting.validation)
        for number, pair in enumerate(task.test)
        if setting.sizes == "all" or pair.input.shape == pair.output.shape
        for view in views.views_of(task, number, setting.views, 0.1, SEED)
    ]
    whole = PromptSet(folder, found, chosen)
    short = [
        view
        for view, ids in zip(found, whole.prompts, strict=True)
        if len(ids) <= setting.max_tokens
    ]
    prompt_set = PromptSet(folder, short[: setting.tests * setting.views], chosen)
    if setting.adapter is None:
        return pretrained.load(setting.base_model, setting.dtype), prompt_set
    one = adapters.load(
        setting.base_model,
        setting.adapter / "last",
        setting.dtype,
        "lora",
        prompt_set.tokenizer,
        prompt_set.style.encoder.tokens,
    )
    return one, prompt_set


def by_generate(
    one: transformers.PreTrainedModel, prompt_set: PromptSet, batch: int
) -> list[list[int]]:
    """Return the tokens that transformers generates, with `batch` prompts at a time."""
    found = []
    end = prompt_set.language.end
    for start in range(0, len(prompt_set.prompts), batch):
        ids, mask, _ = padding.left_padded(prompt_set.prompts[start : start + batch], one.device)
        given: torch.Tensor = one.generate(  # pyright: ignore[reportCallIssue]
            ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=prompt_set.language.budget,
            eos_token_id=end,
            pad_token_id=prompt_set.tokenizer.pad_token_id,
        )
        rows = given[:, ids.shape[1] :].tolist()
        found += [row[: row.index(end) + 1] if end in row else row for row in rows]
    return found


def by_us(
    one: transformers.PreTrainedModel, prompt_set: PromptSet, draft: str, tokens: int
) -> list[list[int]]:
    """Return the tokens that arcmix generates."""
    settings = scales.Predict.model_copy(SETTINGS, update={"draft": draft, "batch_tokens": tokens})
    with tempfile.TemporaryDirectory() as folder:
        cache = batching.ResultCache(Path(folder), "")
        solver = Solver(one, prompt_set, cache, settings, SEED, parallel.all_ranks())
        found = solver.answer(range(len(prompt_set.views)), lambda _: None)
    return [
        _tokens(found[number][0], prompt_set.language) for number in range(len(prompt_set.views))
    ]


def _tokens(answer: Answer, language: Language) -> list[int]:
    return [*answer.tokens, *[language.end] * answer.ended]


@dataclass(frozen=True)
class Way:
    """A way to answer the prompts."""

    answers: Callable[[transformers.PreTrainedModel, PromptSet, int], list[list[int]]]
    """Returns the tokens, given the model, the prompts and the maximum tokens of a batch."""
    shared: bool = False
    """Whether there is one process per thread, not one process with all threads."""


WAYS = {
    "generate, one": Way(lambda one, prompt_set, _: by_generate(one, prompt_set, 1)),
    "generate, 8": Way(lambda one, prompt_set, _: by_generate(one, prompt_set, 8)),
    "arcmix, no draft": Way(lambda one, prompt_set, tokens: by_us(one, prompt_set, "none", tokens)),
    "arcmix, copy": Way(lambda one, prompt_set, tokens: by_us(one, prompt_set, "copy", tokens)),
    "arcmix, views": Way(lambda one, prompt_set, tokens: by_us(one, prompt_set, "views", tokens)),
    "arcmix, copy, processes": Way(
        lambda one, prompt_set, tokens: by_us(one, prompt_set, "copy", tokens), shared=True
    ),
}
"""The ways by name."""


def measure(setting: Setting, way: str) -> Result:
    """Answer the prompts in one way, with its number of processes."""
    number = setting.threads if WAYS[way].shared else 1
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    own = dataclasses.replace(setting, threads=setting.threads // number)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(number, mp_context=spawn) as started:
        shares = [started.submit(_share, own, way, rank, number, port) for rank in range(number)]
        results = [share.result() for share in shares]
    return Result(
        max(one.seconds for one in results),
        sum(one.busy for one in results),
        max(one.reading for one in results),
        sum(one.passes for one in results),
        sum(one.peak for one in results),
        results[0].answers,
    )


def _share(setting: Setting, way: str, rank: int, number: int, port: int) -> Result:
    """Do the share of one of `number` processes, with the environment that a launcher sets."""
    environment = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": number,
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": port,
    }
    if number > 1:
        os.environ |= {name: str(value) for name, value in environment.items()}
    one, prompt_set = load(setting)
    parallel.state().wait_for_everyone()
    found = timed(one, lambda: WAYS[way].answers(one, prompt_set, setting.batch_tokens))
    parallel.leave()
    return found


def timed(one: transformers.PreTrainedModel, work: Callable[[], Any]) -> Result:
    """Return the measurements of `work`, with its result as the answers."""
    passes, reading, begun = 0, 0.0, 0.0

    def before(*_: object) -> None:
        nonlocal passes, begun
        passes, begun = passes + 1, _now()

    def after(_: object, __: object, given: Mapping[str, torch.Tensor], ___: object) -> None:
        nonlocal reading
        # A pass with more tokens than any draft evaluates prompts.
        if given["input_ids"].shape[1] > generate.MAX_DRAFT + 1:
            reading += _now() - begun

    one.register_forward_pre_hook(before)
    one.register_forward_hook(after, with_kwargs=True)
    loaded = _forget_peak()
    started, busy = _now(), time.process_time()
    with torch.inference_mode():
        found = work()
    return Result(
        _now() - started,
        time.process_time() - busy,
        reading,
        passes,
        _peak() - loaded,
        found,
    )


def _now() -> float:
    """Return the time after the accelerator has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _peak() -> float:
    """Return the peak memory of the accelerator, or of the process if there is none, in MiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return _memory("VmHWM")


def _forget_peak() -> float:
    """Reset the peak memory to the memory in use, and return this in MiB."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    if STATUS.exists():
        STATUS.with_name("clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(what: str) -> float:
    """Return a value of the memory status of this process in MiB; NaN except on Linux."""
    if not STATUS.exists():
        return math.nan
    lines = dict(line.split(":") for line in STATUS.read_text().splitlines())
    return float(lines[what].split()[0]) / 1024


def compare(setting: Setting, repeats: int) -> None:
    """Run all ways alternately and print a table with a row for each.

    Raises:
        ValueError: If the answers of two ways differ in float32.
    """
    found: dict[str, list[Result]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way, results in found.items():
            results.append(measure(setting, way))
    first = found["generate, one"][0].answers
    print(
        f"{len(first)} prompts, {sum(map(len, first))} tokens of answers, {setting.dtype},"
        f" {setting.threads} threads, {DEVICE};"
        f" medians of {repeats}"
    )
    head = [
        "s",
        "prompts s",
        "cpu s",
        "tokens/s",
        "tests/min",
        "passes/token",
        "peak MiB",
        "same",
        "x",
        "x 8",
        "x after",
    ]
    print(f"| way | {' | '.join(head)} |\n|{' --- |' + ' ---: |' * len(head)}")
    medians: list[float] = []
    after: list[float] = []
    for way, results in found.items():
        seconds = statistics.median(one.seconds for one in results)
        medians.append(seconds)
        after.append(statistics.median(one.seconds - one.reading for one in results))
        last = results[-1]
        same = sum(a == b for a, b in zip(first, last.answers, strict=True))
        if setting.dtype == "float32" and same < len(first):
            raise ValueError(
                f"{way}: {len(first) - same} of {len(first)} answers differ from those of"
                " 'generate, one'; in float32 all have to be equal: correct arcmix.prediction"
            )
        count = sum(map(len, last.answers))
        cells = [
            f"{seconds:.2f}",
            f"{statistics.median(one.reading for one in results):.2f}",
            f"{statistics.median(one.busy for one in results):.2f}",
            f"{count / seconds:.1f}",
            f"{60 * len(first) / setting.views / seconds:.1f}",
            f"{last.passes / count:.3f}",
            f"{last.peak:,.0f}",
            f"{same}/{len(first)}",
            f"{medians[0] / seconds:.1f}",
            f"{medians[1] / seconds:.1f}" if len(medians) > 1 else "",
            f"{after[0] / after[-1]:.1f}",
        ]
        print(f"| {way} | {' | '.join(cells)} |", flush=True)


def parser(description: str) -> argparse.ArgumentParser:
    """Return the command line of the benchmarks of prediction."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--base-model", default="data/base-model", help="folder, or tiny")
    found.add_argument("--adapter", type=Path, default=Path("data/adapter"))
    found.add_argument("--validation", type=Path, default=Path("data/validation.parquet"))
    found.add_argument("--tests", type=int, default=8)
    found.add_argument("--views", type=int, default=1)
    found.add_argument("--max-tokens", type=int, default=1024, help="maximum length of a prompt")
    found.add_argument("--sizes", choices=["same", "all"], default="same")
    found.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    found.add_argument("--threads", type=int, default=torch.get_num_threads())
    found.add_argument("--batch-tokens", type=int, default=16384)
    found.add_argument("--side", type=int, default=12, help="side of the largest answer")
    found.add_argument("--repeats", type=int, default=1)
    return found


def ready(arguments: argparse.Namespace) -> bool:
    """Return whether the model and the tasks exist; if not, print what to do."""
    needed = [arguments.validation]
    if arguments.base_model != "tiny":
        needed += [Path(arguments.base_model), arguments.adapter]
    missing = [str(path) for path in needed if not path.exists()]
    if missing:
        print(f"{Path(sys.argv[0]).stem}: {', '.join(missing)} missing; run: dvc repro")
    return not missing


def setting(arguments: argparse.Namespace, folder: Path) -> Setting:
    """Return the setting of the command line; random weights are written to `folder`."""
    values: dict[str, Any] = vars(arguments) | {"base_model": Path(arguments.base_model)}
    values.pop("repeats")
    if arguments.base_model == "tiny":
        fetch.random(TINY, folder)
        pretrained.load_tokenizer(folder).save_pretrained(folder / "tokenizer")
        values |= {"base_model": folder, "adapter": None}
        prompt = scales.Prompt(format="bare", encoder=("minimal",))
        files.write_text(folder / "prompt.json", json.dumps(prompt.model_dump()))
    return Setting(**{field.name: values[field.name] for field in dataclasses.fields(Setting)})


def main() -> None:
    """Run the benchmark."""
    arguments = parser("Answers per second of arcmix and of generate.").parse_args()
    if not ready(arguments):
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(setting(arguments, Path(folder)), arguments.repeats)


if __name__ == "__main__":
    main()
