import copy
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from arcmix.models import adapters, attention, loss, pretrained
from arcmix.text.tokenization import Example
from tests import families, tolerance
from tests.models.test_adapters import lora
from tests.training.test_trainer import settings

WITHIN = tolerance.forward("float32")

WINDOW = 9
"""Tokens of a window; shorter than some examples."""

WINDOWS: dict[str, dict[str, Any]] = {
    "gemma-3": {"sliding_window": WINDOW},
    "gemma-4": {"sliding_window": WINDOW},
    "mistral": {"sliding_window": WINDOW},
    "phi-3": {"sliding_window": WINDOW},
}
"""Family -> what differs from its usual config."""

DENSE = ["smollm2", "smollm3", "llama-3", "qwen2", "qwen3", *WINDOWS]
"""Families in which each token passes the same weights."""

FAMILIES = [*DENSE, "mixtral"]


def examples(lengths):
    numbers = np.random.default_rng(sum(lengths))
    made = [
        Example(numbers.integers(4, 100, length).astype(np.int32), numbers.random(length) < 0.4)
        for length in lengths
    ]
    for one in made:
        one.trained[0] = False
    return made


def row(model, name, texts):
    """Return the losses of a row, and the gradients of the weights."""
    model.set_attn_implementation(name)
    model.zero_grad()
    found = loss.token_losses(model, texts)
    found.sum().backward()
    return [found.detach(), *(one.grad for one in model.parameters() if one.grad is not None)]


def assert_same(found, expected, within):
    """Compare losses and gradients; the rounding of a gradient has the size of the largest one."""
    size = max(1.0, *(float(one.abs().max()) for one in expected))
    assert len(found) == len(expected) > 10
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=within, atol=within * size)


@pytest.mark.parametrize("family", FAMILIES)
def test_bounds_and_a_mask_give_the_same_losses_and_gradients(family):
    model = families.model(family, **WINDOWS.get(family, {}))
    texts = examples([17, 1, 30, 6])
    found, expected = (row(model, name, texts) for name in (attention.NAME, "sdpa"))
    assert_same(found, expected, WITHIN)


def test_checkpoints_of_activations_change_no_gradient():
    model = families.model("gemma-3", sliding_window=WINDOW).train()
    texts = examples([17, 1, 30, 6])
    expected = row(model, attention.NAME, texts)
    model.gradient_checkpointing_enable()
    assert_same(row(model, attention.NAME, texts), expected, WITHIN)


@given(st.lists(st.integers(1, 25), min_size=1, max_size=5))
def test_an_example_has_its_own_losses_and_gradients_in_any_row(lengths):
    texts = examples([*lengths, 12])
    model = families.model("gemma-3", sliding_window=WINDOW)
    found = row(model, attention.NAME, texts)
    losses, *gradients = zip(*(row(model, "sdpa", [one]) for one in texts), strict=True)
    assert_same(found, [torch.cat(losses), *(sum(parts) for parts in gradients)], WITHIN)


@pytest.mark.parametrize("window", [None, 1, 4])
def test_a_token_sees_itself_and_the_tokens_before_it_in_its_example_and_window(window):
    lengths = [5, 1, 7]
    # Values that tell the tokens apart, and scores that are all equal: the output is a mean.
    query, key = torch.zeros(1, 2, 13, 16), torch.zeros(1, 1, 13, 16)
    value = torch.eye(13, 16)[None, None]
    limits = torch.tensor(attention.bounds(lengths), dtype=torch.int32)[None, None, None]
    layer = cast("Any", torch.nn.Module())
    layer.num_key_value_groups = 2
    found, _ = attention.bounded(
        layer, query, key, value, limits, scaling=1.0, sliding_window=window, dropout=0.0
    )
    starts = np.repeat(attention.bounds(lengths)[:-1], lengths)
    for token, start in enumerate(starts):
        first = start if window is None else max(start, token - window + 1)
        expected = torch.zeros(16)
        expected[first : token + 1] = 1 / (token + 1 - first)
        for head in range(2):
            tolerance.assert_close(found[0, token, head], expected, WITHIN)


def test_masks_of_padding_mean_the_same_as_without_bounds():
    model = families.model("qwen3")
    ids = torch.arange(4, 24).reshape(2, 10)
    padding = torch.ones(2, 10, dtype=torch.long)
    padding[0, :4] = 0
    logits = []
    for name in ("sdpa", attention.NAME):
        model.set_attn_implementation(name)
        with torch.no_grad():
            logits.append(model(input_ids=ids, attention_mask=padding).logits)
    assert torch.equal(*logits)


def test_a_model_on_a_cpu_keeps_its_attention():
    model = families.model("smollm2", "bfloat16")
    loss.token_losses(model, examples([5, 6]))
    assert attention.implementation(model) == "sdpa"


def test_a_measurement_leaves_the_attention_of_the_model():
    model = families.model("smollm2")
    with attention.restored(model):
        model.set_attn_implementation(attention.NAME)
    assert attention.implementation(model) == "sdpa"


