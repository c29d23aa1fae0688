"""Training of the energy twin's two networks: first of the one about jobs, then of that about the whole machine.

Of a job, the runtime is learned as in ``training``, and ln watts by a Gaussian likelihood, where they are known. Of the
machine, the location of the change of power is learned by the absolute error, so that it is the median of what may
come, and the deviation by the Gaussian likelihood of what is left: power changes in steps, and the mean of "a large job
ends or it does not" is a power that will not be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from .energy_network import (
    CELLS,
    COMPONENTS,
    JOB_SHAPES,
    LEAST_LOG_DEVIATION,
    LOG_DEVIATIONS,
    MEMBERS,
    MOST_LOG_DEVIATION,
    MOST_MEAN,
    RUNTIME,
    SYSTEM_MEMBERS,
    SYSTEM_SHAPES,
    changes,
    scaled_moments,
)
from .energy_state import HORIZONS_S
from .features import Bools, Floats
from .loop import ALONE, Course, Descent, Fitted, Plan, digest, fit
from .network import scaled
from .training import scalers

H: Final = len(HORIZONS_S)
_ROOT: Final = 0.9189385332  # ln sqrt(2 pi)


class JobData(NamedTuple):
    """Jobs: features (J, F), how long they ran and may run, seconds, ln share of the peak drawn, and where it is
    known."""

    features: Floats
    runtime_s: Floats
    walltime_s: Floats
    log_share: Floats
    is_told: Bools


class SystemData(NamedTuple):
    """Moments: maps (B, C, rows, columns), series (B, T, C), numbers (B, S), changes of power (B, H)."""

    maps: npt.NDArray[np.float32]
    series: npt.NDArray[np.float32]
    numbers: Floats
    changes: Floats


class Taught(NamedTuple):
    """The best tensors, the scalers of features or numbers, and the losses; ``unit`` (H,) of the changes of power."""

    fitted: Fitted
    center: list[float]
    scale: list[float]
    unit: list[float]


class Start(NamedTuple):
    """What a training may begin with in the place of weights that are drawn: tensors, and their scalers and units."""

    tensors: Mapping[str, npt.NDArray[np.float32]]
    center: list[float]
    scale: list[float]
    unit: list[float]


def train_jobs(data: JobData, check: JobData, plan: Plan, course: Course = ALONE, start: Start | None = None) -> Taught:
    """Train the network about jobs on ``data`` and stop by ``check``."""
    import torch

    torch.manual_seed(plan.seed)
    center, scale = scalers(data.features) if start is None else start[1:3]
    x, *truth = _job_tensors(torch, data, center, scale)
    x_check, *truth_check = _job_tensors(torch, check, center, scale)
    parameters = _begin(torch, JOB_SHAPES) if start is None else _copied(torch, start)

    def steps(epoch: int) -> Iterator[tuple[Any, int]]:
        order = torch.stack([torch.randperm(len(x)) for _ in range(MEMBERS)])
        for first in range(0, len(x), plan.batch):
            which = order[:, first : first + plan.batch]
            output = _forward(torch, parameters, x[which], dropout=True)
            yield _job_loss(torch, output, *(part[which] for part in truth)), which.shape[1]

    def checked() -> float:
        output = _forward(torch, parameters, x_check.expand(MEMBERS, *x_check.shape))
        spread = (part.expand(MEMBERS, -1) for part in truth_check)
        return float(_job_loss(torch, output, *spread)) / MEMBERS

    identity = f"jobs {digest(data)} {digest(check)}"
    found = fit(parameters, steps, checked, plan, Descent(), identity, course, members=MEMBERS)
    return Taught(found, center, scale, [])


def _begin(torch: Any, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Where the perceptrons of ``shapes``, named as those of ``network``, begin: the mixtures come first."""
    parameters = {}
    for name, shape in shapes.items():
        if name.startswith("weight"):
            value = torch.randn(shape) * (2.0 / shape[1]) ** 0.5 * (0.1 if name == "weight2" else 1.0)
        else:
            value = torch.zeros(shape)
        parameters[name] = value
    first = torch.tensor([[0.0, -0.3, 0.0], [0.0, -1.5, 0.0], [0.0, -4.0, 0.5]])  # near the limit, below, far below
    parameters["bias2"][..., : 3 * COMPONENTS] += first[:COMPONENTS].reshape(-1)
    return parameters


def _forward(torch: Any, parameters: Mapping[str, Any], x: Any, *, dropout: bool = False) -> Any:
    """What the members say of jobs, (M, J, outputs); of x (M, J, F), scaled features."""
    for layer in range(3):
        x = torch.baddbmm(parameters[f"bias{layer}"], x, parameters[f"weight{layer}"])
        if layer < 2:
            x = torch.nn.functional.silu(x)
            x = torch.nn.functional.dropout(x, 0.1, training=dropout)
    return x


