import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from arcmix import randomness
from arcmix.models import fetch
from arcmix.sampling import augment, sample_table
from arcmix.sampling.sample_table import Chunk
from arcmix.sources import counting
from arcmix.text import conversation, fastpath, prompt, tokenization
from arcmix.text.encode import Encoder
from tests.arc import task
from tests.sampling.test_augment import FULL
from tests.sources.test_counting import source
from tests.text.test_tokenization import encoders, merging

TOKENIZER = fetch.character_tokenizer()


def chunk(seed, samples, sides=5):
    """Return samples with random grids and different numbers of pairs."""
    numbers = np.random.default_rng(seed)
    grids = 2 * numbers.integers(1, 5, samples)
    shapes = numbers.integers(1, sides + 1, (grids.sum(), 2))
    cells = numbers.integers(0, 10, shapes.prod(axis=1).sum())
    return of_tasks(grids, shapes, cells)


def of_tasks(grids, shapes, cells):
    """Return samples without questions."""
    arrays = (np.asarray(grids), np.array(shapes, np.uint8), np.array(cells, np.uint8))
    return Chunk(*arrays, np.zeros(len(grids), np.int64), np.zeros(0, np.uint8))


def assert_equal(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.input_ids.tolist() == other.input_ids.tolist()
        assert one.input_ids.dtype == other.input_ids.dtype == np.int32
        assert one.trained.tolist() == other.trained.tolist()


@pytest.mark.parametrize("format_", prompt.FORMATS)
def test_templates_give_the_tokens_of_the_texts_for_every_encoder(format_):
    few, more = chunk(0, 2, sides=2), chunk(1, 6)
    for encoder in encoders():
        style = tokenization.style(TOKENIZER, format_, encoder, "answer")
        encode = fastpath.template_tokenizer(TOKENIZER, style, few)
        assert_equal(encode(more), fastpath.as_texts(TOKENIZER, style, more))


@pytest.fixture(scope="module")
def encode():
    style = tokenization.style(
        TOKENIZER, "v1", Encoder(("minimal", "row_number", "shape")), "answer"
    )
    return fastpath.template_tokenizer(TOKENIZER, style, chunk(0, 3))


@given(st.integers(0, 2**31), st.integers(1, 9))
def test_the_tokens_of_a_sample_do_not_depend_on_its_chunk(encode, seed, samples):
    whole = chunk(seed, samples)
    pairs = list(sample_table.split(whole))
    ends, cells = np.cumsum(whole.grids), np.cumsum([0, *whole.shapes.astype(int).prod(axis=1)])
    for number, one in enumerate(encode(whole)):
        mine = slice(2 * sum(map(len, pairs[:number])), ends[number])
        alone = of_tasks(
            whole.grids[number : number + 1],
            whole.shapes[mine],
            whole.cells[cells[mine.start] : cells[mine.stop]],
        )
        assert_equal([one], encode(alone))


def test_templates_give_the_tokens_of_the_texts_for_large_grids(encode):
    sides = np.array([(30, 30), (1, 93), (30, 1), (1, 1)])
    cells = randomness.below(randomness.words(0, "cells", 0, sides.prod(axis=1).sum(), 1)[:, 0], 10)
    large = of_tasks([4], sides, cells)
    style = tokenization.style(
        TOKENIZER, "v1", Encoder(("minimal", "row_number", "shape")), "answer"
    )
    assert_equal(encode(large), fastpath.as_texts(TOKENIZER, style, large))


class CountingTokenizer(PreTrainedTokenizerFast):
    """Counts its calls."""

    calls = 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        return super().__call__(*args, **kwargs)


@pytest.mark.parametrize("format_", ["bare", "v1"])
def test_a_sample_may_have_any_number_of_pairs(format_):
    style = tokenization.style(TOKENIZER, format_, Encoder(("minimal",)), "outputs")
    counts = [4, 400, 256, 2, 254]
    shapes = np.full((sum(counts), 2), (2, 1))
    many = of_tasks(counts, shapes, np.arange(2 * len(shapes)) % 10)
    for tried in (chunk(0, 3), many):
        encode = fastpath.template_tokenizer(TOKENIZER, style, tried)
        assert_equal(encode(many), fastpath.as_texts(TOKENIZER, style, many))


def test_the_tokenizer_is_not_called_for_known_shapes():
    tokenizer = CountingTokenizer(tokenizer_object=TOKENIZER.backend_tokenizer)
    style = tokenization.style(TOKENIZER, "v1", Encoder(("minimal", "row_number")), "answer")
    encode = fastpath.template_tokenizer(tokenizer, style, chunk(0, 3))
    known = chunk(7, 5)
    before = tokenizer.calls
    encode(known)
    learned = tokenizer.calls
    assert learned > before
    assert_equal(encode(known), fastpath.as_texts(TOKENIZER, style, known))
    assert tokenizer.calls == learned


ENTRIES = [task("a"), *counting.load("count", source(tasks=3)).tasks, task("b", train=2)]
POOL = augment.pool(ENTRIES)


def mixed(slots, count):
    """Return the samples of some entries, as a chunk and as drawn."""
    drawn = augment.draw(POOL, np.array(slots), FULL, 0, 0, count)
    arrays = (drawn.grids, drawn.shapes, drawn.cells, drawn.asked, drawn.questions)
    return Chunk(*arrays), drawn


@pytest.mark.parametrize(
    "slots", [[0, 1, 2, 3, 4], [1, 2, 3], [0, 4]], ids=["both", "grids", "tasks"]
)
@pytest.mark.parametrize("format_", prompt.FORMATS)
def test_conversations_and_tasks_keep_the_order_of_the_draw(format_, slots):
    style = tokenization.style(TOKENIZER, format_, Encoder(("minimal",)), "answer")
    whole, drawn = mixed(slots, 30)
    found = fastpath.template_tokenizer(TOKENIZER, style, whole)(whole)
    assert_equal(found, fastpath.as_texts(TOKENIZER, style, whole))
    texts = [TOKENIZER.decode(one.input_ids) for one in found]
    assert ["How many objects are there?" in one for one in texts] == [
        ENTRIES[entry].train == () for entry in drawn.entries
    ]


def test_a_conversation_asks_the_questions_of_its_sample_in_order():
    style = tokenization.style(TOKENIZER, "bare", Encoder(("minimal",)), "answer")
    whole, _ = mixed([1, 2, 3], 20)
    texts = [
        "".join(
            turn.prompt + turn.answer
            for turn in conversation.converse(style, pairs[0].input, kinds)
        )
        for pairs, kinds in zip(
            sample_table.split(whole), sample_table.questions(whole), strict=True
        )
    ]
    assert len({*texts}) == 20
    found = fastpath.as_texts(TOKENIZER, style, whole)
    assert [TOKENIZER.decode(one.input_ids) for one in found] == texts


@pytest.mark.parametrize("names", ["minimal", "repeat row_number"])
def test_a_tokenizer_that_merges_digits_is_detected(names):
    tokenizer = merging()
    style = tokenization.style(tokenizer, "bare", Encoder(tuple(names.split())), "answer")
    with pytest.raises(fastpath.MergedError, match="the tokenizer merges cells of"):
        fastpath.template_tokenizer(tokenizer, style, chunk(0, 3))


def test_templates_work_for_the_same_tokenizer_if_the_encoder_separates_cells():
    tokenizer = merging()
    style = tokenization.style(
        tokenizer, "bare", Encoder(("separator", "row_number", "code_block")), "answer"
    )
    found = fastpath.template_tokenizer(tokenizer, style, chunk(0, 3))(chunk(1, 9))
    assert_equal(found, fastpath.as_texts(tokenizer, style, chunk(1, 9)))


def test_samples_with_a_shape_without_a_template_are_tokenized_as_texts():
    """Only grids with more than one column have adjacent digits, which are merged."""
    tokenizer = merging()
    style = tokenization.style(tokenizer, "bare", Encoder(("minimal", "row_number")), "answer")
    columns = of_tasks([2], [(3, 1), (2, 1)], np.ones(5))
    encode = fastpath.template_tokenizer(tokenizer, style, columns)
    wide = of_tasks([2], [(3, 4), (2, 1)], np.ones(14))
    for _ in range(2):
        assert_equal(encode(wide), fastpath.as_texts(tokenizer, style, wide))


@pytest.mark.parametrize("format_", prompt.FORMATS)
@pytest.mark.parametrize("names", ["minimal", "minimal row_number shape", "repeat code_block"])
def test_templates_mark_the_same_tokens_for_loss_as_the_texts(format_: str, names: str) -> None:
    style = tokenization.style(TOKENIZER, format_, Encoder(tuple(names.split())), "outputs")
    more = chunk(1, 9)
    encode = fastpath.template_tokenizer(TOKENIZER, style, chunk(0, 2, sides=2))
    assert_equal(encode(more), fastpath.as_texts(TOKENIZER, style, more))
