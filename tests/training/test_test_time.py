import dataclasses
import functools
import math

import pytest
import torch

from arcmix.config import scales
from arcmix.models import adapters, pretrained
from arcmix.sampling import sample_table
from arcmix.text import fastpath, tokenization
from arcmix.text.encode import Encoder
from arcmix.training import test_time
from tests import tolerance
from tests.arc import task
from tests.models.test_adapters import lora
from tests.sampling.test_augment import COLORED, make
from tests.training.test_trainer import settings

ONE, OTHER = task("one", train=3), task("other", train=2)
PLAIN = {"steps": 8, "batch": 2, "learning_rate": 0.02, "eval_every": 2, "patience": 9}
COLORS = make(**COLORED)


def own_settings(**changes):
    return scales.TestTime.model_validate(PLAIN | changes)


@pytest.fixture(scope="module")
def tokens(base_model):
    """The tokenizers of training samples and of held-out demonstrations."""
    tokenizer = pretrained.load_tokenizer(base_model)
    style = tokenization.style(tokenizer, "bare", Encoder(("minimal",)), "outputs")
    answer = dataclasses.replace(style, loss="answer")
    return tuple(functools.partial(fastpath.as_texts, tokenizer, one) for one in (style, answer))


class Bench:
    """A model with an adapter, and its initial weights."""

    def __init__(self, base_model, tokens, **changes):
        self.tokens = tokens
        self.how = settings(**{"schedule": "constant", "warmup": 0.0, **changes})
        self.model = adapters.attach(pretrained.load(base_model, self.how.dtype), self.how, 0, [])
        self.start = test_time.weights(self.model)

    def data(self, of, **own):
        found = self.prepare(of, **own)
        assert isinstance(found, test_time.Data)
        return found

    def prepare(self, of, changes=COLORS, **own):
        encode, encode_held_out = self.tokens
        return test_time.prepare(
            of, encode, encode_held_out, changes, 0, self.how, own_settings(**own)
        )

    def run(self, of, seed=0, found=None, **own):
        found = found or self.data(of, **own)
        return test_time.adapt(
            self.model, self.start, of, found, seed, self.how, own_settings(**own)
        )

    def loss(self, of):
        held_out = self.data(of).held_out
        losses = test_time.prompt_losses(self.model, held_out, 500, done=lambda _: None)
        return losses.sum() / sum(one.trained_tokens for one in held_out)


@pytest.fixture
def bench(base_model, tokens):
    return Bench(base_model, tokens)


