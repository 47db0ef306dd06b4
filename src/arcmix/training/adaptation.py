"""Test-time fine-tuning of all validation tasks, shared by ranks and resumable after a kill."""

import dataclasses
import functools
import logging
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from arcmix import files, program
from arcmix.config.params import Augment
from arcmix.config.scales import Finetune, TestTime
from arcmix.models import adapters, parallel, pretrained
from arcmix.sampling import sample_table
from arcmix.tasks import Task
from arcmix.text import fastpath
from arcmix.training import outcomes, test_time

log = logging.getLogger("arcmix.adapt")


@dataclass(frozen=True)
class Settings:
    """How tasks are fine-tuned at test time."""

    augment: Augment
    """How a sample differs from its task."""
    finetune: Finetune
    """The fine-tune that made the adapter; its settings hold where `test_time` has none."""
    test_time: TestTime
    """The steps, their batch and their learning rate."""
    seed: int
    """The experiment's seed."""
    adapter_seed: int
    """Seed of the dropout."""


def run(
    base_model: Path,
    adapter: Path,
    checkpoint: str,
    tasks: Sequence[Task],
    settings: Settings,
    work: Path,
) -> list[outcomes.Row]:
    """Fine-tune the adapter on each task; return the rows of all tasks, on the first rank.

    Args:
        base_model: Folder of the base model.
        adapter: The adapter folder.
        checkpoint: The weights in it to start from, `best` or `last`.
        tasks: The tasks, of which this uses the demonstrations.
        settings: How they are fine-tuned.
        work: Folder of the finished tasks: a row for each, and an adapter for each adapted one.
    """
    pretrained.quiet()
    ranks = parallel.all_ranks()
    _fine_tune(base_model, adapter, checkpoint, ranks.share(tasks), settings, work)
    parallel.state().wait_for_everyone()
    if not parallel.is_main():
        return []
    rows = [files.read_json(_row(work, task)) for task in tasks]
    counts = Counter(row["status"] for row in rows)
    summary = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    level = logging.WARNING if counts["failed"] else logging.INFO
    log.log(level, "%d tasks: %s", len(tasks), summary)
    return rows


def write_adapters(out: Path, rows: Sequence[outcomes.Row], work: Path | None) -> None:
    """Write the adapters of the adapted tasks, and the ids of these tasks.

    Args:
        out: A folder, for `tasks.json` and one folder for each adapter, named after its task.
        rows: The rows of all tasks.
        work: The folder that `run` was given; none if no task was fine-tuned.
    """
    adapted = outcomes.adapted(rows)
    for name in adapted:
        if work is not None:
            shutil.copytree(work / name, out / name)
    files.write_json(out / "tasks.json", adapted)


def _row(work: Path, task: Task) -> Path:
    """Return the file of a task's row, which is written last."""
    return work / f"{task.id}.json"


def _fine_tune(
    base_model: Path,
    adapter: Path,
    checkpoint: str,
    tasks: Sequence[Task],
    settings: Settings,
    work: Path,
) -> None:
    tokenizer, style = adapters.load_text(adapter, settings.finetune.loss)
    base = pretrained.load_base(base_model, settings.finetune.dtype, settings.finetune.method)
    added = pretrained.add_tokens(base, tokenizer, style.encoder.tokens)
    model = adapters.resume(
        base, adapter / checkpoint, settings.finetune, settings.adapter_seed, added
    )
    start = test_time.weights(model)
    tried = sample_table.from_pairs([task.train for task in tasks])
    tokenize = fastpath.sample_tokenizer(tokenizer, style, tried)
    answer_style = dataclasses.replace(style, loss="answer")
    tokenize_held_out = functools.partial(fastpath.as_texts, tokenizer, answer_style)
    own = settings.test_time
    with program.progress(len(tasks), "adapt", "task") as bar:
        for task in tasks:
            if not _row(work, task).exists():
                began = time.perf_counter()
                found = test_time.data(
                    task,
                    tokenize,
                    tokenize_held_out,
                    settings.augment,
                    settings.seed,
                    settings.finetune,
                    own,
                )
                if isinstance(found, test_time.Data):
                    found = test_time.adapt(
                        model, start, task, found, settings.adapter_seed, settings.finetune, own
                    )
                if found.status == "adapted":
                    adapters.save(model, work / task.id)
                seconds = time.perf_counter() - began
                files.write_json(_row(work, task), outcomes.as_row(task.id, found, seconds))
            bar.update()
