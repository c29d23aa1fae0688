"""Step series: carbon intensity, price or solar power, constant from one time to the next, and their integrals.

Series are in simulated seconds. Power is constant between events and a series between its times, so an integral of
their product is a sum of exact pieces. A price in USD/MWh, or a carbon intensity in g/kWh, which is kg/MWh, weighted
with watts and divided by ``JOULES_PER_MWH`` is a cost in USD or a mass in kg.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from hpcsim.errors import InputError
from hpcsim.machine.power import Floats
from hpcsim.workload.csv_table import Column, read_csv
from hpcsim.workload.job import Int64s

HOUR_S = 3600
WEEK_S = 7 * 24 * HOUR_S
REPEAT_S = 52 * WEEK_S
JOULES_PER_MWH = 3.6e9

_HOURS = REPEAT_S // HOUR_S
_stamp = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.0+)?)?(Z|[+-]\d\d:?\d\d)?")
_direct = "Carbon intensity gCO₂eq/kWh (direct)"
_life_cycle = "Carbon intensity gCO₂eq/kWh (Life cycle)"
_CARBON = {
    "direct": Column(_direct, "number", also=(_direct.replace("₂", "2"),)),
    "lca": Column(
        _life_cycle,
        "number",
        also=tuple(
            f"Carbon intensity gCO{two}eq/kWh ({kind})"
            for two in ("₂", "2")
            for kind in ("LCA", "Life cycle", "Lifecycle", "Life-cycle")
        ),
    ),
}
_PRICE = Column("Price (USD/MWh)", "number", also=("Price (USD/MWhe)",))


class StepSeries:
    """A value from each time to the next, and beyond.

    ``times_s`` are whole simulated seconds, strictly ascending; value i holds from time i until time i + 1, the last
    one until ``end_s`` (by default as long as the one before it, an hour if it is the only one).

    Outside of these times: a series of at least 52 weeks repeats itself, shifted by as many times 52 weeks (so that
    hours and weekdays keep their place, and the season drifts by a day and a quarter a year) as lead back into it,
    and no more. A shorter one holds its first value before it begins and its last one after it has ended.

    ``missing`` is how many steps of a file had no value of their own, so that the one before was held.
    """

    __slots__ = ("_course_K", "_mean", "end_s", "missing", "times_s", "values")

    def __init__(
        self, times_s: npt.ArrayLike, values: npt.ArrayLike, *, end_s: int | None = None, missing: int = 0
    ) -> None:
        self.times_s: Int64s = np.array(times_s, np.int64)
        self.values: Floats = np.array(values, np.float64)
        if self.times_s.ndim != 1 or self.times_s.shape != self.values.shape or not len(self.times_s):
            raise ValueError(
                f"found {self.times_s.shape} times and {self.values.shape} values, expected as many, not 0"
            )
        steps = np.diff(self.times_s)
        if np.any(steps <= 0):
            raise ValueError("the times of a series must ascend strictly")
        if not np.all(np.isfinite(self.values)):
            raise ValueError("the values of a series must be finite")
        last = int(self.times_s[-1])
        self.end_s: int = last + (int(steps[-1]) if len(steps) else HOUR_S) if end_s is None else end_s
        if self.end_s <= last:
            raise ValueError(f"a series whose last value begins at {last} s cannot end at {self.end_s} s")
        self.missing: int = missing
        # The integral up to each time, less that of the mean: so it stays small, and differences keep their digits.
        lengths = np.diff(self.times_s, append=self.end_s)
        self._mean = float(self.values @ lengths) / float(self.end_s - self.times_s[0])
        self._course_K = np.concatenate(([0.0], np.cumsum((self.values - self._mean) * lengths)[:-1]))
        for array in (self.times_s, self.values, self._course_K):
            array.setflags(write=False)

    @property
    def start_s(self) -> int:
        """The first of its times."""
        return int(self.times_s[0])

    @property
    def repeats(self) -> bool:
        """Whether it covers the 52 weeks that it takes to repeat itself."""
        return self.end_s - self.start_s >= REPEAT_S

    @overload
    def at(self, t: float) -> float: ...
    @overload
    def at(self, t: Int64s | Floats) -> Floats: ...
    def at(self, t: float | Int64s | Floats) -> float | Floats:
        """The value at a time, or those at an array of times."""
        times = np.asarray(t)
        values: float | Floats = self.values[self._place(times - self._turns(times) * REPEAT_S)]
        return values

    @overload
    def integral(self, t0: float, t1: float) -> float: ...
    @overload
    def integral(self, t0: Int64s | Floats, t1: Int64s | Floats) -> Floats: ...
    def integral(self, t0: float | Int64s | Floats, t1: float | Int64s | Floats) -> float | Floats:
        """The integral of the value over time, from ``t0`` to ``t1`` (negative if that is earlier)."""
        begin, end = np.asarray(t0), np.asarray(t1)
        swept: float | Floats = self._mean * (end - begin) + (self._course(end) - self._course(begin))
        return swept

    def weighted(self, times_s: npt.ArrayLike, watts: npt.ArrayLike, end_s: float) -> float:
        """The integral of watts times value, for watts that are constant from each of ``times_s`` to the next.

        The last watts hold until ``end_s``; equal times are allowed. Exact, however the times lie to the series'.
        """
        points = np.append(np.asarray(times_s), end_s)
        watts_N = np.asarray(watts, np.float64)
        lengths = np.diff(points)
        if len(watts_N) != len(lengths) or np.any(lengths < 0):
            raise ValueError("expected ascending times until the end, and watts for each")
        return float(watts_N @ (self._mean * lengths + np.diff(self._course(points))))

    def next_boundary(self, t: float) -> int | None:
        """The first time after ``t`` at which another step begins; None where the last value holds for ever."""
        turns = int(self._turns(np.asarray(t)))
        shift = turns * REPEAT_S
        place = int(np.searchsorted(self.times_s, t - shift, side="right"))
        if not self.repeats:
            place = max(place, 1)
            return int(self.times_s[place]) if place < len(self.times_s) else None
        turn_end = self.end_s if turns >= 0 else self.start_s + REPEAT_S
        following = int(self.times_s[place]) if place < len(self.times_s) else turn_end
        return min(following, turn_end) + shift

    def boundaries(self, t0: float, t1: float) -> Int64s:
        """The times strictly between ``t0`` and ``t1`` at which another step begins."""
        turns = range(int(self._turns(np.asarray(t0))), int(self._turns(np.asarray(t1))) + 1) if self.repeats else ()
        parts: list[Int64s] = [] if self.repeats else [self.times_s[1:]]
        for turn in turns:
            first = self.end_s - REPEAT_S if turn > 0 else self.start_s
            last = self.start_s + REPEAT_S if turn < 0 else self.end_s
            inside = self.times_s[(self.times_s > first) & (self.times_s < last)]
            parts.append(np.concatenate(([first], inside)) + turn * REPEAT_S)
        times = np.concatenate(parts)
        return times[(times > t0) & (times < t1)]

    def part(self, t0: int, t1: int) -> StepSeries:
        """What it is from ``t0`` to ``t1``, later than that, as a series of its own."""
        times = np.concatenate(([t0], self.boundaries(t0, t1)))
        return StepSeries(times, self.at(times), end_s=t1)

    def _turns(self, t: npt.NDArray[Any]) -> Int64s:
        """How many times 52 weeks lie between a time and the one within the series whose value it has."""
        if not self.repeats:
            return np.zeros(t.shape, np.int64)
        late = np.maximum((t - self.end_s) // REPEAT_S + 1, 0)
        early = np.minimum((t - self.start_s) // REPEAT_S, 0)
        turns: Int64s = (late + early).astype(np.int64)
        return turns

    def _place(self, t: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
        return np.maximum(np.searchsorted(self.times_s, t, side="right") - 1, 0)

    def _course(self, t: npt.NDArray[Any]) -> Floats:
        """The integral of value less mean, from the first time of the series to ``t``."""
        turns = self._turns(t)
        course = self._course_within(t - turns * REPEAT_S)
        if np.any(turns):
            start, turn, last_turn, end = self._course_within(
                np.array([self.start_s, self.start_s + REPEAT_S, self.end_s - REPEAT_S, self.end_s])
            )
            course = course + turns * np.where(turns > 0, end - last_turn, turn - start)
        return course

    def _course_within(self, t: npt.NDArray[Any]) -> Floats:
        place = self._place(t)
        course: Floats = self._course_K[place] + (self.values[place] - self._mean) * (t - self.times_s[place])
        return course


def read_carbon(path: str | Path, t0_utc: int, kind: Literal["direct", "lca"] = "direct") -> StepSeries:
    """Carbon intensity in g/kWh, from a CSV file of Electricity Maps: ``direct``, or ``lca`` of the whole life cycle.

    Columns are found by name, old or new, in any case. Raises ``InputError`` as ``read_price`` does, and for a
    negative intensity.
    """
    if kind not in _CARBON:
        raise InputError(f"found the kind of carbon intensity {kind!r}, expected direct or lca")
    return _read(Path(path), t0_utc, _CARBON[kind], least=0.0)


def read_price(path: str | Path, t0_utc: int) -> StepSeries:
    """Price of energy in USD/MWh, from a CSV file with ``Datetime (UTC)`` and ``Price (USD/MWh)``.

    A row with an empty value, or none for an hour, is a missing step: the value before holds and the series counts
    it. Raises ``InputError`` with file and line for a time that is not UTC, not later than the one before, or
    malformed, for a value that is no number, and for a file without any.
    """
    return _read(Path(path), t0_utc, _PRICE, least=None)


def _read(path: Path, t0_utc: int, column: Column, least: float | None) -> StepSeries:
    utc_s: list[int] = []
    values: list[float | None] = []
    previous = ""
    for table in read_csv(path, (Column("Datetime (UTC)", "text"), column)):
        rows: Iterable[tuple[int, str, float | None]] = zip(
            table["line"].to_pylist(), table["Datetime (UTC)"].to_pylist(), table[column.name].to_pylist(), strict=True
        )
        for line, text, value in rows:
            time = _utc_s(f"{path}:{line}", text)
            if utc_s and time <= utc_s[-1]:
                raise InputError(
                    f"{path}:{line}: found {text} after {previous}, expected each time once and in ascending order"
                )
            if value is not None and least is not None and value < least:
                raise InputError(f"{path}:{line}: found {value} in {column.name}, expected {least} or more")
            utc_s.append(time)
            values.append(value)
            previous = text
    known = [value for value in values if value is not None]
    if not known:
        raise InputError(f"{path}: found no value in {column.name}, expected at least one")
    times_s = np.array(utc_s) - t0_utc
    step = int(np.median(np.diff(times_s))) if len(times_s) > 1 else HOUR_S
    end_s = int(times_s[-1]) + step
    missing = round((end_s - int(times_s[0])) / step) - len(known)
    is_known = np.array([value is not None for value in values])
    return StepSeries(times_s[is_known], known, end_s=end_s, missing=max(missing, 0))


def _utc_s(where: str, text: str) -> int:
    """Unix time of a date that is UTC, whether it says so or not."""
    try:
        if not _stamp.fullmatch(text):
            raise ValueError(text)
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{where}: found {text[:60]!r}, expected a time as YYYY-MM-DD HH:MM:SS, UTC") from error
    if time.utcoffset():
        raise InputError(f"{where}: found {text}, expected a time in UTC: this one is {time.tzname()}")
    return int(time.replace(tzinfo=UTC).timestamp())


def default_carbon(t0_utc: int) -> StepSeries:
    """A stylised year of direct carbon intensity in g/kWh: PJM's figures of 2024 on a made-up course.

    Mean 321, lowest 212, highest 442, a twentieth of the hours below 269 and a twentieth above 394; lowest at 8 h
    and highest at 1 h UTC, 8 % of the mean apart on an average day; more in January and July. Which hours of a week
    are high is invented: use a file for anything that depends on it.
    """
    hour = np.arange(_HOURS)
    since_lowest = (hour - 8) % 24  # it rises for 17 hours and falls in 7
    day = -np.cos(np.pi * np.where(since_lowest < 17, since_lowest / 17, 1 + (since_lowest - 17) / 7))
    season = np.cos(4 * np.pi * (hour / _HOURS - 0.05))
    levels = (212, 269, 294, 314, 343, 394, 442)
    return _laid_over(t0_utc, 0.8 * season + _weather(hour) + 0.35 * day, (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1), levels)


def default_price(t0_utc: int) -> StepSeries:
    """A stylised year of prices in USD/MWh: PJM's figures of 2024 on a made-up course.

    Median 27.0, mean 36.2, a twentieth of the hours above 88.7, from -41.8 to spikes of 759; high in the evening and
    in the morning of workdays and in cold and hot weeks, low at night. Which hours spike is invented: use a file for
    anything that depends on it.
    """
    hour = np.arange(_HOURS)
    local = (hour - 6) % 24
    day = np.zeros(_HOURS)
    for height, centre, width in ((0.6, 7, 2.0), (1.0, 18, 2.8), (-0.6, 3, 3.0)):
        day += height * np.exp(-0.5 * (((local - centre + 12) % 24 - 12) / width) ** 2)
    weekend = np.where((hour - 6) // 24 % 7 >= 5, -0.35, 0.0)
    season = 0.5 * np.cos(4 * np.pi * (hour / _HOURS - 0.05)) + 0.15 * np.cos(2 * np.pi * (hour / _HOURS - 0.05))
    nervous = _waves(hour, ((1031, 0.7), (1583, 2.2), (2203, 3.9), (2879, 5.5)))
    shares = (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1)
    levels = (-41.8, 11.0, 15.5, 21.0, 27.0, 35.0, 56.0, 88.7, 160.0, 380.0, 759.0)
    return _laid_over(t0_utc, day + weekend + season + 0.55 * _weather(hour) + 0.35 * nervous, shares, levels)


def _laid_over(t0_utc: int, course: Floats, shares: tuple[float, ...], levels: tuple[float, ...]) -> StepSeries:
    """The hours of 52 weeks in the order of ``course``, with values that have exactly these quantiles.

    They begin at the first Monday, 0 h UTC, of the year in which the simulation begins.
    """
    rank = np.empty(_HOURS)
    rank[np.argsort(np.round(course, 9), kind="stable")] = np.arange(_HOURS)
    new_year = datetime(datetime.fromtimestamp(t0_utc, UTC).year, 1, 1, tzinfo=UTC)
    monday = new_year + timedelta(days=-new_year.weekday() % 7)
    times_s = int(monday.timestamp()) - t0_utc + HOUR_S * np.arange(_HOURS)
    return StepSeries(times_s, np.interp(rank / (_HOURS - 1), shares, levels))


def _weather(hour: Int64s) -> Floats:
    """Passing lows and highs of 3 to 13 days."""
    return _waves(hour, ((29, 0.3), (46, 1.9), (78, 4.0), (120, 5.2)))


def _waves(hour: Int64s, waves: tuple[tuple[int, float], ...]) -> Floats:
    """A sum of waves, each of so many cycles in 52 weeks and a phase; its mean square is 1."""
    total = np.zeros(len(hour))
    for cycles, phase in waves:
        total += np.sin(2 * np.pi * cycles * hour / _HOURS + phase)
    return total / math.sqrt(len(waves) / 2)
