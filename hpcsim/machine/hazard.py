"""The true hazard: how likely units fail, for one who knows all that has come about and nothing that is still to.

Known are the constants, the hidden health of every unit, all failures so far with the ends of their repairs, and when
every precursor that has begun will be over; unknown are what a precursor will turn out to be, whether and when a
failure repeats, and all that has not begun to show. So nobody can foresee more, and no sensor tells as much: this is
the ceiling by which forecasts of failures are measured. Of plug-ins only an oracle can ask for it.

*Unseen* first failures are those of the renewal process that have no precursor, or one that has not begun; their rate
is the renewal density after the last first failure (Cox 1962), and several of them within the horizon are taken to come
independently. A *precursor* is a failure with the odds of all that may bring one at its end: a first failure, a repeat,
and heat, against the false alarms. A *repeat* is awaited with its prior less what was ruled out since the repair. Units
are taken to stay as warm as they are, and as worn.

``tests/test_hazard.py`` compares with what many machines did. Reference: Cox (1962), Renewal theory.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, log
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from hpcsim.machine.failures import (
    AT_ONCE,
    AT_ONCE_S,
    DAY_S,
    HOUR_S,
    LEAD_MEDIAN_S,
    LEAD_SIGMA,
    LONGEST_LEAD_S,
    UNWARNED,
    Candidate,
    FailureProcess,
    block_of,
)

Floats = npt.NDArray[np.float64]
Units = npt.NDArray[np.int64]

_STEPS: Final = 32  # of the horizon
_TAIL_STEPS: Final = 64  # of the time after it, in which an awaited repeat may come as well


def hazard(process: FailureProcess, now: int, horizon_s: int, temperature_c_U: Floats | None = None) -> Floats:
    """The probability that each unit is taken by a failure after ``now``, up to ``horizon_s`` seconds later; shape U.

    ``now`` is at most ``process.next_time``; ``temperature_c_U`` are degrees Celsius, None where no unit is hot.
    """
    return _Present(process, now, temperature_c_U).within(horizon_s)


class _Present:
    """What is known of a process at second ``now``."""

    def __init__(self, process: FailureProcess, now: int, temperature_c_U: Floats | None) -> None:
        self.process = process
        self.now = now
        spec, units = process._spec, process._units
        self.weight_U = process._weight_U(now)
        self.share_U = self.weight_U / self.weight_U.sum()
        self.excess_U = np.zeros(units)  # acceleration above 1
        if temperature_c_U is not None and temperature_c_U.max() > spec.hot_above_c:
            self.excess_U = np.array([process._acceleration(each) - 1.0 for each in temperature_c_U.tolist()])
        self.recurrence = spec.recurrence
        mean_s = spec.recurrence_delay_d * DAY_S
        self.soon_s = min(AT_ONCE_S, mean_s)
        self.late_s = (mean_s - AT_ONCE * self.soon_s) / (1.0 - AT_ONCE)
        self.since_F = np.array([now - each.repaired_s for each in process.failed], np.float64)
        self.unrepeated_F = self._unrepeated()
        self._rates: Floats | None = None  # of first failures, by hour from now on
        self.first_per_s = (1.0 - spec.recurrence) / (spec.mean_gap_h * HOUR_S)

    def within(self, horizon_s: int) -> Floats:
        spared_U = np.exp(-self._unseen_U(horizon_s))
        edges = horizon_s * np.linspace(0.0, 1.0, _STEPS + 1) ** 3
        again_F = self._awaited(edges) / self.unrepeated_F
        for failed, again in zip(self.process.failed, again_F.tolist(), strict=True):
            spared_U[failed.units[0] : failed.units[-1] + 1] *= 1.0 - again
        for each in self.process._coming:
            if each.precursor_s and each.time - each.precursor_s < self.now < each.time <= self.now + horizon_s:
                self._heed(each, spared_U)
        return 1.0 - spared_U

    # -- what has not begun to show -----------------------------------------------------------

    def _unseen_U(self, horizon_s: int) -> Floats:
        """Expected failures of each unit, first ones and those by heat, that nothing announces yet."""
        edges = np.linspace(0.0, horizon_s, _STEPS + 1)
        middle = (edges[1:] + edges[:-1]) / 2
        hidden = UNWARNED + (1.0 - UNWARNED) * _lead_cdf(middle)
        first = float(self._renewals(edges) @ hidden)
        expected_U = first * self._hit_U(self.share_U)
        if self.excess_U.any():
            expected_U += self.first_per_s * horizon_s * self._hit_U(self.share_U, self.excess_U)
        return expected_U

    def _renewals(self, edges: Floats) -> Floats:
        """Expected first failures in steps of one length, of a renewal process whose last was at ``last_first_s``."""
        shape, scale_s = self.process._spec.weibull_shape, self.process._weibull_scale_s
        age_s = max(0.0, self.now - self.process.last_first_s)

        def survival(since_s: Floats) -> Floats:
            return np.asarray(np.exp(-((since_s / scale_s) ** shape)))

        next_ = -np.diff(survival(age_s + edges)) / survival(np.array([age_s]))
        gap = -np.diff(survival(edges))  # a gap that ends in the k-th step after it has begun
        expected = next_.copy()
        for step in range(1, expected.size):
            # one that comes in a step is at its middle, so that the next is in the same or the following steps
            before = expected[:step][::-1]
            expected[step] += before @ ((gap[:step] + gap[1 : step + 1]) / 2)
        return expected

    def _first_per_s(self, at_s: int) -> float:
        """The rate of first failures at a second within the longest lead time from now."""
        if self._rates is None:
            edges = np.linspace(0.0, LONGEST_LEAD_S, LONGEST_LEAD_S // HOUR_S + 1)
            self._rates = self._renewals(edges) / HOUR_S
        return float(self._rates[min((at_s - self.now) // HOUR_S, self._rates.size - 1)])

    def _hit_U(self, share_U: Floats, excess_U: Floats | None = None) -> Floats:
        """How likely a failure takes each unit, if it sits at each with so much; times the mean excess of its block."""
        process, units = self.process, self.process._units
        hit_U = np.zeros(units)
        shares = np.diff(process._block_cdf, prepend=0.0)
        for size, share in zip(process._block_sizes, shares.tolist(), strict=True):
            begin_U, stop_U = _blocks(units, process._units_per_rack, size)
            weight_U = share_U
            if excess_U is not None:
                sums = np.append(0.0, np.cumsum(excess_U))
                weight_U = share_U * (sums[stop_U] - sums[begin_U]) / (stop_U - begin_U)
            steps = np.bincount(begin_U, weight_U, units + 1) - np.bincount(stop_U, weight_U, units + 1)
            hit_U += share * np.cumsum(steps)[:units]
        return hit_U

    # -- repeats ------------------------------------------------------------------------------

    def _well_survival(self, since_s: Floats) -> Floats:
        """The share of repeats that come later than so many seconds after the repair."""
        since_s = np.maximum(since_s, 0.0)
        return np.asarray(AT_ONCE * np.exp(-since_s / self.soon_s) + (1.0 - AT_ONCE) * np.exp(-since_s / self.late_s))

    def _well_density(self, since_s: float) -> float:
        soon, late = exp(-since_s / self.soon_s) / self.soon_s, exp(-since_s / self.late_s) / self.late_s
        return AT_ONCE * soon + (1.0 - AT_ONCE) * late if since_s >= 0 else 0.0

    def _awaited(self, edges: Floats) -> Floats:
        """How likely each of the failures was to repeat in all steps after now, and nothing would announce it yet."""
        mass = -np.diff(self._well_survival(self.since_F[:, None] + edges))
        told = UNWARNED + (1.0 - UNWARNED) * _lead_cdf((edges[1:] + edges[:-1]) / 2)
        mass = np.where(self.since_F[:, None] >= 0, mass * told, mass)  # nothing shows before the repair
        return np.asarray(self.recurrence * mass.sum(1))

    def _unrepeated(self) -> Floats:
        """How likely each of the failures was not to have repeated by now, and not to have announced that it will."""
        far_s = LONGEST_LEAD_S * np.linspace(0.0, 1.0, _TAIL_STEPS + 1) ** 3
        beyond = self.recurrence * self._well_survival(self.since_F + LONGEST_LEAD_S)
        return np.asarray(1.0 - self.recurrence + self._awaited(far_s) + beyond)

    # -- precursors ---------------------------------------------------------------------------

    def _heed(self, coming: Candidate, spared_U: Floats) -> None:
        """Reckon with a precursor that has begun, whatever it is of."""
        process, place = self.process, coming.place
        units, per_rack = process._units, process._units_per_rack
        blocks = [block_of(place, size, units, per_rack) for size in process._block_sizes]
        shares = np.diff(process._block_cdf, prepend=0.0).tolist()
        begun_s = coming.time - coming.precursor_s
        warned = 1.0 - UNWARNED
        first = warned * self._first_per_s(coming.time) * self.share_U[place]
        excess = sum(
            share * float(self.excess_U[block[0] : block[-1] + 1].mean())
            for share, block in zip(shares, blocks, strict=True)
        )
        alarm = process._heat_warned * process._heat_per_first * self.first_per_s * self.share_U[place]
        heat = alarm * min(1.0, excess / process._heat_per_first)
        again = []
        for failed, unrepeated in zip(process.failed, self.unrepeated_F.tolist(), strict=True):
            if failed.place == place and failed.repaired_s <= begun_s:
                odds = warned * self.recurrence * self._well_density(coming.time - failed.repaired_s)
                if failed.repaired_s == begun_s:  # a repeat's precursor cannot begin before its repair
                    odds = np.inf
                again.append((odds / unrepeated, failed.units))
        total = first + alarm + sum(odds for odds, _ in again)
        if np.isinf(total):
            total, first, heat = 1.0, 0.0, 0.0
            again = [(1.0, block) for odds, block in again if np.isinf(odds)][:1]
        taken_U = np.zeros(spared_U.size)
        for share, block in zip(shares, blocks, strict=True):
            taken_U[block[0] : block[-1] + 1] += share * (first + heat) / total
        for odds, block in again:
            taken_U[block[0] : block[-1] + 1] += odds / total
        spared_U *= 1.0 - np.minimum(taken_U, 1.0)


@lru_cache(maxsize=64)
def _blocks(units: int, units_per_rack: int, size: int) -> tuple[Units, Units]:
    """Where the block of each place begins, and where it stops; shape U."""
    blocks = [block_of(place, size, units, units_per_rack) for place in range(units)]
    return np.array([each[0] for each in blocks]), np.array([each[-1] + 1 for each in blocks])


def _lead_cdf(seconds: Floats) -> Floats:
    """The share of precursors that are no longer than so many seconds."""
    with np.errstate(divide="ignore"):
        return np.asarray(
            np.where(seconds >= LONGEST_LEAD_S, 1.0, ndtr((np.log(seconds) - log(LEAD_MEDIAN_S)) / LEAD_SIGMA))
        )
