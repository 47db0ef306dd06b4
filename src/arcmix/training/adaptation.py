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

import torch

from arcmix import files, program
from arcmix.config.params import Augment
from arcmix.config.scales import Finetune, TestTime
from arcmix.models import adapters, loss, parallel, pretrained, stacked
from arcmix.models.packing import packs
from arcmix.models.parallel import Ranks
from arcmix.sampling import sample_table
from arcmix.tasks import Task
from arcmix.text import fastpath
from arcmix.text.fastpath import Tokenize
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
    group_tokens: int
    """Maximum number of tokens in a step of tasks that train side by side (`group_tokens`)."""


def group_tokens(finetune: Finetune) -> int:
    """Return the tokens of a step that tasks share: a row on a GPU; none on a CPU.

    On a CPU, each token costs the same in any row, and attention more in a longer one.

    Args:
        finetune: The settings of the fine-tune.
    """
    return finetune.micro_tokens if torch.cuda.is_available() else 0


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
    tuner = _load(base_model, adapter, checkpoint, tasks, settings)
    # The groups depend on nothing but the tasks and the settings. So a resumed run, another order
    # of the tasks or another number of ranks makes the same adapters.
    share = ranks.share(tuner.groups(sorted(tasks, key=lambda task: task.id)))
    rows: dict[str, outcomes.Row] = {}
    with program.progress(sum(map(len, share)), "adapt", "task") as bar:
        for group in share:
            found = {task: _finished(work, task) for task in group}
            open_ = [task for task, row in found.items() if row is None]
            if open_:
                # All of the group, because the last bits of an adapter depend on the group.
                found |= tuner.train(group, open_, work)
            rows |= {task.id: row for task, row in found.items() if row}
            bar.update(len(group))
    return rows


@dataclass(frozen=True)
class _Tuner:
    """A model with an adapter, and how it is fine-tuned on tasks."""

    model: adapters.Tuned
    start: torch.Tensor
    """The initial weights of each task."""
    tokenize: Tokenize
    tokenize_held_out: Tokenize
    finetune: Finetune
    """The settings of the fine-tune as they fit the model."""
    settings: Settings

    def groups(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """Return the tasks that train side by side: those whose samples of a step fit together."""
        if not stacked.can_stack(self.model):
            return [[task] for task in tasks]
        lengths = [self._length(task) for task in tasks]
        limit = min(self.settings.group_tokens, self.finetune.micro_tokens)
        found = [sorted(pack) for pack in packs(lengths, limit)]
        return [[tasks[number] for number in pack] for pack in sorted(found)]

    def _length(self, task: Task) -> int:
        """Return about the maximum number of tokens of a step on a task."""
        held_out = test_time.held_out(task, self.tokenize_held_out, self.finetune)
        longest = max((len(one.input_ids) for one in held_out), default=0)
        return longest * self.settings.test_time.batch

    def train(
        self, group: Sequence[Task], kept: Sequence[Task], work: Path
    ) -> dict[Task, outcomes.Row]:
        """Fine-tune on the tasks of a group; save and return the rows of some of them."""
        started = time.perf_counter()
        for task in kept:
            if (work / task.id).exists():  # a killed run may have left a part
                shutil.rmtree(work / task.id)
        prepared = {task: self._prepare(task) for task in group}
        data = [(task, one) for task, one in prepared.items() if isinstance(one, test_time.Data)]
        skipped = {task: one for task, one in prepared.items() if isinstance(one, outcomes.Outcome)}
        seed = self.settings.adapter_seed
        results = test_time.adapt(
            self.model, self.start, data, seed, self.finetune, self.settings.test_time
        )
        trained = {task: result for (task, _), result in zip(data, results, strict=True)}
        seconds = (time.perf_counter() - started) / len(group)
        rows: dict[Task, outcomes.Row] = {}
        for task in kept:
            folder = work / task.id
            outcome, weights = trained[task] if task in trained else (skipped[task], self.start)
            if outcome.status == "adapted":
                stacked.restore(self.model, weights)
                adapters.save(self.model, folder)
            rows[task] = outcomes.as_row(task.id, outcome, seconds)
            values = {"row": rows[task], "adapter": _checksum(folder)}
            files.write_checked(_row_file(work, task), values)
        return rows

    def _prepare(self, task: Task) -> test_time.Data | outcomes.Outcome:
        return test_time.prepare(
            task,
            self.tokenize,
            self.tokenize_held_out,
            self.settings.augment,
            self.settings.seed,
            self.finetune,
            self.settings.test_time,
        )


def _load(
    base_model: Path,
    adapter: Path,
    checkpoint: str,
    tasks: Sequence[Task],
    settings: Settings,
) -> _Tuner:
    """Load the adapter, and verify the tokenizers on the tasks."""
    tokenizer, style = adapters.load_text(adapter, settings.finetune.loss)
    base = pretrained.load_base(base_model, settings.finetune.dtype, settings.finetune.method)
    added = pretrained.add_tokens(base, tokenizer, style.encoder.tokens)
    model = adapters.resume(
        base, adapter / checkpoint, settings.finetune, settings.adapter_seed, added
    )
    # All tasks, so that each rank decides alike whether templates give the tokens.
    pairs = sample_table.from_pairs([task.train for task in tasks])
    answer_style = dataclasses.replace(style, loss="answer")
    return _Tuner(
        model,
        stacked.weights(model),
        fastpath.sample_tokenizer(tokenizer, style, pairs),
        functools.partial(fastpath.as_texts, tokenizer, answer_style),
        loss.fitted(settings.finetune, model),
        settings,
    )
