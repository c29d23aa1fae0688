"""A plan of one who knows all: jobs, how long they run, what they draw, and which nodes will fail. Best effort.

Many plans are tried on the same cell, each a rule of a few numbers (``Policy``), and the best is kept for every metric:
first a fixed set of orders, clocks and sleep, then changes of the best one of each metric in turn. What a plan comes to
is what the simulator says. So it is what can be reached at least, and not the most: another search may find more.

Only who owns the simulation can make such a scheduler; none can be named in a scenario.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, Final, NamedTuple

import numpy as np

from hpcsim.engine.availability import Releases, Shadow
from hpcsim.engine.backfill import backfill
from hpcsim.engine.decisions import Decision, SetCooling, Start
from hpcsim.engine.room import Room
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import ASLEEP
from hpcsim.engine.sleeping import Sleeping
from hpcsim.engine.view import View
from hpcsim.results.directions import better
from hpcsim.streams import stream
from hpcsim.tournament.bounds import Bounds, Truth
from hpcsim.workload.job import Job

Summary = Mapping[str, Any]

METRICS: Final = tuple(Bounds._fields[:5])
"""The metrics that there are ceilings of."""

STARVED: Final = 2.0
"""A plan in which a job waits longer than so many times the longest wait under EASY, and than an hour, is none."""

UNDONE: Final = 0.001
"""Neither is one in which this share of EASY's work node-hours is left undone."""


class Policy(NamedTuple):
    """The rule of a plan. Jobs are in the order of least seconds^runtime * nodes^size / (60 s + wait)^age.

    A job goes at the clock at which it takes the least energy, but no slower than ``slowest`` and no faster than
    ``fastest``. Nodes sleep that have
    been idle for ``sleep_after`` seconds. With ``warm`` the cooling plant is in its warmest mode. Jobs that others may
    stop start only as long as they leave a share ``spare`` of all nodes free, for those that would stop them.
    """

    runtime: float = 0.0
    size: float = 0.0
    age: float = 1.0
    slowest: float = 1.0
    sleep_after: float = 0.0
    warm: bool = False
    spare: float = 0.0
    fastest: float = 1.0

    def __str__(self) -> str:
        sleep = "awake" if self.sleep_after == inf else f"sleep after {self.sleep_after:.0f} s"
        order = f"runtime^{self.runtime:.2g} size^{self.size:.2g} age^{-self.age:.2g}"
        warm, spare = "; warm" if self.warm else "", f"; spare {self.spare:.2f}" if self.spare else ""
        return f"{order}; clocks {self.slowest:.2f} to {self.fastest:.2f}; {sleep}{warm}{spare}"


ORDERS: Final = ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (1.0, 1.0, 0.0), (1.0, 0.0, 1.0), (3.0, -1.0, 3.0), (0.0, -1.0, 0.0))
"""First come first served, shortest, least area, most slowed down, WFP3, largest: what a search begins with."""


