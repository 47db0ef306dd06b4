"""Stage `adapt`: fine-tune the adapter on each validation task alone, at test time.

Reads the base model, the adapter folder and the validation tasks, of which it uses the
demonstrations. Writes a folder with an adapter for each task that got a better one, and one row
for each task that tells what became of it. With no steps to take, both are empty. A run that was
killed goes on with the next task when it is started again.
"""

import dataclasses
import functools
import logging
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd

from arcmix import (
    adapt,
    augment,
    code,
    corpus,
    crew,
    examples,
    fastpath,
    files,
    model,
    params,
    processes,
    program,
    tasks,
    tuned,
)
from arcmix.crew import Crew
from arcmix.encode import Encoder
from arcmix.schema import At, Section
from arcmix.tasks import Task

log = logging.getLogger("arcmix.adapt")

Row = dict[str, Any]
"""What became of a task."""

COLUMNS = ["task", *(field.name for field in dataclasses.fields(adapt.Outcome)), "seconds"]
"""Columns of a row."""


class Params(Section):
    """The values that the stage depends on."""

    seed: Annotated[int, At("seed")]
    """The experiment's seed."""
    init_seed: Annotated[int | Literal["seed"], At("init_seed")]
    """The seed of the adapter's dropout."""
    augment: Annotated[params.Augment, At("augment")]
    """How a sample differs from its task."""
    finetune: Annotated[params.Finetune, At("scales.${scale}.finetune")]
    """The fine-tune that made the adapter."""
    test_time: Annotated[params.TestTime, At("scales.${scale}.test_time")]
    """The fine-tuning on each task."""
    checkpoint: Annotated[Literal["best", "last"], At("scales.${scale}.predict.checkpoint")]
    """The adapter that each task starts from, which answers the tasks that get no better one."""


def run(
    *,
    config: Params,
    base_model: Path,
    adapter: Path,
    validation: Path,
    checkpoints: Path,
    adapted: Path,
    table: Path,
) -> None:
    """Fine-tune `adapter` on each task of `validation` into `adapted`, and tell in `table`.

    The tasks done are kept in a folder of `checkpoints` until the end. Processes take turns at the
    tasks; the first writes.
    """
    # First, since a process is given its device by it.
    everyone = crew.everyone()
    if not config.test_time.steps:
        if processes.leads():
            _tell(adapted, table, [])
        return
    values = config.model_dump_json()
    work = checkpoints / code.key(Path(__file__), values, [base_model, adapter, validation])
    asked = tasks.read(validation)
    _adapt(config, base_model, adapter, asked, everyone, work)
    processes.shared().wait_for_everyone()
    if not processes.leads():
        return
    rows = [files.read_json(_row(work, task)) for task in asked]
    counts = Counter(row["status"] for row in rows)
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    level = logging.WARNING if counts["failed"] else logging.INFO
    log.log(level, "%d tasks: %s", len(asked), told)
    for name in _adapted(rows):
        shutil.copytree(work / name, adapted / name)
    _tell(adapted, table, rows)
    files.discard(work)


def _tell(adapted: Path, table: Path, rows: Sequence[Row]) -> None:
    files.write_json(adapted / "tasks.json", _adapted(rows))
    files.write_csv(table, pd.DataFrame(rows, columns=COLUMNS))


def _adapted(rows: Sequence[Row]) -> list[str]:
    return [row["task"] for row in rows if row["status"] == "adapted"]


def _row(work: Path, task: Task) -> Path:
    """Return where what became of a task is told, which is there when all else of it is."""
    return work / f"{task.id}.json"


def _adapt(
    config: Params,
    base_model: Path,
    adapter: Path,
    asked: Sequence[Task],
    everyone: Crew,
    work: Path,
) -> None:
    """Leave a row for each task of this process in `work`, and an adapter for each adapted one."""
    model.quiet()
    settings, own = config.finetune, config.test_time
    encode, ask, tokens = _encoders(adapter, settings, asked)
    tokenizer = model.load_tokenizer(adapter / "tokenizer")
    base = model.load_base(base_model, settings.dtype, settings.method)
    added = model.add_tokens(base, tokenizer, tokens)
    seed = config.seed if config.init_seed == "seed" else config.init_seed
    one = tuned.resume(base, adapter / config.checkpoint, settings, seed, added)
    start = adapt.weights(one)
    own_tasks = everyone.turn(asked)
    with program.progress(len(own_tasks), "adapt", "task") as bar:
        for task in own_tasks:
            if not _row(work, task).exists():
                began = time.perf_counter()
                found = adapt.data(task, encode, ask, config.augment, config.seed, settings, own)
                if isinstance(found, adapt.Data):
                    found = adapt.adapt(one, start, task, found, seed, settings, own)
                if found.status == "adapted":
                    tuned.save(one, work / task.id)
                row = {"task": task.id} | dataclasses.asdict(found)
                seconds = time.perf_counter() - began
                files.write_json(_row(work, task), row | {"seconds": seconds})
            bar.update()


def _encoders(
    adapter: Path, settings: params.Finetune, asked: Sequence[Task]
) -> tuple[adapt.Encode, adapt.Encode, Mapping[str, str]]:
    """Return what makes tokens to train on, what makes those to measure, and the added tokens."""
    trained_with = params.Prompt.model_validate_json((adapter / "prompt.json").read_text())
    tokenizer = model.load_tokenizer(adapter / "tokenizer")
    encoder = Encoder(trained_with.encoder)
    style = examples.style(tokenizer, trained_with.format, encoder, settings.loss)
    answer = dataclasses.replace(style, loss="answer")
    ask = functools.partial(fastpath.as_texts, tokenizer, answer)
    tried = augment.plain([task.train for task in asked])
    return corpus.encoder(tokenizer, style, tried), ask, encoder.tokens


if __name__ == "__main__":
    program.main(run)
    processes.part()
