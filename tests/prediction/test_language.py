import itertools
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from arcmix.models import pretrained
from arcmix.prediction.language import FREE, Language, Ranking, spellings
from tests import tolerance, transfers

END = 0
TEXTS = {2: ("a", "a"), 3: ("b", " b"), 4: ("", "")}
LETTERS = SimpleNamespace(
    start="", advance=lambda state, text: state + text, complete=lambda state: len(state) > 1
)


def language(grammar, texts):
    return Language(END, 9, grammar, texts)


@pytest.fixture
def spoken():
    """A language of two letters, whose answers have at least two characters."""
    return language(LETTERS, TEXTS)


def options(spoken, state, keys, floor=-float("inf"), *, first=False):
    ranking = spoken.ranking(torch.tensor([keys]), torch.zeros(1, 1), 1)
    found = list(spoken.options(state, ranking.at(0), floor, first=first))
    assert [key for _, key, _ in found] == tolerance.close(
        [keys[token] for token, _, _ in found], tolerance.forward("float32")
    )
    return [(token, after) for token, _, after in found]


def test_without_a_grammar_every_token_is_allowed_and_keeps_the_state():
    free = language(None, {})
    assert free.start == FREE
    assert free.after(free.start, 1, first=True) == FREE
    assert options(free, FREE, [0.1, 0.3, 0.2]) == [(1, FREE), (2, FREE), (0, FREE)]


def test_a_token_may_have_another_text_as_the_first_than_later(spoken):
    assert spoken.after("", 3, first=True) == "b"
    assert spoken.after("a", 3, first=False) == "a b"


def test_a_token_without_text_is_allowed_only_as_the_first(spoken):
    assert spoken.after("", 4, first=True) == ""
    assert spoken.after("", 4, first=False) is None


def test_the_end_token_is_allowed_where_the_grammar_is_complete(spoken):
    assert spoken.after("a", END, first=False) is None
    assert spoken.after("aa", END, first=False) == "aa"


def test_options_are_the_allowed_tokens_above_the_floor_by_descending_key(spoken):
    keys = [0.5, 9.0, 0.2, 0.7, 0.1]
    assert options(spoken, "a", keys) == [(3, "a b"), (2, "aa")]
    assert options(spoken, "aa", keys) == [(3, "aa b"), (END, "aa"), (2, "aaa")]
    assert options(spoken, "aa", keys, 0.4) == [(3, "aa b"), (END, "aa")]


def test_all_options_are_in_descending_order():
    free = language(None, {})
    keys = torch.randperm(100).float().tolist()
    ordered = sorted(range(100), key=lambda token: -keys[token])
    assert [token for token, _ in options(free, FREE, keys)] == ordered


def test_the_tokens_of_all_places_are_ranked_in_one_transfer_and_the_others_in_one_more():
    keys = torch.stack([torch.arange(40.0), torch.arange(40.0).roll(7), -torch.arange(40.0)])
    offsets = torch.tensor([[1.0], [2.0], [3.0]])
    found = []
    first = transfers.counted(lambda: found.append(Ranking(keys, offsets, 4, [*range(100, 140)])))
    (ranking,) = found

    def take(count):
        return [[*itertools.islice(ranking.at(place), count)] for place in range(3)]

    assert (first, transfers.counted(lambda: take(4))) == (2, 0)
    assert [token for token, _ in take(2)[1]] == [106, 105]
    assert take(2)[2] == [(100, -3.0), (101, -4.0)]
    assert transfers.counted(lambda: take(5)) == 2
    assert take(50)[0] == [(100 + token, token - 1.0) for token in reversed(range(40))]


def test_spellings_leave_out_tokens_with_other_characters(base_model):
    tokenizer = pretrained.load_tokenizer(base_model)
    digits = spellings(tokenizer, lambda text: text.isdigit())
    assert sorted(digits.values()) == [(str(digit),) * 2 for digit in range(10)]
    assert all(tokenizer.decode([token]) == text for token, (text, _) in digits.items())


def test_a_token_keeps_the_space_that_it_loses_as_the_first():
    words = Tokenizer(
        models.WordLevel({"<unk>": 0, "\u2581": 1, "\u25810": 2, "\u2581b": 3}, "<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.decoder = decoders.Metaspace()
    found = spellings(PreTrainedTokenizerFast(tokenizer_object=words), lambda text: "b" in text)
    assert found == {3: ("b", " b")}


def test_a_part_of_a_character_is_spelled_in_bytes():
    letters = Tokenizer(models.BPE({"0": 0, "\u00c3": 1, "\u00a9": 2}, []))
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters.decoder = decoders.ByteLevel()
    found = spellings(PreTrainedTokenizerFast(tokenizer_object=letters), lambda _: True)
    assert found[1] == (b"\xc3".decode(errors="surrogateescape"),) * 2
    assert found[0] == ("0", "0")
