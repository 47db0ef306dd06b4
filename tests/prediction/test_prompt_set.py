import numpy as np
import pytest

from arcmix.models import pretrained
from arcmix.prediction import prompt_set, views
from arcmix.prediction.search import Answer
from arcmix.prediction.selection import Candidate
from arcmix.tasks import Pair, Task
from tests import predicting
from tests.arc import task

TEST = (Pair(np.ones((1, 40), np.uint8), np.zeros((1, 40), np.uint8)),)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, base_model):
    """An adapter folder whose text format is bare minimal grids."""
    folder = tmp_path_factory.mktemp("adapter")
    predicting.write_adapter(folder, base_model)
    return folder


@pytest.fixture
def of_views(adapter):
    """A function that returns the prompt set of views."""

    def made(asked, **changes):
        return prompt_set.PromptSet(adapter, asked, predicting.settings(**changes))

    return made


def text(grid):
    """Return the text of a grid in the encoder `minimal`."""
    return "\n".join("".join(map(str, row)) for row in grid.tolist())


def answered(prompts, grid):
    """Return an answer with the tokens of a grid."""
    [tokens] = prompts.answer_tokens([grid])
    return Answer(tuple(tokens.tolist()[:-1]), -1.5, ended=True)


def test_a_prompt_shows_demonstrations_and_test_input_in_the_transform_of_its_view(
    of_views, base_model
):
    whole = task(train=3, test=2)
    asked = views.views_of(whole, 1, 9, 0.5, 0)
    prompts = of_views(asked)
    tokenizer = pretrained.load_tokenizer(base_model)
    for view, ids in zip(asked, prompts.prompts, strict=True):
        shown = [grid for n in view.order for grid in (whole.train[n].input, whole.train[n].output)]
        shown.append(whole.test[1].input)
        decoded = str(tokenizer.decode(ids))
        places = [decoded.find(text(view.transform.apply(grid))) for grid in shown]
        assert -1 not in places
        assert text(view.transform.apply(whole.test[1].output)) not in decoded


def test_an_answer_is_a_candidate_with_the_transform_of_its_view_inverted(of_views):
    whole = task()
    prompts = of_views(views.views_of(whole, 0, 9, 0.5, 0))
    truth = whole.test[0].output
    for number, view in enumerate(prompts.views):
        given = answered(prompts, view.transform.apply(truth))
        [found] = prompts.candidates(number, [given])
        np.testing.assert_array_equal(found.grid, truth)
        assert (found.logprob, found.ended) == (-1.5, True)
        # The end token is one of the tokens.
        assert found.tokens == len(given.tokens) + 1


def test_an_answer_without_a_grid_or_without_its_end_is_a_candidate_without_a_grid(of_views):
    prompts = of_views(views.views_of(task(), 0, 1, 0.5, 0))
    whole = answered(prompts, task().test[0].output)
    empty = Answer((), -2.0, ended=True)
    cut = Answer(whole.tokens, -3.0, ended=False)
    assert prompts.candidates(0, [empty, cut]) == [
        Candidate(None, -2.0, 1, ended=True),
        Candidate(None, -3.0, len(whole.tokens), ended=False),
    ]


def test_a_lenient_set_reads_a_grid_without_its_end(of_views):
    prompts = of_views(views.views_of(task(), 0, 1, 0.5, 0), parse="lenient")
    whole = answered(prompts, task().test[0].output)
    [found, none] = prompts.candidates(
        0, [Answer(whole.tokens, -3.0, ended=False), Answer((), -2.0, ended=True)]
    )
    np.testing.assert_array_equal(found.grid, task().test[0].output)
    assert (found.tokens, found.ended) == (len(whole.tokens), False)
    assert none == Candidate(None, -2.0, 1, ended=True)


def test_a_view_without_answers_has_a_candidate_without_a_grid(of_views):
    prompts = of_views(views.views_of(task(), 0, 1, 0.5, 0))
    assert prompts.candidates(0, []) == [Candidate(None, 0.0, 0, ended=False)]


def test_the_budget_holds_the_largest_grid_and_its_end(of_views):
    for side in (4, 7):
        prompts = of_views(views.views_of(task(), 0, 1, 0.5, 0), max_side=side)
        [tokens] = prompts.answer_tokens([np.zeros((side, side), np.uint8)])
        assert len(tokens) <= prompts.language.budget
        assert tokens[-1] == prompts.language.end


def test_only_a_grammar_limits_the_tokens_of_an_answer(of_views):
    asked = views.views_of(task(), 0, 1, 0.5, 0)
    free, bound = (of_views(asked, grammar=grammar).language for grammar in (False, True))
    assert (free.grammar, free.texts) == (None, {})
    assert bound.grammar is not None
    assert {"7", "\n"} <= {later for _, later in bound.texts.values()}


def test_a_side_of_an_answer_may_be_as_long_as_the_longest_grid_of_all_prompts(of_views):
    wide, wider = np.zeros((1, 50), np.uint8), np.zeros((1, 51), np.uint8)
    asked = [
        view
        for one in (task("one", train=2), Task("w", "1d", "all", 0, (Pair(wide, wide),) * 2, TEST))
        for view in views.views_of(one, 0, 2, 0.0, 0)
    ]

    def found(numbers):
        prompts = of_views([asked[number] for number in numbers])
        last = asked[numbers[-1]].transform
        answers = [answered(prompts, last.apply(grid)) for grid in (wide, wider)]
        return [one.grid for one in prompts.candidates(len(numbers) - 1, answers)]

    for number in (2, 3):
        taken, refused = found([0, number])
        np.testing.assert_array_equal(taken, wide)
        assert refused is None
    assert found([0]) == [None, None]
