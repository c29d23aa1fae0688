"""Training of the performance ensemble: likelihood with censoring at the walltime, early stopping, resuming.

Where a job was stopped at its walltime nothing is known but that it would have run longer; the likelihood says just
that (Tobin 1958), so that the mixture ends at the walltime by itself. All members are trained side by side, each on its
own order of the jobs. An epoch draws from its own seed, and all that goes over from one to the next is in the
checkpoint: a training that was killed and goes on ends in the same weights.

References
----------
Lakshminarayanan, Pritzel and Blundell (2017), Simple and scalable predictive uncertainty estimation using deep
ensembles. Bishop (1994), Mixture density networks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import InputError

from .network import COMPONENTS, LEAST_LOG_DEVIATION, MEMBERS, MOST_LOG_DEVIATION, SHAPES, scaled

Floats = npt.NDArray[np.float64]

_DROPOUT: Final = 0.1
_RATE: Final = 2e-3
_DECAY: Final = 1e-3
_CLIP_NORM: Final = 1.0
_CONSTANT: Final = 1e-9
_MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of each parameter


class Data(NamedTuple):
    """Jobs to learn from: features (J, F), how long they ran and may run, seconds."""

    features: Floats
    runtime_s: Floats
    walltime_s: Floats

    def digest(self) -> str:
        """SHA-256 of all of it."""
        found = hashlib.sha256()
        for part in self:
            found.update(np.ascontiguousarray(part, np.float64).tobytes())
        return found.hexdigest()


class Plan(NamedTuple):
    """How to train: at most ``epochs``, until ``patience`` epochs bring no better loss of the validation jobs."""

    seed: int
    epochs: int = 60
    patience: int = 8
    batch: int = 256


class Trained(NamedTuple):
    """The best weights, their scalers, and the losses of each epoch: of training and of validation."""

    tensors: dict[str, npt.NDArray[np.float32]]
    center: list[float]
    scale: list[float]
    losses: list[tuple[float, float]]
    best_epoch: int


def train(
    fit: Data,
    check: Data,
    plan: Plan,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    told: Callable[[int, float, float], None] = lambda epoch, fitted, checked: None,
) -> Trained:
    """Train an ensemble on ``fit`` and stop by ``check``; ``told`` is called after each epoch.

    With ``checkpoint``, the path of a file, the state is left there after each epoch, and ``resume`` goes on from it.
    """
    import torch

    torch.manual_seed(plan.seed)
    center, scale = _scalers(fit.features)
    x, y, censored = _tensors(torch, fit, center, scale)
    x_check, y_check, censored_check = _tensors(torch, check, center, scale)
    parameters = _begin(torch)
    optimizer = torch.optim.AdamW(list(parameters.values()), lr=_RATE, weight_decay=_DECAY)
    identity = f"{fit.digest()} {check.digest()} {list(plan)}"
    losses: list[tuple[float, float]] = []
    best: dict[str, Any] = {name: value.detach().clone() for name, value in parameters.items()}
    best_epoch = -1
    if resume and checkpoint is not None and checkpoint.exists():
        losses, best_epoch = _restore(checkpoint, identity, torch, parameters, best, optimizer)
    for epoch in range(len(losses), plan.epochs):
        if epoch - best_epoch > plan.patience and best_epoch >= 0:
            break
        torch.manual_seed(plan.seed * 1_000_003 + epoch)
        for group in optimizer.param_groups:
            group["lr"] = _RATE * 0.5 * (1 + np.cos(np.pi * epoch / plan.epochs))
        order = torch.stack([torch.randperm(len(y)) for _ in range(MEMBERS)])
        total = 0.0
        for begin in range(0, len(y), plan.batch):
            which = order[:, begin : begin + plan.batch]
            optimizer.zero_grad()
            output = _forward(torch, parameters, x[which], dropout=True)
            loss = _loss(torch, output, y[which], censored[which]).mean(1).sum()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(parameters.values()), _CLIP_NORM * MEMBERS)
            optimizer.step()
            total += float(loss.detach()) * which.shape[1] / MEMBERS
        with torch.no_grad():
            checked = _checked_loss(torch, parameters, x_check, y_check, censored_check)
        losses.append((total / len(y), checked))
        if best_epoch < 0 or checked < losses[best_epoch][1]:
            best_epoch = epoch
            best = {name: value.detach().clone() for name, value in parameters.items()}
        if checkpoint is not None:
            _leave(checkpoint, identity, parameters, best, optimizer, losses, best_epoch)
        told(epoch, *losses[-1])
    tensors = {name: value.numpy().astype(np.float32) for name, value in best.items()}
    return Trained(tensors, center, scale, losses, best_epoch)


def _scalers(features: Floats) -> tuple[list[float], list[float]]:
    center, scale = features.mean(0), features.std(0)
    return center.tolist(), np.where(scale > _CONSTANT, scale, 1.0).tolist()


def _tensors(torch: Any, data: Data, center: list[float], scale: list[float]) -> tuple[Any, Any, Any]:
    """Features, ln runtime relative to the walltime, and whether that is only known to be more."""
    limit = np.log(np.maximum(data.walltime_s, 1.0))
    log_ratio = np.minimum(np.log(np.maximum(data.runtime_s, 1.0)) - limit, 0.0).astype(np.float32)
    censored = data.runtime_s >= data.walltime_s
    return tuple(torch.from_numpy(part) for part in (scaled(data.features, center, scale), log_ratio, censored))


def _begin(torch: Any) -> dict[str, Any]:
    parameters = {}
    for name, shape in SHAPES.items():
        if name.startswith("weight"):
            value = torch.randn(shape) * (2.0 / shape[1]) ** 0.5 * (0.1 if name == "weight2" else 1.0)
        else:
            value = torch.zeros(shape)
        parameters[name] = value
    first = torch.tensor([[0.0, -0.3, 0.0], [0.0, -1.5, 0.0], [0.0, -4.0, 0.5]])  # near the limit, below, far below
    parameters["bias2"] += first[:COMPONENTS].reshape(-1)
    for value in parameters.values():
        value.requires_grad_(True)
    return parameters


def _forward(torch: Any, parameters: Mapping[str, Any], x: Any, *, dropout: bool = False) -> Any:
    for layer in range(3):
        x = torch.baddbmm(parameters[f"bias{layer}"], x, parameters[f"weight{layer}"])
        if layer < 2:
            x = torch.nn.functional.silu(x)
            x = torch.nn.functional.dropout(x, _DROPOUT, training=dropout)
    return x


def _component_terms(torch: Any, output: Any, log_ratio: Any, censored: Any) -> Any:
    """Log likelihood of each job under each member, (M, J)."""
    log_weight = torch.log_softmax(output[..., 0::3], -1)
    log_deviation = output[..., 2::3].clamp(LEAST_LOG_DEVIATION, MOST_LOG_DEVIATION)
    z = (log_ratio[..., None] - output[..., 1::3].clamp(max=3.0)) * torch.exp(-log_deviation)
    seen = -0.5 * z**2 - log_deviation - 0.9189385332
    longer = torch.special.log_ndtr(-z)
    return torch.logsumexp(log_weight + torch.where(censored[..., None], longer, seen), -1)


def _loss(torch: Any, output: Any, log_ratio: Any, censored: Any) -> Any:
    return -_component_terms(torch, output, log_ratio, censored)


def _checked_loss(torch: Any, parameters: Mapping[str, Any], x: Any, log_ratio: Any, censored: Any) -> float:
    """The loss of the ensemble as a whole."""
    total = 0.0
    for begin in range(0, len(x), 8192):
        part = slice(begin, begin + 8192)
        output = _forward(torch, parameters, x[part].expand(MEMBERS, *x[part].shape))
        terms = _component_terms(torch, output, log_ratio[part].expand(MEMBERS, -1), censored[part].expand(MEMBERS, -1))
        total -= float((torch.logsumexp(terms, 0) - np.log(MEMBERS)).sum())
    return total / max(len(x), 1)


def _leave(
    checkpoint: Path, identity: str, parameters: Any, best: Any, optimizer: Any, losses: Any, best_epoch: int
) -> None:
    """Write all that the next epoch needs, in one file: it is there whole or not at all."""
    from safetensors.numpy import save_file

    state = optimizer.state_dict()["state"]
    arrays = {f"now.{name}": value.detach().numpy() for name, value in parameters.items()}
    arrays |= {f"best.{name}": value.numpy() for name, value in best.items()}
    for number, name in enumerate(parameters):
        arrays |= {f"{key}.{name}": state[number][key].numpy().reshape(-1) for key in _MOMENTS}
    told = json.dumps({"identity": identity, "tensors": list(arrays), "losses": losses, "best_epoch": best_epoch})
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    draft = checkpoint.with_name(f".{checkpoint.name}.draft")
    save_file(arrays, draft, {"told": told})
    draft.replace(checkpoint)


def _restore(
    checkpoint: Path, identity: str, torch: Any, parameters: Any, best: Any, optimizer: Any
) -> tuple[list[tuple[float, float]], int]:
    """Put back what ``_leave`` wrote; InputError where it is damaged, or of other jobs."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint, "numpy") as file:
            told = json.loads(file.metadata()["told"])
            arrays = {name: file.get_tensor(name) for name in told["tensors"]}
        if told["identity"] != identity:
            raise InputError(f"{checkpoint}: of other jobs, or of another plan; train without --resume")
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
