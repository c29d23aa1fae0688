"""The room of a pass on a machine with node classes: free nodes of each, and where every job is to start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpcsim.engine.availability import Profile
from hpcsim.engine.room import RoomOnSite
from hpcsim.machine.node_classes import NodeClass, NodeClasses
from hpcsim.seconds import NEVER
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation
    from hpcsim.engine.site import Site


class RoomByClass(RoomOnSite):
    """Gives away the first free nodes of a class, or of the fastest that has enough.

    If none has enough alone, a job of a scheduler that names no class gets the fastest nodes there are, and goes at
    the pace of the slowest of them. ``chosen`` is where each job that it agreed to is to start, in units, by the
    job's id.
    """

    __slots__ = ("_ends", "_open", "_simulation", "_site", "chosen", "classes")

    def __init__(self, simulation: Simulation, site: Site, classes: NodeClasses) -> None:
        super().__init__(site, simulation.now + simulation.launch_latency)
        self._simulation = simulation
        self._site = site
        self.classes = classes
        self.chosen: dict[int, tuple[int, ...]] = {}
        open_units = np.flatnonzero(site.cluster.places.open_U)
        of = classes.class_U[open_units]
        self._open: list[list[int]] = [open_units[of == each].tolist() for each in range(len(classes.classes))]
        self._ends: list[list[tuple[int, int, int]]] | None = None  # of each class: (second, job, nodes)

    def take(self, job: Job) -> bool:
        """Whether ``job`` can start now beside all that was taken before; if so, its nodes are taken too."""
        if job.nodes > self.free:
            return False
        count = self._units(job)
        enough = next((open_units for open_units in self._open if len(open_units) >= count), None)
        units = [unit for open_units in self._open for unit in open_units] if enough is None else enough
        return self._take(job, units[:count])

    def take_in(self, job: Job, node_class: NodeClass) -> bool:
        """The same within one of the machine's node classes."""
        units, count = self._open[self.classes.index(node_class)], self._units(job)
        return len(units) >= count and self._take(job, units[:count])

    def _units(self, job: Job) -> int:
        return -(-job.nodes // self._site.cluster.spec.unit_nodes)

    def _take(self, job: Job, units: list[int]) -> bool:
        if self._closes_s >= 0 and self._end_s(job, units) > self._closes_s:
            return False
        taken = set(units)
        self._open = [[unit for unit in open_units if unit not in taken] for open_units in self._open]
        self.chosen[job.id] = tuple(units)
        self.free = self.reach = self.free - job.nodes
        self.started.append(job)
        return True

    def _end_s(self, job: Job, units: list[int]) -> int:
        """When ``job`` will have ended by its walltime, if it starts on ``units`` now."""
        within = self.classes.among(np.array(units))
        begins = max(self._start_s, self.classes.ready_s(job, within))
        return begins + max(self.classes.classes[each].seconds(job.walltime) for each in within)

    def profile(self, node_class: NodeClass) -> Profile:
        """The free nodes of one class from now on by expected ends, after what was given away."""
        index, unit_nodes = self.classes.index(node_class), self._site.cluster.spec.unit_nodes
        if self._ends is None:
            self._ends = self._all_ends()
        free = len(self._open[index]) * unit_nodes
        ends = self._ends[index].copy()
        for job in self.started:
            units = self.chosen[job.id]
            mine = int(np.count_nonzero(self.classes.class_U[list(units)] == index))
            if mine:
                ends.append((self._end_s(job, list(units)), job.id, mine * unit_nodes))
        missing = node_class.nodes - free - sum(nodes for _, _, nodes in ends)
        if missing:
            ends.append((NEVER, -1, missing))
        return Profile(self._simulation.now, free, sorted(ends))

    def _all_ends(self) -> list[list[tuple[int, int, int]]]:
        """Of each class when nodes of running jobs, and of interrupts, come back."""
        sim, site, unit_nodes = self._simulation, self._site, self._site.cluster.spec.unit_nodes
        class_U, count = self.classes.class_U, len(self.classes.classes)
        ends: list[list[tuple[int, int, int]]] = [[] for _ in range(count)]
        for job_id, (_, _, expected_end) in sim.running.items():
            units = site.cluster.executions[job_id].units
            for index, mine in enumerate(np.bincount(class_U[units], minlength=count).tolist()):
                if mine:
                    ends[index].append((expected_end, job_id, mine * unit_nodes))
        if site.cluster.places.down_units:
            back_s_U = site.back_s_U(sim.now)
            for unit in np.flatnonzero(~site.cluster.places.up_U & (back_s_U < NEVER)).tolist():
                ends[int(class_U[unit])].append((int(back_s_U[unit]), -1 - unit, unit_nodes))
        return ends