class Clairvoyant:
    """EASY backfilling by a policy, with true runtimes in the place of walltimes, which keeps off nodes that will fail.

    On a torus it starts jobs wherever there is a block, and the head's promise there is by walltimes.
    ``simulation`` is the one that it decides for, ``truth`` that of its beginning, ``failures`` are (second, units) of
    each failure of hardware to come, as ``to_fail`` finds them.
    """

    name = "clairvoyant"
    api = 1
    passes_when_idle = True

    def __init__(
        self,
        simulation: Simulation,
        truth: Truth,
        failures: Sequence[tuple[int, tuple[int, ...]]],
        policy: Policy,
    ) -> None:
        self._simulation, self._policy = simulation, policy
        cluster = truth.site.cluster  # of which only what never changes is read
        self._places = cluster.places.blocks is None
        self.needs = frozenset({"sleep", "power", "speed", *({"places"} if self._places else ())})
        jobs = len(simulation.workload)
        least = cluster.spec.power.least_speed
        speed_J = np.clip(truth.speed_J, max(least, policy.slowest), max(least, policy.slowest, policy.fastest))
        self._speed_J, self._lasts_s_J, self._rank_J = np.ones(jobs), np.zeros(jobs, np.int64), np.zeros(jobs)
        self._speed_J[truth.job_J] = speed_J
        self._lasts_s_J[truth.job_J] = np.ceil(truth.longest_s_J(speed_J)).astype(np.int64) + 1
        seconds_J = np.maximum(truth.work_s_J, 1.0)
        self._rank_J[truth.job_J] = policy.runtime * np.log(seconds_J) + policy.size * np.log(truth.nodes_J)
        self._submit_s_J = simulation.workload.column("submit_s")
        self._sleeping = Sleeping()
        self._failure_s = np.array([second for second, _ in failures], np.int64)
        self._failing = [np.array(units, np.int64) for _, units in failures]
        units = cluster.spec.units
        self._closures_s = np.array([each.start_s for each in cluster.service.outages if each.units >= units], np.int64)

    def schedule(self, view: View) -> Iterator[Decision]:
        """Start what the policy wants, at its clocks and on safe nodes, and let the others sleep."""
        if self._policy.warm:
            modes = view.power.cooling_modes
            warmest = max(modes, key=lambda name: modes[name])
            if view.power.cooling_mode != warmest:
                yield SetCooling(warmest)
        seen = self._sleeping.shown(view)
        starts = list(self._starts(seen)) if seen.queue else []
        decisions = self._sleeping.decide(view, list[Decision](starts), self._policy.sleep_after)
        yield from self._on_safe_nodes(view, decisions)

    def _starts(self, seen: View) -> Iterator[Start]:
        room = seen.room()
        for job in seen.urgent:
            if room.take(known := self._known(job)):
                yield self._start(known, "urgent")
        taken = {job.id for job in room.started}
        waiting = [job for job in self._in_order(seen) if job.id not in taken]
        queue = iter([self._known(job) for job in self._unstopped(waiting, room.free)])
        for head in queue:
            if not room.take(head):
                break
            yield self._start(head, "first by the policy")
        else:
            return
        if not room.reach:
            return
        shadow_s, extra = self._shadow(seen, room, head)
        longest_s = shadow_s - seen.now - seen.launch_latency
        for start in backfill(room, head, queue, shadow_s, extra, longest_s):
            yield self._start(start.job, start.why)

    def _in_order(self, seen: View) -> list[Job]:
        """The waiting jobs in the order of the policy, but for those that an outage of the whole machine would end."""
        jobs = seen.queue
        ids = np.array([job.id for job in jobs])
        rank_Q = self._rank_J[ids] - self._policy.age * np.log(60.0 + seen.now - self._submit_s_J[ids])
        order = np.argsort(rank_Q, kind="stable")
        if len(self._closures_s):
            ends_s_Q = seen.now + self._lasts_s_J[ids]
            next_Q = np.searchsorted(self._closures_s, seen.now, side="right")
            if next_Q < len(self._closures_s):
                order = order[(ends_s_Q <= self._closures_s[next_Q])[order]]
        return [jobs[at] for at in order.tolist()]

    def _unstopped(self, jobs: list[Job], free: int) -> list[Job]:
        """The jobs but for those that others may stop and that would leave too few nodes free."""
        centre = self._simulation.centre
        if centre is None or not centre.stops or not self._simulation.running:
            return jobs
        left = free - self._policy.spare * self._simulation.nodes
        kept = []
        for job in jobs:
            if centre.preemptable(job):
                if job.nodes > left:
                    continue
                left -= job.nodes
            kept.append(job)
        return kept

    def _known(self, job: Job) -> Job:
        """The job as it would be if its user knew how long it takes at its clock, at the most."""
        return job._replace(walltime=int(self._lasts_s_J[job.id]))

    def _start(self, job: Job, why: str) -> Start:
        return Start(job, why, speed=float(self._speed_J[job.id]))

    def _shadow(self, seen: View, room: Room, head: Job) -> Shadow:
        """When the blocked head can start: by the true ends of running jobs, where free nodes are all that it needs."""
        if room.names_units or room.special or room.shared is not None:
            return seen.shadow(head, room)
        simulation = self._simulation
        ends = [
            (simulation.ends_at(number) if number in simulation.running else end, number, nodes)
            for end, number, nodes in simulation.releases
            if number != ASLEEP
        ]
        found = Releases(sorted(ends)).shadow(head.nodes, room.free, seen.now, room.started, seen.launch_latency)
        closes, opens = seen.maintenance or (0, 0)
        if closes < found.time + seen.launch_latency + head.walltime and found.time < opens:
            return Shadow(opens, 0)
        return found

    def _on_safe_nodes(self, view: View, decisions: list[Decision]) -> list[Decision]:
        """The same, where starts name nodes that do not fail while the job runs, as far as there are as many."""
        starts = [each for each in decisions if isinstance(each, Start)]
        if not self._places or not starts:
            return decisions
        last_s = view.now + max(each.job.walltime for each in starts)
        begin, end = np.searchsorted(self._failure_s, (view.now, last_s), side="right")
        if begin == end:
            return decisions
        special, placing = view.room().special, view.placing()
        placed: list[Decision] = []
        others: list[Decision] = []
        for each in decisions:
            units = None
            if isinstance(each, Start) and each.job.id not in special:
                until = np.searchsorted(self._failure_s, view.now + each.job.walltime, side="right")
                failing = [unit for those in self._failing[begin:until] for unit in those]
                units = placing.choose(each.job, "packed", np.unique(np.array(failing, np.int64)))
            if units is None or not isinstance(each, Start):
                others.append(each)
            else:
                placed.append(each._replace(units=units))
        return [*placed, *others]


