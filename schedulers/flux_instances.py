"""Instances of Flux: each schedules its own queue on its own nodes, and its decisions take time.

An instance is a scheduler with one thread. Its loop sees jobs and nodes as they are when it begins, and keeps it busy
as long as its decisions take, one after the other; each start is carried out when its decision is through. It begins
another loop when it is not busy any more and something has happened to it: a job came or ended, nodes went or came.
Its clock keeps fractions of seconds, which the start of a job has not: it is in the second of its decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from pydantic import Field

from hpcsim import plugin
from hpcsim.plugin import Job, Profile, Room, View

from .flux_graph import Graph, Matcher, Units
from .flux_loop import Rules, decisions
from .planning import JOINED, Plan

Order = Callable[[list[Job], int], Iterable[Job]]
"""Jobs, given in the order of submission, in the order of a queue at a second."""

_POOL_VERTICES = 2  # where nodes are only counted: the cluster, and one vertex that stands for all of them


class Cost(plugin.Options):
    """Seconds that a decision takes: to look at one job, and start it, reserve nodes for it or pass it over."""

    decision_s: float = Field(default=0.0, ge=0, le=3600, description="seconds of every decision")
    waiting_s: float = Field(default=0.0, ge=0, le=60, description="seconds more for each job that waits there")
    vertex_s: float = Field(default=0.0, ge=0, le=60, description="seconds more for each vertex that is visited")

    @property
    def is_none(self) -> bool:
        """Whether decisions take no time."""
        return not (self.decision_s or self.waiting_s or self.vertex_s)

    def of(self, waiting: int, visited: int) -> float:
        """Seconds of a decision while so many jobs wait, for which so many vertices are visited."""
        return self.decision_s + self.waiting_s * waiting + self.vertex_s * visited


class Due(NamedTuple):
    """A start that is decided: in which second the decision is through, and whether it takes nodes that are free."""

    second: int
    job: Job
    why: str

    @property
    def opens(self) -> bool:
        """Whether the job gets free nodes, and not a part of a node that others share already."""
        return self.why != JOINED


class InstanceRoom(Room):
    """The free nodes of an instance in a pass: part of the machine's, and only until ``ends_s``."""

    __slots__ = ("_ends_s", "_machine", "_start_s")

    def __init__(self, free: int, machine: Room, start_s: int, ends_s: int | None) -> None:
        super().__init__(free)
        self._machine = machine
        self._start_s = start_s
        self._ends_s = ends_s

    def take(self, job: Job) -> bool:
        """Whether ``job`` can start now; if so, its nodes are taken. An ensemble takes them from this instance only."""
        if job.nodes > self.free or (self._ends_s is not None and self._start_s + job.walltime > self._ends_s):
            return False
        if job.id >= 0 and not self._machine.take(job):
            return False
        return super().take(job)


class Pass(NamedTuple):
    """What all instances see of a pass: the view, its queue, the room of the machine, and what names its units."""

    view: View
    queue: Mapping[int, Job]
    room: Room
    matcher: Matcher


