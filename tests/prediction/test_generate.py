import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from arcmix.models import pretrained
from arcmix.prediction import generate
from arcmix.prediction.language import Language, spellings
from arcmix.prediction.reading import Query
from arcmix.prediction.shapes import EXACT, ROUNDED, Shapes
from tests import predicting, tolerance, transfers

NONE = np.zeros(0, np.int32)
SMALL = Shapes(rows=4, tokens=4, slots=8, at_once=200, joins=True)
"""Steps that the prompts of these tests exceed, some of which share a pass."""
WITHIN = tolerance.forward("float32")
CLEAR = 0.001
"""Log-probabilities that differ by more have the same order on every processor."""

PROMPTS = [
    np.random.default_rng(seed).integers(4, 100, length).astype(np.int32)
    for seed, length in enumerate([30, 3, 71, 12, 44, 9])
]


@pytest.fixture(scope="module")
def tiny(base_model):
    return pretrained.load(base_model, "float32")


@pytest.fixture(scope="module")
def end(tiny):
    """A token that the model generates after some prompts, and not after others."""
    return reference(tiny, PROMPTS[0], -1)[0][4]


def settings(**changes):
    return predicting.settings(**{"width": 3, "threshold": 0.002} | changes)


def language(end, budget=12, grammar=None, texts=None):
    return Language(end, budget, grammar, texts or {})


def queries(prompts, drafts=None, families=None):
    return [
        Query(
            prompt,
            NONE if drafts is None else np.array(drafts[place], np.int32),
            place if families is None else families[place],
            f"answer/{place}",
        )
        for place, prompt in enumerate(prompts)
    ]


def answer(tiny, asked, spoken, batch=6, most=0, **changes):
    """Return the answers to all queries, in units of `batch`; with `most` 0, one after another."""
    units = [asked[start : start + batch] for start in range(0, len(asked), batch)]
    found = dict(generate.answers(tiny, units, spoken, settings(**changes), 0, most))
    return [answers for _, own in sorted(found.items()) for answers in own]


def logprobs(tiny, ids):
    with torch.no_grad():
        return torch.log_softmax(tiny(input_ids=torch.tensor([ids])).logits[0, -1], dim=-1)


def reference(tiny, prompt, end, budget=12):
    """Return tokens, log-probability and end of greedy search, each token from the whole text."""
    ids, logprob = prompt.tolist(), 0.0
    for _ in range(budget):
        scores = logprobs(tiny, ids)
        (best, second), (token, _) = (values.tolist() for values in scores.topk(2))
        assert best - second > CLEAR
        logprob += float(scores[token])
        if token == end:
            return tuple(ids[len(prompt) :]), logprob, True
        ids.append(token)
    return tuple(ids[len(prompt) :]), logprob, False


def assert_same(found, tiny, end, prompts=PROMPTS):
    for prompt, (one,) in zip(prompts, found, strict=True):
        tokens, logprob, ended = reference(tiny, prompt, end)
        assert (one.tokens, one.ended) == (tokens, ended)
        assert one.logprob == tolerance.close(logprob, WITHIN)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 4, 6])
def test_greedy_answers_are_those_of_a_plain_loop_in_any_batch(tiny, end, batch, static):
    found = answer(tiny, queries(PROMPTS), language(end), batch, kv_static=static)
    assert_same(found, tiny, end)
    assert {one.ended for (one,) in found} == {True, False}


@pytest.mark.parametrize("spoiled", [None, 0, 1, 5])
def test_a_draft_with_a_wrong_token_changes_no_answer(tiny, end, spoiled):
    drafts = []
    for prompt in PROMPTS:
        tokens, _, ended = reference(tiny, prompt, end)
        draft = [*tokens, *[end] * ended]
        if spoiled is not None:
            draft[spoiled % len(draft)] = 7
        drafts.append([*draft, 8, 9])
    assert_same(answer(tiny, queries(PROMPTS, drafts), language(end)), tiny, end)


@pytest.mark.parametrize("grammar", [False, True])
@pytest.mark.parametrize("search", ["greedy", "sample", "beam", "dfs"])
def test_the_transfers_of_a_pass_do_not_grow_with_the_rows(tiny, base_model, search, grammar):
    texts = spellings(pretrained.load_tokenizer(base_model), str.isalpha)
    drafts = [[5, 6, 7, 8] * 10] * 5

    def of_a_pass(rows):
        asked = queries([PROMPTS[0]] * rows, drafts[:rows], families=["a"] * rows)

        def count(budget):
            spoken = language(-1, budget, Even() if grammar else None, texts)
            given = {"search": search, "threshold": 1e-4}
            return transfers.counted(lambda: answer(tiny, asked, spoken, **given))

        return count(9) - count(5)

    few, many = of_a_pass(1), of_a_pass(5)
    assert few > 0
    assert many == few


