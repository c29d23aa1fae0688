"""How sure the thermal twin is: Laplace's approximation around what was learned, and errors on later windows.

Epistemic: each node's factor of R has a variance, from what was read of it and from ``SPREAD``; so have the numbers of
the network's last layer together, in which predictions are linear. Aleatoric: what is left of the errors of windows
that were not learned from. A sensor's reading is predicted, so its noise is in there.

References: MacKay 1992, A practical Bayesian framework for backpropagation networks. Daxberger et al. 2021, Laplace
redux.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from . import rack_heat
from .rack_heat import SIZE, TIMES_S, jacobian
from .thermal_training import FIRST_S, LAST_S, SPREAD, WEIGHT, Trained, racks_of, said_k
from .thermal_windows import Windows

Floats = npt.NDArray[np.float64]

COVERAGE: Final = 0.9
WITHIN: Final = NormalDist().inv_cdf((1 + COVERAGE) / 2)
"""Deviations of a normal within which so much of it lies."""

_LAYER_SPREAD: Final = 0.3  # of a number of the last layer before anything is learned
_MOST: Final = 4000  # windows of nodes
_MEDIAN_SQUARE: Final = 0.455  # of a normal of variance 1


def factor_variance(trained: Trained, some: Windows) -> Floats:
    """The variance of each node's factor, (U,), after ``some`` windows."""
    p, factor = trained.tensors, trained.tensors["factor"]
    longest_s = np.where(some.holds, some.leads_s, 0).max(-1)
    racks = racks_of(some, factor)
    ends = rack_heat.steady(np, p, racks)
    told_k = (ends.above_k - ends.inlet_k) * -np.expm1(-ends.rate * longest_s)
    told_k2 = np.bincount(some.units.reshape(-1), np.square(told_k * some.there).reshape(-1), factor.size)
    return np.asarray(1.0 / (1.0 / SPREAD**2 + told_k2 / _noise_k2(trained, some)))


def layer_root(trained: Trained, some: Windows, seed: int) -> Floats:
    """A root of the covariance of the network's last layer, (SIZE, SIZE): its numbers by output time, bias last."""
    p, scale = trained.tensors, np.asarray(trained.scale, np.float32)
    rng = np.random.default_rng(seed)
    racks = racks_of(some, p["factor"])
    last = rack_heat.known(np, p, racks, np.asarray(trained.center, np.float32), scale)
    rate = rack_heat.steady(np, p, racks).rate
    window, place = np.nonzero(some.there)
    drawn = rng.permutation(window.size)[:_MOST]
    window, place = window[drawn], place[drawn]
    known, rate = last[window, place].astype(np.float64), rate[window, place]
    per_k2 = 1.0 / _noise_k2(trained, some)
    shares = window.size / drawn.size
    precision = np.eye(SIZE) / _LAYER_SPREAD**2
    for look, lead_s in enumerate(some.leads_s):
        rows = jacobian(known, 1.0 - np.exp(-lead_s / np.array(TIMES_S))[None], trained.scale[0])
        rows = rows[some.holds[window, place, look]]
        precision += shares * per_k2 * rows.T @ rows
    looks = float(some.holds.sum()) / window.size
    times_s = FIRST_S * (LAST_S / FIRST_S) ** rng.random((drawn.size, 1))
    gone = np.exp(-times_s / np.array(TIMES_S))
    slope = rack_heat.PER_S * (gone / np.array(TIMES_S) + rate[:, None] * (1.0 - gone))
    rows = jacobian(known, slope, trained.scale[0])
    precision += WEIGHT * looks * shares * per_k2 * rows.T @ rows
    values, vectors = np.linalg.eigh(np.linalg.inv(precision))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _noise_k2(trained: Trained, some: Windows) -> float:
    """The variance of the errors of windows, by their median, so that a few sensors that drift away do not count."""
    error_k2 = np.square(said_k(trained, some) - some.later_k)[some.holds]
    return float(np.median(error_k2)) / _MEDIAN_SQUARE


def noise_k(said: npt.NDArray[Any], check: Windows) -> Floats:
    """Of each look, the deviation of a normal of which as much lies within 90 % as of the errors of what was said."""
    error_k = np.abs(said - check.later_k)
    found_k = np.zeros(check.leads_s.size)
    for look in np.flatnonzero(check.holds.any((0, 1))):
        found_k[look] = np.quantile(error_k[..., look][check.holds[..., look]], COVERAGE) / WITHIN
    return np.asarray(np.where(found_k > 0.0, found_k, found_k.max()))