class Instance:
    """A scheduler of its own queue, on ``nodes`` nodes, which are ``units`` where these are told apart.

    Without ``nodes`` it has the whole machine, and uses its room and profile. ``ends_s`` is when it has to have given
    its nodes back; None: never. What it gives to ``children`` it does not use. ``changed``: something has happened to
    it since its last loop began. ``batches`` are the jobs of the ensembles that wait for an instance of their own, and
    ``granted`` those for which that is decided.
    """

    def __init__(
        self,
        name: str,
        rules: Rules,
        nodes: int | None = None,
        units: Units | None = None,
        ends_s: int | None = None,
        depth: int = 0,
    ) -> None:
        self.name = name
        self.rules = rules
        self.nodes = nodes
        self.units = units
        self.ends_s = ends_s
        self.depth = depth
        self.children: list[Instance] = []
        self.waiting: dict[int, Job] = {}
        self.running: dict[int, Job] = {}
        self.due: list[Due] = []
        self.batches: dict[int, list[Job]] = {}
        self.granted: dict[int, list[Job]] = {}
        self.clock_s = 0.0
        self.changed = False

    # -- what comes and goes ------------------------------------------------------------------

    def receive(self, jobs: Iterable[Job]) -> None:
        """Let these jobs wait here."""
        for job in jobs:
            self.waiting[job.id] = job
            self.changed = True

    def settle(self, now: Pass) -> None:
        """See which of its jobs have ended, and which do not wait any more."""
        for job_id in self.running.keys() - now.view.running.keys():
            del self.running[job_id]
            self.changed = True
        for job_id in self.waiting.keys() - now.queue.keys():
            del self.waiting[job_id]

    def is_through(self, start_s: int) -> bool:
        """Whether it has done all that it can before its end."""
        if self.running or self.due or self.children:
            return False
        return not any(self.has_time_for(job, start_s) for job in self.waiting.values())

    def has_time_for(self, job: Job, start_s: int) -> bool:
        """Whether the job would end in time if it started then."""
        return self.ends_s is None or start_s + job.walltime <= self.ends_s

    @property
    def load(self) -> float:
        """Seconds of work for each of its nodes, by the walltimes of its jobs."""
        jobs = (*self.waiting.values(), *self.running.values(), *(due.job for due in self.due))
        return sum(job.nodes * job.walltime for job in jobs) / (self.nodes or 1)

    # -- a pass --------------------------------------------------------------------------------

    def carry_out(self, now: Pass) -> Iterator[Due]:
        """The starts whose second has come. A job whose nodes are not there any more waits again."""
        while self.due and self.due[0].second <= now.view.now:
            due = self.due.pop(0)
            if due.job.id >= 0:
                if due.job.id not in now.queue:
                    continue
                joins = now.room.shared_until(due.job) is not None
                if not self._is_there(due.job, now) or not now.room.take(due.job):
                    self.receive([due.job])
                    continue
                self.running[due.job.id] = due.job
                if joins or due.why == JOINED:
                    due = due._replace(why=JOINED if joins else "on a free node")
            yield due

    def loop(self, now: Pass, cost: Cost, order: Order, asking: Callable[[], list[Job]]) -> Iterator[Due]:
        """Look at the jobs ``asking`` for nodes here, in the order of submission; the starts of this very second.

        Later ones are put into ``due``.
        """
        view, second = now.view, now.view.now
        self.changed = False
        self.clock_s = max(self.clock_s, float(second))
        room = now.room
        if self.nodes is not None:
            room = InstanceRoom(self.free_nodes(now), now.room, second + view.launch_latency, self.ends_s)
        visits = self._visits(now) if cost.vertex_s else lambda job: 0

        def waiting() -> Iterable[Job]:
            return order([now.matcher.asked(job) for job in asking()], second)

        def plan() -> Plan:
            return Plan(view, room, None if self.nodes is None else lambda: self._profile(now, room))

        for job, why in decisions(self.rules, waiting, plan, view.up_nodes):
            self.clock_s += cost.of(len(self.waiting), visits(job) if why is not None else 1)
            if why is None:
                continue
            batch = self.batches.get(job.id)
            if batch is not None:
                self.granted[job.id] = batch
            for each in batch or (job,):
                del self.waiting[each.id]
            due = Due(int(self.clock_s), job, why)
            if due.second > second:
                self.due.append(due)
                continue
            if job.id >= 0:
                self.running[job.id] = job
            yield due

    def free_nodes(self, now: Pass) -> int:
        """The nodes that it has, less those of its jobs and children."""
        if self.units is not None and now.view.machine is not None:
            return now.matcher.free(self.own_units()).size * now.view.machine.unit_nodes
        busy = (*self.running.values(), *(due.job for due in self.due))
        return (self.nodes or 0) - sum(job.nodes for job in busy) - sum(child.nodes or 0 for child in self.children)

    def own_units(self) -> Units | None:
        """Its units, but for those of its children; None where they are not told apart."""
        given = [child.units for child in self.children if child.units is not None]
        return self.units if self.units is None or not given else np.setdiff1d(self.units, np.concatenate(given))

    def _is_there(self, job: Job, now: Pass) -> bool:
        return self.units is None or job.nodes <= self.free_nodes(now)

    def _profile(self, now: Pass, room: Room) -> Profile:
        view = now.view
        second, latency, running = view.now, view.launch_latency, view.running
        ends = [
            (running[job.id].expected_end if job.id in running else second + latency + job.walltime, job.id, job.nodes)
            for job in self.running.values()
        ]
        ends += [(due.second + latency + due.job.walltime, due.job.id, due.job.nodes) for due in self.due]
        ends += [(child.ends_s or 0, -1, child.nodes or 0) for child in self.children]
        profile = Profile(second, room.free, sorted(ends))
        if view.maintenance is not None:
            profile.close(*view.maintenance)
        return profile

    def _visits(self, now: Pass) -> Callable[[Job], int]:
        """How many vertices are visited to find the nodes of a job that starts, the jobs of one loop one by one."""
        machine, matcher = now.view.machine, now.matcher
        if machine is None:
            return lambda job: _POOL_VERTICES
        class_U = now.view.performance_class if matcher.policy == "variation" else None
        graph = Graph(machine, matcher.policy or "first", matcher.free(self.own_units()), class_U)
        node = 1 + machine.cores_per_node + machine.gpus_per_node

        def visits(job: Job) -> int:
            count = -(-job.nodes // machine.unit_nodes)
            if job.cores or count > graph.free.size:  # on a node that is known, or one that all jobs do not have
                return _POOL_VERTICES + job.nodes * node
            return graph.take(count)[1]

        return visits
