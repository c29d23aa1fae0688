"""Queues with nodes or rights of their own, in whole simulations: pools, preemptable and demand queues, periods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.engine.decisions import Decision, Kill, Preempt, Sleep, Start, Wake
from hpcsim.engine.simulation import Scheduler, Simulation
from hpcsim.engine.site import Site
from hpcsim.engine.view import View
from hpcsim.errors import BadDecision, InputError
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.checkpoint import Checkpointing
from hpcsim.machine.cluster import Cluster, Outage
from hpcsim.machine.queue_rules import NO_LIMITS
from hpcsim.machine.queues import Admission, Limits, Period, Pool, Queue, QueueRules
from hpcsim.results.check import check
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.schedulers.backfilling import EASY, FCFS, Conservative, Hybrid
from hpcsim.strict_yaml import dump_yaml
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import Job, Workload, workload_from_columns

NODES = 12
SPEC = replace(
    load_machine("cooley"), name="tiny", nodes=NODES, racks=3, units_per_rack=4, class_spread=0.0, communication=0.0
)
TURN_S = 60  # when the second period begins


def queue(name: str, most: int = NODES, **more: Any) -> Queue:
    return Queue(name, (1, most), (0, 10_000), **more)


def rules(*periods: list[Queue]) -> QueueRules:
    return QueueRules(
        "made",
        tuple(
            Period(at * TURN_S, {each.name: each for each in queues}, (queues[0].name,))
            for at, queues in enumerate(periods)
        ),
    )


def workload(*jobs: tuple[Any, ...]) -> Workload:
    """Jobs as (submit, runtime, nodes, walltime, queue)."""
    submit, runtime, nodes, walltime, queues = zip(*jobs, strict=True)
    return workload_from_columns(
        t0_utc=0, source="test", name=[f"j{i}" for i in range(len(jobs))], submit_s=submit,
        nodes=nodes, walltime_s=walltime, runtime_s=runtime, queue=list(queues),
        user=[f"u{i % 2}" for i in range(len(jobs))],
    )  # fmt: skip


def simulation(jobs: Workload, scheduler: Scheduler, queues: QueueRules, **options: Any) -> Simulation:
    outages, checkpointing = options.pop("outages", ()), options.pop("checkpointing", None)
    cluster = Cluster(SPEC, draw_behaviour(jobs, 1), policy=options.pop("policy", "packed"), start=0, outages=outages)
    site = Site(cluster, jobs, overrun="kill", requeues=True, checkpointing=checkpointing)
    admission = Admission(queues, 0, nodes=NODES, over_limit="hold")
    return Simulation(jobs, scheduler, nodes=NODES, overrun="kill", site=site, admission=admission, **options)


def tables(sim: Simulation) -> tuple[Any, Any, Any]:
    return jobs_table(sim, np.ones(len(sim.workload), bool)), attempts_table(sim), timeline_table(sim)


def run(sim: Simulation) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run and check it; its jobs and attempts."""
    sim.run()
    made = tables(sim)
    check(sim, *made)
    assert min(made[2].column("queue").to_pylist()) >= 0
    return made[0].to_pylist(), made[1].to_pylist()


class Plan:
    name = "plan"
    api = 1

    def __init__(self, decide: Callable[[View], Iterable[Decision]], passes_when_idle: bool = False) -> None:
        self.decide = decide
        self.passes_when_idle = passes_when_idle

    def schedule(self, view: View) -> Iterator[Decision]:
        yield from self.decide(view)


def greedy(view: View) -> Iterator[Decision]:
    room = view.room()
    yield from (Start(job) for job in view.queue if room.take(job))


def easy() -> EASY:
    return EASY(EASY.Options())


SCHEDULERS: dict[str, Callable[[], Any]] = {
    "fcfs": lambda: FCFS(FCFS.Options()),
    "easy": easy,
    "easy sjf": lambda: EASY(EASY.Options(order="sjf", backfill_order="ljf", extra_nodes=False)),
    "hybrid": lambda: Hybrid(Hybrid.Options(depth=2)),
    "conservative": lambda: Conservative(Conservative.Options()),
    "greedy": lambda: Plan(greedy),
}


# -- generated centres ----------------------------------------------------------------------------

pools = st.none() | st.builds(Pool, exclusive=st.integers(0, 3), shared=st.integers(1, 4))
few = st.none() | st.integers(1, 3)


@st.composite
def centres(draw: st.DrawFn, periods: int = 2, special: bool = True, limited: bool = True) -> QueueRules:
    """``a`` and ``b`` may have pools; ``p`` is preemptable, ``d`` may stop its jobs; ``g`` is ordinary."""

    def period() -> list[Queue]:
        of_g = Limits(user=draw(few)) if limited else NO_LIMITS
        of_a = Limits(nodes=draw(st.none() | st.integers(2, 8))) if limited else NO_LIMITS
        return [
            queue("g", running=of_g),
            queue("a", pool=draw(pools), running=of_a),
            queue("b", pool=draw(pools)),
            queue("p", preemptable=special, pool=draw(pools) if draw(st.booleans()) else None),
            queue("d", may_preempt=("p",) if special else ()),
        ]

    return rules(*(period() for _ in range(draw(st.integers(1, periods)))))