def _component_terms(torch: Any, output: Any, log_ratio: Any, censored: Any) -> Any:
    """Log likelihood of each job under each member, (M, J)."""
    log_weight = torch.log_softmax(output[..., 0::3], -1)
    log_deviation = output[..., 2::3].clamp(*LOG_DEVIATIONS)
    z = (log_ratio[..., None] - output[..., 1::3].clamp(max=MOST_MEAN)) * torch.exp(-log_deviation)
    seen = -0.5 * z**2 - log_deviation - 0.9189385332
    longer = torch.special.log_ndtr(-z)
    return torch.logsumexp(log_weight + torch.where(censored[..., None], longer, seen), -1)


def _job_tensors(torch: Any, data: JobData, center: list[float], scale: list[float]) -> tuple[Any, ...]:
    limit = np.log(np.maximum(data.walltime_s, 1.0))
    log_ratio = np.minimum(np.log(np.maximum(data.runtime_s, 1.0)) - limit, 0.0).astype(np.float32)
    parts = (
        scaled(data.features, center, scale), log_ratio, data.runtime_s >= data.walltime_s,
        data.log_share.astype(np.float32), data.is_told.astype(np.float32),
    )  # fmt: skip
    return tuple(torch.from_numpy(part) for part in parts)


def _job_loss(torch: Any, output: Any, log_ratio: Any, censored: Any, log_share: Any, is_told: Any) -> Any:
    runtime = _component_terms(torch, output[..., :RUNTIME], log_ratio, censored)
    log_deviation = output[..., RUNTIME + 1].clamp(LEAST_LOG_DEVIATION, 1.0)
    z = (log_share - output[..., RUNTIME]) * torch.exp(-log_deviation)
    watts = -0.5 * z**2 - log_deviation - _ROOT
    return -(runtime + is_told * watts).mean(1).sum()


def _copied(torch: Any, start: Start) -> dict[str, Any]:
    return {name: torch.from_numpy(value.copy()) for name, value in start.tensors.items()}


def train_system(
    data: SystemData, check: SystemData, plan: Plan, course: Course = ALONE, start: Start | None = None
) -> Taught:
    """Train the network about the machine on ``data`` and stop by ``check``."""
    import torch

    torch.manual_seed(plan.seed + 1)
    center, scale = scalers(data.numbers) if start is None else start[1:3]
    unit = np.maximum(data.changes.std(0), 1e-9).tolist() if start is None else start.unit
    fitted, checking = (_system_tensors(torch, each, center, scale, unit) for each in (data, check))
    parameters = _system_beginning(torch) if start is None else _copied(torch, start)

    def steps(epoch: int) -> Iterator[tuple[Any, int]]:
        count = len(fitted[3])
        order = torch.stack([torch.randperm(count) for _ in range(SYSTEM_MEMBERS)])
        for first in range(0, count, plan.batch):
            which = order[:, first : first + plan.batch]
            maps, series, x, y = (part[which] for part in fitted)
            x = torch.nn.functional.dropout(x, 0.1)
            output = changes(torch, parameters, maps, series, x)
            yield _system_loss(torch, output, y), which.shape[1]

    def checked() -> float:
        maps, series, x, y = (part[None] for part in checking)
        return float(_system_loss(torch, changes(torch, parameters, maps, series, x), y)) / SYSTEM_MEMBERS

    identity = f"system {digest(data)} {digest(check)}"
    descent = Descent(rate=1e-3, decay=1e-2)
    found = fit(parameters, steps, checked, plan, descent, identity, course, members=SYSTEM_MEMBERS)
    return Taught(found, center, scale, unit)


def _system_tensors(
    torch: Any, data: SystemData, center: list[float], scale: list[float], unit: list[float]
) -> list[Any]:
    maps, series = scaled_moments(data.maps, data.series)
    y = (data.changes / np.array(unit)).astype(np.float32)
    return [torch.from_numpy(part) for part in (maps[0], series[0], scaled(data.numbers, center, scale), y)]


def _system_beginning(torch: Any) -> dict[str, Any]:
    parameters = {}
    for name, shape in SYSTEM_SHAPES.items():
        gain = {"out": 0.02, "lstm_in": 0.7, "lstm_back": 0.7}.get(name, 1.0)
        is_bias = name.endswith("bias")
        parameters[name] = torch.zeros(shape) if is_bias else torch.randn(shape) * gain * (2.0 / shape[1]) ** 0.5
    parameters["lstm_bias"][:, :, CELLS : 2 * CELLS] = 1.0  # to keep what was, at first
    return parameters


def _system_loss(torch: Any, output: Any, y: Any) -> Any:
    location, log_deviation = output[..., :H], output[..., H:].clamp(LEAST_LOG_DEVIATION, MOST_LOG_DEVIATION)
    error = y - location
    z = error.detach() * torch.exp(-log_deviation)
    return (error.abs() + 0.2 * (0.5 * z**2 + log_deviation + _ROOT)).mean(2).mean(1).sum()
