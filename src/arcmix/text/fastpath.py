"""Token ids of samples without running a tokenizer: templates filled with colors.

The text of a sample is fixed pieces and grids in turn. Under a tokenizer that keeps every cell
apart, the tokens of a grid are those of its shape (row ends, row numbers, a header) with the
tokens of its colors in between. So each number of grids has its pieces and each shape has its
template, and a chunk of samples is one gather from them, into which its cells are written.

Pieces and templates are taken from the tokenizer itself, by texts that differ in nothing but
a color or a shape. So any encoder and any format will do; whether the tokenizer will is not
assumed but tried: on random grids whenever something new is learned, and on samples at the
start. Where it will not, as with Llama 3 that has a token for 123, texts are tokenized.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from arcmix import randomness
from arcmix.sampling import sample_table
from arcmix.sampling.sample_table import Chunk
from arcmix.tasks import COLORS, Pair
from arcmix.text import conversation, prompt, tokenization
from arcmix.text.tokenization import Example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from arcmix.text.prompt import Style

log = logging.getLogger("arcmix.fastpath")

Tokenize = Callable[[Chunk], list[Example]]
"""Returns the tokens of each sample of a chunk."""

SLOT = -1
"""Stands in a template where a cell's token goes."""

LARGEST = 256
"""Sides are below it: they are uint8."""


class MergedError(ValueError):
    """The tokenizer does not keep the cells apart."""

    def __init__(self, style: Style) -> None:
        super().__init__(
            f"the tokenizer does not keep the cells of {'/'.join(style.encoder.names)} grids"
            f" in the {style.format} format apart"
        )


def as_texts(tokenizer: PreTrainedTokenizerBase, style: Style, chunk: Chunk) -> list[Example]:
    """Return the tokens of a chunk of samples by way of their texts."""
    samples = zip(sample_table.split(chunk), sample_table.questions(chunk), strict=True)
    texts = [
        conversation.converse(style, pairs[-1].input, kinds)
        if kinds
        else [prompt.render(style, pairs[:-1], pairs[-1].input, pairs[-1].output)]
        for pairs, kinds in samples
    ]
    made = iter(tokenization.tokenize(tokenizer, [turn for turns in texts for turn in turns]))
    return [tokenization.join([next(made) for _ in turns]) for turns in texts]


def sample_tokenizer(tokenizer: PreTrainedTokenizerBase, style: Style, tried: Chunk) -> Tokenize:
    """Return the function that tokenizes samples: by templates, or as texts where these fail.

    Args:
        tokenizer: The model's tokenizer.
        style: How the model is shown a task.
        tried: Samples to verify the templates on.
    """
    try:
        return template_tokenizer(tokenizer, style, tried)
    except MergedError as error:
        log.info("samples are tokenized as texts, since %s", error)
        return functools.partial(as_texts, tokenizer, style)


def template_tokenizer(tokenizer: PreTrainedTokenizerBase, style: Style, tried: Chunk) -> Tokenize:
    """Return a function that tokenizes samples by templates, with the result of `as_texts`.

    Args:
        tokenizer: The model's tokenizer.
        style: How the model is shown a task.
        tried: Samples to verify the templates on.

    Raises:
        MergedError: If the templates do not give the tokens of the texts.
    """
    templates = Templates(tokenizer, style)
    if (tasks := tried.asked == 0).any():
        templates.prove(sample_table.select(tried, tasks))

    def fast(chunk: Chunk) -> list[Example]:
        try:
            return templates.tokenize(chunk)
        except MergedError:  # by a shape that was not among those tried
            return as_texts(tokenizer, style, chunk)

    def tokenize(chunk: Chunk) -> list[Example]:
        asked = chunk.asked > 0
        if not asked.any():
            return fast(chunk)
        # Conversations are texts: their answers have no template.
        talks = iter(as_texts(tokenizer, style, sample_table.select(chunk, asked)))
        rest = iter(() if asked.all() else fast(sample_table.select(chunk, ~asked)))
        return [next(talks if one else rest) for one in asked.tolist()]

    return tokenize


