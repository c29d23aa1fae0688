"""What is known of a job's power when it is submitted: the features of its runtime, and what its groups have drawn.

Watts are kept as the logarithm of the share of a busy node's peak that one node drew on average, at nominal speed: the
dynamic part is divided by speed^a. So one machine's jobs are like another's, and slow ones like fast ones.
For training and in a run the same lines compute all of it (``tests/test_energy_twin.py`` holds both to the last bit).

Shapes: J jobs, G groups, K last ends of a group, E ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from hpcsim.plugin import Ended, Job, MachineSpec

from .features import (
    COUNTED,
    GROUPS,
    LAST,
    NAMES,
    Columns,
    Ends,
    Floats,
    History,
    Int64s,
    group_codes,
    keys_of,
)
from .last_ends import LastEnds, gathered

_STATISTICS: Final = ("known", "last", "second", "mean", "deviation")

JOB_NAMES: Final = (
    *NAMES,
    "log_idle_share",
    *(f"{group}_watts_{name}" for group in GROUPS for name in _STATISTICS),
)
"""The features of a job in their order: those of its runtime, and more."""

OVERRUNS: Final = 256
"""Of so many of the last jobs that met their walltimes is kept how many walltimes they ran."""

_UNKNOWN: Final = -0.5  # ln share of the peak; of groups of which nothing is known
_LEAST: Final = 1e-3  # of the peak; jobs that share a node may draw next to nothing


class Node(NamedTuple):
    """Watts of one node: idle, and what a job adds at most at nominal speed; what speed does to that; all nodes."""

    idle_w: float
    dynamic_w: float
    exponent: float
    nodes: int

    @classmethod
    def of(cls, spec: MachineSpec) -> Node:
        """Those of a machine."""
        power = spec.power
        return cls(power.idle_w, power.cpu_dyn_w + power.gpu_dyn_w, power.speed_exponent, spec.nodes)

    @property
    def peak_w(self) -> float:
        """What a node draws at most."""
        return self.idle_w + self.dynamic_w

    def log_share(self, energy_j: Floats, node_s: Floats, speed: Floats) -> Floats:
        """Logarithm of the share of the peak that E jobs would have drawn at nominal speed."""
        watts = energy_j / np.maximum(node_s, 1.0)
        dynamic = np.maximum(watts - self.idle_w, 0.0) / np.maximum(speed, 0.05) ** self.exponent
        return np.log(np.maximum((np.minimum(watts, self.idle_w) + dynamic) / self.peak_w, _LEAST))


def of_trace(jobs: Columns, of_runtime: Floats, ends: Ends, told: Int64s, log_share: Floats, node: Node) -> Floats:
    """Features of all jobs of a trace, (J, F): of each only what was known in the second of its submission.

    ``of_runtime`` are those of ``features.of_trace``; ``told`` are the places of those of the ends whose energy is
    known, and ``log_share`` what it was.
    """
    job = ends.job[told]
    end_s = np.maximum(ends.end_s[told], jobs.submit_s[job] + 1)  # no job ended before it was there
    known = [
        gathered(log_share[:, None], end_s, group[job], job, group, jobs.submit_s, LAST) for group in group_codes(jobs)
    ]
    last_JGK, count_JG = [each.kept for each in known], [each.known for each in known]
    of_groups = _of_groups(np.stack(last_JGK, axis=1), np.stack(count_JG, axis=1))
    return np.concatenate([of_runtime, _idle(len(of_runtime), node), of_groups], axis=1)


class EnergyHistory:
    """The ends that became known in a run so far: runtimes and power."""

    def __init__(self) -> None:
        self.runtimes = History()
        self._watts = LastEnds(LAST, 1)
        self._overruns: deque[float] = deque(maxlen=OVERRUNS)

    def copy(self) -> EnergyHistory:
        """Another that goes its own way."""
        twin = EnergyHistory()
        twin.runtimes, twin._watts = self.runtimes.copy(), self._watts.copy()
        twin._overruns = self._overruns.copy()
        return twin

    def add(self, end: Ended, node: Node) -> None:
        """Learn of a job that has ended."""
        self.runtimes.add(end)
        if end.state in COUNTED and end.runtime_s >= end.job.walltime:
            self._overruns.append(end.runtime_s / end.job.walltime)
        if tells(end):
            self._watts.put(keys_of(end.job), np.array([drawn(end, node)]), end.now, end.job.id)

    @property
    def overruns(self) -> Floats:
        """How many walltimes the last jobs ran that met theirs, ascending."""
        return np.sort(np.array(self._overruns, np.float64))

    def features(self, jobs: Sequence[Job], utc_of_zero: int, node: Node) -> Floats:
        """Features of J jobs, (J, F), by all ends that are known by now."""
        of_runtime = self.runtimes.features(jobs, utc_of_zero, node.nodes)
        row_JG = np.array([[self._watts.row(key) for key in keys_of(job)] for job in jobs], np.int64)
        of_groups = _of_groups(self._watts.kept[row_JG], self._watts.count[row_JG])
        return np.concatenate([of_runtime, _idle(len(jobs), node), of_groups], axis=1)


def tells(end: Ended) -> bool:
    """Whether an end says what jobs draw."""
    return end.state in COUNTED and end.energy_j is not None and end.energy_j > 0 and end.runtime_s > 0


def drawn(end: Ended, node: Node) -> float:
    """Logarithm of the share of the peak that a job drew, at nominal speed."""
    told = np.array([end.energy_j or 0.0]), np.array([float(end.job.nodes * end.runtime_s)]), np.array([end.speed])
    return float(node.log_share(*told)[0])


def _idle(count: int, node: Node) -> Floats:
    return np.full((count, 1), np.log(node.idle_w / node.peak_w))


def _of_groups(last: Floats, count_JG: Int64s) -> Floats:
    """What the last ends of the groups of J jobs, (J, G, K, 1), say of their watts, (J, 5 G)."""
    known = np.minimum(count_JG, LAST)
    n = np.maximum(known, 1)
    is_there = np.arange(LAST) < known[..., None]
    share = np.where(is_there, last[..., 0], 0.0)
    mean = np.where(known > 0, share.sum(2) / n, _UNKNOWN)
    deviation = np.sqrt((np.where(is_there, share - mean[..., None], 0.0) ** 2).sum(2) / n)
    first, second = (np.where(known > place, share[..., place], mean) for place in (0, 1))
    statistics = np.stack([np.log1p(known.astype(np.float64)), first, second, mean, deviation], axis=2)
    return statistics.reshape(len(known), -1)
