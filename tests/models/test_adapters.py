import importlib.util
import json
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from peft import PeftModel

from arcmix.config import origins, scales, schema
from arcmix.models import adapters, fetch, pretrained
from tests import tolerance

PLAIN = {
    "rank": 4,
    "alpha": 8,
    "scale": "alpha",
    "dropout": 0.0,
    "targets": ("all-linear",),
    "rslora": False,
    "dora": False,
    "init": "default",
}
VALUES = schema.resolve(schema.read(Path(__file__).parents[2] / "params.yaml"))
TINY = VALUES["scales"]["tiny"]["finetune"]
IDS = torch.tensor([[5, 6, 7, 40, 9]])
READ, TRAINED = tolerance.forward("float32"), tolerance.training("float32")
SHAPES = [
    pytest.param({"init": init, "dora": dora}, id=f"{init}{'-dora' * dora}")
    for init in ("default", "gaussian", "pissa", "olora")
    for dora in (False, True)
]


def lora(**changes):
    return scales.Lora.model_validate(PLAIN | changes)


def settings(method="lora", dtype="float32", **changes):
    own = {"method": method, "dtype": dtype, "lora": lora(**changes)}
    return scales.Finetune.model_validate(TINY | own)


def attach(base_model, how, seed=0):
    return adapters.attach(pretrained.load(base_model, how.dtype), how, seed, [])


