"""What the schedulers of real centres have in common: scores of waiting jobs that change with time.

A score is a function of now and of a few facts of a job, which do not change while it waits. The facts are made once
for each job and kept as rows of an array, so that a pass scores a long queue in a few operations on whole columns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Decision, Job, Room, Start, View, backfill

from .planning import around_reservations

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_id = itemgetter(0)  # of a Job
_NOT_YET, _UNSEEN = -1, -2  # of a second: it has not come; nor has the job


class Facts:
    """A row of numbers for each job that was ever seen, in arrays whose first axis J is the job's id."""

    def __init__(self, describe: Callable[[Job, View], tuple[float, ...]], count: int) -> None:
        self._describe = describe
        self._rows_JF = np.zeros((0, count))
        self._known_J = np.zeros(0, bool)

    def of(self, jobs: Collection[Job], view: View) -> tuple[Ints, Floats]:
        """The ids of Q jobs in the order of submission, and their facts, Q rows."""
        ids_Q = np.fromiter(map(_id, jobs), np.int64, len(jobs))
        self._rows_JF, self._known_J = long_enough(self._rows_JF, ids_Q, 0.0), long_enough(self._known_J, ids_Q, False)
        known_Q = self._known_J[ids_Q]
        if not known_Q.all():
            for job, known in zip(jobs, known_Q.tolist(), strict=True):
                if not known:
                    self._rows_JF[job.id] = self._describe(job, view)
            self._known_J[ids_Q] = True
        return ids_Q, self._rows_JF[ids_Q]


class Eligible:
    """How long each job has been eligible: in the queue, and among the first ``accruing`` jobs of its project.

    The clock of a job runs from the first pass that finds it in the queue, from which a centre's limits on running jobs
    may keep it; it stands while the job runs, and goes on if that is taken off the machine again. With ``accruing``, at
    most so many jobs of a project run or have a running clock, in the order of submission; where the project is not
    known there is no limit.
    """

    def __init__(self, accruing: int | None) -> None:
        self.accruing = accruing
        # When the clock began, had it never stood; or _NOT_YET, or _UNSEEN, or what _stands makes of what it shows.
        self._since_J = np.zeros(0, np.int64)
        self._seen = 0  # jobs
        self._gone = 0  # of them, when pending clocks were last looked after
        self._active: dict[str, set[int]] = {}  # project -> its jobs that run or whose clock runs
        self._pending: dict[str, deque[int]] = {}  # project -> its jobs whose clock is still to begin

    def seconds(self, jobs: Sequence[Job], ids_Q: Ints, view: View) -> Ints:
        """What the clocks of ``jobs``, which are the whole queue in its order, show now; ``ids_Q`` are their ids."""
        now = view.now
        self._since_J = long_enough(self._since_J, ids_Q, _UNSEEN)
        since_Q = self._since_J[ids_Q]
        new = np.flatnonzero(since_Q <= _UNSEEN)
        changed = False
        for at in new.tolist():
            stands = int(since_Q[at])
            if stands < _UNSEEN:
                changed = True
                self._since_J[jobs[at].id] = now - _stood(stands)
            else:
                changed |= not self._begins(jobs[at], now)
                self._seen += 1
        gone = self._seen - len(jobs) - len(view.running)
        if self._pending and (changed or gone != self._gone):
            self._begin_pending(set(ids_Q.tolist()), view)
            self._gone = gone
            since_Q = self._since_J[ids_Q]
        elif new.size:
            since_Q = self._since_J[ids_Q]
        return np.where(since_Q == _NOT_YET, 0, now - since_Q) if self._pending else now - since_Q

    def started(self, jobs: Iterable[Job], now: int) -> None:
        """The pass of second ``now`` starts these."""
        for job in jobs:
            since = int(self._since_J[job.id])
            if since >= 0:
                self._since_J[job.id] = _stands(now - since)

    def _begins(self, job: Job, now: int) -> bool:
        """Whether the clock of a job that is new can begin at once."""
        if self.accruing is not None and job.project:
            active = self._active.setdefault(job.project, set())
            if len(active) >= self.accruing:
                self._pending.setdefault(job.project, deque()).append(job.id)
                self._since_J[job.id] = _NOT_YET
                return False
            active.add(job.id)
        self._since_J[job.id] = now
        return True

    def _begin_pending(self, waiting: set[int], view: View) -> None:
        """Let clocks begin in the place of jobs that are gone."""
        here = waiting | view.running.keys()
        for project, pending in list(self._pending.items()):
            active = self._active[project]
            active &= here
            while pending and (pending[0] not in waiting or len(active) < (self.accruing or 0)):
                job_id = pending.popleft()
                if job_id in here:  # else it is gone without ever having been eligible
                    active.add(job_id)
                    self._since_J[job_id] = view.now if job_id in waiting else _stands(0)
            if not pending:
                del self._pending[project]


def _stands(seconds: int) -> int:
    """Tells, in the place of a second, that a clock stands at ``seconds``."""
    return _UNSEEN - 1 - seconds


_stood = _stands  # and back again


def long_enough(array_J: npt.NDArray[Any], ids_Q: Ints, fill: float) -> npt.NDArray[Any]:
    """``array_J``, made longer if one of the ids (ascending) is beyond its end."""
    if not ids_Q.size or ids_Q[-1] < len(array_J):
        return array_J
    more = max(1024, 2 * int(ids_Q[-1])) - len(array_J)
    return np.concatenate([array_J, np.full((more, *array_J.shape[1:]), fill, array_J.dtype)])


def best_first(jobs: Sequence[Job], score_Q: Floats, started: Sequence[Job]) -> list[Job]:
    """The jobs but those ``started``, by their scores, the highest first; equals in the order of submission."""
    order = list(map(list(jobs).__getitem__, np.argsort(-score_Q, kind="stable").tolist()))
    gone = set(started)
    return [job for job in order if job not in gone] if gone else order


def in_turn(view: View, room: Room, queue: Sequence[Job], depth: int) -> Iterator[Decision]:
    """Start jobs of ``queue`` in its order, and behind its first ``depth`` blocked jobs those that delay none of them.

    Depth 0 is a strict queue, in which nothing overtakes.
    """
    if depth > 1:
        yield from around_reservations(view, room, queue, depth)
        return
    waiting = iter(queue)
    for head in waiting:
        if not room.take(head):
            break
        yield Start(head, "highest score")
    else:
        return
    if depth and room.reach:
        shadow, extra = view.shadow(head, room)
        reach = room.reach
        behind = [job for job in waiting if job.nodes <= reach]
        yield from backfill(room, head, behind, shadow, extra, shadow - view.now - view.launch_latency)
