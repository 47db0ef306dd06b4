"""Refuse a merge whose `params.yaml` describes a run that neither branch made.

Git merges the file line by line: with a dataset of one branch and a seed of the other, there is no
conflict. The table would then cost a fine-tune, and get a row that nobody asked for.
"""

from pathlib import Path

from arcmix import program
from arcmix.config import overrides


def run(*, params: Path, lock: Path) -> None:
    """Raise `ValueError` if `params.yaml` has other values than the run of `dvc.lock`."""
    if changed := overrides.changed(params, lock):
        raise ValueError(
            f"{params} has values of both branches, so it describes a run that neither made; give"
            f" it those of your run, then git add it: {' '.join(changed)}; or make that run: dvc"
            " repro. Then run the same again: make merged"
        )


if __name__ == "__main__":
    program.main(run)
