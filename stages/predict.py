"""Stage `predict`: answer the validation tests.

Reads the base model, the adapter folder, the folder of tasks' own adapters and the validation
tasks; writes one candidate for each test and view, turned back to the original's orientation
and colors, and a table of scores, which is empty so far.
"""

import logging
from pathlib import Path
from typing import Annotated

import pandas as pd

from arcmix import (
    examples,
    files,
    generate,
    model,
    params,
    program,
    prompt,
    tasks,
    tuned,
    views,
)
from arcmix.encode import Encoder
from arcmix.schema import At, Section

log = logging.getLogger("arcmix.predict")


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
    """Longest prompt and answer; a longer one is not answered."""
    predict: Annotated[params.Predict, At("scales.${scale}.predict")]
    """The answers."""


def run(
    *,
    config: Params,
    base_model: Path,
    adapter: Path,
    adapted: Path,
    validation: Path,
    candidates: Path,
    scores: Path,
) -> None:
    """Answer the tests of `validation` into `candidates`; `scores` stay empty.

    A task that has an adapter of its own in `adapted` is answered with that, any other with
    `adapter`.
    """
    model.quiet()
    settings = config.predict
    trained_with = params.Prompt.model_validate_json((adapter / "prompt.json").read_text())
    tokenizer = model.load_tokenizer(adapter / "tokenizer")
    encoder = Encoder(trained_with.encoder)
    style = examples.style(tokenizer, trained_with.format, encoder, "answer")
    asked = [
        question
        for task in tasks.read(validation)
        for test in range(len(task.test))
        for question in views.questions(task, test, settings.views, config.background, config.seed)
    ]
    texts = [_text(style, question) for question in asked]
    prompts = [example.input_ids for example in examples.tokenize(tokenizer, texts)]
    kept = [number for number, ids in enumerate(prompts) if len(ids) <= config.max_tokens]
    log.info("%d of %d prompts of at most %d tokens", len(kept), len(asked), config.max_tokens)

    own = set(files.read_json(adapted / "tasks.json"))
    groups: dict[Path, list[int]] = {}
    for number in kept:
        id_ = asked[number].task.id
        folder = adapted / id_ if id_ in own else adapter / settings.checkpoint
        groups.setdefault(folder, []).append(number)
    models = tuned.load_each(
        base_model, [*groups], config.dtype, config.method, tokenizer, encoder.tokens
    )
    found: dict[int, generate.Answer] = {}
    with program.progress(len(kept), "predict", "prompt") as bar:
        for answering, numbers in zip(models, groups.values(), strict=True):
            answers = generate.greedy(
                answering,
                [prompts[number] for number in numbers],
                end=model.token_id(tokenizer, style.end),
                budget=examples.answer_budget(tokenizer, style, settings.max_side),
                batch=settings.batch,
                done=bar.update,
            )
            found |= dict(zip(numbers, answers, strict=True))
    rows = [
        _row(question, found.get(number), style, tokenizer) for number, question in enumerate(asked)
    ]
    files.write_parquet(
        candidates, pd.DataFrame(rows).astype({"height": "UInt8", "width": "UInt8"})
    )
    files.write_parquet(
        scores,
        pd.DataFrame(
            {
                "task": pd.Series(dtype="str"),
                "test": pd.Series(dtype="int64"),
                "candidate": pd.Series(dtype="int64"),
                "view": pd.Series(dtype="int64"),
                "logprob": pd.Series(dtype="float64"),
                "tokens": pd.Series(dtype="int64"),
            }
        ),
    )
    log.info(
        "%d answers ended, %d of them are grids",
        sum(answer.ended for answer in found.values()),
        sum(row["grid"] is not None for row in rows),
    )


def _text(style: prompt.Style, question: views.Question) -> prompt.Text:
    turned = [
        tasks.Pair(question.shown.apply(pair.input), question.shown.apply(pair.output))
        for pair in (question.task.train[number] for number in question.order)
    ]
    shown = question.shown.apply(question.task.test[question.test].input)
    return prompt.render(style, turned, shown, None)


def _row(
    question: views.Question,
    answer: generate.Answer | None,
    style: prompt.Style,
    tokenizer: model.PreTrainedTokenizerBase,
) -> dict[str, object]:
    grid = None
    if answer is not None and answer.ended:
        text = str(tokenizer.decode(list(answer.tokens), clean_up_tokenization_spaces=False))
        grid = prompt.parse_answer(style, text + style.end)
    if grid is not None:
        grid = question.shown.invert(grid)
    return {
        "task": question.task.id,
        "test": question.test,
        "view": question.view,
        "rank": 0,
        "grid": None if grid is None else grid.reshape(-1),
        "height": None if grid is None else grid.shape[0],
        "width": None if grid is None else grid.shape[1],
        "logprob": 0.0 if answer is None else answer.logprob,
        "tokens": 0 if answer is None else len(answer.tokens) + answer.ended,
        "ended": answer is not None and answer.ended,
    }


if __name__ == "__main__":
    program.main(run)
