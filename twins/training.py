"""Training of the performance ensemble: likelihood with censoring at the walltime.

Where a job was stopped at its walltime nothing is known but that it would have run longer; the likelihood says just
that (Tobin 1958), so that the mixture ends at the walltime by itself. All members are trained side by side, each on its
own order of the jobs.

References
----------
Lakshminarayanan, Pritzel and Blundell (2017), Simple and scalable predictive uncertainty estimation using deep
ensembles. Bishop (1994), Mixture density networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from .features import NAMES
from .loop import ALONE, Course, Descent, Plan, digest, fit, moved
from .network import (
    FREE,
    KIND,
    LEAST_LOG_DEVIATION,
    LEAST_OF_POINTERS,
    MEMBERS,
    MOST_LOG_DEVIATION,
    SHAPES,
    pointed,
    scaled,
)
from .weights import load

Floats = npt.NDArray[np.float64]

_DROPOUT: Final = 0.1
_CONSTANT: Final = 1e-9


class Data(NamedTuple):
    """Jobs to learn from: features (J, F), how long they ran and may run, seconds."""

    features: Floats
    runtime_s: Floats
    walltime_s: Floats


class Trained(NamedTuple):
    """The best weights, their scalers, and the losses of each epoch: of training and of validation."""

    tensors: dict[str, npt.NDArray[np.float32]]
    center: list[float]
    scale: list[float]
    losses: list[tuple[float, float]]
    best_epoch: int


class Start(NamedTuple):
    """What a training may begin with in the place of weights that are drawn: tensors, and the scalers of features."""

    tensors: Mapping[str, npt.NDArray[np.float32]]
    center: list[float]
    scale: list[float]


def train(fitted: Data, check: Data, plan: Plan, course: Course = ALONE, start: Start | None = None) -> Trained:
    """Train an ensemble on ``fitted``, from ``start`` or the file of ``course`` on, and stop by ``check``."""
    import torch

    torch.manual_seed(plan.seed)
    if start is None and course.start is not None:
        begun = load(course.start, KIND, SHAPES, NAMES)
        start = Start(begun.tensors, begun.about["center"], begun.about["scale"])
    center, scale = scalers(fitted.features) if start is None else (start.center, start.scale)
    x, truth = moved(_tensors(torch, fitted, center, scale), course.device)
    x_check, truth_check = moved(_tensors(torch, check, center, scale), course.device)
    parameters = _begin(torch) if start is None else {n: torch.from_numpy(v.copy()) for n, v in start.tensors.items()}
    parameters = moved(parameters, course.device)

    def steps(epoch: int) -> Iterator[tuple[Any, int]]:
        order = torch.stack([torch.randperm(len(x)) for _ in range(MEMBERS)])
        for begin in range(0, len(x), plan.batch):
            which = order[:, begin : begin + plan.batch]
            output = forward(torch, parameters, x[which], dropout=True)
            yield -_log_likelihood(torch, output, truth.take(which)).mean(1).sum(), which.shape[1]

    def checked() -> float:
        return _checked_loss(torch, parameters, x_check, truth_check)

    identity = f"{digest(fitted)} {digest(check)} {'' if start is None else digest(start.tensors.values())}"
    found = fit(parameters, steps, checked, plan, Descent(), identity, course, members=MEMBERS)
    return Trained(found.tensors, center, scale, found.losses, found.best_epoch)


def scalers(features: Floats) -> tuple[list[float], list[float]]:
    """Mean and deviation of each feature of examples (J, F); 1 for the deviation of what is always the same."""
    center, scale = features.mean(0), features.std(0)
    return center.tolist(), np.where(scale > _CONSTANT, scale, 1.0).tolist()


class _Truth(NamedTuple):
    """Of J jobs ln runtime relative to the walltime, whether that is only known to be more, and what is pointed at."""

    log_ratio: Any
    censored: Any
    pointed: Any

    def take(self, which: Any) -> _Truth:
        """That of some jobs."""
        return _Truth(*(part[which] for part in self))


def _tensors(torch: Any, data: Data, center: list[float], scale: list[float]) -> tuple[Any, _Truth]:
    """The features, and the truth."""
    limit = np.log(np.maximum(data.walltime_s, 1.0))
    log_ratio = np.minimum(np.log(np.maximum(data.runtime_s, 1.0)) - limit, 0.0).astype(np.float32)
    censored = data.runtime_s >= data.walltime_s
    parts = scaled(data.features, center, scale), log_ratio, censored, pointed(data.features)
    x, *truth = map(torch.from_numpy, parts)
    return x, _Truth(*truth)


def _begin(torch: Any) -> dict[str, Any]:
    parameters = {}
    for name, shape in SHAPES.items():
        if name.startswith("weight"):
            value = torch.randn(shape) * (2.0 / shape[1]) ** 0.5 * (0.1 if name == "weight2" else 1.0)
        else:
            value = torch.zeros(shape)
        parameters[name] = value
    first = torch.tensor([[0.0, -0.3, 0.0], [0.0, -1.5, 0.0], [0.0, -4.0, 0.5]])  # near the limit, below, far below
    parameters["bias2"][..., : 3 * FREE] += first[:FREE].reshape(-1)
    parameters["bias2"][..., 3 * FREE + 1 :: 2] = -2.0  # the deviation of what is pointed at
    return parameters


def forward(torch: Any, parameters: Mapping[str, Any], x: Any, *, dropout: bool = False) -> Any:
    """What M perceptrons say of J examples, (M, J, outputs); of x (M, J, F), scaled features."""
    for layer in range(3):
        x = torch.baddbmm(parameters[f"bias{layer}"], x, parameters[f"weight{layer}"])
        if layer < 2:
            x = torch.nn.functional.silu(x)
            x = torch.nn.functional.dropout(x, _DROPOUT, training=dropout)
    return x


def _log_likelihood(torch: Any, output: Any, truth: _Truth) -> Any:
    """Of each job under each member, (M, J)."""
    free, pointing = output[..., : 3 * FREE], output[..., 3 * FREE :]
    log_weight = torch.log_softmax(torch.cat([free[..., 0::3], pointing[..., 0::2]], -1), -1)
    log_deviation = torch.cat(
        [
            free[..., 2::3].clamp(LEAST_LOG_DEVIATION, MOST_LOG_DEVIATION),
            pointing[..., 1::2].clamp(LEAST_OF_POINTERS, MOST_LOG_DEVIATION),
        ],
        -1,
    )
    mean = torch.cat([free[..., 1::3].clamp(max=3.0), truth.pointed], -1)
    z = (truth.log_ratio[..., None] - mean) * torch.exp(-log_deviation)
    seen = -0.5 * z**2 - log_deviation - 0.9189385332
    longer = torch.special.log_ndtr(-z)
    return torch.logsumexp(log_weight + torch.where(truth.censored[..., None], longer, seen), -1)


def _checked_loss(torch: Any, parameters: Mapping[str, Any], x: Any, truth: _Truth) -> float:
    """The loss of the ensemble as a whole."""
    total = 0.0
    for begin in range(0, len(x), 8192):
        part = slice(begin, begin + 8192)
        output = forward(torch, parameters, x[part].expand(MEMBERS, *x[part].shape))
        whole = truth.take(part)
        terms = _log_likelihood(torch, output, _Truth(*(each.expand(MEMBERS, *each.shape) for each in whole)))
        total -= float((torch.logsumexp(terms, 0) - np.log(MEMBERS)).sum())
    return total / max(len(x), 1)
