"""The next hour of a machine, played many times: jobs end, and those that wait take their nodes by the rule of EASY.

How long a job still runs is drawn from what is believed of it, given how long it has run; what would be known exactly,
an oracle tells. In each draw the runtimes of all jobs are other ones, equally spread over what is possible (a Latin
hypercube; McKay, Beckman and Conover 1979), the same spread each time, so that the same moment gives the same numbers.
A job that meets its walltime runs on as others have that met theirs: where nothing stops them, for minutes to hours.
A job that could have started before now by the number of free nodes and has not is stuck, for a reason that is not told
(where on the machine the nodes are, say), and stays so. What nobody has submitted yet is in no draw.

Shapes: R jobs that run, Q that wait, K draws, H horizons. Watts are shares of what all busy nodes draw at most above
idle.

References
----------
Lifka (1995), The ANL/IBM SP scheduling system.
McKay, Beckman and Conover (1979), A comparison of three methods for selecting values of input variables.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from functools import cache
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

import numpy as np

from . import lognormal
from .features import Bools, Floats, Int64s

DRAWS: Final = 16
"""K: how often an hour is played."""

_PASS_S: Final = 60  # runtimes are rounded up to so many seconds: there is at most one pass a minute


class Jobs(NamedTuple):
    """Jobs that run, in any order, or wait, in the order of the queue: how large, how long, and what is believed.

    ``share`` is the logarithm of the share of the peak that one node draws, measured or believed; of those that run
    ``elapsed_s`` is how long, and ``mixture`` what was believed of their runtimes.
    """

    nodes: Int64s
    walltime_s: Int64s
    share: Floats
    elapsed_s: Floats
    mixture: lognormal.Mixture


class Hour(NamedTuple):
    """What is to be played: nodes that are free, jobs, what each draws above idle, (R,) and (Q,), and seconds until
    the next maintenance.

    ``freed`` of the free nodes have become free in this second, and ``arrived`` (Q,) says which jobs have come in it:
    of the others, those that would start without either have evidently not been able to.
    ``overruns``, ascending, are of jobs that met their walltimes how many walltimes they ran. ``certain`` (R,) are
    seconds that the jobs that run are known to have left, where an oracle knows.
    """

    free: int
    freed: int
    arrived: Bools
    running: Jobs
    waiting: Jobs
    running_w: Floats
    waiting_w: Floats
    maintenance_s: float
    overruns: Floats
    certain: Floats | None = None


def played(hour: Hour, horizons_s: Sequence[int]) -> Floats:
    """By how much watts change by what starts at once, and until each horizon, (K, 1 + H)."""
    run, wait = hour.running, hour.waiting
    count, every = len(run.nodes), len(run.nodes) + len(wait.nodes)
    level = _levels(2 * every)
    left_s = _ran(run, level[:count], level[every : every + count], hour.overruns) - run.elapsed_s[:, None]
    if hour.certain is not None:
        left_s = np.repeat(hour.certain[:, None], DRAWS, axis=1)
    ran_s = _ran(wait, level[count:every], level[every + count : 2 * every], hour.overruns)
    play = _Play(hour, horizons_s)
    whole = (np.ceil(np.maximum(each, 1.0) / _PASS_S) * _PASS_S for each in (left_s, ran_s))
    return np.array([play(left, ran) for left, ran in zip(*(each.T.tolist() for each in whole), strict=True)])


def _ran(jobs: Jobs, level: Floats, over: Floats, overruns: Floats) -> Floats:
    """Runtimes in seconds, (J, K), at most by how much others overran their walltimes."""
    ran_s = lognormal.drawn(jobs.mixture, level, jobs.elapsed_s)
    walltime_s = jobs.walltime_s.astype(np.float64)[:, None]
    first = np.searchsorted(overruns, jobs.elapsed_s[:, None] / walltime_s, side="right")
    place = first + (over * (len(overruns) - first)).astype(np.int64)
    longer = np.append(overruns, 1.0)[place]
    return np.where(ran_s < walltime_s * (1.0 - 1e-9), ran_s, walltime_s * longer)


@cache
def _levels(count: int) -> Floats:
    """Equally spread numbers from 0 to 1 for at least ``count`` jobs, (jobs, K), each job's in an order of its own."""
    if count & (count - 1) or not count:
        return _levels(1 << count.bit_length())
    strata = (np.arange(DRAWS) + 0.5) / DRAWS
    found: Floats = np.random.default_rng(1).permuted(np.tile(strata, (count, 1)), axis=1)
    return found