def train(one, steps=3, ids=IDS):
    """Train on one sequence, far enough to change every answer."""
    optimizer = torch.optim.AdamW([p for p in one.parameters() if p.requires_grad], lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        one(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return one.eval()


def logits(one):
    with torch.no_grad():
        return one(input_ids=IDS).logits.float()


def same(first, second, within):
    tolerance.assert_close(logits(first), logits(second), within)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_new_adapter_does_not_change_the_output_and_only_it_is_trainable(base_model, shape):
    one = attach(base_model, settings(**shape))
    same(one, pretrained.load(base_model, "float32"), READ)
    assert all("lora" in name for name, weight in one.named_parameters() if weight.requires_grad)


def test_an_adapter_is_determined_by_its_seed_and_its_settings(base_model):
    def down(seed, **changes):
        one = attach(base_model, settings(**changes), seed)
        return {name: weight for name, weight in one.named_parameters() if "lora_A" in name}

    first, again, other = down(0), down(0), down(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    assert {weight.shape[0] for weight in down(0, rank=7).values()} == {7}
    assert all("q_proj" in name for name in down(0, targets=("q_proj",)))


def test_an_adapter_has_the_initialization_of_its_settings(base_model):
    found = {}
    for init in ("default", "gaussian", "pissa", "olora"):
        one = attach(base_model, settings(init=init))
        found[init] = [
            torch.cat([weight.ravel() for name, weight in one.named_parameters() if side in name])
            for side in ("lora_A", "lora_B")
        ]
    assert [init for init, (_, up) in found.items() if up.any()] == ["pissa", "olora"]
    # Kaiming's uniform numbers are at most 1 / sqrt(32) or 1 / sqrt(64).
    assert found["default"][0].abs().max() < 0.18 < found["gaussian"][0].abs().max()
    assert found["gaussian"][0].std().item() == pytest.approx(1 / 4, rel=0.05)
    assert not torch.equal(found["pissa"][0], found["olora"][0])


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        ({"rank": 4}, 2.0),
        ({"rank": 4, "rslora": True}, 4.0),
        ({"rank": 3, "scale": 0.7}, 0.7),
        ({"rank": 7, "scale": 0.7}, 0.7),
        ({"rank": 7, "scale": 0.7, "rslora": True}, 0.7),
    ],
)
def test_the_update_is_scaled_by_alpha_or_by_the_given_scale_at_every_rank(
    base_model, changes, scale
):
    assert adapters.effective(attach(base_model, settings(**changes)))["scale"] == [
        pytest.approx(scale)
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_saved_adapter_is_loaded_onto_the_original_base_model(tmp_path, base_model, shape):
    how = settings(**shape, rslora=True)
    trained = train(attach(base_model, how))
    adapters.save(trained, tmp_path)
    tokenizer = pretrained.load_tokenizer(base_model)

    loaded = adapters.load(base_model, tmp_path, "float32", "lora", tokenizer, {})
    resumed = adapters.resume(pretrained.load(base_model, "float32"), tmp_path, how, 1, [])
    # The trainer resumes from a checkpoint in this way.
    checkpoint = attach(base_model, how)
    checkpoint.load_adapter(str(tmp_path), "default", is_trainable=True)

    for one in (loaded, resumed.eval(), checkpoint.eval()):
        same(one, trained, READ)
    assert not isinstance(loaded, PeftModel)
    apart = logits(trained) - logits(pretrained.load(base_model, "float32"))
    assert apart.abs().max() > 0.1
    same(train(resumed, 1), train(trained, 1), TRAINED)


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[-1]])
def test_adapters_loaded_one_after_another_equal_those_loaded_alone(tmp_path, base_model, shape):
    how, tokenizer = settings(dtype="bfloat16", **shape), pretrained.load_tokenizer(base_model)
    folders = [tmp_path / name for name in "ab"] + [tmp_path / "a"]
    for steps, folder in enumerate(folders[:2], start=1):
        adapters.save(train(attach(base_model, how), steps), folder)

    rest = (how.dtype, how.method, tokenizer, {})
    models = adapters.load_each(base_model, folders, *rest)
    for one, folder in zip(models, folders, strict=True):
        alone = adapters.load(base_model, folder, *rest)
        assert all(map(torch.equal, one.parameters(), alone.parameters()))
        same(one, alone, tolerance.forward("bfloat16"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_model_that_predicts_is_the_one_that_was_measured(tmp_path, base_model, dtype, shape):
    how, tokenizer = settings(dtype=dtype, **shape), pretrained.load_tokenizer(base_model)
    trained = train(attach(base_model, how))
    adapters.save(trained, tmp_path)

    loaded = adapters.load(base_model, tmp_path, dtype, "lora", tokenizer, {})

    # Merged into the weights, an adapter would be rounded to their precision.
    assert isinstance(trained, PeftModel)
    base = trained.get_base_model()
    pairs = zip(base.named_parameters(), loaded.named_parameters(), strict=True)
    for (name, one), (same_name, other) in pairs:
        assert (name, one.dtype) == (same_name, other.dtype)
        tolerance.assert_close(other, one, READ)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_loaded_model_has_its_weights_in_memory_that_torch_allocated(
    tmp_path, base_model, method
):
    adapters.save(attach(base_model, settings(method)), tmp_path)
    tokenizer = pretrained.load_tokenizer(base_model)
    loaded = adapters.load(base_model, tmp_path, "float32", method, tokenizer, {})
    # torch aligns them to cache lines.
    assert {weight.data_ptr() % 64 for weight in loaded.parameters()} == {0}


def test_missing_weights_of_a_whole_model_are_refused_by_name(tmp_path, base_model):
    adapters.save(attach(base_model, settings("full")), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    del weights["model.norm.weight"]
    safetensors.torch.save_file(weights, path, {"format": "pt"})
    tokenizer = pretrained.load_tokenizer(base_model)
    with pytest.raises(ValueError, match=r"wrong: 1 missing \(model\.norm\.weight\)"):
        adapters.load(base_model, tmp_path, "float32", "full", tokenizer, {})


def test_an_adapter_of_all_linear_layers_is_resumed_with_the_layers_named(tmp_path, base_model):
    trained = train(attach(base_model, settings()))
    adapters.save(trained, tmp_path)
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    base = pretrained.load(base_model, "float32")
    same(adapters.resume(base, tmp_path, settings(targets=names), 0, []), trained, READ)


def test_a_resumed_adapter_has_the_dropout_of_the_new_settings(tmp_path, base_model):
    adapters.save(attach(base_model, settings(dropout=0.5)), tmp_path)
    base = pretrained.load(base_model, "float32")
    resumed = adapters.resume(base, tmp_path, settings(dropout=0.25), 0, [])
    assert adapters.effective(resumed)["dropout"] == [0.25]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 6}, "rank 4 instead of 6;"),
        ({"alpha": 16}, "alpha 8 instead of 16;"),
        ({"scale": 3.0}, "alpha 8 instead of 12.0;"),
        ({"rslora": True}, "rslora False instead of True;"),
        ({"dora": True}, "dora False instead of True;"),
        ({"init": "pissa"}, "init True instead of pissa; choose another init.adapter"),
        ({"targets": ("q_proj",)}, "'up_proj', 'v_proj'] instead of ['q_proj'];"),
        (
            {"rank": 6, "dora": True},
            (
                "rank 4 instead of 6, dora False instead of True; for the values of the adapter,"
                " add -S ++scales.SCALE.finetune.lora.rank=4 -S"
                " ++scales.SCALE.finetune.lora.dora=false with the name of the scale for SCALE, or"
                " choose another init.adapter"
            ),
        ),
    ],
)
def test_an_adapter_with_other_settings_is_not_resumed(tmp_path, base_model, changes, message):
    adapters.save(attach(base_model, settings()), tmp_path)
    base = pretrained.load(base_model, "float32")
    with pytest.raises(ValueError, match=re.escape(message)):
        adapters.resume(base, tmp_path, settings(**changes), 0, [])


