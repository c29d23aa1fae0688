"""What still fits in one scheduling pass: nodes that are free now, less those that the pass has given away."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation
    from hpcsim.machine.places import Places


class Room:
    """The free nodes of a pass, for a scheduler to spend.

    ``free`` are the nodes left. ``take`` says whether a job can start now and, if so, counts its nodes as taken:
    what it agrees to, the engine carries out. On a torus it looks for a free block beside those it gave away; a job
    whose walltime would reach into scheduled maintenance does not fit.
    """

    __slots__ = ("_closes_s", "_places", "_start_s", "free", "started")

    def __init__(self, simulation: Simulation) -> None:
        self.free = simulation.free_nodes
        self.started: list[Job] = []  # the jobs that it agreed to, in order
        self._places: Places | None = None
        self._closes_s = -1
        if simulation.site is not None:
            self._start_s = simulation.now + simulation.launch_latency
            self._closes_s = simulation.site.closes_s
            self._places = simulation.site.torus

    def take(self, job: Job) -> bool:
        """Whether ``job`` can start now beside all that was taken before; if so, its nodes are taken too."""
        if job.nodes > self.free:
            return False
        if self._closes_s >= 0 and self._start_s + job.walltime > self._closes_s:
            return False
        if self._places is not None:
            if not self._places.fits(job.nodes):
                return False
            if not self.started:
                self._places = copy.deepcopy(self._places)  # to try out what several jobs leave of it
            self._places.take(job.nodes)
        self.free -= job.nodes
        self.started.append(job)
        return True
