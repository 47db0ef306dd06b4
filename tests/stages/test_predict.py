"""Tests of the files that stage `predict` reads and writes."""

import shutil
import time

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from pandas.testing import assert_frame_equal

from arcmix import files, randomness, tasks
from arcmix.models import adapters, pretrained
from arcmix.prediction import rescore, views
from arcmix.prediction.reading import Query
from arcmix.tasks import Pair
from arcmix.text import prompt, tokenization
from arcmix.text.encode import Encoder
from arcmix.training import corpus
from tests import launching, predicting, tolerance
from tests.arc import task
from tests.training.test_trainer import settings

TASKS = [task("one", train=2), task("two", train=1, test=2), task("far", train=9)]
"""The prompts of the last task are too long."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base_model):
    """An adapter without training, and validation tasks."""
    folder = tmp_path_factory.mktemp("trained")
    predicting.write_adapter(folder / "adapter", base_model)
    files.write_json(folder / "adapted" / "tasks.json", [])
    tasks.write(folder / "validation.parquet", TASKS)
    return folder


@pytest.fixture
def answers(tmp_path, base_model, trained):
    """A function that returns the candidates and the scores."""

    def run(folder="run", **changes):
        target = tmp_path / folder
        predicting.run(target, base_model, trained, trained / "adapted", **changes)
        return tuple(
            pd.read_parquet(target / f"{name}.parquet") for name in ("candidates", "scores")
        )

    return run


WITHIN = tolerance.forward("float32")
GRIDS = {"grammar": True, "rescore": 2}


def test_each_view_of_each_test_has_a_row_also_without_an_answer(answers):
    found, scores = answers()
    assert found[["task", "test", "view"]].to_numpy().tolist() == [
        [name, test, view]
        for name, test in [("one", 0), ("two", 0), ("two", 1), ("far", 0)]
        for view in range(3)
    ]
    far = found[found.task == "far"]
    assert far.grid.isna().all()
    assert far[["rank", "logprob", "tokens", "ended"]].to_numpy().tolist() == [[0, 0, 0, False]] * 3
    assert (found[found.task != "far"].tokens > 0).all()
    assert scores.empty
    assert scores.columns.tolist() == ["task", "test", "candidate", "view", "logprob", "tokens"]


def test_with_a_grammar_all_answers_that_end_are_grids(answers):
    free, _ = answers("free")
    bound, _ = answers("bound", grammar=True)
    assert free.grid.isna().all()  # the model is not trained
    assert bound[bound.ended].grid.notna().all()
    assert bound.ended.any()


@pytest.mark.parametrize(
    ("search", "least"), [("greedy", 1), ("sample", 2), ("beam", 2), ("dfs", 0)]
)
def test_every_search_ranks_its_candidates(answers, search, least):
    found, _ = answers(search=search, threshold=0.01, grammar=True)
    asked = found[found.task != "far"]
    for _, own in asked.groupby(["task", "test", "view"]):
        assert own["rank"].tolist() == [*range(len(own))]
        assert own.logprob.is_monotonic_decreasing
        assert len(own) >= least


def test_twice_the_views_extend_the_answers_which_are_cached(answers, tmp_path):
    def written(folder):
        kept = (tmp_path / folder / "predictions").rglob("*.json")
        return {path.name: path.stat().st_mtime_ns for path in kept}

    few, _ = answers(views=2, grammar=True)
    before = written("run")
    many, _ = answers(views=8, grammar=True)
    assert_frame_equal(many[many.view < 2].reset_index(drop=True), few, check_exact=True)
    assert before.items() <= written("run").items()
    # No answer depends on what the cache held, and the cache holds no batch more.
    alone, _ = answers("other", views=8, grammar=True)
    assert_frame_equal(alone, many, check_exact=True)
    assert written("other").keys() == written("run").keys()


def test_another_way_to_read_the_answers_generates_none_again(answers, tmp_path):
    def read(**changes):
        return answers(views=8, grammar=True, max_side=1, **changes)[0]

    def written():
        return {path.name for path in (tmp_path / "run/predictions").rglob("*.json")}

    strict, before = read(), written()
    lenient = read(parse="lenient")
    assert written() == before
    # Some answers reach the limit of tokens after a whole row.
    assert lenient.grid.notna().sum() > strict.grid.notna().sum()
    assert_frame_equal(
        lenient.drop(columns=["grid", "height", "width"]),
        strict.drop(columns=["grid", "height", "width"]),
        check_exact=True,
    )


@pytest.mark.parametrize(
    "before", [{"views": 3}, {"draft": "none"}, {"batch_tokens": 5000}, {"kv_static": True}]
)
def test_the_results_do_not_depend_on_what_earlier_runs_left_in_the_cache(answers, before):
    many = GRIDS | {"views": 4}
    alone = answers("alone", **many)
    answers("shared", **many | before)
    for table, expected in zip(answers("shared", **many), alone, strict=True):
        assert_frame_equal(table, expected, check_exact=True)


def test_damaged_results_in_the_cache_are_computed_again(answers, tmp_path, caplog):
    whole = answers(**GRIDS)
    paths = sorted((tmp_path / "run/predictions").rglob("*.json"))
    for number, path in enumerate(paths):
        text = path.read_text()
        path.write_text(["", text[: len(text) // 2], text.replace("-", ""), "NaN"][number % 4])
    for table, expected in zip(answers(**GRIDS), whole, strict=True):
        assert_frame_equal(table, expected, check_exact=True)
    assert {*caplog.messages} == {f"{path} is damaged and is not used" for path in paths}


@pytest.mark.parametrize("change", [{"draft": "none"}, {"draft": "copy"}, {"kv_static": True}])
def test_settings_of_speed_change_no_candidate(answers, change):
    plain, plain_scores = answers("plain", **GRIDS)
    other, other_scores = answers("other", **GRIDS, **change)
    tolerance.assert_frames_close(other, plain, WITHIN)
    tolerance.assert_frames_close(other_scores, plain_scores, WITHIN)


def test_batches_change_no_candidate(answers):
    plain, plain_scores = answers("plain", **GRIDS)
    other, other_scores = answers("other", **GRIDS | {"batch_tokens": 5000})
    tolerance.assert_frames_close(other, plain, WITHIN)
    tolerance.assert_frames_close(other_scores, plain_scores, WITHIN)


def test_the_leading_candidates_are_scored_in_all_views(answers):
    found, scores = answers(**GRIDS)
    for name, test in [("one", 0), ("two", 0), ("two", 1)]:
        own = found[(found.task == name) & (found.test == test)].dropna(subset="grid")
        grids = [*dict.fromkeys((row.height, row.width, *row.grid) for row in own.itertuples())]
        mine = scores[(scores.task == name) & (scores.test == test)]
        chosen = sorted(set(mine.candidate))
        assert len(chosen) == min(2, len(grids))
        pairs = mine[["candidate", "view"]].to_numpy().tolist()
        assert sorted(pairs) == [[candidate, view] for candidate in chosen for view in range(3)]
    assert not scores.empty
    assert "far" not in set(scores.task)


def test_a_score_is_the_log_probability_of_the_grid_in_the_view(answers, base_model):
    found, scores = answers(**GRIDS)
    row = scores[scores.view == 2].iloc[0]
    test = found[(found.task == row.task) & (found.test == row.test)].dropna(subset="grid")
    grids = {(one.height, one.width, *one.grid): one for one in test[::-1].itertuples()}
    first = [*grids.values()][::-1]
    first = sorted(first, key=lambda one: one.view)[row.candidate]
    grid = np.array(first.grid, np.uint8).reshape(first.height, first.width)
    (asked_task,) = [one for one in TASKS if one.id == row.task]
    tokenizer = pretrained.load_tokenizer(base_model)
    style = tokenization.style(tokenizer, "bare", Encoder(("minimal",)), "answer")
    view = views.views_of(asked_task, row.test, 3, 0.1, 0)[2]
    turned = [
        Pair(view.transform.apply(pair.input), view.transform.apply(pair.output))
        for pair in (asked_task.train[number] for number in view.order)
    ]
    test_input = view.transform.apply(asked_task.test[row.test].input)
    (asked,) = tokenization.tokenize(tokenizer, [prompt.render(style, turned, test_input, None)])
    answer = prompt.Text("", prompt.answer(style, view.transform.apply(grid)), ())
    (written,) = tokenization.tokenize(tokenizer, [answer])
    ((expected,),) = rescore.logprobs(
        pretrained.load(base_model, "float32"),
        [Query(asked.input_ids, np.zeros(0, np.int32), 0, "")],
        [[written.input_ids]],
        predicting.settings(),
    )
    assert row.logprob == tolerance.close(expected, WITHIN)
    assert row.tokens == len(written.input_ids)


def test_a_run_killed_at_random_three_times_has_the_bytes_of_a_whole_one(
    tmp_path, base_model, trained, answers
):
    places = predicting.paths(tmp_path / "killed", base_model, trained, trained / "adapted")
    many = {"views": 40, "draft": "copy", "batch_tokens": 300, "grammar": True, "rescore": 2}

    def start():
        return predicting.start(places, tmp_path, launching.ONE, **many)

    def kept():
        return {path: path.stat().st_mtime_ns for path in places["predictions"].rglob("*.json")}

    seen = {}
    for kill in range(3):
        process = start()
        wait = len(seen) + 2 + int(randomness.words(0, "kill", kill, 1, 1)[0, 0] % 9)
        while len(kept()) < wait:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        launching.kill(process)
        assert seen.items() <= kept().items()
        seen = kept()
    launching.finish(start())

    answers("whole", **many)
    whole = tmp_path / "whole"
    names = {path.name for path in (whole / "predictions").rglob("*.json")}
    assert len(seen) < len(names)
    # No batch is computed twice, and none is computed in another way.
    assert seen.items() <= kept().items()
    assert {path.name for path in kept()} == names
    for name in ("candidates", "scores"):
        assert places[name].read_bytes() == (whole / f"{name}.parquet").read_bytes()


@pytest.fixture
def own(tmp_path, base_model):
    """A function that writes adapters of some tasks, with other weights than the common one."""

    def attached(*names):
        folder = tmp_path / "adapted"
        files.write_json(folder / "tasks.json", [*names])
        for number, name in enumerate(names, start=1):
            base = pretrained.load(base_model, "float32")
            one = adapters.attach(base, settings(), number, [])
            for weight_name, weight in one.named_parameters():
                if "lora_B" in weight_name:
                    weight.data.fill_(0.5)
            adapters.save(one, folder / name)
        return folder

    return attached


# The processes share the prompts of one adapter, or the adapters. A batch is computed in the same
# way in every process.
@pytest.mark.parametrize("names", [[], ["two", "one"]])
def test_two_processes_write_the_bytes_of_one(tmp_path, base_model, trained, own, names):
    adapted = own(*names)
    written = []
    for number, launch in enumerate([launching.ONE, launching.TWO]):
        folder = tmp_path / str(number)
        places = predicting.paths(folder, base_model, trained, adapted)
        launching.finish(predicting.start(places, folder, launch, **GRIDS, batch_tokens=300))
        written.append([places[name].read_bytes() for name in ("candidates", "scores", "losses")])
    assert written[0] == written[1]


def test_a_task_is_answered_with_its_own_adapter(tmp_path, base_model, trained, answers, own):
    plain, _ = answers(grammar=True)
    predicting.run(tmp_path / "own", base_model, trained, own("one"), grammar=True)
    found = pd.read_parquet(tmp_path / "own" / "candidates.parquet")
    one, other = (table[table.task == "one"] for table in (found, plain))
    assert (one.logprob != other.logprob).all()
    rest, expected = (table.query("task != 'one'") for table in (found, plain))
    tolerance.assert_frames_close(rest, expected, WITHIN)


def test_the_losses_are_those_of_the_models_that_answer(tmp_path, base_model, trained, own):
    adapted = own("one")
    predicting.run(tmp_path, base_model, trained, adapted)

    tokenizer, style = adapters.load_text(trained / "adapter", "answer")
    known = corpus.validation_prompts(TASKS, tokenizer, style, 150)
    expected = {}
    for folder, names in ((trained / "adapter" / "last", ["two"]), (adapted / "one", ["one"])):
        base = pretrained.load(base_model, "float32")
        model = adapters.resume(base, folder, settings(), 0, [])
        tests = [test for test in known.tests if test[0] in names]
        expected |= known.losses(model, tests, settings())
    found = pd.read_parquet(tmp_path / "answering-losses.parquet")
    assert [*zip(found.task, found.test, strict=True)] == [("one", 0), ("two", 0), ("two", 1)]
    assert found.nll.to_list() == pytest.approx([expected[test] for test in known.tests])
    assert found.tokens.to_list() == known.tokens


def test_an_adapter_without_weights_is_refused(tmp_path, base_model, trained):
    shutil.copytree(trained, tmp_path / "trained")
    weights = tmp_path / "trained" / "adapter" / "last" / "adapter_model.safetensors"
    safetensors.numpy.save_file({}, weights)
    with pytest.raises(
        ValueError, match=f"the fine-tune in {weights.parent} are wrong: 28 missing"
    ):
        predicting.run(tmp_path, base_model, tmp_path / "trained", trained / "adapted")