class Operations(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self):
        super().__init__()
        self.counts = {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.name()
        self.counts[name] = self.counts.get(name, 0) + 1
        return operation(*args, **kwargs or {})


@pytest.mark.parametrize("family", DENSE)
def test_the_kernel_of_a_card_gets_each_layer_and_the_host_reads_no_result(family):
    """A tensor of the device meta has a shape, but no values that the host could read."""
    given: Any = families.model(family, "bfloat16", **WINDOWS.get(family, {}))
    how = settings(lora=lora(targets=("all-linear",)))
    model = cast("Any", adapters.attach(given, how, 0, [])).to("meta")
    given.set_attn_implementation(attention.NAME)
    with Operations() as seen:
        losses = loss.token_losses(model, examples([17, 1, 30, 6]))
        losses.sum().backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert losses.device.type == norm.device.type == "meta"
    # The kernel does not take the large heads of some layers of Gemma 4.
    layers = 3 if family == "gemma-4" else given.config.num_hidden_layers
    assert seen.counts["torch_attn::_varlen_attn"] == layers
    assert seen.counts["torch_attn::_varlen_attn_backward"] == layers
    trained = [one for one in model.parameters() if one.requires_grad]
    assert all(one.grad is not None for one in trained)


LENGTHS = [17, 1, 30, 6], [11, 25, 8], [20, 9, 14]
"""Lengths of the examples of some rows."""

AS_GOOD = 3
"""Maximum error of the kernel, in errors of a mask in the same dtype.

Both round at other places, so their errors differ by chance: on a CPU, the factor is 0.87 to 1.07.
One token too many multiplies the error by 12 or more."""


def half(family, dtype, **changes):
    """Return a small model in half precision, whose gradients rounding does not dominate.

    Gemma 4 does not divide scores by the root of the size of a head; trained weights of its norms
    do. With weights of 1, a softmax over random scores is all but a choice of one token, and
    rounding to bfloat16 alone changes gradients by 20 to 60 %.
    """
    model = families.model(family, dtype, **WINDOWS.get(family, {}) | changes)
    for name, weight in model.named_parameters():
        if family == "gemma-4" and name.endswith("q_norm.weight"):
            weight.data.fill_(len(weight) ** -0.5)
    return model


def errors(model, name, expected):
    """Return the relative errors of the losses and of the gradient of each weight in some rows."""
    pairs = [
        pair
        for lengths, right in zip(LENGTHS, expected, strict=True)
        for pair in zip(row(model, name, examples(lengths)), right, strict=True)
    ]
    return [float((one.cpu().float() - other).norm() / other.norm()) for one, other in pairs]


def times_the_error_of_a_mask(model, device, other=None):
    """Return the error of attention by bounds, in errors of `eager`, which bounds do not replace.

    Both are errors against the same weights in float32, whose own rounding is 1000 times as small.
    They are medians: a token that two experts suit equally changes all gradients of its row.

    Args:
        model: A model in half precision.
        device: The device of both.
        other: The model that has bounds, if it is another one.
    """
    exact = copy.deepcopy(model).float()
    expected = [row(exact, "sdpa", examples(lengths)) for lengths in LENGTHS]
    masked = np.median(errors(model.to(device), "eager", expected))
    return np.median(errors((other or model).to(device), attention.NAME, expected)) / masked


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card"),
        ),
    ],
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_bounds_are_as_exact_as_a_mask_in_half_precision(family, dtype, device):
    assert times_the_error_of_a_mask(half(family, dtype), device) < AS_GOOD


# bfloat16 rounds most, so its errors hide a fault best.
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_kernel_of_a_card_gives_the_losses_and_gradients_of_a_mask(family, dtype):
    given: Any = families.model(family, dtype, **WINDOWS.get(family, {}))
    model = given.to("cuda")
    texts = examples([17, 1, 30, 6])
    loss.token_losses(model, texts)
    found = row(model, attention.NAME, texts)
    # `eager` is not replaced by bounds.
    expected = row(model, "eager", texts)
    assert_same(found, expected, tolerance.training(dtype))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_token_of_another_example_is_no_rounding(family):
    model = half(family, "bfloat16")

    def widen(_, __, given):
        # Only attention by bounds has them: the last example sees the token before it.
        if attention.BOUNDS in given:
            given[attention.BOUNDS][-2] -= 1

    model.register_forward_pre_hook(widen, with_kwargs=True)
    assert times_the_error_of_a_mask(model, "cpu") > AS_GOOD


@pytest.mark.parametrize("family", WINDOWS)
def test_a_window_of_one_token_too_many_is_no_rounding(family):
    wide = half(family, "bfloat16", sliding_window=WINDOW + 1)
    assert times_the_error_of_a_mask(half(family, "bfloat16"), "cpu", wide) > AS_GOOD


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
def test_a_model_on_a_card_reads_bounds_by_itself():
    model: Any = families.model("smollm2", "bfloat16")
    loss.token_losses(model.to("cuda"), examples([5, 6]))
    assert attention.implementation(model) == attention.NAME


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
def test_no_plans_of_cudnn_are_built_for_the_lengths_of_texts(base_model):
    pretrained.load(base_model, "bfloat16")
    assert not torch.backends.cuda.cudnn_sdp_enabled()
