"""What is known of a job when it is submitted, as numbers: its request, the time, and what ran before it.

One place computes them for training, for all jobs of a trace at once, and for a run, in which ends become known one by
one. Both ways gather the last ends of the groups that a job belongs to and then go through the same lines, so that a
network is asked about what it was taught (``tests/test_twin_features.py`` holds both to the last bit).

Shapes: J jobs, F features, G groups, K last ends of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Ended, Job

from .last_ends import LastEnds, gathered

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LAST: Final = 10
"""K: of how many ends of a group is remembered."""

COUNTED: Final = frozenset({"completed", "failed", "timeout"})
"""The ends that tell how long jobs run: killed ones, and those that lost a node, say nothing of it."""

GROUPS: Final = ("user", "user_shape", "user_walltime", "project", "queue", "shape")
"""What jobs have in common: a shape is nodes and walltime. A user or project without a name makes no group."""

_REQUEST: Final = (
    "log_walltime", "log_nodes", "log_share_of_machine", "nodes_are_a_power_of_two", "walltime_is_whole_hours",
    "log_cores", "gpus", "user_is_known", "waits_for_others",
    "hour_sin", "hour_cos", "weekday_sin", "weekday_cos", "weekend",
)  # fmt: skip
_STATISTICS: Final = (
    "log_count", "log_age", "last", "second", "mean", "median", "deviation", "least", "ratio", "ratio_deviation",
    "at_limit", "failed",
)  # fmt: skip

NAMES: Final = (*_REQUEST, *(f"{group}_{name}" for group in GROUPS for name in _STATISTICS))
"""The features in their order, F of them."""

_RUNTIME, _RATIO, _AT_LIMIT, _FAILED = range(4)  # what is kept of an end
_DAY_S: Final = 86_400
_MONDAY_UTC: Final = 4 * _DAY_S  # 1970-01-05 was a Monday
_LONG_AGO: Final = 21.0  # log seconds; the age of what never was


@dataclass(frozen=True, slots=True)
class Columns:
    """Jobs as columns of J values: what their users asked for. ``user`` and the like are codes, -1 where unnamed."""

    submit_s: Int64s
    nodes: Int64s
    walltime_s: Int64s
    cores: Int64s
    gpus: Int64s
    user: Int64s
    project: Int64s
    queue: Int64s
    has_after: Bools
    utc_of_zero: int
    machine_nodes: int


@dataclass(frozen=True, slots=True)
class Ends:
    """How jobs ended: ``job`` is a place in ``Columns``, ``end_s`` when it was told, ``counted`` whether it tells."""

    job: Int64s
    end_s: Int64s
    runtime_s: Int64s
    failed: Bools
    counted: Bools


def codes(texts: Sequence[str] | npt.NDArray[Any], *, named: bool = True) -> Int64s:
    """A number for each of J texts, equal for equal ones; with ``named``, -1 for an empty one."""
    found, code_J = np.unique(np.asarray(texts, dtype=str), return_inverse=True)
    code_J = code_J.astype(np.int64)
    return np.where(found[code_J] == "", -1, code_J) if named and found.size else code_J


def of_trace(jobs: Columns, ends: Ends) -> Floats:
    """Features of all jobs of a trace, (J, F): of each only what was known in the second of its submission."""
    parts = [_request(jobs)]
    for group in group_codes(jobs):
        last, count, last_end_s = _last_ends(jobs, ends, group)
        parts.append(_statistics(last, count, last_end_s, jobs.submit_s, jobs.walltime_s))
    return np.concatenate(parts, axis=1)


def last_runtimes(jobs: Columns, ends: Ends, count: int) -> Floats:
    """Seconds that the last jobs of the same user ran which had ended when each of J was submitted, (J, count).

    NaN where there are fewer, or the user has no name.
    """
    last, known, _ = _last_ends(jobs, ends, jobs.user)
    return np.where(np.arange(count) < known[:, None], np.exp(last[:, :count, _RUNTIME]), np.nan)


def _last_ends(jobs: Columns, ends: Ends, group: Int64s) -> tuple[Floats, Int64s, Int64s]:
    """The last ends of each job's group that were known when it was submitted, (J, K, 4), the newest first.

    Besides how many there were in all, and when the last one was.
    """
    told = ends.counted
    job, runtime_s, failed = ends.job[told], ends.runtime_s[told], ends.failed[told]
    end_s = np.maximum(ends.end_s[told], jobs.submit_s[job] + 1)  # no job ended before it was there
    kept = _kept(runtime_s, jobs.walltime_s[job], failed)
    known = gathered(kept, end_s, group[job], job, group, jobs.submit_s, LAST)
    return known.kept, known.known, known.end_s[:, 0]


class History:
    """The ends that became known in a run so far, and the features of jobs that are asked about."""

    def __init__(self) -> None:
        self._ends = LastEnds(LAST, 4)

    def copy(self) -> History:
        """Another that goes its own way."""
        twin = History()
        twin._ends = self._ends.copy()
        return twin

    def add(self, end: Ended) -> None:
        """Learn of a job that has ended."""
        if end.state not in COUNTED:
            return
        job = end.job
        failed = np.array([end.state == "failed"])
        kept = _kept(np.array([end.runtime_s]), np.array([job.walltime]), failed)[0]
        self._ends.put(keys_of(job), kept, end.now, job.id)

    def ends_like(self, job: Job) -> int:
        """How many ends became known of the user of ``job``; of its shape where the user has no name."""
        keys = keys_of(job)
        return int(self._ends.count[self._ends.row(keys[0] or keys[-1])])

    def features(self, jobs: Sequence[Job], utc_of_zero: int, machine_nodes: int) -> Floats:
        """Features of J jobs that wait, (J, F), by all ends that are known by now."""
        rows = [job[2:] for job in jobs]  # all but id and name
        return once(rows, lambda some: self._features([jobs[place] for place in some], utc_of_zero, machine_nodes))

    def _features(self, jobs: Sequence[Job], utc_of_zero: int, machine_nodes: int) -> Floats:
        row_JG = np.array([[self._ends.row(key) for key in keys_of(job)] for job in jobs], np.int64)
        numbers = np.array([job[2:5] + job[9:11] for job in jobs], np.int64)
        submit_s, nodes, walltime_s, cores, gpus = numbers.T
        nothing = np.zeros(len(jobs), np.int64)
        user = np.array([0 if job.user else -1 for job in jobs], np.int64)
        has_after = np.array([bool(job.after) for job in jobs])
        columns = Columns(
            submit_s, nodes, walltime_s, cores, gpus, user, nothing, nothing, has_after, utc_of_zero, machine_nodes
        )
        row = row_JG.reshape(-1)
        group_submit_s, group_walltime_s = np.repeat(submit_s, len(GROUPS)), np.repeat(walltime_s, len(GROUPS))
        of_groups = _statistics(
            self._ends.kept[row], self._ends.count[row], self._ends.end_s[row, 0], group_submit_s, group_walltime_s
        )
        return np.concatenate([_request(columns), of_groups.reshape(len(jobs), -1)], axis=1)


def once(rows: Sequence[Hashable], said: Callable[[list[int]], Floats]) -> Floats:
    """What is ``said`` of J rows, given the places of some of them; of rows that are alike it is said but once.

    Whoever submits many jobs at once submits them alike.
    """
    if len(rows) == 1:
        return said([0])
    first: dict[Hashable, int] = {}
    of = [first.setdefault(row, place) for place, row in enumerate(rows)]
    some = list(first.values())
    return said(some)[np.searchsorted(some, of)]


def keys_of(job: Job) -> tuple[tuple[Any, ...] | None, ...]:
    """The groups of a job, None where it belongs to none; in the order of ``GROUPS``."""
    user, nodes, walltime = job.user, job.nodes, job.walltime
    return (
        (0, user) if user else None,
        (1, user, nodes, walltime) if user else None,
        (2, user, walltime) if user else None,
        (3, job.project) if job.project else None,
        (4, job.queue),
        (5, nodes, walltime),
    )


def group_codes(jobs: Columns) -> list[Int64s]:
    """The same groups as numbers of J jobs, -1 for none."""
    _, shape = np.unique(np.stack([jobs.nodes, jobs.walltime_s]), axis=1, return_inverse=True)
    _, walltime = np.unique(jobs.walltime_s, return_inverse=True)

    def both(first: Int64s, second: Int64s) -> Int64s:
        return np.where(first < 0, -1, first * (int(second.max(initial=0)) + 1) + second)

    by_user = [both(jobs.user, shape.reshape(-1)), both(jobs.user, walltime)]
    queue = jobs.queue - min(int(jobs.queue.min(initial=0)), 0)  # those without a queue are one too
    grouped = (jobs.user, *by_user, jobs.project, queue, shape.reshape(-1))
    dense = []
    for code in grouped:
        found, code_J = np.unique(code, return_inverse=True)
        dense.append(np.where(code < 0, -1, code_J.reshape(-1)) if found.size else code)
    return dense


def _kept(runtime_s: Int64s, walltime_s: Int64s, failed: Bools) -> Floats:
    """What is remembered of E ends, (E, 4)."""
    log_runtime = np.log(np.maximum(runtime_s, 1).astype(np.float64))
    ratio = np.minimum(log_runtime - np.log(np.maximum(walltime_s, 1).astype(np.float64)), 0.0)
    return np.stack([log_runtime, ratio, runtime_s >= walltime_s, failed], axis=-1).astype(np.float64)


def _request(jobs: Columns) -> Floats:
    """What the user asked for, and when, (J, 14)."""
    log_walltime = np.log(np.maximum(jobs.walltime_s, 1).astype(np.float64))
    log_nodes = np.log(np.maximum(jobs.nodes, 1).astype(np.float64))
    since_monday = (jobs.submit_s + jobs.utc_of_zero - _MONDAY_UTC) % (7 * _DAY_S)
    hour, weekday = since_monday % _DAY_S / _DAY_S * 2 * np.pi, since_monday / (7 * _DAY_S) * 2 * np.pi
    columns = (
        log_walltime, log_nodes, log_nodes - np.log(jobs.machine_nodes), (jobs.nodes & (jobs.nodes - 1)) == 0,
        jobs.walltime_s % 3600 == 0, np.log1p(jobs.cores.astype(np.float64)), jobs.gpus, jobs.user >= 0, jobs.has_after,
        np.sin(hour), np.cos(hour), np.sin(weekday), np.cos(weekday), since_monday >= 5 * _DAY_S,
    )  # fmt: skip
    return _side_by_side(columns)


def _statistics(
    last: Floats, count_J: Int64s, last_end_s: Int64s | Floats, submit_s: Int64s, walltime_s: Int64s
) -> Floats:
    """What the last ends of one group, (J, K, 4), say of J jobs, (J, 12): runtimes are logs relative to the walltime.

    Where nothing is known, jobs run as long as they may.
    """
    known_J, some_J = np.minimum(count_J, LAST), count_J > 0
    is_there = np.arange(LAST) < known_J[:, None]
    n = np.maximum(known_J, 1)
    log_walltime = np.log(np.maximum(walltime_s, 1).astype(np.float64))
    runtime = np.where(is_there, np.minimum(last[..., _RUNTIME] - log_walltime[:, None], 0.0), 0.0)
    ratio = np.where(is_there, last[..., _RATIO], 0.0)
    mean, ratio_mean = runtime.sum(1) / n, ratio.sum(1) / n
    sorted_up = np.sort(np.where(is_there, runtime, np.inf), axis=1)
    middle = sorted_up[np.arange(len(n)), (n - 1) // 2]
    age = np.where(some_J, np.log1p(np.maximum(submit_s - last_end_s, 0).astype(np.float64)), _LONG_AGO)
    columns = (
        np.log1p(count_J.astype(np.float64)), age, runtime[:, 0], runtime[:, 1], mean,
        np.where(some_J, middle, 0.0), np.sqrt((np.where(is_there, runtime - mean[:, None], 0.0) ** 2).sum(1) / n),
        np.where(some_J, sorted_up[:, 0], 0.0), ratio_mean,
        np.sqrt((np.where(is_there, ratio - ratio_mean[:, None], 0.0) ** 2).sum(1) / n),
        np.where(is_there, last[..., _AT_LIMIT], 0.0).sum(1) / n,
        np.where(is_there, last[..., _FAILED], 0.0).sum(1) / n,
    )  # fmt: skip
    return _side_by_side(columns)


def _side_by_side(columns: Sequence[npt.NDArray[Any]]) -> Floats:
    table = np.empty((len(columns[0]), len(columns)))
    for place, column in enumerate(columns):
        table[:, place] = column
    return table