class _Play:
    """An hour that can be played with other runtimes."""

    def __init__(self, hour: Hour, horizons_s: Sequence[int]) -> None:
        self._hour, self._horizons_s = hour, tuple(horizons_s)
        self._nodes = [*hour.running.nodes.tolist(), *hour.waiting.nodes.tolist()]
        self._watts = [*hour.running_w.tolist(), *hour.waiting_w.tolist()]
        self._first = len(hour.running.nodes)
        latest_s = np.maximum(hour.running.walltime_s - hour.running.elapsed_s, 1.0)
        self._limits = sorted((latest, job) for job, latest in enumerate(latest_s.tolist()))
        self._wait_nodes, self._walltime_s = hour.waiting.nodes, hour.waiting.walltime_s
        self._waits = ~hour.arrived
        while stuck := self._started(hour.free - hour.freed, 0.0, self._waits, self._limits, set()):
            self._waits[stuck] = False
        self._waits |= hour.arrived

    def __call__(self, left_s: Sequence[float], ran_s: Sequence[float]) -> list[float]:
        """By how much watts change, (1 + H,), where running jobs have so much left and waiting ones would take that."""
        hour, nodes, watts, first = self._hour, self._nodes, self._watts, self._first
        longest_s = self._horizons_s[-1]
        ends = [(left, job) for job, left in enumerate(left_s) if left <= longest_s]
        heapify(ends)
        limits, over = list(self._limits), set[int]()
        waits = self._waits.copy()
        free, now, change = hour.free, 0.0, 0.0
        found: list[float] = []
        while True:
            if free > 0:
                for place in self._started(free, now, waits, limits, over):
                    job, walltime_s = first + place, float(self._walltime_s[place])
                    waits[place] = False
                    free -= nodes[job]
                    change += watts[job]
                    insort(limits, (now + walltime_s, job))
                    heappush(ends, (now + ran_s[place], job))
            if not found:
                found.append(change)
            until = ends[0][0] if ends else np.inf
            found += [change for horizon_s in self._horizons_s[len(found) - 1 :] if horizon_s < until]
            if len(found) > len(self._horizons_s):
                return found
            now = until
            while ends and ends[0][0] <= now:
                job = heappop(ends)[1]
                free += nodes[job]
                change -= watts[job]
                over.add(job)

    def _started(
        self, free: int, now: float, waits: Bools, limits: list[tuple[float, int]], over: set[int]
    ) -> list[int]:
        """The places in the queue of those that EASY starts now."""
        may = np.flatnonzero(waits & (self._walltime_s <= self._hour.maintenance_s - now))
        wanted = self._wait_nodes[may]
        firsts = int(np.searchsorted(np.cumsum(wanted), free, side="right"))
        begun: list[int] = may[:firsts].tolist()
        if firsts == len(may):
            return begun
        free -= int(wanted[:firsts].sum())
        behind = may[firsts + 1 :]
        behind = behind[self._wait_nodes[behind] <= free]
        if not behind.size:
            return begun
        shadow_s, extra = self._shadow(int(wanted[firsts]), free, now, begun, limits, over)
        ends_s = now + self._walltime_s[behind]
        fits = (ends_s <= shadow_s) | (self._wait_nodes[behind] <= extra)
        for place, end_s in zip(behind[fits].tolist(), ends_s[fits].tolist(), strict=True):
            nodes = self._nodes[self._first + place]
            if nodes <= free and (end_s <= shadow_s or nodes <= extra):
                begun.append(place)
                free -= nodes
                extra -= nodes if end_s > shadow_s else 0
        return begun

    def _shadow(
        self, head: int, free: int, now: float, begun: list[int], limits: list[tuple[float, int]], over: set[int]
    ) -> tuple[float, int]:
        """When the head of the queue, that wants so many nodes, can start by the walltimes, and what is free then."""
        at_once = [(now + float(self._walltime_s[place]), self._first + place) for place in begun]
        for limit_s, job in sorted([*limits, *at_once]) if at_once else limits:
            if job not in over:
                free += self._nodes[job]
                if free >= head:
                    return limit_s, free - head
        return np.inf, 0