job_rows = st.lists(
    st.tuples(
        st.integers(0, 150), st.integers(1, 60), st.integers(1, NODES), st.integers(1, 60), st.sampled_from("gabpd")
    ),
    min_size=1,
    max_size=22,
).map(sorted)
outages = st.lists(
    st.tuples(st.integers(1, 180), st.integers(1, 40), st.integers(1, NODES)), max_size=3
).map(
    lambda rows: [Outage(start, start + length, units, "outage") for start, length, units in sorted(rows)]
)  # fmt: skip


def exclusive_units(period: Period) -> dict[str, set[int]]:
    """By the rules: the last units, those of the first queue last of all."""
    found, end = {}, NODES
    for name, pool in period.pools.items():
        found[name] = set(range(end - pool.exclusive, end))
        end -= pool.exclusive
    return found


def units_of(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, *last = part.split("-")
        found |= set(range(int(first), int(last[0] if last else first) + 1))
    return found


class Watched:
    """A scheduler around another one that compares the view with what is true, and promises with what comes of them."""

    api = 1

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.name = inner.name
        self.stopped: list[tuple[int, frozenset[int]]] = []
        self.started_urgent: dict[int, int] = {}
        self.simulation: Simulation

    def schedule(self, view: View) -> Iterator[Decision]:
        sim = self.simulation
        self.compare(view, sim)
        decided = list(self.inner.schedule(view))
        self.follow(view, decided)
        yield from decided

    def compare(self, view: View, sim: Simulation) -> None:
        """Free and coming nodes by looking at every unit."""
        assert sim.site is not None
        assert sim.centre is not None
        places = sim.site.cluster.places
        exclusive = exclusive_units(sim.centre.admission.rules.at(view.now))
        assert sim.centre.admission.period == sim.centre.admission.rules.at(view.now)
        held = {unit for execution in sim.site.cluster.executions.values() for unit in execution.units.tolist()}
        out = set(np.flatnonzero(~places.up_U | places.asleep_U).tolist())
        owned = set().union(*exclusive.values())
        assert view.free_nodes == NODES - len(held | out | owned)
        coming = {job_id: nodes for _, job_id, nodes in sim.releases}
        for job_id, execution in sim.site.cluster.executions.items():
            assert coming.pop(job_id) == len(set(execution.units.tolist()) - owned)
        down = set(np.flatnonzero(~places.up_U).tolist()) - held
        assert sum(coming.values()) == len(down - owned)
        special = {job.id for job in view.queue if sim.centre.admission.may_preempt(job) or job.queue in exclusive}
        assert special <= sim.special.keys() <= {job.id for job in view.queue}
        assert [job.id for job in view.urgent] == [
            job.id for job in view.queue if sim.centre.admission.may_preempt(job)
        ]
        assert [job.id for job in view.queue] == sorted(job.id for job in view.queue)
        for running in view.running.values():
            assert view.preemptable(running.job) == (running.job.queue == "p" and sim.special_rules)  # type: ignore[attr-defined]

    def follow(self, view: View, decided: list[Decision]) -> None:
        """The first job that may stop others starts at once if free nodes and theirs are enough; nobody is stopped idly."""
        room = view.room()
        if not view.urgent:
            return
        sim = self.simulation
        assert sim.pools is None or sim.pools.pools is not None
        may_stop = {
            running.job.id: running.job.nodes if sim.pools is None else sim.pools.coming_back(job_id, running.job.nodes)
            for job_id, running in view.running.items()
            if view.preemptable(running.job)
        }
        first = next(iter(view.urgent))
        starts = {each.job.id for each in decided if isinstance(each, Start)}
        enough = first.nodes <= room.free + sum(may_stop.values())
        if self.name != "plan":  # which goes by the order of the queue
            assert (first.id in starts) == enough
        for each in decided:
            if isinstance(each, Start):
                free, before = room.free, set(getattr(room, "stopped", ()))
                assert room.take(each.job)
                stopped = set(getattr(room, "stopped", ())) - before
                if stopped:
                    assert each.job.queue == "d"
                    found = free + sum(may_stop[job_id] for job_id in stopped)
                    assert all(found - may_stop[job_id] < each.job.nodes for job_id in stopped)
                    self.stopped.append((view.now, frozenset(stopped)))


def watched(jobs: Workload, scheduler: str, centre: QueueRules, **options: Any) -> tuple[Simulation, Watched]:
    watch = Watched(SCHEDULERS[scheduler]())
    sim = simulation(jobs, watch, centre, **options)
    watch.simulation = sim
    sim.special_rules = any(each.queues["p"].preemptable for each in centre.periods)  # type: ignore[attr-defined]
    return sim, watch


def laws_of_pools(sim: Simulation, attempts: list[dict[str, Any]], centre: QueueRules) -> None:
    """Who lay where: from the attempts alone."""
    rows = [
        (row["start_s"], row["end_s"], units_of(row["units"]), sim.centre_queue(row["job_id"]))  # type: ignore[attr-defined]
        for row in attempts
    ]
    general: list[tuple[int, int, str, int]] = []
    for at, (start, end, units, name) in enumerate(rows):
        for other_start, other_end, other_units, _ in rows[:at]:
            assert end <= other_start or other_end <= start or start == end or not units & other_units
        period = centre.at(start)
        for owner, own in exclusive_units(period).items():
            if owner != name:
                assert not units & own  # whoever lies there when the rules change keeps it, but nobody gets it then
        mine = exclusive_units(period).get(name, set())
        general.append((start, end, name, len(units - mine)))
        pool = period.queues[name].pool
        if pool is not None:
            beside = sum(nodes for began, ends, queue_, nodes in general if queue_ == name and began <= start < ends)
            assert beside <= pool.shared or start == end


@settings(deadline=None, max_examples=200)
@given(job_rows, centres(), st.sampled_from([*SCHEDULERS]), outages, st.sampled_from(["packed", "spread"]))
def test_every_centre_keeps_the_laws(
    rows: list[Any], centre: QueueRules, scheduler: str, out: list[Outage], policy: str
) -> None:
    jobs = workload(*rows)
    sim, watch = watched(jobs, scheduler, centre, outages=out, policy=policy)
    sim.centre_queue = lambda name: rows[int(name[1:])][4]  # type: ignore[attr-defined]
    table, attempts = run(sim)
    laws_of_pools(sim, attempts, centre)
    stopped = sorted((row["end_s"], int(row["job_id"][1:])) for row in attempts if row["state"] == "preempted")
    assert stopped == sorted((now, job_id) for now, those in watch.stopped for job_id in those)
    for row, job in zip(table, rows, strict=True):
        if row["state"] == "rejected":
            period = [each for each in centre.periods if each.start_utc >= centre.at(job[0]).start_utc]
            bounds = [each.queues[job[4]].running.nodes or NODES for each in period]
            assert job[2] > min(*bounds, *(each.open_nodes(each.queues[job[4]], NODES) for each in period))
        else:
            assert row["state"] in ("completed", "timeout")


@settings(deadline=None, max_examples=60)
@given(job_rows, centres(), st.sampled_from([*SCHEDULERS]), outages, st.integers(0, 200))
def test_a_fork_goes_on_as_its_parent_does(
    rows: list[Any], centre: QueueRules, scheduler: str, out: list[Outage], at: int
) -> None:
    def make() -> Simulation:
        checkpointing = Checkpointing(10, 1)
        return simulation(workload(*rows), SCHEDULERS[scheduler](), centre, outages=out, checkpointing=checkpointing)

    parent = make()
    parent.run(at)
    fork = parent.fork()
    fork.run()
    parent.run()
    whole = make()
    whole.run()
    assert tables(fork) == tables(parent) == tables(whole)


class PromisingEASY(EASY):
    """Notes what EASY promises to the head of the queue."""

    def __init__(self) -> None:
        super().__init__(EASY.Options())
        self.first_promise: dict[int, int] = {}

    def schedule(self, view: View) -> Iterator[Decision]:
        decided = list(super().schedule(view))
        room = view.room()
        for decision in decided:
            if not isinstance(decision, Start) or decision.why != "first in the queue":
                break
            room.take(decision.job)
        waiting = [job for job in view.queue if job not in room.started]
        if waiting:
            self.first_promise.setdefault(waiting[0].id, view.shadow(waiting[0], room).time)
        yield from decided


@settings(deadline=None, max_examples=250)
@given(job_rows, centres(periods=1, special=False, limited=False))
def test_easy_never_starts_a_head_later_than_it_first_promised(rows: list[Any], centre: QueueRules) -> None:
    """Whether the head is an ordinary job or one with a pool."""
    promising = PromisingEASY()
    sim = simulation(workload(*rows), promising, centre)
    run(sim)
    started = dict(zip(sim.attempts.job, sim.attempts.start, strict=True))
    for job_id, promise in promising.first_promise.items():
        assert started[job_id] <= promise


@settings(deadline=None, max_examples=100)
@given(job_rows, st.sampled_from([*SCHEDULERS]), outages)
def test_queues_that_say_nothing_special_change_nothing(rows: list[Any], scheduler: str, out: list[Outage]) -> None:
    """A pool of no exclusive node and all shared ones binds nobody."""
    jobs = workload(*rows)
    plain = [queue(name) for name in "gabpd"]
    loose = [replace(each, pool=Pool(0, NODES)) if each.name in "ab" else each for each in plain]
    made = []
    for queues in (plain, loose):
        sim = simulation(jobs, SCHEDULERS[scheduler](), rules(queues), outages=out)
        run(sim)
        made.append(tables(sim))
    assert made[0] == made[1]
