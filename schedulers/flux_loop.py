"""The scheduling loop of Flux's queue manager: allocate, or else reserve, down to a depth of the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from pydantic import Field

from hpcsim import plugin
from hpcsim.plugin import Job

from .planning import Plan

QueuePolicy = Literal["fcfs", "easy", "conservative", "hybrid"]
MOST_RESERVATIONS = 100_000  # Flux's max-reservation-depth


class Rules(plugin.Options):
    """Who may start before whom in one queue; the names and defaults are those of Flux's queue manager."""

    queue_policy: QueuePolicy = Field(
        "fcfs",
        description="fcfs: the first job that does not fit blocks all others; easy: one reservation; conservative: a "
        "reservation for every job that is looked at; hybrid: so many as reservation_depth",
    )
    queue_depth: int = Field(32, ge=1, le=1_000_000, description="how many waiting jobs a loop looks at")
    reservation_depth: int = Field(
        64, ge=1, le=MOST_RESERVATIONS, description="how many jobs that have to wait hold a reservation, under hybrid"
    )

    @property
    def reservations(self) -> int:
        """How many reservations a loop makes at the most."""
        most = {"fcfs": 0, "easy": 1, "hybrid": self.reservation_depth, "conservative": MOST_RESERVATIONS}
        return most[self.queue_policy]


def decisions(
    rules: Rules, waiting: Callable[[], Iterable[Job]], make_plan: Callable[[], Plan], up_nodes: int
) -> Iterator[tuple[Job, str | None]]:
    """Each job that the loop looks at, and why it starts now; None if it does not.

    ``waiting`` gives the jobs, in order, without those that have been started; ``make_plan`` a plan without
    reservations. Where the loop ends because of its depth, and has started a job, it begins anew. A job that can
    neither be allocated nor reserved, because too few nodes are up, is parked: it does not count. Under ``fcfs`` it
    blocks all others.
    """
    while True:
        plan = make_plan()
        most, in_order = rules.reservations, rules.queue_policy == "fcfs"
        looked, started = 0, False
        for job in waiting():
            if job.nodes > up_nodes and not in_order:
                continue
            if looked == rules.queue_depth:
                break
            looked += 1
            try:
                why = plan.allocate(job, plan.reservations < most)
            except ValueError:  # it fits at no time that is known
                looked -= 1
                continue
            yield job, why
            if why is not None:
                started = True
            elif in_order:
                return
        else:
            return
        if not started:
            return
