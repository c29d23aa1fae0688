"""Who may start while a chosen job is waited for: the rule of EASY backfilling, around any job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hpcsim.engine.backfill import backfill
from hpcsim.engine.decisions import Start
from hpcsim.schedulers.orders import OrderName, in_order
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.room import Room
    from hpcsim.engine.view import View


def backfilled(view: View, room: Room, head: Job, order: OrderName) -> Iterator[Start]:
    """Start jobs, tried in ``order``, that do not delay the blocked ``head`` by the walltimes of running jobs."""
    if not room.reach:
        return
    shadow, extra = view.shadow(head, room)
    longest = shadow - view.now - view.launch_latency  # that a job may last without delaying the head
    differs = bool(room.special) or room.shared is not None  # whether nodes are not all that there is to a job
    waiting = view.queue if differs else view.queue_within(room.reach, longest, extra)
    behind = in_order([job for job in waiting if job.id != head.id], order, view.now)
    yield from backfill(room, head, behind, shadow, extra, longest)
