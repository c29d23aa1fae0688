"""Who may overtake a blocked job: the rule of EASY backfilling, for everybody who schedules around one.

Source: Mualem and Feitelson (2001), Utilization, predictability, workloads, and user runtime estimates in scheduling
the IBM SP2 with backfilling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hpcsim.engine.decisions import Start
from hpcsim.engine.room import Room
from hpcsim.workload.job import Job


def backfill(room: Room, head: Job, behind: Iterable[Job], shadow: int, extra: int, longest: int) -> Iterator[Start]:
    """Start those of ``behind``, in order, that do not delay the blocked ``head``.

    ``head`` can start at second ``shadow``; a job that lasts at most ``longest`` seconds ends by then, and ``extra``
    nodes are left free then, whoever has them. What is given away is taken from ``room``.
    """
    differs = bool(room.special) or room.shared is not None  # whether nodes are not all that there is to a job
    for job in behind:
        other = differs and (job.cores or job.id in room.special)
        if job.nodes > room.free and not other:
            continue
        if job.walltime <= longest:
            why = "backfilled: ends before the head can start"
        elif (taken := taken_at(shadow, room, head, job) if other else job.nodes) <= extra:
            why = "backfilled: on nodes that the head leaves free"
        else:
            continue
        if not room.take(job):
            continue
        if job.walltime > longest:
            extra -= taken
        yield Start(job, why)
        if not room.reach:
            return


def taken_at(shadow: int, room: Room, head: Job, job: Job) -> int:
    """How many of the nodes that the blocked ``head`` counts on at second ``shadow`` ``job`` would have then."""
    until = room.shared_until(job)
    if until is not None and until > shadow:
        return 0  # on a node that is taken then anyway
    return room.taken_from(head, job)
