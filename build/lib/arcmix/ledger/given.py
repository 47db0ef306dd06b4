"""Adapters that were not made here: folders that peft wrote, from which a fine-tune starts."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from arcmix import checked
from arcmix.ledger import form

CONFIG = "adapter_config.json"
"""Name of the file with the settings of an adapter."""

FILES = (CONFIG, "adapter_model.safetensors")
"""Names of the files of an adapter."""

STATE = "optimizer.safetensors"
"""Name of the file with the state of its optimizer, which peft itself does not write."""


@checked.OPEN
@dataclass(frozen=True)
class _Config:
    """The part of an adapter's settings that is read here."""

    peft_type: checked.Text


def name(folder: Path) -> str:
    """Return the name of a given adapter, in the table and in `start.json`."""
    return form.FOLDER + (re.sub("[^A-Za-z0-9._-]", "_", folder.resolve().name)[:100] or "_")


def copy(folder: Path, out: Path) -> None:
    """Copy the adapter in a folder, and the state of its optimizer if there is one.

    Args:
        folder: The folder that peft wrote.
        out: The folder to copy the files to.

    Raises:
        ValueError: If the folder does not exist, has no adapter, or one of another kind than LoRA.
    """
    if lacking := [file for file in FILES if not (folder / file).is_file()]:
        inner = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
        held = f", but {inner} in it have an adapter, so name one of these" if inner else ""
        raise ValueError(
            f"init.adapter: the folder {folder} {_state(folder)} {' and no '.join(lacking)}{held};"
            f" an adapter of peft has {' and '.join(FILES)}"
        )
    kind = checked.read_json(folder / CONFIG, _Config, "save the adapter again")["peft_type"]
    if kind != "LORA":
        raise ValueError(
            f"init.adapter: {folder / CONFIG} is of peft_type {kind!r}, and arcmix trains LORA;"
            " choose another adapter"
        )
    out.mkdir(parents=True, exist_ok=True)
    for file in (*FILES, STATE):
        if (folder / file).is_file():
            shutil.copyfile(folder / file, out / file)


def _state(folder: Path) -> str:
    return "has no" if folder.is_dir() else "does not exist, so there is no"
