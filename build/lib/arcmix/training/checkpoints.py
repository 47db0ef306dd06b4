"""The work folder of a fine-tune: checkpoints, and the weights of the lowest validation loss.

The last file of a checkpoint, `measured.json`, makes it complete. It holds the measurements up to
the checkpoint, and checksums of the checkpoint and of the best weights so far. A checkpoint that
differs from its checksums is not used, and the run resumes at the one before or at step 0.
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arcmix import files
from arcmix.models import adapters, parallel

log = logging.getLogger("arcmix.finetune")

MEASURED = "measured.json"
"""Name of the last file written to a checkpoint."""

Losses = Mapping[int, float]
"""Step -> validation loss, in order."""


def best(folder: Path, losses: Losses) -> Path:
    """Return the folder of the weights of the lowest loss."""
    return folder / f"best-{min(losses, key=losses.__getitem__)}"


def save_best(model: adapters.Tuned, folder: Path, losses: Losses) -> None:
    """Save the weights of the last step if its loss is the lowest.

    The best weights at the last two checkpoints are kept, because a run may resume there.

    Args:
        model: The model, with the weights of the last step.
        folder: The work folder.
        losses: All losses so far.
    """
    steps = [*losses]
    kept = [best(folder, {step: losses[step] for step in steps[:end]}) for end in _ends(steps)]
    for one in set(folder.glob("best-*")) - {*kept}:
        shutil.rmtree(one)
    if kept[-1] == folder / f"best-{steps[-1]}":
        if kept[-1].exists():  # a killed run may have left a part
            shutil.rmtree(kept[-1])
        adapters.save(model, kept[-1])


def _ends(steps: list[int]) -> range:
    return range(max(1, len(steps) - 2), len(steps) + 1)


def complete(checkpoint: Path, measured: list[dict[str, Any]]) -> None:
    """Complete a checkpoint.

    Args:
        checkpoint: The checkpoint.
        measured: All measurements up to it, as JSON, with their `step` and `val_loss`.
    """
    values = {"measured": measured, "checksums": _checksums(checkpoint, measured)}
    files.write_checked(checkpoint / MEASURED, values)


def measured(checkpoint: Path) -> list[dict[str, Any]]:
    """Return the measurements of a complete checkpoint."""
    return files.read_checked(checkpoint / MEASURED)["measured"]


def newest(folder: Path) -> Path | None:
    """Return the newest complete checkpoint of a folder to each process, and remove the others.

    None is returned if there is none.
    """
    # Other machines may see an outdated listing of the folder.
    return parallel.from_main(lambda: _newest(folder))


def _newest(folder: Path) -> Path | None:
    checkpoints = sorted(
        folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True
    )
    last = next(filter(_is_complete, checkpoints), None)
    # An older checkpoint may be incomplete as well, if the kill came while it was removed. It
    # would be the newest by modification time.
    for one in set(checkpoints) - {last}:
        shutil.rmtree(one)
    return last


def _is_complete(checkpoint: Path) -> bool:
    """Return whether a checkpoint is as it was written; log a damaged one."""
    found = files.read_checked(checkpoint / MEASURED)
    if found is None:
        return False
    now = _checksums(checkpoint, found["measured"])
    wrong = [name for name, written in found["checksums"].items() if now.get(name) != written]
    if wrong:
        log.warning("%s is not used: %s missing or damaged", checkpoint, ", ".join(wrong))
    return not wrong


def _checksums(checkpoint: Path, measured: list[dict[str, Any]]) -> dict[str, str]:
    """Return checksums of the files of a checkpoint, and of the best weights up to it."""
    weights = best(checkpoint.parent, {one["step"]: one["val_loss"] for one in measured})
    paths = [one for one in (*checkpoint.iterdir(), weights) if one.name != MEASURED]
    return {one.name: files.digest([one]) for one in paths if one.exists()}
