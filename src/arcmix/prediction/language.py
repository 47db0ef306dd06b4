"""What an answer may be, in tokens: which one ends it, how many it has, what a grammar allows."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from arcmix.prediction import grammar
from arcmix.prediction.grammar import Grammar, State

LOOK = 16
"""Tokens that are had without sorting all of them."""

FREE = State(0, 0, 0, 0, "")
"""The state of an answer that no grammar looks at."""

REPLACEMENT = "\ufffd"
"""What stands in a text for bytes that are no character."""


@dataclass(frozen=True)
class Language:
    """What an answer may be."""

    end: int
    """Token that ends it."""
    budget: int
    """Most tokens of it, the end token included."""
    grammar: Grammar | None
    """What it has to obey, if anything."""
    texts: Mapping[int, tuple[str, str]]
    """Tokens that the grammar may allow -> their text as the first of an answer and as a later
    one (`spellings`); no other may come but `end`."""

    @property
    def start(self) -> State:
        """The state before the first token."""
        return self.grammar.start if self.grammar else FREE

    @functools.cached_property
    def _possible(self) -> torch.Tensor:
        """The tokens that may come at some place, int64 (n,)."""
        return torch.tensor(sorted({*self.texts, self.end}))

    def after(self, state: State, token: int, *, first: bool) -> State | None:
        """Return the state of an answer after one more token, None if it may not come.

        Args:
            state: The state before it.
            token: The token.
            first: Whether the answer has no token yet.
        """
        if self.grammar is None:
            return state
        if token == self.end:
            return state if self.grammar.complete(state) else None
        if token not in self.texts:
            return None
        alone, later = self.texts[token]
        # SentencePiece begins a text with a token that has none there.
        if first:
            return self.grammar.advance(state, alone)
        return self.grammar.advance(state, later) if later else None

    def options(
        self, state: State, keys: torch.Tensor, floor: float, *, first: bool
    ) -> Iterator[tuple[int, State]]:
        """Yield the tokens that an answer may go on with and the state after each.

        Args:
            state: The state before it.
            keys: What orders the tokens, the largest first, (vocabulary,).
            floor: The key below which no token is looked at.
            first: Whether the answer has no token yet.
        """
        possible = None if self.grammar is None else self._possible.to(keys.device)
        for place, key in _falling(keys if possible is None else keys[possible]):
            if key < floor:
                return
            token = place if possible is None else int(possible[place])
            after = self.after(state, token, first=first)
            if after is not None:
                yield token, after


def _falling(keys: torch.Tensor) -> Iterator[tuple[int, float]]:
    """Yield places and keys, the largest key first; the first few are had without sorting."""
    first = keys.topk(min(LOOK, len(keys)))
    yield from zip(first.indices.tolist(), first.values.tolist(), strict=True)
    seen = set(first.indices.tolist())
    rest = keys.sort(descending=True)
    pairs = zip(rest.indices.tolist(), rest.values.tolist(), strict=True)
    yield from ((place, key) for place, key in pairs if place not in seen)


def spellings(
    tokenizer: PreTrainedTokenizerBase, spells: Callable[[str], bool]
) -> dict[int, tuple[str, str]]:
    """Return the tokens that answers may have -> their text at the beginning and inside of one.

    Args:
        tokenizer: The tokenizer of the answers.
        spells: Whether answers have all characters of a text; other tokens are left out.

    Raises:
        ValueError: If a token is less than a character and its bytes are not told.
    """
    numbers = sorted(tokenizer.get_vocab().values())
    # At the beginning of a text a token may lose the space that it has behind another one.
    ahead = tokenizer("0", add_special_tokens=False)["input_ids"]
    before = str(tokenizer.decode(ahead))
    alone, behind = (
        tokenizer.batch_decode(ids, clean_up_tokenization_spaces=False)
        for ids in ([[number] for number in numbers], [[*ahead, number] for number in numbers])
    )
    found = {}
    for number, text, both in zip(numbers, alone, behind, strict=True):
        token = str(tokenizer.convert_ids_to_tokens(number))
        texts = text, both.removeprefix(before)
        if REPLACEMENT in both and REPLACEMENT not in token:
            # Bytes of a character that takes several tokens.
            texts = (grammar.part(token),) * 2
        if any(map(spells, texts)):
            found[number] = texts
    return found
