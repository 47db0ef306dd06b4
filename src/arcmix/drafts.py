"""Guesses of an answer, which a model verifies in fewer forwards than it writes.

Most answers have much of their input in them, and the views of a test agree more often than
not: what one of them shows, or was answered, is a draft for another.
"""

from collections.abc import Sequence

import numpy as np

from arcmix.views import Question


def copy(question: Question) -> np.ndarray:
    """Return the input of the test as the view shows it, uint8 (height, width)."""
    return question.shown.apply(question.task.test[question.test].input)


def mapped(grid: np.ndarray, question: Question) -> np.ndarray:
    """Return what another view answered as this one shows it, uint8 (height, width).

    Args:
        grid: The answer as the task shows it, of whatever view: `grid.View.invert` gives it.
        question: The view that is asked now.
    """
    return question.shown.apply(grid)


def continuation(draft: np.ndarray, written: Sequence[int]) -> np.ndarray:
    """Return the tokens of a draft that come after what is written, int32 (n,).

    Args:
        draft: The tokens of the draft, its end token included, int32 (n,).
        written: The tokens of the answer so far.
    """
    return draft[len(written) :]
