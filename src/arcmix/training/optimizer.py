"""The state of an optimizer, for a second stage of training.

Kept are its moments, by the names of the parameters. Not kept are its settings: a state
dictionary of torch holds them, too, and loading one brings back the earlier learning rate
(arc24, iteration 7).
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
"""Names of the moment that has its parameter's shape, in torch and in bitsandbytes."""


def save_state(path: Path, optimizer: torch.optim.Optimizer, named: Named, kind: str) -> None:
    """Write the state of each parameter that the optimizer has trained.

    Args:
        path: A file of safetensors: PARAMETER.MOMENT -> tensor.
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
    """Give a fresh optimizer the state of an earlier one, and nothing but the state.

    Args:
        path: What `save_state` wrote.
        optimizer: The optimizer; its settings stay as they are.
        named: The model's parameters by name.
        kind: Name of the optimizer.
        learning_rates: What the schedule says for each group of parameters.

    Raises:
        ValueError: If the state is not of these parameters or of this kind of optimizer, or if
            a learning rate is not the schedule's.
    """
    with safetensors.safe_open(path, framework="pt") as file:
        if (saved := (file.metadata() or {}).get("optimizer")) != kind:
            raise ValueError(
                f"{path}: the state of optimizer {saved}, this run's is {kind};"
                " set init.optimizer to fresh, or choose the same optimizer"
            )
        state: dict[str, dict[str, Any]] = {}
        for key in file.keys():  # noqa: SIM118 - a handle, not a mapping
            name, _, moment = key.rpartition(".")
            value = file.get_tensor(key)
            # bitsandbytes counts its steps in a number, torch in a tensor of floats.
            number = not value.dim() and not value.is_floating_point()
            state.setdefault(name, {})[moment] = value.item() if number else value
    fresh = optimizer.state_dict()
    names = _numbered(optimizer, named, fresh)
    _check_fit(path, state, names)
    # Torch's own way in moves each tensor to its parameter's device and type.
    numbered = {number: state[name] for number, (name, _) in names.items()}
    optimizer.load_state_dict({"state": numbered, "param_groups": fresh["param_groups"]})
    found = [group["lr"] for group in optimizer.param_groups]
    if found != [*learning_rates]:
        raise ValueError(f"the learning rates are {found}, the schedule says {[*learning_rates]}")


def _numbered(
    optimizer: torch.optim.Optimizer, named: Named, state: dict
) -> dict[int, tuple[str, torch.Tensor]]:
    """Return the name and the tensor of each parameter by its number in a state dictionary."""
    names = {parameter: name for name, parameter in named}
    return {
        number: (names[parameter], parameter)
        for group, numbers in zip(optimizer.param_groups, state["param_groups"], strict=True)
        for parameter, number in zip(group["params"], numbers["params"], strict=True)
    }


def _check_fit(
    path: Path,
    state: dict[str, dict[str, Any]],
    names: dict[int, tuple[str, torch.Tensor]],
) -> None:
    advice = "set init.optimizer to fresh, or give the adapter the shape that it had"
    trained = {name: parameter.shape for name, parameter in names.values()}
    if odd := sorted(state.keys() ^ trained.keys()):
        raise ValueError(
            f"{path}: the state is of {len(state)} parameters and {len(trained)} are trained,"
            f" {len(odd)} not in both, such as {odd[0]}; {advice}"
        )
    for name, shape in trained.items():
        found = [tuple(state[name][key].shape) for key in FIRST_MOMENT if key in state[name]]
        if found != [tuple(shape)]:
            raise ValueError(
                f"{path}: {name} has shape {tuple(shape)}, its first moment {found}; {advice}"
            )
