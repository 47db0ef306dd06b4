import numpy as np
import pytest
import torch

from arcmix import generate, model


@pytest.fixture(scope="module")
def tiny(base_model):
    return model.load(base_model, "float32")


@pytest.fixture(scope="module")
def end(tiny):
    """A token that the model comes to say after some prompts, and not after others."""
    return greedy(tiny, PROMPTS[:1], end=-1, batch=1)[0].tokens[4]


PROMPTS = [
    np.random.default_rng(seed).integers(4, 100, length).tolist()
    for seed, length in enumerate([30, 3, 71, 12, 44, 9])
]


def greedy(tiny, prompts, *, end, batch, budget=12):
    return generate.greedy(tiny, prompts, end=end, budget=budget, batch=batch, done=lambda _: None)


def reference(tiny, prompt, end, budget=12):
    """Recompute the whole text for each token."""
    ids, logprob = list(prompt), 0.0
    for _ in range(budget):
        with torch.no_grad():
            scores = torch.log_softmax(tiny(input_ids=torch.tensor([ids])).logits[0, -1], dim=-1)
        token = int(scores.argmax())
        logprob += float(scores[token])
        if token == end:
            return tuple(ids[len(prompt) :]), logprob, True
        ids.append(token)
    return tuple(ids[len(prompt) :]), logprob, False


@pytest.mark.parametrize("batch", [1, 2, 4, 6])
def test_the_answers_are_those_of_a_plain_loop_whatever_the_batch(tiny, end, batch):
    for prompt, answer in zip(PROMPTS, greedy(tiny, PROMPTS, end=end, batch=batch), strict=True):
        tokens, logprob, ended = reference(tiny, prompt, end)
        assert (answer.tokens, answer.ended) == (tokens, ended)
        assert answer.logprob == pytest.approx(logprob, abs=1e-3)


def test_some_answers_end_and_some_use_up_the_budget(tiny, end):
    answers = greedy(tiny, PROMPTS, end=end, batch=3)
    assert {answer.ended for answer in answers} == {True, False}
    assert all(len(answer.tokens) == 12 for answer in answers if not answer.ended)


def test_a_model_without_finite_logits_is_refused(base_model):
    broken = model.load(base_model, "float32")
    with torch.no_grad():
        broken.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="log-probability of nan after 0 tokens"):
        greedy(broken, PROMPTS, end=3, batch=2)
