"""What a tournament says of one metric: where each scheduler stands, what separates them, and what was left out.

Schedulers are compared with a control, window by window, because all of them were given the same jobs, failures and
weather. ``docs/statistics.md`` says why each figure is there and how it is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import nan
from typing import Literal, NamedTuple

import numpy as np

from hpcsim.errors import InputError
from hpcsim.scenario.layers import did_you_mean
from hpcsim.tournament.blocks import Blocks, Floats
from hpcsim.tournament.bootstrap import (
    RESAMPLES,
    RESAMPLES_OF_IQM,
    drawn_again,
    improvement,
    interquartile_mean,
    interval,
    means_of_strata,
    normalised,
    relative,
)
from hpcsim.tournament.ranks import (
    ALPHA,
    Friedman,
    cliffs_delta,
    friedman,
    holm,
    nemenyi_distance,
    not_separable,
    ranks,
    wilcoxon,
)

_MOST_NAMES = 6  # in a sentence

Verdict = Literal["better", "worse", "not separated", "control"]


class Estimate(NamedTuple):
    """A figure with its 95 % interval; NaN where it is of nothing."""

    value: float
    low: float
    high: float

    @property
    def is_there(self) -> bool:
        """Whether there is a figure at all."""
        return self.value == self.value


@dataclass(frozen=True, slots=True)
class Standing:
    """One scheduler in one metric. All but mean and rank are against the control, window by window.

    ``mean`` and ``difference`` are in the unit of the metric, None over several machines. ``relative`` is the
    difference as a share of the control's mean. ``iqm`` is the mean of the middle half of the windows, 1 being the
    control's mean. ``improvement`` is the share of windows in which it is better, ``a12`` the probability that one
    window of it is better than any one of the control, and ``standardised`` the mean of the paired differences over
    their deviation, positive if it is better.
    """

    scheduler: str
    mean_rank: float
    mean: Estimate | None
    difference: Estimate | None
    relative: Estimate
    iqm: Estimate
    improvement: Estimate
    cliffs_delta: float
    a12: float
    standardised: float
    p_wilcoxon: float
    p_holm: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that is said of one metric; ``standings`` are in the order of the mean ranks, the best first.

    ``mean_of_strata`` are mean and interval of each scheduler at each scenario and load.
    """

    blocks: Blocks
    control: str
    standings: tuple[Standing, ...]
    rank_UK: Floats
    friedman: Friedman | None
    distance: float
    groups: tuple[tuple[str, ...], ...]
    mean_of_strata: dict[tuple[str, str], dict[str, Estimate]]
    first: str | None  # the one that ranks and paired differences separate from all others, if there is one

    @property
    def seeds(self) -> str:
        """How many seeds a window has, in words."""
        least, most = int(self.blocks.seeds_R.min()), int(self.blocks.seeds_R.max())
        return f"{least}" if least == most else f"{least} to {most}"


