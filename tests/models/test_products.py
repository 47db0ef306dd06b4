import copy

import numpy as np
import peft
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from arcmix.models import adapters, loss, products, saved, stacked
from tests import families, tolerance
from tests.models.test_adapters import lora
from tests.models.test_attention import AS_GOOD, examples
from tests.training.test_trainer import settings

LENGTHS = [17, 1, 30, 6]
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::linear")
CPU, CARD = torch.device("cpu"), torch.device("cuda")


def tuned(dtype="bfloat16", **changes):
    """Return a model with an adapter that changes its output."""
    base = families.model("qwen2", dtype)
    model = adapters.attach(base, settings(lora=lora(**changes)), 0, [])
    generator = torch.Generator().manual_seed(1)
    for name, one in model.named_parameters():
        if "lora_B" in name:
            one.data.normal_(std=0.05, generator=generator)
    return model


class Seen(TorchDispatchMode):
    """Notes the dtypes of products, and the number of elements that are cast to another dtype."""

    def __init__(self):
        super().__init__()
        self.products, self.cast = set(), 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **kwargs or {})
        if operation.name() in PRODUCTS:
            self.products.add(found.dtype)
        if operation.name() == "aten::_to_copy" and found.dtype != args[0].dtype:
            self.cast += found.numel()
        return found


def trained(model):
    """Return the losses of a row, and the gradients of the adapter."""
    model.zero_grad()
    losses = loss.token_losses(model, examples(LENGTHS))
    losses.sum().backward()
    gradients = [one.grad for one in model.parameters() if one.requires_grad]
    assert {one.dtype for one in gradients} == {torch.float32}
    return [losses.detach(), *gradients]


def test_all_products_have_the_dtype_of_the_model_and_fewer_numbers_are_cast():
    casts = []
    for switched in (False, True):
        model = tuned()
        if switched:
            products.follow_inputs(model)
        with Seen() as seen:
            trained(model)
        expected = {torch.bfloat16} if switched else {torch.bfloat16, torch.float32}
        assert seen.products == expected
        casts.append(seen.cast)
    assert casts[1] < casts[0] / 2


@pytest.mark.parametrize("dora", [False, True])
def test_losses_and_gradients_are_as_exact_as_with_products_in_float32(dora):
    expected = trained(tuned("float32", dora=dora))
    before, after = tuned(dora=dora), tuned(dora=dora)
    products.follow_inputs(after)
    found, old = trained(after), trained(before)
    tolerance.assert_close(found[0], old[0], tolerance.forward("bfloat16"))
    errors = [
        np.median(
            [
                float((one - right).norm() / right.norm())
                for one, right in zip(own, expected, strict=True)
            ]
        )
        for own in (found, old)
    ]
    assert 0 < errors[0] < AS_GOOD * errors[1]


def test_small_updates_of_the_weights_add_up():
    model = tuned()
    products.follow_inputs(model)
    one = next(weight for name, weight in model.named_parameters() if "lora_A" in name)
    start, least = one.detach().clone(), torch.finfo(torch.bfloat16).eps / 64
    for _ in range(64):
        one.data.mul_(1 + least)
    assert one.dtype == torch.float32
    assert (one / start - 1).mean().item() == pytest.approx(64 * least, rel=0.01)


def test_only_an_accelerator_in_bfloat16_computes_otherwise():
    assert products.in_dtype_of_model(CARD, torch.bfloat16)
    assert not products.in_dtype_of_model(CPU, torch.bfloat16)
    assert not products.in_dtype_of_model(CARD, torch.float32)
    assert not products.in_dtype_of_model(CARD, torch.float16)
    kinds = {type(one) for name, one in tuned().named_modules() if name.endswith("A.default")}
    assert kinds == {nn.Linear}


def test_weights_that_are_rounded_once_predict_the_same_to_the_last_bit(tmp_path):
    adapters.save(tuned(), tmp_path)
    logits = []
    for rounded in (False, True):
        config = peft.LoraConfig.from_pretrained(str(tmp_path))
        base = families.model("qwen2", "bfloat16")
        model = peft.PeftModelForCausalLM(base, config, autocast_adapter_dtype=not rounded)
        saved.load_weights(tmp_path, model)
        if not rounded:
            products.follow_inputs(model)
        with torch.no_grad():
            logits.append(model.eval()(input_ids=torch.arange(4, 40)[None]).logits)
    assert torch.equal(*logits)


def test_the_weights_have_the_same_names_and_are_not_copied():
    model = tuned()
    before = dict(model.named_parameters())
    products.follow_inputs(model)
    after = dict(model.named_parameters())
    assert [*before] == [*after]
    assert all(after[name] is one for name, one in before.items())


@pytest.mark.parametrize("count", [1, 3])
def test_several_adapters_compute_in_the_dtype_of_the_model_as_well(count):
    model = tuned()
    start, rows = stacked.weights(model), [examples([9, 7]), examples([11]), examples([5])][:count]
    plain = copy.deepcopy(model)
    products.follow_inputs(model)
    assert stacked.can_stack(model)
    with stacked.Stack(model, start, count) as stack, Seen() as seen:
        found = stack.losses(rows)
        found.sum().backward()
    assert seen.products == {torch.bfloat16}
    assert stack.gradients.dtype == torch.float32
    expected = [loss.token_losses(plain, own).detach() for own in rows]
    tolerance.assert_close(found.detach(), torch.cat(expected), tolerance.forward("bfloat16"))


def test_a_step_of_the_optimizer_casts_nothing():
    model = tuned()
    products.follow_inputs(model)
    trained(model)
    weights = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(weights, fused=True)
    with Seen() as seen:
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    assert seen.cast == 0
