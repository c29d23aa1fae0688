"""Runtimes as mixtures of log-normals that end at the walltime: moments, quantiles, and what is left of running jobs.

A job runs X seconds or until its walltime, whichever comes first; ln X is a mixture of normals. Every member of an
ensemble has K of them, and all members weigh the same. All of it is in closed form but the quantiles.

Shapes: J jobs, M members, K components of a member, Q levels.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

_GRID: Final = np.linspace(0.0, 1.0, 12)
_EVERY: Final = np.arange(len(_GRID))
_ROUNDS: Final = 3  # each narrows a quantile to one part of the grid; between its ends the line is straight enough
_FEW: Final = 8  # jobs of which the whole grid is sooner looked at than first each third of its points
_SURELY_OVER: Final = 1e-9  # survival below which nothing is believed of what is left


class Mixture(NamedTuple):
    """``weight``, ``mean`` and ``deviation`` of ln X, each (J, M, K); ``limit`` is ln walltime, (J,).

    The weights of a member's components add up to 1.
    """

    weight: Floats
    mean: Floats
    deviation: Floats
    limit: Floats

    def take(self, which: npt.NDArray[np.int64]) -> Mixture:
        """The mixtures of some jobs."""
        return Mixture(*(part[which] for part in self))


class Moments(NamedTuple):
    """Mean and standard deviations of runtimes, seconds, each (J,): of the noise, and between the members."""

    mean: Floats
    aleatoric: Floats
    epistemic: Floats


class _Below:
    """``below`` of a mixture, to be asked again and again."""

    def __init__(self, mixture: Mixture) -> None:
        self._members = mixture.weight.shape[1]
        self._weight, self.mean, self.deviation = (part.reshape(len(part), 1, -1) for part in mixture[:3])

    def __call__(self, log_s: Floats) -> Floats:
        each = log_s[:, :, None] - self.mean
        each /= self.deviation
        ndtr(each, out=each)
        each *= self._weight
        return np.asarray(np.add.reduce(each, 2) / self._members)


def below(mixture: Mixture, log_s: Floats) -> Floats:
    """The probability that ln X is at most each of (J, Q) values, were there no walltime."""
    return _Below(mixture)(log_s)


def moments(mixture: Mixture, elapsed_s: Floats | None = None) -> Moments:
    """The moments of the runtimes of J jobs, given that they have run ``elapsed_s`` seconds already.

    A job that has outlived all that was believed of it is expected to run until its walltime.
    """
    weight, mean, deviation, limit = mixture
    limit_s = np.exp(limit)
    end = (limit[:, None, None] - mean) / deviation
    square = deviation * deviation
    at_limit = limit_s[:, None, None] * ndtr(-end)
    first, second = ndtr(end - deviation), ndtr(end - 2 * deviation)
    survival = np.ones_like(mean)
    if elapsed_s is not None:
        with np.errstate(divide="ignore"):
            begun = (np.log(np.minimum(elapsed_s, limit_s))[:, None, None] - mean) / deviation
        survival = ndtr(-begun)
        first, second = first - ndtr(begun - deviation), second - ndtr(begun - 2 * deviation)
    first = np.exp(mean + square / 2) * first + at_limit
    second = np.exp(2 * (mean + square)) * second + limit_s[:, None, None] * at_limit
    alive_M = (weight * survival).sum(2)
    is_over = alive_M.mean(1) < _SURELY_OVER
    safe_M = np.maximum(alive_M, 1e-300)
    mean_M, square_M = (weight * first).sum(2) / safe_M, (weight * second).sum(2) / safe_M
    share_M = alive_M / np.maximum(alive_M.sum(1, keepdims=True), 1e-300)
    middle = (share_M * mean_M).sum(1)
    aleatoric = np.sqrt((share_M * np.maximum(square_M - mean_M**2, 0.0)).sum(1))
    epistemic = np.sqrt((share_M * (mean_M - middle[:, None]) ** 2).sum(1))
    low = np.zeros_like(limit_s) if elapsed_s is None else np.minimum(elapsed_s, limit_s)
    middle = np.where(is_over, limit_s, np.clip(middle, low, limit_s))
    return Moments(middle, np.where(is_over, 0.0, aleatoric), np.where(is_over, 0.0, epistemic))


def log_moments(mixture: Mixture) -> tuple[Floats, Floats]:
    """Mean and variance of ln runtime, at most ln walltime, as each member sees it: (J, M) both."""
    weight, mean, deviation, limit = mixture
    top = limit[:, None, None]
    end = (top - mean) / deviation
    inside, density = ndtr(end), np.exp(-end * end / 2) / np.sqrt(2 * np.pi)
    first = mean * inside - deviation * density + top * (1.0 - inside)
    second = (mean**2 + deviation**2) * inside - deviation * (top + mean) * density + top**2 * (1.0 - inside)
    mean_M = (weight * first).sum(2)
    variance_M: Floats = np.maximum((weight * second).sum(2) - mean_M**2, 0.0)
    return mean_M, variance_M


def quantiles(mixture: Mixture, level: Floats, elapsed_s: Floats | None = None) -> Floats:
    """The runtimes in seconds that J jobs stay below with the probabilities ``level``, (J, Q), given what they ran."""
    cdf_of = _Below(mixture)
    spread = 6.0 * cdf_of.deviation[:, 0]
    low = np.maximum((cdf_of.mean[:, 0] - spread).min(1), 0.0)  # no job runs less than a second
    low = np.minimum(low, mixture.limit)
    if elapsed_s is not None:
        begun = np.minimum(np.log(np.maximum(elapsed_s, 1.0)), mixture.limit)
        gone = np.where(elapsed_s > 0, cdf_of(begun[:, None])[:, 0], 0.0)
        low = np.maximum(low, begun)
        level = gone[:, None] + level * (1.0 - gone[:, None])
        level = np.where((gone > 1.0 - _SURELY_OVER)[:, None], 1.0, level)
    high = np.maximum(np.minimum((cdf_of.mean[:, 0] + spread).max(1), mixture.limit), low)
    ends = cdf_of(np.array((low, high, mixture.limit)).T)
    high = np.where(ends[:, 1] < level.max(1), mixture.limit, high)
    left, span = (np.repeat(each[:, None], level.shape[1], 1) for each in (low, high - low))
    for _ in range(_ROUNDS):
        start, whole = left, span
        place = _place(cdf_of, start, whole, level)
        width = whole / (len(_GRID) - 1)
        left = start + width * (place - 1)
        span = start + width * place - left
    both = start[..., None] + whole[..., None] * _GRID[place[..., None] - _EVERY[1::-1]]
    found = cdf_of(both.reshape(len(start), -1)).reshape(both.shape)
    under, over = found[..., 0], found[..., 1]
    share = np.minimum(np.maximum((level - under) / np.maximum(over - under, 1e-300), 0.0), 1.0)
    unlimited = ends[:, 2:] < level
    inside = np.where(level <= ends[:, :1], low[:, None], left + share * span)
    result: Floats = np.exp(np.where(unlimited, mixture.limit[:, None], inside))
    return result


def _place(cdf_of: _Below, left: Floats, span: Floats, level: Floats) -> Int64s:
    """The first point of the grid, from 1 on, that the distribution function has reached ``level`` at, (J, Q)."""

    def missed(points: Int64s) -> Int64s:
        log_s = left[..., None] + span[..., None] * _GRID[points]
        cdf = cdf_of(log_s.reshape(len(left), -1)).reshape(log_s.shape)
        return np.asarray(np.add.reduce(cdf < level[..., None], 2, np.int64))

    last = len(_GRID) - 1
    if len(left) < _FEW:
        return np.asarray(np.minimum(np.maximum(missed(_EVERY), 1), last))
    third = 3 * missed(_EVERY[3:last:3])
    return np.asarray(np.minimum(third + 1 + missed(third[..., None] + _EVERY[1:3]), last))


def drawn(mixture: Mixture, level: Floats, elapsed_s: Floats | None = None) -> Floats:
    """Runtimes in seconds of J jobs, (J, K), for K numbers from 0 to 1 each, given that they have run ``elapsed_s``.

    Numbers that are spread equally give runtimes as the mixture spreads them, component after component and not in
    their order: it takes no search, as quantiles do.
    """
    jobs, members, components = mixture.mean.shape
    weight, mean, deviation = (part.reshape(jobs, members * components) for part in mixture[:3])
    alive = np.ones_like(mean)
    begun = np.full(len(mean), -np.inf)
    if elapsed_s is not None:
        with np.errstate(divide="ignore"):
            begun = np.minimum(np.log(elapsed_s), mixture.limit)
        alive = ndtr((mean - begun[:, None]) / deviation)
    mass = weight * alive
    until = mass.cumsum(1)
    wanted = level * until[:, -1:]
    which = np.minimum((until[:, None, :] <= wanted[:, :, None]).sum(2), members * components - 1)
    mass_K, until_K, mean_K, deviation_K, alive_K = (
        np.take_along_axis(part, which, axis=1) for part in (mass, until, mean, deviation, alive)
    )
    beyond = np.clip((until_K - wanted) / np.maximum(mass_K, 1e-300), 0.0, 1.0) * alive_K
    log_s = np.maximum(mean_K - deviation_K * ndtri(beyond), begun[:, None])
    is_over = until[:, -1:] < _SURELY_OVER * members
    result: Floats = np.exp(np.where(is_over, mixture.limit[:, None], np.minimum(log_s, mixture.limit[:, None])))
    return result


def central_mass(mixture: Mixture, runtime_s: Floats) -> Floats:
    """The mass of the smallest central interval that holds each of J runtimes: 0 for a median, near 1 for a surprise.

    An interval whose upper end is the walltime holds all that ran until then. It is the score of distributional
    conformal prediction (Chernozhukov, Wüthrich and Zhu 2021).
    """
    limited = runtime_s >= np.floor(np.exp(mixture.limit) + 1e-6)
    log_s = np.minimum(np.log(np.maximum(runtime_s, 1.0)), mixture.limit)
    upper = 2 * below(mixture, log_s[:, None])[:, 0] - 1
    result: Floats = np.where(limited, np.maximum(upper, 0.0), np.abs(upper))
    return result


def conformal_mass(score: Floats, coverage: float) -> float:
    """The mass that central intervals need so that they hold a share ``coverage``, by the scores of jobs that ended."""
    n = len(score)
    rank = int(np.ceil((n + 1) * coverage))
    return 1.0 if rank > n else float(np.partition(score, rank - 1)[rank - 1])
