import dataclasses
import functools
import math

import numpy as np
import pytest
import torch

from arcmix.config import scales
from arcmix.models import adapters, loss, pretrained, stacked
from arcmix.sampling import sample_table
from arcmix.text import fastpath, tokenization
from arcmix.text.encode import Encoder
from arcmix.text.tokenization import Example
from arcmix.training import schedule, test_time
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
        self.start = stacked.weights(self.model)

    def data(self, of, **own):
        found = self.prepare(of, **own)
        assert isinstance(found, test_time.Data)
        return found

    def prepare(self, of, changes=COLORS, **own):
        encode, encode_held_out = self.tokens
        return test_time.prepare(
            of, encode, encode_held_out, changes, 0, self.how, own_settings(**own)
        )

    def run_all(self, tasks, seed=0, **own):
        """Return the outcome and the weights of each of some tasks, trained side by side."""
        work = [(one, self.data(one, **own)) for one in tasks]
        how = own_settings(**own)
        return test_time.adapt(self.model, self.start, work, seed, self.how, how)

    def run(self, of, seed=0, **own):
        """Train a task alone, and leave its weights in the model."""
        [(outcome, weights)] = self.run_all([of], seed, **own)
        stacked.restore(self.model, weights)
        return outcome

    def loss(self, of):
        held_out = self.data(of).held_out
        losses = loss.prompt_losses(self.model, held_out, 500, done=lambda _: None)
        return losses.sum() / sum(one.trained_tokens for one in held_out)


@pytest.fixture
def bench(base_model, tokens):
    return Bench(base_model, tokens)


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
    one, other = (stacked.weights(bench.model) for bench in found)
    tolerance.assert_close(one, other, tolerance.training("float32"))


def test_an_adapter_does_not_depend_on_earlier_tasks(base_model, tokens):
    bench = Bench(base_model, tokens, lora=lora(dropout=0.3))
    found = {}
    for order in ((ONE, OTHER), (OTHER, ONE)):
        for of in order:
            assert bench.run(of).status == "adapted"
            found.setdefault(of.id, []).append(stacked.weights(bench.model))
    for first, second in found.values():
        assert torch.equal(first, second)
    assert not torch.equal(found["one"][0], found["other"][0])
    bench.run(ONE, seed=1)
    assert not torch.equal(found["one"][0], stacked.weights(bench.model))  # because of its dropout


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
    assert torch.equal(stacked.weights(bench.model), bench.start)


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
    assert torch.equal(stacked.weights(bench.model), bench.start)
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
    assert torch.equal(stacked.weights(bench.model), bench.start)
    assert bench.run(ONE) == good


def side_by_side(base_model, tokens, **changes):
    """Return a bench for tasks side by side, and tasks with two to five demonstrations."""
    bench = Bench(base_model, tokens, max_tokens=300, micro_tokens=900, eval_tokens=300, **changes)
    return bench, [task(f"task-{train}", train=train) for train in (2, 3, 4, 5)]


def assert_as_alone(bench, work, found, **own):
    """Assert that each task has the outcome and the weights that it has alone."""
    within = tolerance.training("float32")
    how = own_settings(**own)
    assert len(found) == len(work)
    for one, (outcome, weights) in zip(work, found, strict=True):
        [(alone, expected)] = test_time.adapt(bench.model, bench.start, [one], 0, bench.how, how)
        losses = {name: getattr(outcome, name) for name in ("loss_before", "loss_after")}
        assert losses == tolerance.close({name: getattr(alone, name) for name in losses}, within)
        assert outcome == dataclasses.replace(alone, **losses)
        tolerance.assert_close(weights, expected, within)


FLAVORS = {
    "plain": {},
    "rank-stabilized": {"lora": lora(rslora=True)},
    "DoRA": {"lora": lora(dora=True)},
    "dropout": {"lora": lora(dropout=0.3)},
    "DoRA and dropout": {"lora": lora(dora=True, dropout=0.3)},
    "checkpointing and dropout": {"gradient_checkpointing": True, "lora": lora(dropout=0.3)},
}
GENTLE = {"learning_rate": 0.005, "steps": 4}


