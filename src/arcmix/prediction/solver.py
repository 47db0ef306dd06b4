"""Answers of one model to views, and log-probabilities of the leading grids.

The solver makes drafts and jobs. `prompt_set` turns views into prompts and answers into grids,
`generate` searches the answers, `batching` forms units and caches their results.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from arcmix.config import scales
from arcmix.models.parallel import Ranks
from arcmix.prediction import batching, drafts, generate, kv_cache, rescore, selection
from arcmix.prediction.batching import Job, ResultCache
from arcmix.prediction.prompt_set import PromptSet
from arcmix.prediction.reading import Query
from arcmix.prediction.scores import Score
from arcmix.prediction.search import Answer
from arcmix.prediction.selection import Candidate, Choice
from arcmix.prediction.shapes import Shapes, shapes_of
from arcmix.prediction.tables import Test
from arcmix.prediction.views import View

NO_DRAFT = np.zeros(0, np.int32)


class Solver:
    """A model that answers the views of a prompt set.

    Args:
        model: A causal language model.
        prompts: The prompts of all views.
        cache: Results of earlier runs; new results are added.
        settings: The search, the drafts, the batches and the number of grids to score.
        seed: The experiment's seed.
        ranks: The ranks that share the views.
        shapes: The shapes of passes; None for those of the model's device.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: PromptSet,
        cache: ResultCache,
        settings: scales.Predict,
        seed: int,
        ranks: Ranks,
        shapes: Shapes | None = None,
    ) -> None:
        self._model, self._prompts, self._cache = model, prompts, cache
        self._settings, self._seed, self._ranks = settings, seed, ranks
        self._shapes = shapes or shapes_of(model.device)

    def answer(
        self, numbers: Sequence[int], done: Callable[[int], object]
    ) -> dict[int, list[Answer]]:
        """Return the answers to some views, by the number of the view.

        Args:
            numbers: Numbers of the views.
            done: Called with the number of views of a unit once the unit is done (`batching`).

        Raises:
            ValueError: If the model's answers would depend on the batch (`kv_cache.check`).
        """
        longest = max((len(self._prompts.prompts[number]) for number in numbers), default=0)
        kv_cache.check(self._model, longest + self._prompts.language.budget)
        views = self._prompts.views
        # A run with twice the views has the same rounds and one more, whose answers are not cached.
        rounds: dict[int, list[int]] = {}
        for number in numbers:
            rounds.setdefault(views[number].index.bit_length(), []).append(number)
        found: dict[int, list[Answer]] = {}
        for _, asked in sorted(rounds.items()):
            queries = self._queries(asked, self._drafts(asked, found))
            found |= dict(zip(asked, self._answers(queries, done), strict=True))
        return found

    def score(self, numbers: Sequence[int], found: Mapping[int, Sequence[Answer]]) -> list[Score]:
        """Return the log-probability of the leading grids of each test in each of its views.

        Args:
            numbers: Numbers of the views.
            found: Number of the view -> the answers to it.
        """
        leading = self._leading(numbers, found)
        views = self._prompts.views
        shown = [
            self._prompts.answer_tokens(
                [views[number].transform.apply(choice.grid) for choice in best]
            )
            for number, best in leading.items()
        ]
        scores = self._scores([*leading], shown)
        return [
            Score(
                views[number].task.id,
                views[number].test,
                choice.number,
                views[number].index,
                logprob,
                len(answer),
            )
            for number, answers, logprobs in zip(leading, shown, scores, strict=True)
            for choice, answer, logprob in zip(leading[number], answers, logprobs, strict=True)
        ]

    def _queries(self, numbers: Sequence[int], tokens: Sequence[np.ndarray]) -> list[Query]:
        """Return the queries of views, given the draft tokens of each."""
        return [
            Query(self._prompts.prompts[number], draft, _family(view), _purpose(view))
            for number, draft in zip(numbers, tokens, strict=True)
            for view in [self._prompts.views[number]]
        ]

    def _drafts(
        self, numbers: Sequence[int], found: Mapping[int, Sequence[Answer]]
    ) -> list[np.ndarray]:
        """Return the draft tokens of each view.

        A draft is the answer to view 0 of the test, if the setting is `views` and there is one, or
        else the test's input.
        """
        if self._settings.draft == "none" or self._settings.search != "greedy":
            return [NO_DRAFT] * len(numbers)
        views = self._prompts.views
        # Strict in any case: then another `parse` has the same drafts, so the same cached answers.
        known = {
            _test(views[number]): grid
            for number, answers in found.items()
            if self._settings.draft == "views" and not views[number].index
            for grid in [self._prompts.grid(number, one, "strict") for one in answers]
            if grid is not None
        }
        grids = []
        for number in numbers:
            view = views[number]
            seen = known.get(_test(view))
            grids.append(drafts.copy(view) if seen is None else drafts.mapped(seen, view))
        return self._prompts.answer_tokens(grids)

    def _answers(
        self, queries: Sequence[Query], done: Callable[[int], object]
    ) -> list[list[Answer]]:
        settings, language = self._settings, self._prompts.language

        def work(units: list[list[int]]) -> Iterator[tuple[int, list[Any]]]:
            chosen = [[queries[place] for place in unit] for unit in units]
            for place, found in generate.answers(
                self._model, chosen, language, settings, self._seed, most, self._shapes
            ):
                yield place, [[dataclasses.astuple(one) for one in own] for own in found]

        jobs = [
            Job(
                f"{query.purpose} {query.tokens.tolist()} {query.draft.tolist()}",
                query.family,
                len(query.tokens) + language.budget,
                generate.rows_of(settings),
            )
            for query in queries
        ]
        tokens = kv_cache.room(self._model, settings.batch_tokens)
        if self._shapes.joins:
            units, most = batching.families(jobs), tokens // max(job.length for job in jobs)
        else:
            units, most = batching.batches(jobs, tokens), 0
        found = batching.results(jobs, units, work, self._cache, self._ranks, done)
        return [[Answer(tuple(one[0]), *one[1:]) for one in answers] for answers in found]

    def _leading(
        self, numbers: Sequence[int], found: Mapping[int, Sequence[Answer]]
    ) -> dict[int, list[Choice]]:
        """Return the grids to score in each view; views without such grids are left out."""
        given: dict[Test, list[Candidate]] = {}
        for number in numbers:
            own = given.setdefault(_test(self._prompts.views[number]), [])
            own += self._prompts.candidates(number, found[number])
        best = {
            test: selection.ranked("vote_logprob", candidates, {})[: self._settings.rescore]
            for test, candidates in given.items()
        }
        leading = {number: best[_test(self._prompts.views[number])] for number in numbers}
        return {number: choices for number, choices in leading.items() if choices}

    def _scores(
        self, numbers: Sequence[int], answers: Sequence[Sequence[np.ndarray]]
    ) -> list[list[float]]:
        queries = self._queries(numbers, [NO_DRAFT] * len(numbers))
        settings = self._settings

        def work(units: list[list[int]]) -> Iterator[tuple[int, list[Any]]]:
            for number, unit in enumerate(units):
                chosen = [queries[place] for place in unit]
                own = [answers[place] for place in unit]
                yield number, rescore.logprobs(self._model, chosen, own, settings, self._shapes)

        jobs = [
            Job(
                f"score {query.purpose} {[one.tolist() for one in own]} {query.tokens.tolist()}",
                query.family,
                len(query.tokens) + max(map(len, own)),
                len(own),
            )
            for query, own in zip(queries, answers, strict=True)
        ]
        tokens = kv_cache.room(self._model, settings.batch_tokens)
        units = batching.batches(jobs, min(tokens, self._shapes.at_once or tokens))
        return batching.results(jobs, units, work, self._cache, self._ranks, lambda _: None)


def _test(view: View) -> Test:
    return view.task.id, view.test


def _family(view: View) -> tuple[str, int]:
    """Return the family of a view: the prompts of a family show the same demonstrations."""
    return view.task.id, view.index


def _purpose(view: View) -> str:
    """Return the purpose of the random numbers that draw the samples of a view."""
    return f"answer/{view.task.id}/{view.test}/{view.index}"
