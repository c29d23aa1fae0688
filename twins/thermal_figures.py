"""Figures of predicted temperatures: errors soon and late, whether intervals of readings hold, and a regression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .judging import Column
from .thermal_certainty import WITHIN
from .thermal_windows import Telemetry, Windows

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_SOON_S: Final = 300
_RIDGE: Final = 1e-3


def soon(some: Windows) -> int:
    """The look of windows that is soon."""
    return int(np.argmin(np.abs(some.leads_s - _SOON_S)))


def columns(test: Windows, *, truth: bool) -> tuple[Column, ...]:
    """The figures of a predictor; with the ``truth`` errors are against that, and soon against readings as well."""
    early, late = (f"{round(each / 60)} min" for each in (_SOON_S, int(test.leads_s[-1])))
    of_readings = Column(f"MAE of readings, {early}, K")
    known: tuple[Column, ...] = (of_readings, Column(f"MAE of readings, {late}, K"))
    if truth:
        known = (Column(f"MAE, {early}, K"), Column(f"MAE, {late}, K"), of_readings)
    return *known, Column("90 % interval holds", 1, 100.0), Column("its width, K", 2), Column("CRPS, K")


def metrics(
    said_k: npt.NDArray[Any],
    test: Windows,
    real_k: npt.NDArray[Any] | None,
    chosen: Bools,
    deviation_k: Floats,
) -> Floats:
    """Of each chosen node, (T, K): the errors of the columns, and the interval of the reading soon.

    ``said_k`` and the truth ``real_k``, where it is known, are of all looks of windows, (N, n, L); ``deviation_k`` is
    that of each look, (L,).
    """
    early = soon(test)
    predicted = said_k[chosen].astype(np.float64)
    error_read = np.abs(predicted - test.later_k[chosen])
    found = [error_read[:, early], error_read[:, -1]]
    if real_k is not None:
        error = np.abs(predicted - real_k[chosen])
        found = [error[:, early], error[:, -1], found[0]]
    half_k = WITHIN * deviation_k[early]
    held, crps_k = error_read[:, early] <= half_k, deviation_k[early] * _crps(error_read[:, early] / deviation_k[early])
    return np.stack([*found, held.astype(np.float64), np.full(len(predicted), 2.0 * half_k), crps_k], axis=1)


def _crps(z: Floats) -> Floats:
    """CRPS of a standard normal at ``z`` (Gneiting and Raftery 2007)."""
    from scipy.special import ndtr

    return np.asarray(z * (2.0 * ndtr(z) - 1.0) + 2.0 * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) - 1 / np.sqrt(np.pi))


def later_k(celsius: npt.NDArray[np.float32], telemetry: Telemetry, some: Windows) -> npt.NDArray[np.float32]:
    """The later temperatures of windows, kelvins above the supply, (N, n, L), where all are known without noise."""
    start = np.searchsorted(telemetry.time_s, some.start_s)
    late = np.searchsorted(telemetry.time_s, some.start_s[:, None] + some.leads_s)
    return np.asarray(celsius[late[:, None, :], some.units[:, :, None]] - telemetry.supply_c[start][:, None, None])


def regressed(x: Floats, fitted: Windows) -> Callable[[Floats], Floats]:
    """Ridge regression of the later temperatures, of each look by itself, on numbers (N, n, F); it says all looks."""

    def with_one(x: Floats) -> Floats:
        return np.concatenate([x, np.ones_like(x[..., :1])], -1)

    x = with_one(x)
    scale = np.maximum(np.abs(x).mean((0, 1)), 1e-9)
    by_look = []
    for look in range(fitted.leads_s.size):
        rows = x[fitted.holds[..., look]] / scale
        target = fitted.later_k[..., look][fitted.holds[..., look]]
        by_look.append(np.linalg.solve(rows.T @ rows + _RIDGE * np.eye(scale.size), rows.T @ target) / scale)
    return lambda other: np.asarray(with_one(other) @ np.stack(by_look, -1))
