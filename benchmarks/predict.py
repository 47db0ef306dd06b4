"""Greedy answers of arcmix, compared with transformers' `generate`.

All ways have the same fine-tuned model, prompts, dtype and token budget:

- `generate, N`: `model.generate` with batches of N prompts in the order of the tasks, padded.
- `arcmix, no draft`, `arcmix, copy`, `arcmix, views`: stage `predict` with each `predict.draft`.
- `arcmix, copy, processes`: on a CPU, with one process per thread, as `launch` starts them.

The prompts are views of the tests whose answer has the shape of the input, for which the draft
`copy` is meant; `--sizes all` includes the other tests. In float32, the benchmark verifies that all
ways give the same tokens. In bfloat16, in which batches differ in the last bits, it counts the
equal answers. On a card, each way answers twice, and the first time warms up.

The column *x* is the speed-up over the first way, *x batch* over the largest batches of `generate`,
and *x after* over the first way in the time after the prompts are read. Batches hardly speed up the
reading of prompts if the processor is the limit.
"""

import argparse
import dataclasses
import multiprocessing
import os
import socket
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from arcmix.models import adapters, parallel, pretrained
from arcmix.prediction import answering, drafts, views
from arcmix.prediction.batching import ResultCache
from arcmix.prediction.prompt_set import PromptSet
from benchmarks import harness, padding
from benchmarks.harness import Setting, Used

HEAD = (
    "s",
    "wall s",
    "prompts s",
    "tokens/s",
    "tests/min",
    "passes/s",
    "passes/token",
    "peak MiB",
    "same",
    "x",
    "x batch",
    "x after",
)


@dataclass(frozen=True)
class Asked:
    """Which prompts are answered."""

    tests: int
    """Number of tests."""
    views: int
    """Number of views of each test."""
    sizes: str
    """`same` for tests whose answer has the shape of the input, `all` for all tests."""

    def prompts(self, setting: Setting) -> PromptSet:
        """Return the prompts, of at most `max_tokens` tokens."""
        found = [
            view
            for task in setting.tasks
            for number, pair in enumerate(task.test)
            if self.sizes == "all" or pair.input.shape == pair.output.shape
            for view in views.views_of(task, number, self.views, 0.1, harness.SEED)
        ]
        whole = PromptSet(setting.adapter, found, setting.predict)
        short = [
            view
            for view, ids in zip(found, whole.prompts, strict=True)
            if len(ids) <= setting.max_tokens
        ]
        return PromptSet(setting.adapter, short[: self.tests * self.views], setting.predict)


@dataclass(frozen=True)
class Way:
    """A way to answer the prompts, which is a row of the table."""

    name: str
    batch: int = 0
    """Number of prompts that `generate` has at a time; 0 for arcmix."""
    draft: str = "none"
    """The draft of arcmix."""
    processes: int = 1
    """Number of processes, each with its part of the threads."""


@dataclass(frozen=True)
class Result:
    """What one run of a way took and gave."""

    used: Used
    """Time and memory after the model is loaded."""
    reading: float
    """Part of `used.seconds` in which prompts are read."""
    passes: int
    """Number of forward passes of the model."""
    answers: list[list[int]]
    """Tokens of the answer to each prompt with its end token, at most the token budget."""


class Passes:
    """Counts the forward passes of a model, and times those that read prompts."""

    def __init__(self, model: transformers.PreTrainedModel) -> None:
        self.count = 0
        self._begun = 0.0
        self.reading = 0.0
        model.register_forward_pre_hook(self._before)
        model.register_forward_hook(self._after, with_kwargs=True)

    def _before(self, *_: object) -> None:
        self.count += 1
        self._begun = harness.clock(wait=False)

    def _after(self, _: object, __: object, given: Mapping[str, torch.Tensor], ___: object) -> None:
        # A pass with more tokens than any draft reads prompts. Only those wait for the card.
        if given["input_ids"].shape[1] > drafts.MAX_DRAFT + 1:
            self.reading += harness.clock() - self._begun


def loaded(setting: Setting, prompts: PromptSet) -> transformers.PreTrainedModel:
    """Return the model that answers."""
    return adapters.load(
        setting.base_model,
        setting.adapter / "last",
        setting.dtype,
        "lora",
        prompts.tokenizer,
        prompts.style.encoder.tokens,
    )


