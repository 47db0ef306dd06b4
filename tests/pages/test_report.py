import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix.pages import report
from arcmix.prediction import selection
from arcmix.prediction.selection import Candidate
from arcmix.scoring import metrics
from tests.entries import CLOSE, FAR, LONG, TRUTH, entry, ranking


def data(page):
    """Return the data in a page."""
    [found] = re.findall('<script type="application/json" id="data">(.*)</script>', page)
    return json.loads(found)


def known(found):
    """Return the data of a task in the page."""
    [task] = data(report.page("title", "lead", [found], {}, {}))["tasks"]
    return task


@pytest.mark.parametrize(
    ("tests", "status", "score"),
    [
        pytest.param([[TRUTH]], "solved", 1, id="first-attempt"),
        pytest.param([[FAR, FAR, TRUTH]], "solved", 1, id="second-attempt"),
        pytest.param([[FAR, FAR, LONG, LONG, TRUTH]], "unsolved", 0, id="third-answer"),
        pytest.param([[LONG]], "unsolved", 0, id="another-shape"),
        pytest.param([[TRUTH], [CLOSE]], "partly", 0.5, id="one-of-two-tests"),
        pytest.param([[None], [CLOSE]], "unsolved", 0, id="one-of-two-tests-answered"),
        pytest.param([[None], [TRUTH]], "partly", 0.5, id="the-one-answered-is-right"),
        pytest.param([[None, None], []], "unanswered", 0, id="no-grid"),
        pytest.param([[TRUTH], [None, TRUTH]], "solved", 1, id="both-tests"),
    ],
)
def test_a_task_is_solved_by_two_attempts_at_each_of_its_tests(tests, status, score):
    found = entry("a", *tests)
    assert (found.status, found.score) == (status, score)


@given(
    st.lists(st.sampled_from([TRUTH, CLOSE, FAR, LONG, None]), min_size=1, max_size=8),
    st.sampled_from([*selection.RULES]),
)
def test_the_score_is_the_metric_of_the_selection(grids, rule):
    answers = [Candidate(grid, -0.5 * len(grids), 1, ended=True) for grid in grids]
    scored = metrics.score_test(answers, TRUTH, {}, rules=[rule], selection=rule)
    found = report.Ranking(tuple(selection.ranked(rule, answers, {})), len(answers), {})
    task = entry("a", []).task
    assert report.Entry(task, (found,), None).score == scored["selected_2"]


def test_pixels_and_votes_are_means_over_the_first_attempts_at_each_test():
    found = entry("a", [TRUTH, CLOSE, CLOSE], [None, LONG], [None])
    assert found.pixels == pytest.approx(4 / 6 / 3)
    assert found.votes == (2 + 1 + 0) / 3


def test_tasks_are_ranked_by_solved_tests_right_cells_sizes_answers_and_loss():
    ordered = [
        entry("g", [TRUTH], loss=9.0),
        entry("f", [CLOSE, CLOSE, TRUTH], loss=9.0),
        entry("e", [TRUTH], [FAR]),
        entry("d", [CLOSE], loss=9.0),
        entry("b", [FAR], loss=0.2),
        entry("h", [FAR], loss=0.2),
        entry("i", [FAR]),
        entry("c", [LONG], loss=0.1),
        entry("a", [None], loss=0.1),
    ]
    assert report.best_first(ordered[::-1]) == ordered
    best, worst = report.extremes(ordered[::-1], 3)
    assert [one.task.id for one in best] == ["g", "f", "e"]
    assert [one.task.id for one in worst] == ["a", "c", "i"]
    best, worst = report.extremes(ordered[::2] + ordered[1::2], 10)
    assert [one.task.id for one in best] == ["g", "f", "e", "d", "b"]
    assert [one.task.id for one in worst] == ["a", "c", "i", "h"]


def test_a_single_task_is_among_the_best():
    best, worst = report.extremes([entry("a", [None])], 10)
    assert ([one.task.id for one in best], worst) == (["a"], [])


def test_the_page_holds_all_grids_as_digits():
    found = known(entry("a", [FAR, LONG], truth=TRUTH))
    assert found["train"] == [["0123", "036"], ["1234/5678", "369/581"]]
    [test] = found["tests"]
    assert (test["input"], test["truth"]) == ("14/25/36", "123/456")
    assert [answer[0] for answer in test["answers"]] == ["789/078", "//123"]


