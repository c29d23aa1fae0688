"""What still fits in one scheduling pass: nodes that are free now, less those that the pass has given away."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.sharing import SharedRoom
    from hpcsim.engine.site import Site
    from hpcsim.machine.node_classes import NodeClass


class Room:
    """The free nodes of a pass, for a scheduler to spend.

    ``free`` are the nodes left that any job can have, ``reach`` the most that one job could still get: the same,
    unless some queue has nodes or rights of its own. ``started`` are the jobs that it agreed to, in order. ``take``
    says whether a job can start now and, if so, counts its nodes as taken: what it agrees to, the engine carries out.
    """

    __slots__ = ("free", "reach", "started")

    special: Mapping[int, Job] = MappingProxyType({})
    """The waiting jobs, by id, for which other things hold than for the rest, by their queue: nodes of its own, or jobs
    that they may stop. Mostly none. ``taken_from`` has to be asked for these."""

    names_units: bool = False
    """Whether it says itself on which units the jobs start that it agrees to, as on a torus, where these are blocks."""

    stopped: Collection[int] = frozenset()
    """The running jobs, by id, that have to be stopped for those that it agreed to; their nodes are free already."""

    shared: SharedRoom | None = None
    """What is left of nodes that jobs share; None where all jobs take whole nodes."""

    def __init__(self, free: int) -> None:
        self.free: int = free
        self.reach: int = free
        self.started: list[Job] = []

    def take(self, job: Job) -> bool:
        """Whether ``job`` can start now beside all that was taken before; if so, its nodes are taken too."""
        if job.nodes > self.free:
            return False
        self.free = self.reach = self.free - job.nodes
        self.started.append(job)
        return True

    def take_in(self, job: Job, node_class: NodeClass) -> bool:
        """The same within one of the machine's node classes; where it has none, this is ``take``."""
        return self.take(job)

    def taken_from(self, head: Job, job: Job) -> int:
        """How many of the nodes that the blocked ``head`` counts on ``job`` would have if it started now."""
        return job.nodes

    def forget_shadow(self) -> None:
        """Keep no place free any more for the job whose ``view.shadow`` was asked for: only on a torus is there one."""

    def shared_until(self, job: Job) -> int | None:
        """Until when the shared node that ``job`` would get is expected to be taken anyway; None if it gets none."""
        return self.shared.until(job) if job.cores and self.shared is not None else None


class RoomOnSite(Room):
    """The same on a machine with places, where a job must end before scheduled maintenance begins."""

    __slots__ = ("_closes_s", "_start_s")

    def __init__(self, site: Site, start_s: int) -> None:
        super().__init__(site.free_nodes)
        self._start_s = start_s
        self._closes_s = site.closes_s

    def take(self, job: Job) -> bool:
        """Whether ``job`` can start now beside all that was taken before; if so, its nodes are taken too."""
        if job.nodes > self.free or (self._closes_s >= 0 and self._start_s + job.walltime > self._closes_s):
            return False
        self.free = self.reach = self.free - job.nodes
        self.started.append(job)
        return True
