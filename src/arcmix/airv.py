"""Answers to tests in several views, undone: augment, infer, revert (the AIRV of arc24).

What a test looks like in tokens, in which order its views are answered, and what the tokens that
come back are as grids. How a batch is answered is `generate`'s matter, who does it `inference`'s.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arcmix import (
    drafts,
    examples,
    generate,
    inference,
    kv,
    model,
    params,
    prompt,
    rescore,
    select,
)
from arcmix.crew import Crew
from arcmix.encode import Encoder
from arcmix.generate import Answer, Query
from arcmix.grammar import Grammar
from arcmix.inference import Job, Memory
from arcmix.language import Language, spellings
from arcmix.select import Candidate, Choice
from arcmix.tasks import Pair, longest_side
from arcmix.views import Question

NO_DRAFT = np.zeros(0, np.int32)


class Exam:
    """The questions as tokens, and tokens as answers.

    Args:
        adapter: The adapter folder, which tells what the model was trained with.
        asked: The views of the tests.
        settings: How they are answered.

    Raises:
        ValueError: If the tokenizer does not fit the format of the prompts.
    """

    def __init__(self, adapter: Path, asked: Sequence[Question], settings: params.Predict) -> None:
        trained_with = params.Prompt.model_validate_json((adapter / "prompt.json").read_text())
        self.asked = asked
        self.max_side = longest_side(question.task for question in asked)
        self.tokenizer = model.load_tokenizer(adapter / "tokenizer")
        encoder = Encoder(trained_with.encoder)
        self.added = encoder.tokens
        self.style = examples.style(self.tokenizer, trained_with.format, encoder, "answer")
        shown = [self._text(question) for question in asked]
        self.prompts = [one.input_ids for one in examples.tokenize(self.tokenizer, shown)]
        rules = Grammar(self.style, self.max_side) if settings.grammar else None
        self.language = Language(
            end=model.token_id(self.tokenizer, self.style.end),
            budget=examples.answer_budget(self.tokenizer, self.style, settings.max_side),
            grammar=rules,
            texts=spellings(self.tokenizer, rules.spells) if rules else {},
        )

    def _text(self, question: Question) -> prompt.Text:
        turned = [
            Pair(question.shown.apply(pair.input), question.shown.apply(pair.output))
            for pair in (question.task.train[number] for number in question.order)
        ]
        shown = question.shown.apply(question.task.test[question.test].input)
        return prompt.render(self.style, turned, shown, None)

    def answers(self, grids: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the tokens of answers with their end, int32 (n,) each."""
        texts = [prompt.Text("", prompt.answer(self.style, grid), ()) for grid in grids]
        return [one.input_ids for one in examples.tokenize(self.tokenizer, texts)]

    def candidates(self, number: int, answers: Sequence[Answer]) -> list[Candidate]:
        """Return what the answers to a view come to; no answer is one that never ended."""
        if not answers:
            return [Candidate(None, 0.0, 0, ended=False)]
        return [
            Candidate(
                self._grid(number, one) if one.ended else None,
                one.logprob,
                len(one.tokens) + one.ended,
                one.ended,
            )
            for one in answers
        ]

    def _grid(self, number: int, answer: Answer) -> np.ndarray | None:
        text = self.tokenizer.decode(list(answer.tokens), clean_up_tokenization_spaces=False)
        grid = prompt.parse_answer(self.style, str(text) + self.style.end)
        if grid is None or max(grid.shape) > self.max_side:
            return None
        return self.asked[number].shown.invert(grid)


