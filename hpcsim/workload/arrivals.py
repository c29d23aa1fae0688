"""The same jobs at another pace: at another offered load, or each a little earlier, later, shorter or longer.

Multiplying all times between submissions by one number would move the morning peak to another hour. So a job's place in
the week is kept: times are stretched on a clock that runs as fast as jobs come in that hour of the week, mean over the
whole trace (of the day, in less than two weeks; on an even clock in less than two days).

References: Feitelson (2015), Workload Modeling for Computer Systems Performance Evaluation; Tsafrir, Ouaknine and
Feitelson (2007), Reducing performance evaluation sensitivity and variability by input shaking.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hpcsim.errors import InputError
from hpcsim.streams import stream
from hpcsim.workload.job import SCHEMA, Int64s, Workload

Floats = npt.NDArray[np.float64]

HOUR_S = 3_600
DAY_S = 24 * HOUR_S
WEEK_S = 7 * DAY_S
LEAST_WEIGHT = 0.1  # of an hour, relative to the mean: in an hour without jobs the clock still runs


class Rhythm:
    """A clock that runs as fast as jobs come, by the hour of the week (or of the day)."""

    def __init__(self, submit_s: Int64s) -> None:
        span_s = int(submit_s[-1] - submit_s[0]) if submit_s.size else 0
        self._period_s = WEEK_S if span_s >= 2 * WEEK_S else DAY_S
        hours = self._period_s // HOUR_S
        weights = np.ones(hours)
        if span_s >= 2 * DAY_S:
            counts = np.bincount(submit_s % self._period_s // HOUR_S, minlength=hours)
            weights = np.maximum(counts / counts.mean(), LEAST_WEIGHT)
        self._edges_s = np.arange(hours + 1) * float(HOUR_S)
        self._passed = np.append(0.0, np.cumsum(weights))

    def passed(self, time_s: npt.ArrayLike) -> Floats:
        """What the clock shows at these seconds."""
        periods, rest_s = np.divmod(np.asarray(time_s, np.float64), self._period_s)
        found: Floats = periods * self._passed[-1] + np.interp(rest_s, self._edges_s, self._passed)
        return found

    def time_s(self, passed: npt.ArrayLike) -> Floats:
        """When the clock shows this: the inverse of ``passed``."""
        periods, rest = np.divmod(np.asarray(passed, np.float64), self._passed[-1])
        found: Floats = periods * self._period_s + np.interp(rest, self._passed, self._edges_s)
        return found


@dataclass(frozen=True, slots=True)
class Pace:
    """From the seconds of a trace to those at another pace; ``start`` stays where it is, and so does all before it."""

    start: int
    end: int
    new_end: int
    rhythm: Rhythm

    def moved(self, time_s: npt.ArrayLike) -> Int64s:
        """Where these seconds of the trace come to lie, rounded down; their order stays."""
        time = np.asarray(time_s, np.int64)
        first, last, new_last = self.rhythm.passed([self.start, self.end, self.new_end]).tolist()
        stretch = (new_last - first) / (last - first)
        new = np.floor(self.rhythm.time_s(first + (self.rhythm.passed(time) - first) * stretch)).astype(np.int64)
        # rounding must not move a job out of its window
        inside = np.where(time < self.end, np.minimum(new, self.new_end - 1), np.maximum(new, self.new_end))
        moved: Int64s = np.where(time <= self.start, time, np.maximum(inside, self.start))
        return moved


def offered_load(workload: Workload, *, start: int, end: int, nodes: int, overrun: str) -> float:
    """Node-seconds of the jobs submitted in ``[start, end)``, as far as they may run, over those of the machine.

    A job larger than the machine counts nothing. Raises InputError where jobs share nodes.
    """
    if workload.shares_nodes:
        raise InputError(f"{workload.source}: jobs share nodes, and the load that these offer is not known")
    submit, asked = workload.column("submit_s"), workload.column("nodes")
    walltime = workload.column("walltime_s")
    runtime = np.minimum(workload.column("runtime_s"), walltime if overrun == "kill" else walltime * 11 // 10)
    counted = (submit >= start) & (submit < end) & (asked <= nodes)
    return float(np.dot(asked[counted], runtime[counted])) / (nodes * (end - start))


def paced(workload: Workload, pace: Pace) -> Workload:
    """The jobs at that pace; one that is submitted later has its recorded start as much later."""
    return _at_times(workload, pace.moved(workload.column("submit_s")))


def shaken(workload: Workload, *, submit_s: int, runtime: float, seed: int, start: int, end: int) -> Workload:
    """The jobs submitted up to ``submit_s`` earlier or later and running up to a share ``runtime`` shorter or longer.

    Those submitted before ``start`` are left alone, and none leaves ``[start, end)``. Raises InputError where jobs
    wait for others.
    """
    after = workload.table.column("after")
    if after.null_count < len(after):
        raise InputError(f"{workload.source}: jobs wait for others, and shaking them would change who comes first")
    rng = stream(seed, "shake")
    submit, ran = workload.column("submit_s"), workload.column("runtime_s")
    moved = np.clip(submit + rng.integers(-submit_s, submit_s, submit.size, endpoint=True), start, end - 1)
    factor = 1.0 + runtime * rng.uniform(-1.0, 1.0, submit.size)
    here = submit >= start
    moved = np.where(here, moved, submit)
    longer = np.where(here, np.maximum(np.rint(ran * factor), 1), ran).astype(np.int64)
    return _at_times(replace(workload, table=_with(workload.table, "runtime_s", longer)), moved)


def _at_times(workload: Workload, submit: Int64s) -> Workload:
    """The jobs submitted at these seconds, J of them, in their order; their recorded waits stay."""
    recorded = workload.column("recorded_start_s")
    later = np.where(recorded < 0, recorded, recorded + submit - workload.column("submit_s"))
    table = _with(_with(workload.table, "recorded_start_s", later), "submit_s", submit)
    return replace(workload, table=table.take(pa.array(np.argsort(submit, kind="stable"))))


def _with(table: pa.Table, name: str, values: Int64s) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), SCHEMA.field(name), pa.array(values, pa.int64()))
