"""From readings of GPUs to what the thermal twin knows of them: R of each, and one time constant.

Whatever the time constant, later readings are linear in each R, so all R are found at once (generalised least squares),
and the time constant by a search. As for nodes the reading that a window begins with errs as all others do; with e the
share of it that is left at each look, errors have the covariance 1 + e e' (Fuller 1987, Measurement error models). What
heat comes back to the inlets is known from the nodes.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import InputError

from . import rack_heat
from .gpu_heat import Gpus, left_of, one_w, share
from .thermal_certainty import noise_k
from .thermal_training import SPREAD, Trained, racks_of
from .thermal_windows import Telemetry, Windows

Floats = npt.NDArray[np.float64]

_FIRST_TAU_S: Final = 30.0  # what is believed before anything is read, and
_TAU_SPREAD: Final = 1.0  # deviation of its logarithm
_SHORTEST_S, _LONGEST_S = 1.0, 1000.0
_FIRST_K2: Final = 0.5  # variance of a reading less what is said of it
_LEAST: Final = 0.1  # of the common R, the least that one may have
_ROUNDS: Final = 4  # of R of all GPUs and the variance, each by the other


class Sums(NamedTuple):
    """What windows say for one time constant: of each unit sums of squares and products, (U,), and the rest's square.

    ``ww``: of the watts that the later looks have felt; ``wz``: of these and the lags that are to be explained.
    ``ln_det`` is the logarithm of the determinants of all covariances.
    """

    ww: Floats
    wz: Floats
    zz: float
    ln_det: float
    looks: int


def of_gpus(seen: Telemetry, some: Windows) -> Windows:
    """The same windows of the nodes' GPUs: their temperatures, and the watts of one of each node.

    The GPUs' part of what a node draws is as was read when the window begins.
    """
    if seen.gpus is None:
        raise ValueError("telemetry without GPUs")
    start = np.searchsorted(seen.time_s, some.start_s)
    late = np.searchsorted(seen.time_s, some.start_s[:, None] + some.leads_s)
    supply_c = seen.supply_c[start]
    at = start[:, None], some.units
    part = share(seen.gpus.machine, seen.gpus.cpu_util[at], seen.gpus.gpu_util[at])
    return some._replace(
        above_k=seen.gpus.gpu_c[at] - supply_c[:, None],
        watts=one_w(seen.gpus.machine, some.watts, part).astype(np.float32),
        later_k=seen.gpus.gpu_c[late[:, None, :], some.units[:, :, None]] - supply_c[:, None, None],
    )


def inlets_k(trained: Trained, some: Windows) -> Floats:
    """How far the inlets of nodes are above the supply in windows, (N, n)."""
    racks = racks_of(some, trained.tensors["factor"])
    return np.asarray(rack_heat.inlet_k(np, trained.tensors, racks), np.float64)


def fit(some: Windows, inlet_k: Floats, units: int) -> Gpus:
    """R of the GPUs of each of so many units, and their time constant, from windows of GPUs; no noise yet."""
    from scipy.optimize import minimize_scalar

    def found(ln_tau_s: float) -> tuple[float, Gpus]:
        sums = _sums(some, inlet_k, units, float(np.exp(ln_tau_s)))
        each_k_per_w, common, variance_k2 = _resistances(sums)
        left_k2 = sums.zz + float((each_k_per_w**2 * sums.ww - 2.0 * each_k_per_w * sums.wz).sum())
        factor = np.log(each_k_per_w / common)
        unlikely = sums.ln_det + (factor**2).sum() / SPREAD**2 + ((ln_tau_s - np.log(_FIRST_TAU_S)) / _TAU_SPREAD) ** 2
        deviation = (1.0 / SPREAD**2 + each_k_per_w**2 * sums.ww / variance_k2) ** -0.5
        gpus = Gpus(
            float(np.log(common)), ln_tau_s, factor.astype(np.float32), deviation.astype(np.float32),
            np.zeros(some.leads_s.size, np.float32),
        )  # fmt: skip
        return left_k2 + variance_k2 * float(unlikely), gpus

    bounds = float(np.log(_SHORTEST_S)), float(np.log(_LONGEST_S))
    best = minimize_scalar(lambda ln_tau_s: found(ln_tau_s)[0], bounds=bounds, method="bounded")
    return found(float(best.x))[1]


def with_noise(gpus: Gpus, check: Windows, inlet_k: Floats) -> Gpus:
    """The same with the noise of readings, from windows of GPUs that were not learned from."""
    return gpus._replace(noise_k=noise_k(said_k(gpus, check, inlet_k), check).astype(np.float32))


def said_k(gpus: Gpus, some: Windows, inlet_k: Floats) -> npt.NDArray[Any]:
    """What is predicted for the later readings of windows of GPUs, kelvins above the supply, (N, n, L)."""
    left = left_of(gpus, some.leads_s)
    ends_k = np.exp(gpus.ln_k_per_w + gpus.factor[some.units]) * some.watts
    lag_k = ends_k[:, :, None] * (1.0 - left) + (some.above_k - inlet_k)[:, :, None] * left
    return np.asarray(inlet_k[:, :, None] + lag_k)


def _sums(some: Windows, inlet_k: Floats, units: int, tau_s: float) -> Sums:
    left = np.exp(-some.leads_s / tau_s)
    holds = some.holds.astype(np.float64)
    felt_w = some.watts[:, :, None] * (1.0 - left) * holds
    lag_k = (some.later_k - inlet_k[:, :, None] - (some.above_k - inlet_k)[:, :, None] * left) * holds
    weight = 1.0 + (left**2 * holds).sum(-1)

    def product(a: Floats, b: Floats) -> Floats:
        return np.asarray((a * b).sum(-1) - (a @ left) * (b @ left) / weight)

    def of_units(values: Floats) -> Floats:
        return np.bincount(some.units.reshape(-1), (values * some.there).reshape(-1), units).astype(np.float64)

    rest = float((product(lag_k, lag_k) * some.there).sum())
    ln_det = float((np.log(weight) * some.there).sum())
    return Sums(of_units(product(felt_w, felt_w)), of_units(product(felt_w, lag_k)), rest, ln_det, int(holds.sum()))


def _resistances(sums: Sums) -> tuple[Floats, float, float]:
    """R of each unit and of all, and the variance of readings: what little was read of is as the others are."""
    common, variance_k2 = float(sums.wz.sum() / sums.ww.sum()), _FIRST_K2
    if not common > 0.0:
        raise InputError(f"GPUs should get warmer with what they draw, found {common:.3g} K/W in what was read")
    each = np.full(sums.ww.size, common)
    for _ in range(_ROUNDS):
        alike = variance_k2 / (SPREAD * common) ** 2
        each = np.maximum((sums.wz + alike * common) / (sums.ww + alike), _LEAST * common)
        common = float(np.exp(np.log(each)[sums.ww > 0.0].mean()))
        left_k2 = sums.zz + float((each**2 * sums.ww - 2.0 * each * sums.wz).sum())
        variance_k2 = left_k2 / max(1, sums.looks)
    return each, common, variance_k2
