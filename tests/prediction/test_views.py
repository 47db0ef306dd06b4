import numpy as np

from arcmix import transforms
from arcmix.prediction import views
from tests.arc import task


def test_the_first_view_is_the_original():
    [first] = views.views_of(task(train=4), 0, 1, 0.1, 0)
    assert first.transform == transforms.Transform(0, tuple(range(10)))
    assert first.order == (0, 1, 2, 3)


def test_views_are_distinct_and_take_the_symmetries_in_turn():
    found = views.views_of(task(), 0, 11, 0.1, 0)
    assert [one.transform.symmetry for one in found] == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2]
    assert len({one.transform for one in found}) == 11


def test_a_larger_number_of_views_extends_a_smaller_one():
    whole = task()
    assert views.views_of(whole, 0, 20, 0.1, 3)[:5] == views.views_of(whole, 0, 5, 0.1, 3)


def test_all_tests_of_a_task_have_the_same_views():
    whole = task(test=2)
    one, other = (views.views_of(whole, test, 4, 0.1, 0) for test in (0, 1))
    assert [(a.transform, a.order) for a in one] == [(b.transform, b.order) for b in other]


def test_each_view_shows_every_demonstration_once():
    for one in views.views_of(task(train=5), 0, 30, 0.1, 0):
        assert sorted(one.order) == list(range(5))
        assert np.array_equal(np.sort(one.transform.colors), np.arange(10))
