"""What still fits in one scheduling pass: nodes that are free now, less those that the pass has given away."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import TYPE_CHECKING

from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.sharing import SharedRoom
    from hpcsim.engine.site import Site
    from hpcsim.machine.places import Places


class Room:
    """The free nodes of a pass, for a scheduler to spend.

    ``free`` are the nodes left that any job can have, ``reach`` the most that one job could still get: the same,
    unless some queue has nodes or rights of its own. ``started`` are the jobs that it agreed to, in order. ``take``
    says whether a job can start now and, if so, counts its nodes as taken: what it agrees to, the engine carries out.
    """

    __slots__ = ("free", "reach", "started")

    special: Collection[int] = ()
    """The ids of waiting jobs for which other things hold than for the rest, by their queue: nodes of its own, or jobs
    that they may stop. Mostly none. ``taken_from`` has to be asked for these."""

    shared: SharedRoom | None = None
    """What is left of nodes that jobs share; None where all jobs take whole nodes."""

    def __init__(self, free: int) -> None:
        self.free = self.reach = free
        self.started: list[Job] = []

    def take(self, job: Job) -> bool:
        """Whether ``job`` can start now beside all that was taken before; if so, its nodes are taken too."""
        if job.nodes > self.free:
            return False
        self.free = self.reach = self.free - job.nodes
        self.started.append(job)
        return True

    def taken_from(self, head: Job, job: Job) -> int:
        """How many of the nodes that the blocked ``head`` counts on ``job`` would have if it started now."""
        return job.nodes

    def shared_until(self, job: Job) -> int | None:
        """Until when the shared node that ``job`` would get is expected to be taken anyway; None if it gets none."""
        return self.shared.until(job) if job.cores and self.shared is not None else None


def recorded_place_is_taken(room: Room, job: Job) -> bool:
    """Whether the place in which the trace says that ``job`` ran is not free beside all that ``room`` gave away."""
    if not isinstance(room, RoomOnSite) or room._recorded is None or room._places is None:
        return False
    return room._recorded.is_taken(job.id, room._places)


class RoomOnSite(Room):
    """The same on a machine with places: on a torus a job needs a free block beside those that were given away.

    A job whose walltime would reach into scheduled maintenance does not fit.
    """

    __slots__ = ("_closes_s", "_places", "_recorded", "_start_s")

    def __init__(self, site: Site, start_s: int) -> None:
        super().__init__(site.free_nodes)
        self._start_s = start_s
        self._closes_s = site.closes_s
        self._places: Places | None = site.torus
        self._recorded = site.recorded

    def take(self, job: Job) -> bool:
        """Whether ``job`` can start now beside all that was taken before; if so, its nodes are taken too."""
        if job.nodes > self.free or (self._closes_s >= 0 and self._start_s + job.walltime > self._closes_s):
            return False
        if self._places is not None:
            if not self._places.fits(job.nodes):
                return False
            if not self.started:
                self._places = copy.deepcopy(self._places)  # to try out what several jobs leave of it
            had = None if self._recorded is None else self._recorded.free(job.id, self._places)
            self._places.take(job.nodes, wanted=had)  # as the engine will
        return super().take(job)
