"""The room of a pass on a torus, where a job needs a free block and a blocked job waits for one.

Free nodes say little there: they may be enough, and scattered. So the head of the queue is promised a block, the one
that is free the earliest by the expected ends of what is in its way, and no job that would outlast that time gets a
place that excludes it. Source: Cobalt, the scheduler of Blue Gene/Q at Argonne, which drains the block with the
earliest such time and lets jobs backfill that end before (argonne-lcf's user guides; bgq_base_system of Cobalt).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from hpcsim.engine.availability import Shadow
from hpcsim.engine.room import RoomOnSite
from hpcsim.seconds import NEVER
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation
    from hpcsim.engine.site import Site
    from hpcsim.machine.torus import TorusBlocks


class RoomOnTorus(RoomOnSite):
    """Gives away blocks; ``chosen`` is where each job that it agreed to is to start, in units, by the job's id."""

    __slots__ = (
        "_drained",
        "_drained_s",
        "_places",
        "_recorded",
        "_simulation",
        "_site",
        "_starting",
        "blocks",
        "chosen",
    )

    names_units = True

    def __init__(self, simulation: Simulation, site: Site, blocks: TorusBlocks) -> None:
        super().__init__(site, simulation.now + simulation.launch_latency)
        self._simulation = simulation
        self._site = site
        self._places = site.cluster.places
        self._recorded = site.recorded
        self.blocks = blocks  # copied before something is tried out on it
        self.chosen: dict[int, tuple[int, ...]] = {}
        self._starting: list[tuple[int, int]] = []  # blocks given away in this pass, and until when
        self._drained = -1  # the block that the head of the queue is promised, from this second on
        self._drained_s = NEVER

    def take(self, job: Job) -> bool:
        """Whether ``job`` can start now beside all that was taken before; if so, its block is taken too."""
        end_s = self._start_s + job.walltime
        if job.nodes > self.free or (self._closes_s >= 0 and end_s > self._closes_s):
            return False
        units = self._units(job)
        if units is None:
            return False
        kept_free = self._drained if end_s > self._drained_s else -1
        block = self._recorded_block(job, kept_free)
        if block < 0:
            block = self.blocks.least_blocking_beside(units, kept_free)
        if block < 0:
            return False
        if not self.started:
            self.blocks = copy.deepcopy(self.blocks)  # to try out what several jobs leave of it
        self.blocks.start(block)
        self._starting.append((block, end_s))
        self.chosen[job.id] = tuple(self.blocks.table.units[block].tolist())
        self.free -= job.nodes
        self.reach = self.free
        self.started.append(job)
        return True

    def shadow(self, job: Job, busy: int = 0) -> Shadow:
        """Promise the blocked ``job`` the block that it can have the earliest.

        ``extra`` are the free nodes that are not in this block; nothing is expected to end within ``busy`` seconds.
        Raises ValueError if the machine has no such block.
        """
        simulation, table = self._simulation, self.blocks.table
        units = self._units(job)
        if units is None:
            raise ValueError(f"a job of {job.nodes} nodes has no block on this machine")
        first, end = table.span[units]
        executions = self._site.cluster.executions
        numbers = np.array(
            [*(block for block, _ in self._starting), *(executions[i].block for i in simulation.running)]
        )
        ends_s = np.array(
            [*(end_s for _, end_s in self._starting), *(end_s for _, _, end_s in simulation.running.values())]
        )
        soonest_s = simulation.now + max(1, busy)
        numbers, ends_s = numbers.astype(np.int64), np.maximum(ends_s, soonest_s)  # of none these are floats
        free_s = np.where(table.conflict_BB[numbers, first:end], ends_s[:, None], 0).max(axis=0, initial=0)
        closed = np.flatnonzero(self.blocks.closed_U)
        if closed.size:
            back_s = self._site.back_s_U(simulation.now)[closed]
            in_it = table.member_BU[first:end][:, closed]
            free_s = np.maximum(free_s, np.where(in_it, back_s, 0).max(axis=1))
        self._drained = first + int(free_s.argmin())
        self._drained_s = max(int(free_s.min()), simulation.now)
        mine = table.units[self._drained]
        free_in_it = int(np.count_nonzero(self.blocks.open_U[mine]))
        return Shadow(self._drained_s, max(0, self.free - free_in_it * self._places.spec.unit_nodes))

    def forget_shadow(self) -> None:
        """Promise no block: the blocked job starts after scheduled maintenance, when all are free."""
        self._drained, self._drained_s = -1, NEVER

    def _units(self, job: Job) -> int | None:
        size = self._places.size(job.nodes)
        return None if size is None else size // self._places.spec.unit_nodes

    def _recorded_block(self, job: Job, kept_free: int) -> int:
        """The block that the job of a trace really had, if it can have it; else -1."""
        if self._recorded is None:
            return -1
        units = self._recorded.free(job.id, self.blocks)
        if units is None:
            return -1
        block = self.blocks.table.number[units.tobytes()]
        return -1 if kept_free >= 0 and self.blocks.table.conflict_BB[block, kept_free] else block

    def recorded_place_is_taken(self, job: Job) -> bool:
        """Whether the place in which the trace says that ``job`` ran is not free beside all that was given away."""
        return self._recorded is not None and self._recorded.is_taken(job.id, self.blocks)
