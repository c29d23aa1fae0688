"""Queues with nodes or rights of their own, in whole simulations: pools, preemptable and demand queues, periods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import blocks

import hpcsim
from hpcsim.engine.capabilities import CAPABILITIES
from hpcsim.engine.decisions import Decision, Hold, Preempt, Sleep, Start, Wake
from hpcsim.engine.scheduler import Scheduler
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.engine.view import View
from hpcsim.errors import BadDecision, InputError
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.checkpoint import Checkpointing
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.queue_rules import NO_LIMITS
from hpcsim.machine.queues import Admission, Limits, Period, Pool, Queue, QueueRules
from hpcsim.machine.service import Outage
from hpcsim.results.check import check
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.schedulers.aims.aims import Aims
from hpcsim.schedulers.backfilling import EASY, FCFS, Conservative, Hybrid
from hpcsim.schedulers.flux import Flux
from hpcsim.schedulers.heft import HEFT
from hpcsim.schedulers.nsga2 import NSGA2
from hpcsim.schedulers.tetris import Tetris
from hpcsim.twins.performance import Walltime
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
    policy, start = options.pop("policy", "packed"), options.get("start", 0)
    cluster = Cluster(SPEC, draw_behaviour(jobs, 1), policy=policy, start=start, outages=outages)
    site = Site(cluster, jobs, overrun="kill", requeues=True, checkpointing=checkpointing)
    admission = Admission(queues, 0, nodes=NODES, over_limit="hold")
    options["twins"] = {"performance": Walltime()}
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
    needs = frozenset(CAPABILITIES)

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
    "aims": lambda: Aims(Aims.Options(policy="rule", patience=20, promise=1)),
    "fcfs": lambda: FCFS(FCFS.Options()),
    "easy": easy,
    "easy sjf": lambda: EASY(EASY.Options(order="sjf", backfill_order="ljf", extra_nodes=False)),
    "hybrid": lambda: Hybrid(Hybrid.Options(depth=2)),
    "conservative": lambda: Conservative(Conservative.Options()),
    "flux": lambda: Flux(Flux.Options(preset="production", reservation_depth=2, match="low")),
    "flux easy": lambda: Flux(Flux.Options(queue_policy="easy", queue_depth=4, match="locality")),
    "flux slow": lambda: Flux(Flux.Options(queue_policy="hybrid", match="first", cost={"decision_s": 1.7})),
    "tetris": lambda: Tetris(Tetris.Options(fairness=0.0)),
    "tetris easy": lambda: Tetris(Tetris.Options(group="user", reservation="easy")),
    "heft": lambda: HEFT(HEFT.Options()),
    "heft without insertion": lambda: HEFT(HEFT.Options(insertion=False)),
    "nsga2": lambda: NSGA2(NSGA2.Options(evaluations=100, interval=5)),
    "greedy": lambda: Plan(greedy),
}


# -- generated centres ----------------------------------------------------------------------------

pool = st.builds(Pool, exclusive=st.integers(0, 3), shared=st.integers(1, 4))
few = st.none() | st.integers(1, 3)


@st.composite
def centres(
    draw: st.DrawFn,
    periods: int = 2,
    special: bool = True,
    limited: bool = True,
    pools: st.SearchStrategy[Pool | None] = st.none() | pool,  # noqa: B008  (a strategy never changes)
) -> QueueRules:
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
        st.integers(0, 100), st.integers(1, 60), st.integers(1, NODES), st.integers(1, 60), st.sampled_from("gabpd")
    ),
    min_size=1,
    max_size=25,
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
        self.needs = getattr(inner, "needs", frozenset())
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
        urgent = [job.id for job in view.queue if sim.centre.admission.period.queues[job.queue].may_preempt]
        assert sim.special.keys() == {*urgent, *(job.id for job in view.queue if job.queue in exclusive)}
        assert [job.id for job in view.urgent] == urgent
        assert [job.id for job in view.queue] == sorted(job.id for job in view.queue)
        for running in view.running.values():
            assert view.preemptable(running.job) == (running.job.queue == "p" and sim.special_rules)

    def follow(self, view: View, decided: list[Decision]) -> None:
        """The first job that may stop others starts at once if that is possible; nobody is stopped idly."""
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
    sim.special_rules = any(each.queues["p"].preemptable for each in centre.periods)
    return sim, watch


def laws_of_pools(sim: Simulation, attempts: list[dict[str, Any]], centre: QueueRules) -> None:
    """Who lay where: from the attempts alone."""
    rows = [(row["start_s"], row["end_s"], units_of(row["units"]), sim.centre_queue(row["job_id"])) for row in attempts]
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
        if pool is not None and units - mine:  # what jobs had before the rules changed, they keep
            beside = sum(nodes for began, ends, queue_, nodes in general if queue_ == name and began <= start < ends)
            assert beside <= pool.shared or start == end


@settings(deadline=None, max_examples=200)
@given(job_rows, centres(), st.sampled_from([*SCHEDULERS]), outages, st.sampled_from(["packed", "spread"]))
def test_every_centre_keeps_the_laws(
    rows: list[Any], centre: QueueRules, scheduler: str, out: list[Outage], policy: str
) -> None:
    jobs = workload(*rows)
    sim, watch = watched(jobs, scheduler, centre, outages=out, policy=policy)
    sim.centre_queue = lambda name: rows[int(name[1:])][4]
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


# Of instances of flux that are busy deciding no snapshot is made: they hold options and functions.
SAVED = [name for name in SCHEDULERS if name != "flux slow"]


@settings(deadline=None, max_examples=60)
@given(job_rows, centres(), st.sampled_from(SAVED), outages, st.integers(0, 200))
def test_a_fork_and_a_snapshot_go_on_as_their_parent_does(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Any],
    centre: QueueRules,
    scheduler: str,
    out: list[Outage],
    at: int,
) -> None:
    def make() -> Simulation:
        checkpointing = Checkpointing(10, 1)
        return simulation(workload(*rows), SCHEDULERS[scheduler](), centre, outages=out, checkpointing=checkpointing)

    parent = make()
    parent.run(at)
    fork = parent.fork()
    file = tmp_path_factory.getbasetemp() / "snapshot"
    parent.save(file)
    restored = make()
    restored.restore(file)
    whole = make()
    for each in (fork, parent, restored, whole):
        each.run()
    assert tables(fork) == tables(restored) == tables(parent) == tables(whole)


# -- rooms, shadows and profiles, second by second ----------------------------------------------------

HORIZON_S = 500


class Ahead:
    """What will be free at each of the next seconds by the expected ends, from the units themselves."""

    def __init__(self, view: View, sim: Simulation) -> None:
        assert sim.site is not None
        assert sim.centre is not None
        self.now, self.sim = view.now, sim
        self.period = sim.centre.admission.rules.at(view.now)
        exclusive = exclusive_units(self.period)
        self.general_T = np.zeros(HORIZON_S, np.int64)
        self.own_T = {name: np.zeros(HORIZON_S, np.int64) for name in self.period.pools}
        self.left_T = {name: np.full(HORIZON_S, pool.shared) for name, pool in self.period.pools.items()}
        owner = {unit: name for name, units in exclusive.items() for unit in units}
        back = {unit: expected for expected, _, units in sim.site._out.values() for unit in units.tolist()}
        back |= {
            unit: sim.running[job_id].expected_end
            for job_id, execution in sim.site.cluster.executions.items()
            for unit in execution.units.tolist()
        }
        for unit in range(NODES):
            self.of(owner.get(unit))[max(0, back.get(unit, 0) - self.now) :] += 1
        for job_id, share in sim.pools.shares.items() if sim.pools is not None else ():
            if share.queue in self.left_T:
                self.left_T[share.queue][: max(0, sim.running[job_id].expected_end - self.now)] -= share.general

    def of(self, name: str | None) -> Any:
        return self.general_T if name is None else self.own_T[name]

    def split(self, job: Job, at: int = 0) -> tuple[int, int]:
        own = min(job.nodes, int(self.own_T[job.queue][at])) if job.queue in self.own_T else 0
        return own, job.nodes - own

    def fits(self, job: Job, at: int) -> bool:
        general = self.split(job, at)[1]
        return general <= min(self.general_T[at], self.left(job, at))

    def left(self, job: Job, at: int, duration: int = 1) -> int:
        """How many general nodes the job may take by the bound of its pool."""
        return NODES if job.queue not in self.left_T else max(0, self.left_T[job.queue][at : at + duration].min())

    def give(self, job: Job, at: int = 0) -> None:
        own, general = self.split(job, at)
        span = slice(at, at + job.walltime)
        self.general_T[span] -= general
        if job.queue in self.own_T:
            self.own_T[job.queue][span] -= own
            self.left_T[job.queue][span] -= general

    def stop(self, job_id: int) -> None:
        """Take a running job away."""
        assert self.sim.site is not None
        execution, expected = self.sim.site.cluster.executions[job_id], self.sim.running[job_id].expected_end
        owner = {unit: name for name, units in exclusive_units(self.period).items() for unit in units}
        until = max(0, expected - self.now)
        for unit in execution.units.tolist():
            self.of(owner.get(unit))[:until] += 1
        share = None if self.sim.pools is None else self.sim.pools.shares.get(job_id)
        if share is not None and share.queue in self.left_T:
            self.left_T[share.queue][:until] += share.general

    def earliest(self, job: Job) -> int:
        for at in range(HORIZON_S):
            own, general = self.split(job, at)
            span = slice(at, at + job.walltime)
            if (
                self.general_T[span].min() >= general
                and (job.queue not in self.own_T or self.own_T[job.queue][span].min() >= own)
                and self.left(job, at, job.walltime) >= general
            ):
                return at
        raise AssertionError(f"{job} never fits")

    def extra(self, head: Job, at: int) -> int | None:
        """How many general nodes could be away at second ``at`` so that ``head`` still could start; None: it cannot."""
        for away in range(int(self.general_T[at]), -1, -1):
            self.general_T[at] -= away
            fits = self.fits(head, at)
            self.general_T[at] += away
            if fits:
                return away
        return None


class Comparing:
    """Compares what a view says of the future with ``Ahead``, and starts jobs as they come, as far as they fit."""

    name = "comparing"
    api = 1

    def __init__(self) -> None:
        self.simulation: Simulation

    def schedule(self, view: View) -> Iterator[Decision]:
        decided = [*self.look(view)]
        yield from decided

    def look(self, view: View) -> Iterator[Decision]:
        ahead, room = Ahead(view, self.simulation), view.room()
        waiting = list(view.queue)
        if waiting and room.special:
            self.compare_profile(view, [*waiting])
        for at, job in enumerate(waiting):
            if at % 3 == 2:  # leave some waiting
                continue
            stopped = set(getattr(room, "stopped", ()))
            fits = ahead.fits(job, 0)
            took = room.take(job)
            newly = getattr(room, "stopped", set()) - stopped
            for job_id in newly:
                assert self.simulation.running[job_id].job.queue == "p"
                ahead.stop(job_id)
            assert took == (fits or bool(newly))
            if took:
                ahead.give(job)
                yield Start(job)
        assert room.free == ahead.general_T[0]
        left = [job for job in waiting if job not in room.started]
        for job in left:
            time = next(second for second in range(HORIZON_S) if ahead.fits(job, second))
            found = view.shadow(job, room)
            assert found.time == view.now + time
            assert found.extra == ahead.extra(job, time)
        if left and room.special:
            self.compare_backfilling(view, room, ahead, left)

    def compare_backfilling(self, view: View, room: Any, ahead: Ahead, left: list[Job]) -> None:
        """Others start beside the first blocked job: how much less they leave for more of them."""
        head, *behind = left
        then = view.shadow(head, room).time - view.now
        for job in behind:
            before = ahead.extra(head, then)
            assert before is not None
            taken = room.taken_from(head, job)
            stopped = set(getattr(room, "stopped", ()))
            long = job._replace(walltime=HORIZON_S)
            own, general = ahead.split(job)
            ahead.give(long)
            after = ahead.extra(head, then)
            ahead.general_T += general
            if job.queue in ahead.own_T:
                ahead.own_T[job.queue] += own
                ahead.left_T[job.queue] += general
            assert taken == before - after if after is not None else taken > before
            if taken <= before and room.take(long):
                if room.stopped - stopped:
                    return
                ahead.give(long)
                assert ahead.extra(head, then) == before - taken

    def compare_profile(self, view: View, waiting: list[Job]) -> None:
        """Reservations for all waiting jobs, each at its earliest place."""
        profile, ahead = view.profile(), Ahead(view, self.simulation)
        for job in waiting:
            start = profile.earliest(job.nodes, job.walltime, job)
            assert start == view.now + ahead.earliest(job)
            profile.reserve(start, job.walltime, job.nodes, job)
            ahead.give(job, start - view.now)
            assert profile.least(start, job.walltime) == ahead.general_T[start - view.now :][: job.walltime].min()
            for second, nodes in profile.steps():
                if second < view.now + HORIZON_S:
                    assert nodes == ahead.general_T[second - view.now]


@settings(deadline=None, max_examples=250)
@given(job_rows, centres(limited=False, pools=pool), outages)
def test_rooms_shadows_and_profiles_say_what_counting_says(
    rows: list[Any], centre: QueueRules, out: list[Outage]
) -> None:
    comparing = Comparing()
    # The expected ends of jobs are their real ones, so that none is overdue, which every view sees in its own way.
    sim = simulation(workload(*[(*row[:3], row[1], row[4]) for row in rows]), comparing, centre, outages=out)
    comparing.simulation = sim
    run(sim)


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
@given(job_rows, st.sampled_from([name for name in SCHEDULERS if name != "nsga2"]), outages)
def test_queues_that_say_nothing_special_change_nothing(rows: list[Any], scheduler: str, out: list[Outage]) -> None:
    """A pool of no exclusive node and all shared ones binds nobody; nsga2 plans no job of a queue with a pool."""
    jobs = workload(*rows)
    plain = [queue(name) for name in "gabpd"]
    loose = [replace(each, pool=Pool(0, NODES)) if each.name in "ab" else each for each in plain]
    made = []
    for queues in (plain, loose):
        sim = simulation(jobs, SCHEDULERS[scheduler](), rules(queues), outages=out)
        run(sim)
        made.append(tables(sim))
    assert made[0] == made[1]


# -- preemptable and demand queues ----------------------------------------------------------------

DEMAND = [queue("g"), queue("p", preemptable=True), queue("d", may_preempt=("p",))]


def times(attempts: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["job_id"], row["start_s"], row["end_s"], row["state"]) for row in attempts]


def test_flux_that_is_busy_deciding_sees_the_end_of_a_job_that_it_did_not_decide() -> None:
    """j1 starts without a decision, and nothing but its end lets j2 start; then j2 takes 1.7 s to decide."""
    jobs = workload((0, 35, 2, 35, "g"), (10, 40, 8, 40, "d"), (20, 1, 6, 1, "g"))
    _, attempts = run(simulation(jobs, SCHEDULERS["flux slow"](), rules(DEMAND)))
    assert times(attempts)[1:] == [("j1", 10, 50, "completed"), ("j2", 51, 52, "completed")]


def test_flux_that_takes_time_to_decide_sees_that_a_node_of_one_queue_is_back() -> None:
    """j6 needs the node that only its queue may have, which is out of service until everything else has ended."""
    jobs = workload(*[(0, 1, 1, 1, "g")] * 6, (0, 1, 2, 1, "b"))
    queues = rules([queue("g"), queue("b", pool=Pool(1, 1))])
    outages = [Outage(1, 41, 1, "outage")]
    _, attempts = run(simulation(jobs, SCHEDULERS["flux slow"](), queues, outages=outages))
    assert times(attempts)[-1] == ("j6", 42, 43, "completed")


@pytest.mark.parametrize("scheduler", ["aims", "fcfs", "easy", "hybrid", "conservative", "flux"])
def test_a_demand_job_starts_at_once_whoever_is_first_in_the_queue(scheduler: str) -> None:
    jobs = workload((0, 50, 6, 99, "p"), (5, 50, 4, 99, "p"), (10, 90, 12, 99, "g"), (20, 5, 3, 99, "d"))
    checkpointing = Checkpointing(interval_s=6, cost_s=1)
    _, attempts = run(simulation(jobs, SCHEDULERS[scheduler](), rules(DEMAND), checkpointing=checkpointing))
    assert times(attempts)[:3] == [
        ("j0", 0, 58, "completed"), ("j1", 5, 20, "preempted"), ("j3", 20, 25, "completed"),
    ]  # fmt: skip
    # 15 s are two times 6 s of work with a checkpoint of 1 s, which save that much, and 1 s more
    assert attempts[1]["lost_node_s"] == 4 * (15 - 12)
    again = next(row for row in attempts[2:] if row["job_id"] == "j1")
    assert again["end_s"] - again["start_s"] == checkpointing.elapsed_for(50 - 12)
    assert attempts[2]["why"] == "urgent: may stop other jobs"


def test_what_a_stopped_job_leaves_over_is_free_in_the_same_pass() -> None:
    jobs = workload((0, 50, 8, 50, "p"), (0, 50, 4, 50, "g"), (10, 50, 5, 50, "g"), (20, 10, 3, 10, "d"))
    _, attempts = run(simulation(jobs, easy(), rules(DEMAND)))
    assert times(attempts)[2:4] == [("j3", 20, 30, "completed"), ("j2", 20, 70, "completed")]


def test_what_a_pass_has_started_is_not_stopped_in_it() -> None:
    jobs = workload((0, 50, 6, 50, "p"), (10, 50, 5, 50, "p"), (10, 9, 4, 9, "d"))
    _, attempts = run(simulation(jobs, Plan(greedy), rules(DEMAND), launch_latency=2))
    assert times(attempts)[:3] == [
        ("j0", 2, 10, "preempted"), ("j1", 12, 62, "completed"), ("j2", 12, 21, "completed"),
    ]  # fmt: skip


def test_nobody_is_stopped_twice() -> None:
    jobs = workload((0, 50, 6, 50, "p"), (0, 50, 6, 50, "g"), (10, 20, 4, 20, "d"), (10, 20, 4, 20, "d"))
    _, attempts = run(simulation(jobs, easy(), rules(DEMAND)))
    assert times(attempts)[2:4] == [("j2", 10, 30, "completed"), ("j3", 30, 50, "completed")]


def test_what_a_stopped_job_had_of_its_own_queue_is_free_for_that_queue_in_the_same_pass() -> None:
    queues = [queue("g"), queue("p", preemptable=True, pool=Pool(2, 4)), queue("d", may_preempt=("p",))]
    jobs = workload((0, 50, 5, 50, "p"), (0, 50, 7, 50, "g"), (10, 20, 2, 20, "d"), (10, 9, 2, 9, "p"))
    _, attempts = run(simulation(jobs, easy(), rules(queues)))
    assert [(*row, units["units"]) for row, units in zip(times(attempts), attempts, strict=True)] == [
        ("j0", 0, 10, "preempted", "0-2,10-11"), ("j1", 0, 50, "completed", "3-9"),
        ("j2", 10, 30, "completed", "0-1"), ("j3", 10, 19, "completed", "10-11"),
        ("j0", 30, 80, "completed", "0-2,10-11"),
    ]  # fmt: skip


def test_a_demand_job_stops_nobody_where_even_that_would_not_be_enough() -> None:
    jobs = workload((0, 50, 5, 50, "p"), (0, 50, 4, 50, "g"), (10, 10, 9, 10, "d"))
    _, attempts = run(simulation(jobs, easy(), rules(DEMAND)))
    assert times(attempts)[2] == ("j2", 50, 60, "completed")


def test_a_scheduler_sees_who_may_be_stopped_and_may_stop_them_itself() -> None:
    seen: list[Any] = []

    def decide(view: View) -> Iterator[Decision]:
        seen.append([(row.job.name, view.preemptable(row.job)) for row in view.running.values()])
        assert not any(view.preemptable(job) for job in view.queue)
        if view.now == 10:
            yield Preempt(view.running[0].job)
        yield from (Start(job) for job in [*view.queue][-1 if view.now == 10 else 0 :][:1] if view.now != 20)
        if view.now == 20:
            yield Hold(30)

    jobs = workload((0, 50, 5, 50, "p"), (10, 10, 12, 10, "d"))
    _, attempts = run(simulation(jobs, Plan(decide), rules(DEMAND)))
    assert times(attempts)[:2] == [("j0", 0, 10, "preempted"), ("j1", 10, 20, "completed")]
    assert seen[:3] == [[], [("j0", True)], []]


def test_demand_works_where_nodes_are_only_counted_and_pools_do_not() -> None:
    jobs = workload((0, 50, 12, 50, "p"), (10, 10, 9, 10, "d"))
    sim = Simulation(jobs, easy(), nodes=NODES, admission=Admission(rules(DEMAND), 0, nodes=NODES))
    _, attempts = run(sim)
    assert times(attempts) == [("j0", 0, 10, "preempted"), ("j1", 10, 20, "completed"), ("j0", 20, 70, "completed")]
    with pytest.raises(ValueError, match="node pools are places"):
        Simulation(jobs, easy(), nodes=NODES, admission=Admission(rules([queue("g", pool=Pool(1, 1))]), 0))


# -- pools ----------------------------------------------------------------------------------------

DEBUG = [queue("g"), queue("a", most=6, pool=Pool(exclusive=3, shared=2))]


@pytest.mark.parametrize("scheduler", ["easy", "hybrid", "conservative", "flux"])
def test_exclusive_nodes_are_used_beside_a_blocked_head_and_a_full_machine(scheduler: str) -> None:
    jobs = workload(
        (0, 100, 9, 100, "g"), (10, 50, 9, 50, "g"), (20, 90, 2, 90, "a"), (30, 90, 1, 90, "a"), (40, 9, 1, 9, "a")
    )
    _, attempts = run(simulation(jobs, SCHEDULERS[scheduler](), rules(DEBUG)))
    assert times(attempts) == [
        ("j0", 0, 100, "completed"), ("j2", 20, 110, "completed"), ("j3", 30, 120, "completed"),
        ("j1", 100, 150, "completed"), ("j4", 110, 119, "completed"),
    ]  # fmt: skip
    assert [row["units"] for row in attempts] == ["0-8", "9-10", "11", "0-8", "9"]


def test_jobs_of_the_queue_of_a_blocked_head_leave_it_its_nodes() -> None:
    queues = [queue("g"), queue("a", pool=Pool(4, 0))]
    jobs = workload((0, 50, 2, 50, "a"), (10, 9, 3, 9, "a"), (10, 99, 1, 99, "a"), (10, 99, 1, 99, "a"))
    _, attempts = run(simulation(jobs, easy(), rules(queues)))
    assert [(row["job_id"], row["start_s"]) for row in attempts] == [("j0", 0), ("j2", 10), ("j1", 50), ("j3", 59)]


def test_a_job_takes_its_own_nodes_first_and_as_many_others_as_its_pool_lets_it() -> None:
    jobs = workload((0, 50, 4, 50, "a"), (1, 50, 1, 50, "a"), (2, 5, 1, 5, "a"), (3, 5, 7, 5, "g"), (4, 5, 1, 5, "g"))
    _, attempts = run(simulation(jobs, Plan(greedy), rules(DEBUG)))
    assert [(row["job_id"], row["start_s"], row["units"]) for row in attempts] == [
        ("j0", 0, "8-11"), ("j1", 1, "0"), ("j3", 3, "1-7"), ("j4", 8, "1"), ("j2", 50, "9"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("there", "asked", "said"),
    [
        (
            (4, "a"),
            (2, "a"),
            "on 2 nodes, but its queue a has 0 free nodes of its own and may take 1 more of the others",
        ),
        ((9, "g"), (4, "a"), "on 4 nodes, but only 0 and 3 of queue a are free"),
        ((3, "g"), (7, "g"), "on 7 nodes, but only 6 are free"),
        ((3, "p"), (7, "g"), "on 7 nodes, but only 6 are free"),
        ((7, "g"), (3, "d"), "on 3 nodes, but only 2 are free"),
        ((3, "p"), (9, "d"), None),
    ],
)
def test_a_start_that_the_rules_do_not_allow_voids_the_run(
    there: tuple[int, str], asked: tuple[int, str], said: str | None
) -> None:
    jobs = workload((0, 9, there[0], 9, there[1]), (1, 9, asked[0], 9, asked[1]))
    sim = simulation(jobs, Plan(lambda view: [Start(job) for job in view.queue]), rules([*DEBUG, *DEMAND[1:]]))
    if said is None:
        sim.run()
    else:
        with pytest.raises(BadDecision, match=rf"^t=1: scheduler plan started job j1 {said} \(.*:\d+\)$"):
            sim.run()


def test_how_many_jobs_could_be_stopped_is_said_where_they_are_too_few() -> None:
    jobs = workload((0, 9, 5, 9, "p"), (0, 9, 4, 9, "g"), (1, 9, 9, 9, "d"))
    sim = simulation(jobs, Plan(lambda view: [Start(job) for job in view.queue]), rules(DEMAND))
    with pytest.raises(BadDecision, match=r"on 9 nodes, but only 3 are free, and the jobs that it may stop have 5 "):
        sim.run()


def test_units_of_another_queue_cannot_be_named() -> None:
    jobs = workload((0, 9, 2, 9, "g"))
    sim = simulation(jobs, Plan(lambda view: [Start(*view.queue, "", 1.0, (8, 9))]), rules(DEBUG))
    with pytest.raises(BadDecision, match=r"job j0, but wanted units .* \(exclusive to a queue: 9\)"):
        sim.run()
    jobs = workload((0, 9, 3, 9, "a"))
    sim = simulation(jobs, Plan(lambda view: [Start(*view.queue, "", 1.0, (10, 3, 4))]), rules(DEBUG))
    _, attempts = run(sim)
    assert attempts[0]["units"] == "3-4,10"


def test_only_general_nodes_sleep() -> None:
    def decide(view: View) -> Iterator[Decision]:
        if view.now == 0:
            yield Sleep(9)
        elif view.now == 1000:
            assert view.free_nodes == 0
            yield Wake(9)
        yield from greedy(view)

    jobs = workload((0, 2000, 3, 2000, "a"), (1000, 9, 9, 9, "g"))
    sim = simulation(jobs, Plan(decide, passes_when_idle=True), rules(DEBUG))
    _, attempts = run(sim)
    assert [row["start_s"] for row in attempts] == [0, 1000 + SPEC.power.wake_s]
    too_many = simulation(jobs, Plan(lambda view: [Sleep(10)]), rules(DEBUG))
    with pytest.raises(BadDecision, match="10 nodes cannot go to sleep: 9 are free"):
        too_many.run()


def test_exclusive_nodes_that_fail_come_back_to_their_queue() -> None:
    out = [Outage(20, 60, 2, "outage")]  # the last units: exclusive ones
    jobs = workload((0, 50, 3, 50, "a"), (30, 10, 1, 10, "a"), (30, 10, 9, 10, "g"), (70, 10, 3, 10, "a"))
    _, attempts = run(simulation(jobs, easy(), rules(DEBUG), outages=out))
    assert [(*row, units["units"]) for row, units in zip(times(attempts), attempts, strict=True)] == [
        ("j0", 0, 20, "node_failed", "9-11"),
        ("j0", 20, 70, "completed", "0-1,9"),  # the one that is left, and two shared ones
        ("j1", 60, 70, "completed", "10"),  # may take no more of the others
        ("j2", 70, 80, "completed", "0-8"),
        ("j3", 70, 80, "completed", "9-11"),
    ]


@pytest.mark.parametrize("scheduler", ["easy", "conservative", "flux"])
def test_jobs_do_not_reach_into_maintenance_on_exclusive_nodes_either(scheduler: str) -> None:
    jobs = workload((0, 30, 3, 60, "a"), (0, 30, 3, 40, "a"))
    out = [Outage(50, 70, NODES, "maintenance")]
    _, attempts = run(simulation(jobs, SCHEDULERS[scheduler](), rules(DEBUG), outages=out))
    assert times(attempts) == [("j1", 0, 30, "completed"), ("j0", 70, 100, "completed")]


def test_a_warm_start_leaves_everybody_where_they_are() -> None:
    """A full machine: general jobs lie on nodes that are exclusive, which they are once those jobs have ended."""
    jobs = workload(
        (0, 50, 8, 50, "g"), (1, 50, 4, 50, "a"), (20, 10, 3, 10, "a"), (21, 50, 9, 50, "g"), (52, 9, 1, 9, "a")
    )
    sim = simulation(jobs, easy(), rules(DEBUG), start=10, running_at_start={0: 0, 1: 1}, policy="contiguous")
    assert sim.free_nodes == 0
    _, attempts = run(sim)
    assert [(row["job_id"], row["start_s"], row["units"]) for row in attempts] == [
        ("j0", 0, "0-7"), ("j1", 1, "8-11"), ("j2", 51, "9-11"), ("j3", 51, "0-8"), ("j4", 61, "9"),
    ]  # fmt: skip
    full = simulation(
        workload((0, 50, 10, 50, "g"), (1, 50, 2, 50, "a"), (20, 10, 3, 10, "a"), (21, 50, 9, 50, "g")),
        easy(), rules(DEBUG), start=10, running_at_start={0: 0, 1: 1},
    )  # fmt: skip
    _, attempts = run(full)
    assert {row["job_id"]: (row["start_s"], row["units"]) for row in attempts} == {
        "j0": (0, "0-9"), "j1": (1, "10-11"), "j2": (50, "0-1,9"), "j3": (60, "0-8"),
    }  # fmt: skip


# -- periods --------------------------------------------------------------------------------------


def test_a_new_period_moves_pools_and_limits_although_nothing_else_happens() -> None:
    before = [queue("g"), queue("a", pool=Pool(1, 0)), queue("b", running=Limits(user=1))]
    after = [queue("g"), queue("a", pool=Pool(3, 0)), queue("b", running=Limits(user=2))]
    jobs = workload(
        (0, 100, 1, 100, "a"), (0, 100, 3, 100, "g"), (1, 90, 1, 90, "b"), (1, 100, 1, 100, "g"),
        (2, 5, 1, 5, "b"), (3, 5, 2, 5, "a"),
    )  # fmt: skip
    table, attempts = run(simulation(jobs, easy(), rules(before, after)))
    starts = {row["job_id"]: row["start_s"] for row in attempts}
    assert table[5]["rejected_by"] == "a: 1 nodes are open to it"
    assert starts == {"j0": 0, "j1": 0, "j2": 1, "j3": 1, "j4": TURN_S}


def test_a_unit_changes_hands_when_its_job_ends() -> None:
    before = [queue("g"), queue("a")]
    after = [queue("g"), queue("a", pool=Pool(4, 0))]
    jobs = workload(
        (0, 80, 9, 80, "g"), (0, 70, 3, 70, "a"), (50, 30, 4, 30, "a"), (75, 20, 9, 20, "g"), (76, 9, 8, 9, "g")
    )
    table, attempts = run(simulation(jobs, easy(), rules(before, after)))
    # Nine general nodes are one too many now. Four of a's own are three until the job on the fourth has ended.
    assert table[3]["rejected_by"] == "g: 8 nodes are open to it"
    assert [(row["job_id"], row["start_s"], row["units"]) for row in attempts] == [
        ("j0", 0, "0-8"), ("j1", 0, "9-11"), ("j2", 80, "8-11"), ("j4", 80, "0-7"),
    ]  # fmt: skip


def test_a_waiting_job_that_new_rules_leave_no_nodes_is_rejected_then() -> None:
    before = [queue("g"), queue("a", pool=Pool(3, 4)), queue("b", running=Limits(nodes=8))]
    after = [queue("g"), queue("a", pool=Pool(3, 1)), queue("b", running=Limits(nodes=2))]
    jobs = workload(
        (0, 90, 9, 90, "g"), (1, 9, 5, 9, "a"), (2, 90, 6, 90, "b"),
        (3, 9, 3, 9, "b"), (4, 9, 2, 9, "b"), (5, 9, 4, 9, "a"),
    )  # fmt: skip
    sim = simulation(jobs, easy(), rules(before, after))
    table, attempts = run(sim)
    assert [row["rejected_by"] for row in table] == [
        None, "a: 4 nodes are open to it", None, "b: 2 nodes in running jobs at most", None, None
    ]  # fmt: skip
    assert sim.rejected_late == {1: TURN_S, 3: TURN_S}
    assert times(attempts) == [
        ("j0", 0, 90, "completed"), ("j2", 90, 180, "completed"),
        ("j5", 90, 99, "completed"), ("j4", 180, 189, "completed"),
    ]  # fmt: skip
    queued = {row["time_s"]: row["queue"] for row in tables(sim)[2].to_pylist()}
    assert (queued[5], queued[TURN_S], queued[90]) == (5, 3, 1)


def test_a_job_that_is_put_back_under_rules_that_leave_it_no_nodes_is_rejected() -> None:
    after = [queue("g"), queue("p", preemptable=True), queue("d", may_preempt=("p",)), queue("a", pool=Pool(2, 0))]
    jobs = workload((0, 90, 12, 90, "p"), (70, 10, 10, 10, "d"), (71, 10, 1, 10, "g"))
    table, attempts = run(simulation(jobs, easy(), rules([*DEMAND], after)))
    assert (table[0]["state"], table[0]["rejected_by"]) == ("rejected", "p: 10 nodes are open to it")
    assert times(attempts)[:2] == [("j0", 0, 70, "preempted"), ("j1", 70, 80, "completed")]


def test_new_rules_come_before_anything_else_of_their_second() -> None:
    """The job that ends at the turn ends under the new limit, which leaves no place for another one."""
    before, after = [queue("g", running=Limits(user=2))], [queue("g", running=Limits(user=1))]
    jobs = workload_from_columns(
        t0_utc=0, source="test", name=["j0", "j1", "j2"], submit_s=[0, 0, 0], nodes=[1, 1, 1],
        walltime_s=[200] * 3, runtime_s=[TURN_S, 150, 9], user=["u"] * 3, queue=["g"] * 3,
    )  # fmt: skip
    _, attempts = run(simulation(jobs, easy(), rules(before, after)))
    assert [row["start_s"] for row in attempts] == [0, 0, 150]


# -- scenarios ------------------------------------------------------------------------------------

RULES = """\
periods:
  - from: 2020-01-01
    default: [batch]
    queues:
      batch: {nodes: [1, 90], walltime_min: [1, 720]}
      own: {nodes: [1, 30], walltime_min: [1, 720], pool: {exclusive: 20, shared: 10}}
