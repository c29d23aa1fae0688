"""List scheduling by rank, each job where it ends the earliest: heft, cpop."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import ceil
from typing import Literal

from pydantic import Field

from hpcsim import plugin
from hpcsim.plugin import Decision, Hold, Job, NodeClass, Profile, Room, Start, View

from . import taskgraph
from .orders import still_waiting, urgent_first
from .planning import around_reservations
from .taskgraph import Graph, Place

_Steps = list[tuple[int, int]]  # second, free nodes from then on


class HEFT:
    """Heterogeneous earliest finish time: jobs by upward rank, each in the node class where it ends the earliest.

    The upward rank of a job is the longest way from its start to the end of its workflow: the mean of the seconds
    that it is predicted to take in each node class, and then the longest way over those that follow it, with the time
    that its data take to them. The highest rank is planned first, in the class where it ends the earliest, in a gap
    before jobs that were planned earlier if there is one. Jobs that wait for others are planned too. A job starts in
    the second that is planned for it; when something comes otherwise than it was reckoned with (a job ends early,
    another arrives, a node fails), all that has not started is planned anew.

    Jobs without dependencies rank by their own time, so that the longest goes first. On a machine of one node class
    this is conservative backfilling in the order of longest first: good for makespan and utilisation, bad for the
    mean slowdown, and a short job may starve as long as longer ones keep coming.

    References
    ----------
    Topcuoglu, Hariri and Wu (2002), Performance-effective and low-complexity task scheduling for heterogeneous
    computing.
    """

    name = "heft"
    api = 1
    cites = ("Topcuoglu2002",)
    passes_when_idle = True  # a job that ends early is news for a plan even while nothing can start

    class Options(plugin.Options):
        rank: Literal["time", "area"] = Field(
            "time",
            description="what a job weighs in ranks: the seconds that it is predicted to take, or its node-seconds",
        )
        insertion: bool = Field(
            True, description="whether a job may go into a gap before jobs that were planned earlier, in its node class"
        )

    def __init__(self, options: Options) -> None:
        self.by_area = options.rank == "area"
        self.insertion = options.insertion
        self._plan: dict[int, Place] = {}  # of the jobs that have not started
        self._ends: dict[int, int] = {}  # job that runs -> its expected end
        self._reckoned: list[Profile] = []  # of each node class: free nodes, before what is planned and has not started

    def schedule(self, view: View) -> Iterator[Decision]:
        if not view.queue and not view.dependent:
            self._plan.clear()
            return
        room = view.room()
        if len(view.node_classes) > 1 or view.dependent or not self.insertion:
            yield from self._by_plan(view, room)
            return
        self._plan.clear()
        if room.special:
            yield from urgent_first(view, room)
        if room.reach:
            waiting = still_waiting(view, room) if room.special else view.queue
            ranked = self._longest_first(view, waiting)
            runs_s = {job.id: seconds for job, seconds in ranked}
            queue = [job for job, _ in ranked]
            yield from around_reservations(view, room, queue, None, runs_s=lambda job: runs_s[job.id])

    def _longest_first(self, view: View, jobs: Collection[Job]) -> list[tuple[Job, int]]:
        """Independent jobs by rank, with their predicted seconds."""
        seconds = predicted_s(view, jobs)
        if self.by_area:
            return sorted(zip(jobs, seconds, strict=True), key=lambda pair: (-pair[0].nodes * pair[1], pair[0].id))
        return sorted(zip(jobs, seconds, strict=True), key=lambda pair: (-pair[1], pair[0].id))

    # -- workflows and node classes -----------------------------------------------------------

    def _by_plan(self, view: View, room: Room) -> Iterator[Decision]:
        now, classes = view.now, view.node_classes
        if room.special:
            yield from urgent_first(view, room)
        started = {job.id for job in room.started}
        jobs = {job.id: job for job in (*view.queue, *view.dependent) if job.id not in started}
        profiles = [view.profile(room, each) for each in classes]
        if not self._still_holds(view, jobs, profiles):
            self._ends = {job_id: running.expected_end for job_id, running in view.running.items()}
            self._reckoned = [view.profile(room, each) for each in classes]
            self._plan = self._made(view, jobs, profiles)
        later = []
        for job in still_waiting(view, room) if started else view.queue:
            place = self._plan[job.id]
            if place.start > now:
                later.append(place.start)
            elif room.take_in(job, classes[place.processor]):
                span = view.launch_latency + classes[place.processor].seconds(job.walltime)
                self._reckoned[place.processor].reserve(now, span, job.nodes, job)
                self._ends[job.id] = now + span
                del self._plan[job.id]
                yield Start(job, self._why(job, classes[place.processor], alone=len(classes) == 1))
        if later:
            yield Hold(min(later), "for the next start by plan")

    def _still_holds(self, view: View, jobs: Mapping[int, Job], profiles: Sequence[Profile]) -> bool:
        """Whether the plan is one of these jobs, and the free nodes and ends are those that it reckoned with.

        An end that comes early can go unseen in the free nodes, if as many fail in the same second.
        """
        now, over = view.now, self._ends.keys() - view.running.keys()
        ended_s = [self._ends.pop(job_id) for job_id in over]
        return (
            all(end == now for end in ended_s)
            and self._plan.keys() == jobs.keys()
            and all(place.start >= now for place in self._plan.values())
            and len(profiles) == len(self._reckoned)
            and all(_from(one, now) == _from(other, now) for one, other in zip(self._reckoned, profiles, strict=True))
        )

    def _made(self, view: View, jobs: Mapping[int, Job], profiles: Sequence[Profile]) -> dict[int, Place]:
        """The plan of all jobs that have not started."""
        classes, latency = view.node_classes, view.launch_latency
        seconds = dict(zip(jobs, predicted_s(view, jobs.values()), strict=True))
        cost = {
            i: [latency + each.seconds(seconds[i]) if job.nodes <= each.nodes else None for each in classes]
            for i, job in jobs.items()
        }
        data = {
            (before, i): view.transfer_s(size)
            for i, job in jobs.items()
            for before, size in zip(job.after or (), job.after_bytes or (0,) * len(job.after or ()), strict=True)
            if before in jobs
        }
        ready = {i: [view.ready_s(job, each) for each in classes] for i, job in jobs.items()}
        graph = Graph(cost, data, ready=ready, jobs=jobs, by_area=self.by_area)
        return self._planned(graph, profiles)

    def _planned(self, graph: Graph, profiles: Sequence[Profile]) -> dict[int, Place]:
        return taskgraph.heft(graph, profiles, insertion=self.insertion)

    def _why(self, job: Job, node_class: NodeClass, *, alone: bool) -> str:
        return "by plan: ends the earliest here" if alone else f"by plan: ends the earliest on {node_class.name}"


class CPOP(HEFT):
    """Critical path on a processor: like heft, but the longest way through the workflow stays in one node class.

    A job's priority is the sum of its upward and its downward rank, the length of the longest way through the
    workflow that goes over it. Of the jobs whose predecessors are planned, the one of the highest priority is planned
    next: in the node class that is the best for the whole critical path if it lies on it, else where it ends the
    earliest.

    Jobs without dependencies have no downward rank, so that the order is heft's; only the longest of all is bound to
    the fastest class then. On a machine of one node class cpop and heft start such jobs alike.

    References
    ----------
    Topcuoglu, Hariri and Wu (2002), Performance-effective and low-complexity task scheduling for heterogeneous
    computing.
    """

    name = "cpop"

    def _planned(self, graph: Graph, profiles: Sequence[Profile]) -> dict[int, Place]:
        self._critical = set(taskgraph.critical_path(graph))
        return taskgraph.cpop(graph, profiles, insertion=self.insertion)

    def _why(self, job: Job, node_class: NodeClass, *, alone: bool) -> str:
        if job.id in self._critical:
            return "by plan: on the critical path" + ("" if alone else f", which stays on {node_class.name}")
        return super()._why(job, node_class, alone=alone)


def predicted_s(view: View, jobs: Collection[Job]) -> list[int]:
    """How many seconds each job is predicted to run at full speed: by the performance twin, at most its walltime.

    Its walltime where the scenario has no such twin.
    """
    if "performance" not in view.twins:
        return [job.walltime for job in jobs]
    mean_J = view.twins.performance(jobs).mean.tolist()
    return [min(job.walltime, max(1, ceil(mean))) for job, mean in zip(jobs, mean_J, strict=True)]


def _from(profile: Profile, now: int) -> _Steps:
    """The steps of a profile from ``now`` on, without those at which nothing changes."""
    steps: _Steps = []
    for second, free in profile.steps():
        second = max(second, now)
        if steps and steps[-1][0] == second:
            steps.pop()
        if not steps or steps[-1][1] != free:
            steps.append((second, free))
    return steps
