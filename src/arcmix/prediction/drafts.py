"""Guesses of an answer, which a model verifies in fewer forwards than it writes.

Most answers repeat much of their input, and what one view was answered is a guess for the
others.
"""

from collections.abc import Sequence

import numpy as np

from arcmix.prediction.views import View

LOOK_BACK = 16
"""Tokens written last that a place in a draft is judged by."""

FADING = 0.5
"""What a token counts for of the one after it."""

LEAD = 1.25
"""By how much another place has to be more like the last tokens than the place of the same
number; the last token counts 1."""

NOTHING = -1
"""No token; stands before a draft."""


def copy(view: View) -> np.ndarray:
    """Return the input of the test as the view shows it, uint8 (height, width)."""
    return view.transform.apply(view.task.test[view.test].input)


def mapped(grid: np.ndarray, view: View) -> np.ndarray:
    """Return what another view answered as this one shows it, uint8 (height, width).

    Args:
        grid: The answer as the task shows it, of whatever view: `grid.View.invert` gives it.
        view: The view that is answered now.
    """
    return view.transform.apply(grid)


def continuation(draft: np.ndarray, written: Sequence[int]) -> np.ndarray:
    """Return the tokens of a draft that come after what is written.

    They begin where the tokens before are most like those written last: in a draft of another
    width, that place moves with every row. The place of the same number is preferred, which is
    the right one in a draft of the same shape, and after it the nearest.

    On the tests of ARC-AGI-1, if the model gives the true answer and verifies 32 tokens of the
    input at a time, this takes 13 % fewer forwards than the same number alone.

    Args:
        draft: The tokens of the draft with its end, int32 (n,).
        written: The tokens of the answer so far.

    Returns:
        The rest of the draft, int32; of no tokens if the draft is at its end.
    """
    count = len(written)
    last = np.array(written[max(0, count - LOOK_BACK) :], draft.dtype)
    before = np.concatenate([np.full(len(last), NOTHING, draft.dtype), draft])
    windows = np.lib.stride_tricks.sliding_window_view(before, len(last))
    alike = (windows == last) @ FADING ** np.arange(len(last))[::-1]
    if count <= len(draft):
        alike[count] += LEAD
    best = np.flatnonzero(alike == alike.max())
    return draft[best[np.abs(best - count).argmin()] :]
