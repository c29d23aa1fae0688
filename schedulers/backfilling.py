"""Strict queues and backfilling: fcfs, easy, conservative, hybrid."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from hpcsim import plugin
from hpcsim.plugin import Decision, Job, Start, View, backfill

from .orders import CITES, OrderName, in_order, still_waiting, urgent_first
from .planning import around_reservations

_LONG = 32  # waiting jobs: fewer are looked at one by one


class FCFS:
    """Start jobs strictly in the order of the queue; the first that does not fit blocks all others."""

    name = "fcfs"
    api = 1
    cites: tuple[str, ...] = ()

    class Options(plugin.Options):
        order: OrderName = Field("fcfs", description="which job is first in the queue")

    def __init__(self, options: Options) -> None:
        self.order = options.order
        self.cites = (*self.cites, *CITES.get(self.order, ()))

    def schedule(self, view: View) -> Iterator[Decision]:
        room, waiting = view.room(), view.queue
        if room.special:
            yield from urgent_first(view, room)
            waiting = still_waiting(view, room)
        for job in in_order(waiting, self.order, view.now):
            if not room.take(job):
                return
            yield Start(job, "first in the queue")


class EASY:
    """Aggressive backfilling: a job may overtake the blocked head of the queue if it does not delay it.

    The head's shadow time is the earliest second at which it fits by the walltimes of the running jobs. A job
    behind it starts now if it fits and either ends by the shadow time or takes only nodes that the head leaves
    free then. Without ``extra_nodes`` it must end strictly before the shadow time, which is the rule behind the
    published results of RLScheduler.

    References
    ----------
    Lifka (1995), The ANL/IBM SP scheduling system.
    Mualem and Feitelson (2001), Utilization, predictability, workloads, and user runtime estimates in
    scheduling the IBM SP2 with backfilling.
    Zhang, Dai, He, Bao and Xie (2020), RLScheduler: an automated HPC batch job scheduler using reinforcement
    learning.
    """

    name = "easy"
    api = 1
    cites: tuple[str, ...] = ("Lifka1995", "MualemFeitelson2001")

    class Options(plugin.Options):
        order: OrderName = Field("fcfs", description="which job is first in the queue")
        backfill_order: OrderName | None = Field(
            None,
            description="in which order jobs are tried behind the blocked head; by default the queue's own",
        )
        extra_nodes: bool = Field(True, description="whether a job may outlast the shadow time on nodes left free")

    def __init__(self, options: Options) -> None:
        self.order = options.order
        self.backfill_order = options.backfill_order or options.order
        self.cites = (*self.cites, *CITES.get(self.order, ()), *CITES.get(self.backfill_order, ()))
        self.extra_nodes = options.extra_nodes
        if not self.extra_nodes:
            self.cites = (*self.cites, "Zhang2020")

    def schedule(self, view: View) -> Iterator[Decision]:
        now, room, waiting = view.now, view.room(), view.queue
        special = room.special
        if special:
            yield from urgent_first(view, room)
            waiting = still_waiting(view, room)
        queue = iter(in_order(waiting, self.order, now))
        for head in queue:
            if not room.take(head):
                break
            yield Start(head, "first in the queue")
        else:
            return
        if not room.reach:
            return
        reach, behind = room.reach, None
        if self.order != "fcfs" or room.shared is not None or len(view.queue) < _LONG:
            behind = [job for job in queue if job.nodes <= reach]
            if not behind:
                return
        shadow, extra = view.shadow(head, room)
        longest = shadow - now - view.launch_latency  # that a job may last without delaying the head
        if not self.extra_nodes:
            longest, extra = longest - 1, 0
        if behind is None:
            behind = [job for job in view.queue_within(reach, longest, extra) if _turn(job) > _turn(head)]
            if special:  # which may be right even if they are large and long
                behind += [job for job in special.values() if job.nodes > extra and job.walltime > longest]
                behind = [job for job in behind if _turn(job) > _turn(head) and job not in room.started]
                behind.sort(key=_turn)
        if self.backfill_order != self.order:
            behind = list(in_order(sorted(behind, key=_turn), self.backfill_order, now))
        yield from backfill(room, head, behind, shadow, extra, longest)


def _turn(job: Job) -> tuple[int, int]:
    """Where a job stands in the order of submission."""
    return job.submit, job.id


class Hybrid:
    """Backfilling that delays none of the first ``depth`` jobs of the queue.

    Every pass plans anew: in the order of the queue, each job gets the earliest place in the profile of free
    nodes; those whose place is now start. The first ``depth`` that must wait keep their place as a reservation,
    the others behind them only start where they disturb none. Depth 1 is EASY, no limit is conservative.

    References
    ----------
    Mualem and Feitelson (2001), Utilization, predictability, workloads, and user runtime estimates in
    scheduling the IBM SP2 with backfilling.
    """

    name = "hybrid"
    api = 1
    cites: tuple[str, ...] = ("MualemFeitelson2001",)

    class Options(plugin.Options):
        order: OrderName = Field("fcfs", description="which job is first in the queue")
        depth: int | None = Field(64, ge=1, description="how many waiting jobs hold a reservation; null: all of them")

    def __init__(self, options: Options) -> None:
        self.order = options.order
        self.cites = (*self.cites, *CITES.get(self.order, ()))
        self.depth = options.depth

    def schedule(self, view: View) -> Iterator[Decision]:
        now, room, waiting = view.now, view.room(), view.queue
        if room.special:
            yield from urgent_first(view, room)
            waiting = still_waiting(view, room)
        yield from around_reservations(view, room, in_order(waiting, self.order, now), self.depth)


class Conservative(Hybrid):
    """Conservative backfilling: no job delays any that was submitted before it (``hybrid`` without a limit)."""

    name = "conservative"
    api = 1
    cites: tuple[str, ...] = ("MualemFeitelson2001",)

    class Options(plugin.Options):
        order: OrderName = Field("fcfs", description="which job is first in the queue")

    def __init__(self, options: Options) -> None:
        self.order = options.order
        self.cites = (*self.cites, *CITES.get(self.order, ()))
        self.depth = None
