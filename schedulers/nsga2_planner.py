"""Which of the jobs of a window start now: a plan by NSGA-II, made anew or followed."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Job, Profile, Room, Start, View

from .evolution import best, evolve
from .nsga2_beliefs import beliefs
from .nsga2_window import Window
from .orders import KEYS
from .pareto import Floats, closest, knee

if TYPE_CHECKING:
    from .nsga2 import NSGA2

SEEDS: Final = ("sjf", "saf", "laf", "wfp3")  # the first population has these orders, and the queue's own
PLANNED: Final = "planned: its turn in the chosen order"


class Followed(NamedTuple):
    """The order of a plan and the levels of its jobs, by their ids: what is left of it for later passes."""

    order: tuple[int, ...]
    levels: dict[int, int]  # of those that are not at full speed, 0


class Plan(NamedTuple):
    """What is planned: the jobs that start now, in the order of their places, and at which speed each job starts."""

    starting: Sequence[Job]
    speeds: dict[int, float]  # of all jobs that are planned, by id

    def start(self, job: Job) -> Start:
        """The start of a planned job."""
        return Start(job, PLANNED, self.speeds[job.id])


def slowed(job: Job, speed: float) -> Job:
    """The job as it keeps its nodes at another speed: its walltime goes by as slowly as its clock."""
    return job if speed == 1.0 else job._replace(walltime=ceil(job.walltime / speed))


class Planner:
    """The plan that is followed, and how a new one is found."""

    def __init__(self, options: NSGA2.Options) -> None:
        self._options = options
        self.speeds = tuple(dict.fromkeys(options.speeds))
        self._optimised_s = -(2**60)
        self._chosen = Followed((), {})
        self._front: list[Followed] = []

    def take(self, first: Job, room: Room) -> int:
        """At how many of the speeds the first job of the queue can start now: all, 1 (full speed) or 0; it is taken."""
        if len(self.speeds) > 1 and room.take(slowed(first, min(self.speeds))):
            return len(self.speeds)
        return int(room.take(first))

    def plan(
        self, view: View, profile: Profile, pinned: Sequence[Job], others: Sequence[Job], first: Job | None
    ) -> Plan:
        """Give ``pinned`` jobs their places in ``profile``, then the ``others`` in the best order.

        ``first`` is the first job of the queue if it starts now: then its speed is free to choose, too.
        """
        speeds: dict[int, float] = {}
        starting: list[Job] = []

        def place(job: Job, level: int) -> None:
            speeds[job.id] = speed = self.speeds[level]
            span = view.launch_latency + slowed(job, speed).walltime
            start = profile.earliest(job.nodes, span)
            profile.reserve(start, span, job.nodes)
            if start == view.now:
                starting.append(job)

        for job in pinned:
            place(job, 0)
        if self._is_due(view, profile, others, first):
            self._optimise(view, profile, others, first)
        by_id = {job.id: job for job in others}
        order = [by_id.pop(i) for i in self._chosen.order if i in by_id]
        for job in (*order, *by_id.values()):
            place(job, self._chosen.levels.get(job.id, 0))
        if first is not None:
            speeds[first.id] = self.speeds[self._chosen.levels.get(first.id, 0)]
        return Plan(starting, speeds)

    def _is_due(self, view: View, profile: Profile, others: Sequence[Job], first: Job | None) -> bool:
        """Whether to look for a better plan now: some time after the last, and if it could make a difference."""
        if view.now < self._optimised_s + self._options.interval:
            return False
        if len(self.speeds) > 1 and first is not None:
            return True
        if not others:
            return False
        now, latency_s = view.now, view.launch_latency
        if len(self.speeds) == 1:
            longest = latency_s + max(job.walltime for job in others)
            if sum(job.nodes for job in others) <= profile.least(now, longest):
                return False  # all of them start now, in any order
        return any(
            job.nodes <= profile.at(now) and job.nodes <= profile.least(now, latency_s + job.walltime) for job in others
        )

    def _optimise(self, view: View, profile: Profile, others: Sequence[Job], first: Job | None) -> None:
        """Let the front of the window's plans evolve, and choose one of them to follow."""
        options, rng = self._options, view.rng
        self._optimised_s = view.now
        jobs = [*others] if first is None else [*others, first]
        times, free = zip(*profile.steps(), strict=True)
        window = Window(
            np.array(times),
            np.array(free),
            np.array([[view.launch_latency + slowed(job, speed).walltime for speed in self.speeds] for job in jobs]),
            view.launch_latency,
            beliefs(view, jobs, self.speeds, options),
            fixed=len(jobs) - len(others),
        )
        if window.size <= options.evaluations:
            genomes_PG = window.every_genome()
            front = best(genomes_PG, window.evaluate(genomes_PG), len(genomes_PG))
        else:
            size = min(options.population, options.evaluations)
            known = self._known(window, jobs, others, view.now)[:size]
            genomes_PG = np.vstack([*known, window.some_genomes(size - len(known), rng)])
            front = evolve(window.evaluate, genomes_PG, window.vary, options.evaluations, rng, options.patience)
        self._front = [
            Followed(
                tuple(jobs[at].id for at in window.order_of(genome)),
                {job.id: level for job, level in zip(jobs, window.levels_of(genome), strict=True) if level},
            )
            for genome in front.genomes_PG
        ]
        self._chosen = self._front[self._choice(front.values_PM)]

    def _known(
        self, window: Window, jobs: Sequence[Job], others: Sequence[Job], now: int
    ) -> list[npt.NDArray[np.int64]]:
        """Genomes to begin with: the usual orders at each speed, and the last front as far as its jobs still wait."""
        places = range(len(others))
        orders = [[*places]]
        for name in SEEDS:
            keys = [KEYS[name](job, now) for job in others]
            orders.append(sorted(places, key=keys.__getitem__))
        known = [window.genome(order, [level] * len(jobs)) for level in range(len(self.speeds)) for order in orders]
        at = {job.id: place for place, job in enumerate(others)}
        for followed in self._front[: self._options.population // 2]:
            order = [at[i] for i in followed.order if i in at]
            new = sorted({*places} - {*order})
            known.append(window.genome([*order, *new], [followed.levels.get(job.id, 0) for job in jobs]))
        return known

    def _choice(self, values_PM: Floats) -> int:
        weights = self._options.weights
        return knee(values_PM) if weights is None else closest(values_PM, weights[: values_PM.shape[1]])