def test_a_draft_of_another_length_changes_no_answer(tiny, end):
    drafts = [[5] * 40, [], [6], [7] * 3, [8] * 90, [9] * 12]
    assert_same(answer(tiny, queries(PROMPTS, drafts), language(end)), tiny, end)


@pytest.fixture
def passes(tiny):
    """The shapes of the token ids that the model reads, one for each forward pass."""
    found = []
    hook = tiny.register_forward_pre_hook(
        lambda *given: found.append(tuple(given[-1]["input_ids"].shape)), with_kwargs=True
    )
    yield found
    hook.remove()


def test_a_right_draft_takes_fewer_passes(tiny, passes):
    spoken = language(-1, budget=40)
    drafts = [reference(tiny, prompt, -1, 40)[0] for prompt in PROMPTS]
    passes.clear()
    answer(tiny, queries(PROMPTS), spoken)
    plain = len(passes)
    answer(tiny, queries(PROMPTS, drafts), spoken)
    assert (plain, len(passes) - plain) == (len(PROMPTS) + 39, len(PROMPTS) + 4)


def test_few_tokens_of_a_wrong_draft_are_read(tiny, passes):
    answer(tiny, queries(PROMPTS), language(-1, budget=40))
    plain = sum(map(math.prod, passes))
    passes.clear()
    answer(tiny, queries(PROMPTS, [[7] * 60] * len(PROMPTS)), language(-1, budget=40))
    assert plain < sum(map(math.prod, passes)) < plain + 20 * len(PROMPTS)


def test_rejected_drafts_change_no_long_answer(tiny):
    drafts = [[5, 6, 7, 8] * 40 for _ in PROMPTS]
    found = answer(tiny, queries(PROMPTS, drafts), language(-1, budget=150))
    plain = answer(tiny, queries(PROMPTS), language(-1, budget=150))
    assert [one.tokens for (one,) in found] == [one.tokens for (one,) in plain]


def test_the_common_prefix_of_a_family_is_read_once(tiny, end, passes):
    begin = PROMPTS[2]
    prompts = [np.concatenate([begin, tail]) for tail in PROMPTS[3:]] + [PROMPTS[0]]
    asked = queries(prompts, families=["a", "a", "a", "b"])
    found = answer(tiny, asked, language(end))
    # A CPU reads one family after another.
    tails = (3, max(map(len, PROMPTS[3:])))
    assert passes[:3] == [(1, len(begin)), tails, (1, len(PROMPTS[0]))]
    assert_same(found, tiny, end, prompts)


def test_a_draft_changes_no_answer_in_a_family(tiny, end):
    prompts = [np.concatenate([PROMPTS[2], tail]) for tail in PROMPTS[3:]] + PROMPTS[:2]
    asked = [reference(tiny, prompt, end)[0] for prompt in prompts]
    drafts = [[*tokens[:place], 7, 8] for place, tokens in enumerate(asked)]
    families = ["a", "a", "a", "b", "c"]
    assert_same(answer(tiny, queries(prompts, drafts, families), language(end)), tiny, end, prompts)


FAMILIES = [np.concatenate([PROMPTS[2], tail]) for tail in PROMPTS[3:]] + PROMPTS * 2
KINDS = ["a", "a", "a", *range(2 * len(PROMPTS))]


@pytest.mark.parametrize(
    ("most", "draft", "shapes", "static"),
    [
        (1, False, EXACT, False),
        (4, False, EXACT, False),
        (3, True, EXACT, True),
        (8, True, SMALL, False),
        (8, True, SMALL, True),
        (100, False, SMALL, False),
        (8, True, ROUNDED, True),
        (100, True, ROUNDED, False),
    ],
)
def test_prompts_that_take_the_rows_of_complete_answers_have_the_same_answers(
    tiny, end, most, draft, shapes, static
):
    drafts = [
        [*reference(tiny, prompt, end)[0][: place % 7], 7, 8]
        for place, prompt in enumerate(FAMILIES)
    ]
    asked = queries(FAMILIES, drafts if draft else None, KINDS)
    units = [asked[:3], *([one] for one in asked[3:])]
    given = settings(kv_static=static)
    found = dict(generate.answers(tiny, units, language(end), given, 0, most, shapes))
    assert_same([one for _, own in sorted(found.items()) for one in own], tiny, end, FAMILIES)


@pytest.mark.parametrize("search", ["sample", "beam", "dfs"])
def test_every_search_has_the_same_answers_beside_any_others(tiny, end, search):
    asked, spoken = queries(PROMPTS * 2), language(end, budget=6)
    alone = answer(tiny, asked, spoken, 1, search=search)
    beside = answer(tiny, asked, spoken, 1, 8, search=search, threshold=0.002)
    assert [[one.tokens for one in own] for own in beside] == [
        [one.tokens for one in own] for own in alone
    ]


