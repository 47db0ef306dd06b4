import pytest
import torch

from arcmix.models import pretrained
from arcmix.models.parallel import ONE_RANK
from arcmix.prediction import views
from arcmix.prediction.batching import ResultCache
from arcmix.prediction.prompt_set import PromptSet
from arcmix.prediction.shapes import ROUNDED
from arcmix.prediction.solver import Solver
from tests import predicting, tolerance
from tests.arc import task

TASKS = [task("one", train=2), task("two", train=1, test=2)]
VIEWS = 8
ALL = range(3 * VIEWS)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory, base_model):
    """The prompts of the views of each test."""
    folder = tmp_path_factory.mktemp("adapter")
    predicting.write_adapter(folder, base_model)
    asked = [
        view
        for one in TASKS
        for test in range(len(one.test))
        for view in views.views_of(one, test, VIEWS, 0.0, 0)
    ]
    return PromptSet(folder, asked, predicting.settings(grammar=True))


@pytest.fixture
def solver(tmp_path, base_model, prompts):
    """A function that returns a solver of the prompts; all share one cache by default."""

    def made(model=None, cache="cache", shapes=None, **changes):
        model = pretrained.load(base_model, "float32") if model is None else model
        chosen = predicting.settings(grammar=True, **changes)
        kept = ResultCache(tmp_path / cache, "")
        return Solver(model, prompts, kept, chosen, 0, ONE_RANK, shapes)

    return made


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({"search": "greedy"}, 1),
        ({"search": "sample", "width": 3}, 3),
        ({"search": "beam", "width": 2}, 2),
        # At most 1 / 0.3 branches are above the threshold.
        ({"search": "dfs", "threshold": 0.3}, 3),
    ],
)
def test_a_batch_has_a_row_for_each_branch_of_a_search(prompts, solver, changes, rows):
    numbers = range(4, 8)
    longest = max(len(prompts.prompts[number]) for number in numbers) + prompts.language.budget
    counts = []
    solver(**changes, draft="none", batch_tokens=longest * 4).answer(numbers, counts.append)
    assert counts == [4 // rows] * -(-4 // (4 // rows))


def test_no_views_have_no_answers_and_no_scores(solver):
    one = solver(rescore=2)
    assert one.answer([], lambda _: None) == {}
    assert one.score([], {}) == []


@pytest.mark.parametrize("draft", ["none", "views"])
def test_the_views_that_a_run_with_twice_the_views_adds_are_answered_together(solver, draft):
    counts = []
    found = solver(draft=draft, batch_tokens=10**6).answer(ALL, counts.append)
    assert counts == [3, 3, 6, 12]
    views = [number % VIEWS for number in found]
    assert views == [0] * 3 + [1] * 3 + [2, 3] * 3 + [4, 5, 6, 7] * 3


def test_a_run_with_fewer_views_has_the_same_answers_to_the_last_bit(solver):
    whole = solver(cache="whole", batch_tokens=10**6).answer(ALL, lambda _: None)
    few = [number for number in ALL if number % VIEWS < 4]
    found = solver(cache="few", batch_tokens=10**6).answer(few, lambda _: None)
    assert found == {number: whole[number] for number in found}
    assert len(found) == len(few)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_the_shapes_of_an_accelerator_give_the_same_answers_and_scores_kept_by_family(
    solver, tmp_path, search, static
):
    alone = solver(cache="alone", rescore=2, search=search)
    counts = []
    joined = solver(cache="joined", shapes=ROUNDED, rescore=2, search=search, kv_static=static)
    found, expected = joined.answer(ALL, counts.append), alone.answer(ALL, lambda _: None)
    assert sorted(counts) == [1] * VIEWS + [2] * VIEWS
    assert len([*(tmp_path / "joined").rglob("*.json")]) == 2 * VIEWS
    within = tolerance.forward("float32")
    for number in ALL:
        pairs = [*zip(found[number], expected[number], strict=True)]
        assert [one.tokens for one, _ in pairs] == [one.tokens for _, one in pairs]
        assert [one.logprob for one, _ in pairs] == tolerance.close(
            [one.logprob for _, one in pairs], within
        )
    scores = [one.logprob for one in joined.score(ALL, found)]
    assert scores == tolerance.close([one.logprob for one in alone.score(ALL, expected)], within)
    assert len(scores) > VIEWS


def test_cached_answers_and_scores_are_not_computed_again(base_model, solver):
    broken = pretrained.load(base_model, "float32")
    with torch.no_grad():
        for weight in broken.parameters():
            weight.fill_(torch.nan)
    first, again = solver(rescore=2), solver(broken, rescore=2)
    answers = first.answer(ALL, lambda _: None)
    scores = first.score(ALL, answers)
    assert again.answer(ALL, lambda _: None) == answers
    assert again.score(ALL, answers) == scores
    with pytest.raises(ValueError, match="log-probability of nan"):
        solver(broken, "other").answer(ALL, lambda _: None)


def test_the_leading_grids_of_a_test_are_scored_in_all_views(solver):
    one = solver(rescore=2)
    scores = one.score(ALL, one.answer(ALL, lambda _: None))
    assert scores
    for name, test in (("one", 0), ("two", 0), ("two", 1)):
        own = [score for score in scores if (score.task, score.test) == (name, test)]
        chosen = {score.candidate for score in own}
        assert len(chosen) <= 2
        assert {(score.candidate, score.view) for score in own} == {
            (candidate, view) for candidate in chosen for view in range(VIEWS)
        }
    assert all(score.tokens > 1 and score.logprob < 0 for score in scores)
