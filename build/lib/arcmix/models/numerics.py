"""What the last bits of a result depend on beside its inputs: the hardware and the libraries."""

import dataclasses
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import torch

from arcmix import machines
from arcmix.machines import Machine
from arcmix.models import parallel

LIBRARIES = ("accelerate", "numpy", "peft", "tokenizers", "torch", "transformers", "trl")
"""The libraries that compute."""

EXTENSIONS = ("avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8", "amx_fp16", "sve", "bf16")
"""Names in `torch.cpu.get_capabilities` of the extensions that oneDNN uses for low precision."""


def machine() -> Machine:
    """Return the machine that this process computes on."""
    known = torch.cpu.get_capabilities()
    extensions = [name for name in EXTENSIONS if known.get(name) is True]
    on_gpu = torch.cuda.is_available()
    versions = {"python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in LIBRARIES}
    if on_gpu:
        versions["cuda"] = str(torch.version.cuda)
    return Machine(
        device=machines.label(torch.cuda.get_device_name() if on_gpu else _processor()),
        instructions=" ".join([torch.backends.cpu.get_cpu_capability(), *extensions]),
        threads=torch.get_num_threads(),
        ranks=parallel.state().num_processes,
        versions=versions,
    )


def found() -> dict[str, Any]:
    """Return the machine as JSON, without the number of ranks, which may share equal work."""
    return dataclasses.asdict(dataclasses.replace(machine(), ranks=1))


def _processor() -> str:
    """Return the name of the processor; on Linux, its model."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return [*names, platform.processor() or platform.machine()][0]
