"""The tokens that an answer may consist of: its end token, its budget and its grammar."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from arcmix.prediction import grammar
from arcmix.prediction.grammar import Grammar, State

TOP = 16
"""Number of tokens that are found without sorting the whole vocabulary."""

FREE = State(0, 0, 0, 0, "")
"""The state of every answer without a grammar."""

REPLACEMENT = "\ufffd"
"""The replacement character, to which bytes that are not valid UTF-8 decode."""


@dataclass(frozen=True)
class Language:
    """The tokens that an answer may consist of."""

    end: int
    """The end token."""
    budget: int
    """Largest number of tokens of an answer, the end token included."""
    grammar: Grammar | None
    """The grammar of answers; None allows all tokens."""
    texts: Mapping[int, tuple[str, str]]
    """Token that the grammar may allow -> its text as the first token of an answer, and as a later
    one (`spellings`). With a grammar, all other tokens but `end` are refused."""

    @property
    def start(self) -> State:
        """The state before the first token."""
        return self.grammar.start if self.grammar else FREE

    @functools.cached_property
    def _possible(self) -> torch.Tensor:
        """The tokens that the grammar allows in some state, int64 (n,)."""
        return torch.tensor(sorted({*self.texts, self.end}))

    def after(self, state: State, token: int, *, first: bool) -> State | None:
        """Return the state of an answer after one more token, None if the token is not allowed.

        Args:
            state: The state before the token.
            token: The token.
            first: Whether it is the first token of the answer.
        """
        if self.grammar is None:
            return state
        if token == self.end:
            return state if self.grammar.complete(state) else None
        if token not in self.texts:
            return None
        alone, later = self.texts[token]
        # SentencePiece begins a text with a token for a space, which decodes to no text there.
        if first:
            return self.grammar.advance(state, alone)
        return self.grammar.advance(state, later) if later else None

    def options(
        self, state: State, keys: torch.Tensor, floor: float, *, first: bool
    ) -> Iterator[tuple[int, State]]:
        """Yield the allowed tokens by descending key, and the state after each.

        Args:
            state: The state before the token.
            keys: A key for each token, float (vocabulary,).
            floor: Tokens with a smaller key are left out.
            first: Whether it is the first token of the answer.
        """
        possible = None if self.grammar is None else self._possible.to(keys.device)
        for place, key in _descending(keys if possible is None else keys[possible]):
            if key < floor:
                return
            token = place if possible is None else int(possible[place])
            after = self.after(state, token, first=first)
            if after is not None:
                yield token, after


def _descending(keys: torch.Tensor) -> Iterator[tuple[int, float]]:
    """Yield places and keys by descending key; all keys are sorted only if `TOP` do not suffice."""
    first = keys.topk(min(TOP, len(keys)))
    yield from zip(first.indices.tolist(), first.values.tolist(), strict=True)
    seen = set(first.indices.tolist())
    rest = keys.sort(descending=True)
    pairs = zip(rest.indices.tolist(), rest.values.tolist(), strict=True)
    yield from ((place, key) for place, key in pairs if place not in seen)


def spellings(
    tokenizer: PreTrainedTokenizerBase, may_contain: Callable[[str], bool]
) -> dict[int, tuple[str, str]]:
    """Return the tokens that answers may contain -> their text as the first token, and later.

    Args:
        tokenizer: The tokenizer of the answers.
        may_contain: Returns whether an answer may contain all characters of a text. Tokens with
            other characters are left out.

    Raises:
        ValueError: If a token is a part of a character and its bytes are unknown (`token_bytes`).
    """
    numbers = sorted(tokenizer.get_vocab().values())
    # A decoder may strip the space of a token at the beginning of a text, but not after a token.
    ahead = tokenizer("0", add_special_tokens=False)["input_ids"]
    before = str(tokenizer.decode(ahead))
    alone, later = (
        tokenizer.batch_decode(ids, clean_up_tokenization_spaces=False)
        for ids in ([[number] for number in numbers], [[*ahead, number] for number in numbers])
    )
    found = {}
    for number, text, both in zip(numbers, alone, later, strict=True):
        token = str(tokenizer.convert_ids_to_tokens(number))
        texts = text, both.removeprefix(before)
        if REPLACEMENT in both and REPLACEMENT not in token:
            # The token is a part of a character.
            texts = (grammar.token_bytes(token),) * 2
        if any(map(may_contain, texts)):
            found[number] = texts
    return found
