import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from arcmix.prediction import drafts, views
from tests.arc import grids, task

answers = hnp.arrays(np.int32, st.integers(1, 40), elements=st.integers(0, 9))


def test_the_copy_of_a_view_is_the_test_input_in_its_transform():
    whole = task(test=2)
    for view in views.views_of(whole, 1, 9, 0.5, 0):
        shown = view.transform.apply(whole.test[1].input)
        np.testing.assert_array_equal(drafts.copy(view), shown)


@given(grid=grids, one=st.integers(0, 8), other=st.integers(0, 8))
def test_the_answer_to_a_view_is_mapped_into_another_view(grid: np.ndarray, one: int, other: int):
    asked = views.views_of(task(), 0, 9, 0.5, 0)
    answered = asked[one].transform.apply(grid)

    found = drafts.mapped(asked[one].transform.invert(answered), asked[other])

    np.testing.assert_array_equal(found, asked[other].transform.apply(grid))


@given(draft=answers, place=st.integers(0, 40))
def test_a_right_draft_continues_at_the_same_position(draft: np.ndarray, place: int):
    generated = draft[:place].tolist()

    np.testing.assert_array_equal(drafts.continuation(draft, generated), draft[place:])


@given(draft=answers, generated=st.lists(st.integers(0, 9), max_size=60))
def test_a_continuation_is_the_end_of_the_draft(draft: np.ndarray, generated: list[int]):
    found = drafts.continuation(draft, generated)

    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, draft[len(draft) - len(found) :])


def tokens(grid: np.ndarray) -> np.ndarray:
    """Return the tokens of a grid: its cells, 10 between rows, and 11 at the end."""
    rows = np.pad(grid.astype(np.int32), ((0, 0), (0, 1)), constant_values=10)
    return np.append(rows.ravel()[:-1], 11).astype(np.int32)


def test_a_draft_of_another_width_is_followed_row_by_row():
    wide = np.arange(5 * 9, dtype=np.uint8).reshape(5, 9)
    draft, answer = tokens(wide), tokens(wide[:, :6])

    # The answer has its rows 0 to 2 and two cells of row 3.
    found = drafts.continuation(draft, answer[: 3 * 7 + 2].tolist())

    np.testing.assert_array_equal(found, draft[3 * 10 + 2 :])


def test_wrong_tokens_do_not_shift_a_draft_of_the_right_shape():
    draft = tokens(np.arange(5 * 9, dtype=np.uint8).reshape(5, 9))
    generated = draft[:20].copy()
    generated[-4:] = 99

    np.testing.assert_array_equal(drafts.continuation(draft, generated.tolist()), draft[20:])


def test_one_wrong_token_does_not_shift_a_draft_to_a_full_match():
    draft = np.array([1, 2, 3, 4, 5, 9, 1, 2, 3, 4, 5, 8, 7], np.int32)

    found = drafts.continuation(draft, [*draft[:11].tolist(), 9])

    np.testing.assert_array_equal(found, draft[12:])


def test_the_nearest_of_equal_matches_is_taken():
    draft = np.array([1, 2, 3, 0, 0, 1, 2, 3, 4, 5, 1, 2, 3], np.int32)

    np.testing.assert_array_equal(drafts.continuation(draft, [9, 9, 9, 9, 1, 2, 3]), draft[8:])


def test_an_answer_longer_than_its_draft_has_no_continuation():
    draft = np.array([1, 2, 3], np.int32)

    assert len(drafts.continuation(draft, [1, 2, 3, 9, 9, 9, 9, 9])) == 0