def to_fail(simulation: Simulation, until_s: int) -> list[tuple[int, tuple[int, ...]]]:
    """The failures of hardware to come until a second, each with its units, but for those that only heat will bring."""
    site = simulation.site
    if site is None or site.cluster.service.failures is None:
        return []
    failures = copy.deepcopy(site.cluster.service.failures)
    found = []
    while failures.next_time < until_s:
        failure = failures.take(None)
        if failure is not None:
            found.append((failure.time, failure.units))
    return found


class Best(NamedTuple):
    """The best plan that was found for a metric: its value, and whose it is."""

    value: float
    policy: str


def search(
    easy: Summary, played: Callable[[Policy], Summary], break_even_s: float, *, tries: int, seed: int, name: str
) -> dict[str, Best]:
    """The best plan for each metric that has a value: of EASY, the fixed set, and ``tries`` changes of the best.

    ``easy`` is what came of the cell under EASY; ``played`` runs it by a policy, and says what came of that. Same seed
    and ``name`` of the cell, same plans.
    """
    rng = stream(seed, f"ceilings {name}")
    best: dict[str, tuple[float, Policy | None]] = {}

    def keep(found: Summary, policy: Policy | None) -> None:
        if policy is not None and not is_fair(found, easy):
            return
        for metric in METRICS:
            value, sign = found[metric], 1.0 if better(metric) == "lower" else -1.0
            if value is not None and (metric not in best or sign * value < sign * best[metric][0]):
                best[metric] = float(value), policy

    keep(easy, None)
    for policy in first_policies(break_even_s):
        keep(played(policy), policy)
    for number in range(tries if best else 0):
        metric = [*best][number % len(best)]
        policy = changed(best[metric][1] or Policy(), break_even_s, rng)
        keep(played(policy), policy)
    return {metric: Best(value, "easy" if policy is None else str(policy)) for metric, (value, policy) in best.items()}


def first_policies(break_even_s: float) -> Iterator[Policy]:
    """Each order at full clocks with nodes awake, and at the clocks of least energy with nodes that sleep at once.

    Then some at full clocks with nodes that sleep after the break-even time, some at the slowest clock, at which there
    are most node-hours, and one that spares nodes for urgent jobs.
    """
    for order in ORDERS:
        yield Policy(*order, sleep_after=inf)
        yield Policy(*order, slowest=0.0, sleep_after=0.0, warm=True)
    for order in ORDERS[:3]:
        yield Policy(*order, sleep_after=break_even_s, warm=True)
        yield Policy(*order, slowest=0.0, fastest=0.0, sleep_after=inf)
    yield Policy(sleep_after=inf, spare=0.4)


def changed(policy: Policy, break_even_s: float, rng: np.random.Generator) -> Policy:
    """A policy near by: its numbers a little off, and now and then another rule of sleep or cooling."""
    numbers = (policy.runtime, policy.size, policy.age, policy.slowest, policy.fastest, policy.spare)
    moved = np.array(numbers) + rng.normal(0.0, (0.5, 0.3, 0.5, 0.15, 0.15, 0.1))
    runtime, size, age, slowest, fastest, spare = moved.tolist()
    sleep_after, warm = policy.sleep_after, policy.warm
    if rng.random() < 0.25:
        sleep_after = float(rng.choice([0.0, break_even_s / 2.0, break_even_s, inf]))
    if rng.random() < 0.25:
        warm = not warm
    slowest, fastest = (min(max(each, 0.0), 1.0) for each in (slowest, fastest))
    return Policy(runtime, size, age, slowest, sleep_after, warm, min(max(spare, 0.0), 0.8), fastest)


def is_fair(found: Summary, easy: Summary) -> bool:
    """Whether a plan leaves no work undone and no job to starve, by the measure of EASY."""
    waits_s = max(STARVED * (easy["max_wait_s"] or 0.0), 3600.0)
    is_done = work_node_hours(found) >= (1.0 - UNDONE) * work_node_hours(easy)
    return is_done and (found["max_wait_s"] or 0.0) <= waits_s


def work_node_hours(found: Summary) -> float:
    """The node-hours of completed jobs at full speed of a run, from its summary."""
    each_kwh = found["energy_kwh_per_work_node_hour"]
    return found["energy_facility_kwh"] / each_kwh if each_kwh else 0.0
