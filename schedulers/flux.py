"""Flux: a queue manager over a resource graph, and instances of it below one another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from hpcsim.plugin import Decision, Hold, Job, Room, Start, View

from .flux_graph import Matcher, MatchPolicy
from .flux_instances import Cost, Pass
from .flux_loop import Rules, decisions
from .flux_tree import Level, Tree
from .orders import OrderName, in_order, still_waiting, urgent_first
from .planning import JOINED, Plan

PRESETS: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "production": {"queue_policy": "hybrid", "queue_depth": 8192, "reservation_depth": 64},
}
MIDDLE = 16  # the priority of a job about which nobody says anything
Priority = Annotated[int, Field(ge=0, le=31)]


class Flux:
    """The scheduler of Flux (Fluxion): allocate or else reserve, on a graph of racks, nodes, cores and GPUs.

    A loop takes the waiting jobs by priority, then by order, and looks at no more than ``queue_depth``: each starts
    now, or gets a reservation at its earliest time as long as there are fewer than the policy allows. Reservations last
    for one loop. With its defaults Flux is plain first come, first served. ``match`` says which free nodes a job gets.
    ``levels`` puts instances below that of the machine, each a scheduler of its own, which pays where decisions take
    time (``cost``). Flux learns nothing: it has no machine learning.

    References
    ----------
    Ahn et al. (2020), Flux: overcoming scheduling challenges for exascale workflows.
    Patki et al. (2023), Fluxion: a scalable graph-based resource model for HPC scheduling challenges.
    Flux framework, flux-config-sched-fluxion-qmanager(5) and flux-config-sched-fluxion-resource(5), flux-sched.
    """

    name = "flux"
    api = 1
    needs = frozenset({"places"})
    cites = ("Ahn2020", "Patki2023")

    class Options(Rules):
        preset: Literal["default", "production"] = Field(
            "default",
            description="default: Flux's own; production: hybrid, queue_depth 8192 and reservation_depth 64. Options "
            "that are given go before it",
        )
        order: OrderName = Field("fcfs", description="which of the jobs of one priority is first in the queue")
        priority: dict[str, Priority] = Field(
            default={}, description=f"0 to 31 by the name of a queue; the jobs of all others have {MIDDLE}"
        )
        match: MatchPolicy | None = Field(
            None,
            description="which nodes a job gets; null: those that the scenario's placement picks. Flux's own default "
            "is first. Needs a machine with places that is no torus",
        )
        levels: tuple[Level, ...] = Field((), description="the instances below that of the machine, level by level")
        partitioning: Literal["static", "on-demand"] = Field(
            "static",
            description="static: the lowest level has the whole machine from the start, and each job goes to the "
            "instance with the least work; on-demand: an ensemble of jobs asks for an instance as one job would",
        )
        ensemble_jobs: int = Field(
            16,
            ge=1,
            description="on demand: how many waiting jobs of one user, project and queue make an ensemble",
        )
        cost: Cost = Field(default=Cost(), description="how long decisions take; by default no time at all")

        @model_validator(mode="before")
        @classmethod
        def _fill_in(cls, given: Any) -> Any:
            if isinstance(given, dict) and isinstance(given.get("preset"), str):
                return PRESETS.get(given["preset"], {}) | given
            return given

    def __init__(self, options: Options) -> None:
        self._rules = options
        self._order = options.order
        self._priority = options.priority
        self._match = options.match
        self._levels = options.levels
        if options.match is None:
            self.needs = frozenset()
        self._tree: Tree | None = None
        if options.levels or not options.cost.is_none:
            self._tree = Tree(
                options, options.levels, options.partitioning, options.ensemble_jobs, options.cost, self._in_order
            )

    def schedule(self, view: View) -> Iterator[Decision]:
        room = view.room()
        matcher = Matcher(view, room, self._match)
        if self._tree is not None:
            yield from self._by_instances(view, room, matcher, self._tree)
            return
        yield from self._urgent(view, room, matcher)
        if not room.reach:
            return

        def waiting() -> Iterable[Job]:
            jobs = still_waiting(view, room)
            return self._in_order(jobs if self._match is None else [matcher.asked(job) for job in jobs], view.now)

        def plan() -> Plan:
            return Plan(view, room)

        for job, why in decisions(self._rules, waiting, plan, view.up_nodes):
            if why is not None:
                yield Start(job, why, units=None if why == JOINED else matcher.name(job))
                if not room.reach:
                    return  # what else the loop would look at cannot start, and reservations last only for one loop

    def _urgent(self, view: View, room: Room, matcher: Matcher) -> Iterator[Start]:
        if room.special:
            for start in urgent_first(view, room):
                yield start._replace(units=matcher.name(start.job))

    def _in_order(self, jobs: Any, now: int) -> Iterable[Job]:
        ordered = in_order(jobs, self._order, now)
        if self._priority:
            return sorted(ordered, key=lambda job: -self._priority.get(job.queue, MIDDLE))
        return ordered

    def _by_instances(self, view: View, room: Room, matcher: Matcher, tree: Tree) -> Iterator[Decision]:
        if self._levels:
            self._refuse_what_instances_cannot(view, room)
        urgent = [*self._urgent(view, room, matcher)]
        yield from urgent
        queue = {job.id: job for job in still_waiting(view, room)}
        for instance, due in tree.schedule(Pass(view, queue, room, matcher)):
            units = matcher.name(due.job, instance.own_units()) if due.opens else None
            yield Start(due.job, f"{due.why} of {instance.name}" if self._levels else due.why, units=units)
        tree.started([start.job for start in urgent])
        next_s = tree.next_s(view.now)
        if next_s is not None:
            yield Hold(next_s, "until a decision is through")

    def _refuse_what_instances_cannot(self, view: View, room: Room) -> None:
        if room.names_units:
            raise ValueError("levels: on a torus jobs start in blocks, which instances do not divide; leave levels out")
        if room.shared is not None and view.machine is not None:
            raise ValueError("levels: instances do not know nodes that jobs share; leave levels out")
        if room.special:
            job = next(iter(room.special.values()))
            raise ValueError(
                f"levels: job {job.name} is of queue {job.queue}, which has nodes or rights of its own, which "
                "instances do not know; set physics.queues to false, or leave levels out"
            )
        if view.machine is not None and self._match is None:
            raise ValueError("levels: instances have nodes of their own, which they name; give match, such as first")
