"""When the machine, or a part of it, is down for reasons that have no place: outages, maintenance, records.

Whole-system outages come without warning after an exponential time of service and last a lognormal time.
Maintenance windows are known in advance, so that schedulers can drain. Recorded outages are replayed as they were.
All times are seconds since the trace's zero, and intervals end before their second number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, log
from typing import NamedTuple

import numpy as np

from hpcsim.machine.spec import FailureSpec
from hpcsim.streams import stream
from hpcsim.workload.alcf import Outage

HOUR_S = 3_600
DAY_S = 86_400
WEEK_DAYS = 7
FIRST_MONDAY = 4  # days from 1970-01-01, a Thursday, to the first Monday


class Downtime(NamedTuple):
    """So many units are down from ``start_s`` to ``end_s``."""

    start_s: int
    end_s: int
    units: int


def whole_system_outages(spec: FailureSpec, start: int, end: int, seed: int) -> list[tuple[int, int]]:
    """Unscheduled outages of the whole machine that begin from ``start`` to ``end``, in order, never overlapping.

    A later ``end`` adds outages and changes none. Empty where the machine has none (``outage_mean_gap_d``).
    """
    if spec.outage_mean_gap_d is None:
        return []
    rng = stream(seed, "whole-system outages")
    outages: list[tuple[int, int]] = []
    up_since = start
    while True:
        begin = up_since + ceil(rng.exponential(spec.outage_mean_gap_d * DAY_S))
        if begin >= end:
            return outages
        up_since = begin + _length_s(rng, spec.outage_median_h, spec.outage_sigma)
        outages.append((begin, up_since))


def maintenance_windows(spec: FailureSpec, t0_utc: int, start: int, end: int, seed: int) -> list[tuple[int, int]]:
    """Scheduled windows that begin from ``start`` to ``end``, in order; those that overlap or touch are one.

    Due every ``maintenance_every_d`` days, counted from a day that the seed chooses, each put off to the next
    ``maintenance_weekday`` and begun at ``maintenance_start_utc_h``, so that also periods that are no whole weeks
    come as often as they say. ``t0_utc`` is the Unix time of second 0. A later ``end`` adds windows and changes none
    but the last. Empty where the machine has none.
    """
    every_d = spec.maintenance_every_d
    if every_d is None:
        return []
    rng = stream(seed, "maintenance")
    first_day = (t0_utc + start) // DAY_S
    due_day = first_day - WEEK_DAYS - int(rng.integers(every_d))
    windows: list[tuple[int, int]] = []
    last_day = None
    while True:
        day = due_day + (spec.maintenance_weekday - due_day + FIRST_MONDAY) % WEEK_DAYS
        due_day += every_d
        begin = day * DAY_S + round(spec.maintenance_start_utc_h * HOUR_S) - t0_utc
        if begin >= end:
            return _merged(windows)
        if begin >= start and day != last_day:
            windows.append((begin, begin + _length_s(rng, spec.maintenance_median_h, spec.maintenance_sigma)))
            last_day = day


def recorded_outages(
    outages: Iterable[Outage], t0_utc: int, units: int, *, unit_nodes: int = 1, median_repair_h: float = 2.6
) -> list[Downtime]:
    """Recorded outages of a machine of ``units`` units of ``unit_nodes`` nodes, in order of their start.

    An outage without an end ends when the next one starts, or after ``median_repair_h`` if that is sooner. Those of
    the whole machine are merged where they overlap or touch, and cut out of those of some nodes. Outages of some
    nodes that overlap are of different nodes, as far as there are so many. A unit is down if one node of it is.
    Times before second 0 are negative. Raises nothing: the reader of the file has checked it.
    """
    whole: list[tuple[int, int]] = []
    partial: list[Downtime] = []
    for outage, end_utc in _closed(sorted(outages, key=lambda each: each.start_utc), round(median_repair_h * HOUR_S)):
        begin, end = outage.start_utc - t0_utc, end_utc - t0_utc
        down = units if outage.nodes_down is None else min(units, -(-outage.nodes_down // unit_nodes))
        if down == units:
            whole.append((begin, end))
        elif down > 0:
            partial.append(Downtime(begin, end, down))
    whole = _merged(whole)
    pieces = [piece for one in partial for piece in _outside(one, whole)]
    return sorted([*(Downtime(begin, end, units) for begin, end in whole), *_fitting(pieces, units)])


def _closed(outages: Sequence[Outage], median_s: int) -> Iterable[tuple[Outage, int]]:
    """Each outage that lasts, with its end; ``outages`` are in order of their start."""
    later: int | None = None  # the next start that is later than this one's
    closed = []
    for i in range(len(outages) - 1, -1, -1):
        this = outages[i]
        if i + 1 < len(outages) and outages[i + 1].start_utc > this.start_utc:
            later = outages[i + 1].start_utc
        end = this.end_utc
        if end is None:
            end = this.start_utc + median_s if later is None else min(later, this.start_utc + median_s)
        if end > this.start_utc:
            closed.append((this, end))
    return reversed(closed)


def _merged(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Intervals that overlap or touch as one, in order."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(intervals):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _outside(one: Downtime, whole: Sequence[tuple[int, int]]) -> Iterable[Downtime]:
    """The parts of ``one`` that lie outside the disjoint, ordered intervals ``whole``."""
    begin = one.start_s
    for down_from, down_to in whole:
        if down_to <= begin:
            continue
        if down_from >= one.end_s:
            break
        if down_from > begin:
            yield Downtime(begin, down_from, one.units)
        begin = down_to
    if begin < one.end_s:
        yield Downtime(begin, one.end_s, one.units)


def _fitting(pieces: Iterable[Downtime], units: int) -> Iterable[Downtime]:
    """Pieces in order of their start, each with no more units than those begun before it leave."""
    open_pieces: list[Downtime] = []
    for piece in sorted(pieces):
        open_pieces = [each for each in open_pieces if each.end_s > piece.start_s]
        left = units - sum(each.units for each in open_pieces)
        if left > 0:
            fitting = piece._replace(units=min(piece.units, left))
            open_pieces.append(fitting)
            yield fitting


def _length_s(rng: np.random.Generator, median_h: float, sigma: float) -> int:
    return max(1, round(rng.lognormal(log(median_h), sigma) * HOUR_S))
