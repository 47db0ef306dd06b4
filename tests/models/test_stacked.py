import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arcmix.models import adapters, loss, pretrained, stacked
from arcmix.text.tokenization import Example
from tests import families, tolerance
from tests.models.test_adapters import lora
from tests.training.test_trainer import settings as finetune_settings

CPU = torch.device("cpu")
LENGTHS = st.lists(st.lists(st.integers(2, 9), max_size=3), min_size=2, max_size=4).filter(any)
COUNTS = st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(any)


def attached(base_model, tokens=(), **changes):
    how, base = finetune_settings(lora=lora(**changes)), pretrained.load(base_model, "float32")
    base.config.tie_word_embeddings = False  # so that the embeddings may have an adapter
    return adapters.attach(base, how, 0, tokens)


def example(seed, length):
    ids = np.random.default_rng(seed).integers(4, 12, length).astype(np.int32)
    return Example(ids, np.arange(length) > length // 2)


def row(counts):
    return stacked.Row(counts, CPU, np.zeros((len(counts), 0), np.uint64))


@given(counts=COUNTS)
def test_each_token_is_multiplied_with_the_weight_of_its_task_on_each_device(counts):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(sum(counts), 6, generator=generator)
    weight = torch.randn(len(counts), 3, 6, generator=generator)
    upstream = torch.randn(sum(counts), 3, generator=generator)
    tasks = np.repeat(np.arange(len(counts)), counts)
    expected = torch.stack([weight[of] @ one for of, one in zip(tasks, x, strict=True)])
    gradient = torch.zeros_like(weight)
    for of, one, up in zip(tasks, x, upstream, strict=True):
        gradient[of] += torch.outer(up, one)
    for products in (stacked.products, stacked.padded_products):
        inputs = x.clone().requires_grad_(), weight.clone().requires_grad_()
        found = products(*inputs, row(counts))
        back, gradients = torch.autograd.grad(found, inputs, upstream)
        within = tolerance.forward("float32")
        tolerance.assert_close(found.detach(), expected, within)
        tolerance.assert_close(gradients, gradient, within)
        passed = torch.stack([up @ weight[of] for of, up in zip(tasks, upstream, strict=True)])
        tolerance.assert_close(back, passed, within)


FLAVORS = {
    "plain": {},
    "DoRA": {"dora": True},
    "dropout": {"dropout": 0.4},
    "DoRA and dropout": {"dora": True, "dropout": 0.4},
    "all dropped": {"dropout": 1.0},
}


@pytest.fixture(scope="module", params=FLAVORS.values(), ids=[*FLAVORS])
def model(request):
    base = families.model("qwen2")
    for name, one in base.named_parameters():
        if name.endswith("bias"):  # zero in a new model
            one.data.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    return adapters.attach(base, finetune_settings(lora=lora(**request.param)), 0, ()).train()


@given(lengths=LENGTHS)
@settings(max_examples=5)
def test_each_task_of_a_row_has_the_losses_and_the_gradients_that_it_has_alone(model, lengths):
    start = stacked.weights(model)
    noise = torch.randn(len(lengths), len(start), generator=torch.Generator().manual_seed(1))
    rows = [[example(7 * of + n, length) for n, length in enumerate(own)]
            for of, own in enumerate(lengths)]  # fmt: skip
    seeds = np.arange(1000, dtype=np.uint64).reshape(4, 250)
    with stacked.Stack(model, start, len(rows)) as stack, torch.no_grad():
        stack.weights.data += noise / 10
        with torch.enable_grad():
            losses = stack.losses(rows, seeds[: len(rows), : stack.dropouts])
            losses.sum().backward()
        gradients, weights = stack.gradients, stack.weights.detach()
    counts = [sum(one.trained_tokens for one in own) for own in rows]
    within = tolerance.forward("float32")
    for of, found in enumerate(losses.detach().split(counts)):
        if not rows[of]:
            assert not gradients[of].any()
            continue
        with stacked.Stack(model, weights[of], 1) as alone:
            expected = alone.losses([rows[of]], seeds[of : of + 1, : alone.dropouts])
            expected.sum().backward()
        tolerance.assert_close(found, expected.detach(), within)
        tolerance.assert_close(gradients[of], alone.gradients[0], within)


# Without the models to whose experts peft gives another rank, which `attach` refuses.
@pytest.mark.parametrize("family", sorted({*families.CONFIGS} - {"mixtral", "qwen3-next"}))
def test_the_tasks_of_a_row_are_apart_in_each_family_that_keeps_texts_apart(family):
    model = adapters.attach(families.model(family), finetune_settings(), 0, ())
    if not loss.keeps_apart(model):
        return  # so each text has a row of its own
    assert stacked.can_stack(model)
    start, rows = stacked.weights(model), [[example(1, 9), example(2, 7)], [example(3, 11)]]
    noise = torch.randn(2, len(start), generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), stacked.Stack(model, start, 2) as stack:
        stack.weights.data += noise / 10
        found = stack.losses(rows)
        weights = stack.weights.data
    expected = []
    for own, values in zip(rows, weights, strict=True):
        stacked.restore(model, values)
        with torch.no_grad():
            expected.append(loss.token_losses(model, own))
    tolerance.assert_close(found, torch.cat(expected), tolerance.forward("float32"))


def test_the_model_has_its_own_adapter_again_after_the_context(base_model):
    model = attached(base_model, dora=True, dropout=0.2)
    before, modules = stacked.weights(model), [*model.named_modules()]
    places = [one.data_ptr() for one in model.parameters()]
    for count in (1, 3):
        with stacked.Stack(model, before, count) as stack:
            stack.losses([[example(1, 9)]] + [[]] * (count - 1)).sum().backward()
            stack.weights.data += 1
        assert torch.equal(stacked.weights(model), before)
        assert [*model.named_modules()] == modules
        assert [one.data_ptr() for one in model.parameters()] == places
        assert all(one.grad is None for one in model.parameters())


def test_the_tasks_that_are_kept_have_their_own_weights(base_model):
    model = attached(base_model)
    start = stacked.weights(model)
    rows = [[example(of, 12)] for of in range(3)]
    with torch.no_grad(), stacked.Stack(model, start, 3) as stack:
        stack.weights.data += torch.randn(3, 1) / 10
        whole = stack.losses(rows).split([one.trained_tokens for [one] in rows])
        stack.keep([0, 2])
        left = stack.losses([rows[0], rows[2]])
    expected = torch.cat([whole[0], whole[2]])
    tolerance.assert_close(left, expected, tolerance.forward("float32"))


def test_weights_are_restored_from_one_vector(base_model):
    model = attached(base_model)
    start, rows = stacked.weights(model), [example(1, 9)]
    with torch.no_grad():
        before = loss.token_losses(model.eval(), rows)
        stacked.restore(model, start + 0.1)
        assert not torch.equal(loss.token_losses(model, rows), before)
        stacked.restore(model, start)
        assert torch.equal(loss.token_losses(model, rows), before)


def test_only_adapters_of_linear_layers_can_be_stacked(base_model):
    assert stacked.can_stack(attached(base_model, dora=True))
    assert not stacked.can_stack(attached(base_model, tokens=(5, 6)))
    assert not stacked.can_stack(attached(base_model, targets=("q_proj", "embed_tokens")))


def test_a_layer_that_does_not_read_all_tokens_is_refused_for_several_tasks(base_model):
    model = attached(base_model, targets=("q_proj", "lm_head"), dropout=0.1).train()
    rows, start = [[example(1, 9)], [example(2, 7)]], stacked.weights(model)
    with (
        stacked.Stack(model, start, 2) as stack,
        pytest.raises(stacked.MixedError, match="reads 7 of 16 tokens of a row"),
    ):
        stack.losses(rows)
    with stacked.Stack(model, start, 1) as stack:
        assert len(stack.losses(rows[:1])) == 4
