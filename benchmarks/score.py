"""Log-probabilities of given candidates: one pass over each prompt, or one pass per candidate.

Each prompt has five candidates: the right answer, the input, and the right answer with one cell
changed. Both ways use the same fine-tuned model, prompts and dtype.

- `each anew`: prompt and candidate are one sequence. Sequences are sorted by length and evaluated
  in batches of eight, with logits for the candidate only. Apart from the batches, this is the
  scoring of the ARChitects and of NVARC.
- `arcmix, prompt once`: each prompt is evaluated once for all its candidates, as in `predict`.

The benchmark verifies that both ways give the same log-probabilities, within 0.01 nats per token.
"""

import multiprocessing
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import padding
import predict
import torch
import transformers

from arcmix import randomness
from arcmix.config import scales
from arcmix.prediction import reading, rescore
from arcmix.prediction.prompt_set import PromptSet

NUMBER = 5
"""Number of candidates per prompt."""


def candidates(prompt_set: PromptSet) -> list[list[np.ndarray]]:
    """Return the tokens of the candidates of each prompt."""
    found = []
    for number, view in enumerate(prompt_set.views):
        pair = view.task.test[view.test]
        grids = [view.transform.apply(pair.output), view.transform.apply(pair.input)]
        for change in range(NUMBER - len(grids)):
            grid = grids[0].copy()
            words = randomness.words(
                predict.SEED, "benchmark/score", number * NUMBER + change, 1, 3
            )[0]
            row, column = (
                randomness.below(word, side) for word, side in zip(words, grid.shape, strict=False)
            )
            grid[row, column] = (grid[row, column] + 1 + randomness.below(words[2], 9)) % 10
            grids.append(grid)
        found.append(prompt_set.answer_tokens(grids))
    return found


def anew(
    one: transformers.PreTrainedModel,
    prompts: Sequence[np.ndarray],
    answers: Sequence[Sequence[np.ndarray]],
) -> list[list[float]]:
    """Return the log-probabilities, with one pass over the prompt for each candidate."""
    places = [(number, place) for number, own in enumerate(answers) for place in range(len(own))]
    places.sort(key=lambda place: len(prompts[place[0]]) + len(answers[place[0]][place[1]]))
    found = [[0.0] * len(own) for own in answers]
    for start in range(0, len(places), 8):
        chosen = places[start : start + 8]
        texts = [np.concatenate([prompts[n], answers[n][place]]) for n, place in chosen]
        ids, mask, positions = padding.left_padded(texts, one.device)
        keep = max(len(answers[n][place]) for n, place in chosen) + 1
        logits = one(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            logits_to_keep=keep,
            use_cache=False,
        ).logits
        for row, (number, place) in enumerate(chosen):
            wanted = torch.from_numpy(answers[number][place]).long().to(one.device)
            before = logits[row, -len(wanted) - 1 : -1].float()
            found[number][place] = -float(
                torch.nn.functional.cross_entropy(before, wanted, reduction="sum")
            )
    return found


def shared(
    one: transformers.PreTrainedModel,
    prompts: Sequence[np.ndarray],
    answers: Sequence[Sequence[np.ndarray]],
    tokens: int,
) -> list[list[float]]:
    """Return the log-probabilities, with one pass over each prompt for all its candidates."""
    settings = scales.Predict.model_copy(predict.SETTINGS)
    queries = [
        reading.Query(ids, np.zeros(0, np.int32), number, "") for number, ids in enumerate(prompts)
    ]
    order = sorted(range(len(queries)), key=lambda number: len(prompts[number]))
    rows = max(1, tokens // (NUMBER * max(map(len, prompts))))
    found: dict[int, list[float]] = {}
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        given = rescore.logprobs(
            one, [queries[n] for n in chosen], [answers[n] for n in chosen], settings
        )
        found |= dict(zip(chosen, given, strict=True))
    return [found[number] for number in range(len(queries))]


def measure(setting: predict.Setting, way: str) -> predict.Result:
    """Score the candidates in one way, in this process."""
    one, prompt_set = predict.load(setting)
    answers = candidates(prompt_set)
    if way == "each anew":
        return predict.timed(one, lambda: anew(one, prompt_set.prompts, answers))
    return predict.timed(
        one, lambda: shared(one, prompt_set.prompts, answers, setting.batch_tokens)
    )


def compare(setting: predict.Setting, repeats: int) -> None:
    """Run both ways alternately and print a table with a row for each.

    Raises:
        ValueError: If their log-probabilities differ.
    """
    spawn = multiprocessing.get_context("spawn")
    found: dict[str, list[predict.Result]] = {"each anew": [], "arcmix, prompt once": []}
    for _ in range(repeats):
        for way, results in found.items():
            # A process of its own measures its own peak memory.
            with ProcessPoolExecutor(1, mp_context=spawn) as alone:
                results.append(alone.submit(measure, setting, way).result())
    _, prompt_set = predict.load(setting)
    answers = candidates(prompt_set)
    one, other = (results[0].answers for results in found.values())
    worst = max(
        abs(a - b) / len(answer)
        for ours, theirs, own in zip(one, other, answers, strict=True)
        for a, b, answer in zip(ours, theirs, own, strict=True)
    )
    if worst > 0.01:
        raise ValueError(
            f"the log-probabilities of the two ways differ by {worst:.3f} nats per token, more than"
            " the allowed 0.01; correct arcmix.prediction.rescore"
        )
    print(
        f"{len(answers)} prompts of {np.mean([len(ids) for ids in prompt_set.prompts]):.0f} tokens,"
        f" {NUMBER} candidates of {np.mean([len(one) for own in answers for one in own]):.0f},"
        f" {setting.dtype}, {setting.threads} threads,"
        f" {predict.DEVICE}; medians of {repeats}"
    )
    print(
        "| way | s | cpu s | candidates/s | peak MiB | x |\n| --- | --- | --- | --- | --- | --- |"
    )
    baseline = None
    for way, results in found.items():
        seconds = statistics.median(result.seconds for result in results)
        baseline = baseline or seconds
        busy = statistics.median(result.busy for result in results)
        print(
            f"| {way} | {seconds:.2f} | {busy:.2f} | {NUMBER * len(answers) / seconds:.1f}"
            f" | {results[-1].peak:,.0f} | {baseline / seconds:.2f} |"
        )


def main() -> None:
    """Run the benchmark."""
    arguments = predict.parser("Candidates scored per second.").parse_args()
    if not predict.ready(arguments):
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(predict.setting(arguments, Path(folder)), arguments.repeats)


if __name__ == "__main__":
    main()