def judge(blocks: Blocks, control: str, *, resamples: int = RESAMPLES) -> Judgement:
    """Judge the schedulers of ``blocks``. Raises InputError if the control is none of them."""
    names = blocks.schedulers
    if control not in names:
        raise InputError(
            f"{blocks.metric}: the control {control!r} is none of the schedulers compared."
            f"{did_you_mean(control, names)} Compared: {', '.join(names)}."
        )
    at = names.index(control)
    count_BU = _drawn(blocks.scenario_U.tobytes(), resamples)
    means_BSK = means_of_strata(blocks, count_BU)
    one_machine = len(blocks.scenarios) == 1
    mean_BK = means_BSK.mean(axis=1)
    scaled = normalised(blocks, at)

    def estimates(statistic_BK: Floats) -> list[Estimate]:
        low, high = interval(statistic_BK, blocks.scenario_U)
        return [Estimate(*map(float, each)) for each in zip(statistic_BK[0], low, high, strict=True)]

    mean = estimates(mean_BK) if one_machine else None
    difference = estimates(mean_BK - mean_BK[:, [at]]) if one_machine else None
    shares = estimates(relative(means_BSK, at))
    iqm = estimates(interquartile_mean(scaled, count_BU[: RESAMPLES_OF_IQM + 1, blocks.window_R]))
    better_in = estimates(improvement(blocks, at, count_BU))
    rank_UK = ranks(blocks)
    mean_rank = rank_UK.mean(axis=0)
    distance = nemenyi_distance(len(names), blocks.windows)
    paired_UK = _paired(blocks, at)
    others = [k for k in range(len(names)) if k != at]
    p = [wilcoxon(paired_UK[:, k]) for k in others]
    p_of = dict(zip(others, zip(p, holm(p), strict=True), strict=True))
    delta = cliffs_delta(blocks, at)
    standings = []
    for k in np.argsort(mean_rank, kind="stable"):
        alone, together = p_of.get(k, (nan, nan))
        standings.append(
            Standing(
                scheduler=names[k],
                mean_rank=float(mean_rank[k]),
                mean=mean[k] if mean else None,
                difference=difference[k] if difference else None,
                relative=shares[k],
                iqm=iqm[k],
                improvement=better_in[k],
                cliffs_delta=float(delta[k]),
                a12=float(delta[k] + 1) / 2,
                standardised=_standardised(blocks.sign * paired_UK[:, k]) if k != at else nan,
                p_wilcoxon=alone,
                p_holm=together,
                verdict="control" if k == at else _verdict(blocks, count_BU, paired_UK[:, k], together),
            )
        )
    return Judgement(
        blocks=blocks,
        control=control,
        standings=tuple(standings),
        rank_UK=rank_UK,
        friedman=friedman(rank_UK),
        distance=distance,
        groups=tuple(tuple(names[k] for k in group) for group in not_separable(mean_rank, distance)),
        mean_of_strata={
            stratum: dict(zip(names, estimates(means_BSK[:, s]), strict=True))
            for s, stratum in enumerate(blocks.strata)
        },
        first=_first(blocks, count_BU, mean_rank, distance),
    )


@lru_cache(maxsize=8)
def _drawn(scenario_U: bytes, resamples: int) -> Floats:
    """Resamples are the same for all metrics that have the same windows."""
    return drawn_again(np.frombuffer(scenario_U, dtype=np.int64), resamples)


def _paired(blocks: Blocks, against: int) -> Floats:
    """What each window differs by from a scheduler, averaged over its loads, ``(U, K)``.

    In units of the mean of all schedulers in the stratum, so that no machine or load counts for more than another.
    """
    total = np.zeros((blocks.windows, len(blocks.schedulers)))
    for stratum in range(len(blocks.strata)):
        rows = blocks.stratum_R == stratum
        value = blocks.value_RK[rows]
        scale = np.abs(value).mean() or 1.0
        total[blocks.window_R[rows]] += (value - value[:, [against]]) / scale
    loads_U = np.bincount(blocks.window_R, minlength=blocks.windows)
    return total / loads_U[:, None]


def _interval_of_mean(blocks: Blocks, count_BU: Floats, value_U: Floats) -> tuple[float, float]:
    """The interval of a mean over windows, each machine with the same weight."""
    weight_U = 1 / np.bincount(blocks.scenario_U)[blocks.scenario_U] / len(blocks.scenarios)
    low, high = interval(count_BU @ (weight_U * value_U), blocks.scenario_U)
    return float(low), float(high)


def _verdict(blocks: Blocks, count_BU: Floats, paired_U: Floats, p_holm: float) -> Verdict:
    """Better or worse only where the test and the interval of the paired differences both say so."""
    low, high = _interval_of_mean(blocks, count_BU, blocks.sign * paired_U)
    if p_holm < ALPHA and low > 0:
        return "better"
    return "worse" if p_holm < ALPHA and high < 0 else "not separated"


def _first(blocks: Blocks, count_BU: Floats, mean_rank: Floats, distance: float) -> str | None:
    """Who is separated from all others: by ranks, and by an interval of paired differences on the good side of zero."""
    best = int(np.argmin(mean_rank))
    others = [k for k in range(len(mean_rank)) if k != best]
    if min(mean_rank[k] - mean_rank[best] for k in others) < distance:
        return None
    ahead_UK = -blocks.sign * _paired(blocks, best)
    if any(not _interval_of_mean(blocks, count_BU, ahead_UK[:, k])[0] > 0 for k in others):
        return None
    return blocks.schedulers[best]


