"""Write the comparison of a study with arc24's table into docs/results.md.

Reads the table of the ledger and arc24's best validation losses. The losses themselves cannot be
compared: model, budget and prompts are others. So the comparison is that of ranks.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from arcmix import files, program
from arcmix.config import check
from arcmix.config.studies import Study
from arcmix.ledger import markdown

COLUMNS = {
    "dataset": "<",
    "seeds": ">",
    "best val loss": ">",
    "rank": ">",
    "arc24: best val loss": ">",
    "at step": ">",
    "arc24: rank": ">",
}
"""Columns of the comparison -> their alignment."""

PLACE = re.compile(r"(<!-- arc24 -->\n).*?(<!-- end -->)", re.DOTALL)
"""Where the comparison stands in the page."""

FEWEST = 4
"""Fewest datasets of which the correlation of ranks is computed."""


PERMUTATIONS = math.factorial(9)
"""Number of orders that the test of a correlation tries."""


def run(*, params: Path, name: str, table: Path, arc24: Path, page: Path) -> None:
    """Write the comparison of the study `name` into `page`.

    Args:
        params: `params.yaml`, with the study.
        name: Name of the study.
        table: The table of the ledger, `results/ablation.csv`.
        arc24: arc24's table: dataset, best validation loss, and the step of it.
        page: Markdown with a place for the comparison, which is replaced.

    Raises:
        ValueError: If the page has no such place, or the study no run in the table.
    """
    text = page.read_text(encoding="utf-8")
    if not PLACE.search(text):
        raise ValueError(f"{page} has no line <!-- arc24 --> with a line <!-- end --> after it")
    study = check.check_file(params).studies[name]
    lines = chosen(pd.read_csv(table).to_dict("records"), study)
    theirs = pd.read_csv(arc24).set_index("dataset").to_dict("index")
    made = compared(lines, theirs, study)
    files.write_text(page, PLACE.sub(lambda found: f"{found[1]}{made}{found[2]}", text))


def chosen(table: Sequence[Mapping[str, Any]], study: Study) -> list[Mapping[str, Any]]:
    """Return the lines of a study: those of the code that made most of its runs.

    Args:
        table: The lines of `results/ablation.csv`.
        study: The study.

    Raises:
        ValueError: If the table has no run of the study.
    """
    runs, found = Counter[str](), defaultdict[str, list[Mapping[str, Any]]](list)
    for line in table:
        own = line["dataset"] in study.datasets and line["start"] == "none"
        same = (line["scale"], line["model"]) == (study.scale, study.model)
        if own and same and pd.isna(line["differs"]):
            runs[line["code"]] += line["seeds"]
            found[line["code"]].append(line)
    if not found:
        raise ValueError("the table has no run of the study; run its cells first: make study")
    [(code, _)] = runs.most_common(1)
    return found[code]


def ran(lines: Sequence[Mapping[str, Any]], study: Study) -> int:
    """Return how many cells of a study the lines have; other studies may have more seeds."""
    return sum(min(line["seeds"], len(study.seeds)) for line in lines)


def compared(
    lines: Sequence[Mapping[str, Any]], arc24: Mapping[Any, Mapping[Any, Any]], study: Study
) -> str:
    """Return the comparison in Markdown.

    Args:
        lines: The lines of the study.
        arc24: Dataset -> its line of arc24's table.
        study: The study.
    """
    both = sorted(
        (line for line in lines if line["dataset"] in arc24),
        key=lambda line: line["best_val_loss"],
    )
    ours = np.array([line["best_val_loss"] for line in both])
    theirs = np.array([arc24[line["dataset"]]["best_val_loss"] for line in both])
    rows = [
        [
            line["dataset"],
            f"{line['seeds']}",
            f"{line['best_val_loss']:.4f}",
            f"{rank:g}",
            f"{arc24[line['dataset']]['best_val_loss']:.4f}",
            f"{arc24[line['dataset']]['best_val_step']}",
            f"{other:g}",
        ]
        for line, rank, other in zip(
            both, stats.rankdata(ours), stats.rankdata(theirs), strict=True
        )
    ]
    cells = len(study.datasets) * len(study.seeds)
    parts = [
        f"{ran(lines, study)} of {cells} cells ran, under code `{lines[0]['code']}`.\n",
        markdown.table(COLUMNS, rows) + "\n",
    ]
    if len(both) >= FEWEST:
        rho, p_value = correlation(ours, theirs)
        parts.append(
            f"Spearman's rank correlation over these {len(both)} datasets is {rho:.2f} (two-sided"
            f" permutation test: p = {p_value:.3f}).\n"
        )
    return "\n".join(parts)


def correlation(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return Spearman's rank correlation, and the p-value of its two-sided permutation test.

    The interval of `stats.correlation` needs ten values, and arc24's table has nine. The test is
    exact for up to nine values, and draws `PERMUTATIONS` orders of more.

    Args:
        first: Values, float of shape (n,).
        second: Values, float of shape (n,).
    """
    own, other = stats.zscore(stats.rankdata(first)), stats.zscore(stats.rankdata(second))

    def rho(values: np.ndarray, axis: int) -> np.ndarray:
        return (values * other).mean(axis=axis)

    test = stats.permutation_test(
        (own,), rho, permutation_type="pairings", vectorized=True, n_resamples=PERMUTATIONS, rng=0
    )
    return float(test.statistic), float(test.pvalue)


if __name__ == "__main__":
    program.main(run)