def test_an_adapter_with_added_tokens_is_not_resumed_without_them(tmp_path, base_model):
    base, tokenizer = pretrained.load(base_model, "float32"), pretrained.load_tokenizer(base_model)
    numbers = pretrained.add_tokens(base, tokenizer, {"<a>": "7"})
    adapters.save(adapters.attach(base, settings(), 0, numbers), tmp_path)
    with pytest.raises(ValueError, match=re.escape(f"added tokens {numbers} instead of None;")):
        adapters.resume(pretrained.load(base_model, "float32"), tmp_path, settings(), 0, [])


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_fine_tune_of_another_model_is_not_resumed(tmp_path, base_model, method):
    other = origins.RandomModel(kind="random", seed=0, hidden=16, layers=2, heads=2, positions=64)
    fetch.random(other, tmp_path / "other")
    how = settings(method)
    adapters.save(attach(tmp_path / "other", how), tmp_path / "saved")
    with pytest.raises(
        ValueError,
        match=r"of another shape \(.* \(\d+, 16\) instead of \(\d+, 32\).*; if it has another",
    ):
        adapters.resume(pretrained.load(base_model, "float32"), tmp_path / "saved", how, 0, [])


@pytest.mark.parametrize(
    ("method", "other", "message"),
    [
        ("lora", "full", "holds an adapter, but method full continues a whole model"),
        ("full", "lora", "holds a whole model, but method lora continues an adapter"),
    ],
)
def test_a_fine_tune_with_another_method_is_not_resumed(
    tmp_path, base_model, method, other, message
):
    adapters.save(attach(base_model, settings(method)), tmp_path)
    with pytest.raises(ValueError, match=message):
        adapters.resume(pretrained.load(base_model, "float32"), tmp_path, settings(other), 0, [])


def test_a_folder_without_a_fine_tune_is_refused(tmp_path, base_model):
    with pytest.raises(ValueError, match=re.escape(f"no fine-tune in {tmp_path}: it has none")):
        adapters.resume(pretrained.load(base_model, "float32"), tmp_path, settings(), 0, [])


def test_a_full_fine_tune_trains_saves_and_resumes_every_weight(tmp_path, base_model):
    how = settings("full")
    trained = train(attach(base_model, how))
    before = dict(pretrained.load(base_model, "float32").named_parameters())
    assert all(not torch.equal(one, before[name]) for name, one in trained.named_parameters())
    adapters.save(trained, tmp_path)

    tokenizer = pretrained.load_tokenizer(base_model)
    loaded = adapters.load(base_model, tmp_path, "float32", "full", tokenizer, {})
    resumed = adapters.resume(pretrained.load(base_model, "float32"), tmp_path, how, 0, [])

    # The weights are equal, but their products depend on memory alignment.
    for one in (loaded, resumed):
        assert all(map(torch.equal, one.parameters(), trained.parameters()))
        same(one, trained, READ)
    # Both have a new optimizer.
    same(train(resumed, 1), train(trained, 1), TRAINED)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_added_tokens_are_trained_and_saved(tmp_path, base_model, method):
    how, like = settings(method), {"<a>": "7"}

    def base():
        tokenizer, one = (
            pretrained.load_tokenizer(base_model),
            pretrained.load(base_model, "float32"),
        )
        return tokenizer, one, pretrained.add_tokens(one, tokenizer, like)

    tokenizer, one, numbers = base()
    start = one.get_parameter("model.embed_tokens.weight").detach().clone()[numbers]
    trained = adapters.attach(one, how, 0, numbers)
    optimizer = torch.optim.SGD([p for p in trained.parameters() if p.requires_grad], lr=0.1)
    ids = torch.tensor([[5, *numbers, 6]])
    trained(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    adapters.save(trained, tmp_path)

    loaded = adapters.load(base_model, tmp_path, "float32", method, tokenizer, like)
    resumed = adapters.resume(base()[1], tmp_path, how, 0, numbers)
    expected = trained(input_ids=ids).logits
    for other in (loaded, resumed):
        tolerance.assert_close(other(input_ids=ids).logits, expected, READ)
    embeddings = loaded.get_input_embeddings()
    assert isinstance(embeddings, torch.nn.Module)
    learned = embeddings(torch.tensor(numbers))
    assert (learned - start).abs().max() > 0.001


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_adapter_on_a_16_bit_model_is_float32(tmp_path, base_model, dtype, shape):
    how, tokenizer = settings(dtype=dtype, **shape), pretrained.load_tokenizer(base_model)
    bases = [pretrained.load(base_model, dtype) for _ in range(2)]
    numbers = [pretrained.add_tokens(base, tokenizer, {"<a>": "7"}) for base in bases]
    one = adapters.attach(bases[0], how, 0, numbers[0])
    assert {weight.dtype for weight in one.parameters() if weight.requires_grad} == {torch.float32}
    frozen = {weight.dtype for weight in one.parameters() if not weight.requires_grad}
    assert frozen == {getattr(torch, dtype)}
    adapters.save(one, tmp_path)
    resumed = adapters.resume(bases[1], tmp_path, how, 0, numbers[1])
    assert adapters.effective(resumed)["trainable_dtypes"] == ["torch.float32"]


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        (("q_proj", "embed_tokens"), "['embed_tokens']"),
        (("lm_head",), "['lm_head']"),
        (("model.embed_tokens",), "['model.embed_tokens']"),
    ],
)
def test_an_adapter_on_tied_embeddings_is_refused(base_model, targets, found):
    message = f"are tied, so neither can have an adapter, got targets {found}; choose"
    with pytest.raises(ValueError, match=re.escape(message)):
        attach(base_model, settings(targets=targets))


