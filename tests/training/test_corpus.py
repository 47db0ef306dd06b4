import dataclasses
import functools
import logging

import numpy as np
import pytest

from arcmix.models import fetch
from arcmix.sampling import augment, sample_table
from arcmix.text import fastpath, prompt, tokenization
from arcmix.text.encode import Encoder
from arcmix.training import corpus
from tests.arc import task
from tests.sampling.test_augment import make
from tests.training.test_trainer import settings

TOKENIZER = fetch.character_tokenizer()
STYLE = tokenization.style(TOKENIZER, "bare", Encoder(("minimal",)), "answer")
SHORT, LONG = task("short", train=2), task("long", train=9)


def samples(count=10):
    """Return short and long samples, mixed."""
    return augment.draw(augment.pool([SHORT, LONG]), np.arange(2), make(), 0, 0, count)


def load(tmp_path, count=10, **changes):
    sample_table.write(tmp_path / "samples.parquet", [samples(count)])
    how = settings(max_tokens=150, **changes)
    return corpus.load(tmp_path / "samples.parquet", TOKENIZER, STYLE, how)


def ids(examples):
    return [one.input_ids.tolist() for one in examples]


def test_the_corpus_holds_the_samples_that_are_short_enough_with_their_entries(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    found = load(tmp_path)
    whole = samples()
    short = whole.entries == 0
    assert found.entries.tolist() == [0] * 5
    assert ids(found.examples) == ids(
        fastpath.as_texts(TOKENIZER, STYLE, sample_table.select(whole, short))
    )
    assert "5 training samples of at most 150 tokens among the first 10" in caplog.messages


def test_a_budget_of_0_takes_no_samples_and_says_why(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    found = load(tmp_path, budget=0)
    assert found.examples == []
    assert len(found.entries) == 0
    assert caplog.messages == ["no training samples, because the budget is 0"]


def test_the_corpus_holds_shortened_samples(tmp_path):
    found = load(tmp_path, too_long="shorten")
    assert found.entries.tolist() == samples().entries.tolist()
    assert max(len(one.input_ids) for one in found.examples) <= 150


def test_the_corpus_stops_reading_when_the_budget_is_reached(tmp_path):
    found = load(tmp_path, count=2 * corpus.CHUNK, budget=3, batch=2)
    assert len(found.examples) == len(found.entries) == 6
    assert found.read == corpus.CHUNK


def test_a_budget_of_tokens_takes_the_fewest_samples_that_reach_it(tmp_path):
    [answer] = {one.trained_tokens for one in load(tmp_path).examples}
    found = load(tmp_path, unit="answer_tokens", budget=2 * answer + 1, batch=1)
    assert len(found.examples) == 3


def fitting(**changes):
    tokenize = functools.partial(fastpath.as_texts, TOKENIZER, STYLE)
    return dict(corpus.fitting(tokenize, samples(), settings(**changes)))


def test_samples_that_fit_have_their_indices_in_the_chunk():
    found = fitting(max_tokens=150)
    assert [*found] == np.flatnonzero(samples().entries == 0).tolist()
    assert [*fitting(max_tokens=1000)] == [*range(10)]
    assert [*fitting(max_tokens=10)] == []


def test_a_sample_too_long_with_one_demonstration_does_not_fit():
    assert [*fitting(max_tokens=10, too_long="shorten")] == []


@pytest.mark.parametrize("loss", prompt.LOSSES)
def test_the_validation_prompts_are_the_short_tests_and_only_answers_carry_loss(loss):
    style = dataclasses.replace(STYLE, loss=loss)
    two = task("two", train=2, test=2)
    found = corpus.validation_prompts([two, LONG, SHORT], TOKENIZER, style, 150)
    assert found.tests == [("two", 0), ("two", 1), ("short", 0)]
    texts = [
        prompt.render(STYLE, one.train, one.test[number].input, one.test[number].output)
        for one, number in ((two, 0), (two, 1), (SHORT, 0))
    ]
    assert ids(found.examples) == ids(tokenization.tokenize(TOKENIZER, texts))
    outputs = [two.test[0].output, two.test[1].output, SHORT.test[0].output]
    assert found.tokens == [grid.size + grid.shape[0] for grid in outputs]