def test_no_more_rows_than_the_limit_are_in_progress_and_a_quarter_is_free_before_it_is_filled(
    tiny, end, passes
):
    answer(tiny, queries(PROMPTS * 4), language(end), 1, 4)
    rows = [rows for rows, tokens in passes if tokens == 1]
    assert max(rows) == 4
    # Only the end of the queue, of 12 tokens at most, has fewer rows.
    assert sum(count < 3 for count in rows) < 12
    passes.clear()
    answer(tiny, queries(PROMPTS * 4), language(end), 4)
    assert sum(count < 3 for count, tokens in passes if tokens == 1) > 12


def test_the_answers_to_a_unit_are_there_before_those_to_a_later_one(tiny, end, passes):
    found = generate.answers(
        tiny, [[one] for one in queries(PROMPTS * 4)], language(end), settings(), 0, 4
    )
    seen = [(number, len(passes)) for number, _ in found]
    assert sorted(number for number, _ in seen) == [*range(24)]
    assert seen[0][1] < len(passes) / 3


def test_a_model_without_finite_logits_is_refused(base_model):
    broken = pretrained.load(base_model, "float32")
    with torch.no_grad():
        broken.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="log-probability of nan after 0 tokens"):
        answer(broken, queries(PROMPTS), language(3))


@pytest.mark.parametrize("search", ["beam", "sample"])
def test_sampling_and_beam_search_do_not_depend_on_the_batch(tiny, end, search):
    spoken = language(end, budget=6)
    whole = answer(tiny, queries(PROMPTS), spoken, search=search)
    parts = answer(tiny, queries(PROMPTS), spoken, 2, search=search)
    assert [[one.tokens for one in own] for own in whole] == [
        [one.tokens for one in own] for own in parts
    ]


def test_a_beam_of_width_one_is_greedy_search(tiny, end):
    assert_same(answer(tiny, queries(PROMPTS), language(end), search="beam", width=1), tiny, end)


def test_a_beam_returns_distinct_answers_by_descending_log_probability(tiny, end):
    found = answer(tiny, queries(PROMPTS[:2]), language(end, budget=5), search="beam", width=4)
    for prompt, own in zip(PROMPTS, found, strict=False):
        assert len({one.tokens for one in own}) == len(own) == 4
        assert own == sorted(own, key=lambda one: -one.logprob)
        for one in own:
            generated = [*one.tokens, *[end] * one.ended]
            steps = [
                float(logprobs(tiny, [*prompt.tolist(), *generated[:place]])[token])
                for place, token in enumerate(generated)
            ]
            assert one.logprob == tolerance.close(sum(steps), WITHIN)
        greedy = reference(tiny, prompt, end, 5)
        assert own[0].logprob >= greedy[1] * (1 + WITHIN)


def depth_first(tiny, prompt, end, budget, floor):
    """Return the answers of the textbook algorithm, which follows one branch to its end."""

    def walk(tokens, logprob):
        if len(tokens) == budget:
            return
        scores = logprobs(tiny, [*prompt.tolist(), *tokens])
        assert (scores + logprob - floor).abs().min() > CLEAR
        for token in (scores + logprob >= floor).nonzero()[:, 0].tolist():
            if token == end:
                yield tuple(tokens), logprob + float(scores[token])
            else:
                yield from walk([*tokens, token], logprob + float(scores[token]))

    return dict(walk([], 0.0))


def test_depth_first_search_finds_all_answers_above_the_threshold_and_no_other(tiny, end):
    # Some answers are 0.8 % above or below the threshold, and none is within 0.1 % of it.
    threshold = 0.0014
    spoken = language(end, budget=6)
    found = answer(tiny, queries(PROMPTS), spoken, search="dfs", threshold=threshold)
    assert sum(map(len, found)) > len(PROMPTS)
    for prompt, own in zip(PROMPTS, found, strict=True):
        expected = depth_first(tiny, prompt, end, 6, math.log(threshold))
        assert {one.tokens: one.logprob for one in own} == tolerance.close(expected, WITHIN)
        assert all(one.ended for one in own)
        assert own == sorted(own, key=lambda one: -one.logprob)


def test_a_larger_width_extends_the_samples_of_a_smaller_one(tiny, end):
    two = answer(tiny, queries(PROMPTS), language(end), search="sample", width=2)
    five = answer(tiny, queries(PROMPTS), language(end), search="sample", width=5)
    for few, many in zip(two, five, strict=True):
        assert {one.tokens for one in few} < {one.tokens for one in many}


