"""Scheduling graphs of tasks: HEFT and CPOP, their ranks, and what their schedules are measured by.

A *processor* is a ``Profile``: one that runs one task at a time is ``Profile(0, 1)``, a class of equal nodes is one
of as many free nodes. Insertion is what a profile does anyway: a task may go into a gap before tasks that were placed
earlier.

References
----------
Topcuoglu, Hariri and Wu (2002), Performance-effective and low-complexity task scheduling for heterogeneous computing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from math import inf
from typing import NamedTuple

from hpcsim.plugin import Job, Profile

FOREVER = 2**62


class Place(NamedTuple):
    """Where and when a task runs: the number of the processor, the first second, and the one after the last."""

    processor: int
    start: int
    finish: int


class Graph:
    """Tasks, what they cost, and what they hand on.

    Parameters
    ----------
    cost : of each task, the seconds that it takes on each of P processors; None on one that cannot run it.
    data : of each edge (task, follower), the seconds that what is handed on takes from one processor to another; on the
        same processor it takes none.
    ready : of each task, the second before which it cannot begin on each of P processors; 0 where it is left out.
    jobs : the jobs that tasks are, whose nodes they take; a task that is none takes one node.
    by_area : whether a task weighs in ranks by its node-seconds instead of its seconds.

    Raises ValueError for an edge to a task that is none, for a task that no processor can run, and for a circle.
    """

    def __init__(
        self,
        cost: Mapping[int, Sequence[int | None]],
        data: Mapping[tuple[int, int], int],
        *,
        ready: Mapping[int, Sequence[int]] | None = None,
        jobs: Mapping[int, Job] | None = None,
        by_area: bool = False,
    ) -> None:
        self.cost = cost
        self.ready = ready or {}
        self.jobs = jobs or {}
        self.before: dict[int, dict[int, int]] = {task: {} for task in cost}
        self.after: dict[int, dict[int, int]] = {task: {} for task in cost}
        for (task, follower), seconds in data.items():
            if task not in cost or follower not in cost:
                raise ValueError(f"an edge from {task} to {follower}, but the tasks are {sorted(cost)}")
            self.after[task][follower] = self.before[follower][task] = seconds
        self.weight = {task: self._mean(task) * (self.nodes(task) if by_area else 1) for task in cost}
        self.order = self._in_order()

    def nodes(self, task: int) -> int:
        """How many nodes the task takes."""
        job = self.jobs.get(task)
        return 1 if job is None else job.nodes

    def _mean(self, task: int) -> float:
        seconds = [each for each in self.cost[task] if each is not None]
        if not seconds:
            job = self.jobs.get(task)
            raise ValueError(f"{f'task {task}' if job is None else f'job {job.name}'} is too large for every processor")
        return sum(seconds) / len(seconds)

    def _in_order(self) -> dict[int, int]:
        """The place of each task in an order in which none comes before what it follows; of several the least first."""
        open_before = {task: len(before) for task, before in self.before.items()}
        free = [task for task, count in open_before.items() if not count]
        heapify(free)
        order: dict[int, int] = {}
        while free:
            task = heappop(free)
            order[task] = len(order)
            for follower in self.after[task]:
                open_before[follower] -= 1
                if not open_before[follower]:
                    heappush(free, follower)
        if len(order) < len(self.cost):
            raise ValueError(f"tasks that wait for each other: {sorted(self.cost.keys() - order.keys())}")
        return order


def upward_ranks(graph: Graph, weight: Mapping[int, float] | None = None) -> dict[int, float]:
    """Of each task, the longest way from its beginning to the end of the graph, by mean costs, seconds.

    Or by the ``weight`` of tasks, if that is given.
    """
    weight = graph.weight if weight is None else weight
    rank: dict[int, float] = {}
    for task in reversed(graph.order):
        after = graph.after[task].items()
        rank[task] = weight[task] + max((seconds + rank[follower] for follower, seconds in after), default=0)
    return rank


def downward_ranks(graph: Graph) -> dict[int, float]:
    """Of each task, the longest way from the beginning of the graph to its own beginning, by mean costs, seconds."""
    rank: dict[int, float] = {}
    for task in graph.order:
        before = graph.before[task].items()
        rank[task] = max((rank[each] + graph.weight[each] + seconds for each, seconds in before), default=0)
    return rank


def critical_path(graph: Graph, weight: Mapping[int, float] | None = None) -> list[int]:
    """The longest way through the graph by mean costs, or by ``weight``; of equals that of the lowest tasks."""
    rank = upward_ranks(graph, weight)
    path: list[int] = []
    following = {task: 0 for task, before in graph.before.items() if not before}
    while following:
        task = max(following, key=lambda each: (_told(following[each] + rank[each]), -each))
        path.append(task)
        following = graph.after[task]
    return path


def heft(graph: Graph, processors: Sequence[Profile], *, insertion: bool = True) -> dict[int, Place]:
    """Heterogeneous earliest finish time: the task of the highest upward rank first, where it ends the earliest.

    What is placed is reserved in ``processors``. Without ``insertion`` a task begins after all that were placed before
    it on its processor.
    """
    rank = upward_ranks(graph)
    placed: dict[int, Place] = {}
    for task in sorted(graph.cost, key=lambda task: (-_told(rank[task]), graph.order[task])):
        placed[task] = _place(graph, task, processors, placed, insertion, range(len(processors)))
    return placed


def cpop(graph: Graph, processors: Sequence[Profile], *, insertion: bool = True) -> dict[int, Place]:
    """Critical path on a processor: the longest way through the graph runs on the processor that is best for all of it.

    Of the tasks whose predecessors have been placed, the one on the longest way through the graph (the sum of both
    ranks) is placed next: those of the critical path on its processor, others where they end the earliest.
    """
    up, down = upward_ranks(graph), downward_ranks(graph)
    path = set(critical_path(graph))
    everywhere = range(len(processors))
    best = min(everywhere, key=lambda processor: sum(_cost(graph, task, processor) for task in path))
    placed: dict[int, Place] = {}
    open_before = {task: len(before) for task, before in graph.before.items()}
    turn = {task: (-_told(up[task] + down[task]), graph.order[task], task) for task in graph.cost}
    free = [turn[task] for task, count in open_before.items() if not count]
    heapify(free)
    while free:
        _, _, task = heappop(free)
        pinned = task in path and graph.cost[task][best] is not None
        placed[task] = _place(graph, task, processors, placed, insertion, (best,) if pinned else everywhere)
        for follower in graph.after[task]:
            open_before[follower] -= 1
            if not open_before[follower]:
                heappush(free, turn[follower])
    return placed


def _told(rank: float) -> float:
    """A rank without what floating point adds to it, so that equals are equal."""
    return round(rank, 6)


def _cost(graph: Graph, task: int, processor: int) -> float:
    seconds = graph.cost[task][processor]
    return inf if seconds is None else seconds


def _place(
    graph: Graph,
    task: int,
    processors: Sequence[Profile],
    placed: Mapping[int, Place],
    insertion: bool,
    among: Sequence[int],
) -> Place:
    """Reserve for the task the place ``among`` the processors where it ends the earliest, of equals the first."""
    nodes, job = graph.nodes(task), graph.jobs.get(task)
    ready = graph.ready.get(task)
    chosen: Place | None = None
    for processor in among:
        seconds = graph.cost[task][processor]
        if seconds is None:
            continue
        begin = ready[processor] if ready else 0
        for each, handed_on in graph.before[task].items():
            before = placed[each]
            begin = max(begin, before.finish + (handed_on if before.processor != processor else 0))
        profile = processors[processor]
        start = profile.earliest(nodes, seconds if insertion else FOREVER, job, not_before=begin)
        if chosen is None or start + seconds < chosen.finish:
            chosen = Place(processor, start, start + seconds)
    if chosen is None:
        raise ValueError(f"task {task} can run on none of the processors {list(among)}")
    processors[chosen.processor].reserve(chosen.start, chosen.finish - chosen.start, nodes, job)
    return chosen


def makespan(placed: Mapping[int, Place]) -> int:
    """From second 0 to the last finish."""
    return max((place.finish for place in placed.values()), default=0)


def least_makespan(graph: Graph) -> float:
    """What the longest way takes if each task has its best processor and data no way: no schedule is shorter.

    The longest way is that by least costs and data, as the schedule length ratio (SLR), makespan over this, has it.
    """
    least = {task: _least(graph, task) for task in graph.cost}
    return sum(least[task] for task in critical_path(graph, least))


def alone(graph: Graph) -> float:
    """What all tasks one after the other take on the processor that is best for that: speedup is this over makespan.

    Infinite if no processor can run all of them.
    """
    processors = range(len(next(iter(graph.cost.values()))))
    return min(sum(_cost(graph, task, processor) for task in graph.cost) for processor in processors)


def _least(graph: Graph, task: int) -> float:
    return min(seconds for seconds in graph.cost[task] if seconds is not None)
