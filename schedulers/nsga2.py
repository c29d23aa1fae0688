"""The first jobs of the queue planned by a genetic algorithm: nsga2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, takewhile
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from hpcsim import plugin
from hpcsim.plugin import Decision, Job, Room, Start, View, backfill

from .backfilling import EASY
from .nsga2_planner import Plan, Planner, slowed
from .orders import OrderName, in_order, still_waiting, urgent_first

PRESETS: Final[dict[str, dict[str, Any]]] = {
    "tournament": {"population": 40, "evaluations": 2000, "patience": 3},
    "full": {"population": 60, "evaluations": 3600, "patience": None},
}
FIRST: Final = "first in the queue"
_ANY_WALLTIME: Final = 2**62

Speed = Annotated[float, Field(gt=0, le=1)]


class NSGA2:
    """Plan the first jobs of the queue by a genetic algorithm that trades slowdown against energy and failures.

    A plan is an order in which the jobs of a window get their places in the profile of free nodes: each the earliest
    that is left, be it before jobs that were placed earlier. The first job of the queue comes before all others: it
    starts as soon as it fits, and while it is blocked no job delays it, as under EASY. After it come jobs that have
    waited for ``pin_after``. NSGA-II finds plans for the others of which none is better in everything; one of them is
    chosen, and those of its jobs start that can start now. Then jobs that are not planned are backfilled as under EASY:
    those behind the window, those that share nodes, and those with nodes or rights of their own by their queue.

    It optimises at most every ``interval`` seconds, and only if a job of the window could start; in between the plan is
    followed, with new jobs behind the others. If there are no more plans than ``evaluations``, all are looked at. With
    ``evaluations: 0`` it is EASY.

    The objectives are the mean bounded slowdown of the window, the energy of its jobs and of all nodes that are idle
    until the last of them has ended (idle node-seconds on a machine that only counts nodes), and, where ``speeds`` are
    free to choose, the node-seconds that failures are expected to cost. Runtimes, joules and failure rates are those
    that twins predict, if the scenario names such, else walltimes and the machine's published facts.

    References
    ----------
    Deb, Pratap, Agarwal and Meyarivan (2002), A fast and elitist multiobjective genetic algorithm: NSGA-II.
    Davis (1985), Applying adaptive algorithms to epistatic domains.
    Holland (1975), Adaptation in natural and artificial systems.
    Fan, Lan, Rich, Allcock, Papka, Austin and Paul (2019), Scheduling beyond CPUs for HPC.
    """

    name = "nsga2"
    api = 1
    needs = frozenset({"speed"})
    cites = ("Deb2002", "Davis1985", "Holland1975", "Fan2019")

    class Options(plugin.Options):
        preset: Literal["tournament", "full"] = Field(
            "tournament",
            description="tournament: population 40, 2000 evaluations, patience 3; full: 60, 3600 (60 generations), no "
            "patience. Options that are given go before it",
        )
        evaluations: int = Field(2000, ge=0, description="how many plans a pass may look at; 0: plain EASY")
        population: int = Field(40, ge=8, description="how many plans there are at a time")
        patience: int | None = Field(
            3, ge=1, description="the search ends after so many generations without progress; null: it does not"
        )
        window: int = Field(32, ge=2, le=256, description="how many jobs are planned, the first one among them")
        order: OrderName = Field("fcfs", description="which job is first in the queue")
        interval: int = Field(60, ge=0, description="seconds between two optimisations, at least")
        pin_after: int = Field(
            2 * 24 * 3600, ge=0, description="seconds of waiting after which a job is placed before all younger ones"
        )
        weights: tuple[float, float, float] | None = Field(
            None,
            description="how much slowdown, energy and failures count: the plan is chosen whose worst weighted "
            "objective is the least; null: the knee of the front",
        )
        speeds: tuple[Speed, ...] = Field(
            (1.0,), min_length=1, description="speeds at which jobs may start, 1 first; others need physics"
        )
        beta: float = Field(
            0.5, ge=0, le=1, description="how far runtimes are believed to follow the clock: 0 not at all, 1 fully"
        )
        load: float = Field(
            0.6,
            ge=0,
            le=1,
            description="share of a node's dynamic watts that jobs are believed to draw, if no energy twin says",
        )
        node_mtbf_h: float = Field(
            35_000, gt=0, description="hours between failures of a node, if neither a twin nor the machine says"
        )

        @model_validator(mode="before")
        @classmethod
        def _fill_in(cls, given: Any) -> Any:
            if isinstance(given, dict) and isinstance(given.get("preset"), str):
                return PRESETS.get(given["preset"], {}) | given
            return given

        @model_validator(mode="after")
        def _make_sense(self) -> NSGA2.Options:
            if self.speeds[0] != 1.0:
                raise ValueError(f"speeds should begin with 1, found {list(self.speeds)}")
            if self.weights is not None and (min(self.weights) < 0 or max(self.weights) <= 0):
                raise ValueError(f"weights should be 0 or more and not all 0, found {list(self.weights)}")
            return self

    def __init__(self, options: Options) -> None:
        self._options = options
        self._easy = EASY(EASY.Options.model_validate({"order": options.order}))
        self._planner = Planner(options)
        if len(self._planner.speeds) == 1:
            self.needs = frozenset()

    def schedule(self, view: View) -> Iterator[Decision]:
        if not self._options.evaluations or len(view.queue) < 2:
            yield from self._easy.schedule(view)
            return
        now, room, order = view.now, view.room(), self._options.order
        if room.special:
            yield from urgent_first(view, room)
        queue = in_order(still_waiting(view, room), order, now)
        first = next(iter(queue), None)
        if first is None:
            return
        speeds = self._planner.take(first, room)
        shadow, extra = now, 0
        if not speeds:
            if not room.reach:
                return
            shadow, extra = view.shadow(first, room)
            if not _anybody_may(view, room, first, shadow, extra):
                return
        profile = view.profile(room)
        if not speeds:
            span = view.launch_latency + first.walltime
            profile.reserve(max(shadow, now + 1), span, first.nodes, first)
        pinned, others = self._window(view, room, queue, first)
        plan = self._planner.plan(view, profile, pinned, others, first if speeds > 1 else None)
        planned = [slowed(job, plan.speeds[job.id]) for job in plan.starting]
        if speeds:
            yield Start(first, FIRST, plan.speeds.get(first.id, 1.0))
            for job in planned:
                if room.take(job):
                    yield plan.start(job)
            blocked = None
            for job in in_order(still_waiting(view, room), order, now):
                if job.id in plan.speeds or not room.take(job):
                    blocked = job
                    break
                yield Start(job, FIRST)
            if blocked is None or not room.reach:
                return
            first, planned = blocked, []
            shadow, extra = view.shadow(first, room)
        behind = chain(planned, self._unplanned(view, room, plan, first))
        for start in backfill(room, first, behind, shadow, extra, shadow - now - view.launch_latency):
            yield plan.start(start.job) if start.job.id in plan.speeds else start

    def _unplanned(self, view: View, room: Room, plan: Plan, head: Job) -> Iterator[Job]:
        """The waiting jobs behind ``head`` that may fit and are not planned, in order."""
        known = {head.id, *plan.speeds, *(job.id for job in room.started)}
        jobs = (job for job in view.queue_within(room.reach, _ANY_WALLTIME) if job.id not in known)
        yield from in_order([*jobs], self._options.order, view.now)

    def _window(self, view: View, room: Room, queue: Iterable[Job], first: Job) -> tuple[Sequence[Job], Sequence[Job]]:
        """The jobs behind the first that are planned: those that have waited for too long, and the others."""
        most, since = self._options.window - 1, view.now - self._options.pin_after
        old = takewhile(lambda job: job.submit < since, view.queue)
        pinned = [*islice((job for job in old if job.id != first.id and _is_ordinary(job, room)), most)]
        known = {first.id, *(job.id for job in pinned)}
        young = (job for job in queue if job.id not in known and _is_ordinary(job, room))
        return pinned, [*islice(young, most - len(pinned))]


def _is_ordinary(job: Job, room: Room) -> bool:
    """Whether it takes whole nodes that all jobs may have: only such jobs are planned."""
    return not job.cores and job.id not in room.special


def _anybody_may(view: View, room: Room, head: Job, shadow: int, extra: int) -> bool:
    """Whether any other job might start beside the blocked ``head``."""
    if room.special or room.shared is not None:
        return True
    longest = shadow - view.now - view.launch_latency
    return any(job.id != head.id for job in view.queue_within(room.reach, longest, extra))
