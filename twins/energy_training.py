"""Training of the energy twin's networks about watts of jobs and about the whole machine.

That of runtimes is trained as the performance ensemble (``training``). Ln watts are learned by a Gaussian likelihood.
Of the machine, what is learned is by how much power will be other than a share of the median of what was played says
(``energy_ahead``): the location by the absolute error, so that it is the median of what may come, and the deviation by
the Gaussian likelihood of what is left: power changes in steps, and the mean of "a large job ends or it does not" is a
power that will not be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from .energy_network import (
    CELLS,
    LEAST_LOG_DEVIATION,
    MEMBERS,
    MOST_LOG_DEVIATION,
    SYSTEM_MEMBERS,
    SYSTEM_SHAPES,
    WATTS_SHAPES,
    changes,
    scaled_moments,
)
from .energy_state import HORIZONS_S, MEDIANS
from .features import Floats
from .loop import ALONE, Course, Descent, Fitted, Plan, digest, fit
from .network import scaled
from .training import Start, forward, scalers

H: Final = len(HORIZONS_S)
_ROOT: Final = 0.9189385332  # ln sqrt(2 pi)


class WattsData(NamedTuple):
    """Jobs whose energy is known: features (J, F), ln share of the peak drawn."""

    features: Floats
    log_share: Floats


class SystemData(NamedTuple):
    """Moments: maps (B, C, rows, columns), series (B, T, C), numbers (B, S), changes of power (B, H)."""

    maps: npt.NDArray[np.float32]
    series: npt.NDArray[np.float32]
    numbers: Floats
    changes: Floats

    def rest(self, shares: list[float]) -> Floats:
        """What changes of power are more than these shares of the medians of what was played, (B, H)."""
        found: Floats = self.changes - np.array(shares) * self.numbers[:, MEDIANS]
        return found


class Taught(NamedTuple):
    """The best tensors, the scalers of features or numbers, and the losses."""

    fitted: Fitted
    center: list[float]
    scale: list[float]


class System(NamedTuple):
    """What is taught of the machine: the network, what its answers are multiplied by, (H,), and the shares of the
    medians to which they are added, (H,)."""

    network: Taught
    unit: list[float]
    shares: list[float]


class SystemStart(NamedTuple):
    """What a training of the network of the machine may begin with: weights and scalers, units and shares."""

    network: Start
    unit: list[float]
    shares: list[float]


def train_watts(
    data: WattsData,
    check: WattsData,
    scales: tuple[list[float], list[float]],
    plan: Plan,
    course: Course = ALONE,
    start: Start | None = None,
) -> Taught:
    """Train the network about watts on ``data`` and stop by ``check``; ``scales`` are the scalers of features."""
    import torch

    torch.manual_seed(plan.seed)
    center, scale = scales
    x, truth = _watts_tensors(torch, data, center, scale)
    x_check, truth_check = _watts_tensors(torch, check, center, scale)
    parameters = _watts_beginning(torch) if start is None else _copied(torch, start)

    def steps(epoch: int) -> Iterator[tuple[Any, int]]:
        order = torch.stack([torch.randperm(len(x)) for _ in range(MEMBERS)])
        for first in range(0, len(x), plan.batch):
            which = order[:, first : first + plan.batch]
            output = forward(torch, parameters, x[which], dropout=True)
            yield _watts_loss(torch, output, truth[which]), which.shape[1]

    def checked() -> float:
        output = forward(torch, parameters, x_check.expand(MEMBERS, *x_check.shape))
        return float(_watts_loss(torch, output, truth_check.expand(MEMBERS, -1))) / MEMBERS

    identity = f"watts {digest(data)} {digest(check)} {'' if start is None else digest(start.tensors.values())}"
    return Taught(fit(parameters, steps, checked, plan, Descent(), identity, course, members=MEMBERS), center, scale)


def _watts_beginning(torch: Any) -> dict[str, Any]:
    parameters = {}
    for name, shape in WATTS_SHAPES.items():
        gain = 0.1 if name == "weight2" else 1.0
        is_bias = name.startswith("bias")
        parameters[name] = torch.zeros(shape) if is_bias else torch.randn(shape) * gain * (2.0 / shape[1]) ** 0.5
    return parameters


def _watts_tensors(torch: Any, data: WattsData, center: list[float], scale: list[float]) -> tuple[Any, Any]:
    return torch.from_numpy(scaled(data.features, center, scale)), torch.from_numpy(data.log_share.astype(np.float32))


def _watts_loss(torch: Any, output: Any, log_share: Any) -> Any:
    log_deviation = output[..., 1].clamp(LEAST_LOG_DEVIATION, 1.0)
    z = (log_share - output[..., 0]) * torch.exp(-log_deviation)
    return (0.5 * z**2 + log_deviation + _ROOT).mean(1).sum()


def _copied(torch: Any, start: Start) -> dict[str, Any]:
    return {name: torch.from_numpy(value.copy()) for name, value in start.tensors.items()}


def believed_shares(data: SystemData) -> list[float]:
    """The tenths of the medians of what was played with which moments have the least absolute error, (H,)."""
    errors = [np.abs(data.rest([tenths / 10] * H)).mean(0) for tenths in range(11)]
    return [float(each) / 10 for each in np.argmin(errors, axis=0)]


def train_system(
    data: SystemData, check: SystemData, plan: Plan, course: Course = ALONE, start: SystemStart | None = None
) -> System:
    """Train the network about the machine on ``data`` and stop by ``check``."""
    import torch

    torch.manual_seed(plan.seed + 1)
    if start is None:
        shares = believed_shares(check)  # of those fitted with, the runtimes are known too well
        center, scale = scalers(data.numbers)
        unit = np.maximum(data.rest(shares).std(0), 1e-9).tolist()
    else:
        (_, center, scale), unit, shares = start
    fitted, checking = (_system_tensors(torch, each, center, scale, unit, shares) for each in (data, check))
    parameters = _system_beginning(torch) if start is None else _copied(torch, start.network)

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
    return System(Taught(found, center, scale), unit, shares)


def _system_tensors(
    torch: Any, data: SystemData, center: list[float], scale: list[float], unit: list[float], shares: list[float]
) -> list[Any]:
    maps, series = scaled_moments(data.maps, data.series)
    y = (data.rest(shares) / np.array(unit)).astype(np.float32)
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
