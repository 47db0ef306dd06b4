import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from arcmix import drafts, views
from tests.arc import grids, task

answers = hnp.arrays(np.int32, st.integers(1, 40), elements=st.integers(0, 9))


def test_the_copy_of_a_view_is_the_test_input_as_it_shows_it():
    whole = task(test=2)
    for question in views.questions(whole, 1, 9, 0.5, 0):
        shown = question.shown.apply(whole.test[1].input)
        np.testing.assert_array_equal(drafts.copy(question), shown)


@given(grid=grids, one=st.integers(0, 8), other=st.integers(0, 8))
def test_what_one_view_answers_is_mapped_into_another(grid: np.ndarray, one: int, other: int):
    asked = views.questions(task(), 0, 9, 0.5, 0)
    answered = asked[one].shown.apply(grid)

    found = drafts.mapped(asked[one].shown.invert(answered), asked[other])

    np.testing.assert_array_equal(found, asked[other].shown.apply(grid))


@given(draft=answers, place=st.integers(0, 40))
def test_a_draft_that_has_been_right_goes_on_where_the_answer_is(draft: np.ndarray, place: int):
    written = draft[:place].tolist()

    np.testing.assert_array_equal(drafts.continuation(draft, written), draft[place:])


@given(draft=answers, written=st.lists(st.integers(0, 9), max_size=60))
def test_what_comes_after_is_the_end_of_the_draft(draft: np.ndarray, written: list[int]):
    found = drafts.continuation(draft, written)

    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, draft[len(draft) - len(found) :])
