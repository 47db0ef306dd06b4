"""Stage `predict`: answer the validation tests, and score the candidates in all views.

Reads the base model, the adapter folder, the folder of tasks' own adapters and the validation
tasks; writes the candidates of each test and view, turned back to the original's orientation
and colors, and the log-probabilities of the leading ones in each view. What is found is kept in
a folder of `predictions`, so that a run that was killed goes on, and more views extend fewer.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

from arcmix import (
    airv,
    code,
    crew,
    files,
    generate,
    inference,
    model,
    params,
    processes,
    program,
    select,
    tasks,
    tuned,
    views,
)
from arcmix.schema import At, Section
from arcmix.views import Question

log = logging.getLogger("arcmix.predict")

TIME_ONLY = {"views", "draft", "kv_static", "batch_tokens", "rescore", "checkpoint"}
"""Settings that an answer to a view does not depend on."""


class Params(Section):
    """The values that the stage depends on."""

    seed: Annotated[int, At("seed")]
    """The experiment's seed."""
    background: Annotated[float, At("augment.background")]
    """Chance that a recoloring moves color 0 too."""
    dtype: Annotated[str, At("scales.${scale}.finetune.dtype")]
    """Type of the weights."""
    method: Annotated[str, At("scales.${scale}.finetune.method")]
    """How the model was fine-tuned."""
    max_tokens: Annotated[int, At("scales.${scale}.validation.max_tokens")]
    """Longest prompt; a longer one is not answered."""
    predict: Annotated[params.Predict, At("scales.${scale}.predict")]
    """The answers."""


def run(
    *,
    config: Params,
    base_model: Path,
    adapter: Path,
    adapted: Path,
    validation: Path,
    predictions: Path,
    candidates: Path,
    scores: Path,
) -> None:
    """Answer the tests of `validation` into `candidates`, and score these into `scores`.

    A task that has an adapter of its own in `adapted` is answered with that, any other with
    `adapter`. Processes share the prompts of a model or, if there are enough, the models; the first
    writes.
    """
    model.quiet()
    # First, since a process is given its device by it.
    leads = processes.leads()
    asked = [
        question
        for task in tasks.read(validation)
        for test in range(len(task.test))
        for question in views.questions(
            task, test, config.predict.views, config.background, config.seed
        )
    ]
    exam = airv.Exam(adapter, asked, config.predict)
    kept = [number for number, ids in enumerate(exam.prompts) if len(ids) <= config.max_tokens]
    log.info("%d of %d prompts of at most %d tokens", len(kept), len(asked), config.max_tokens)

    own = set(files.read_json(adapted / "tasks.json"))
    groups: dict[Path, list[int]] = {}
    for number in kept:
        id_ = asked[number].task.id
        folder = adapted / id_ if id_ in own else adapter / config.predict.checkpoint
        groups.setdefault(folder, []).append(number)
    scope = code.key(
        Path(__file__),
        f"{config.model_dump_json(exclude={'background': True, 'predict': TIME_ONLY})}\n"
        f"{exam.max_side}",
        [base_model, adapter / "tokenizer", adapter / "prompt.json"],
    )
    memories = {
        folder: inference.Memory(predictions, f"{scope}\n{code.digest([folder])}")
        for folder in groups
    }
    found, scored = _solved(config, base_model, exam, groups, memories)
    if not leads:
        return
    rows = [
        row
        for number in range(len(asked))
        for row in _rows(asked[number], exam.candidates(number, found.get(number, [])))
    ]
    files.write_parquet(
        candidates, pd.DataFrame(rows).astype({"height": "UInt8", "width": "UInt8"})
    )
    table = pd.DataFrame(scored, columns=[*select.SCORE_COLUMNS])
    files.write_parquet(scores, table.astype(select.SCORE_COLUMNS))
    log.info(
        "%d answers ended, %d of them are grids",
        sum(row["ended"] for row in rows),
        sum(row["grid"] is not None for row in rows),
    )


def _solved(
    config: Params,
    base_model: Path,
    exam: airv.Exam,
    groups: Mapping[Path, Sequence[int]],
    memories: Mapping[Path, inference.Memory],
) -> tuple[dict[int, list[generate.Answer]], list[dict[str, Any]]]:
    """Return the answers by question and the rows of scores, to each process.

    Args:
        config: The values of the stage.
        base_model: Folder of the base model.
        exam: The questions.
        groups: Folder of an adapter -> the questions that it answers.
        memories: Folder of an adapter -> what has been found with it.
    """
    everyone, alone = crew.everyone(), crew.ALONE
    enough = len(groups) >= everyone.count
    outer, inner = (everyone, alone) if enough else (alone, everyone)
    own = outer.turn([*groups])
    models = tuned.load_each(
        base_model, own, config.dtype, config.method, exam.tokenizer, exam.added
    )
    found: dict[int, list[generate.Answer]] = {}
    scored: dict[Path, list[dict[str, Any]]] = {}
    total = sum(len(groups[folder]) for folder in own)
    with program.progress(total, "predict", "prompt") as bar:
        for answering, folder in zip(models, own, strict=True):
            inference.lay_out(answering)
            solver = airv.Solver(
                answering, exam, memories[folder], config.predict, config.seed, inner
            )
            answers = solver.answer(groups[folder], bar.update)
            found |= answers
            if config.predict.rescore:
                scored[folder] = solver.score(groups[folder], answers)
    scored = outer.merged(scored)
    return outer.merged(found), [row for folder in groups for row in scored.get(folder, [])]


def _rows(question: Question, candidates: Sequence[select.Candidate]) -> Iterator[dict[str, Any]]:
    for rank, one in enumerate(candidates):
        yield {
            "task": question.task.id,
            "test": question.test,
            "view": question.view,
            "rank": rank,
            "grid": None if one.grid is None else one.grid.reshape(-1),
            "height": None if one.grid is None else one.grid.shape[0],
            "width": None if one.grid is None else one.grid.shape[1],
            "logprob": one.logprob,
            "tokens": one.tokens,
            "ended": one.ended,
        }


if __name__ == "__main__":
    program.main(run)
    processes.part()
