"""Where the windows of a scenario lie: disjoint, one after the other, each long enough and none without jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from hpcsim.errors import InputError
from hpcsim.streams import stream
from hpcsim.tournament.grid import Listed, Protocol, Windows
from hpcsim.workload.job import Int64s

DAY_S = 86_400
ALL = "all"


@dataclass(frozen=True, slots=True)
class Placed:
    """A window on a scenario's clock. ``section`` is what a scenario says of it; None is the scenario's own.

    ``jobs`` is about how many it has, for estimates.
    """

    label: str
    section: dict[str, Any] | None
    jobs: int


@dataclass(frozen=True, slots=True)
class Extent:
    """What there is to cut windows from: a trace with its submissions, or a profile as long as is needed.

    ``records`` says whether starts are recorded, ``jobs_per_day`` is a profile's; of a trace ``submit_s`` is not None.
    """

    source: str
    t0_utc: int
    submit_s: Int64s | None
    records: bool
    jobs_per_day: float

    @property
    def first(self) -> int:
        """The second of the first submission."""
        return 0 if self.submit_s is None else int(self.submit_s[0])

    @property
    def last(self) -> int | None:
        """The second after the last submission; None if there is no end to it."""
        return None if self.submit_s is None else int(self.submit_s[-1]) + 1

    def jobs(self, start: int, end: int) -> int:
        """How many jobs are submitted in ``[start, end)``, of a profile about."""
        if self.submit_s is None:
            return round(self.jobs_per_day * (end - start) / DAY_S)
        return int(np.searchsorted(self.submit_s, end) - np.searchsorted(self.submit_s, start))

    def label(self, second: int) -> str:
        """A second as the date in UTC that tables name a window by."""
        moment = datetime.fromtimestamp(self.t0_utc + second, UTC)
        return f"{moment:%Y-%m-%dT%H:%M}" + (f":{moment.second:02}" if moment.second else "")


def by_pattern(windows: Windows, extent: Extent) -> list[Placed]:
    """The windows of a pattern. Raises InputError where they do not fit."""
    whole = windows.warm_up + windows.measured + windows.cool_down
    if not windows.measured:
        raise InputError("windows.measured: 0 s would be measured of each window")
    every = whole if windows.every is None else windows.every
    if every < windows.measured:
        raise InputError(
            f"windows.every: windows that begin every {every} s overlap in what they measure, {windows.measured} s each"
        )
    first = extent.first if windows.start is None else windows.start.seconds(extent.t0_utc)
    last = extent.last if windows.end is None else windows.end.seconds(extent.t0_utc)
    if extent.last is not None and first >= extent.last:
        raise InputError(
            f"windows.start: {extent.label(first)} UTC is after all jobs of {extent.source}, which has some "
            f"{_range(extent)}"
        )
    if first < extent.first or (extent.last is not None and last is not None and last > extent.last):
        raise InputError(
            f"windows: between {extent.label(first)} and {extent.label(last or 0)} UTC there are not jobs everywhere; "
            f"{extent.source} has some {_range(extent)}"
        )
    count = windows.count
    if last is None:
        if count is None:
            raise InputError(f"windows.count: {extent.source} has no end; say how many windows, or windows.end")
        last = first + (count - 1) * every + whole
    fit = max(0, (last - first - whole) // every + 1)
    if fit < (count or 1):
        raise InputError(
            f"windows: {count or 1} of {_days(whole)} (warm_up, measured and cool_down), one every {_days(every)}, "
            f"do not fit into {extent.source}, which has {_days(last - first)} from {extent.label(first)} UTC: {fit} do"
        )
    starts = (first + number * every for number in range(count or fit))
    warm = windows.warm_start and extent.records
    return [_placed(extent, start, start + whole, windows.warm_up, windows.cool_down, warm) for start in starts]


def listed(windows: Sequence[Listed], extent: Extent) -> list[Placed]:
    """Windows that are said one by one. Raises InputError where one overlaps with another or has no jobs."""
    placed = []
    before: tuple[int, int] | None = None
    for number, window in enumerate(windows):
        start = extent.first if window.start is None else window.start.seconds(extent.t0_utc)
        end = extent.last if window.end is None else window.end.seconds(extent.t0_utc)
        if end is None:
            raise InputError(f"windows.{number}.end: {extent.source} has no end; say when the window ends")
        if not start < end - window.warm_up - window.cool_down:
            raise InputError(f"windows.{number}: nothing is left to measure between warm_up and cool_down")
        if start < extent.first or (extent.last is not None and end > extent.last):
            raise InputError(f"windows.{number}: {extent.source} has jobs only {_range(extent)}")
        measured = (start + window.warm_up, end - window.cool_down)
        if before is not None and measured[0] < before[1]:
            raise InputError(
                f"windows.{number}: what it measures begins at {extent.label(measured[0])} UTC, before the "
                f"one above ends at {extent.label(before[1])}; windows are disjoint and one after the other"
            )
        before = measured
        warm = window.warm_start and extent.records
        placed.append(_placed(extent, start, end, window.warm_up, window.cool_down, warm))
    return placed


def sequences(protocol: Protocol, jobs: int) -> list[int]:
    """The first job of each sequence of the protocol ``rlscheduler``, of ``jobs`` there are; ascending."""
    room = jobs - protocol.jobs + 1
    if room < protocol.sequences:
        raise InputError(
            f"protocol: {protocol.sequences} sequences of {protocol.jobs} jobs cannot be cut out of {jobs} jobs"
        )
    drawn = stream(protocol.seed, "rlscheduler").choice(room, protocol.sequences, replace=False)
    return sorted(drawn.tolist())


def sequence(submit_s: Int64s, first: int, jobs: int) -> dict[str, Any]:
    """The section of a scenario for ``jobs`` jobs from number ``first`` on, or from the first of the same second."""
    while first and submit_s[first] == submit_s[first - 1]:
        first -= 1
    return {"start": int(submit_s[first]), "jobs": jobs}


def _placed(extent: Extent, start: int, end: int, warm_up: int, cool_down: int, warm_start: bool) -> Placed:
    label = extent.label(start)
    if not extent.jobs(start + warm_up, end - cool_down):
        raise InputError(
            f"windows: {extent.source} has no jobs to measure in the window from {label} to {extent.label(end)} UTC; "
            "choose windows.start, windows.every or windows.measured so that each has some"
        )
    section = {
        "start": start, "end": end, "warm_start": warm_start, "warm_up": warm_up, "cool_down": cool_down
    }  # fmt: skip
    return Placed(label, section, extent.jobs(start, end))


def _range(extent: Extent) -> str:
    start = f"from {extent.label(extent.first)}"
    return start if extent.last is None else f"{start} to {extent.label(extent.last)} UTC"


def _days(seconds: int) -> str:
    return f"{seconds / DAY_S:.4g} d"