def test_a_row_of_an_answer_that_is_right_is_empty():
    rows = np.array([[1, 2], [3, 4], [5, 6]], np.uint8)
    wide = np.array([[1, 2, 0], [3, 4, 0]], np.uint8)
    [test] = known(entry("a", [rows[[0, 2, 2]], wide, rows[:1]], truth=rows))["tests"]
    assert [answer[0] for answer in test["answers"]] == ["/56/", "120/340", ""]


def test_the_page_holds_votes_log_probabilities_and_scores():
    [test] = known(entry("a", [FAR, TRUTH, None, TRUTH], scores={0: -7.5}))["tests"]
    assert test["asked"] == 4
    # Each answer has two tokens, and the log-probability per token falls by 0.25 per rank.
    right, far = test["answers"]
    assert right[1:] == [2, -(0.75 + 1.25) / 4, None]
    assert far[1:] == [1, -0.25, -7.5]


def test_the_page_holds_the_facts_of_a_task():
    found = known(entry("a", [TRUTH, CLOSE], [None], loss=0.123456))
    names = ("id", "status", "score", "pixels", "votes", "loss", "cells")
    assert [found[name] for name in names] == ["a", "partly", 0.5, 0.5, 0.5, 0.1235, 45]
    assert known(entry("a", [TRUTH]))["loss"] is None


def test_the_answers_are_in_the_order_of_the_ranking():
    found = entry("a", [CLOSE, FAR, FAR])
    turned = replace(ranking([CLOSE, FAR, FAR]), answers=found.rankings[0].answers[::-1])
    [test] = known(replace(found, rankings=(turned,)))["tests"]
    assert [answer[1] for answer in test["answers"]] == [1, 2]


def test_texts_are_escaped():
    page = report.page(
        "a<b", "c & <d>", [entry("</script><b>", [TRUTH])], {"e<": "1"}, {"f": "<2>"}
    )
    assert "<h1>a&lt;b</h1>" in page
    assert '<p id="lead">c &amp; &lt;d&gt;</p>' in page
    assert "<li>e&lt; <b>1</b></li>" in page
    assert "<li>f &lt;2&gt;</li>" in page
    assert "</script><b>" not in page
    assert data(page)["tasks"][0]["id"] == "</script><b>"


def test_equal_entries_give_equal_pages_that_fetch_nothing():
    pages = [report.page("a", "b", [entry("c", [TRUTH, FAR], loss=0.1)], {}, {}) for _ in range(2)]
    assert pages[0] == pages[1]
    assert not re.search(r"https?:|src=|@import|url\(", pages[0])


def test_a_hundred_tasks_of_64_answers_stay_below_three_megabytes():
    draw = np.random.default_rng(0)
    entries = []
    for number in range(100):
        # Random grids are the worst case: hardly any row of an answer is right.
        truth = draw.integers(10, size=draw.integers(3, 24, 2)).astype(np.uint8)
        grids = [draw.integers(10, size=truth.shape).astype(np.uint8) for _ in range(64)]
        entries.append(entry(f"{number:08x}", grids, truth=truth))
    assert {len(found.rankings[0].answers) for found in entries} == {64}
    assert len(report.page("a", "b", entries, {}, {}).encode()) < 3e6


def test_the_header_has_the_headline_scores_with_their_intervals_and_the_losses():
    headline = {f"{name}{end}": 0.25 for name in metrics.HEADLINE for end in ("", "_low", "_high")}
    found = report.scores(headline | {"selected_2_high": 0.5, "val_loss": 1.23456, "steps": 3})
    assert [*found] == [*metrics.HEADLINE, "val_loss"]
    assert (found["selected_2"], found["val_loss"]) == ("0.250 (0.250 to 0.500)", "1.2346")


def test_settings_are_named_by_their_places():
    values = {"seed": 0, "lora": {"rank": 4, "targets": ("a", "b")}, "deep": {"er": {"x": None}}}
    assert report.settings(values) == {
        "seed": "0",
        "lora.rank": "4",
        "lora.targets": "a, b",
        "deep.er.x": "None",
    }
