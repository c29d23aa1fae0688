"""Nodes that several jobs share: what is free on each, who is on it, and what each job draws there.

A job that shares takes so many cores, GPUs and GiB of one node, less than all of it. It gets the shared node with the
fewest free cores that has room for it (of equals the fewest free GPUs, then the least free memory, then the lowest
number), and a free node where none has. A node is shared from its first such job to its last.

A job bears its *largest share*, the greatest of its shares of a node's cores, GPUs and memory, of the node's idle
watts; where the largest shares of all jobs on a node come to more than 1, in proportion to them. What no job bears is
*unshared*. Its program's watts are those of its utilisations on its share of the cores and of the GPUs. The hottest GPU
of a node is one of the job that works its GPUs hardest.
"""

from __future__ import annotations

import copy
from bisect import bisect_left, insort
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.errors import InputError
from hpcsim.machine.execution import Execution
from hpcsim.machine.places import Places
from hpcsim.machine.spec import MachineSpec
from hpcsim.workload.job import Job, Workload

Floats = npt.NDArray[np.float64]
Units = npt.NDArray[np.int64]

SHARED: Final = -2
"""Who holds a shared unit, by ``Places.holder_U``."""

MIB: Final = 1024  # of a GiB


class Part(NamedTuple):
    """A part of a node: cores, GPUs, MiB of memory."""

    cores: int
    gpus: int
    mib: int


Free = tuple[int, int, int, int]
"""What a shared node has free: cores, GPUs, MiB; and the number of its unit."""

Spare = list[Free]
"""What all shared nodes have free, sorted."""


def part_of(job: Job) -> Part:
    """The part of a node that a job takes."""
    return Part(job.cores, job.gpus, round(job.memory_gib * MIB))


def best_fit(spare: Spare, part: Part) -> int:
    """The place in ``spare`` of the node that a job of this part gets; -1 if none has room for it."""
    for at in range(bisect_left(spare, (part.cores,)), len(spare)):
        if spare[at][1] >= part.gpus and spare[at][2] >= part.mib:
            return at
    return -1


def take_part(spare: Spare, at: int, part: Part) -> Free:
    """Take a part of the node at a place in ``spare``; what it has left is returned."""
    cores, gpus, mib, unit = spare.pop(at)
    left = cores - part.cores, gpus - part.gpus, mib - part.mib, unit
    insort(spare, left)
    return left


def node_of(spec: MachineSpec) -> Part:
    """All of a node."""
    return Part(spec.cores_per_node, spec.gpus_per_node, int(spec.memory_gib * MIB))


def can_share(spec: MachineSpec) -> bool:
    """Whether jobs can share a node of this machine: nodes are what it allocates, and not in blocks."""
    return spec.unit_nodes == 1 and spec.block_units is None


