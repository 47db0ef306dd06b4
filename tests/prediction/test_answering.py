import pytest

from arcmix.models import adapters, pretrained
from arcmix.prediction import answering, views
from arcmix.prediction.answering import Base
from arcmix.prediction.batching import ResultCache
from arcmix.prediction.prompt_set import PromptSet
from tests import predicting, tolerance
from tests.arc import task
from tests.training.test_trainer import settings

TASKS = [task("one", train=2), task("two", train=1), task("far", train=9)]
SETTINGS = predicting.settings(views=2, grammar=True, rescore=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, base_model):
    """A folder with the adapter of all tasks and the adapter of task `two`."""
    found = tmp_path_factory.mktemp("adapters")
    predicting.write_adapter(found / "adapter", base_model)
    own = adapters.attach(pretrained.load(base_model, "float32"), settings(), 1, [])
    for name, weight in own.named_parameters():
        if "lora_B" in name:
            weight.data.fill_(0.5)
    adapters.save(own, found / "adapted" / "two")
    return found


@pytest.fixture(scope="module")
def prompts(folder):
    asked = [view for one in TASKS for view in views.views_of(one, 0, 2, 0.1, 0)]
    return PromptSet(folder / "adapter", asked, SETTINGS)


@pytest.fixture
def answer(tmp_path, base_model, folder, prompts):
    """A function that returns the answers of all adapters."""

    def found(own, scope="scope", measure=lambda *_: {}, done=lambda _: None):
        groups = answering.groups(
            prompts, folder / "adapter" / "last", folder / "adapted", own, 150
        )
        base = Base(base_model, "float32", "lora")
        cache = ResultCache(tmp_path, scope)
        return answering.answer(base, prompts, groups, cache, SETTINGS, 0, measure, done)

    return found


def test_a_task_is_answered_by_its_own_adapter_and_a_long_prompt_by_none(folder, prompts):
    found = answering.groups(prompts, folder / "last", folder / "adapted", ["two"], 150)
    assert found == {folder / "last": [0, 1], folder / "adapted" / "two": [2, 3]}


def test_the_answers_of_all_adapters_are_returned_and_counted(answer):
    counts = []
    done = answer(["two"], done=counts.append)
    found, scores = done.answers, done.scores
    assert sorted(found) == [0, 1, 2, 3]
    assert sum(counts) == 4
    assert {score.task for score in scores} <= {"one", "two"}


def test_an_adapter_of_a_task_changes_the_answers_to_that_task_alone(answer):
    common, found = answer([]).answers, answer(["two"]).answers
    for number in range(4):
        own, other = ([one.logprob for one in answers[number]] for answers in (found, common))
        # The last bits depend on the other prompts of the batch.
        assert (own == tolerance.close(other, tolerance.forward("float32"))) == (number < 2)


def test_results_are_cached_by_scope_and_adapter(answer, tmp_path):
    def kept():
        return len([*tmp_path.rglob("*.json")])

    answer([])
    first = kept()
    answer([])
    assert kept() == first
    answer(["two"])
    second = kept()
    assert second > first
    answer([], scope="other")
    assert kept() == second + first


def test_each_model_is_measured_on_the_tests_that_it_answers(answer):
    weights = []

    def measure(model, tests):
        weights.append(sum(one.double().sum().item() for one in model.parameters()))
        return {test: float(len(weights)) for test in tests}

    found = answer(["two"], measure=measure)

    assert found.losses == {("one", 0): 1.0, ("two", 0): 2.0}
    assert weights[0] != weights[1]
