"""What is known of a job's power when it is submitted: the features of its runtime, and what its groups have drawn.

Watts are kept as the logarithm of the share of a busy node's peak that one node drew on average, at nominal speed: the
dynamic part is divided by speed^a. So one machine's jobs are like another's, and slow ones like fast ones. A job
*follows* if it started within a minute after another one of its user had ended: where users have many jobs and a limit
on how many run, what ends is followed by more of the same. For training and in a run the same lines compute all of it
(``tests/test_energy_twin.py`` holds both to the last bit).

Shapes: J jobs, G groups, K last ends of a group, E ends.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

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
    "user_follows",
    *(f"{group}_watts_{name}" for group in GROUPS for name in _STATISTICS),
)
"""The features of a job in their order: those of its runtime, and more."""

FOLLOWS: Final = JOB_NAMES.index("user_follows")
_AT_ONCE_S: Final = 60
_SHARE, _FOLLOWS = range(2)  # what is kept of an end
_SELDOM: Final = 0.3  # of how many jobs follow, where nothing is known of a user
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
    kept = np.stack([log_share, _follows(jobs, ends)[told]], axis=1)
    known = [gathered(kept, end_s, group[job], job, group, jobs.submit_s, LAST) for group in group_codes(jobs)]
    last_JGK, count_JG = [each.kept for each in known], [each.known for each in known]
    of_groups = _of_groups(np.stack(last_JGK, axis=1), np.stack(count_JG, axis=1))
    return np.concatenate([of_runtime, _idle(len(of_runtime), node), of_groups], axis=1)


def _follows(jobs: Columns, ends: Ends) -> npt.NDArray[np.bool_]:
    """Whether jobs of E ends followed others of their users."""
    user = jobs.user[ends.job]
    start_s = ends.end_s - ends.runtime_s
    span_s = int(ends.end_s.max(initial=0)) + _AT_ONCE_S + 1
    key = np.sort(user * span_s + ends.end_s)
    first = np.searchsorted(key, user * span_s + start_s - _AT_ONCE_S)
    then = np.searchsorted(key, user * span_s + start_s, side="right")
    return (then > first) & (user >= 0)


class EnergyHistory:
    """The ends that became known in a run so far: runtimes and power."""

    def __init__(self) -> None:
        self.runtimes = History()
        self._watts = LastEnds(LAST, 2)
        self._ends_s: dict[str, list[int]] = {}  # by user

    def copy(self) -> EnergyHistory:
        """Another that goes its own way."""
        twin = EnergyHistory()
        twin.runtimes, twin._watts = self.runtimes.copy(), self._watts.copy()
        twin._ends_s = {user: ends.copy() for user, ends in self._ends_s.items()}
        return twin

    def add(self, end: Ended, node: Node) -> None:
        """Learn of a job that has ended."""
        self.runtimes.add(end)
        follows = False
        if end.job.user:
            ends, start_s = self._ends_s.setdefault(end.job.user, []), end.now - end.runtime_s
            ends.append(end.now)
            place = bisect_left(ends, start_s - _AT_ONCE_S)
            follows = ends[place] <= start_s
        if tells(end):
            kept = np.array([drawn(end, node), follows])
            for key in keys_of(end.job):
                if key is not None:
                    self._watts.put(key, kept, end.now, end.job.id)

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
    """What the last ends of the groups of J jobs, (J, G, K, 2), say of them, (J, 1 + 5 G)."""
    known = np.minimum(count_JG, LAST)
    n = np.maximum(known, 1)
    is_there = np.arange(LAST) < known[..., None]
    share = np.where(is_there, last[..., _SHARE], 0.0)
    mean = np.where(known > 0, share.sum(2) / n, _UNKNOWN)
    deviation = np.sqrt((np.where(is_there, share - mean[..., None], 0.0) ** 2).sum(2) / n)
    first, second = (np.where(known > place, share[..., place], mean) for place in (0, 1))
    statistics = np.stack([np.log1p(known.astype(np.float64)), first, second, mean, deviation], axis=2)
    follows = np.where(is_there[:, :1], last[:, :1, :, _FOLLOWS], 0.0).sum(2) / n[:, :1]
    follows = np.where(known[:, :1] > 0, follows, _SELDOM)
    return np.concatenate([follows, statistics.reshape(len(known), -1)], axis=1)