def test_a_temperature_near_zero_is_greedy_search(tiny, end):
    cold = {"search": "sample", "width": 1, "temperature": 1e-4}
    assert_same(answer(tiny, queries(PROMPTS), language(end), **cold), tiny, end)


def test_the_frequencies_of_samples_are_their_probabilities(tiny):
    (own,) = answer(tiny, queries(PROMPTS[:1]), language(-1, budget=1), search="sample", width=2000)
    expected = logprobs(tiny, PROMPTS[0].tolist()).exp().numpy()
    counts = np.bincount([one.tokens[0] for one in own], minlength=len(expected)) / 2000
    assert np.abs(counts - expected).max() < 0.04


@pytest.mark.parametrize("format_", ["int8", "int4", "fp8_e5m2", "fp8_e4m3"])
def test_a_draft_changes_no_answer_with_a_rounded_cache(tiny, end, format_):
    drafts = [reference(tiny, prompt, end)[0] for prompt in PROMPTS]
    asked = language(end)
    plain = answer(tiny, queries(PROMPTS), asked, kv_format=format_)
    drafted = answer(tiny, queries(PROMPTS, drafts), asked, kv_format=format_)
    alone = answer(tiny, queries(PROMPTS), asked, 1, kv_format=format_)
    tokens = [[one.tokens for (one,) in found] for found in (plain, drafted, alone)]
    assert tokens[0] == tokens[1] == tokens[2]
    exact = answer(tiny, queries(PROMPTS), asked)
    assert [one.logprob for (one,) in plain] != [one.logprob for (one,) in exact]


class Even:
    """A grammar of an even number of letters, without equal neighbors."""

    start = ""

    def advance(self, state, text):
        return state + text if text.isalpha() and not state.endswith(text) else None

    def complete(self, state):
        return len(state) % 2 == 0 and state != ""


EVERYTHING = SimpleNamespace(start="", advance=lambda state, _: state, complete=lambda _: True)


@pytest.mark.parametrize("search", ["greedy", "sample", "beam", "dfs"])
def test_every_search_obeys_a_grammar(tiny, end, base_model, search):
    texts = spellings(pretrained.load_tokenizer(base_model), str.isalpha)
    spoken = language(end, 8, Even(), texts)
    found = answer(tiny, queries(PROMPTS), spoken, search=search, threshold=1e-4)
    generated = ["".join(texts[token][1] for token in one.tokens) for own in found for one in own]
    assert generated
    assert all(text.isalpha() for text in generated)
    assert all(a != b for text in generated for a, b in itertools.pairwise(text))
    assert all(len(one.tokens) % 2 == 0 for own in found for one in own if one.ended)


def test_a_grammar_that_allows_every_token_changes_no_answer(tiny, end, base_model):
    texts = spellings(pretrained.load_tokenizer(base_model), lambda _: True)
    found = answer(tiny, queries(PROMPTS), language(end, 12, EVERYTHING, texts))
    assert_same(found, tiny, end)


@pytest.mark.parametrize("search", ["greedy", "sample", "beam", "dfs"])
def test_embeddings_without_a_token_are_not_allowed(base_model, end, search):
    padded = pretrained.load(base_model, "float32")
    padded.resize_token_embeddings(padded.config.vocab_size + 28, mean_resizing=False)
    padded.set_output_embeddings(torch.nn.Linear(padded.config.hidden_size, 128, bias=False))
    texts = spellings(pretrained.load_tokenizer(base_model), str.isalpha)
    spoken = language(end, 8, Even(), texts)
    found = answer(padded, queries(PROMPTS), spoken, search=search, threshold=1e-4)
    assert {token for own in found for one in own for token in one.tokens} <= texts.keys()


def test_a_token_without_text_is_allowed_only_as_the_first(tiny, end, base_model):
    texts = spellings(pretrained.load_tokenizer(base_model), lambda _: True)
    plain = answer(tiny, queries(PROMPTS), language(end))
    for number, (one,) in enumerate(plain):
        first, *later = one.tokens
        spoken = language(end, 12, EVERYTHING, texts | {first: ("", "")})
        ((found,),) = answer(tiny, queries(PROMPTS)[number : number + 1], spoken)
        assert found.tokens[0] == first
        assert first not in found.tokens[1:]
        assert (found.tokens == one.tokens) == (first not in later)


def test_a_vocabulary_without_an_allowed_token_is_refused(tiny, end):
    spoken = language(end, 8, Even(), {5: ("1", "1")})
    with pytest.raises(
        ValueError,
        match=r"no token of the vocabulary continues .* after 0 tokens; .* set predict.grammar",
    ):
        answer(tiny, queries(PROMPTS), spoken)
