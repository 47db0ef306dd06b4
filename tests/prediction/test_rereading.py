import pytest
import torch

from arcmix.prediction import reading, rereading
from arcmix.prediction.reading import Query, read_prompts
from arcmix.prediction.rows import Rows
from tests import families, tolerance
from tests.prediction.test_generate import (
    PROMPTS,
    answer,
    assert_same,
    language,
    queries,
    reference,
)
from tests.prediction.test_rows import assert_read, whole

STATEFUL = ["qwen3.5", "qwen3-next", "lfm2"]
each_family = pytest.mark.parametrize("family", STATEFUL)


@torch.inference_mode()
@each_family
def test_logits_after_discarding_and_selecting_equal_those_of_whole_texts(family):
    found = families.model(family)
    rows = rereading.rows(found, "none", 0)
    texts = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
    assert_read(found, rows.read(texts, last=True), texts)
    rows.discard([1, 0, 2])
    texts = [texts[0][:2], texts[1], texts[2][:3]]
    more = [[20, 21], [22, 23, 24], [25]]
    texts = [old + new for old, new in zip(texts, more, strict=True)]
    assert_read(found, rows.read(more, last=True), texts)
    rows.select([2, 0, 2])
    texts = [[*texts[2], 30], [*texts[0], 31], [*texts[2], 32]]
    assert_read(found, rows.read([[30], [31], [32]], last=True), texts)


@torch.inference_mode()
def test_the_logits_of_a_row_begin_with_those_after_its_first_new_token():
    found = families.model("qwen3.5")
    rows = rereading.rows(found, "none", 0)
    rows.read([[5], [8]])
    logits = rows.read([[6, 7, 8], [9]])
    assert logits.shape[:2] == (2, 3)
    for place, text in enumerate(([5, 6], [5, 6, 7], [5, 6, 7, 8])):
        tolerance.assert_close(logits[0, place], whole(found, text), tolerance.forward("float32"))
    tolerance.assert_close(logits[1, 0], whole(found, [8, 9]), tolerance.forward("float32"))


@torch.inference_mode()
@each_family
def test_prompts_of_families_are_read_in_their_order(family):
    found = families.model(family)
    texts = [[5, 6, 7], [9, 10, 11, 12], [5, 6, 8, 9]]
    queries = [
        Query(torch.tensor(text).numpy(), torch.zeros(0).numpy(), text[0], "") for text in texts
    ]
    rows = rereading.rows(found, "none", 0)
    assert_read(found, read_prompts(rows, queries), texts)
    texts = [[*text, 20] for text in texts]
    assert_read(found, rows.read([[20]] * 3, last=True), texts)


@each_family
def test_a_batch_of_a_model_with_states_is_read_as_each_text_alone(family):
    texts = [[*range(5, 15)], [20, 21, 22, 23], [30, 31, 32, 33]]
    assert reading.check(families.model(family), texts) < 1e-5


def test_a_format_of_keys_needs_a_model_that_caches_them():
    found = families.model("qwen3.5")
    message = r"kv_format int8 rounds .* layers of \['linear_attention'\], and nothing .* to none"
    with pytest.raises(ValueError, match=message):
        rereading.rows(found, "int8", 0)
    assert type(rereading.rows(families.model("qwen3"), "int8", 0)) is Rows


@pytest.fixture(scope="module")
def confident():
    """A model whose logits are far apart."""
    return families.model("qwen3.5", initializer_range=0.3)


@pytest.mark.parametrize("drafts", [None, [[*range(20, 32)]] * len(PROMPTS)])
def test_greedy_answers_are_those_of_whole_texts(confident, drafts):
    end = reference(confident, PROMPTS[0], -1)[0][4]
    found = answer(confident, queries(PROMPTS, drafts), language(end))
    assert_same(found, confident, end)


@pytest.mark.parametrize("search", ["sample", "beam", "dfs"])
def test_answers_of_each_search_do_not_depend_on_the_batch(confident, search):
    end = reference(confident, PROMPTS[0], -1)[0][1]
    found, alone = (
        answer(confident, queries(PROMPTS), language(end, budget=4), batch=size, search=search)
        for size in (6, 1)
    )
    tokens = [[[one.tokens for one in answers] for answers in batch] for batch in (found, alone)]
    assert tokens[0] == tokens[1]
    assert any(map(len, tokens[0]))
