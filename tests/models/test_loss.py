import numpy as np
import pytest
import torch

from arcmix.models import loss, pretrained
from arcmix.text.tokenization import Example
from tests import families, tolerance
from tests.training.test_trainer import settings

WITHIN = tolerance.forward("float32")


@pytest.fixture(scope="module")
def tiny(base_model):
    return pretrained.load(base_model, "float32")


def example(seed, length, answer):
    ids = np.random.default_rng(seed).integers(4, 100, length).astype(np.int32)
    return Example(ids, np.arange(length) >= length - answer)


EXAMPLES = [example(n, *size) for n, size in enumerate([(40, 3), (7, 2), (90, 30), (55, 1)])]


def losses(tiny, examples, tokens):
    return loss.prompt_losses(tiny, examples, tokens, done=lambda _: None)


def test_the_loss_is_the_summed_negative_log_likelihood_of_the_answer(tiny):
    ids = torch.tensor(EXAMPLES[0].input_ids)[None].long()
    with torch.no_grad():
        scores = torch.log_softmax(tiny(input_ids=ids).logits[0], dim=-1)
    expected = -sum(scores[place - 1, ids[0, place]].item() for place in (37, 38, 39))
    assert losses(tiny, EXAMPLES[:1], 1)[0] == tolerance.close(expected, WITHIN)


@pytest.mark.parametrize("tokens", [47, 62, 95, 200])
def test_the_loss_does_not_depend_on_the_other_examples_of_the_row(tiny, tokens):
    alone = losses(tiny, EXAMPLES, 1)
    assert losses(tiny, EXAMPLES, tokens) == tolerance.close(alone, WITHIN)


def test_every_token_that_carries_loss_has_a_loss_of_its_own(tiny):
    numbers = np.random.default_rng(5)
    rows = [one._replace(trained=numbers.random(len(one.input_ids)) < 0.3) for one in EXAMPLES]
    for one in rows:
        one.trained[0] = False
    found = loss.token_losses(tiny, rows).detach()
    apart = torch.cat([loss.token_losses(tiny, [one]).detach() for one in rows])
    tolerance.assert_close(found, apart, WITHIN)
    assert len(found) == sum(one.trained_tokens for one in rows)


def test_the_loss_does_not_depend_on_the_order_of_the_examples(tiny):
    turned = losses(tiny, EXAMPLES[::-1], 100)[::-1]
    assert turned == tolerance.close(losses(tiny, EXAMPLES, 100), WITHIN)


def test_the_training_mode_of_the_model_is_restored(tiny):
    tiny.train()
    losses(tiny, EXAMPLES[:1], 1)
    assert tiny.training
    tiny.eval()
    losses(tiny, EXAMPLES[:1], 1)
    assert not tiny.training


APART = ["smollm2", "smollm3", "llama-3", "qwen2", "qwen3", "gemma-2", "gemma-3", "gemma-4"]
APART += ["phi-3", "mistral", "mixtral"]
MIXED = ["qwen3.5", "qwen3-next", "lfm2", "gpt-oss", "opt"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("family", [*APART, *MIXED])
def test_the_loss_in_a_row_is_that_alone_for_each_kind_of_attention(family, dtype):
    found = families.model(family, dtype)
    limit = loss.fitted(settings(), found).eval_tokens
    assert limit == (1 if family in MIXED else settings().eval_tokens)
    alone = losses(found, EXAMPLES, 1)
    assert losses(found, EXAMPLES, limit) == tolerance.close(alone, tolerance.forward(dtype))


@pytest.mark.parametrize("family", MIXED)
def test_packed_texts_of_a_model_that_mixes_them_have_other_losses(family):
    found = families.model(family)
    # A convolution reads only a few tokens of the example before, so all tokens carry loss.
    examples = [example(number, length, length - 1) for number, length in enumerate((9, 7, 8))]
    alone = losses(found, examples, 1)
    assert np.abs(losses(found, examples, 500) - alone).max() > loss.APART


def test_a_sample_of_a_model_that_mixes_texts_has_a_row_of_its_own():
    found = loss.fitted(settings(), families.model("qwen3.5"))
    assert (found.micro_tokens, found.eval_tokens) == (1, 1)
    assert found.model_copy(update={"micro_tokens": 50, "eval_tokens": 60}) == settings()


def test_the_check_of_a_model_leaves_its_mode_and_its_random_numbers(tiny):
    for mode in (True, False):
        tiny.train(mode)
        state = torch.get_rng_state()
        assert loss.keeps_apart(tiny)
        assert tiny.training is mode
        assert torch.equal(state, torch.get_rng_state())


def full(tokens):
    """Return a hook that runs out of memory in rows of more than a number of tokens."""

    def check(_, __, kwargs):
        if kwargs["input_ids"].shape[1] > tokens:
            raise torch.OutOfMemoryError

    return check


def test_a_row_that_does_not_fit_into_memory_names_the_value_to_lower(base_model):
    model = pretrained.load(base_model, "float32")
    model.register_forward_pre_hook(full(100), with_kwargs=True)
    with pytest.raises(
        torch.OutOfMemoryError,
        match=r"row of 192 tokens in 4 texts; set finetune\.eval_tokens to 96$",
    ):
        losses(model, EXAMPLES, 500)
    # The remedy.
    losses(model, EXAMPLES, 96)


def test_a_text_that_does_not_fit_into_memory_alone_needs_checkpoints_or_fewer_tokens(base_model):
    model = pretrained.load(base_model, "float32")
    model.register_forward_pre_hook(full(80), with_kwargs=True)
    with pytest.raises(
        torch.OutOfMemoryError,
        match=r"a text of 90 tokens; set finetune\.gradient_checkpointing to true, or lower fine",
    ):
        losses(model, EXAMPLES, 90)