@pytest.mark.parametrize("changes", FLAVORS.values(), ids=[*FLAVORS])
def test_tasks_that_train_side_by_side_have_the_results_that_each_has_alone(
    base_model, tokens, changes
):
    bench, chosen = side_by_side(base_model, tokens, **changes)
    found = bench.run_all(chosen, **GENTLE)
    assert {outcome.status for outcome, _ in found} == {"adapted"}
    assert_as_alone(bench, [(one, bench.data(one, **GENTLE)) for one in chosen], found, **GENTLE)


def test_a_task_that_stops_early_leaves_the_others_their_steps(base_model, tokens):
    bench, chosen = side_by_side(base_model, tokens)
    own = GENTLE | {"steps": 8, "patience": 1}
    work = [(one, bench.data(one, **own)) for one in chosen]
    # In the second task, the samples repeat a token, which the held-out text does not.
    ids = np.append(np.full(30, 5), 9)
    repeated, other = Example(ids[:-1], np.arange(30) > 0), Example(ids, np.arange(31) == 30)
    work[1] = (chosen[1], test_time.Data([repeated], [other]))
    found = test_time.adapt(bench.model, bench.start, work, 0, bench.how, own_settings(**own))
    reasons = [outcome.reason for outcome, _ in found]
    assert reasons == ["all steps done", "stopped early", *["all steps done"] * 2]
    assert found[1][0].steps < 8
    # Its gradients vanish, so AdamW divides rounding by rounding.
    del work[1], found[1]
    assert_as_alone(bench, work, found, **own)


def test_a_failure_of_one_task_leaves_the_others_their_results(base_model, tokens):
    bench, chosen = side_by_side(base_model, tokens)
    work = [(one, bench.data(one, **GENTLE)) for one in chosen]
    marked = work[2][1].samples[3].input_ids

    def spoil(_module, _arguments, named, output):
        if bench.model.training and contains(named["input_ids"][0], marked):
            output.logits = output.logits * math.nan
        return output

    hook = bench.model.register_forward_hook(spoil, with_kwargs=True)
    found = test_time.adapt(bench.model, bench.start, work, 0, bench.how, own_settings(**GENTLE))
    hook.remove()
    assert [outcome.status for outcome, _ in found] == ["adapted", "adapted", "failed", "adapted"]
    assert found[2][0].reason.startswith("the loss is nan")
    assert found[2][0].steps == 1
    assert torch.equal(found[2][1], bench.start)
    del work[2], found[2]
    assert_as_alone(bench, work, found, **GENTLE)


def contains(ids, part):
    return (ids.unfold(0, len(part), 1) == torch.from_numpy(part)).all(1).any()


def test_tasks_that_need_too_much_memory_together_are_divided(base_model, tokens):
    bench, chosen = side_by_side(base_model, tokens)
    limit = []

    def exhaust(_module, _arguments, named):
        limit.append(named["input_ids"].numel())
        if bench.model.training and limit[-1] > 400:
            raise torch.OutOfMemoryError

    hook = bench.model.register_forward_pre_hook(exhaust, with_kwargs=True)
    found = bench.run_all(chosen, **GENTLE)
    hook.remove()
    assert max(limit) > 400
    assert_as_alone(bench, [(one, bench.data(one, **GENTLE)) for one in chosen], found, **GENTLE)


def test_the_steps_are_those_of_adamw_with_clipped_gradients(base_model, tokens):
    bench = Bench(base_model, tokens, weight_decay=0.1, max_grad_norm=0.05, schedule="linear")
    own = GENTLE | {"steps": 3, "eval_every": 3}
    data = bench.data(ONE, **own)
    [(outcome, found)] = bench.run_all([ONE], **own)
    assert outcome.best_step == 3
    trained = [one for one in bench.model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.005, weight_decay=0.1)
    scheduler = schedule.scheduler(optimizer, bench.how, 3)
    for step in range(3):
        batch = data.samples[2 * step : 2 * step + 2]
        optimizer.zero_grad()
        loss.token_losses(bench.model, batch).mean().backward()
        assert torch.nn.utils.clip_grad_norm_(trained, 0.05) > 0.05
        optimizer.step()
        scheduler.step()
    tolerance.assert_close(found, stacked.weights(bench.model), tolerance.training("float32"))
