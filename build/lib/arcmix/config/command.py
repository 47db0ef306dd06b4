"""The grammar of `launch`: `python`, or `accelerate launch` with some of its options.

The value starts programs, and the file may come from a stranger's branch. So it is no shell
command: it is taken apart here, and the command is written anew from its parts. Options that could
run another program, split the weights, or change the type of the numbers are not in the grammar.
"""

import re
import shlex
from collections.abc import Iterable

from arcmix.config.document import Values, shown

OPTIONS = {
    "config_file": r"(\w[\w.-]*/)*\w[\w-]*\.ya?ml",
    "num_processes": "[1-9][0-9]{0,3}",
    "num_machines": "[1-9][0-9]{0,3}",
    "machine_rank": "[0-9]{1,4}",
    "main_process_ip": "[A-Za-z0-9][A-Za-z0-9.:-]*",
    "main_process_port": "[0-9]{1,5}",
    "rdzv_backend": "static|c10d",
    "num_cpu_threads_per_process": "[1-9][0-9]{0,3}",
    "gpu_ids": "all|[0-9]{1,3}(,[0-9]{1,3})*",
    "mixed_precision": "no",
    "cpu": None,
    "multi_gpu": None,
    "same_network": None,
    "enable_cpu_affinity": None,
    "quiet": None,
}
"""Options of `accelerate launch` that are allowed -> the pattern of the value; None for none."""


def checked(launch: str) -> str:
    """Return a value of `launch`.

    Raises:
        ValueError: If it is not in the grammar.
    """
    options(launch)
    return launch


def options(launch: str) -> dict[str, str] | None:
    """Return the options of `accelerate launch` with their values, "" for none; None for `python`.

    Raises:
        ValueError: If it is another command, or an option or its value is not allowed.
    """
    try:
        match shlex.split(launch):
            case ["python"]:
                return None
            case ["accelerate", "launch", *words]:
                return _parsed(words)
        problem = "it is another command"
    except ValueError as error:
        problem = str(error)
    raise ValueError(
        f"launch is python, or accelerate launch with some of the options {[*OPTIONS]}, got"
        f" {shown(launch)}: {problem}; correct it"
    )


def _parsed(words: Iterable[str]) -> dict[str, str]:
    found, left = {}, iter(words)
    for word in left:
        flag, assigned, value = word.partition("=")
        # accelerate knows an option by either spelling.
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name not in OPTIONS:
            raise ValueError(f"{shown(word)} is no allowed option")
        pattern = OPTIONS[name]
        if pattern is not None and not assigned:
            value = next(left, "")
        if not re.fullmatch(pattern or "", value, re.ASCII):
            expected = f"a value such as {pattern}" if pattern else "no value"
            raise ValueError(f"{flag} has {expected}, got {shown(value)}")
        found[name] = value
    return found


def check_configuration(values: Values) -> None:
    """Check the content of the file that `--config_file` names.

    Raises:
        ValueError: If it is for another environment than this machine, or holds a list or a map.
    """
    if (place := values.get("compute_environment")) != "LOCAL_MACHINE":
        raise ValueError(f"compute_environment is LOCAL_MACHINE, got {shown(place)}; correct it")
    for name, value in values.items():
        # accelerate takes a map for options of its own, such as the program that it starts.
        if isinstance(value, (dict, list)) and value:
            raise ValueError(f"{name} is a text or a number, got {shown(value)}; remove it")