"""
COOLEY = {"jobs": 200, "machine.model": "cooley", "physics.failures": False}


def test_a_scenario_names_a_file_of_rules_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(RULES)
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("base: cooley\nname: mine\nmachine: {model: cooley}\nphysics: {queues: mine.yaml}\njobs: 300\n")
    found = hpcsim.simulate(scenario, check=True)
    assert set(found.jobs["rejected_by"].dropna()) <= {"batch: 90 nodes at most"}
    units = [units_of(text) for text in found.attempts["units"]]
    assert set.union(*units) == set(range(106))  # no job names the queue that has the last 20


def test_a_queue_that_no_node_can_serve_is_refused_before_the_run_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(RULES.replace("[1, 90]", "[110, 120]"))
    with pytest.raises(InputError) as error:
        hpcsim.simulate("cooley", COOLEY | {"physics.queues": str(path)})
    assert str(error.value) == (
        f"{path}:5:14: batch: no node can serve it: its jobs have 110 nodes at least, the machine has 126 and 20 of "
        "them are exclusive to queues"
    )
    with pytest.raises(InputError, match=r"cooley\.yaml:\d+:\d+: debug: no node can serve it"):
        hpcsim.simulate("cooley", COOLEY | {"machine.nodes": 14})


def test_on_a_torus_there_are_no_pools(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(RULES.replace("[1, 90]", "[1, 49152]").replace("20, shared: 10", "512, shared: 512"))
    settings = {"jobs": 20, "machine.model": "mira", "physics.queues": str(path), "physics.placement": "torus"}
    with pytest.raises(InputError, match=r"physics\.placement: on a torus queues cannot have .* mine let own;"):
        hpcsim.simulate("mira", settings)
    assert hpcsim.simulate("mira", settings | {"physics.placement": "packed"}, check=True).jobs["start_s"].notna().any()


def test_stopping_and_being_stopped_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    both = "      both: {nodes: [1, 9], walltime_min: [1, 9], preemptable: true, may_preempt: [both]}\n"
    path.write_text(RULES + both)
    with pytest.raises(InputError, match=r"mine\.yaml:7:83: .*both\.may_preempt: jobs that may be stopped for others"):
        QueueRules.read(path)


@pytest.mark.parametrize(
    ("machine", "day", "expected"),
    [
        ("polaris", "2024-06-06", {"debug": Pool(8, 0)}),
        ("polaris", "2024-06-07", {"debug": Pool(8, 16)}),
        ("aurora", "2025-08-28", {"debug": Pool(32, 32)}),
        ("aurora", "2026-08-01", {"debug": Pool(0, 64)}),
        ("theta", "2019-06-01", {"debug-cache-quad": Pool(16, 0), "debug-flat-quad": Pool(16, 0)}),
        ("cooley", "2019-06-01", {"debug": Pool(16, 0)}),
        ("mira", "2019-06-01", {}),
    ],
)
def test_the_pools_that_the_centres_published(machine: str, day: str, expected: dict[str, Pool]) -> None:
    published = QueueRules.named(machine)
    utc = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
    assert published.at(utc).pools == expected
    published.check_against(load_machine(machine).nodes)
    demand = {name: each.may_preempt for name, each in published.at(utc).queues.items() if each.may_preempt}
    preemptable = {name for name, each in published.at(utc).queues.items() if each.preemptable}
    assert (demand, preemptable) == (
        ({"demand": ("preemptable",)}, {"preemptable"}) if machine == "polaris" else ({}, set())
    )


def test_the_scheduler_of_the_documentation_need_not_know_the_rules() -> None:
    names: dict[str, Any] = {}
    exec(*blocks("docs/queues.md", "python"), names)

    class AsDocumented:
        name = "as-documented"
        api = 1
        schedule = names["schedule"]

    jobs = workload((0, 50, NODES, 50, "batch"), (0, 50, 4, 50, "batch"), (0, 50, 2, 50, "debug"))
    made = simulation(jobs, AsDocumented(), rules([queue("batch"), queue("debug", pool=Pool(2, 0))]))
    made.run()
    assert dict(zip(made.attempts.job, made.attempts.start, strict=True)) == {1: 0, 2: 0}


def test_the_example_of_the_documentation_is_right(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(*blocks("docs/queues.md", "yaml"))
    found = QueueRules.read(path)
    found.check_against(560)
    assert [period.pools for period in found.periods] == [{"debug": Pool(8, 16)}, {"debug": Pool(8, 0)}]
    assert found.periods[1].stops == {"demand": {"spare"}}