def by_generate(setting: Setting, asked: Asked, batch: int) -> Result:
    """Answer by `generate` of transformers, with `batch` prompts at a time."""
    prompts = asked.prompts(setting)
    end, ids_of = prompts.language.end, prompts.prompts
    model = loaded(setting, prompts)

    def answered() -> list[list[int]]:
        found = []
        for start in range(0, len(ids_of), batch):
            ids, mask, _ = padding.left_padded(ids_of[start : start + batch], model.device)
            given: torch.Tensor = model.generate(  # pyright: ignore[reportCallIssue]
                ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=prompts.language.budget,
                eos_token_id=end,
                pad_token_id=prompts.tokenizer.pad_token_id,
            )
            rows = given[:, ids.shape[1] :].tolist()
            found += [row[: row.index(end) + 1] if end in row else row for row in rows]
        return found

    passes, meter = Passes(model), harness.Meter()
    with torch.inference_mode():
        answers = answered()
    return Result(meter.read(), passes.reading, passes.count, answers)


def by_arcmix(setting: Setting, asked: Asked, draft: str) -> Result:
    """Answer as stage `predict` does."""
    prompts = asked.prompts(setting)
    settings = setting.predict.model_copy(update={"draft": draft})
    started: list[tuple[Passes, harness.Meter]] = []

    def begun(model: transformers.PreTrainedModel, _: Sequence[Any]) -> dict[Any, float]:
        # The stage measures its loss here, between loading the model and answering.
        started.append((Passes(model), harness.Meter()))
        return {}

    with tempfile.TemporaryDirectory() as folder:
        found = answering.answer(
            answering.Base(setting.base_model, setting.dtype, "lora"),
            prompts,
            {setting.adapter / "last": range(len(prompts.views))},
            ResultCache(Path(folder), ""),
            settings,
            harness.SEED,
            begun,
            lambda _: None,
        )
    ((passes, meter),) = started
    answers = [found.answers[number][0] for number in range(len(prompts.views))]
    end = prompts.language.end
    return Result(
        meter.read(),
        passes.reading,
        passes.count,
        [[*answer.tokens, *[end] * answer.ended] for answer in answers],
    )


def measure(setting: Setting, asked: Asked, way: Way) -> Result:
    """Answer the prompts in one way, in this process; a card is warmed up first."""
    torch.set_num_threads(setting.threads)
    pretrained.quiet()

    def answered() -> Result:
        if way.batch:
            return by_generate(setting, asked, way.batch)
        return by_arcmix(setting, asked, way.draft)

    if harness.on_card():
        answered()
        harness.forget()
    return answered()


