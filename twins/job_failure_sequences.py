"""The last fifteen ends of a job's user, in their order, as the job failure network takes them.

Where users have no names it is the ends of all jobs of the same nodes and walltime. What is told of an end itself does
not hang on the job that is asked about, so all jobs of a user that are submitted between two of its ends share one
sequence; what they have in common with each of those that ended is told apart from it.

One place computes them for training, for all jobs of a trace, and for a run; ``tests/test_job_failure.py`` holds both
to the last bit.

Shapes: J jobs, S sequences, K ends of a sequence, T numbers of an end, C numbers of what an end and a job have in
common.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Ended, Job

from .features import COUNTED, Bools, Columns, Ends, Floats, Int64s
from .last_ends import LastEnds, gathered

Singles = npt.NDArray[np.float32]

LENGTH: Final = 15
"""K: of how many ends a sequence is at most."""

TOKEN: Final = ("log_runtime", "log_ratio", "at_limit", "failed", "log_nodes", "log_walltime", "log_gap")
"""What is told of an end, T numbers; the gap is the time since the end before it."""

COMMON: Final = (
    "log_age", "same_nodes", "same_walltime", "same_both", "same_project", "same_queue", "log_nodes", "log_walltime",
)  # fmt: skip
"""What an end and a job have in common, C numbers; nodes and walltime relative to those of the one that ended."""

_KEPT: Final = 8
_LOG_RUNTIME, _LOG_RATIO, _AT_LIMIT, _FAILED, _LOG_NODES, _LOG_WALLTIME, _PROJECT, _QUEUE = range(_KEPT)
_CENTER: Final = np.array([7.0, -1.5, 0.0, 0.0, 3.0, 8.5, 7.0])  # so that all numbers are about one
_SCALE: Final = np.array([2.5, 1.5, 1.0, 1.0, 2.5, 1.5, 4.0])
_LONG_AGO: Final = 21.0  # log seconds; the gap before the first end
_AGE_SCALE: Final = 8.0


class Sequences(NamedTuple):
    """What is known of J jobs by the last ends of their users.

    ``of`` (J,) is the place of each job's sequence in ``tokens`` (S, K, T) and ``length`` (S,): in a sequence the
    oldest end comes first, and after the last one there are zeros. ``common`` is (J, K, C), in the same order.
    """

    of: Int64s
    tokens: Singles
    length: Int64s
    common: Singles

    def take(self, which: Int64s) -> Sequences:
        """Those of some jobs."""
        used, of = np.unique(self.of[which], return_inverse=True)
        return Sequences(of.reshape(-1), self.tokens[used], self.length[used], self.common[which])


def of_trace(jobs: Columns, ends: Ends) -> Sequences:
    """The sequences of all jobs of a trace: of each only what was known in the second of its submission."""
    told = ends.counted
    job = ends.job[told]
    asked = (column[job] for column in (jobs.nodes, jobs.walltime_s, jobs.project, jobs.queue))
    kept = _kept(ends.runtime_s[told], ends.failed[told], *asked)
    end_s = np.maximum(ends.end_s[told], jobs.submit_s[job] + 1)  # no job ended before it was there
    user, shape = _groups(jobs)
    by_user, by_shape = (gathered(kept, end_s, code[job], job, code, jobs.submit_s, LENGTH) for code in (user, shape))
    named = user >= 0
    group = np.where(named, user, user.max(initial=0) + 1 + shape)
    known = np.where(named, by_user.known, by_shape.known)
    kept_JKN = np.where(named[:, None, None], by_user.kept, by_shape.kept)
    end_s_JK = np.where(named[:, None], by_user.end_s, by_shape.end_s)
    _, first, of = np.unique(np.stack([group, known]), axis=1, return_index=True, return_inverse=True)
    return _sequences(of.reshape(-1), first, kept_JKN, end_s_JK, known, jobs)


class LastJobs:
    """The ends that became known in a run so far, and the sequences of jobs that are asked about."""

    def __init__(self) -> None:
        self._ends = LastEnds(LENGTH, _KEPT)
        self._code: dict[tuple[str, str], int] = {}

    def copy(self) -> LastJobs:
        """Another that goes its own way."""
        twin = LastJobs()
        twin._ends, twin._code = self._ends.copy(), self._code.copy()
        return twin

    def add(self, end: Ended) -> None:
        """Learn of a job that has ended."""
        if end.state not in COUNTED:
            return
        job = end.job
        numbers = (end.runtime_s, end.state == "failed", job.nodes, job.walltime, *self._codes(job))
        kept = _kept(*(np.array([number]) for number in numbers))[0]
        self._ends.put((job.user or None, (job.nodes, job.walltime)), kept, end.now, job.id)

    def sequences(self, jobs: Sequence[Job]) -> Sequences:
        """The sequences of J jobs that wait, by all ends that are known by now."""
        row = np.array([self._ends.row(group(job)) for job in jobs], np.int64)
        numbers = np.array([job[2:5] for job in jobs], np.int64)
        codes = np.array([self._codes(job) for job in jobs], np.int64)
        nothing = np.zeros(len(jobs), np.int64)
        columns = Columns(
            numbers[:, 0], numbers[:, 1], numbers[:, 2], nothing, nothing, nothing, codes[:, 0], codes[:, 1],
            nothing > 0, 0, 1,
        )  # fmt: skip
        _, first, of = np.unique(row, return_index=True, return_inverse=True)
        ends = self._ends
        return _sequences(of.reshape(-1), first, ends.kept[row], ends.end_s[row], ends.count[row], columns)

    def known(self, job: Job) -> int:
        """How many ends became known of the group of ``job``."""
        return int(self._ends.count[self._ends.row(group(job))])

    def _codes(self, job: Job) -> tuple[int, int]:
        """A number for each project and queue; -1 for a project without a name."""
        code = self._code
        project = code.setdefault(("project", job.project), len(code)) if job.project else -1
        return project, code.setdefault(("queue", job.queue), len(code))


def group(job: Job) -> Hashable:
    """Whose ends a job's sequence is of: its user's, or those of its nodes and walltime where that has no name."""
    return job.user or (job.nodes, job.walltime)


def _groups(jobs: Columns) -> tuple[Int64s, Int64s]:
    """User, -1 where unnamed, and shape of J jobs, as small numbers."""
    _, user = np.unique(jobs.user, return_inverse=True)
    _, shape = np.unique(np.stack([jobs.nodes, jobs.walltime_s]), axis=1, return_inverse=True)
    return np.where(jobs.user < 0, -1, user.reshape(-1)), shape.reshape(-1)


def _kept(
    runtime_s: Int64s, failed: Bools, nodes: Int64s, walltime_s: Int64s, project: Int64s, queue: Int64s
) -> Floats:
    """What is remembered of E ends, (E, 8)."""
    log_runtime, log_nodes, log_walltime = (_log(numbers) for numbers in (runtime_s, nodes, walltime_s))
    ratio = np.minimum(log_runtime - log_walltime, 0.0)
    columns = (log_runtime, ratio, runtime_s >= walltime_s, failed, log_nodes, log_walltime, project, queue)
    return np.stack(columns, axis=-1).astype(np.float64)


def _sequences(
    of: Int64s, first: Int64s, kept: Floats, end_s: Int64s | Floats, known: Int64s, jobs: Columns
) -> Sequences:
    """From the last ends of each of J jobs, the newest first; ``first`` is a job of each of S sequences."""
    length = np.minimum(known, LENGTH)
    place = length[:, None] - 1 - np.arange(LENGTH)  # so that the oldest comes first
    is_there = place >= 0
    rows = np.arange(len(of))[:, None]
    place = np.maximum(place, 0)
    kept, end_s = kept[rows, place], end_s[rows, place]
    gap = np.full((len(first), LENGTH), _LONG_AGO)
    gap[:, 1:] = np.log1p(np.maximum(np.diff(end_s[first], axis=1), 0).astype(np.float64))
    told = np.concatenate([kept[first][..., :_PROJECT], gap[..., None]], axis=-1)
    tokens = np.where(is_there[first][..., None], (told - _CENTER) / _SCALE, 0.0)
    log_age = np.log1p(np.maximum(jobs.submit_s[:, None] - end_s, 0).astype(np.float64)) / _AGE_SCALE
    nodes, walltime = (_log(numbers)[:, None] - kept[..., column]
                       for numbers, column in ((jobs.nodes, _LOG_NODES), (jobs.walltime_s, _LOG_WALLTIME)))  # fmt: skip
    same_project = (jobs.project[:, None] == kept[..., _PROJECT]) & (jobs.project >= 0)[:, None]
    columns = (
        log_age, nodes == 0, walltime == 0, (nodes == 0) & (walltime == 0), same_project,
        jobs.queue[:, None] == kept[..., _QUEUE], np.clip(nodes, -3, 3), np.clip(walltime, -3, 3),
    )  # fmt: skip
    common = np.where(is_there[..., None], np.stack(columns, axis=-1), 0.0)
    return Sequences(of, tokens.astype(np.float32), length[first], common.astype(np.float32))


def _log(numbers: Int64s) -> Floats:
    return np.log(np.maximum(numbers, 1).astype(np.float64))
