"""Jobs that have run, as a twin learns from them, and which of them are for training, choosing and testing."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import InputError

from .features import COUNTED, Bools, Columns, Ends, Floats, Int64s, codes, of_trace
from .training import Data

_DAY_S: Final = 86_400
_HOUR_S: Final = 3_600
_FEWEST: Final = 100  # jobs of a part of the split


class Records(NamedTuple):
    """J jobs in the order of submission: what was asked for, how all of them ended, and their features (J, F).

    ``end_s`` and ``runtime_s`` are those of each job, ``usable`` whether it ended in a way that tells how long it runs.
    """

    jobs: Columns
    ends: Ends
    features: Floats
    end_s: Int64s
    runtime_s: Int64s
    usable: Bools

    def data(self, which: Int64s) -> Data:
        """Some of the jobs, to learn from."""
        runtime_s, walltime_s = self.runtime_s[which], self.jobs.walltime_s[which]
        return Data(self.features[which], runtime_s.astype(np.float64), walltime_s.astype(np.float64))


class Split(NamedTuple):
    """Places of the jobs to fit, to choose by and calibrate with, and to test on; each part is later than the last."""

    fit: Int64s
    check: Int64s
    test: Int64s
    gap_s: int


def records(jobs: Columns, ends: Ends) -> Records:
    """What jobs and their ends say; a job that has not ended is not usable."""
    count = len(jobs.submit_s)
    end_s, runtime_s, usable = np.full(count, -1), np.zeros(count, np.int64), np.zeros(count, bool)
    end_s[ends.job], runtime_s[ends.job], usable[ends.job] = ends.end_s, ends.runtime_s, ends.counted
    return Records(jobs, ends, of_trace(jobs, ends), end_s, runtime_s, usable)


def of_run(table: Any, t0_utc: int, machine_nodes: int) -> Records:
    """The records of a run: ``table`` is its Arrow table of jobs, docs/results.md."""

    table = table.take(np.argsort(table.column("submit_s").to_numpy(), kind="stable"))  # some may follow others

    def whole(name: str) -> Int64s:
        if name not in table.column_names:
            return np.zeros(table.num_rows, np.int64)
        column: Int64s = table.column(name).fill_null(-1).to_numpy().astype(np.int64)
        return column

    def text(name: str) -> npt.NDArray[Any]:
        return np.array([value or "" for value in table.column(name).to_pylist()], dtype=str)

    jobs = Columns(
        submit_s=whole("submit_s"),
        nodes=whole("nodes"),
        walltime_s=whole("walltime_s"),
        cores=whole("cores"),
        gpus=whole("gpus"),
        user=codes(text("user")),
        project=codes(text("project")),
        queue=codes(text("queue"), named=False),
        has_after=text("after") != "",
        utc_of_zero=t0_utc,
        machine_nodes=machine_nodes,
    )
    state, end_s = text("state"), whole("end_s")
    over = ~np.isin(state, ["running", "waiting", "unsubmitted"])
    ended = np.flatnonzero((end_s >= 0) & (whole("attempts") > 0) & over)
    counted = np.isin(state[ended], sorted(COUNTED))
    return records(jobs, Ends(ended, end_s[ended], whole("runtime_s")[ended], state[ended] == "failed", counted))


def split(rows: Records, shares: tuple[float, float] = (0.6, 0.2)) -> Split:
    """The jobs by when they were submitted: in the first ``shares`` of the time to fit and to check, later to test.

    Between two parts lies a twentieth of the whole time, at most a week, in which no job is of either; and no job is of
    a part that ended after the next one began.
    """
    submit_s = rows.jobs.submit_s
    usable = np.flatnonzero(rows.usable)
    if usable.size < 3 * _FEWEST:
        raise InputError(f"{usable.size} jobs ended; a twin needs {3 * _FEWEST} to learn, to check and to test")
    submit = submit_s[usable]
    span_s = int(submit[-1] - submit[0])
    gap_s = min(7 * _DAY_S, span_s // 20)
    second = int(submit[0] + span_s * shares[0])
    third = int(submit[0] + span_s * (shares[0] + shares[1]))
    end = rows.end_s[usable]
    parts = (
        (submit < second - gap_s) & (end < second),
        (submit >= second) & (submit < third - gap_s) & (end < third),
        submit >= third,
    )
    fit, check, test = (usable[part] for part in parts)
    for name, part in (("fit", fit), ("check", check), ("test", test)):
        if part.size < _FEWEST // 4:
            raise InputError(f"only {part.size} jobs to {name} are left by the gap of {gap_s} s; give more days")
    return Split(fit, check, test, gap_s)


def hours(rows: Records, which: Int64s, parts: Split, window: int) -> list[tuple[Int64s, Int64s]]:
    """For each hour of the test: the places of its jobs in the test, and in ``which`` of the last that had ended.

    At most ``window`` of these, by when the first job of the hour was submitted.
    """
    end_s = rows.end_s[which]
    order = np.argsort(end_s, kind="stable")
    hour = rows.jobs.submit_s[parts.test] // _HOUR_S
    found = []
    for test in np.split(np.arange(len(hour)), np.flatnonzero(np.diff(hour)) + 1):
        begin = int(rows.jobs.submit_s[parts.test[test[0]]])
        known = order[: np.searchsorted(end_s[order], begin, side="right")][-window:]
        found.append((test, known))
    return found
