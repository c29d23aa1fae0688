"""Laws of nodes that jobs share: nobody gets what is not there, everything is booked once, nobody waits for nothing."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.engine.capabilities import CAPABILITIES
from hpcsim.engine.decisions import Hold, Kill, Preempt, SetCap, SetSpeed, Start
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.errors import BadDecision, InputError
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.facility import Facility
from hpcsim.machine.failures import FailureProcess
from hpcsim.machine.heat import Heat
from hpcsim.machine.queues import Admission, Period, Pool, Queue, QueueRules
from hpcsim.machine.service import Outage
from hpcsim.machine.shares import Shares, in_parts, node_of
from hpcsim.results.check import check
from hpcsim.results.energy import ledger_j, power_curve
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.schedulers.backfilling import EASY, FCFS, Conservative, Hybrid
from hpcsim.schedulers.flux import Flux
from hpcsim.schedulers.nsga2 import NSGA2
from hpcsim.schedulers.tetris import Tetris
from hpcsim.streams import stream
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import workload_from_columns
from hpcsim.workload.swf import write_swf

COOLEY = load_machine("cooley")
CORES, GPUS, MIB = node_of(COOLEY)


def smaller(nodes):
    """Cooley with fewer nodes."""
    racks = -(-nodes // COOLEY.units_per_rack)
    return dataclasses.replace(COOLEY, nodes=nodes, racks=racks)


def workload(jobs):
    """Jobs as (submit, runtime, nodes, cores, gpus, GiB)."""
    submit, runtime, nodes, cores, gpus, gib = zip(*jobs, strict=True)
    return workload_from_columns(
        t0_utc=1_700_000_000, source="test", name=[f"j{i}" for i in range(len(jobs))], submit_s=submit, nodes=nodes,
        walltime_s=np.array(runtime) * 2, runtime_s=runtime, cores=cores, gpus=gpus, memory_gib=gib,
    )  # fmt: skip


def simulation(
    jobs,
    scheduler,
    nodes=4,
    *,
    heat=False,
    failures=False,
    cap_w=np.inf,
    supply_c=30.0,
    start=0,
    running_at_start=None,
    admission=None,
    outages=(),
):
    if running_at_start is None:
        running_at_start = {}
    spec = smaller(nodes)
    jobs = in_parts(jobs, spec)
    facility = Facility(spec, jobs.t0_utc, cap_w=cap_w)
    cluster = Cluster(
        spec, draw_behaviour(jobs, 1), policy="packed", start=start, shares=Shares.of(jobs, spec),
        outages=outages,
        heat=Heat(
            spec.thermal, units=nodes, units_per_rack=spec.units_per_rack, now=start, supply_c=supply_c,
            node_w=spec.power.idle_w, gpu_w=spec.power.gpu_idle_w, rng=stream(1, "r"),
        ) if heat else None,
        supply_c=(lambda now: supply_c) if heat else None,
        failures=FailureProcess(
            spec.failures, units=nodes, units_per_rack=spec.units_per_rack, seed=3, start=start
        ) if failures else None,
    )  # fmt: skip
    site = Site(cluster, jobs, overrun="trace", requeues=True, checkpointing=None, facility=facility)
    return Simulation(
        jobs, scheduler, nodes=nodes, site=site, start=start, running_at_start=running_at_start, admission=admission
    )


class Plan:
    name = "plan"
    api = 1
    needs = frozenset(CAPABILITIES)

    def __init__(self, decide):
        self.decide = decide

    def schedule(self, view):
        yield from self.decide(view)


def schedulers():
    return [
        FCFS(FCFS.Options()),
        EASY(EASY.Options()),
        Conservative(Conservative.Options()),
        Hybrid(Hybrid.Options()),
        Flux(Flux.Options(preset="production", match="first")),
        Flux(Flux.Options(queue_policy="easy", match="lonodex", cost={"decision_s": 0.9})),
        Tetris(Tetris.Options()),
        Tetris(Tetris.Options(reservation="easy")),
        NSGA2(NSGA2.Options(evaluations=100, interval=5)),
    ]


def finish(sim):
    """Run it, and verify every law; its jobs and attempts."""
    sim.run()
    jobs, attempts = jobs_table(sim, np.ones(len(sim.workload), bool)), attempts_table(sim)
    timeline = timeline_table(sim)
    check(sim, jobs, attempts, timeline)
    verify_nodes(sim, attempts, timeline)
    site = sim.site
    site.cluster.meter.settle(sim.now)
    curve = power_curve(sim, site)
    parts = ledger_j(sim, site, curve)
    parts.pop("of_which_conversion")
    assert sum(parts.values()) == pytest.approx(curve.joules(curve.facility_w), rel=1e-9)
    assert parts.get("unshared", 0.0) >= 0
    assert sum(site.cluster.meter.node_seconds.values()) == sim.nodes * (sim.now - sim.start)
    assert not sim.releases._ends or site.cluster.places.down_units
    places = site.cluster.places
    assert places.free_nodes == np.count_nonzero(places.up_U & ~places.aside_U)
    if site.cluster.shares is not None:
        assert site.cluster.shares.unshared_w == 0
        assert not site.cluster.shares.spare
    return jobs.to_pylist(), attempts.to_pylist(), parts


def verify_nodes(sim, attempts, timeline):
    """By brute force: what is in use of every node whenever something changes, and how many are busy."""
    rows = attempts.to_pylist()
    column = sim.workload.column
    taken, job = np.array(sim.attempts.taken), np.array(sim.attempts.job)
    end = np.array(sim.attempts.end)
    for row in timeline.to_pylist():
        now = row["time_s"]
        here = [i for i in range(len(rows)) if taken[i] <= now < end[i]]
        holders = {}
        for i in here:
            for unit in sim.site.units[i].tolist():
                holders.setdefault(unit, []).append(int(job[i]))
        assert row["busy_nodes"] == len(holders)
        for on_node in holders.values():
            if any(column("cores")[i] == 0 for i in on_node):
                assert len(on_node) == 1
            assert column("cores")[on_node].sum() <= CORES
            assert column("gpus")[on_node].sum() <= GPUS
            assert column("memory_gib")[on_node].sum() * 1024 <= MIB


part = st.tuples(st.just(1), st.integers(0, CORES), st.integers(0, GPUS), st.sampled_from([0.0, 0.3, MIB / 2048]))
whole = st.integers(1, 4).map(lambda nodes: (nodes, 0, 0, 0.0))
rows = st.lists(
    st.tuples(st.integers(0, 4000), st.integers(1, 5000), st.one_of(part, part, whole)).map(lambda r: (*r[:2], *r[2])),
    min_size=1, max_size=25,
).map(sorted)  # fmt: skip


# -- the laws, on whatever jobs -------------------------------------------------------------------


@settings(deadline=None, max_examples=80)
@given(rows, st.integers(0, 4))
def test_nobody_gets_what_is_not_there_every_job_runs_and_the_books_close(jobs, which):
    sim = simulation(workload(jobs), schedulers()[which])
    made, attempts, _ = finish(sim)
    assert all(row["state"] == "completed" for row in made)
    assert len(attempts) == len(jobs)


def meddler(deeds):
    deeds = iter(deeds)

    def decide(view):
        room = view.room()
        deed = next(deeds, None)
        running = [each.job for each in view.running.values()]
        if deed is not None:
            yield Hold(view.now + 700)
            if isinstance(deed, SetCap):
                yield deed
            elif running:
                job = running[len(running) // 2]
                yield deed(job)
        yield from (Start(job) for job in view.queue if room.take(job))

    return Plan(decide)


breaks = st.lists(
    st.builds(
        lambda start_s, span_s, units: Outage(start_s, start_s + span_s, units, "outage"),
        st.integers(1, 6000), st.integers(1, 3000), st.integers(1, 4),
    ),
    max_size=3,
)  # fmt: skip
deeds = st.lists(
    st.one_of(
        st.sampled_from([Kill, Preempt, SetCap(None), SetCap(1000.0), SetCap(1300.0)]),
        st.floats(0.5, 1.0).map(lambda speed: lambda job: SetSpeed(job, speed)),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(rows, deeds, breaks, st.booleans(), st.booleans(), st.sampled_from([30.0, 58.0, 70.0]))
def test_the_books_close_with_heat_failures_caps_speeds_and_jobs_that_are_stopped(
    jobs, todo, outages, heat, failures, supply_c
):
    sim = simulation(
        workload(jobs), meddler(todo), heat=heat, failures=failures, supply_c=supply_c, outages=sorted(outages)
    )
    finish(sim)


@settings(deadline=None, max_examples=25)
@given(rows, st.integers(0, 6000), st.integers(0, 4))
def test_a_fork_goes_on_as_the_original(jobs, second, which):
    sim = simulation(workload(jobs), schedulers()[which], heat=True)
    sim.run(second)
    twin = sim.fork()
    ends = [finish(each)[0] for each in (twin, sim)]
    assert ends[0] == ends[1]


@settings(deadline=None, max_examples=40)
@given(rows, st.integers(0, 3))
def test_jobs_that_share_all_of_a_node_are_jobs_of_whole_nodes(jobs, which):
    all_of_it = [(*job[:3], CORES, 0, 0.0) if job[2] == 1 else job for job in jobs]
    alone = [(*job[:3], 0, 0, 0.0) for job in jobs]
    first, second = (simulation(workload(each), schedulers()[which]) for each in (all_of_it, alone))
    assert first.sharing is None
    assert finish(first) == finish(second)


@settings(deadline=None, max_examples=60)
@given(rows, st.integers(1, 3))
def test_the_head_of_the_queue_is_never_later_than_its_first_shadow(jobs, which):
    """Backfilled jobs, sharing ones too, delay no head of the queue."""
    promised = {}
    scheduler = schedulers()[which]

    def decide(view):
        room = view.room()
        for job in view.queue:
            if room.take(job):
                continue
            promised.setdefault(job.id, view.shadow(job, room).time)
            break
        yield from scheduler.schedule(view)

    jobs = workload(jobs)
    sim = simulation(jobs, Plan(decide))
    finish(sim)
    start = dict(zip(sim.attempts.job, sim.attempts.start, strict=True))
    assert all(start[job] <= second for job, second in promised.items())


# -- what sharing brings --------------------------------------------------------------------------


@pytest.mark.parametrize("which", range(5))
def test_two_halves_of_a_node_run_at_once(which):
    half = (0, 1000, 1, CORES // 2, 0, 0.0)
    sim = simulation(workload([half, half]), schedulers()[which], nodes=1)
    finish(sim)
    assert sim.now == 1000
    most = (0, 1000, 1, CORES // 2 + 1, 0, 0.0)
    sim = simulation(workload([most, most]), schedulers()[which], nodes=1)
    finish(sim)
    assert sim.now == 2000


@pytest.mark.parametrize("which", range(1, 5))
def test_a_job_is_backfilled_beside_another_while_no_node_is_free(which):
    jobs = [(0, 5000, 3, 0, 0, 0.0), (0, 5000, 1, 2, 0, 0.0), (1, 100, 4, 0, 0, 0.0), (2, 4000, 1, 2, 0, 0.0)]
    sim = simulation(workload(jobs), schedulers()[which])
    made, _, _ = finish(sim)
    assert made[3]["start_s"] == 2
    assert made[2]["start_s"] == 5000


@pytest.mark.parametrize("which", range(1, 5))
def test_a_job_that_would_keep_a_shared_node_from_the_head_waits(which):
    jobs = [(0, 5000, 3, 0, 0, 0.0), (0, 5000, 1, 2, 0, 0.0), (1, 100, 4, 0, 0, 0.0), (2, 20_000, 1, 2, 0, 0.0)]
    sim = simulation(workload(jobs), schedulers()[which])
    made, _, _ = finish(sim)
    assert made[2]["start_s"] == 5000
    assert made[3]["start_s"] == 5100


def test_a_shadow_knows_what_the_pass_has_put_on_shared_nodes():
    jobs = [(0, 500, 1, 2, 0, 0.0), (1, 900, 1, 2, 0, 0.0), (1, 300, 1, CORES - 1, 0, 0.0), (1, 9, 4, 0, 0, 0.0)]
    seen = []

    def decide(view):
        room = view.room()
        if view.now == 1:
            first, second, head = view.queue
            ends = [view.shadow(head, room).time]
            for job in (first, second):
                assert room.take(job)
                ends.append(view.shadow(head, room).time)
                assert view.profile(room).earliest(4, 1) == ends[-1]
            seen.extend([*ends, room.free, room.shared_until(first), view.free_nodes])
        yield from EASY(EASY.Options()).schedule(view)

    sim = simulation(workload(jobs), Plan(decide))
    finish(sim)
    # walltimes are twice the runtimes: the second job makes its node's last end later, the third opens a node
    assert seen == [1000, 1801, 1801, 2, 1801, 3]


def test_the_fullest_node_that_has_room_is_chosen():
    jobs = [
        (0, 9000, 1, CORES - 3, 0, 0.0),
        (1, 9000, 1, CORES - 5, 0, 0.0),
        (2, 9000, 1, 4, 0, 0.0),
        (3, 9, 1, 2, 0, 0.0),
    ]
    sim = simulation(workload(jobs), schedulers()[0])
    _, attempts, _ = finish(sim)
    units = [row["units"] for row in attempts]
    assert units[0] != units[1] == units[2]
    assert units[3] == units[0]


def test_a_start_may_name_a_shared_node():
    jobs = [(0, 900, 1, 2, 0, 0.0), (0, 900, 1, 2, 0, 0.0), (0, 900, 1, 2, 0, 0.0)]
    wanted = {0: (2,), 1: (3,), 2: (2,)}
    sim = simulation(workload(jobs), Plan(lambda view: [Start(job, units=wanted[job.id]) for job in view.queue]))
    _, attempts, _ = finish(sim)
    assert [row["units"] for row in attempts] == ["2", "3", "2"]


def test_a_start_on_a_shared_node_that_is_full_is_refused():
    jobs = [(0, 900, 1, CORES - 1, 0, 0.0), (0, 900, 1, 2, 0, 0.0)]
    sim = simulation(workload(jobs), Plan(lambda view: [Start(job, units=(2,)) for job in view.queue]))
    with pytest.raises(BadDecision, match="unit 2 is shared and has too little left"):
        sim.run()
    sim = simulation(workload(jobs), Plan(lambda view: [Start(job) for job in view.queue]), nodes=1)
    with pytest.raises(BadDecision, match="only 0 are free"):
        sim.run()


# -- queues with pools, and jobs that are stopped --------------------------------------------------

queues = st.lists(st.sampled_from("gapd"), min_size=25, max_size=25)


def centre(exclusive, shared, later):
    """``a`` has a pool, other from second ``later`` on; ``d`` may stop jobs of ``p``."""

    def period(begin, pool):
        of = {name: Queue(name, (1, 4), (0, 100_000)) for name in "g"}
        of["a"] = Queue("a", (1, 4), (0, 100_000), pool=pool)
        of["p"] = Queue("p", (1, 4), (0, 100_000), preemptable=True)
        of["d"] = Queue("d", (1, 4), (0, 100_000), may_preempt=("p",))
        return Period(begin, of, ("g",))

    pools = Pool(exclusive=exclusive, shared=shared), Pool(exclusive=1, shared=3)
    return QueueRules("made", (period(0, pools[0]), period(later, pools[1])))


@settings(deadline=None, max_examples=80)
@given(rows, queues, st.integers(0, 2), st.integers(1, 4), st.integers(100, 5000), st.integers(0, 4))
def test_queues_with_pools_and_rights_keep_the_laws(jobs, names, exclusive, shared, later, which):
    made = workload(jobs)
    made = dataclasses.replace(
        made,
        table=made.table.set_column(
            made.table.schema.get_field_index("queue"), made.table.schema.field("queue"),
            pa.array(names[: len(jobs)]).dictionary_encode(),
        ),
    )  # fmt: skip
    rules = centre(exclusive, shared, later)
    sim = simulation(made, schedulers()[which], admission=Admission(rules, 0, nodes=4, over_limit="hold"))
    done, attempts, _ = finish(sim)
    assert {row["state"] for row in done} <= {"completed", "rejected"}
    assert np.array_equal(sim.pools._now_U, sim.pools._due_U)  # what was held late has changed hands
    assert np.array_equal(sim.pools._now_U >= 0, sim.site.cluster.places.aside_U)
    first_exclusive = 4 - exclusive
    for row, units in zip(attempts, sim.site.units, strict=True):
        if row.get("cores", 0):
            queued = next(each for each in done if each["job_id"] == row["job_id"])
            assert row["state"] != "preempted", queued
            assert int(units[0]) < first_exclusive or row["start_s"] >= later


def test_a_shared_node_changes_hands_when_its_last_job_leaves():
    jobs = workload([(0, 1000, 1, CORES - 1, 0, 0.0)] * 4 + [(1100, 50, 4, 0, 0, 0.0)])
    admission = Admission(centre(0, 4, 100), 0, nodes=4, over_limit="hold")
    sim = simulation(jobs, schedulers()[1], admission=admission)
    sim.run(500)
    assert [nodes for _, nodes in sim.sharing.expected.values()] == [1, 1, 1, 0]  # the last is due to queue a
    sim.run(1001)
    assert np.flatnonzero(sim.site.cluster.places.aside_U).tolist() == [3]
    assert sim.free_nodes == 3


def test_jobs_that_were_running_at_the_start_share_as_they_can():
    jobs = workload([(0, 500, 1, CORES // 2, 0, 0.0)] * 3 + [(0, 500, 1, CORES + 1, 0, 0.0)])
    sim = simulation(jobs, schedulers()[0], nodes=1, start=100, running_at_start=dict.fromkeys(range(4), 50))
    assert sim.found_running == 2
    made, _, _ = finish(sim)
    assert [row["end_s"] for row in made[:3]] == [550, 550, 1050]
    assert made[3]["state"] == "rejected"


# -- power and heat -------------------------------------------------------------------------------


def test_a_job_draws_its_part():
    jobs = workload([(0, 1000, 1, 3, 1, 0.0)])
    sim = simulation(jobs, schedulers()[0])
    _, attempts, parts = finish(sim)
    behaviour, power = draw_behaviour(sim.workload, 1), COOLEY.power
    cpu_w, gpu_w = power.cpu_dyn_w * behaviour.cpu_util_J[0], power.gpu_dyn_w * behaviour.gpu_util_J[0]
    largest = max(3 / CORES, 1 / GPUS)
    expected_w = cpu_w * 3 / CORES + gpu_w / GPUS + largest * power.idle_w
    assert attempts[0]["energy_j"] == pytest.approx(1000 * expected_w, abs=2)
    assert parts["unshared"] == pytest.approx(1000 * (1 - largest) * power.idle_w, abs=2)


def test_jobs_that_complement_each_other_bear_all_idle_power_between_them_and_no_more():
    jobs = workload([(0, 1000, 1, CORES - 1, 0, 1.0), (0, 1000, 1, 1, GPUS, 1.0)])
    sim = simulation(jobs, schedulers()[0], nodes=1)
    _, attempts, parts = finish(sim)
    behaviour, power = draw_behaviour(sim.workload, 1), COOLEY.power
    largest = np.array([(CORES - 1) / CORES, 1.0])
    dynamic_w = power.cpu_dyn_w * behaviour.cpu_util_J * [CORES - 1, 1] / CORES
    dynamic_w += [0.0, power.gpu_dyn_w * behaviour.gpu_util_J[1]]
    expected_w = dynamic_w + power.idle_w * largest / largest.sum()
    assert [row["energy_j"] for row in attempts] == pytest.approx(1000 * expected_w, abs=2)
    assert parts["unshared"] == pytest.approx(0, abs=2)


def test_a_node_that_goes_down_ends_all_jobs_on_it():
    jobs = workload([(0, 1000, 1, 3, 0, 0.0), (0, 1000, 1, 3, 0, 0.0), (0, 1000, 1, CORES - 2, 0, 0.0)])
    outages = [Outage(400, 600, 4, "outage")]
    sim = simulation(jobs, schedulers()[0], outages=outages)
    made, attempts, parts = finish(sim)
    assert [row["state"] for row in attempts[:3]] == ["node_failed"] * 3
    assert [(row["start_s"], row["end_s"]) for row in made] == [(600, 1600)] * 3
    share = np.array([3, 3, CORES - 2]) / CORES
    assert [row["lost_node_s"] for row in attempts[:3]] == np.rint(400 * share).tolist()
    assert sim.site.cluster.service.interrupts[0].jobs == 3
    assert parts["repair"] == pytest.approx(4 * 200 * COOLEY.power.idle_w, rel=1e-5)


def test_a_cap_slows_jobs_as_little_as_it_can():
    jobs = workload([(0, 9000, 1, 3, 0, 0.0), (0, 9000, 1, 2, 0, 0.0), (0, 9000, 2, 0, 0, 0.0)])
    power = COOLEY.power
    sim = simulation(jobs, schedulers()[0])
    sim.run(1)
    cluster, facility = sim.site.cluster, sim.site.facility
    idle_w = 4 * power.idle_w + power.fixed_w
    dynamic_w = cluster.meter.it_w - idle_w
    cap_w = (idle_w + 0.6 * dynamic_w) * (1 + facility.overhead(0))
    sim = simulation(jobs, schedulers()[0], cap_w=cap_w)
    sim.run(1)
    factor = sim.site.cluster.cap
    assert factor == pytest.approx(np.floor(100 * 0.6 ** (1 / power.speed_exponent)) / 100)
    assert sim.site.cluster.meter.it_w == pytest.approx(idle_w + factor**power.speed_exponent * dynamic_w, abs=0.1)
    finish(sim)


def test_heat_is_that_of_the_whole_node():
    jobs = workload([(0, 9000, 1, 3, 1, 0.0), (0, 9000, 1, 5, 0, 0.0)])
    sim = simulation(jobs, schedulers()[0], heat=True)
    sim.run(100)
    unit = int(sim.site.units[0][0])
    assert np.array_equal(sim.site.units[0], sim.site.units[1])
    behaviour, power = draw_behaviour(sim.workload, 1), COOLEY.power
    cpu_w = power.cpu_dyn_w * (behaviour.cpu_util_J * [3, 5]).sum() / CORES
    gpu_w = power.gpu_dyn_w * behaviour.gpu_util_J[0] / GPUS
    node_w, one_gpu_w = sim.site.cluster.heat.power_w(unit)
    assert node_w == pytest.approx(power.idle_w + cpu_w + gpu_w)
    assert one_gpu_w == pytest.approx(power.gpu_idle_w + gpu_w)
    sim.run()
    assert sim.site.cluster.heat.power_w(unit) == pytest.approx((power.idle_w, power.gpu_idle_w))


def test_the_throttle_slows_all_jobs_of_a_node_and_is_lifted_when_one_leaves():
    jobs = workload([(0, 50_000, 1, 6, 1, 0.0), (0, 90_000, 1, 5, 1, 0.0)])
    found = {}
    for supply_c in (30.0, 70.0):
        sim = simulation(jobs, schedulers()[0], nodes=1, heat=True, supply_c=supply_c)
        sim.run(20_000)
        found[supply_c] = [execution.heat for execution in sim.site.cluster.executions.values()]
        made, attempts, _ = finish(sim)
        found[supply_c, "end"] = [row["end_s"] for row in made]
        found[supply_c, "throttled"] = [row["throttled_node_s"] for row in attempts]
    assert found[30.0] == [1.0, 1.0]
    assert found[30.0, "throttled"] == [0, 0]
    first, second = found[70.0]
    assert first == second < 1.0
    assert all(hot > cold for hot, cold in zip(found[70.0, "end"], found[30.0, "end"], strict=True))
    assert found[70.0, "throttled"][0] > 0


# -- what users say -------------------------------------------------------------------------------


def test_what_a_job_does_not_say_is_in_proportion():
    rows = [
        (0, 1, 1, 0, 1, 0.0),
        (0, 1, 1, 3, 0, 0.0),
        (0, 1, 1, 3, 0, 1.5),
        (0, 1, 2, 0, 0, 0.0),
        (0, 1, 1, CORES, 0, 0),
    ]
    jobs = list(in_parts(workload(rows), COOLEY).jobs())
    assert [job.cores for job in jobs] == [CORES // GPUS, 3, 3, 0, 0]
    assert [job.gpus for job in jobs] == [1, 0, 0, 0, 0]
    expected = [MIB // GPUS / 1024, 3 * MIB // CORES / 1024, 1.5, 0, 0]
    assert [job.memory_gib for job in jobs] == expected
    assert [job.nodes for job in jobs] == [1, 1, 1, 2, 1]


def test_processors_that_are_cores_make_parts_and_whole_nodes():
    plain = workload([(0, 1, count, 0, 0, 0.0) for count in (1, CORES - 1, CORES, CORES + 1, 5 * CORES)])
    jobs = list(in_parts(plain, COOLEY, processors_are_cores=True).jobs())
    assert [(job.nodes, job.cores) for job in jobs] == [(1, 1), (1, CORES - 1), (1, 0), (2, 0), (5, 0)]


@pytest.mark.parametrize("request_", [(CORES + 1, 0, 0.0), (1, GPUS + 1, 0.0), (1, 0, MIB / 1024 + 1)])
def test_more_than_a_node_has_is_rejected(request_):
    sim = simulation(workload([(0, 5, 1, *request_), (0, 5, 1, 1, 0, 0.0)]), schedulers()[1])
    made, _, _ = finish(sim)
    assert (made[0]["state"], made[0]["rejected_by"]) == ("rejected", "larger than a node")
    assert made[1]["state"] == "completed"


@pytest.mark.parametrize("row", [(0, 1, 2, 1, 0, 0.0), (0, 1, 1, -1, 0, 0.0), (0, 1, 1, 1, 0, -1.0)])
def test_a_part_that_is_none_is_refused(row):
    with pytest.raises(InputError, match="test: job j0 asks for"):
        in_parts(workload([row]), COOLEY)


def test_where_nodes_are_only_counted_nobody_shares_them():
    with pytest.raises(InputError, match="share nodes"):
        Simulation(workload([(0, 1, 1, 1, 0, 0.0)]), schedulers()[0], nodes=4)
    with pytest.raises(InputError, match="allocates no single nodes"):
        in_parts(workload([(0, 1, 1, 1, 0, 0.0)]), load_machine("mira"))
    with pytest.raises(InputError, match=r"physics\.processors: found 'cores'"):
        hpcsim.simulate("mira", {"machine.model": "mira", "jobs": 5, "physics.processors": "cores"})


def test_parts_go_with_their_jobs():
    jobs = workload([(0, 1, 1, 1, 0, 0.5), (1, 1, 1, 0, 0, 0.0), (2, 1, 1, 0, 1, 0.0)])
    assert [(job.cores, job.gpus, job.memory_gib) for job in jobs.take(np.array([0, 2])).jobs()] == [
        (1, 0, 0.5),
        (0, 1, 0),
    ]
    assert next(jobs.first(1).with_nodes(np.array([1])).jobs()).memory_gib == 0.5
    assert jobs.shares_nodes
    assert not jobs.take(np.array([1])).shares_nodes


# -- whole scenarios ------------------------------------------------------------------------------


def swf(folder, count=400):
    """A trace of many small jobs, as of a machine whose processors are cores."""
    rng = np.random.default_rng(5)
    cores = np.minimum(1 + rng.geometric(0.08, count), 1500)
    cores[::40] = 700
    runtime = rng.integers(60, 40_000, count)
    jobs = workload_from_columns(
        t0_utc=1_700_000_000, source="t", name=[str(i + 1) for i in range(count)],
        submit_s=np.sort(rng.integers(0, 100_000, count)), nodes=cores, walltime_s=runtime * 2, runtime_s=runtime,
        machine_nodes=1512,
    )  # fmt: skip
    write_swf(jobs, folder / "cores.swf")
    return str(folder / "cores.swf"), cores


OFF = dict.fromkeys(("variation", "heat", "failures", "outages", "maintenance", "queues"), False)


@pytest.mark.parametrize("scheduler", ["easy", "conservative"])
@pytest.mark.parametrize(
    "physics",
    [OFF, {"queues": False}, {"failures": True, "cap_kw": 60.0, "telemetry": {"interval": 3600}, "queues": False}],
)
def test_a_trace_of_cores_runs_on_cooley(tmp_path, physics, scheduler):
    trace, cores = swf(tmp_path)
    settings = {"trace": trace, "machine.model": "cooley", "scheduler": scheduler}
    run = hpcsim.simulate("bare", settings | {"physics": physics | {"processors": "cores"}}, check=True)
    jobs = run.jobs
    asked = np.where(cores < CORES, cores, 0)
    assert jobs["cores"].tolist() == asked.tolist()
    assert set(jobs["state"]) <= {"completed", "rejected"}
    summary = run.summary
    assert sum(v for k, v in summary["energy_split_kwh"].items() if k != "of_which_conversion") == pytest.approx(
        summary["energy_facility_kwh"], rel=1e-9
    )
    assert summary["energy_split_kwh"]["unshared"] > 0
    if physics is OFF:
        share = np.where(cores < CORES, np.maximum(cores / CORES, cores * MIB // CORES / MIB), -(-cores // CORES))
        assert summary["node_hours"] == pytest.approx((share * jobs["runtime_s"]).sum() / 3600)
        assert run.attempts["cores"].tolist() == asked[[int(name) - 1 for name in run.attempts["job_id"]]].tolist()


def test_runs_in_which_nobody_shares_have_no_trace_of_it():
    run = hpcsim.simulate("cooley", {"jobs": 50, "machine.model": "cooley", "physics": {}})
    assert "cores" not in run.jobs
    assert "cores" not in run.attempts
    assert "unshared" not in run.summary["energy_split_kwh"]
