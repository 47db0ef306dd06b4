"""Tokens of samples from templates filled with colors, which is faster than a tokenizer.

The text of a sample alternates between fixed pieces and grids. If the tokenizer never merges two
cells, the tokens of a grid are fixed tokens of its shape (row ends, row numbers, a header) with the
tokens of its colors in between. So the pieces depend only on the number of grids, and the template
of a grid only on its shape. The tokens of a chunk of samples are one gather from these pieces and
templates, with the tokens of the colors filled in.

Pieces and templates are derived from the tokens of texts that differ only in a color or a shape. So
every encoder and format works. The result is verified: on random grids for each new piece or
template, and on samples at the start. Where it differs from the tokens of the texts, the texts are
tokenized. An example is the tokenizer of Llama 3, which has a token for 123.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from arcmix import integers, randomness
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
"""A function that returns the tokens of each sample of a chunk."""

SLOT = -1
"""Placeholder in a template for a token of a cell."""

LARGEST = 256
"""Upper bound of a side, exclusive: sides are uint8."""


class MergedError(ValueError):
    """The tokenizer merges cells, so templates do not give the tokens of the texts."""

    def __init__(self, style: Style) -> None:
        super().__init__(
            f"the tokenizer merges cells of {'/'.join(style.encoder.names)} grids in the format"
            f" {style.format}, so templates cannot be used"
        )


def as_texts(tokenizer: PreTrainedTokenizerBase, style: Style, chunk: Chunk) -> list[Example]:
    """Return the tokens of a chunk of samples by tokenizing their texts."""
    samples = zip(sample_table.split(chunk), sample_table.questions(chunk), strict=True)
    texts = [
        conversation.converse(style, pairs[-1].input, kinds)
        if kinds
        else [prompt.render(style, pairs[:-1], pairs[-1].input, pairs[-1].output)]
        for pairs, kinds in samples
    ]
    examples = iter(tokenization.tokenize(tokenizer, [turn for turns in texts for turn in turns]))
    return [tokenization.join([next(examples) for _ in turns]) for turns in texts]


def sample_tokenizer(tokenizer: PreTrainedTokenizerBase, style: Style, tried: Chunk) -> Tokenize:
    """Return a function that tokenizes samples: with templates if they work, otherwise as texts.

    Args:
        tokenizer: The model's tokenizer.
        style: The style of the texts.
        tried: Samples on which the templates are verified.
    """
    try:
        return template_tokenizer(tokenizer, style, tried)
    except MergedError as error:
        log.info("samples are tokenized as texts: %s", error)
        return functools.partial(as_texts, tokenizer, style)


def template_tokenizer(tokenizer: PreTrainedTokenizerBase, style: Style, tried: Chunk) -> Tokenize:
    """Return a function that tokenizes samples with templates, with the result of `as_texts`.

    Args:
        tokenizer: The model's tokenizer.
        style: The style of the texts.
        tried: Samples on which the templates are verified.

    Raises:
        MergedError: If the templates do not give the tokens of the texts.
    """
    templates = Templates(tokenizer, style)
    if (tasks := tried.asked == 0).any():
        templates.verify(sample_table.select(tried, tasks))

    def fast(chunk: Chunk) -> list[Example]:
        try:
            return templates.tokenize(chunk)
        except MergedError:  # a shape that does not occur in `tried` has no template
            return as_texts(tokenizer, style, chunk)

    def tokenize(chunk: Chunk) -> list[Example]:
        asked = chunk.asked > 0
        if not asked.any():
            return fast(chunk)
        # There are no templates for the answers of a conversation.
        conversations = iter(as_texts(tokenizer, style, sample_table.select(chunk, asked)))
        rest = iter(() if asked.all() else fast(sample_table.select(chunk, ~asked)))
        return [next(conversations if one else rest) for one in asked.tolist()]

    return tokenize


@dataclass(frozen=True)
class _Probe:
    """The tokens of a text in which all grids have one shape and one color."""

    ids: np.ndarray
    """The tokens, int32 (n,)."""
    trained: np.ndarray
    """Whether a token has loss, bool (n,)."""
    slots: np.ndarray
    """Indices of the tokens of cells, int64 (grids, tokens of the cells of a grid)."""

    @property
    def gaps(self) -> list[Example]:
        """The tokens before the first cell, between the grids, and after the last cell."""
        starts = [0, *(self.slots[:, -1] + 1)]
        stops = [*self.slots[:, 0], len(self.ids)]
        return [
            Example(self.ids[start:stop], self.trained[start:stop])
            for start, stop in zip(starts, stops, strict=True)
        ]


class Templates:
    """The pieces and templates of a tokenizer and a style, derived when samples need them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, style: Style) -> None:
        self.tokenizer, self.style = tokenizer, style
        self.parts: list[Example] = []
        self.pool = self.trained = self.starts = self.lengths = np.zeros(0, np.int64)
        # Index in `parts`, by height * LARGEST + width, and by number of grids; -1 if not derived.
        self.templates = np.full(LARGEST * LARGEST, -1)
        self.pieces = np.full(0, -1)
        self.colors = self._colors()

    def verify(self, tried: Chunk) -> None:
        """Verify the templates on samples.

        Raises:
            MergedError: If the tokens differ from those of the texts.
        """
        if not _equal(self.tokenize(tried), as_texts(self.tokenizer, self.style, tried)):
            raise MergedError(self.style)

    def tokenize(self, chunk: Chunk) -> list[Example]:
        """Return the tokens of a chunk of samples.

        Raises:
            MergedError: If the tokenizer merges cells in a new shape or number of grids.
        """
        shapes = chunk.shapes[:, 0].astype(np.int64) * LARGEST + chunk.shapes[:, 1]
        self._derive(chunk.grids, shapes)
        # A sample of g grids has 2 * g + 1 parts; the parts at odd places are grids.
        count = 2 * chunk.grids + 1
        last = np.cumsum(count) - 1
        place = np.arange(last[-1] + 1) - np.repeat(last + 1 - count, count)
        parts = np.repeat(self.pieces[chunk.grids], count) + place // 2
        parts[place % 2 == 1] = self.templates[shapes]

        lengths = self.lengths[parts]
        ends = np.cumsum(lengths)
        index = integers.index_type(len(self.pool), ends[-1])
        where = np.arange(ends[-1], dtype=index)
        shift = integers.narrowed(self.starts[parts] - (ends - lengths), index)
        where += np.repeat(shift, lengths)
        ids = self.pool.take(where)
        ids[ids == SLOT] = self.colors.take(chunk.cells, axis=0).reshape(-1)

        # A piece knows which of its tokens have loss. A grid has loss if it is a trained output.
        trained = self.trained.take(where)
        trained |= np.repeat(self._outputs(place, count), lengths)
        stops = ends[last].tolist()
        return [
            Example(ids[start:stop], trained[start:stop])
            for start, stop in zip([0, *stops[:-1]], stops, strict=True)
        ]

    def _outputs(self, place: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Return whether a part is an output with loss, bool (parts,).

        Args:
            place: Place of each part in its sample.
            count: Number of parts of each sample.
        """
        answer = place == np.repeat(count, count) - 2
        if self.style.loss == "answer":
            return answer
        # Parts 1, 5, 9 ... are inputs, parts 3, 7, 11 ... are their outputs.
        return answer | ((place % 4 == 3) & (place > 3))

    def _derive(self, grids: np.ndarray, shapes: np.ndarray) -> None:
        """Derive and verify the missing pieces and templates."""
        # A template is derived from a text with two grids by removing the pieces, so these are
        # always needed.
        counts, sizes = np.union1d(grids, [2]), np.unique(shapes)
        new = max(0, counts[-1] + 1 - len(self.pieces))
        self.pieces = np.pad(self.pieces, (0, new), constant_values=-1)
        counts, sizes = counts[self.pieces[counts] < 0], sizes[self.templates[sizes] < 0]
        if not counts.size and not sizes.size:
            return
        try:
            for count in counts.tolist():
                self._derive_pieces(count)
            for size in sizes.tolist():
                self._derive_template(*divmod(size, LARGEST))
            self.pool = np.concatenate([part.input_ids for part in self.parts])
            self.trained = np.concatenate([part.trained for part in self.parts])
            self.lengths = np.array([len(part.input_ids) for part in self.parts])
            self.starts = np.cumsum(self.lengths) - self.lengths
            for count in counts.tolist():
                self.verify(_random(count, *divmod(int(shapes[0]), LARGEST)))
            for size in sizes.tolist():
                self.verify(_random(2, *divmod(size, LARGEST)))
        except MergedError:
            # The next call with these counts or shapes raises the error again.
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

    def _derive_pieces(self, count: int) -> None:
        """Derive the pieces of `count` grids: the tokens that texts of two shapes share."""
        small, large = self._probe(count, 1, 1), self._probe(count, 2, 1)
        self.pieces[count] = len(self.parts)
        for one, other in zip(small.gaps, large.gaps, strict=True):
            common = _common(one.input_ids, other.input_ids)
            self.parts.append(Example(one.input_ids[:common], one.trained[:common]))

    def _derive_template(self, height: int, width: int) -> None:
        probe = self._probe(2, height, width)
        ids = probe.ids.copy()
        ids[probe.slots] = SLOT
        # The template contains the tokens from the end of the first piece to the last cell.
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
    """Return a sample with random cells, the same in each call."""
    words = randomness.words(0, "fastpath", 0, count * height * width, 1)[:, 0]
    shapes = np.full((count, 2), (height, width), np.uint8)
    cells = integers.narrowed(randomness.below(words, COLORS), np.uint8)
    return Chunk(np.array([count]), shapes, cells, np.zeros(1, np.int64), np.zeros(0, np.uint8))


def _common(one: np.ndarray, other: np.ndarray) -> int:
    """Return the length of the longest common prefix."""
    shorter = min(len(one), len(other))
    differing = np.flatnonzero(one[:shorter] != other[:shorter])
    return int(differing[0]) if len(differing) else shorter


def _equal(found: Sequence[Example], expected: Sequence[Example]) -> bool:
    return all(
        np.array_equal(a.input_ids, b.input_ids) and np.array_equal(a.trained, b.trained)
        for a, b in zip(found, expected, strict=True)
    )
