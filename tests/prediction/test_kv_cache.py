"""Tests of the formats of keys and values, and of rows that a model reads side by side."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from arcmix.prediction import kv_cache
from tests import families, tolerance

STATEFUL = ("qwen3.5", "qwen3-next", "lfm2")
STATES = stn.arrays("float32", (2, 1, 3, 4), elements=st.floats(-100, 100, width=32)).map(
    torch.from_numpy
)


@given(STATES)
def test_format_none_changes_no_value(states):
    assert torch.equal(kv_cache.FORMATS["none"](states), states)


@pytest.mark.parametrize("name", ["fp8_e5m2", "fp8_e4m3", "int8", "int4"])
@given(states=STATES)
def test_rounding_twice_is_rounding_once(name, states):
    rounded = kv_cache.FORMATS[name](states)
    assert rounded.dtype == states.dtype
    again, within = kv_cache.FORMATS[name](rounded), tolerance.forward("float32")
    torch.testing.assert_close(again, rounded, rtol=within, atol=1e-30)


@pytest.mark.parametrize(("name", "bits"), [("int8", 8), ("int4", 4)])
@given(states=STATES)
def test_an_integer_format_has_an_error_of_at_most_half_a_step(name, bits, states):
    step = states.abs().amax(dim=-1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert ((kv_cache.FORMATS[name](states) - states).abs() <= step / 2 * 1.001 + 1e-30).all()


@pytest.mark.parametrize(("name", "error"), [("fp8_e5m2", 1 / 8), ("fp8_e4m3", 1 / 16)])
def test_a_float_format_has_a_relative_error_of_half_its_last_bit(name, error):
    states = torch.linspace(0.1, 400, 4001).reshape(1, 1, 1, -1)
    off = ((kv_cache.FORMATS[name](states) - states) / states).abs()
    assert error / 2 < off.max() <= error


def test_values_out_of_range_become_the_largest_of_the_format():
    found = kv_cache.FORMATS["fp8_e4m3"](torch.tensor([1e6, -1e6]))
    assert found.tolist() == [448.0, -448.0]


def test_folded_attention_equals_sdpa_with_copied_heads():
    drawn = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(3, heads, tokens, 8, generator=drawn)
        for heads, tokens in [(6, 5), (2, 11), (2, 11)]
    )
    mask = torch.rand(3, 1, 5, 11, generator=drawn) < 0.6
    mask[..., 0] = True
    layer = torch.nn.Module()
    layer.num_key_value_groups = 3  # pyright: ignore[reportArgumentType] - a number, as in a model
    given = (layer, query, key, value)
    found, _ = kv_cache.folded(*given, mask, scaling=0.3)
    expected, _ = sdpa_attention_forward(*given, mask, scaling=0.3)
    tolerance.assert_close(found, expected, tolerance.forward("float32"))
    other, _ = kv_cache.folded(*given, mask.roll(1, 0), scaling=0.3)
    assert (found - other).abs().max() > 0.1


SMALL = {
    "vocab_size": 8,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "pad_token_id": None,
}


def from_config(config):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config(**SMALL))


@pytest.mark.parametrize(
    ("config", "most", "message"),
    [
        (
            partial(LlamaConfig, max_position_embeddings=1000),
            1000,
            "the model has 1000 positions, got texts of up to 1001 tokens; lower scales.SCALE.val",
        ),
        (
            partial(
                Phi3Config,
                max_position_embeddings=400,
                original_max_position_embeddings=100,
                rope_parameters={
                    "rope_type": "longrope",
                    "rope_theta": 10000.0,
                    "short_factor": [1.0] * 4,
                    "long_factor": [2.0] * 4,
                    "original_max_position_embeddings": 100,
                },
            ),
            100,
            "embeddings for texts of more than 100 tokens, got texts of up to 101; lower",
        ),
    ],
)
def test_a_model_whose_answers_depend_on_the_batch_is_refused(config, most, message):
    found = from_config(config)
    kv_cache.check(found, most)
    with pytest.raises(ValueError, match=message):
        kv_cache.check(found, most + 1)


@pytest.mark.parametrize(
    "config", [LlamaConfig, Qwen2Config, partial(MistralConfig, sliding_window=10)]
)
def test_a_model_with_full_or_sliding_attention_is_accepted(config):
    kv_cache.check(from_config(partial(config, max_position_embeddings=10**6)), 10**6)


def test_the_room_is_a_number_of_tokens_or_found():
    found = families.model("qwen3", num_hidden_layers=3, num_key_value_heads=2, head_dim=24)
    assert kv_cache.token_bytes(found) == 2 * 3 * 2 * 24 * 4
    assert kv_cache.room(found, 77) == 77
    assert kv_cache.room(found, "auto") == 16384


WINDOW = 6
WINDOWED = ["mistral", "phi-3", "gemma-2", "gemma-3", "gemma-4", "gpt-oss"]


@torch.inference_mode()
@pytest.mark.parametrize("size", [WINDOW, 30])
@pytest.mark.parametrize("family", WINDOWED)
def test_a_window_counts_the_tokens_of_a_row_and_not_its_slots(family, size):
    found = families.model(family, sliding_window=size)
    texts = [[*range(5, 25)], [30, 31], [*range(40, 52)]]
    rows = kv_cache.Rows(found, "none", 0)
    assert_read(found, rows.read(texts, last=True), texts)
    for turn in range(6):
        rows.discard([turn % 2, 0, 2 * (turn == 3)])
        more = [[60 + turn, 61], [62], [63 + turn] * (1 + turn)]
        kept = [texts[0][: len(texts[0]) - turn % 2], texts[1], texts[2]]
        kept[2] = kept[2][: len(kept[2]) - 2 * (turn == 3)]
        texts = [old + new for old, new in zip(kept, more, strict=True)]
        assert_read(found, rows.read(more, last=True), texts)
    rows.select([2, 0])
    texts = [texts[2] + [70], texts[0] + [71]]
    assert_read(found, rows.read([[70], [71]], last=True), texts)


@torch.inference_mode()
@pytest.mark.parametrize("family", ["mistral", "gemma-3"])
def test_a_window_changes_what_is_read(family):
    text = [*range(5, 40)]
    narrow, wide = (families.model(family, sliding_window=size) for size in (WINDOW, 100))
    assert (whole(narrow, text) - whole(wide, text)).abs().max() > 0.01


@torch.inference_mode()
@pytest.mark.parametrize("family", [one for one in families.CONFIGS if one not in STATEFUL])
def test_rows_of_every_family_are_read_as_whole_texts(family):
    found = families.model(family)
    texts = [[5, 6, 7, 8, 9], [10], [11, 12, 13]]
    rows = kv_cache.Rows(found, "none", 0)
    assert_read(found, rows.read(texts, last=True), texts)
    rows.discard([2, 0, 0])
    texts[0] = texts[0][:3]
    for turn in range(3):
        texts = [[*text, 20 + turn] for text in texts]
        assert_read(found, rows.read([[20 + turn]] * 3, last=True), texts)


@pytest.fixture(scope="module", params=[2, 1])
def tiny(base_model, request):
    """A model with two query heads and one or two key heads."""
    settings = AutoConfig.from_pretrained(base_model, num_key_value_heads=request.param)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(settings, dtype=torch.float32).eval()


def whole(tiny, tokens):
    with torch.no_grad():
        return tiny(input_ids=torch.tensor([tokens])).logits[0, -1]


def assert_read(tiny, logits, rows):
    for found, tokens in zip(logits[:, -1], rows, strict=True):
        tolerance.assert_close(found, whole(tiny, tokens), tolerance.forward("float32"))


@torch.inference_mode()
@pytest.mark.parametrize("reserved", [0, 500])
def test_logits_after_discarding_and_selecting_equal_those_of_whole_texts(tiny, reserved):
    rows = kv_cache.Rows(tiny, "none", reserved)
    texts = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
    assert_read(tiny, rows.read(texts, last=True), texts)
    rows.discard([1, 0, 2])
    texts = [texts[0][:2], texts[1], texts[2][:3]]
    more = [[20, 21], [22, 23, 24], [25]]
    texts = [old + new for old, new in zip(texts, more, strict=True)]
    assert_read(tiny, rows.read(more, last=True), texts)
    rows.select([2, 0, 2])
    texts = [texts[2] + [30], texts[0] + [31], texts[2] + [32]]
    assert_read(tiny, rows.read([[30], [31], [32]], last=True), texts)
    assert rows.lengths == [5, 5, 5]


@torch.inference_mode()
def test_discarded_tokens_take_no_memory(tiny):
    rows = kv_cache.Rows(tiny, "none", 0)
    texts = [[5, 6, 7], [8, 9]]
    rows.read(texts)
    for turn in range(40):
        rows.read([[10 + turn] * 8, [40] * 8])
        rows.discard([7, 8])
        texts[0].append(10 + turn)
    assert rows.lengths == [43, 2]
    (keys, _) = rows.layers[0].stored
    assert keys.shape[2] <= 43 + 8 + kv_cache.GROWTH
    new = [[90], [91]]
    assert_read(tiny, rows.read(new, last=True), [a + b for a, b in zip(texts, new, strict=True)])


@torch.inference_mode()
@pytest.mark.parametrize("family", ["smollm2", "gemma-3", "gpt-oss", "opt"])
def test_rounded_shapes_are_few_and_change_no_logits(family):
    found = families.model(family)
    shapes = set()
    hook = found.register_forward_pre_hook(
        lambda *given: shapes.add(tuple(given[-1]["input_ids"].shape)), with_kwargs=True
    )
    rows = kv_cache.Rows(found, "none", 0, kv_cache.Steps(4, 4, 8))
    texts = [[5, 6, 7, 8, 9], [10], [11, 12, 13]]
    assert_read(found, rows.read(texts, last=True), texts)
    rows.discard([2, 0, 0])
    texts[0] = texts[0][:3]
    for turn in range(20):
        new = [[20 + turn] * (1 + turn % 2), [], [30 + turn]]
        texts = [[*text, *more] for text, more in zip(texts, new, strict=True)]
        logits = rows.read(new)
        assert_read(found, logits[[0], turn % 2 : turn % 2 + 1], texts[:1])
        assert_read(found, logits[[2], :1], texts[2:])
    rows.select([2, 0, 0, 1, 2])
    texts = [[*texts[row], 7] for row in (2, 0, 0, 1, 2)]
    assert_read(found, rows.read([[7]] * 5, last=True), texts)
    hook.remove()
    assert {shape for shape in shapes if shape[0] in (4, 8)} == {(4, 8), (4, 1), (4, 2), (8, 1)}


@torch.inference_mode()
@pytest.mark.parametrize("family", ["smollm2", "gemma-3", "gpt-oss"])
def test_recorded_passes_have_fixed_shapes_and_addresses_and_change_no_logits(family):
    found = families.model(family)
    recorded = []

    def record(work, given):
        recorded.append((given, tuple(given.shape)))
        return kv_cache.plain(work, given)

    rows = kv_cache.Rows(found, "none", 64, kv_cache.Steps(4, 4, 8), record)
    texts = [[5, 6, 7, 8, 9], [10], [11, 12, 13]]
    rows.read(texts)
    for turn in range(12):
        new = [[20 + turn] * (1 + turn % 2), [60], [30 + turn]]
        texts = [[*text, *more] for text, more in zip(texts, new, strict=True)]
        logits = rows.read(new)
        assert_read(found, logits[[0], turn % 2 : turn % 2 + 1], texts[:1])
        assert_read(found, logits[1:, :1], texts[1:])
    # Two numbers of new tokens; 8, 16 and 24 slots in view.
    assert len(recorded) == len({given.data_ptr() for given, _ in recorded}) == 6
    assert {shape for _, shape in recorded} == {(4, 3), (4, 4)}
    rows.select([0, 1, 2, 0, 1])
    texts = [[*texts[row], 70] for row in (0, 1, 2, 0, 1)]
    assert_read(found, rows.read([[70]] * 5), texts)
    assert recorded[6:][0][1] == (8, 3)


@torch.inference_mode()
def test_rows_of_other_batches_stand_behind_the_own_ones(tiny):
    rows, first, second = (kv_cache.Rows(tiny, "none", 0) for _ in range(3))
    texts = [[5, 6, 7], [8, 9], [10, 11, 12, 13], [14], [15, 16]]
    rows.read(texts[:2])
    rows.discard([1, 0])
    texts[0] = texts[0][:2]
    first.read(texts[2:4])
    second.read(texts[4:])
    rows.extend([first, second])
    texts = [[*text, 20, 21] for text in texts]
    assert_read(tiny, rows.read([[20, 21]] * 5, last=True), texts)


def test_sizes_are_rounded_up_to_powers_of_two_and_then_to_multiples():
    assert [kv_cache.rounded(size, 16) for size in (1, 2, 3, 5, 9, 16, 17, 33)] == [
        *(1, 2, 4, 8, 16, 16, 32, 48)
    ]
    assert [kv_cache.rounded(size, 1) for size in (1, 2, 3, 77)] == [1, 2, 3, 77]
