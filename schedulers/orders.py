"""In which order a queue is looked at: the key of each order, smallest first.

Every key is a function of a job and of now, both in seconds since the trace's zero. Jobs with equal keys stay in
the order of submission.

References
----------
Tang, Lan, Desai and Buettner (2009), Fault-aware, utility-based job scheduling on Blue Gene/P systems: WFP3, UNICEF.
Carastan-Santos and de Camargo (2017), Obtaining dynamic scheduling policies with simulation and machine
learning: F1 to F4.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from math import log2, log10, sqrt
from typing import Literal

from hpcsim.plugin import Job, Room, Start, View

OrderName = Literal[
    "fcfs", "lcfs", "sjf", "ljf", "saf", "laf", "sqf", "expansion", "wfp3", "unicef", "f1", "f2", "f3", "f4"
]  # fmt: skip


CITES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("wfp3", "unicef"), ("Tang2009",)),
    **dict.fromkeys(("f1", "f2", "f3", "f4"), ("CarastanSantos2017",)),
}
"""What orders rest on, as keys of references."""


def _submitted(job: Job) -> float:
    return log10(max(job.submit, 1))


KEYS: dict[str, Callable[[Job, int], float]] = {
    "lcfs": lambda job, now: -job.submit,
    "sjf": lambda job, now: job.walltime,
    "ljf": lambda job, now: -job.walltime,
    "saf": lambda job, now: job.walltime * job.nodes,
    "laf": lambda job, now: -job.walltime * job.nodes,
    "sqf": lambda job, now: job.nodes,
    "expansion": lambda job, now: -(now - job.submit + job.walltime) / job.walltime,
    "wfp3": lambda job, now: -(((now - job.submit) / job.walltime) ** 3) * job.nodes,
    # a job of one node would divide by log2(1) = 0: it goes first
    "unicef": lambda job, now: -(now - job.submit) / (max(log2(job.nodes), 1e-9) * job.walltime),
    "f1": lambda job, now: log10(job.walltime) * job.nodes + 870 * _submitted(job),
    "f2": lambda job, now: sqrt(job.walltime) * job.nodes + 2.56e4 * _submitted(job),
    "f3": lambda job, now: job.walltime * job.nodes + 6.86e6 * _submitted(job),
    "f4": lambda job, now: job.walltime * sqrt(job.nodes) + 5.30e5 * _submitted(job),
}


def in_order(jobs: Collection[Job], order: OrderName, now: int) -> Iterable[Job]:
    """``jobs`` (in the order of submission) in the order named ``order``, as it is at second ``now``."""
    if order == "fcfs" or len(jobs) < 2:
        return jobs
    key = KEYS[order]
    return sorted(jobs, key=lambda job: key(job, now))


def urgent_first(view: View, room: Room) -> Iterator[Start]:
    """Start all jobs that may stop others for themselves and can start now: the order of the queue holds up none.

    There are such jobs only where there are ``room.special`` ones.
    """
    for job in view.urgent:
        if room.take(job):
            yield Start(job, "urgent: may stop other jobs")


def still_waiting(view: View, room: Room) -> Sequence[Job]:
    """The waiting jobs but for those that ``room`` has given nodes to."""
    started = {job.id for job in room.started}
    return [job for job in view.queue if job.id not in started] if started else view.queue