class Solver:
    """A model with questions to answer.

    Args:
        answering: A causal language model.
        exam: The questions.
        memory: What has been found before.
        settings: How answers are found.
        seed: The experiment's seed.
        crew: The processes that share the questions.
    """

    def __init__(
        self,
        answering: model.PreTrainedModel,
        exam: Exam,
        memory: Memory,
        settings: params.Predict,
        seed: int,
        crew: Crew,
    ) -> None:
        self._model, self._exam, self._memory = answering, exam, memory
        self._settings, self._seed, self._crew = settings, seed, crew

    def answer(
        self, numbers: Sequence[int], done: Callable[[int], object]
    ) -> dict[int, list[Answer]]:
        """Return the answers to some questions, by number.

        Args:
            numbers: The questions, by their number in the exam.
            done: Called with the number of questions of each batch.

        Raises:
            ValueError: If the model cannot read the longest of them beside others.
        """
        longest = max((len(self._exam.prompts[number]) for number in numbers), default=0)
        kv.check(self._model, longest + self._exam.language.budget)
        asked = self._exam.asked
        rounds = [[*numbers]]
        if self._settings.draft == "views":
            # The first view of a test is a draft for its others.
            rounds = [
                [n for n in numbers if not asked[n].view],
                [n for n in numbers if asked[n].view],
            ]
        found: dict[int, list[Answer]] = {}
        for these in rounds:
            queries = self._queries(these, self._drafts(these, found))
            found |= dict(zip(these, self._answers(queries, done), strict=True))
        return found

    def score(
        self, numbers: Sequence[int], found: Mapping[int, Sequence[Answer]]
    ) -> list[dict[str, Any]]:
        """Return the log-probability of each test's leading candidates in each of its views.

        Args:
            numbers: The questions, by their number in the exam.
            found: Their answers.

        Returns:
            Rows of the table of scores.
        """
        leading = self._leading(numbers, found)
        asked = self._exam.asked
        shown = [
            self._exam.answers([asked[number].shown.apply(choice.grid) for choice in best])
            for number, best in leading.items()
        ]
        scores = self._scores([*leading], shown)
        return [
            {
                "task": asked[number].task.id,
                "test": asked[number].test,
                "candidate": choice.number,
                "view": asked[number].view,
                "logprob": logprob,
                "tokens": len(answer),
            }
            for number, answers, logprobs in zip(leading, shown, scores, strict=True)
            for choice, answer, logprob in zip(leading[number], answers, logprobs, strict=True)
        ]

    def _queries(self, numbers: Sequence[int], guesses: Sequence[np.ndarray]) -> list[Query]:
        return [
            Query(self._exam.prompts[number], guess, _family(question), _purpose(question))
            for number, guess in zip(numbers, guesses, strict=True)
            for question in [self._exam.asked[number]]
        ]

    def _drafts(
        self, numbers: Sequence[int], found: Mapping[int, Sequence[Answer]]
    ) -> list[np.ndarray]:
        """Return a guess of each answer, from what is found for another view of its test."""
        if self._settings.draft == "none" or self._settings.search != "greedy":
            return [NO_DRAFT] * len(numbers)
        asked = self._exam.asked
        known = {
            _test(asked[number]): candidate.grid
            for number, answers in found.items()
            for candidate in self._exam.candidates(number, answers)
            if candidate.grid is not None
        }
        grids = []
        for number in numbers:
            question = asked[number]
            seen = known.get(_test(question))
            grids.append(drafts.copy(question) if seen is None else drafts.mapped(seen, question))
        return self._exam.answers(grids)

    def _answers(
        self, queries: Sequence[Query], done: Callable[[int], object]
    ) -> list[list[Answer]]:
        settings, language = self._settings, self._exam.language

        def work(places: list[int]) -> list[Any]:
            chosen = [queries[place] for place in places]
            found = generate.answer(self._model, chosen, language, settings, self._seed)
            return [[dataclasses.astuple(one) for one in answers] for answers in found]

        rows = {"greedy": 1, "dfs": math.floor(1 / settings.threshold)}.get(
            settings.search, settings.width
        )
        jobs = [
            Job(
                f"{query.purpose} {query.tokens.tolist()}",
                query.family,
                len(query.tokens) + language.budget,
                rows,
            )
            for query in queries
        ]
        found = self._results(jobs, work, done)
        return [[Answer(tuple(one[0]), *one[1:]) for one in answers] for answers in found]

    def _leading(
        self, numbers: Sequence[int], found: Mapping[int, Sequence[Answer]]
    ) -> dict[int, list[Choice]]:
        """Return the grids to score in each view that has any."""
        given: dict[tuple[str, int], list[Candidate]] = {}
        for number in numbers:
            test = given.setdefault(_test(self._exam.asked[number]), [])
            test += self._exam.candidates(number, found[number])
        best = {
            test: select.ranked("vote_logprob", candidates, {})[: self._settings.rescore]
            for test, candidates in given.items()
        }
        leading = {number: best[_test(self._exam.asked[number])] for number in numbers}
        return {number: choices for number, choices in leading.items() if choices}

    def _scores(
        self, numbers: Sequence[int], answers: Sequence[Sequence[np.ndarray]]
    ) -> list[list[float]]:
        queries = self._queries(numbers, [NO_DRAFT] * len(numbers))
        settings = self._settings

        def work(places: list[int]) -> list[Any]:
            chosen = [queries[place] for place in places]
            own = [answers[place] for place in places]
            return rescore.logprobs(self._model, chosen, own, settings)

        jobs = [
            Job(
                f"score {[one.tolist() for one in own]} {query.tokens.tolist()}",
                query.family,
                len(query.tokens) + max(map(len, own)),
                len(own),
            )
            for query, own in zip(queries, answers, strict=True)
        ]
        return self._results(jobs, work, lambda _: None)

    def _results(
        self,
        jobs: Sequence[Job],
        work: Callable[[list[int]], list[Any]],
        done: Callable[[int], object],
    ) -> list[Any]:
        tokens = self._settings.batch_tokens
        return inference.results(jobs, work, self._memory, tokens, self._crew, done)


def _test(question: Question) -> tuple[str, int]:
    return question.task.id, question.test


def _family(question: Question) -> tuple[str, int]:
    """Return what the tests of a task have in common in one view: the demonstrations."""
    return question.task.id, question.view


def _purpose(question: Question) -> str:
    return f"answer/{question.task.id}/{question.test}/{question.view}"
