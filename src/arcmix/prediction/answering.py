"""Answers to the views of all tests, each by the adapter of its task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from arcmix import files
from arcmix.config import scales
from arcmix.models import adapters, parallel
from arcmix.prediction.batching import ResultCache
from arcmix.prediction.prompt_set import PromptSet
from arcmix.prediction.scores import Score
from arcmix.prediction.search import Answer
from arcmix.prediction.solver import Solver
from arcmix.prediction.tables import Test

Measure = Callable[[PreTrainedModel, Sequence[Test]], Mapping[Test, float]]
"""Returns the loss of a model on the right answers to some tests, by test."""

NOT_IN_SCOPE = {"views", "batch_tokens", "rescore", "parse"}
"""Settings of `scales.Predict` that a result depends on only by the jobs of its unit."""


@dataclass(frozen=True)
class Base:
    """The base model and the settings to load its adapters."""

    folder: Path
    """Folder of the base model."""
    dtype: str
    """Name of the dtype of the weights."""
    method: str
    """Method of the fine-tune (`scales.Finetune`)."""


@dataclass(frozen=True)
class Answered:
    """What the models made of the views."""

    answers: dict[int, list[Answer]]
    """Number of a view -> the answers to it."""
    scores: list[Score]
    """The scores of the leading grids."""
    losses: dict[Test, float]
    """Test -> the loss of the model that answers it, as `measure` returned it."""


def groups(
    prompts: PromptSet, adapter: Path, adapted: Path, own: Sequence[str], max_tokens: int
) -> dict[Path, list[int]]:
    """Return the folder of each adapter -> the numbers of the views that it answers.

    Args:
        prompts: The views and their prompts.
        adapter: Folder of the adapter for tasks without an adapter of their own.
        adapted: Folder with a subfolder for each adapter of a single task.
        own: Ids of the tasks with an adapter of their own.
        max_tokens: Limit on the tokens of a prompt; views with longer prompts are left out.
    """
    found: dict[Path, list[int]] = {}
    for number, view in enumerate(prompts.views):
        if len(prompts.prompts[number]) <= max_tokens:
            folder = adapted / view.task.id if view.task.id in own else adapter
            found.setdefault(folder, []).append(number)
    return found


def answer(
    base: Base,
    prompts: PromptSet,
    groups: Mapping[Path, Sequence[int]],
    cache: ResultCache,
    settings: scales.Predict,
    seed: int,
    measure: Measure,
    done: Callable[[int], object],
) -> Answered:
    """Return the answers, the scores of the leading grids, and the losses of the models.

    If there are at least as many adapters as ranks, the ranks share the adapters. Otherwise they
    share the views of each adapter. Each rank gets all results.

    Args:
        base: The base model.
        prompts: The views and their prompts.
        groups: Folder of an adapter -> the numbers of the views that it answers.
        cache: Results of earlier runs. Its scope is all that the answers depend on, beside the
            adapter and the view.
        settings: The search, the batches and the number of grids to score.
        seed: The experiment's seed.
        measure: Called with each model and the tests that it answers.
        done: Called with the number of views of a unit once the unit is done.
    """
    ranks = parallel.all_ranks()
    by_adapter = len(groups) >= ranks.count
    outer, inner = (ranks, parallel.ONE_RANK) if by_adapter else (parallel.ONE_RANK, ranks)
    own = outer.share([*groups])
    tokenizer, added = prompts.tokenizer, prompts.style.encoder.tokens
    models = adapters.load_each(base.folder, own, base.dtype, base.method, tokenizer, added)
    found: dict[int, list[Answer]] = {}
    scored: dict[Path, list[Score]] = {}
    losses: dict[Test, float] = {}
    for model, folder in zip(models, own, strict=True):
        views = [prompts.views[number] for number in groups[folder]]
        losses |= measure(model, [*dict.fromkeys((view.task.id, view.test) for view in views)])
        results = cache.within(files.digest([folder]))
        solver = Solver(model, prompts, results, settings, seed, inner)
        answers = solver.answer(groups[folder], done)
        found |= answers
        if settings.rescore:
            scored[folder] = solver.score(groups[folder], answers)
    scored = outer.gather(scored)
    return Answered(
        answers=outer.gather(found),
        scores=[one for folder in groups for one in scored.get(folder, [])],
        losses=outer.gather(losses),
    )
