"""Hardware failures: one superposed process for the whole machine, with precursors and false alarms.

*When.* First failures are a renewal process with Weibull gaps (shape below 1: they come in bunches). Each failure
repeats at the same place with probability r, and the repeat may repeat again: some as soon as the unit is back,
for the repair has missed the fault, others days later, exponential both. So a first failure brings 1 / (1 - r)
failures in the mean, and first failures are drawn with the mean gap ``mean_gap_h / (1 - r)``: ``mean_gap_h`` is
the gap of all of them.

*Where.* Every unit has a hidden proneness (lognormal) and wears: its weight grows by itself once in ``WEAR_S`` since
its last repair. A failure takes an aligned block of neighbours in rack order with it (``FailureSpec.blast``).

*Heat.* A unit at T fails a = q10 ** ((T - hot_above_c) / 10) times as often, at least 1. The process above is the
one at a = 1, and temperature takes nothing from it. What heat adds is a second, Poisson, stream of candidates in
the same places: each has a threshold, and it is a failure if the mean a of its units is above it when its time
comes, so that the rate of failures is a times that of the cool machine. All other candidates are false alarms.

Everything is drawn ahead by the longest lead time, for telemetry shows a candidate's precursor (rising counts of
corrected errors) before its time whatever becomes of it. What is drawn, and when, is driven by ``take`` alone and
never by who looks. Constants in capitals are assumed, as no published figure says them.

References: Schroeder and Gibson (2010), A large-scale study of failures in high-performance computing systems
(Weibull gaps, lognormal repairs); Di et al. (2019), Characterizing and understanding HPC job failures over the
2K-day life of IBM BlueGene/Q system; Lewis and Shedler (1979), Simulation of nonhomogeneous Poisson processes by
thinning; Cox (1962), Renewal theory (first gap of a process that has long been running).
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from math import floor, gamma, inf, log
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.machine.spec import FailureSpec
from hpcsim.streams import copied, stream

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

HOUR_S = 3_600
DAY_S = 86_400

AT_ONCE = 0.60  # share of the repeats that come as soon as the unit is back, in the mean AT_ONCE_S after its repair
AT_ONCE_S = HOUR_S
UNWARNED = 0.30  # share of failures without any precursor
LEAD_MEDIAN_S = 6 * HOUR_S  # of the lognormal lead time of precursors
LEAD_SIGMA = 1.0
LONGEST_LEAD_S = 3 * DAY_S
FALSE_ALARMS = 0.40  # share of the precursors that lead to nothing, on a machine that is nowhere hot
HOTTEST_C = 100.0  # acceleration stays at this temperature's above it; units shut down before
WEAR_S = 2 * 365 * DAY_S
ERRORS_PER_H = 0.05  # corrected errors of a usual unit without precursor
ERRORS_SIGMA = 1.0  # of ln of the units' own base rates, besides proneness and wear
SURGE_PER_H = 6.0  # corrected errors that a precursor adds at full strength
FORGOTTEN = 20  # mean delays after which a repeat is no longer reckoned with
REMEMBERED_S = 7 * DAY_S  # how long precursors are kept for ``corrected_errors`` once they have ended


class Failure(NamedTuple):
    """At second ``time`` the ``units`` (ascending) go down together for ``repair_s``.

    Telemetry has shown it since ``precursor_s`` before ``time``; 0: it came without warning. A unit that is still
    in repair may be hit again.
    """

    time: int
    units: tuple[int, ...]
    repair_s: int
    precursor_s: int


class Precursors(NamedTuple):
    """Units that show signs of a failure to come, ascending, and how strong, in (0, 1]."""

    units: Int64s
    strength: Floats


class Repeat(NamedTuple):
    delay_s: int  # since the failure before it
    repair_s: int
    precursor_s: int


class Candidate(NamedTuple):
    time: int
    order: int  # among candidates of the same second
    place: int  # the unit where the fault sits, and shows
    units: tuple[int, ...]
    repair_s: int
    precursor_s: int
    threshold: float  # a failure if the acceleration of its units is above
    repeats: tuple[Repeat, ...]
    is_repeat: bool = False


class Failed(NamedTuple):
    """A failure that may repeat: where it sat, what it took, and when that was repaired or will be."""

    place: int
    units: tuple[int, ...]
    repaired_s: int


class FailureProcess:
    """All hardware failures of one machine, in order of time, from second ``start`` on.

    The machine has been running before ``start``: neither gaps nor repeats nor precursors begin there. ``take`` is
    to be called at each ``next_time``; a deep copy goes on identically.

    Parameters
    ----------
    units, units_per_rack : unit u lies in rack ``u // units_per_rack``; blocks that fit stay within their rack.
    seed : of the scenario; first failures and candidates that heat may bring use streams of their own.
    chance : seed of these two streams, if that is another.
    """

    def __init__(
        self, spec: FailureSpec, *, units: int, units_per_rack: int, seed: int, start: int, chance: int | None = None
    ) -> None:
        self._spec = spec
        self._units = units
        self._units_per_rack = units_per_rack
        sizes, shares = zip(*spec.blast, strict=True)
        self._block_sizes: tuple[int, ...] = sizes
        self._block_cdf = np.cumsum(shares) / sum(shares)

        hidden = stream(seed, "failures: hidden health")
        begin = start - LONGEST_LEAD_S - round(5 * spec.recurrence_delay_d / (1.0 - AT_ONCE) * DAY_S)
        self._proneness_U = hidden.lognormal(0.0, spec.spatial_spread, units)
        self._renewed_U = begin - WEAR_S * hidden.random(units)  # second of each unit's last repair
        self._errors_per_s_U = ERRORS_PER_H / HOUR_S * hidden.lognormal(0.0, ERRORS_SIGMA, units)

        # Heat's candidates come often enough for the hottest machine, and for the false alarms of a cool one.
        first_gap_s = spec.mean_gap_h * HOUR_S / (1.0 - spec.recurrence)
        false_per_failure = FALSE_ALARMS / (1.0 - FALSE_ALARMS) * (1.0 - UNWARNED)
        wanted = false_per_failure / (1.0 - spec.recurrence)  # false alarms for each first failure
        self._heat_per_first = max(self._acceleration(HOTTEST_C) - 1.0, wanted / (1.0 - UNWARNED))
        self._heat_warned = wanted / self._heat_per_first  # share of them with a precursor

        chance = seed if chance is None else chance
        self._first = stream(chance, "failures: first")
        self._heat = stream(chance, "failures: heat")
        self._weibull_scale_s = first_gap_s / gamma(1.0 + 1.0 / spec.weibull_shape)
        self._heat_gap_s = first_gap_s / self._heat_per_first
        self._next_first = begin + self._gap_in_progress()
        self._next_heat = begin + self._heat.exponential(self._heat_gap_s)

        self._places_from = -inf  # from this second the cumulated weights of the units are these
        self._places_cdf = np.zeros(units)
        self._drawn = 0
        self._coming: list[Candidate] = []  # a heap: all up to LONGEST_LEAD_S after the first of them
        self._ended: deque[Candidate] = deque()
        self.last_first_s: int = begin  # when a first failure came last
        self.failed: list[Failed] = []  # those whose repeat may still come, as far as anybody can know
        self._draw_ahead()
        while self.next_time < start:
            self.take(None)

    def __deepcopy__(self, memo: dict[int, object]) -> FailureProcess:
        twin = copy.copy(self)
        twin._renewed_U = self._renewed_U.copy()
        twin._coming, twin._ended, twin.failed = self._coming.copy(), self._ended.copy(), self.failed.copy()
        twin._first, twin._heat = copied(self._first), copied(self._heat)
        return twin

    @property
    def next_time(self) -> int:
        """When ``take`` is due next."""
        return self._coming[0].time

    def take(self, temperature_c_U: Callable[[], Floats] | None) -> Failure | None:
        """The failure of ``next_time``, or None where that turns out a false alarm; draws on.

        ``temperature_c_U`` gives the temperatures of all units (shape U, degrees Celsius) at that second, and is
        called only where they matter; None: no unit is hot.
        """
        due = heappop(self._coming)
        if due.precursor_s:
            self._ended.append(due)
        while self._ended and self._ended[0].time < due.time - REMEMBERED_S:
            self._ended.popleft()
        fails = due.threshold < 1.0
        if not fails and temperature_c_U is not None and due.threshold < self._acceleration(HOTTEST_C):
            unit_c = temperature_c_U()[list(due.units)]
            fails = sum(self._acceleration(float(each)) for each in unit_c) / len(due.units) > due.threshold
        if due.threshold == 0.0 and not due.is_repeat:
            self.last_first_s = due.time
        if fails:
            self._renewed_U[due.place] = due.time + due.repair_s
            self._remember(due)
            self._await_repeat(due)
        self._draw_ahead()
        return Failure(due.time, due.units, due.repair_s, due.precursor_s) if fails else None

    # -- what telemetry sees ------------------------------------------------------------------

    def precursors(self, now: int) -> Precursors:
        """The units with a precursor at second ``now``, which is at most ``next_time``.

        Strength rises linearly from 0 to 1 at the time of the failure or of what turns out a false alarm. Of a
        failure of several units only the one where the fault sits shows it.
        """
        strength: dict[int, float] = {}
        for each in self._coming:
            since = now - each.time + each.precursor_s
            if since > 0 and each.precursor_s:
                strength[each.place] = max(strength.get(each.place, 0.0), since / each.precursor_s)
        units = sorted(strength)
        return Precursors(np.array(units, np.int64), np.array([strength[unit] for unit in units], np.float64))

    def corrected_errors(self, units: Int64s, from_s: int, to_s: int, rng: np.random.Generator) -> Int64s:
        """Counts of corrected errors of ``units`` from ``from_s`` to ``to_s``, Poisson.

        Each unit has its own base rate, which goes with its proneness and wear; a precursor of strength s adds
        ``SURGE_PER_H * s``, integrated exactly. ``to_s`` is at most ``next_time``, and ``from_s`` at most
        ``REMEMBERED_S`` before the candidate that was taken last; the latter is not checked.
        """
        base = self._errors_per_s_U[units] * self._weight_U(from_s)[units]
        expected = base * (to_s - from_s)
        surge_U: Floats | None = None
        for each in (*self._ended, *self._coming):
            begin = each.time - each.precursor_s
            if each.precursor_s and begin < to_s and each.time > from_s:
                low, high = max(from_s, begin) - begin, min(to_s, each.time) - begin
                if surge_U is None:
                    surge_U = np.zeros(self._units)
                surge_U[each.place] += (high * high - low * low) / (2.0 * each.precursor_s)
        if surge_U is not None:
            expected = expected + SURGE_PER_H / HOUR_S * surge_U[units]
        return rng.poisson(expected)

    # -- drawing ------------------------------------------------------------------------------

    def _draw_ahead(self) -> None:
        """Have all candidates in ``_coming`` whose precursors can show before the next one is taken."""
        first = min(self._next_first, self._next_heat)
        if self._coming:
            first = min(first, self.next_time)
        while self._next_first <= first + LONGEST_LEAD_S:
            self._draw(self._first, self._next_first, 1.0 - UNWARNED, threshold=0.0)
            self._next_first += self._weibull_scale_s * self._first.weibull(self._spec.weibull_shape)
        while self._next_heat <= first + LONGEST_LEAD_S:
            threshold = 1.0 + self._heat_per_first * self._heat.random()
            self._draw(self._heat, self._next_heat, self._heat_warned, threshold)
            self._next_heat += self._heat.exponential(self._heat_gap_s)

    def _draw(self, rng: np.random.Generator, time: float, warned: float, threshold: float) -> None:
        """Draw all there is to know of a candidate, so that what the run does shifts no stream; it only wears units."""
        if not self._places_from <= time < self._places_from + DAY_S:  # a day of wear changes little
            self._places_from, self._places_cdf = time, np.cumsum(self._weight_U(time))
        cdf = self._places_cdf
        place = min(int(np.searchsorted(cdf, rng.random() * cdf[-1], side="right")), self._units - 1)
        size = self._block_sizes[int(np.searchsorted(self._block_cdf[:-1], rng.random(), side="right"))]
        repair_s, precursor_s = self._repair_s(rng), self._precursor_s(rng, warned)
        repeats = []
        before_s = repair_s
        for _ in range(int(rng.geometric(1.0 - self._spec.recurrence)) - 1):
            well_s = self._well_s(rng)
            next_repair_s, precursor = self._repair_s(rng), self._precursor_s(rng, 1.0 - UNWARNED)
            repeats.append(Repeat(before_s + well_s, next_repair_s, min(precursor, well_s)))
            before_s = next_repair_s
        self._push(
            Candidate(
                floor(time),  # also of negative seconds, so that a later start shifts all
                0,
                place,
                block_of(place, size, self._units, self._units_per_rack),
                repair_s,
                precursor_s,
                threshold,
                tuple(repeats),
            )
        )

    def _await_repeat(self, failed: Candidate) -> None:
        """Push the next failure at the same place, if there is one."""
        if failed.repeats:
            (delay_s, repair_s, precursor_s), *later = failed.repeats
            self._push(
                failed._replace(
                    time=failed.time + delay_s,
                    repair_s=repair_s,
                    precursor_s=precursor_s,
                    threshold=0.0,
                    repeats=tuple(later),
                    is_repeat=True,
                )
            )

    def _remember(self, failed: Candidate) -> None:
        """Note a failure, of which a repeat takes the place, and forget those that will hardly repeat any more."""
        place, units = failed.place, failed.units
        since = failed.time - round(FORGOTTEN * self._spec.recurrence_delay_d * DAY_S)
        self.failed = [
            each
            for each in self.failed
            if each.repaired_s > since and not (failed.is_repeat and each.place == place and each.units == units)
        ]
        self.failed.append(Failed(place, units, failed.time + failed.repair_s))

    def _push(self, candidate: Candidate) -> None:
        self._drawn += 1
        heappush(self._coming, candidate._replace(order=self._drawn))

    def _gap_in_progress(self) -> float:
        """Seconds to the first failure, seen at a random moment: a uniform share of a gap drawn by its length."""
        shape = self._spec.weibull_shape
        length = self._first.gamma(1.0 + 1.0 / shape) ** (1.0 / shape)
        return float(self._weibull_scale_s * length * self._first.random())

    def _repair_s(self, rng: np.random.Generator) -> int:
        hours = rng.lognormal(log(self._spec.repair_median_h), self._spec.repair_sigma)
        return max(1, round(hours * HOUR_S))

    def _well_s(self, rng: np.random.Generator) -> int:
        """Seconds from a repair to the repeat."""
        mean_s = self._spec.recurrence_delay_d * DAY_S
        soon_s = min(AT_ONCE_S, mean_s)
        late_s = (mean_s - AT_ONCE * soon_s) / (1.0 - AT_ONCE)
        return round(rng.exponential(soon_s if rng.random() < AT_ONCE else late_s))

    def _precursor_s(self, rng: np.random.Generator, warned: float) -> int:
        lead_s = rng.lognormal(log(LEAD_MEDIAN_S), LEAD_SIGMA)
        return max(1, round(min(lead_s, LONGEST_LEAD_S))) if rng.random() < warned else 0

    def _weight_U(self, time: float) -> Floats:
        """How prone each unit is at second ``time``: proneness times wear."""
        return self._proneness_U * (1.0 + np.maximum(time - self._renewed_U, 0.0) / WEAR_S)

    def _acceleration(self, unit_c: float) -> float:
        excess_k = min(unit_c, HOTTEST_C) - self._spec.hot_above_c
        return max(1.0, float(self._spec.q10 ** (excess_k / 10.0)))


def block_of(place: int, size: int, units: int, per_rack: int) -> tuple[int, ...]:
    """The aligned block of ``size`` neighbours with ``place`` in it: within its rack, or else from a rack on.

    A block that would be cut off at the end of its rack, or of the machine, begins earlier instead.
    """
    stop = units
    if size <= per_rack:
        rack = place - place % per_rack
        stop = min(rack + per_rack, stop)
        begin = rack + (place - rack) // size * size
    else:
        across = -(-size // per_rack) * per_rack
        begin = place // across * across
        if place >= begin + size:
            begin += across - size  # the other end of these racks
    begin = max(0, min(begin, stop - size))
    return tuple(range(begin, min(begin + size, units)))
