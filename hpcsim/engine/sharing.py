"""Nodes that jobs share, in the books of a Simulation and in a scheduling pass.

A shared node comes back when the last of its jobs is expected to end: ``Releases`` has one entry for each, and none
for the jobs on it. Sharing jobs take general nodes and have no rights of their queue: no pool, and no jobs to stop.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from hpcsim.engine.room import Room, RoomOnSite
from hpcsim.machine.shares import SharedUnit, Shares, best_fit, part_of, take_part
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation

_BEYOND = -(2**40)  # the holders of ``Releases`` that are shared nodes: far from jobs (0 and up) and interrupts


def holder_of(unit: int) -> int:
    """By which number a shared unit is known to ``Releases`` and to pools."""
    return _BEYOND - unit


class Sharing:
    """The books of a simulation on shared nodes: when each is expected back, as how many general nodes."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self.expected: dict[int, tuple[int, int]] = {}  # by unit

    def in_fork(self, shares: Shares) -> Sharing:
        """An independent copy, on the nodes of a fork."""
        twin = Sharing(shares)
        twin.expected = self.expected.copy()
        return twin

    def began(self, simulation: Simulation, job: Job) -> None:
        """A sharing job has been put on its node."""
        unit = self.shares.unit_of[job.id]
        if unit.number not in self.expected:
            simulation.ledger.change(simulation.now, 1)
            self._add(simulation, unit)
        else:
            self.changed(simulation, job.id)

    def leaves(self, simulation: Simulation, job_id: int) -> None:
        """A sharing job, not among those that run any more, is about to leave its node."""
        unit = self.shares.unit_of[job_id]
        if len(unit.members) == 1:
            simulation.ledger.change(simulation.now, -1)
            self._remove(simulation, unit)
        else:
            self.changed(simulation, job_id)

    def changed(self, simulation: Simulation, job_id: int) -> None:
        """Who is on the node of a job, or when one of them is expected to end, has changed."""
        unit = self.shares.unit_of[job_id]
        before, nodes = self.expected[unit.number]
        end = self._end(simulation, unit)
        if end != before:
            simulation.releases.remove(before, holder_of(unit.number), nodes)
            simulation.releases.add(end, holder_of(unit.number), nodes)
            self.expected[unit.number] = end, nodes

    def move(self, simulation: Simulation) -> None:
        """Other node pools are in force: see anew what comes back as general nodes."""
        for number in [*self.expected]:
            self._remove(simulation, self.shares.units[number])
            self._add(simulation, self.shares.units[number])

    def _add(self, simulation: Simulation, unit: SharedUnit) -> None:
        holder, end = holder_of(unit.number), self._end(simulation, unit)
        nodes = 1 if simulation.pools is None else simulation.pools.note(holder, unit.units)
        simulation.releases.add(end, holder, nodes)
        self.expected[unit.number] = end, nodes

    def _remove(self, simulation: Simulation, unit: SharedUnit) -> None:
        end, nodes = self.expected.pop(unit.number)
        simulation.releases.remove(end, holder_of(unit.number), nodes)

    @staticmethod
    def _end(simulation: Simulation, unit: SharedUnit) -> int:
        running = simulation.running
        return max(running[job_id].expected_end for job_id in unit.members if job_id in running)


class SharedRoom:
    """What a pass has left of shared nodes."""

    def __init__(self, simulation: Simulation, sharing: Sharing) -> None:
        self._whole = sharing.shares.whole
        self._spare = sharing.shares.spare.copy()
        self._expected = sharing.expected
        self._changed: dict[int, tuple[int, int]] = {}  # by unit, as ``Sharing.expected``
        self._fresh = simulation.nodes  # numbers of nodes that the pass has opened: beyond those that there are
        self._starts_s = simulation.now + simulation.launch_latency

    @property
    def is_open(self) -> bool:
        """Whether any shared node has a free core."""
        return bool(self._spare) and self._spare[-1][0] > 0

    def until(self, job: Job) -> int | None:
        """Until when the shared node that ``job`` would get is expected to be taken; None if it gets none."""
        at = best_fit(self._spare, part_of(job))
        return None if at < 0 else self._of(self._spare[at][3])[0]

    def take(self, room: Room, job: Job) -> bool:
        """Whether the sharing ``job`` can start beside all that ``room`` has given away; if so, its part is taken."""
        at = best_fit(self._spare, part := part_of(job))
        end = self._starts_s + job.walltime
        if at < 0:
            if room.free < 1:
                return False
            room.free -= 1
            self._fresh += 1
            self._changed[self._fresh] = end, 1
            fresh = (*self._whole, self._fresh)
            at = bisect_left(self._spare, fresh)
            self._spare.insert(at, fresh)
        *_, unit = take_part(self._spare, at, part)
        before, nodes = self._of(unit)
        self._changed[unit] = max(before, end), nodes
        return True

    def ends(self, ends: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """When nodes come back, of entries of ``Releases``, after what the pass has given away of shared nodes."""
        changed = self._changed
        ends = [each for each in ends if _BEYOND - each[1] not in changed]
        for unit, (end, nodes) in changed.items():
            insort(ends, (end, holder_of(unit), nodes))
        return ends

    def _of(self, unit: int) -> tuple[int, int]:
        return self._changed.get(unit) or self._expected[unit]


class RoomToShare(RoomOnSite):
    """The free nodes of a pass on a machine where jobs share nodes."""

    __slots__ = ("_latency_s", "_now", "_releases", "shared")

    shared: SharedRoom

    def __init__(self, simulation: Simulation, sharing: Sharing) -> None:
        if simulation.site is None:
            raise ValueError("nodes are shared on a machine with a site")
        super().__init__(simulation.site, simulation.now + simulation.launch_latency)
        self._now, self._latency_s = simulation.now, simulation.launch_latency
        self._releases = simulation.releases
        self.shared = SharedRoom(simulation, sharing)
        self._stretch()

    def take(self, job: Job) -> bool:
        """Whether ``job`` can start now beside all that was taken before; if so, its nodes are taken too."""
        if not job.cores:
            taken = super().take(job)
        else:
            taken = not (self._closes_s >= 0 and self._start_s + job.walltime > self._closes_s)
            taken = taken and self.shared.take(self, job)
            if taken:
                self.started.append(job)
        self._stretch()
        return taken

    def ends(self) -> list[tuple[int, int, int]]:
        """When nodes come back after what the pass has done: (second, holder, nodes), sorted."""
        ends = self.shared.ends([*self._releases])
        for job in self.started:
            if not job.cores:
                insort(ends, (self._now + self._latency_s + job.walltime, job.id, job.nodes))
        return ends

    def _stretch(self) -> None:
        self.reach = max(self.free, int(self.shared.is_open))
