"""The candidates of views and their scores, from files to files."""

import sys

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from arcmix import files, randomness, tasks
from arcmix.models import adapters, pretrained
from arcmix.models.parallel import ONE_RANK
from arcmix.prediction import batching, rescore, solver, views
from arcmix.prediction.generate import Answer, Query
from arcmix.tasks import Pair, Task
from arcmix.text import prompt, tokenization
from arcmix.text.encode import Encoder
from tests import predicting
from tests.arc import task
from tests.models.test_adapters import lora
from tests.training.test_trainer import settings

TASKS = [task("one", train=2), task("two", train=1, test=2), task("far", train=9)]
"""The last one is too long to be asked."""

TEST = (Pair(np.ones((1, 40), np.uint8), np.zeros((1, 40), np.uint8)),)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base_model):
    """An adapter that no step has changed, and tasks that it cannot know."""
    folder = tmp_path_factory.mktemp("trained")
    one = adapters.attach(
        pretrained.load(base_model, "float32"),
        settings(lora=lora(rank=2, alpha=2)),
        0,
        [],
    )
    adapters.save(one, folder / "adapter" / "last")
    pretrained.load_tokenizer(base_model).save_pretrained(folder / "adapter" / "tokenizer")
    files.write_json(folder / "adapter" / "prompt.json", {"format": "bare", "encoder": ["minimal"]})
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


GRIDS = {"grammar": True, "rescore": 2}


def test_each_view_of_each_test_has_a_row_and_what_was_not_asked_says_so(answers):
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


def test_an_answer_may_be_as_long_as_the_longest_grid_shown(trained):
    wide, wider = np.zeros((1, 50), np.uint8), np.zeros((1, 51), np.uint8)
    asked = [
        question
        for one in (task("one", train=2), Task("w", "1d", "all", 0, (Pair(wide, wide),) * 2, TEST))
        for question in views.views_of(one, 0, 2, 0.0, 0)
    ]

    def found(numbers):
        exam = solver.PromptSet(
            trained / "adapter", [asked[number] for number in numbers], predicting.settings()
        )
        shown = exam.answers([asked[numbers[-1]].shown.apply(grid) for grid in (wide, wider)])
        answers = [Answer(tuple(tokens.tolist()[:-1]), -1.0, ended=True) for tokens in shown]
        return [one.grid for one in exam.candidates(len(numbers) - 1, answers)]

    for number in (2, 3):
        taken, refused = found([0, number])
        np.testing.assert_array_equal(taken, wide)
        assert refused is None
    assert found([0]) == [None, None]


