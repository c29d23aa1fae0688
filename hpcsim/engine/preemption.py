"""Which running jobs are stopped for a job of a queue that may do so."""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby
from typing import NamedTuple


class Stoppable(NamedTuple):
    """A running job that may be stopped, and the nodes that the other job could have of it."""

    start: int
    job_id: int
    nodes: int


def to_stop(jobs: Collection[Stoppable], missing: int) -> list[Stoppable] | None:
    """The jobs to stop so that ``missing`` nodes (1 or more) become free; None if all of them have too few.

    The youngest go first, for they have the least work to lose; among jobs that began in the same second the
    smallest that is enough by itself, so that few nodes are left over, or else the largest. In the end none is
    stopped whose nodes are not needed: of those that could be spared, the oldest is spared first.
    """
    if sum(job.nodes for job in jobs) < missing:
        return None
    stopped: list[Stoppable] = []
    found = 0
    youngest_first = sorted(jobs, key=lambda job: (-job.start, job.nodes, job.job_id))
    for _, same_age in groupby(youngest_first, key=lambda job: job.start):
        ascending = list(same_age)
        while ascending and found < missing:
            enough = (at for at, job in enumerate(ascending) if job.nodes >= missing - found)
            stopped.append(ascending.pop(next(enough, -1)))
            found += stopped[-1].nodes
    for job in reversed(stopped):
        if found - job.nodes >= missing:
            stopped.remove(job)
            found -= job.nodes
    return stopped
