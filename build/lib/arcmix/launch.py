"""Start a stage as `launch` in `params.yaml` says: in one process, or in several.

`python -m arcmix.launch MODULE --params params.yaml ...` becomes the process that runs the module
with the same arguments. No shell reads a value of `params.yaml`.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from arcmix.config import command, document, params, schema
from arcmix.config.schema import At, Section


class Params(Section):
    """The values that the launcher reads for a stage."""

    launch: Annotated[params.Launch, At("launch")]
    """What starts the stage."""


def interpreted(module: str, arguments: Sequence[str]) -> list[str]:
    """Return the arguments of the interpreter that start a module as `launch` says.

    Args:
        module: The name of the module.
        arguments: Its arguments; `--params` is the path of `params.yaml`.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If `launch` is not allowed, or the file of its `--config_file` is not.
    """
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--params", type=Path, required=True)
    path = parser.parse_known_args(arguments)[0].params
    options = command.options(schema.load(path, Params).launch)
    if options is None:
        return ["-m", module, *arguments]
    if file := options.get("config_file"):
        try:
            command.check_configuration(document.read(Path(file)))
        except ValueError as error:
            raise ValueError(f"the file of launch's --config_file: {error}") from error
    # The type of the numbers is finetune.dtype, whatever a file of accelerate says.
    words = [
        word
        for name, value in (options | {"mixed_precision": "no"}).items()
        for word in (f"--{name}", value)
        if word
    ]
    return ["-m", "accelerate.commands.launch", *words, "--module", module, *arguments]


def main() -> None:
    """Become the process of the module on the command line."""
    module, *arguments = sys.argv[1:]
    try:
        words = interpreted(module, arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"error in launch: {' '.join(str(error).split())}")
    # The module takes the place of this process, so it gets its signals and gives its status.
    os.execv(sys.executable, [sys.executable, *words])  # noqa: S606 - no shell


if __name__ == "__main__":
    main()
