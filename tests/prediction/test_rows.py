import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from arcmix.prediction import kv_cache, recording
from arcmix.prediction.rows import Rows, folded
from arcmix.prediction.shapes import Shapes
from tests import families, tolerance

STATEFUL = ("qwen3.5", "qwen3-next", "lfm2")
ROUNDED = Shapes(rows=4, tokens=4, slots=8, at_once=100, joins=True)
"""Steps that the short texts of these tests exceed."""


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
    found, _ = folded(*given, mask, scaling=0.3)
    expected, _ = sdpa_attention_forward(*given, mask, scaling=0.3)
    tolerance.assert_close(found, expected, tolerance.forward("float32"))
    other, _ = folded(*given, mask.roll(1, 0), scaling=0.3)
    assert (found - other).abs().max() > 0.1


WINDOW = 6
WINDOWED = ["mistral", "phi-3", "gemma-2", "gemma-3", "gemma-4", "gpt-oss"]


@torch.inference_mode()
@pytest.mark.parametrize("size", [WINDOW, 30])
@pytest.mark.parametrize("family", WINDOWED)
def test_a_window_counts_the_tokens_of_a_row_and_not_its_slots(family, size):
    found = families.model(family, sliding_window=size)
    texts = [[*range(5, 25)], [30, 31], [*range(40, 52)]]
    rows = Rows(found, "none", 0)
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
    rows = Rows(found, "none", 0)
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
    rows = Rows(tiny, "none", reserved)
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
    rows = Rows(tiny, "none", 0)
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
    rows = Rows(found, "none", 0, ROUNDED)
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
        return recording.plain(work, given)

    rows = Rows(found, "none", 64, ROUNDED, record)
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
    rows, first, second = (Rows(tiny, "none", 0) for _ in range(3))
    texts = [[5, 6, 7], [8, 9], [10, 11, 12, 13], [14], [15, 16]]
    rows.read(texts[:2])
    rows.discard([1, 0])
    texts[0] = texts[0][:2]
    first.read(texts[2:4])
    second.read(texts[4:])
    rows.extend([first, second])
    texts = [[*text, 20, 21] for text in texts]
    assert_read(tiny, rows.read([[20, 21]] * 5, last=True), texts)
