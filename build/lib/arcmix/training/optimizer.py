"""Save and load the state of an optimizer, for a second stage of training.

The file holds the moments by parameter name, and no settings. A state dictionary of torch holds the
settings as well, so loading one restores the earlier learning rate (arc24, iteration 7).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from arcmix import files

Named = Iterable[tuple[str, torch.nn.Parameter]]

FIRST_MOMENT = ("exp_avg", "state1")
"""Names of the first moment in torch and in bitsandbytes; it has the parameter's shape."""


def save_state(path: Path, optimizer: torch.optim.Optimizer, named: Named, kind: str) -> None:
    """Write the state of each trained parameter.

    Args:
        path: A safetensors file: PARAMETER.MOMENT -> tensor.
        optimizer: The optimizer.
        named: The model's parameters by name.
        kind: Name of the optimizer.
    """
    tensors = {
        f"{name}.{moment}": torch.as_tensor(value).detach().cpu().contiguous()
        for name, parameter in named
        for moment, value in optimizer.state.get(parameter, {}).items()
    }
    with files.replacing(path) as new:
        safetensors.torch.save_file(tensors, new, metadata={"optimizer": kind})


def load_state(
    path: Path,
    optimizer: torch.optim.Optimizer,
    named: Named,
    kind: str,
    learning_rates: Sequence[float],
) -> None:
    """Load a saved state into a new optimizer, and keep the settings of that optimizer.

    Args:
        path: The file that `save_state` wrote.
        optimizer: The optimizer; it is modified in place.
        named: The model's parameters by name.
        kind: Name of the optimizer.
        learning_rates: Learning rate of each parameter group according to the schedule.

    Raises:
        ValueError: If the state belongs to other parameters or to another kind of optimizer, or
            if a learning rate differs from the schedule.
    """
    with safetensors.safe_open(path, framework="pt") as file:
        if (saved := (file.metadata() or {}).get("optimizer")) != kind:
            raise ValueError(
                f"{path} holds the state of optimizer {saved}, but this run uses {kind};"
                " set init.optimizer to fresh, or choose the same optimizer"
            )
        state: dict[str, dict[str, Any]] = {}
        for key in file.keys():  # noqa: SIM118 - a handle, not a mapping
            name, _, moment = key.rpartition(".")
            value = file.get_tensor(key)
            # The step count is a Python int in bitsandbytes, and a float tensor in torch.
            is_count = not value.dim() and not value.is_floating_point()
            state.setdefault(name, {})[moment] = value.item() if is_count else value
    fresh = optimizer.state_dict()
    names = _by_index(optimizer, named, fresh)
    _check_fit(path, state, names)
    # `load_state_dict` moves each tensor to the device and dtype of its parameter.
    indexed = {index: state[name] for index, (name, _) in names.items()}
    optimizer.load_state_dict({"state": indexed, "param_groups": fresh["param_groups"]})
    found = [group["lr"] for group in optimizer.param_groups]
    if found != [*learning_rates]:
        raise ValueError(
            f"the optimizer has the learning rates {found}, but the schedule requires"
            f" {[*learning_rates]}; set init.optimizer to fresh"
        )


def _by_index(
    optimizer: torch.optim.Optimizer, named: Named, state: dict
) -> dict[int, tuple[str, torch.Tensor]]:
    """Return the name and the tensor of each parameter by its index in a state dictionary."""
    names = {parameter: name for name, parameter in named}
    return {
        index: (names[parameter], parameter)
        for group, indices in zip(optimizer.param_groups, state["param_groups"], strict=True)
        for parameter, index in zip(group["params"], indices["params"], strict=True)
    }


def _check_fit(
    path: Path,
    state: dict[str, dict[str, Any]],
    names: dict[int, tuple[str, torch.Tensor]],
) -> None:
    advice = "set init.optimizer to fresh, or use the adapter settings of the earlier run"
    trained = {name: parameter.shape for name, parameter in names.values()}
    if unmatched := sorted(state.keys() ^ trained.keys()):
        raise ValueError(
            f"{path} holds the state of {len(state)} parameters, but this run trains"
            f" {len(trained)}; {len(unmatched)} are not in both, such as {unmatched[0]}; {advice}"
        )
    for name, shape in trained.items():
        found = [tuple(state[name][key].shape) for key in FIRST_MOMENT if key in state[name]]
        if found != [tuple(shape)]:
            raise ValueError(
                f"{path}: {name} has shape {tuple(shape)}, but its first moment has {found};"
                f" {advice}"
            )
