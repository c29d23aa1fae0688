"""The resource graph of Flux: cluster, racks, nodes and their cores and GPUs, and the policies that match jobs to it.

Nodes that are free are all that differs between two moments; cores and GPUs only count as vertices, because jobs that
share a node are put on it by the machine. Every rack, and the cluster, keeps how many nodes below it are free: a
*pruning filter*, by which a search leaves out what cannot match.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Job, MachineSpec, Room, View

Units = npt.NDArray[np.int64]

MatchPolicy = Literal[
    "first", "firstnodex", "high", "low", "hinode", "lonode", "hinodex", "lonodex", "locality", "variation"
]  # fmt: skip
STOPS_AT_FIRST: Final = ("first", "firstnodex")
EXCLUSIVE: Final = ("firstnodex", "hinodex", "lonodex")


def choose(policy: MatchPolicy, free: Units, count: int, class_U: Units | None = None) -> Units:
    """``count`` of the ``free`` units (ascending, and enough of them), by ``policy``.

    - ``first``, ``high``, ``hinode`` and their exclusive forms: the highest ids; ``low``, ``lonode``: the lowest.
    - ``locality``: the longest run of consecutive ids, then the next; of equals the lower one; low ids of a run first.
    - ``variation``: the smallest difference between the best and the worst performance class, by ``class_U``; of
      equals the better classes, of one class the lowest ids.
    """
    if policy == "locality":
        runs = np.split(free, np.flatnonzero(np.diff(free) != 1) + 1)
        order = sorted(range(len(runs)), key=lambda at: -runs[at].size)
        return np.concatenate([runs[at] for at in order])[:count]
    if policy == "variation":
        if class_U is None:
            raise ValueError("variation needs the performance classes of units")
        by_class = free[np.argsort(class_U[free], kind="stable")]
        classes = class_U[by_class]
        best = int(np.argmin(classes[count - 1 :] - classes[: classes.size - count + 1]))
        return by_class[best : best + count]
    return free[:count] if policy.startswith("lo") else free[free.size - count :]


class Graph:
    """The part of a machine's graph in which the units ``free`` (ascending) are free."""

    def __init__(self, machine: MachineSpec, policy: MatchPolicy, free: Units, class_U: Units | None = None) -> None:
        self.free = free
        self._policy = policy
        self._class_U = class_U
        self._units = machine.units
        self._rack_units = machine.units_per_rack
        self._below_unit = machine.unit_nodes * (machine.cores_per_node + machine.gpus_per_node)
        self._count_R = np.bincount(free // self._rack_units, minlength=machine.racks)  # the pruning filters

    def take(self, count: int) -> tuple[Units, int]:
        """``count`` units, which are not free any more, and how many vertices were visited to find them.

        ``first`` looks at racks from the last on, and stops once it has enough; all other policies look at every rack.
        Of a rack without a free node no node is visited, and no core of a node that is not free.
        """
        units = choose(self._policy, self.free, count, self._class_U)
        stops = self._policy in STOPS_AT_FIRST
        lowest = int(units[0]) if stops else 0
        looked_R = np.arange(lowest // self._rack_units, self._count_R.size)
        open_R = looked_R[self._count_R[looked_R] > 0]
        ends_R = np.minimum((open_R + 1) * self._rack_units, self._units)
        nodes = int((ends_R - np.maximum(open_R * self._rack_units, lowest)).sum())
        free_nodes = count if stops else self.free.size
        self.free = np.setdiff1d(self.free, units, assume_unique=True)
        self._count_R -= np.bincount(units // self._rack_units, minlength=self._count_R.size)
        return units, 1 + looked_R.size + nodes + free_nodes * self._below_unit


class Matcher:
    """Names the units of the jobs that start in one pass. A ``policy`` of None leaves them to the scenario's placement.

    Raises InputError, with the first job, for ``variation`` on a machine without performance classes, and for any
    policy where nodes are only counted; ValueError on a torus, where jobs start in blocks.
    """

    def __init__(self, view: View, room: Room, policy: MatchPolicy | None) -> None:
        if policy is not None and room.names_units:
            raise ValueError(f"match: found {policy!r}, but on a torus jobs start in blocks; leave match out")
        self._view = view
        self._room = room
        self.policy = policy
        self._named: list[Units] = []
        self._free: Units | None = None
        self._stopped = 0

    def asked(self, job: Job) -> Job:
        """The job as it asks the room: under an exclusive policy one that would share a node asks for all of it."""
        if job.cores and self.policy in EXCLUSIVE:
            return job._replace(cores=0, gpus=0, memory_gib=0.0)
        return job

    def free(self, among: Units | None = None) -> Units:
        """The units that the pass has left: general ones, or those of them that are ``among`` some."""
        if self._free is None or self._stopped != len(self._room.stopped):  # which frees the units of running jobs
            self._stopped = len(self._room.stopped)
            self._free = self._left(self._view.free_units(self._room))
        return self._free if among is None else np.intersect1d(self._free, among, assume_unique=True)

    def choose(self, count: int, among: Units | None = None) -> Units:
        """``count`` units that the pass has left, which it still has left afterwards."""
        if self.policy is None:
            raise ValueError("without a match policy no units are chosen")
        return np.sort(choose(self.policy, self.free(among), count, self._class_U()))

    def name(self, job: Job, among: Units | None = None) -> tuple[int, ...] | None:
        """The units of a job to which the room has given free nodes; None: the scenario's placement says it."""
        machine = self._view.machine
        if self.policy is None:
            return None
        if machine is None:
            self._view.free_units(self._room)  # which says what is missing
            return None
        count, units = job.nodes // machine.unit_nodes, []
        if job.id in self._room.special:
            own = self._left(self._view.free_units(self._room, job.queue))
            if own.size:
                units.append(choose(self.policy, own, min(count, own.size), self._class_U()))
                count -= units[0].size
        if count:
            free = self.free(among)
            units.append(choose(self.policy, free, count, self._class_U()))
            self._free = np.setdiff1d(self.free(), units[-1], assume_unique=True)
        self._named += units
        return tuple(np.concatenate(units).tolist())

    def _left(self, free: Units) -> Units:
        return np.setdiff1d(free, np.concatenate(self._named), assume_unique=True) if self._named else free

    def _class_U(self) -> Units | None:
        return self._view.performance_class if self.policy == "variation" else None
