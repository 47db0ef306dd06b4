"""Test-time fine-tuning on all validation tasks: ranks share them, and killed runs resume."""

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
from arcmix.models import adapters, loss, parallel, pretrained
from arcmix.models.parallel import Ranks
from arcmix.sampling import sample_table
from arcmix.tasks import Task
from arcmix.text import fastpath
from arcmix.training import outcomes, test_time

log = logging.getLogger("arcmix.adapt")


@dataclass(frozen=True)
class Settings:
    """Settings of test-time fine-tuning."""

    augment: Augment
    """Augmentation of the samples."""
    finetune: Finetune
    """Settings of the fine-tune that made the adapter; `test_time` overrides some of them."""
    test_time: TestTime
    """Number of own, batch size, learning rate and early stopping."""
    seed: int
    """Seed of the experiment."""
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
    """Fine-tune the adapter on each task; return the rows of all tasks on rank 0.

    Args:
        base_model: Folder of the base model.
        adapter: The adapter folder.
        checkpoint: The weights of that folder to start from, `best` or `last`.
        tasks: The tasks; only their demonstrations are used.
        settings: Settings of the fine-tuning.
        work: Folder for finished tasks: a row of each, and an adapter of each adapted one.
    """
    pretrained.quiet()
    ranks = parallel.all_ranks()
    own = _fine_tune(base_model, adapter, checkpoint, tasks, ranks, settings, work)
    gathered = ranks.gather(own)
    if not parallel.is_main():
        return []
    rows = [gathered[task.id] for task in tasks]
    counts = Counter(row["status"] for row in rows)
    summary = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    level = logging.WARNING if counts["failed"] else logging.INFO
    log.log(level, "%d tasks: %s", len(tasks), summary)
    return rows


def write_adapters(out: Path, rows: Sequence[outcomes.Row], work: Path | None) -> None:
    """Write the adapters and the ids of the adapted tasks.

    Args:
        out: The folder to write: `tasks.json`, and each adapter in a folder named after its task.
        rows: The rows of all tasks.
        work: The folder `work` of `run`; none if no task was fine-tuned.
    """
    adapted = outcomes.adapted(rows)
    for name in adapted:
        if work is not None:
            files.copy_folder(work / name, out / name)
    files.write_json(out / "tasks.json", adapted)


def _row_file(work: Path, task: Task) -> Path:
    """Return the file of a task's row; it is written last, with a checksum of the adapter."""
    return work / f"{task.id}.json"


def _finished(work: Path, task: Task) -> outcomes.Row | None:
    """Return the row of a finished task, whose adapter is as it was written; log a damaged one.

    A task that failed, maybe for want of memory, gets another attempt.
    """
    found = files.read_checked(_row_file(work, task))
    if found is None or found["row"]["status"] == "failed":
        return None
    if found["adapter"] == _checksum(work / task.id):
        return found["row"]
    log.warning("%s is missing or damaged, so the task is fine-tuned again", work / task.id)
    return None


def _checksum(adapter: Path) -> str | None:
    """Return a checksum of the adapter of a task; none if it has none."""
    return files.digest([adapter]) if adapter.exists() else None


def _fine_tune(
    base_model: Path,
    adapter: Path,
    checkpoint: str,
    tasks: Sequence[Task],
    ranks: Ranks,
    settings: Settings,
    work: Path,
) -> dict[str, outcomes.Row]:
    """Fine-tune on the tasks of this rank; return their rows by the id of the task."""
    tokenizer, style = adapters.load_text(adapter, settings.finetune.loss)
    base = pretrained.load_base(base_model, settings.finetune.dtype, settings.finetune.method)
    added = pretrained.add_tokens(base, tokenizer, style.encoder.tokens)
    model = adapters.resume(
        base, adapter / checkpoint, settings.finetune, settings.adapter_seed, added
    )
    start = test_time.weights(model)
    how = loss.fitted(settings.finetune, model)
    # All tasks, so that each rank decides alike whether templates give the tokens.
    pairs = sample_table.from_pairs([task.train for task in tasks])
    tokenize = fastpath.sample_tokenizer(tokenizer, style, pairs)
    answer_style = dataclasses.replace(style, loss="answer")
    tokenize_held_out = functools.partial(fastpath.as_texts, tokenizer, answer_style)
    own = settings.test_time
    share = ranks.share(tasks)
    rows: dict[str, outcomes.Row] = {}
    with program.progress(len(share), "adapt", "task") as bar:
        for task in share:
            row = _finished(work, task)
            if row is None:
                folder = work / task.id
                if folder.exists():  # a killed run may have left a part
                    shutil.rmtree(folder)
                started = time.perf_counter()
                result = test_time.prepare(
                    task,
                    tokenize,
                    tokenize_held_out,
                    settings.augment,
                    settings.seed,
                    how,
                    own,
                )
                if isinstance(result, test_time.Data):
                    result = test_time.adapt(
                        model, start, task, result, settings.adapter_seed, how, own
                    )
                if result.status == "adapted":
                    adapters.save(model, folder)
                row = outcomes.as_row(task.id, result, time.perf_counter() - started)
                values = {"row": row, "adapter": _checksum(folder)}
                files.write_checked(_row_file(work, task), values)
            rows[task.id] = row
            bar.update()
    return rows
