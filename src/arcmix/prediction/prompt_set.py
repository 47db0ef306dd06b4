"""Conversion of views to prompts in tokens, and of answers in tokens to grids."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from arcmix.config import scales
from arcmix.models import adapters, pretrained
from arcmix.prediction.grammar import Grammar
from arcmix.prediction.language import Language, spellings
from arcmix.prediction.search import Answer
from arcmix.prediction.selection import Candidate
from arcmix.prediction.views import View
from arcmix.tasks import Pair, longest_side
from arcmix.text import prompt, tokenization


class PromptSet:
    """The prompts of views, in the text format that the model was trained with.

    Args:
        adapter: The adapter folder, which holds the tokenizer and the prompt format.
        views: The views.
        settings: Whether to use the grammar, the longest answer, and how answers are read.

    Raises:
        ValueError: If the tokenizer does not fit the prompt format.
    """

    def __init__(self, adapter: Path, views: Sequence[View], settings: scales.Predict) -> None:
        self.views = views
        self._parse: scales.Parse = settings.parse
        self.max_side = longest_side(view.task for view in views)
        self.tokenizer, self.style = adapters.load_text(adapter, "answer")
        texts = [self._text(view) for view in views]
        self.prompts = [one.input_ids for one in tokenization.tokenize(self.tokenizer, texts)]
        grammar = Grammar(self.style, self.max_side) if settings.grammar else None
        self.language = Language(
            end=pretrained.token_id(self.tokenizer, self.style.end),
            budget=tokenization.answer_budget(self.tokenizer, self.style, settings.max_side),
            grammar=grammar,
            texts=spellings(self.tokenizer, grammar.may_contain) if grammar else {},
        )

    def _text(self, view: View) -> prompt.Text:
        demonstrations = [
            Pair(view.transform.apply(pair.input), view.transform.apply(pair.output))
            for pair in (view.task.train[number] for number in view.order)
        ]
        test_input = view.transform.apply(view.task.test[view.test].input)
        return prompt.render(self.style, demonstrations, test_input, None)

    def answer_tokens(self, grids: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the tokens of each grid as an answer with its end token, int32 (n,) each."""
        texts = [prompt.Text("", prompt.answer(self.style, grid), ()) for grid in grids]
        return [one.input_ids for one in tokenization.tokenize(self.tokenizer, texts)]

    def candidates(self, number: int, answers: Sequence[Answer]) -> list[Candidate]:
        """Return the answers to a view as candidates, with the view's transform inverted.

        Args:
            number: Number of the view.
            answers: The answers to it. Without answers, the view has one candidate without a grid.
        """
        if not answers:
            return [Candidate(None, 0.0, 0, ended=False)]
        return [
            Candidate(
                self.grid(number, one, self._parse),
                one.logprob,
                len(one.tokens) + one.ended,
                one.ended,
            )
            for one in answers
        ]

    def grid(self, number: int, answer: Answer, parse: scales.Parse) -> np.ndarray | None:
        """Return the grid of an answer with the view's transform inverted, None if it has none.

        Args:
            number: Number of the view.
            answer: An answer to it.
            parse: How the answer is read (`scales.Predict.parse`).
        """
        text = tokenization.decode(self.tokenizer, list(answer.tokens))
        if parse == "lenient":
            grid = prompt.find_answer(self.style, text)
        else:
            grid = prompt.parse_answer(self.style, text + self.style.end) if answer.ended else None
        if grid is None or max(grid.shape) > self.max_side:
            return None
        return self.views[number].transform.invert(grid)
