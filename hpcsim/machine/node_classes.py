"""Node classes: sets of nodes of different speed, each with storage of its own.

A job runs on a node of speed 0.5 twice as long as its trace says, and may: its walltime is one of nodes of speed 1.
It goes at the pace of the slowest class that it touches. What it writes lies in every class that it touched. A job
that reads it in another class has to wait for it: the data leave when their writer has ended, and take their size
over the bandwidth, whatever else is under way. What no job of the run wrote is everywhere from the start.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.workload.job import Job

_WHOLE = 1e-6  # seconds: what floating point may add to a whole number of them


class NodeClass(NamedTuple):
    """Nodes of one speed, relative to that of the nodes that runtimes and walltimes are of."""

    name: str
    nodes: int
    speed: float

    def seconds(self, at_speed_1: int) -> int:
        """How long it takes here what takes ``at_speed_1`` seconds at speed 1."""
        return ceil(at_speed_1 / self.speed - _WHOLE)


class NodeClasses:
    """The classes of a machine, the fastest first as are its units, and the data of jobs that have ended.

    ``bytes_per_s`` is the bandwidth from one class to another, of each transfer. Classes hold whole units of
    ``unit_nodes``.
    """

    def __init__(self, classes: Sequence[NodeClass], bytes_per_s: float, unit_nodes: int = 1) -> None:
        self.classes: tuple[NodeClass, ...] = tuple(sorted(classes, key=lambda each: -each.speed))
        self._bytes_per_s = bytes_per_s
        counts = [each.nodes // unit_nodes for each in self.classes]
        # the number of each unit's class
        self.class_U: npt.NDArray[np.int64] = np.repeat(np.arange(len(counts)), counts)
        self.slowness_U: npt.NDArray[np.float64] = np.repeat([1.0 / each.speed for each in self.classes], counts)
        self._lies: dict[int, tuple[int, tuple[int, ...]]] = {}  # data of ended jobs: since when, in which classes

    def __deepcopy__(self, memo: object) -> NodeClasses:
        twin = copy.copy(self)
        twin._lies = self._lies.copy()
        return twin

    def index(self, node_class: NodeClass) -> int:
        """The number of a class."""
        return self.classes.index(node_class)

    def among(self, units: npt.NDArray[np.int64]) -> tuple[int, ...]:
        """The numbers of the classes that these units are of."""
        return tuple(np.unique(self.class_U[units]).tolist())

    def slowness(self, units: npt.NDArray[np.int64]) -> float:
        """How much longer a job takes on these units than on nodes of speed 1."""
        return float(self.slowness_U[units].max())

    def limit_s(self, limit_s: int, extra_s: int, units: npt.NDArray[np.int64]) -> tuple[int, int]:
        """A limit on these units, and how much of it lies beyond the walltime."""
        slowness = self.slowness(units)
        walltime_s = ceil((limit_s - extra_s) * slowness - _WHOLE)
        longer_s = ceil(limit_s * slowness - _WHOLE)
        return longer_s, longer_s - walltime_s

    def transfer_s(self, size: int) -> int:
        """Seconds that ``size`` bytes take from one class to another."""
        return ceil(size / self._bytes_per_s - _WHOLE) if size else 0

    def there_s(self, since_s: int, size: int, lies_in: Collection[int], wanted_in: Collection[int]) -> int:
        """When data that lie in some classes since ``since_s`` are in all of those where they are wanted."""
        return since_s if all(each in lies_in for each in wanted_in) else since_s + self.transfer_s(size)

    def ended(self, job_id: int, units: npt.NDArray[np.int64], now: int) -> None:
        """A job has left the machine, and what it wrote lies where it was."""
        self._lies[job_id] = now, self.among(units)

    def forget(self, job_id: int) -> None:
        """The job did not come to its end, and has written nothing."""
        self._lies.pop(job_id, None)

    def ready_s(self, job: Job, wanted_in: Collection[int]) -> int:
        """When all that ``job`` reads of jobs that have ended is in all of these classes; 0 if it reads nothing."""
        ready_s = 0
        for i, size in zip(job.after or (), job.after_bytes or (), strict=False):
            if i in self._lies:
                ready_s = max(ready_s, self.there_s(self._lies[i][0], size, self._lies[i][1], wanted_in))
        return ready_s