@dataclass(frozen=True)
class _Probe:
    """The tokens of a text whose grids are of one shape and one color, and where they are."""

    ids: np.ndarray
    trained: np.ndarray
    slots: np.ndarray
    """Places of the cells' tokens, int64 (grids, tokens of the cells of a grid)."""

    @property
    def gaps(self) -> list[Example]:
        """The tokens before, between and after the grids, each from last cell to first cell."""
        starts = [0, *(self.slots[:, -1] + 1)]
        stops = [*self.slots[:, 0], len(self.ids)]
        return [
            Example(self.ids[start:stop], self.trained[start:stop])
            for start, stop in zip(starts, stops, strict=True)
        ]


class Templates:
    """The pieces and templates of a tokenizer and a style, learned as samples need them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, style: Style) -> None:
        self.tokenizer, self.style = tokenizer, style
        self.parts: list[Example] = []
        self.pool = self.trained = self.starts = self.lengths = np.zeros(0, np.int64)
        # By height * LARGEST + width, and by number of grids; -1 is not learned yet.
        self.templates = np.full(LARGEST * LARGEST, -1)
        self.pieces = np.full(LARGEST, -1)
        self.colors = self._colors()

    def prove(self, tried: Chunk) -> None:
        """Compare with the texts of some samples.

        Raises:
            MergedError: If they differ.
        """
        if not _equal(self.tokenize(tried), as_texts(self.tokenizer, self.style, tried)):
            raise MergedError(self.style)

    def tokenize(self, chunk: Chunk) -> list[Example]:
        """Return the tokens of a chunk of samples.

        Raises:
            MergedError: If a shape or a number of grids is new and no template fits it.
        """
        shapes = chunk.shapes[:, 0].astype(np.int64) * LARGEST + chunk.shapes[:, 1]
        self._learn(chunk.grids, shapes)
        # A sample of g grids is 2 * g + 1 parts, the grids those at odd places.
        count = 2 * chunk.grids + 1
        last = np.cumsum(count) - 1
        place = np.arange(last[-1] + 1) - np.repeat(last + 1 - count, count)
        parts = np.repeat(self.pieces[chunk.grids], count) + place // 2
        parts[place % 2 == 1] = self.templates[shapes]

        lengths = self.lengths[parts]
        ends = np.cumsum(lengths)
        # Half the bytes of int64, and a chunk is limited by memory.
        shift = (self.starts[parts] - (ends - lengths)).astype(np.int32)
        where = np.arange(ends[-1], dtype=np.int32)
        where += np.repeat(shift, lengths)
        ids = self.pool.take(where)
        ids[ids == SLOT] = self.colors.take(chunk.cells, axis=0).reshape(-1)

        # A piece knows which of its tokens carry loss; a grid's do if it is such an output.
        trained = self.trained.take(where)
        trained |= np.repeat(self._outputs(place, count), lengths)
        stops = ends[last].tolist()
        return [
            Example(ids[start:stop], trained[start:stop])
            for start, stop in zip([0, *stops[:-1]], stops, strict=True)
        ]

    def _outputs(self, place: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Return whether a part is a grid that carries loss, from its place in its sample."""
        answer = place == np.repeat(count, count) - 2
        if self.style.loss == "answer":
            return answer
        # Parts 1, 5, 9 ... are inputs, 3, 7, 11 ... their outputs.
        return answer | ((place % 4 == 3) & (place > 3))

    def _learn(self, grids: np.ndarray, shapes: np.ndarray) -> None:
        # A template is what the pieces around two grids leave of a text.
        counts, sizes = np.union1d(grids, [2]), np.unique(shapes)
        counts, sizes = counts[self.pieces[counts] < 0], sizes[self.templates[sizes] < 0]
        if not counts.size and not sizes.size:
            return
        try:
            for count in counts.tolist():
                self._learn_pieces(count)
            for size in sizes.tolist():
                self._learn_template(*divmod(size, LARGEST))
            self.pool = np.concatenate([part.input_ids for part in self.parts])
            self.trained = np.concatenate([part.trained for part in self.parts])
            self.lengths = np.array([len(part.input_ids) for part in self.parts])
            self.starts = np.cumsum(self.lengths) - self.lengths
            for count in counts.tolist():
                self.prove(_random(count, *divmod(int(shapes[0]), LARGEST)))
            for size in sizes.tolist():
                self.prove(_random(2, *divmod(size, LARGEST)))
        except MergedError:
            # What did not work is not learned, and whoever asks again is told again.
            self.pieces[counts] = -1
            self.templates[sizes] = -1
            raise

    def _colors(self) -> np.ndarray:
        """Return the tokens of each color, int32 (10, tokens of a cell)."""
        found = [self._text(2, 1, 1, color) for color in range(COLORS)]
        if len({len(one.input_ids) for one in found}) > 1:
            raise MergedError(self.style)
        ids = np.stack([one.input_ids for one in found])
        slots = (ids != ids[0]).any(axis=0)
        return ids[:, slots][:, : slots.sum() // 2]

    def _learn_pieces(self, count: int) -> None:
        """Take the pieces around `count` grids from what two shapes have in common."""
        small, large = self._probe(count, 1, 1), self._probe(count, 2, 1)
        self.pieces[count] = len(self.parts)
        for one, other in zip(small.gaps, large.gaps, strict=True):
            common = _common(one.input_ids, other.input_ids)
            self.parts.append(Example(one.input_ids[:common], one.trained[:common]))

    def _learn_template(self, height: int, width: int) -> None:
        probe = self._probe(2, height, width)
        ids = probe.ids.copy()
        ids[probe.slots] = SLOT
        # What the first piece does not hold is the grid's own, up to its last cell.
        start = len(self.parts[self.pieces[2]].input_ids)
        self.templates[height * LARGEST + width] = len(self.parts)
        ids = ids[start : probe.slots[0, -1] + 1]
        self.parts.append(Example(ids, np.zeros(len(ids), bool)))

    def _probe(self, count: int, height: int, width: int) -> _Probe:
        one, other = (self._text(count, height, width, color) for color in (0, 1))
        if len(one.input_ids) == len(other.input_ids):
            slots = np.flatnonzero(one.input_ids != other.input_ids)
            if len(slots) == count * height * width * self.colors.shape[1]:
                return _Probe(one.input_ids, one.trained, slots.reshape(count, -1))
        raise MergedError(self.style)

    def _text(self, count: int, height: int, width: int, color: int) -> Example:
        grid = np.full((height, width), color, np.uint8)
        pairs = [Pair(grid, grid)] * (count // 2 - 1)
        [example] = tokenization.tokenize(
            self.tokenizer, [prompt.render(self.style, pairs, grid, grid)]
        )
        return example


def _random(count: int, height: int, width: int) -> Chunk:
    """Return one sample of random cells, the same at each call."""
    words = randomness.words(0, "fastpath", 0, count * height * width, 1)[:, 0]
    shapes = np.full((count, 2), (height, width), np.uint8)
    cells = randomness.below(words, COLORS).astype(np.uint8)
    return Chunk(np.array([count]), shapes, cells, np.zeros(1, np.int64), np.zeros(0, np.uint8))


def _common(one: np.ndarray, other: np.ndarray) -> int:
    """Return the length of the longest common beginning."""
    shorter = min(len(one), len(other))
    unlike = np.flatnonzero(one[:shorter] != other[:shorter])
    return int(unlike[0]) if len(unlike) else shorter


def _equal(found: Sequence[Example], wanted: Sequence[Example]) -> bool:
    return all(
        np.array_equal(a.input_ids, b.input_ids) and np.array_equal(a.trained, b.trained)
        for a, b in zip(found, wanted, strict=True)
    )
