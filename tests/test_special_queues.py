"""Generated centres whose queues have nodes or rights of their own: laws, copies, and what rooms and shadows say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from special_queues import (
    NODES,
    SCHEDULERS,
    queue,
    rules,
    run,
    simulation,
    tables,
    units_of,
    workload,
)

from hpcsim.engine.decisions import Decision, Start
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.view import View
from hpcsim.machine.checkpoint import Checkpointing
from hpcsim.machine.queue_rules import NO_LIMITS
from hpcsim.machine.queues import Limits, Period, Pool, Queue, QueueRules
from hpcsim.machine.service import Outage
from hpcsim.schedulers.backfilling import EASY
from hpcsim.workload.job import Job, Workload

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
