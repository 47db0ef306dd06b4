from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
)

from arcmix.prediction import kv_cache
from tests import families, tolerance

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
