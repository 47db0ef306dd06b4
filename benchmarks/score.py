"""Log-probabilities of given candidates: one pass over each prompt, or one pass per candidate.

Each prompt has up to five candidates: the right answer, the input, and the right answer with one
cell changed. Both ways have the same fine-tuned model, prompts and dtype.

- `each anew, N`: prompt and candidate are one sequence. Sequences are sorted by length and read in
  batches of N, with logits for the candidate only. Apart from the batches, this is the scoring of
  the ARChitects and of NVARC.
- `arcmix, prompt once`: stage `predict` reads each prompt once for all its candidates.

The benchmark verifies that both ways give the same log-probabilities, within 0.01 nats per token in
float32 and 0.1 in bfloat16. In bfloat16, both are also compared with `each anew` in float32: the
column *error* is the root mean square of the differences in nats per token, and that of arcmix may
be at most three times the other. On a card, each way scores twice, and the first time warms up.
"""

import dataclasses
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from arcmix import randomness
from arcmix.models import parallel, pretrained
from arcmix.prediction.batching import ResultCache
from arcmix.prediction.prompt_set import PromptSet
from arcmix.prediction.search import Answer
from arcmix.prediction.solver import Solver
from benchmarks import harness, padding, predict
from benchmarks.harness import Setting, Used
from benchmarks.predict import Asked

NUMBER = 5
"""Number of candidates per prompt."""

SAME = 0.01
"""Maximum difference of two log-probabilities in float32, in nats per token."""

TOLERANCE = {"float32": SAME, "bfloat16": 0.1}
"""Maximum difference of the log-probabilities of the two ways, in nats per token."""

AS_GOOD = 3
"""Maximum error of arcmix in bfloat16, in errors of the baseline.

How far rounding alone goes depends on the model and on the candidate: a score is a sum over tokens,
and the error of a token is that of its logits (docs/benchmarks.md). Two ways round at other places,
so a few candidates have errors that differ by chance."""

HEAD = ("s", "wall s", "candidates/s", "tokens/s", "peak MiB", "error", "x")

Number = tuple[int, int]
"""Number of a prompt, and of one of its candidates."""


@dataclass(frozen=True)
class Result:
    """What one run of a way took and gave."""

    used: Used
    """Time and memory after the model is loaded."""
    logprobs: dict[Number, float]
    """Log-probability of each candidate, in nats."""


def candidates(prompts: PromptSet) -> list[list[np.ndarray]]:
    """Return the distinct grids of the candidates of each prompt, in the view of the prompt."""
    found = []
    for number, view in enumerate(prompts.views):
        pair = view.task.test[view.test]
        grids = [view.transform.apply(pair.output), view.transform.apply(pair.input)]
        for change in range(NUMBER - len(grids)):
            grid = grids[0].copy()
            place = number * NUMBER + change
            words = randomness.words(harness.SEED, "benchmark/score", place, 1, 3)[0]
            row, column = (
                int(randomness.below(word, side))
                for word, side in zip(words, grid.shape, strict=False)
            )
            grid[row, column] = (grid[row, column] + 1 + randomness.below(words[2], 9)) % 10
            grids.append(grid)
        distinct = {(grid.shape, grid.tobytes()): grid for grid in grids}
        found.append([*distinct.values()])
    return found


def anew(
    model: torch.nn.Module, prompts: PromptSet, shown: Sequence[Sequence[np.ndarray]], batch: int
) -> dict[Number, float]:
    """Return the log-probabilities, with one pass over the prompt for each candidate."""
    texts = {
        (number, place): (prompts.prompts[number], answer)
        for number, grids in enumerate(shown)
        for place, answer in enumerate(prompts.answer_tokens(grids))
    }
    order = sorted(texts, key=lambda one: sum(map(len, texts[one])))
    device = next(model.parameters()).device
    found = {}
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        ids, mask, positions = padding.left_padded(
            [np.concatenate(texts[one]) for one in chosen], device
        )
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            logits_to_keep=max(len(texts[one][1]) for one in chosen) + 1,
            use_cache=False,
        ).logits
        for row, one in enumerate(chosen):
            wanted = torch.from_numpy(texts[one][1]).long().to(device)
            before = logits[row, -len(wanted) - 1 : -1].float()
            found[one] = -torch.nn.functional.cross_entropy(before, wanted, reduction="sum")
    return {one: float(value) for one, value in found.items()}


def once(
    solver: Solver, prompts: PromptSet, shown: Sequence[Sequence[np.ndarray]]
) -> dict[Number, float]:
    """Return the log-probabilities, with one pass over each prompt for all its candidates."""
    given = {
        number: [
            # The solver ranks grids by their log-probability, so it keeps this order.
            Answer(tuple(tokens[:-1].tolist()), -float(place), ended=True)
            for place, tokens in enumerate(prompts.answer_tokens(grids))
        ]
        for number, grids in enumerate(shown)
    }
    tests = {(view.task.id, view.test): number for number, view in enumerate(prompts.views)}
    scores = solver.score([*given], given)
    return {(tests[one.task, one.test], one.candidate): one.logprob for one in scores}


