"""The networks of the energy twin, and their forward passes, the same lines for numpy and for torch.

*Jobs*: for the runtime the network of the performance ensemble (``network``), taught anew on the same features; for the
watts M perceptrons F -> 64 -> 48 -> 2 with SiLU: mean and log deviation of ln watts as a share of a node's peak.

*System*: M members, each a CNN over the rack map (3 x 3 kernels, 8 channels, halved by means, 16 channels, mean over
all cells), an LSTM of 24 over the last samples, and both with the numbers of the moment through 64 to location and log
deviation of the change of power in each of H horizons. ``tests/test_energy_twin.py`` compares it with torch's layers.

Shapes: B moments, C channels, T samples, S numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from . import lognormal, network
from .energy_ahead import Jobs
from .energy_features import JOB_NAMES, Node
from .energy_state import CHANNELS, HORIZONS_S, MAP, STATE_NAMES
from .features import NAMES, Floats

MEMBERS: Final = network.MEMBERS
HIDDEN: Final = (64, 48)
RUNTIME: Final = 3 * network.COMPONENTS
"""How many of what is said about a job are of its runtime; two more are of its watts."""

ABOUT_A_JOB: Final = RUNTIME + 2

WATTS_SHAPES: Final[Mapping[str, tuple[int, ...]]] = {
    "weight0": (MEMBERS, len(JOB_NAMES), HIDDEN[0]),
    "bias0": (MEMBERS, 1, HIDDEN[0]),
    "weight1": (MEMBERS, HIDDEN[0], HIDDEN[1]),
    "bias1": (MEMBERS, 1, HIDDEN[1]),
    "weight2": (MEMBERS, HIDDEN[1], 2),
    "bias2": (MEMBERS, 1, 2),
}

SYSTEM_MEMBERS: Final = 3
KERNELS: Final = (8, 16)
CELLS: Final = 24  # of the LSTM
FUSED: Final = 64
LEAST_LOG_DEVIATION, MOST_LOG_DEVIATION = -4.0, 3.0
_CHUNK: Final = 1024  # jobs: their distributions stay in the cache

SYSTEM_SHAPES: Final[Mapping[str, tuple[int, ...]]] = {
    "kernel0": (SYSTEM_MEMBERS, 9 * MAP[0], KERNELS[0]),
    "kernel0_bias": (SYSTEM_MEMBERS, 1, KERNELS[0]),
    "kernel1": (SYSTEM_MEMBERS, 9 * KERNELS[0], KERNELS[1]),
    "kernel1_bias": (SYSTEM_MEMBERS, 1, KERNELS[1]),
    "lstm_in": (SYSTEM_MEMBERS, len(CHANNELS), 4 * CELLS),
    "lstm_back": (SYSTEM_MEMBERS, CELLS, 4 * CELLS),
    "lstm_bias": (SYSTEM_MEMBERS, 1, 4 * CELLS),
    "fuse": (SYSTEM_MEMBERS, KERNELS[1] + CELLS + len(STATE_NAMES), FUSED),
    "fuse_bias": (SYSTEM_MEMBERS, 1, FUSED),
    "out": (SYSTEM_MEMBERS, FUSED, 2 * len(HORIZONS_S)),
    "out_bias": (SYSTEM_MEMBERS, 1, 2 * len(HORIZONS_S)),
}

SHAPES: Final = {
    **{f"runtime.{name}": shape for name, shape in network.SHAPES.items()},
    **{f"watts.{name}": shape for name, shape in WATTS_SHAPES.items()},
    **{f"system.{name}": shape for name, shape in SYSTEM_SHAPES.items()},
}
"""The tensors of a file of weights by name."""


class Watts(NamedTuple):
    """What members say of ln share of a node's peak, each (J, M)."""

    mean: Floats
    deviation: Floats


class Answer(NamedTuple):
    """Of the runtimes of J jobs: ln of the median seconds, and the variances of ln seconds, of the noise and between
    the members, (J,) each."""

    log_median: Floats
    noise: Floats
    between: Floats


