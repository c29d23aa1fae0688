"""What still fits in one scheduling pass: nodes that are free now, less those that the pass has given away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation


class Room:
    """The free nodes of a pass, for a scheduler to spend.

    ``free`` are the nodes left. ``take`` says whether a job can start now and, if so, counts its nodes as taken:
    what it agrees to, the engine carries out.
    """

    __slots__ = ("free", "started")

    def __init__(self, simulation: Simulation) -> None:
        self.free = simulation.free_nodes
        self.started: list[Job] = []  # the jobs that it agreed to, in order

    def take(self, job: Job) -> bool:
        """Whether ``job`` can start now beside all that was taken before; if so, its nodes are taken too."""
        if job.nodes > self.free:
            return False
        self.free -= job.nodes
        self.started.append(job)
        return True