def shared(setting: Setting, asked: Asked, way: Way) -> Result:
    """Answer the prompts with several processes, each with its part of the threads."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    own = dataclasses.replace(setting, threads=max(1, setting.threads // way.processes))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(way.processes, mp_context=spawn) as started:
        shares = [
            started.submit(_share, own, asked, way, rank, port) for rank in range(way.processes)
        ]
        results = [share.result() for share in shares]
    used = [one.used for one in results]
    return Result(
        Used(
            max(one.seconds for one in used),
            max(one.wall for one in used),
            sum(one.peak for one in used),
        ),
        max(one.reading for one in results),
        sum(one.passes for one in results),
        results[0].answers,
    )


def _share(setting: Setting, asked: Asked, way: Way, rank: int, port: int) -> Result:
    """Do the share of one process, with the environment that a launcher sets."""
    values = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": way.processes,
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": port,
    }
    os.environ |= {name: str(value) for name, value in values.items()}
    parallel.state().wait_for_everyone()
    found = measure(setting, asked, way)
    parallel.leave()
    return found


def ways(batches: Sequence[int], processes: int) -> list[Way]:
    """Return the ways that are compared; the first one is the baseline."""
    found = [Way(f"generate, {batch}", batch=batch) for batch in batches]
    found += [
        Way("arcmix, no draft"),
        Way("arcmix, copy", draft="copy"),
        Way("arcmix, views", draft="views"),
    ]
    if processes > 1:
        found.append(Way("arcmix, copy, processes", draft="copy", processes=processes))
    return found


def compare(setting: Setting, asked: Asked, chosen: Sequence[Way], repeats: int) -> None:
    """Run all ways alternately and print a table with a row for each.

    Raises:
        ValueError: If the answers of two ways differ in float32.
    """
    found: dict[Way, list[Result]] = {way: [] for way in chosen}
    for _ in range(repeats):
        for way, results in found.items():
            if way.processes > 1:
                results.append(shared(setting, asked, way))
            else:
                results.append(harness.alone(measure, setting, asked, way))
    first, batched = found[chosen[0]], [found[way] for way in chosen if way.batch][-1]
    answers = first[0].answers
    same = {
        way: sum(a == b for a, b in zip(answers, results[0].answers, strict=True))
        for way, results in found.items()
    }
    for way, equal in same.items():
        if setting.dtype == "float32" and equal < len(answers):
            raise ValueError(
                f"{way.name}: {len(answers) - equal} of {len(answers)} answers differ from those of"
                f" '{chosen[0].name}'; in float32 all have to be equal: correct arcmix.prediction"
            )
    harness.table(
        f"{len(answers)} prompts",
        HEAD,
        [(way.name, row(own, first, batched, same[way], asked)) for way, own in found.items()],
        f"{harness.where(setting)}; {len(answers)} prompts, {sum(map(len, answers))} tokens of"
        f" answers, {setting.predict.batch_tokens:,} tokens a batch.",
    )


def row(
    results: Sequence[Result],
    first: Sequence[Result],
    batched: Sequence[Result],
    same: int,
    asked: Asked,
) -> list[str]:
    """Return the cells of a way, with medians over the repeats.

    Args:
        results: The results of the way.
        first: The results of the first way.
        batched: The results of `generate` with the largest batches.
        same: Number of answers that are equal to those of the first way.
        asked: The prompts.
    """

    def median(value: Callable[[Result], float], of: Sequence[Result] = results) -> float:
        return statistics.median(value(one) for one in of)

    def after(one: Result) -> float:
        return one.used.seconds - one.reading

    def seconds(one: Result) -> float:
        return one.used.seconds

    taken, last = median(seconds), results[-1]
    count, number = sum(map(len, last.answers)), len(last.answers)
    return [
        f"{taken:.2f}",
        f"{median(lambda one: one.used.wall):.2f}",
        f"{median(lambda one: one.reading):.2f}",
        f"{count / taken:,.1f}",
        f"{60 * number / asked.views / taken:.1f}",
        f"{last.passes / taken:.1f}",
        f"{last.passes / count:.3f}",
        f"{last.used.peak:,.0f}",
        f"{same}/{number}",
        f"{median(seconds, first) / taken:.2f}",
        f"{median(seconds, batched) / taken:.2f}",
        f"{median(after, first) / median(after):.2f}",
    ]


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the command line of the benchmarks of prediction."""
    found = harness.parser(description, "data/validation.parquet")
    found.add_argument("--tests", type=int, help="default: 64 on a card, else 8")
    found.add_argument("--views", type=int, default=1)
    found.add_argument("--sizes", choices=["same", "all"], default="same")
    found.add_argument("--max-tokens", type=int, help="of a prompt")
    found.add_argument("--batch-tokens", type=int, help="of arcmix")
    found.add_argument("--side", type=int, default=12, help="side of the largest answer")
    found.add_argument("--batch", type=int, nargs="+", help="prompts that the baseline has at once")
    return found


def chosen(setting: Setting, given: argparse.Namespace) -> tuple[Setting, Asked]:
    """Return the setting and the prompts of a command line."""
    tokens = given.batch_tokens or setting.predict.batch_tokens
    settings = setting.predict.model_copy(update={"max_side": given.side, "batch_tokens": tokens})
    own = dataclasses.replace(
        setting, predict=settings, max_tokens=given.max_tokens or setting.max_tokens
    )
    tests = given.tests or (64 if harness.on_card() else 8)
    return own, Asked(tests, given.views, given.sizes)


def main() -> None:
    """Run the benchmark."""
    given = parser(__doc__).parse_args()
    with harness.started(given) as found:
        setting, asked = chosen(found, given)
        batches = given.batch or ([64] if harness.on_card() else [1, 8])
        processes = 1 if harness.on_card() else setting.threads
        compare(setting, asked, ways(batches, processes), given.repeats)


if __name__ == "__main__":
    main()