def _standardised(difference_U: Floats) -> float:
    """The mean of paired differences over their standard deviation (Cohen's d_z); 0 where all are zero."""
    if difference_U.size < 2:
        return nan
    deviation = difference_U.std(ddof=1)
    if deviation == 0:
        return 0.0 if not difference_U.any() else float(np.copysign(np.inf, difference_U[0]))
    return float(difference_U.mean() / deviation)


def warnings(judgement: Judgement) -> list[str]:
    """What the numbers of windows and schedulers cannot show, and what was left out, as sentences."""
    blocks, k = judgement.blocks, len(judgement.blocks.schedulers)
    return [*_too_few(blocks.windows, k, judgement.distance), *_rough(blocks), *_left_out(blocks)]


def _too_few(windows: int, k: int, distance: float) -> list[str]:
    said = []
    more = [n for n in (10, 20, 30, 50, 100, 200) if n > windows and nemenyi_distance(k, n) < k - 1]
    better = f"; {more[0]} windows would make that {nemenyi_distance(k, more[0]):.2f}" if more else ""
    if distance > k - 1:
        said.append(
            f"{_count(windows, 'window')} cannot separate any of {k} schedulers by their ranks: mean ranks would have "
            f"to differ by {distance:.2f}, and at most differ by {k - 1}{better}."
        )
    elif distance > 1:
        said.append(
            f"{_count(windows, 'window')} cannot separate the whole field of {k} schedulers: mean ranks that differ by "
            f"less than {distance:.2f}, of at most {k - 1}, are not separable (Nemenyi, alpha 0.05){better}."
        )
    if windows and 2.0 ** (1 - windows) * (k - 1) >= ALPHA:
        said.append(
            f"With {_count(windows, 'window')} no signed-rank test against a control can reach 5 % for "
            f"{_count(k - 1, 'scheduler')}{' together (Holm)' if k > 2 else ''}."
        )
    return said


def _rough(blocks: Blocks) -> list[str]:
    least = int(np.bincount(blocks.scenario_U).min())
    if least == 1:
        return ["A scenario with one window has no interval: nothing says how much its figures hang on that window."]
    if least < 10:
        return [
            f"Intervals of {least} windows of a scenario are rough: it takes ten or more to hold what they promise."
        ]
    return []


def _left_out(blocks: Blocks) -> list[str]:
    left = blocks.left_out
    said = [f"{name} has no value in {', '.join(lacking)} and is left out." for name, lacking in left.schedulers]
    if left.scenarios:
        said.append(f"No scheduler has a value in {', '.join(left.scenarios)}.")
    if left.incomplete:
        missing = ", ".join(f"{name} in {count}" for name, count in left.missing)
        said.append(
            f"{left.incomplete} of {_count(left.blocks, 'block')} (a window with one seed and one load) are left out, "
            f"and with them {_count(left.windows, 'window')}, because not all schedulers have a value there: "
            f"it lacks {missing}."
        )
    return said


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def conclusion(judgement: Judgement) -> str:
    """Who is first, in a sentence that names nobody where ranks or intervals do not separate."""
    best, *others = judgement.standings
    if judgement.first is not None:
        return f"{judgement.first} is first: its ranks and its paired differences separate it from all others."
    near = [s.scheduler for s in others if s.mean_rank - best.mean_rank < judgement.distance]
    if any(s.mean_rank == best.mean_rank for s in others):
        level = [s.scheduler for s in judgement.standings if s.mean_rank == best.mean_rank]
        rest = [name for name in near if name not in level]
        more = f", and not separable from {_listed(rest)}" if rest else ""
        return f"Nobody is first: {_listed(level)} have the same mean rank{more}."
    if near:
        return (
            f"Nobody is first: {best.scheduler} has the lowest mean rank, but is not separable from {_listed(near)} "
            f"(distance {judgement.distance:.2f})."
        )
    return f"Nobody is first: the intervals of {best.scheduler}'s paired differences hold zero for at least one other."


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MOST_NAMES:
        names = [*names[: _MOST_NAMES - 1], f"{len(names) - _MOST_NAMES + 1} others"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