def about_jobs(
    runtime: Mapping[str, npt.NDArray[Any]],
    watts: Mapping[str, npt.NDArray[Any]],
    features: Floats,
    x: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """What the members say of J jobs, (J, M, 29), of their features, (J, F), and the same scaled."""
    of_runtime = network.outputs(runtime, x[:, : len(NAMES)], network.pointed(features))
    return np.concatenate([of_runtime, network.perceptrons(watts, x)], axis=2)


def mixture_of(output: npt.NDArray[np.float32], walltime_s: npt.NDArray[np.int64]) -> lognormal.Mixture:
    """The runtimes that is said of jobs, (J, M, 29)."""
    return network.mixture_of(output[..., :RUNTIME], walltime_s)


def watts_of(output: npt.NDArray[np.float32]) -> Watts:
    """The watts that is said of them."""
    mean, log_deviation = output[..., RUNTIME].astype(np.float64), output[..., RUNTIME + 1].astype(np.float64)
    return Watts(np.clip(mean, -4.0, 0.1), np.exp(np.clip(log_deviation, LEAST_LOG_DEVIATION, 1.0)))


def answer_of(output: npt.NDArray[np.float32], walltime_s: npt.NDArray[np.int64]) -> Answer:
    """Median and spread of the runtimes that is said of them."""
    parts = []
    for begin in range(0, len(output), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        mixture = mixture_of(output[part], walltime_s[part])
        median_s = lognormal.quantiles(mixture, np.full((len(mixture.limit), 1), 0.5))[:, 0]
        mean_M, variance_M = lognormal.log_moments(mixture)
        parts.append(Answer(np.log(np.maximum(median_s, 1.0)), variance_M.mean(1), mean_M.var(1)))
    return Answer(*map(np.concatenate, zip(*parts, strict=True)))


def as_jobs(
    nodes: npt.NDArray[np.int64],
    walltime_s: npt.NDArray[np.int64],
    output: npt.NDArray[np.float32],
    node: Node,
    elapsed_s: npt.NDArray[Any] | None = None,
    measured_w: Floats | None = None,
) -> Jobs:
    """Jobs as a moment has them: their watts measured, where they are, else believed."""
    share = watts_of(output).mean.mean(1)
    if measured_w is not None:
        with np.errstate(invalid="ignore"):
            share = np.where(np.isnan(measured_w), share, np.log(np.maximum(measured_w, 1.0) / node.peak_w))
    elapsed = np.zeros(len(nodes)) if elapsed_s is None else elapsed_s.astype(np.float64)
    return Jobs(nodes, walltime_s, share, elapsed, mixture_of(output, walltime_s))


def believed(output: npt.NDArray[np.float32], walltime_s: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Median of ln joules per node, joules as seconds of a node at its peak, and its deviation, (J,)."""
    runtime, watts = answer_of(output, walltime_s), watts_of(output)
    variance = runtime.noise + runtime.between + (watts.deviation**2).mean(1) + watts.mean.var(1)
    return runtime.log_median + watts.mean.mean(1), np.sqrt(variance)


def deviation_of(log_deviation: Floats) -> Floats:
    """The deviations of changes of power that outputs mean."""
    found: Floats = np.exp(np.clip(log_deviation, LEAST_LOG_DEVIATION, MOST_LOG_DEVIATION))
    return found


def _neighbours(height: int, width: int) -> npt.NDArray[np.int64]:
    """For each cell of a map the places of the nine around it, (cells, 9), in a map that has an edge of zeros."""
    row, column = np.divmod(np.arange(height * width), width)
    around = [(row + i) * (width + 2) + column + j for i in range(3) for j in range(3)]
    return np.stack(around, axis=1)


def _convolved(xp: ModuleType, cells: Any, kernel: Any, bias: Any, height: int, width: int) -> Any:
    """SiLU of a 3 x 3 convolution with zeros around: cells (M, B, height * width, C)."""
    members, batch, _, channels = cells.shape
    grid = cells.reshape(members, batch, height, width, channels)
    side = grid[:, :, :, :1] * 0.0
    grid = _joined(xp, [side, grid, side], 3)
    edge = grid[:, :, :1] * 0.0
    flat = _joined(xp, [edge, grid, edge], 2).reshape(members, batch, -1, channels)
    patches = flat[:, :, _neighbours(height, width).reshape(-1)].reshape(members, batch * height * width, 9 * channels)
    return _silu(xp, patches @ kernel + bias).reshape(members, batch, height * width, -1)


def _joined(xp: ModuleType, parts: list[Any], axis: int) -> Any:
    return xp.concatenate(parts, axis)


def _sigmoid(xp: ModuleType, x: Any) -> Any:
    return 1.0 / (1.0 + xp.exp(-xp.clip(x, -60.0, 60.0)))


def _silu(xp: ModuleType, x: Any) -> Any:
    return x * _sigmoid(xp, x)


def changes(xp: ModuleType, tensors: Mapping[str, Any], maps: Any, series: Any, x: Any) -> Any:
    """What the members say of B moments, (M, B, 2 H): locations, then log deviations, of what is scaled.

    ``xp`` is numpy or torch, whose arrays ``tensors`` are; ``maps`` (M, B, cells, C) or (1, B, ...), ``series``
    (M or 1, B, T, C) with the oldest sample first, ``x`` (M or 1, B, S) scaled numbers.
    """
    _, height, width = MAP
    members, batch = tensors["fuse"].shape[0], x.shape[1]
    zeros = tensors["fuse_bias"][:, :, :1] * 0.0  # (M, 1, 1), to have all with members
    cells = _convolved(xp, maps + zeros[..., None], tensors["kernel0"], tensors["kernel0_bias"], height, width)
    halved = cells.reshape(members, batch, height // 2, 2, width // 2, 2, -1).mean(5).mean(3)
    halved = halved.reshape(members, batch, height * width // 4, -1)
    seen = _convolved(xp, halved, tensors["kernel1"], tensors["kernel1_bias"], height // 2, width // 2).mean(2)
    state = zeros + series[:, :, 0, :1] * 0.0 + tensors["lstm_back"][:, :1, :CELLS] * 0.0
    cell = state
    for step in range(series.shape[2]):
        gates = series[:, :, step] @ tensors["lstm_in"] + state @ tensors["lstm_back"] + tensors["lstm_bias"]
        entering, keeping, new, leaving = (gates[..., k * CELLS : (k + 1) * CELLS] for k in range(4))
        cell = _sigmoid(xp, keeping) * cell + _sigmoid(xp, entering) * xp.tanh(new)
        state = _sigmoid(xp, leaving) * xp.tanh(cell)
    fused = _joined(xp, [seen, state, x + zeros], 2)
    return _silu(xp, fused @ tensors["fuse"] + tensors["fuse_bias"]) @ tensors["out"] + tensors["out_bias"]


def scaled_moments(maps: npt.NDArray[Any], series: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], ...]:
    """Maps (B, C, rows, columns) and series (B, T, C) as the network takes them."""
    cells = maps.reshape(len(maps), MAP[0], -1).transpose(0, 2, 1)
    return (
        np.clip(cells, -4.0, 4.0).astype(np.float32)[None],
        np.clip(series, -4.0, 4.0).astype(np.float32)[None],
    )