def equal(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_each_demonstration_is_held_out_once_and_prompted_with_the_others(bench, tokens):
    found = bench.data(ONE)
    others = [[ONE.train[1], ONE.train[2]], [ONE.train[0], ONE.train[2]], [*ONE.train[:2]]]
    whole = [[*shown, pair] for shown, pair in zip(others, ONE.train, strict=True)]
    expected = tokens[1](sample_table.from_pairs(whole))
    assert [one.input_ids.tolist() for one in found.held_out] == [
        one.input_ids.tolist() for one in expected
    ]
    assert [one.trained_tokens for one in found.held_out] == [
        pair.output.size + pair.output.shape[0] for pair in ONE.train
    ]


def test_the_samples_come_from_the_demonstrations_and_never_from_the_tests(bench):
    unlike = dataclasses.replace(ONE, test=OTHER.train)
    found, same = bench.data(ONE), bench.data(unlike)
    assert len(found.samples) == 16
    assert [one.input_ids.tolist() for one in found.samples] == [
        one.input_ids.tolist() for one in same.samples
    ]


def test_each_task_has_its_own_random_draws(bench):
    renamed = dataclasses.replace(ONE, id="renamed")
    first, second = (
        [one.input_ids.tolist() for one in bench.data(of).samples] for of in (ONE, renamed)
    )
    assert first != second
    assert first[:6] == [one.input_ids.tolist() for one in bench.data(ONE, steps=3).samples]


def test_a_task_with_one_demonstration_is_skipped(bench):
    assert bench.prepare(task("few", train=1)) == test_time.Outcome(
        "skipped", "fewer than 2 demonstrations", 0, None, None, None
    )


@pytest.mark.parametrize(("too_long", "kept"), [("skip", False), ("shorten", True)])
def test_a_task_that_is_too_long_is_skipped_or_shortened(base_model, tokens, too_long, kept):
    found = Bench(base_model, tokens, too_long=too_long, max_tokens=90).prepare(
        task("long", train=9)
    )
    if kept:
        assert isinstance(found, test_time.Data)
        assert len(found.held_out) == 9
        assert max(len(one.input_ids) for one in [*found.samples, *found.held_out]) <= 90
    else:
        assert isinstance(found, test_time.Outcome)
        assert (found.status, found.reason) == ("skipped", "no sample of at most 90 tokens")


@pytest.mark.parametrize("changes", [{}, {"lora": lora(dora=True)}, {"dtype": "bfloat16"}])
def test_fine_tuning_on_a_task_lowers_its_loss(base_model, tokens, changes):
    bench = Bench(base_model, tokens, **changes)
    before = bench.loss(ONE)
    outcome = bench.run(ONE, steps=30, eval_every=5)
    assert (outcome.status, outcome.steps) == ("adapted", 30)
    within = tolerance.forward(bench.how.dtype)
    assert outcome.loss_before == tolerance.close(before, within)
    assert outcome.loss_after < before - 0.3
    assert outcome.loss_after == tolerance.close(bench.loss(ONE), within)


def test_gradient_checkpointing_is_on_only_if_the_settings_say_so(base_model, tokens):
    found = [Bench(base_model, tokens, gradient_checkpointing=on) for on in (False, True)]
    outcomes = [bench.run(ONE) for bench in found]
    assert [bench.model.is_gradient_checkpointing for bench in found] == [False, True]
    plain, asked = (one.loss_after for one in outcomes)
    assert asked == tolerance.close(plain, tolerance.training("float32"))


def test_a_step_has_the_gradient_of_all_its_samples_in_any_packing(base_model, tokens):
    found = [Bench(base_model, tokens, micro_tokens=limit) for limit in (1, 1000)]
    for bench in found:
        assert bench.run(ONE, steps=1, batch=5).steps == 1
    one, other = (test_time.weights(bench.model) for bench in found)
    for name, value in one.items():
        tolerance.assert_close(value, other[name], tolerance.training("float32"))


def test_an_adapter_does_not_depend_on_earlier_tasks(base_model, tokens):
    bench = Bench(base_model, tokens, lora=lora(dropout=0.3))
    found = {}
    for order in ((ONE, OTHER), (OTHER, ONE)):
        for of in order:
            assert bench.run(of).status == "adapted"
            found.setdefault(of.id, []).append(test_time.weights(bench.model))
    for first, second in found.values():
        assert equal(first, second)
    assert not equal(found["one"][0], found["other"][0])
    bench.run(ONE, seed=1)
    assert not equal(found["one"][0], test_time.weights(bench.model))  # because of its dropout


def test_the_base_model_does_not_change(bench):
    frozen = [one for one in bench.model.parameters() if not one.requires_grad]
    before = [one.clone() for one in frozen]
    bench.run(ONE)
    assert all(torch.equal(one, other) for one, other in zip(frozen, before, strict=True))


def test_a_task_stops_early_when_its_loss_stops_improving_and_keeps_the_best_weights(
    base_model, tokens
):
    bench = Bench(base_model, tokens)
    own = {"steps": 200, "eval_every": 1, "patience": 4, "learning_rate": 0.3}
    outcome = bench.run(ONE, **own)
    assert outcome.reason == "stopped early"
    assert outcome.best_step is not None
    assert outcome.steps == outcome.best_step + 4 < 200
    assert outcome.loss_after == tolerance.close(bench.loss(ONE), tolerance.forward("float32"))


def test_a_task_whose_loss_does_not_improve_keeps_the_initial_weights(bench):
    outcome = bench.run(ONE, learning_rate=1e-30, eval_every=1, patience=2)
    assert (outcome.status, outcome.reason, outcome.steps) == ("unchanged", "stopped early", 2)
    assert outcome.loss_after == outcome.loss_before
    assert equal(test_time.weights(bench.model), bench.start)


def test_a_loss_that_is_not_finite_fails_only_its_task(base_model, tokens):
    bench = Bench(base_model, tokens)
    good = bench.run(ONE)

    def spoil(_module, _inputs, output):
        if bench.model.training:
            output.logits = output.logits * math.nan
        return output

    hook = bench.model.register_forward_hook(spoil)
    outcome = bench.run(OTHER)
    hook.remove()
    assert (outcome.status, outcome.steps, outcome.loss_after) == ("failed", 0, None)
    assert outcome.reason.startswith("the loss is nan and the gradient's norm nan at step 1")
    assert equal(test_time.weights(bench.model), bench.start)
    assert bench.run(ONE) == good


def test_running_out_of_memory_fails_only_the_task(bench):
    good = bench.run(ONE)

    def exhaust(*_):
        raise torch.OutOfMemoryError

    layer = bench.model.get_submodule("base_model.model.model.layers.1")
    hook = layer.register_full_backward_pre_hook(exhaust)
    outcome = bench.run(OTHER)
    hook.remove()
    assert (outcome.status, outcome.reason) == ("failed", "out of memory")
    assert equal(test_time.weights(bench.model), bench.start)
    assert bench.run(ONE) == good
