"""How a network is trained, whatever it learns: AdamW, a cosine of learning rates, early stopping, resuming.

An epoch draws from its own seed, and all that goes over from one to the next is in the checkpoint: a training that was
killed and goes on ends in the same weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import InputError

_MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of each parameter


class Plan(NamedTuple):
    """How to train: at most ``epochs``, until ``patience`` epochs bring no better loss of what is checked."""

    seed: int
    epochs: int = 60
    patience: int = 8
    batch: int = 256


class Course(NamedTuple):
    """How a training goes from one epoch to the next, as whoever starts it wants to have it.

    ``checkpoint`` is a file that is written after each epoch, and ``resume`` goes on from it; ``told`` is called after
    each epoch with its number, from 0 on, and its losses of what is fitted and of what is checked. ``start`` is the
    JSON file of weights to begin with, in the place of those that are drawn; scalers are then those of that file.
    ``device`` is where torch computes, ``cpu`` or ``cuda``; what is drawn to begin with, and orders, come from the CPU.
    """

    checkpoint: Path | None = None
    resume: bool = False
    told: Callable[[int, float, float], None] = lambda epoch, fitted, checked: None
    start: Path | None = None
    device: str = "cpu"


ALONE: Final = Course()
"""Nothing is kept and nobody told."""


class Descent(NamedTuple):
    """AdamW's learning rate at the beginning, from where it goes to 0, its weight decay, and the longest gradient."""

    rate: float = 2e-3
    decay: float = 1e-3
    longest: float = 1.0


class Fitted(NamedTuple):
    """The best tensors by name, and the losses of each epoch: of what is fitted and of what is checked."""

    tensors: dict[str, npt.NDArray[np.float32]]
    losses: list[tuple[float, float]]
    best_epoch: int


def device_of(asked: str) -> str:
    """The device that ``auto`` (a GPU where torch finds one), ``cpu`` or ``cuda`` means here.

    InputError for a GPU that torch does not find.
    """
    import torch

    found = torch.cuda.is_available()
    if asked == "cuda" and not found:
        raise InputError(f"--device cuda: torch {torch.__version__} finds no GPU here; use --device cpu or auto")
    return "cuda" if found and asked != "cpu" else "cpu"


def moved(value: Any, device: str) -> Any:
    """A torch tensor, or a tuple or dictionary of them, on a device."""
    if isinstance(value, dict):
        return {name: moved(each, device) for name, each in value.items()}
    if isinstance(value, tuple):
        parts = [moved(each, device) for each in value]
        return value._make(parts) if hasattr(value, "_make") else tuple(parts)
    return value.to(device)


def digest(arrays: Iterable[npt.NDArray[Any]]) -> str:
    """SHA-256 of the numbers in some arrays."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array, np.float64).tobytes())
    return found.hexdigest()


def fit(
    parameters: Mapping[str, Any],
    steps: Callable[[int], Iterable[tuple[Any, int]]],
    checked: Callable[[], float],
    plan: Plan,
    descent: Descent,
    identity: str,
    course: Course,
    *,
    members: int = 1,
) -> Fitted:
    """Train ``parameters``, torch tensors by name, in place.

    Parameters
    ----------
    steps : gives the steps of an epoch: of each the loss, a scalar tensor, and of how many examples it is the mean.
    checked : the loss by which is chosen, of what is not fitted; called without gradients.
    identity : a checkpoint of another one is refused: of other data, or of another plan.
    members : of an ensemble whose losses are added up: the mean is told, and gradients may be so much longer.

    Raises InputError where the checkpoint is damaged or of another training.
    """
    import torch

    identity = f"{identity} {list(plan)} {list(descent)}"
    for value in parameters.values():
        value.requires_grad_(True)
    optimizer = torch.optim.AdamW(list(parameters.values()), lr=descent.rate, weight_decay=descent.decay)
    losses: list[tuple[float, float]] = []
    best = {name: value.detach().clone() for name, value in parameters.items()}
    best_epoch = -1
    checkpoint = course.checkpoint
    if course.resume and checkpoint is not None and checkpoint.exists():
        losses, best_epoch = _restore(checkpoint, identity, torch, parameters, best, optimizer)
    for epoch in range(len(losses), plan.epochs):
        if best_epoch >= 0 and epoch - best_epoch > plan.patience:
            break
        torch.manual_seed(plan.seed * 1_000_003 + epoch)
        for group in optimizer.param_groups:
            group["lr"] = descent.rate * 0.5 * (1 + np.cos(np.pi * epoch / plan.epochs))
        total, count = 0.0, 0
        for loss, examples in steps(epoch):
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(parameters.values()), descent.longest * members)
            optimizer.step()
            total += float(loss.detach()) * examples / members
            count += examples
        with torch.no_grad():
            losses.append((total / max(count, 1), checked()))
        if best_epoch < 0 or losses[-1][1] < losses[best_epoch][1]:
            best_epoch = epoch
            best = {name: value.detach().clone() for name, value in parameters.items()}
        if checkpoint is not None:
            _leave(checkpoint, identity, parameters, best, optimizer, losses, best_epoch)
        course.told(epoch, *losses[-1])
    return Fitted({name: value.cpu().numpy().astype(np.float32) for name, value in best.items()}, losses, best_epoch)


def _leave(
    checkpoint: Path, identity: str, parameters: Any, best: Any, optimizer: Any, losses: Any, best_epoch: int
) -> None:
    """Write all that the next epoch needs, in one file: it is there whole or not at all."""
    from safetensors.numpy import save_file

    state = optimizer.state_dict()["state"]
    arrays = {f"now.{name}": value.detach().cpu().numpy() for name, value in parameters.items()}
    arrays |= {f"best.{name}": value.cpu().numpy() for name, value in best.items()}
    for number, name in enumerate(parameters):
        arrays |= {f"{key}.{name}": state[number][key].cpu().numpy().reshape(-1) for key in _MOMENTS}
    told = json.dumps({"identity": identity, "tensors": list(arrays), "losses": losses, "best_epoch": best_epoch})
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    draft = checkpoint.with_name(f".{checkpoint.name}.draft")
    save_file(arrays, draft, {"told": told})
    draft.replace(checkpoint)


def _restore(
    checkpoint: Path, identity: str, torch: Any, parameters: Any, best: Any, optimizer: Any
) -> tuple[list[tuple[float, float]], int]:
    """Put back what ``_leave`` wrote; InputError where it is damaged, or of another training."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint, "numpy") as file:
            told = json.loads(file.metadata()["told"])
            arrays = {name: file.get_tensor(name) for name in told["tensors"]}
        if told["identity"] != identity:
            raise InputError(f"{checkpoint}: of other data, or of another plan; train without --resume")
        moments = {}
        for number, (name, value) in enumerate(parameters.items()):
            value.data.copy_(torch.from_numpy(arrays[f"now.{name}"]))
            best[name].copy_(torch.from_numpy(arrays[f"best.{name}"]))
            shapes = {key: () if key == "step" else tuple(value.shape) for key in _MOMENTS}
            moments[number] = {key: torch.from_numpy(arrays[f"{key}.{name}"]).reshape(shapes[key]) for key in _MOMENTS}
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        return [(float(fitted), float(checked)) for fitted, checked in told["losses"]], int(told["best_epoch"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{checkpoint}: no checkpoint of this training: {error}") from error
