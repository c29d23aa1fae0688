"""The stratified bootstrap: windows drawn again with replacement, each machine as many of its own as it has.

A window is drawn with all its loads and all schedulers, so what is paired stays paired, and every stratum, a scenario
at a load, keeps its number of windows. A resample is the count of how often it has each window; every statistic here
is computed from these counts, for all resamples at once.

The percentile interval of a small sample is too narrow: of 10 windows it holds the true mean in 90 % of cases, not in
95 %. So its two levels are moved outwards, as far as Student's interval is wider than the normal one ("expanded
percentile interval").

References
----------
Efron and Tibshirani (1993), An Introduction to the Bootstrap. Hesterberg (2015), What teachers should know about the
bootstrap, section 4.2.1. Agarwal, Schwarzer, Castro, Courville and Bellemare (2021), Deep reinforcement learning at the
edge of the statistical precipice. Dolan and More (2002), Benchmarking optimization software with performance profiles.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from hpcsim.streams import stream
from hpcsim.tournament.blocks import Blocks, Floats, Ints

RESAMPLES: Final = 10_000
RESAMPLES_OF_IQM: Final = 2_000  # each has to be sorted through
LEVEL: Final = 0.95


def drawn_again(scenario_U: Ints, resamples: int = RESAMPLES, seed: int = 1) -> Floats:
    """How often each resample has each window, ``(B, U)``; the first row is the sample itself, each window once."""
    rng = stream(seed, "bootstrap")
    count_BU = np.ones((resamples + 1, scenario_U.size))
    for scenario in np.unique(scenario_U):
        windows = np.nonzero(scenario_U == scenario)[0]
        count_BU[1:, windows] = rng.multinomial(windows.size, np.full(windows.size, 1 / windows.size), size=resamples)
    return count_BU


def interval(statistic_B: Floats, scenario_U: Ints, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The two ends of the interval of a statistic whose first row is of the sample itself; NaN with one window each."""
    windows, strata = scenario_U.size, np.unique(scenario_U).size
    free = windows - strata
    if not free:
        nothing = np.full(statistic_B.shape[1:], np.nan)
        return nothing, nothing
    tail = _tail(windows, free, level)
    side_by_side = np.ascontiguousarray(np.moveaxis(statistic_B[1:], 0, -1))  # three times as fast
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(side_by_side, [tail, 1 - tail], axis=-1)
    return low, high


@cache
def _tail(windows: int, free: int, level: float) -> float:
    """The lower level of the expanded percentile interval, with so many degrees of freedom."""
    from scipy import stats

    return float(stats.norm.cdf(np.sqrt(windows / free) * stats.t.ppf((1 - level) / 2, free)))


def means_of_strata(blocks: Blocks, count_BU: Floats) -> Floats:
    """The mean over the windows of each stratum, ``(B, S, K)``."""
    means = np.empty((len(count_BU), len(blocks.strata), len(blocks.schedulers)))
    for stratum in range(len(blocks.strata)):
        rows = blocks.stratum_R == stratum
        means[:, stratum] = count_BU[:, blocks.window_R[rows]] @ blocks.value_RK[rows] / rows.sum()
    return means


def relative(means_BSK: Floats, control: int) -> Floats:
    """By how much the means differ from the control's, as a share of it, averaged over strata, ``(B, K)``.

    NaN where the control's mean is zero or less.
    """
    of_control = means_BSK[:, :, [control]]
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Floats = (np.where(of_control > 0, means_BSK / of_control, np.nan) - 1).mean(axis=1)
    return share


def normalised(blocks: Blocks, control: int) -> Floats:
    """Values over the mean of the control in their stratum, ``(R, K)``; NaN where that is zero or less."""
    found = np.full_like(blocks.value_RK, np.nan)
    for stratum in range(len(blocks.strata)):
        rows = blocks.stratum_R == stratum
        mean = blocks.value_RK[rows, control].mean()
        if mean > 0:
            found[rows] = blocks.value_RK[rows] / mean
    return found


def interquartile_mean(value_RK: Floats, count_BR: Floats) -> Floats:
    """The mean of the middle half (IQM), ``(B, K)``: of each resample the lowest and highest quarter are dropped."""
    total = int(count_BR[0].sum())  # every resample has as many
    cut = total // 4  # as scipy.stats.trim_mean
    found = np.empty((len(count_BR), value_RK.shape[1]))
    for k in range(value_RK.shape[1]):
        order = np.argsort(value_RK[:, k], kind="stable")
        up_to = np.cumsum(count_BR[:, order], axis=1)
        kept = np.diff(np.clip(up_to, cut, total - cut), axis=1, prepend=cut)
        found[:, k] = kept @ value_RK[order, k] / (total - 2 * cut)
    return found


def improvement(blocks: Blocks, control: int, count_BU: Floats) -> Floats:
    """The probability of improvement, ``(B, K)``: the share of windows better than with the control; ties count half.

    It is taken within windows, which all schedulers share, and averaged over strata.
    """
    ahead = np.sign((blocks.value_RK - blocks.value_RK[:, [control]]) * blocks.sign) / 2 + 0.5
    return _mean_over_strata(blocks, ahead, count_BU)


def factor_of_best(blocks: Blocks) -> Floats:
    """How many times as bad as the best scheduler of its window, ``(R, K)``: 1 for the best. Values must be >= 0."""
    value = blocks.value_RK
    best = (value.max if blocks.better == "higher" else value.min)(axis=1, keepdims=True)
    worse, good = (best, value) if blocks.better == "higher" else (value, best)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(value == best, 1.0, np.where(good > 0, worse / good, np.inf))


def profile(blocks: Blocks, factor_T: Floats, count_BU: Floats) -> Floats:
    """The performance profile, ``(B, T, K)``: the share of windows within each factor of their best scheduler."""
    within_RTK = factor_of_best(blocks)[:, None, :] <= factor_T[None, :, None]
    flat = within_RTK.reshape(len(within_RTK), -1).astype(float)
    return _mean_over_strata(blocks, flat, count_BU).reshape(len(count_BU), *within_RTK.shape[1:])


def _mean_over_strata(blocks: Blocks, value_RX: Floats, count_BU: Floats) -> Floats:
    mean = np.zeros((len(count_BU), value_RX.shape[1]))
    for stratum in range(len(blocks.strata)):
        rows = blocks.stratum_R == stratum
        mean += count_BU[:, blocks.window_R[rows]] @ value_RX[rows] / (rows.sum() * len(blocks.strata))
    return mean
