"""What the last bits of a result depend on beside its inputs: the hardware and the libraries."""

import importlib.metadata

import torch

LIBRARIES = ("accelerate", "peft", "torch", "transformers", "trl")
"""The libraries that compute."""


def found() -> dict[str, str | int]:
    """Return the device, its kind or instruction set, the threads and the versions, as JSON."""
    on_gpu = torch.cuda.is_available()
    kind = torch.cuda.get_device_name() if on_gpu else torch.backends.cpu.get_cpu_capability()
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"device": kind, "threads": torch.get_num_threads()} | versions