def measure(setting: Setting, asked: Asked, batch: int) -> Result:
    """Score the candidates in batches of sequences, or as arcmix does if `batch` is 0."""
    torch.set_num_threads(setting.threads)
    pretrained.quiet()
    prompts = asked.prompts(setting)
    shown = candidates(prompts)
    model = predict.loaded(setting, prompts)
    settings = setting.predict.model_copy(update={"rescore": NUMBER})

    def scored() -> Result:
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            cache = ResultCache(Path(folder), "")
            solver = Solver(model, prompts, cache, settings, harness.SEED, parallel.all_ranks())
            meter = harness.Meter()
            found = anew(model, prompts, shown, batch) if batch else once(solver, prompts, shown)
            return Result(meter.read(), found)

    if harness.on_card():
        scored()
    return scored()


def compare(setting: Setting, asked: Asked, batch: int, repeats: int) -> None:
    """Run both ways alternately and print a table with a row for each.

    Raises:
        ValueError: If their log-probabilities differ by more than rounding.
    """
    prompts = asked.prompts(setting)
    answers = [prompts.answer_tokens(grids) for grids in candidates(prompts)]
    chosen = {f"each anew, {batch}": batch, "arcmix, prompt once": 0}
    found: dict[str, list[Result]] = {name: [] for name in chosen}
    for _ in range(repeats):
        for name, results in found.items():
            results.append(harness.alone(measure, setting, asked, chosen[name]))
    exact = found[f"each anew, {batch}"][0].logprobs
    if setting.dtype != "float32":
        finetune = setting.finetune.model_copy(update={"dtype": "float32"})
        reference = dataclasses.replace(setting, finetune=finetune)
        exact = harness.alone(measure, reference, asked, batch).logprobs
    errors = {
        name: [
            abs(results[0].logprobs[number, place] - exact[number, place]) / len(answer)
            for number, own in enumerate(answers)
            for place, answer in enumerate(own)
        ]
        for name, results in found.items()
    }
    check(setting.dtype, *errors.values())
    one, other = (results[0].logprobs for results in found.values())
    worst = max(
        abs(one[number, place] - other[number, place]) / len(answer)
        for number, own in enumerate(answers)
        for place, answer in enumerate(own)
    )
    if worst > TOLERANCE[setting.dtype]:
        raise ValueError(
            f"the log-probabilities of the two ways differ by {worst:.3f} nats per token, more than"
            f" the allowed {TOLERANCE[setting.dtype]}; correct arcmix.prediction.rescore"
        )
    lengths = [len(answer) for own in answers for answer in own]
    baseline = statistics.median(each.used.seconds for each in found[f"each anew, {batch}"])
    rows = []
    for name, results in found.items():
        seconds = statistics.median(each.used.seconds for each in results)
        cells = [
            f"{seconds:.2f}",
            f"{statistics.median(each.used.wall for each in results):.2f}",
            f"{len(lengths) / seconds:,.1f}",
            f"{sum(lengths) / seconds:,.0f}",
            f"{results[-1].used.peak:,.0f}",
            f"{_rms(errors[name]):.5f}",
            f"{baseline / seconds:.2f}",
        ]
        rows.append((name, cells))
    harness.table(
        f"{len(answers)} prompts",
        HEAD,
        rows,
        f"{harness.where(setting)}; prompts of"
        f" {np.mean([len(ids) for ids in prompts.prompts]):.0f} tokens, {len(lengths)} candidates"
        f" of {np.mean(lengths):.0f}; the largest error is {max(map(max, errors.values())):.4f}"
        " nats per token.",
    )


def check(dtype: str, baseline: Sequence[float], own: Sequence[float]) -> None:
    """Refuse scores whose errors are more than rounding.

    Args:
        dtype: Name of the dtype of the weights.
        baseline: The error of each candidate if it is scored anew, in nats per token.
        own: The error of each candidate as arcmix scores it.

    Raises:
        ValueError: If arcmix scores otherwise in float32, or less exactly in another dtype.
    """
    if dtype == "float32":
        found, limit, what = float(np.max(own)), SAME, "the largest difference in float32"
    else:
        found, limit = _rms(own), AS_GOOD * _rms(baseline)
        what = f"the error in {dtype}"
    if not found <= limit:
        raise ValueError(
            f"{what} of the log-probabilities of arcmix is {found:.5f} nats per token, and at most"
            f" {limit:.5f} is rounding; correct arcmix.prediction.rescore"
        )


def _rms(errors: Sequence[float]) -> float:
    """Return the root mean square, to which a single wrong candidate contributes much."""
    return float(np.sqrt(np.mean(np.square(errors))))


def main() -> None:
    """Run the benchmark."""
    given = predict.parser(__doc__).parse_args()
    with harness.started(given) as found:
        setting, asked = predict.chosen(found, given)
        (batch,) = given.batch or [64 if harness.on_card() else 8]
        compare(setting, Asked(asked.tests, 1, asked.sizes), batch, given.repeats)


if __name__ == "__main__":
    main()
