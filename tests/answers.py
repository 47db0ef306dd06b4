"""Candidates for tests: answers of a model to a test with two rows and three columns."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from arcmix import files
from arcmix.prediction import candidates as stored
from arcmix.prediction.scores import COLUMNS
from arcmix.prediction.selection import Candidate
from arcmix.training import history

TRUTH = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
NEAR = np.array([[1, 2, 3], [4, 5, 0]], np.uint8)
FAR = np.array([[0, 0, 3], [0, 0, 0]], np.uint8)
TURNED = TRUTH.T.copy()
FLAT = TRUTH.reshape(1, 6)
UNASKED = Candidate(None, 0.0, 0, ended=False)


PLAIN: dict[str, Any] = {
    "views": 3,
    "search": "greedy",
    "width": 2,
    "temperature": 1.0,
    "threshold": 0.1,
    "grammar": False,
    "draft": "views",
    "kv_format": "none",
    "kv_static": False,
    "batch_tokens": 600,
    "max_side": 4,
    "rescore": 0,
    "parse": "strict",
}
"""Settings of the prediction."""


def candidate(grid: np.ndarray | None, logprob: float = -1.0, tokens: int = 4) -> Candidate:
    """Return a candidate with an end token."""
    return Candidate(grid, logprob, tokens, ended=True)


candidates = st.lists(
    st.builds(
        candidate,
        st.sampled_from([None, TRUTH, NEAR, FAR, TURNED, FLAT]),
        st.floats(-50, 0),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=8,
)
"""Strategy for the candidates of a test."""


def stored_candidate(
    task: str, test: int, view: int, grid: np.ndarray | None, **changes: Any
) -> dict[str, Any]:
    """Return a row of the table of candidates, for a view with one candidate."""
    row = {"task": task, "test": test, "view": view, "rank": 0}
    row |= {
        "grid": None if grid is None else grid.reshape(-1),
        "height": None if grid is None else grid.shape[0],
        "width": None if grid is None else grid.shape[1],
    }
    return row | {"logprob": -1.0, "tokens": 5, "ended": grid is not None} | changes


def write_candidates(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a table of candidates."""
    table = pd.DataFrame(rows, columns=[*stored.COLUMNS])
    files.write_parquet(path, table.astype({"height": "UInt8", "width": "UInt8"}))


def write_history(path: Path, losses: Mapping[int, tuple[float | None, float]]) -> None:
    """Write a history, given the training loss and the validation loss of each step."""
    entries = [
        history.Entry(
            step=step,
            samples=4 * step,
            epochs=step / 10,
            answer_tokens=20 * step,
            tokens=90 * step,
            learning_rate=0.1,
            train_loss=train if step else None,
            val_loss=loss,
            tokens_per_second=9.0 if step else None,
            answer_tokens_per_second=2.0 if step else None,
            seconds_per_step=7.1 if step else None,
        )
        for step, (train, loss) in losses.items()
    ]
    history.write(path, entries)


def write_scores(path: Path, rows: list[tuple[str, int, int, int, float]]) -> None:
    """Write a table of scores of (task, test, candidate, view, log-probability)."""
    table = pd.DataFrame([(*row, 5) for row in rows], columns=[*COLUMNS])
    files.write_parquet(path, table)
