"""Tests on ranks, after Demsar: Friedman with the correction of Iman and Davenport, Nemenyi, Wilcoxon with Holm.

Every test takes a window as one observation, however many seeds and loads it ran with.

References
----------
Demsar (2006), Statistical comparisons of classifiers over multiple data sets. Friedman (1937), The use of ranks to
avoid the assumption of normality. Iman and Davenport (1980), Approximations of the critical region of the Friedman
statistic. Nemenyi (1963), Distribution-free multiple comparisons. Wilcoxon (1945), Individual comparisons by ranking
methods. Holm (1979), A simple sequentially rejective multiple test procedure. Benavoli, Corani and Mangili (2016),
Should we really use post-hoc tests based on mean-ranks?
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from hpcsim.tournament.blocks import Blocks, Floats

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Friedman:
    """Whether the schedulers differ at all: chi-squared with ``k - 1`` degrees of freedom, and F made of it."""

    chi2: float
    p_chi2: float
    f: float
    df: tuple[int, int]
    p: float


def ranks(blocks: Blocks) -> Floats:
    """The ranks of the schedulers in each window, ``(U, K)``: 1 is the best, equals share the mean of theirs.

    A window with several loads is ranked at each of them, and then by the sum of these ranks.
    """
    from scipy import stats

    rank_RK = stats.rankdata(-blocks.sign * blocks.value_RK, axis=1)
    sum_UK = np.zeros((blocks.windows, len(blocks.schedulers)))
    np.add.at(sum_UK, blocks.window_R, rank_RK)
    found: Floats = stats.rankdata(sum_UK, axis=1)
    return found


def friedman(rank_UK: Floats) -> Friedman | None:
    """Friedman's test corrected for ties, and Iman and Davenport's, less conservative; None for two schedulers."""
    from scipy import stats

    windows, k = rank_UK.shape
    if k < 3 or windows < 2:
        return None
    df = k - 1, (k - 1) * (windows - 1)
    if (rank_UK == rank_UK[0, 0]).all():  # all alike in every window
        return Friedman(0.0, 1.0, 0.0, df, 1.0)
    chi2, p_chi2 = stats.friedmanchisquare(*rank_UK.T)
    left = windows * (k - 1) - chi2
    f = math.inf if left <= 1e-9 * windows else (windows - 1) * chi2 / left
    return Friedman(float(chi2), float(p_chi2), float(f), df, float(stats.f.sf(f, *df)))


@cache
def nemenyi_distance(k: int, windows: int, alpha: float = ALPHA) -> float:
    """By how much two of ``k`` mean ranks over ``windows`` have to differ: Nemenyi's critical difference."""
    from scipy import stats

    q = stats.studentized_range.ppf(1 - alpha, k, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(k * (k + 1) / (6 * windows)))


def not_separable(mean_rank_K: Floats, distance: float) -> list[list[int]]:
    """The largest groups, of two or more, within which all mean ranks are nearer than ``distance``; best first."""
    order = np.argsort(mean_rank_K, kind="stable")
    ordered = mean_rank_K[order]
    groups: list[list[int]] = []
    last = 0
    for first, rank in enumerate(ordered):
        end = int(np.searchsorted(ordered, rank + distance - 1e-12))
        if end - first > 1 and end > last:
            groups.append([int(k) for k in order[first:end]])
        last = max(last, end)
    return groups


def wilcoxon(difference_U: Floats) -> float:
    """p of Wilcoxon's signed-rank test, two-sided; differences of zero are shared by both sides, as Demsar does."""
    from scipy import stats

    if not difference_U.any():
        return 1.0
    return float(stats.wilcoxon(difference_U, zero_method="zsplit").pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """p adjusted for being several, by Holm's steps: what is below 5 % then is so with all together."""
    adjusted = [1.0] * len(p)
    least = 0.0
    for step, at in enumerate(sorted(range(len(p)), key=lambda each: p[each])):
        least = max(least, min(1.0, p[at] * (len(p) - step)))
        adjusted[at] = least
    return adjusted


def cliffs_delta(blocks: Blocks, control: int) -> Floats:
    """Cliff's delta against the control by scheduler, 1 if each of its windows is better than each of the control's.

    It compares windows with all others of their stratum, and is averaged over strata; A12 is ``(delta + 1) / 2``.
    """
    found = np.zeros(len(blocks.schedulers))
    for stratum in range(len(blocks.strata)):
        value = blocks.sign * blocks.value_RK[blocks.stratum_R == stratum]
        ahead = np.sign(value[:, None, :] - value[None, :, [control]])  # each window with each of the control's
        found += ahead.mean(axis=(0, 1))
    return found / len(blocks.strata)
