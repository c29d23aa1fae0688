"""Who may start while a chosen job is waited for: the rule of EASY backfilling, around any job.

Source: Mualem and Feitelson (2001), Utilization, predictability, workloads, and user runtime estimates in scheduling
the IBM SP2 with backfilling; ``hpcsim.schedulers`` has it as ``easy``, whose head is the first of the queue.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hpcsim.engine.decisions import Start
from hpcsim.schedulers.orders import OrderName, in_order
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.room import Room
    from hpcsim.engine.view import View


def backfilled(view: View, room: Room, head: Job, order: OrderName) -> Iterator[Start]:
    """Start jobs, tried in ``order``, that do not delay the blocked ``head`` by the walltimes of running jobs.

    Such a job ends by the time at which the head can start, or takes nodes that the head leaves free then.
    """
    if not room.reach:
        return
    shadow, extra = view.shadow(head, room)
    longest = shadow - view.now - view.launch_latency  # that a job may last without delaying the head
    differs = bool(room.special) or room.shared is not None  # whether nodes are not all that there is to a job
    waiting = view.queue if differs else view.queue_within(room.reach, longest, extra)
    for job in in_order([job for job in waiting if job.id != head.id], order, view.now):
        until = room.shared_until(job) if differs else None
        taken = 0 if until is not None and until > shadow else room.taken_from(head, job)
        if (job.walltime <= longest or taken <= extra) and room.take(job):
            if job.walltime > longest:
                extra -= taken
            yield Start(job, "backfilled: does not delay the chosen job")
