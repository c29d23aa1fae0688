"""What a run teaches about failing nodes: at the end of every hour, what was known of each unit and when it failed.

Learned from are the units that are in service, for a unit that is down already cannot fail. Failures are rare, so a
network learns from a second run of the first 40 % of the time, the ``practice``, in which hardware fails more often, so
that a unit does about ``PRACTICE_PER_DAY`` times a day; the machine as it is has the next 20 % of the time to calibrate
by, and the rest to judge. Between two parts lie ``GAP_H`` hours, so that no failure is an answer in both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import UNIT_STATES, InputError

from .fault_features import DESCRIBED, HOUR_S, INTERVALS, PER_INTERVAL, SENSES_EVERY_S, SEQUENCE, SLOW, Health, seen
from .fault_signs import HOURS, Seen, Signs, told
from .learners import Recorded

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

GAP_H: Final = 96
PRACTICE_PER_DAY: Final = 0.04
_LEAST_RATE, _MOST_RATE = 1.0, 50.0
_PRACTICE, _CHECKED, _FITTED = 0.4, 0.6, 0.8  # shares of the time; the last of the practice
_LEAST_FAILURES: Final = 10
_CAUSES: Final = ("hardware", "heat")


class Hours(NamedTuple):
    """Some unit-hours: their places in the hours and in the units."""

    hour: Int64s
    unit: Int64s


class FaultRecords(NamedTuple):
    """T hours of U units: features as ``Health`` gives them, whether in service, and hours to the next failure.

    ``sequence`` (T, U, S) holds the interval that ends with the hour, ``slow`` (T, U, G) what describes units beside
    it, of which the signs are 0 until they are ``told``; ``fails_in_h`` is infinite where nothing more is known.
    ``hazard`` is the true one within so many seconds of each second of some, (T, U). ``practice`` is None in those of a
    practice itself.
    """

    time_s: Int64s
    sequence: npt.NDArray[np.float16]
    slow: npt.NDArray[np.float16]
    up: npt.NDArray[np.bool_]
    fails_in_h: npt.NDArray[np.float32]
    hazard: Callable[[Int64s, int], Any] | None = None
    practice: FaultRecords | None = None

    def windows(self, which: Hours, intervals: int = INTERVALS) -> npt.NDArray[np.float16]:
        """The last intervals of some unit-hours, (N, intervals, S)."""
        back = np.arange(intervals - 1, -1, -1)
        return np.asarray(self.sequence[which.hour[:, None] - back, which.unit[:, None]])

    def seen(self, which: Hours) -> Seen:
        """What shows signs in some unit-hours."""
        return seen(self.windows(which, HOURS), self.slow[which.hour, which.unit])

    def told(self, signs: Signs, parts: tuple[slice, ...], step: int) -> FaultRecords:
        """The same, with what the signs tell in each ``step``th hour of some parts."""
        slow = self.slow.copy()
        for part in parts:
            for hour in range(part.start, part.stop, step):
                which = Hours(np.full(slow.shape[1], hour), np.arange(slow.shape[1]))
                slow[hour, :, len(SLOW) :] = told(signs, self.seen(which))
        return self._replace(slow=slow)

    def within(self, which: Hours, horizon_h: float) -> npt.NDArray[np.bool_]:
        """Whether units failed within so many hours."""
        return np.asarray(self.fails_in_h[which.hour, which.unit] <= horizon_h)

    def days(self, which: Hours) -> Int64s:
        """The day of each."""
        return np.asarray(self.time_s[which.hour] // (24 * HOUR_S))

    def parts(self) -> tuple[slice, slice]:
        """The hours to calibrate by and to judge; of a practice those to fit and to stop by."""
        last = len(self.time_s) - GAP_H  # up to here all answers are known
        begin, end = (HOURS - 1, round(_FITTED * last))
        if self.practice is not None:
            begin, end = round(_PRACTICE * last), round(_CHECKED * last)
        return slice(begin, end - GAP_H), slice(end, last)

    def all_of(self, part: slice, step: int = 1) -> Hours:
        """All unit-hours in service, of each ``step``th hour."""
        hour, unit = np.nonzero(self.up[part][::step])
        return Hours(step * hour + part.start, unit)


def of_run(run: Recorded) -> FaultRecords:
    """The records of a run with telemetry of all units every ``SENSES_EVERY_S``, and of its practice.

    InputError where that is too little.
    """
    rows = _of_one(run)
    if run.again is None:
        return rows
    hours = round(_PRACTICE * (len(rows.time_s) - GAP_H))
    fails_a_day = float((rows.fails_in_h[rows.up] <= 24.0).mean())
    rate = float(np.clip(round(PRACTICE_PER_DAY / max(fails_a_day, 1e-9), 1), _LEAST_RATE, _MOST_RATE))
    practice = run.again({"physics.failure_rate": rate, "until": f"{hours}h"})
    return rows._replace(practice=_of_one(practice))


def _of_one(run: Recorded) -> FaultRecords:
    if run.telemetry is None:
        raise InputError("to learn of faults needs a scenario with machine.model and physics")
    table = run.telemetry()
    units = int(table["unit"][-1].as_py()) + 1
    time_s = table["time_s"].to_numpy()[::units]
    if len(table) != units * len(time_s) or (np.diff(time_s) != SENSES_EVERY_S).any():
        raise InputError(f"to learn of faults needs telemetry of all units every {SENSES_EVERY_S} s")
    hours = len(time_s) // PER_INTERVAL
    state, job, watts, celsius, errors = _columns(table, units)
    health = Health(units)
    sequence = np.zeros((hours, units, len(SEQUENCE)), np.float16)
    slow = np.zeros((hours, units, len(DESCRIBED)), np.float16)
    up = np.zeros((hours, units), bool)
    for sample in range(hours * PER_INTERVAL):
        read = (None if column is None else column[sample] for column in (celsius, errors))
        health.tell(int(time_s[sample]), state[sample], job[sample], watts[sample], *read)
        if (sample + 1) % PER_INTERVAL == 0:
            hour = sample // PER_INTERVAL
            sequence[hour], slow[hour, :, : len(SLOW)] = health.sequence()[:, -1], health.slow
            up[hour] = state[sample] != UNIT_STATES.index("down")
    ends_s = time_s[PER_INTERVAL - 1 :: PER_INTERVAL][:hours]
    fails_in_h, failures = _to_failures(run.tables["interrupts"], ends_s, units)
    if failures < _LEAST_FAILURES:
        raise InputError(
            f"to learn of faults needs {_LEAST_FAILURES} failures or more, found {failures}; set more days"
        )
    return FaultRecords(ends_s, sequence, slow, up, fails_in_h, run.hazard)


def _columns(table: Any, units: int) -> tuple[Any, Any, Any, Any, Any]:
    """State as in ``UNIT_STATES``, a number of the job (-1: none), watts, degrees Celsius and corrected errors.

    Each (samples, U); None without sensors.
    """
    names, place = _coded(table["state"])
    state = np.array([UNIT_STATES.index(name) for name in names], np.int8)[place].reshape(-1, units)
    job = _coded(table["job_id"])[1].reshape(-1, units)

    def read(name: str) -> Any:
        return None if table[name].null_count else table[name].to_numpy().reshape(-1, units)

    return state, job, read("node_w"), read("node_c"), read("corrected_errors")


def _coded(column: Any) -> tuple[list[str], npt.NDArray[np.int32]]:
    """The words of a column, and which of them stands in each row; -1 where none does."""
    chunks = column.unify_dictionaries().chunks
    places = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks]
    return chunks[0].dictionary.to_pylist(), np.concatenate(places).astype(np.int32)


def _to_failures(interrupts: Any, ends_s: Int64s, units: int) -> tuple[npt.NDArray[np.float32], int]:
    """Hours from the end of each hour to the next failure of each unit, and how many failures there were."""
    failed: list[list[int]] = [[] for _ in range(units)]
    count = 0
    columns = (interrupts[name].to_pylist() for name in ("time_s", "cause", "units"))
    for time, cause, text in zip(*columns, strict=True):
        if cause not in _CAUSES:
            continue
        count += 1
        for span in text.split(","):
            first, _, last = span.partition("-")
            for unit in range(int(first), int(last or first) + 1):
                failed[unit].append(time)
    fails_in_h = np.full((len(ends_s), units), np.inf, np.float32)
    for unit, times in enumerate(failed):
        if times:
            at = np.array([*times, np.iinfo(np.int64).max])
            next_ = np.searchsorted(at, ends_s, side="right")
            known = next_ < len(times)
            fails_in_h[known, unit] = (at[next_[known]] - ends_s[known]) / HOUR_S
    return fails_in_h, count
