"""Drafts of answers for speculative decoding: a model verifies several draft tokens at a time.

Most answers repeat much of the test's input, and the answer to one view is a draft for the other
views of its test.
"""

from collections.abc import Sequence

import numpy as np

from arcmix.prediction.views import View

MAX_DRAFT = 64
"""Maximum number of draft tokens that one pass reads."""

CONTEXT = 16
"""Number of the last generated tokens that are matched against a draft."""

DECAY = 0.5
"""Weight of a matching token, relative to the token after it. The last token has weight 1."""

SAME_POSITION_BONUS = 1.25
"""Added to the score of the position that equals the number of generated tokens."""

PADDING = -1
"""Stands for the tokens before a draft; equals no token."""


def copy(view: View) -> np.ndarray:
    """Return the input of the test as the view shows it, uint8 (height, width)."""
    return view.transform.apply(view.task.test[view.test].input)


def mapped(grid: np.ndarray, view: View) -> np.ndarray:
    """Return the answer to another view as this view shows it, uint8 (height, width).

    Args:
        grid: The answer with the other view's transform inverted, uint8 (height, width).
        view: The view to answer.
    """
    return view.transform.apply(grid)


def continuation(draft: np.ndarray, generated: Sequence[int]) -> np.ndarray:
    """Return the tokens of a draft that follow the generated tokens.

    The continuation starts at the position whose preceding tokens match the last generated tokens
    best. In a draft of another width, this position shifts with every row. The position that
    equals the number of generated tokens is preferred, because it is right in a draft of the same
    shape. Ties go to the position nearest to it.

    Assume that a model gives the true answers of ARC-AGI-1 and verifies 32 tokens of the test's
    input at a time. Then matching takes 13 % fewer forward passes than the same position alone.

    Args:
        draft: The tokens of the draft with its end token, int32 (n,).
        generated: The tokens of the answer so far.

    Returns:
        The rest of the draft, int32 (m,); empty if the draft is at its end.
    """
    count = len(generated)
    last = np.array(generated[max(0, count - CONTEXT) :], draft.dtype)
    padded = np.concatenate([np.full(len(last), PADDING, draft.dtype), draft])
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(last))
    scores = (windows == last) @ DECAY ** np.arange(len(last))[::-1]
    if count <= len(draft):
        scores[count] += SAME_POSITION_BONUS
    best = np.flatnonzero(scores == scores.max())
    return draft[best[np.abs(best - count).argmin()] :]
