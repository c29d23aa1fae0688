"""Users who wait for a job to end, think about what it said, and then submit the next: which jobs came like that.

A trace has only the seconds at which jobs were submitted, though many hung on how soon an earlier one had ended. A job
is taken to be the next step after that job of its user's which had ended the latest before it was submitted, if that
was at most so many seconds before: what lies between is the time that the user thought. After a longer time, and for
jobs that were submitted while all earlier ones were still running, the user came back, or went on, by himself.

References: Shmueli and Feitelson (2009), On simulation and design of parallel-systems schedulers: are we doing the
right thing?; Zakay and Feitelson (2014), Preserving user behavior characteristics in trace-based simulation of parallel
job scheduling.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np

from hpcsim.errors import InputError
from hpcsim.workload.job import Int64s, Workload


class Thinking(NamedTuple):
    """Of J jobs: the id of the one after whose end each is submitted, -1 for none, and how many seconds after it."""

    follows_J: Int64s
    think_s_J: Int64s


def thinking(workload: Workload, *, at_most_s: int, start: int) -> Thinking:
    """Which of the jobs submitted from ``start`` on followed an earlier one, after at most so many seconds.

    A job ended when the trace says so; where it does not say when it started, as if it had started when it was
    submitted. Raises InputError where no job has a user, or where jobs name others that they wait for.
    """
    count = len(workload)
    user = workload.table.column("user").to_pylist()
    if not any(user):
        raise InputError(f"{workload.source}: no job has a user, so nobody is known to wait for one")
    after = workload.table.column("after")
    if after.null_count < count:
        raise InputError(f"{workload.source}: jobs wait for others by name; their users cannot wait for yet others")
    submit_s = workload.column("submit_s")
    recorded = workload.column("recorded_start_s")
    end_s = np.where(recorded < 0, submit_s, recorded) + workload.column("runtime_s")
    follows_J, think_s_J = np.full(count, -1), np.zeros(count, np.int64)
    pending: dict[str, list[tuple[int, int]]] = {}  # end and id of each user's jobs that have not ended
    last: dict[str, tuple[int, int]] = {}  # of those that have, the latest
    for job, (who, second, end) in enumerate(zip(user, submit_s.tolist(), end_s.tolist(), strict=True)):
        if not who:
            continue
        mine = pending.setdefault(who, [])
        while mine and mine[0][0] <= second:
            last[who] = heappop(mine)
        if who in last and second >= start and second - last[who][0] <= at_most_s:
            follows_J[job], think_s_J[job] = last[who][1], second - last[who][0]
        heappush(mine, (end, job))
    return Thinking(follows_J, think_s_J)