def test_an_adapter_on_separate_embeddings_is_attached(base_model):
    base = pretrained.load(base_model, "float32")
    base.config.tie_word_embeddings = False
    one = adapters.attach(base, settings(targets=("embed_tokens",)), 0, [])
    assert adapters.effective(one)["targets"] == ["embed_tokens"]


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_a_rank_above_the_size_of_a_layer_is_refused_for_pissa_and_olora(base_model, init):
    message = f"rank 33 is too high for init {init}: .* allows at most 32; lower the rank"
    with pytest.raises(ValueError, match=message):
        attach(base_model, settings(init=init, rank=33))
    attach(base_model, settings(rank=33))


def test_the_effective_settings_are_read_from_the_layers(base_model):
    one = attach(
        base_model,
        settings(
            rank=5, alpha=10, dropout=0.1, dora=True, init="olora", targets=("q_proj", "up_proj")
        ),
    )
    trainable = 2 * (5 * (32 + 32) + 32 + 5 * (32 + 64) + 64)
    total = sum(weight.numel() for weight in pretrained.load(base_model, "float32").parameters())
    found = adapters.effective(one)
    assert json.loads(json.dumps(found)) == found
    assert found == {
        "parameters": total + trainable,
        "trainable_parameters": trainable,
        "dtypes": ["torch.float32"],
        "trainable_dtypes": ["torch.float32"],
        "targets": ["q_proj", "up_proj"],
        "layers": 4,
        "rank": [5],
        "scale": [2.0],
        "dropout": [0.1],
        "rslora": [False],
        "dora": [True],
        "init": "olora",
        "added_tokens": [],
    }
    assert adapters.effective(attach(base_model, settings("full", "bfloat16"))) == {
        "parameters": total,
        "trainable_parameters": total,
        "dtypes": ["torch.bfloat16"],
        "trainable_dtypes": ["torch.bfloat16"],
    }


@pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("bitsandbytes") is None,
    reason="needs a CUDA GPU and bitsandbytes",
)
def test_an_adapter_trained_on_4_bit_weights_is_loaded_onto_4_bit_weights(tmp_path, base_model):
    how = settings("qlora", "bfloat16")
    base = pretrained.load_base(base_model, "bfloat16", "qlora")
    ids = IDS.to(base.device)
    trained = train(adapters.attach(base, how, 0, []), 1, ids)
    adapters.save(trained, tmp_path)

    tokenizer = pretrained.load_tokenizer(base_model)
    loaded = adapters.load(base_model, tmp_path, "bfloat16", "qlora", tokenizer, {})
    again = pretrained.load_base(base_model, "bfloat16", "qlora")
    resumed = adapters.resume(again, tmp_path, how, 0, [])

    expected = trained(input_ids=ids).logits
    for one in (loaded, resumed):
        tolerance.assert_close(one(input_ids=ids).logits, expected, tolerance.forward("bfloat16"))
    whole = adapters.load(base_model, tmp_path, "bfloat16", "lora", tokenizer, {})
    assert (whole(input_ids=ids).logits.float() - expected).abs().max() > 0.5
    found, weights = adapters.effective(trained), whole.parameters()
    assert found["parameters"] == sum(map(torch.numel, weights)) + found["trainable_parameters"]
