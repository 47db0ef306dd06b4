import math

import numpy as np
import pytest

from arcmix.models import pretrained
from arcmix.prediction import rescore
from arcmix.prediction.shapes import EXACT, ROUNDED
from tests import tolerance, transfers
from tests.prediction.test_generate import (
    PROMPTS,
    SMALL,
    WITHIN,
    answer,
    language,
    logprobs,
    queries,
    reference,
    settings,
)


@pytest.fixture(scope="module")
def tiny(base_model):
    return pretrained.load(base_model, "float32")


@pytest.mark.parametrize("shapes", [EXACT, SMALL, ROUNDED], ids=["exact", "small", "rounded"])
@pytest.mark.parametrize("families", [None, ["a", "a", "b"]])
def test_log_probabilities_are_those_of_each_candidate_alone(tiny, families, shapes):
    prompts = PROMPTS[:3]
    candidates = [[PROMPTS[3], PROMPTS[1]], [PROMPTS[5]], [PROMPTS[1], PROMPTS[5], PROMPTS[3][:1]]]
    asked = queries(prompts, families=families)
    found = rescore.logprobs(tiny, asked, candidates, settings(), shapes)
    for prompt, own, scores in zip(prompts, candidates, found, strict=True):
        for candidate, score in zip(own, scores, strict=True):
            steps = [
                float(logprobs(tiny, [*prompt.tolist(), *candidate[:place].tolist()])[token])
                for place, token in enumerate(candidate.tolist())
            ]
            assert score == tolerance.close(math.fsum(steps), WITHIN)


def test_the_score_of_an_answer_is_its_log_probability_in_the_search(tiny):
    end = reference(tiny, PROMPTS[0], -1)[0][4]
    spoken = language(end)
    found = answer(tiny, queries(PROMPTS), spoken)
    ended = [
        (ask, own[0]) for ask, own in zip(queries(PROMPTS), found, strict=True) if own[0].ended
    ]
    scores = rescore.logprobs(
        tiny,
        [ask for ask, _ in ended],
        [[np.array([*one.tokens, end], np.int32)] for _, one in ended],
        settings(),
    )
    assert [score for (score,) in scores] == tolerance.close(
        [one.logprob for _, one in ended], WITHIN
    )


def test_the_transfers_do_not_grow_with_the_candidates(tiny):
    def count(candidates):
        asked = queries(PROMPTS[:1])
        return transfers.counted(lambda: rescore.logprobs(tiny, asked, [candidates], settings()))

    assert count([PROMPTS[1]] * 5) == count([PROMPTS[1]])
