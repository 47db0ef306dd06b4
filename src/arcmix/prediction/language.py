"""The tokens that an answer may consist of: its end token, its budget and its grammar."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from arcmix.prediction import grammar
from arcmix.prediction.grammar import Grammar, State

TOP = 16
"""Number of tokens of each place that are found without sorting the whole vocabulary."""

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

    def ranking(self, keys: torch.Tensor, offsets: torch.Tensor, least: int) -> "Ranking":
        """Return the tokens that answers may contain, ranked by their keys at each of some places.

        Args:
            keys: A key for each token at each place, float (..., vocabulary).
            offsets: Subtracted from the keys of each place, float (..., 1).
            least: Number of tokens of a place that are needed at least.
        """
        if self.grammar is None:
            return Ranking(keys, offsets, least, None)
        possible = self._possible.to(keys.device)
        # The grammar may refuse the first tokens.
        return Ranking(keys[..., possible], offsets, max(least, TOP), self._possible.tolist())

    def options(
        self, state: State, ranked: Iterable[tuple[int, float]], floor: float, *, first: bool
    ) -> Iterator[tuple[int, float, State]]:
        """Yield the allowed tokens, the key of each, and the state after it.

        Args:
            state: The state before the token.
            ranked: Tokens and keys by descending key.
            floor: Tokens with a smaller key are left out.
            first: Whether it is the first token of the answer.
        """
        for token, key in ranked:
            if key < floor:
                return
            after = self.after(state, token, first=first)
            if after is not None:
                yield token, key, after


class Ranking:
    """Tokens by descending key at several places, in the memory of the host.

    The first tokens of all places come to the host in one transfer. If they do not suffice at some
    place, the tokens of all places come in a second one.

    Args:
        keys: Keys, float (..., n).
        offsets: Subtracted from the keys of each place, float (..., 1).
        count: Number of tokens of each place in the first transfer.
        tokens: The n tokens; None if they are 0 to n - 1.
    """

    def __init__(
        self, keys: torch.Tensor, offsets: torch.Tensor, count: int, tokens: list[int] | None
    ) -> None:
        self._keys, self._offsets, self._tokens = keys, offsets, tokens
        count = min(count, keys.shape[-1])
        # The maximum alone is several times as fast as `topk`.
        first = keys.max(dim=-1, keepdim=True) if count == 1 else keys.topk(count)
        self._first = self._to_host(*first)

    def _to_host(self, keys: torch.Tensor, numbers: torch.Tensor) -> np.ndarray:
        # A float32 represents all integers up to 2 ** 24.
        return torch.stack([keys - self._offsets, numbers.to(keys.dtype)]).cpu().numpy()

    @functools.cached_property
    def _all(self) -> np.ndarray:
        return self._to_host(*self._keys.sort(descending=True))

    def at(self, *place: int) -> Iterator[tuple[int, float]]:
        """Yield the tokens and keys of a place by descending key.

        The first key is not a number if any key or offset of the place is none.
        """
        keys, numbers = self._first[:, *place].tolist()
        yield from zip(map(self._token, numbers), keys, strict=True)
        if len(numbers) < self._keys.shape[-1]:
            seen = {*numbers}
            for key, number in zip(*self._all[:, *place].tolist(), strict=True):
                if number not in seen:
                    yield self._token(number), key

    def _token(self, number: float) -> int:
        return int(number) if self._tokens is None else self._tokens[int(number)]


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
