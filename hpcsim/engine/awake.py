"""The machine as it would be if no node slept: for those who let nodes sleep and wake them when a job needs them.

A scheduler that is shown an ``AwakeView`` decides as if all nodes were there. What it starts on nodes that are awake
can start; for the rest nodes have to be woken first, and the same is decided again until they are there.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from hpcsim.engine.availability import Releases
from hpcsim.engine.room import Room
from hpcsim.engine.site import ASLEEP
from hpcsim.engine.torus_room import RoomOnTorus
from hpcsim.engine.view import View
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation


class _Instead:
    """An object with some of its attributes replaced."""

    def __init__(self, real: object, **instead: Any) -> None:
        self._real = real
        vars(self).update(instead)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class AwakeView(View):
    """A view in which nodes that sleep, or are on their way there or back, count as free.

    ``dormant_nodes`` are so many; nodes that sleep and are by now exclusive to a queue are not among them.
    """

    __slots__ = ("_chosen", "_real", "_site_of_it", "dormant_nodes")

    def __init__(self, simulation: Simulation) -> None:
        site = simulation.site
        if site is None:
            raise ValueError("no node of a machine that only counts nodes can sleep")
        self._real = simulation
        self._site_of_it = site
        self._chosen: dict[int, tuple[int, ...]] = {}
        self.dormant_nodes: int = int(np.count_nonzero(self._dormant_U())) * site.cluster.spec.unit_nodes
        free = simulation.free_nodes + self.dormant_nodes
        releases = Releases([each for each in simulation.releases if each[1] != ASLEEP])
        as_if = _Instead(site, free_nodes=site.free_nodes + self.dormant_nodes)
        super().__init__(cast("Simulation", _Instead(simulation, site=as_if, free_nodes=free, releases=releases)))

    def _dormant_U(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        places = self._site_of_it.cluster.places
        return np.asarray(places.asleep_U & places.up_U & ~places.aside_U)

    def room(self) -> Room:
        """The nodes that would be free now, to be given away in this pass."""
        blocks, sim = self._site_of_it.cluster.places.blocks, self._simulation
        if blocks is None or sim.site is None:
            return super().room()
        blocks = copy.deepcopy(blocks)
        for unit in np.flatnonzero(self._dormant_U()).tolist():
            blocks.close(unit, False)
        room = RoomOnTorus(sim, sim.site, blocks)
        self._chosen = room.chosen
        return room

    def can_start(self, jobs: Sequence[Job]) -> list[Job]:
        """Those of ``jobs``, which this view had room for, that can start together on nodes that are awake."""
        places = self._site_of_it.cluster.places
        if places.blocks is None:
            room = View(self._real).room()
            return [job for job in jobs if room.take(job)]
        asleep_U = places.asleep_U
        starting = [job for job in jobs if not asleep_U[[*self._chosen.get(job.id, ())]].any()]
        self._real.chosen = {job.id: self._chosen[job.id] for job in starting if job.id in self._chosen}
        return starting

    def to_wake(self, jobs: Sequence[Job], free: int) -> int:
        """How many nodes have to be woken for ``jobs``, which sleeping nodes keep from starting, beside ``free`` ones.

        All of them on a torus, where it matters which.
        """
        site = self._site_of_it
        missing = sum(job.nodes for job in jobs) - free - site.waking_nodes
        if jobs and site.torus is not None:
            missing = self.dormant_nodes if not site.waking_nodes else 0
        return max(0, min(missing, self.asleep_nodes))

    def missing_at(self, time: int, nodes: int, free: int) -> int:
        """How many of ``nodes`` will not be there at ``time`` if none is woken, where ``free`` are left free now."""
        return nodes - free - sum(back for end, _, back in self._real.releases if end <= time)