def in_parts(workload: Workload, spec: MachineSpec, *, processors_are_cores: bool = False) -> Workload:
    """The workload with all that its sharing jobs did not say about their parts.

    A job shares if it asks for cores or GPUs. Cores that it does not name are in proportion to its GPUs, at least 1;
    memory is in proportion to the larger of its shares of cores and GPUs. A job that takes all cores of a node takes
    the node. With ``processors_are_cores`` the workload's nodes are cores: fewer than a node has are a part of one,
    others so many whole nodes as it takes to have them. Raises InputError for a part of several nodes, a negative part,
    and where jobs cannot share.
    """
    if not (processors_are_cores or workload.shares_nodes):
        return workload
    if not can_share(spec):
        raise InputError(f"{workload.source}: jobs share nodes, but {spec.name} allocates no single nodes")
    whole = node_of(spec)
    nodes, cores, gpus = (workload.column(name).astype(np.int64) for name in ("nodes", "cores", "gpus"))
    mib = np.ceil(workload.column("memory_gib") * MIB).astype(np.int64)
    if processors_are_cores:
        says_nothing = (cores == 0) & (gpus == 0)
        is_part = says_nothing & (nodes < whole.cores)
        cores[is_part] = nodes[is_part]
        nodes = np.where(says_nothing, -(-nodes // whole.cores), nodes)
    shares = (cores != 0) | (gpus != 0)
    negative = np.flatnonzero((cores < 0) | (gpus < 0) | (mib < 0))
    several = np.flatnonzero(shares & (nodes != 1))
    for wrong, what in ((negative, "a negative part of a node"), (several, "a part of a node, and several nodes")):
        if wrong.size:
            name = workload.table.column("name")[int(wrong[0])]
            raise InputError(f"{workload.source}: job {name} asks for {what} ({wrong.size} such)")
    all_gpus = max(1, whole.gpus)
    cores = np.where(shares & (cores == 0), np.maximum(1, gpus * whole.cores // all_gpus), cores)
    proportional = np.maximum(cores * whole.mib // whole.cores, gpus * whole.mib // all_gpus)
    mib = np.where(shares, np.where(mib == 0, proportional, mib), 0)
    is_whole = (cores == whole.cores) & (gpus <= whole.gpus) & (mib <= whole.mib)
    for column in (cores, gpus, mib):
        column[is_whole] = 0
    return workload.with_nodes(nodes).with_parts(cores, gpus, mib / MIB)


def largest_share(cores: Floats, gpus: Floats, memory_gib: Floats, spec: MachineSpec) -> Floats:
    """The largest share of a node that each job takes; 1 for those that take whole nodes."""
    whole = node_of(spec)
    largest = np.maximum(cores / whole.cores, np.maximum(gpus / max(1, whole.gpus), memory_gib * MIB / whole.mib))
    shares: Floats = np.where(cores > 0, largest, 1.0)
    return shares


class SharedUnit:
    """One shared node: the jobs on it by their ids, what is free, what it draws, and whether it is throttled."""

    def __init__(self, units: Units, whole: Part, node_w: float, gpu_w: float) -> None:
        self.units = units  # its number, as ``Places`` gave it
        self.number: int = int(units[0])
        self.free: Free = (*whole, self.number)
        self.members: dict[int, Execution] = {}
        self.node_w: float = node_w  # what the node draws
        self.node_gpu_w: float = gpu_w  # and the hottest GPU of it
        self.unshared_w: float = 0.0
        self.is_hot = False


class Shares:
    """The shared nodes of a machine of ``spec`` on which jobs of ``workload`` (made by ``in_parts``) run.

    ``spare`` is what they have free, ``unit_of`` who is where. Of each job ``core_share_J`` and ``gpu_share_J`` are its
    shares of a node's cores and GPUs, ``largest_J`` the largest of all; 1 for those that take whole nodes.
    ``unshared_w`` are the idle watts that no job bears now. ``retimed`` are jobs that have changed pace since somebody
    last looked, because the throttle of their node was lifted.
    """

    def __init__(self, workload: Workload, spec: MachineSpec) -> None:
        cores, gpus, memory_gib = (workload.column(name) for name in ("cores", "gpus", "memory_gib"))
        if not can_share(spec) or np.any((cores == 0) & (gpus > 0)):
            raise ValueError("jobs that share nodes need a machine of single nodes, and parts that in_parts made")
        self.whole: Part = node_of(spec)
        is_part = cores > 0
        self.core_share_J: Floats = np.where(is_part, cores / self.whole.cores, 1.0)
        self.gpu_share_J: Floats = np.where(is_part, gpus / max(1, self.whole.gpus), 1.0)
        self.largest_J: Floats = largest_share(cores, gpus, memory_gib, spec)
        self.spare: Spare = []
        self.units: dict[int, SharedUnit] = {}
        self.unit_of: dict[int, SharedUnit] = {}
        self._part_of: dict[int, Part] = {}
        self.retimed: list[Execution] = []
        self.unshared_w: float = 0.0
        self.unshared_j: float = 0.0  # up to the second last settled
        self._since: int | None = None

    def with_jobs(self, executions: Mapping[int, Execution]) -> Shares:
        """An independent copy, whose jobs are those of ``executions``: copies of those that it has itself."""
        twin = copy.copy(self)
        twin.spare, twin._part_of = self.spare.copy(), self._part_of.copy()
        twin.units, twin.unit_of = {}, {}
        for number, unit in self.units.items():
            twin.units[number] = mine = copy.copy(unit)
            mine.members = {job_id: executions[job_id] for job_id in unit.members}
            for job_id, execution in mine.members.items():
                execution.shared = twin.unit_of[job_id] = mine
        twin.retimed = [executions[execution.job_id] for execution in self.retimed]
        return twin

    @classmethod
    def of(cls, workload: Workload, spec: MachineSpec) -> Shares | None:
        """Those of a workload; None if no job of it shares a node."""
        return cls(workload, spec) if workload.shares_nodes else None

    def too_large(self, job: Job) -> bool:
        """Whether a sharing job asks for more of something than a node has."""
        return any(wanted > there for wanted, there in zip(part_of(job), self.whole, strict=True))

    def fits(self, job: Job) -> bool:
        """Whether a sharing job has room on a node that is shared already."""
        return best_fit(self.spare, part_of(job)) >= 0

    def place(
        self, job: Job, places: Places, wanted: Units | None, scores_U: Floats | None, idle: tuple[float, float]
    ) -> SharedUnit:
        """Give a sharing job its part of a node (``wanted``, if that is given). ValueError if it cannot have it.

        ``idle`` are the watts of an idle node and of an idle GPU of it.
        """
        part = part_of(job)
        at = best_fit(self.spare, part)
        if wanted is not None:
            at = -1
            if wanted.size == 1 and int(wanted[0]) in self.units:
                at = bisect_left(self.spare, self.units[int(wanted[0])].free)
                if any(asked > free for asked, free in zip(part, self.spare[at], strict=False)):
                    raise ValueError(f"unit {wanted[0]} is shared and has too little left")
        if at < 0:
            units = places.take(1, holder=SHARED, wanted=wanted, scores_U=scores_U)
            unit = SharedUnit(units, self.whole, *idle)
            self.units[unit.number] = unit
            at = bisect_left(self.spare, unit.free)
            self.spare.insert(at, unit.free)
        self._part_of[job.id] = part
        free = take_part(self.spare, at, part)
        self.unit_of[job.id] = unit = self.units[free[3]]
        unit.free = free
        return unit

    def leave(self, job_id: int) -> None:
        """Take a job off its node; one that nobody is left on is not shared any more."""
        unit, part = self.unit_of.pop(job_id), self._part_of.pop(job_id)
        del unit.members[job_id]
        at = bisect_left(self.spare, unit.free)
        if unit.members:
            unit.free = take_part(self.spare, at, Part(-part.cores, -part.gpus, -part.mib))
        else:
            del self.spare[at], self.units[unit.number]

    def settle(self, now: int) -> None:
        """Book the unshared joules up to ``now``."""
        self.unshared_j += self.unshared_w * (now - (now if self._since is None else self._since))
        self._since = now

    def holding(self, units: Units) -> list[int]:
        """The ids of the jobs on those of ``units`` that are shared, ascending."""
        return sorted(job_id for unit in units.tolist() if unit in self.units for job_id in self.units[unit].members)