def test_a_grammar_makes_grids_of_all_answers_that_end(answers):
    free, _ = answers("free")
    bound, _ = answers("bound", grammar=True)
    assert free.grid.isna().all()  # a model that knows nothing
    assert bound[bound.ended].grid.notna().all()
    assert bound.ended.any()


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({"search": "greedy"}, 1),
        ({"search": "sample", "width": 3}, 3),
        ({"search": "beam", "width": 2}, 2),
        # More branches than that cannot all be above the threshold.
        ({"search": "dfs", "threshold": 0.3}, 3),
    ],
)
def test_a_batch_has_room_for_all_that_a_search_keeps_side_by_side(
    tmp_path, base_model, trained, changes, rows
):
    asked = views.views_of(TASKS[0], 0, 6, 0.0, 0)
    whole = solver.PromptSet(trained / "adapter", asked, predicting.settings())
    longest = max(map(len, whole.prompts)) + whole.language.budget
    counts = []
    memory = batching.ResultCache(tmp_path, "")
    chosen = predicting.settings(**changes, draft="none", batch_tokens=longest * 6)
    solver = solver.Solver(
        pretrained.load(base_model, "float32"), whole, memory, chosen, 0, ONE_RANK
    )
    solver.answer(range(6), counts.append)
    assert counts == [6 // rows] * rows


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


def test_more_views_extend_fewer_and_find_them_in_the_memory(answers, tmp_path):
    def written():
        kept = (tmp_path / "run/predictions").rglob("*.json")
        return {path: path.stat().st_mtime_ns for path in kept}

    few, _ = answers(views=2, **GRIDS)
    before = written()
    many, _ = answers(views=9, **GRIDS)
    assert_frame_equal(many[many.view < 2].reset_index(drop=True), few)
    assert before.items() <= written().items()
    alone, _ = answers("other", views=9, **GRIDS)
    assert_frame_equal(many, alone, rtol=1e-4)


@pytest.mark.parametrize("change", [{"draft": "none"}, {"draft": "copy"}, {"kv_static": True}])
def test_what_is_for_speed_changes_no_candidate(answers, change):
    plain, plain_scores = answers("plain", **GRIDS)
    other, other_scores = answers("other", **GRIDS, **change)
    assert_frame_equal(plain, other, rtol=1e-4)
    assert_frame_equal(plain_scores, other_scores, rtol=1e-4)


def test_batches_change_no_candidate(answers):
    plain, plain_scores = answers("plain", **GRIDS)
    other, other_scores = answers("other", **GRIDS | {"batch_tokens": 5000})
    assert_frame_equal(plain, other, rtol=1e-4)
    assert_frame_equal(plain_scores, other_scores, rtol=1e-4)


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


def test_a_score_is_what_the_model_gives_the_grid_as_the_view_shows_it(answers, base_model):
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
    question = views.views_of(asked_task, row.test, 3, 0.1, 0)[2]
    turned = [
        Pair(question.shown.apply(pair.input), question.shown.apply(pair.output))
        for pair in (asked_task.train[number] for number in question.order)
    ]
    text = prompt.render(style, turned, question.shown.apply(asked_task.test[row.test].input), None)
    (asked,) = tokenization.tokenize(tokenizer, [text])
    answer = prompt.Text("", prompt.answer(style, question.shown.apply(grid)), ())
    (written,) = tokenization.tokenize(tokenizer, [answer])
    ((expected,),) = rescore.logprobs(
        pretrained.load(base_model, "float32"),
        [Query(asked.input_ids, np.zeros(0, np.int32), 0, "")],
        [[written.input_ids]],
        predicting.settings(),
    )
    assert row.logprob == pytest.approx(expected, abs=1e-3)
    assert row.tokens == len(written.input_ids)


KILLS = 3
JOURNAL = """
import sys
from arcmix import generate, program
from stages import predict

answer, journal = generate.answer, sys.argv.pop(1)

def told(answering, queries, *rest):
    with open(journal, "a") as opened:
        opened.write(" ".join(query.purpose for query in queries) + "\\n")
    return answer(answering, queries, *rest)

generate.answer = told
program.main(predict.run)
"""
"""Tells of each batch when it begins."""


def test_a_run_killed_at_random_three_times_loses_the_batch_in_flight_at_most(
    tmp_path, base_model, trained, answers
):
    driver, journal = tmp_path / "driver.py", tmp_path / "journal"
    driver.write_text(JOURNAL)
    places = predicting.paths(tmp_path / "killed", base_model, trained, trained / "adapted")
    (tmp_path / "killed").mkdir()
    many = {"views": 40, "draft": "copy", "batch_tokens": 300, "grammar": True}
    program = f"{sys.executable} {driver} {journal}"

    def begun():
        return journal.read_text().splitlines() if journal.exists() else []

    for kill in range(KILLS):
        process = predicting.start(places, tmp_path, program, **many)
        wait = len(begun()) + 2 + int(randomness.words(0, "kill", kill, 1, 1)[0, 0] % 9)
        while len(begun()) < wait:
            assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate()
    process = predicting.start(places, tmp_path, program, **many)
    _, log = process.communicate(timeout=300)
    assert process.returncode == 0, log

    batches = begun()
    assert len(batches) - len(set(batches)) <= KILLS
    asked = [purpose for batch in set(batches) for purpose in batch.split()]
    assert len(asked) == len(set(asked)) == 3 * 40
    whole, _ = answers("whole", **many)
    assert_frame_equal(pd.read_parquet(places["candidates"]), whole, check_exact=True)


@pytest.fixture
def own(tmp_path, base_model):
    """Adapters of some tasks, which know other things than the common one."""

    def attached(*names):
        folder = tmp_path / "adapted"
        files.write_json(folder / "tasks.json", [*names])
        for number, name in enumerate(names, start=1):
            one = adapters.attach(
                pretrained.load(base_model, "float32"),
                settings(lora=lora(rank=2, alpha=2)),
                number,
                [],
            )
            for weight_name, weight in one.named_parameters():
                if "lora_B" in weight_name:
                    weight.data.fill_(0.5)
            adapters.save(one, folder / name)
        return folder

    return attached


# They share the prompts of one model, or the models.
@pytest.mark.parametrize("names", [[], ["two", "one"]])
def test_two_processes_give_the_bytes_of_one(tmp_path, base_model, trained, own, names):
    adapted = own(*names)
    written = []
    for number, launch in enumerate(
        ["python", "accelerate launch --config_file launch/ddp.yaml --num_processes 2"]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        places = predicting.paths(folder, base_model, trained, adapted)
        process = predicting.start(
            places, folder, f"{launch} -m stages.predict", **GRIDS, batch_tokens=300
        )
        _, log = process.communicate(timeout=300)
        assert process.returncode == 0, log
        written.append([places[name].read_bytes() for name in ("candidates", "scores")])
    assert written[0] == written[1]


def test_a_task_with_an_adapter_of_its_own_is_answered_with_that(
    tmp_path, base_model, trained, answers, own
):
    plain, _ = answers(grammar=True)
    predicting.run(tmp_path / "own", base_model, trained, own("one"), grammar=True)
    found = pd.read_parquet(tmp_path / "own" / "candidates.parquet")
    one, other = (table[table.task == "one"] for table in (found, plain))
    assert (one.logprob != other.logprob).all()
    rest = [table.query("task != 'one'") for table in (found, plain)]
    assert_frame_equal(rest[0], rest[1])
