"""Laws of the packer, and the worked example whose scores were computed independently."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.engine.twins import Prediction
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.facility import Facility
from hpcsim.machine.service import Outage
from hpcsim.machine.shares import Shares, in_parts
from hpcsim.results.check import check
from hpcsim.results.energy import power_curve
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.schedulers.tetris import Tetris, alignment, combined, work
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import workload_from_columns

COOLEY = load_machine("cooley")
MIRA = load_machine("mira")

# -- the worked example: 64 cores, 512 GiB, 4 GPUs ------------------------------------------------

CAPACITY = np.array([64.0, 512.0, 4.0])
AVAILABLE = np.array([40.0, 200.0, 2.0])
DEMAND = np.array([[32.0, 64.0, 1.0], [8.0, 128.0, 2.0], [16.0, 16.0, 0.0]])  # A, B, C
SECONDS = np.array([100.0, 50.0, 20.0])


def test_the_scores_of_the_worked_example():
    a = alignment(DEMAND, AVAILABLE, CAPACITY)
    p = work(SECONDS, DEMAND, CAPACITY)
    assert np.round(a, 6).tolist() == [0.486328, 0.425781, 0.168457]
    assert p.tolist() == [87.5, 43.75, 5.625]
    assert round(a.mean() / p.mean(), 7) == 0.0078945
    assert np.round(combined(a, p, 1.0), 4).tolist() == [-0.2044, 0.0804, 0.1241]
    assert combined(a, p, 0.0).tolist() == a.tolist()


ONE_NODE = replace(
    COOLEY, name="one", nodes=1, racks=1, units_per_rack=1, cores_per_node=64, memory_gib=512.0, gpus_per_node=4
)


@pytest.mark.parametrize(("weight", "first"), [(0.0, "A"), (1.0, "C")])
def test_pure_packing_picks_a_and_the_combined_score_c(weight, first):
    """A job holds what is not available; D does not fit, and goes last whatever its score is."""
    jobs = workload_from_columns(
        t0_utc=0, source="test", name=["held", "A", "B", "C", "D"], submit_s=[0, 1, 1, 1, 1], nodes=[1] * 5,
        runtime_s=[1000, 100, 50, 20, 10], walltime_s=[1000, 100, 50, 20, 10], cores=[24, 32, 8, 16, 40],
        gpus=[2, 1, 2, 0, 2], memory_gib=[312.0, 64.0, 128.0, 16.0, 256.0],
    )  # fmt: skip
    jobs = in_parts(jobs, ONE_NODE)
    cluster = Cluster(
        ONE_NODE, draw_behaviour(jobs, 1), policy="packed", start=0, shares=Shares.of(jobs, ONE_NODE)
    )  # fmt: skip
    site = Site(cluster, jobs, overrun="kill", requeues=True, checkpointing=None)
    options = Tetris.Options(resources=("nodes", "memory", "gpus"), work_weight=weight)
    sim = Simulation(jobs, Tetris(options), nodes=1, site=site)
    sim.run()
    assert ("held", "A", "B", "C", "D")[sim.attempts.job[1]] == first
    assert sim.attempts.start[1] == 1
    assert sim.attempts.job[-1] == 4


# -- laws -----------------------------------------------------------------------------------------


def workload(*jobs, **columns):
    """Jobs as (submit, runtime, nodes, walltime, project)."""
    submit, runtime, nodes, walltime, project = zip(*jobs, strict=True)
    return workload_from_columns(
        t0_utc=0, source="test", name=[f"j{i}" for i in range(len(jobs))], submit_s=submit, nodes=nodes,
        walltime_s=walltime, runtime_s=runtime, project=list(project), user=[f"u{name}" for name in project],
        **columns,
    )  # fmt: skip


def counted(jobs, nodes=12, **options):
    return Simulation(jobs, Tetris(Tetris.Options(**options)), nodes=nodes)


def placed(jobs, scheduler, *, spec=COOLEY, policy="packed", outages=(), twins=None, **surroundings):
    facility = Facility(spec, jobs.t0_utc, **surroundings)
    cluster = Cluster(
        spec, draw_behaviour(jobs, 1), policy=policy, start=0, outages=outages, supply_c=facility.supply_c
    )
    site = Site(cluster, jobs, overrun="kill", requeues=True, checkpointing=None, facility=facility)
    return Simulation(jobs, scheduler, nodes=spec.units * spec.unit_nodes, site=site, twins=twins or {})


def run(sim):
    """The attempts of a run that keeps the laws, in the order of starts."""
    sim.run()
    jobs, attempts = jobs_table(sim, np.ones(len(sim.workload), bool)), attempts_table(sim)
    check(sim, jobs, attempts, timeline_table(sim))
    return attempts.to_pylist()


def rows(most_nodes, least=1):
    return st.lists(
        st.tuples(
            st.integers(0, 100), st.integers(1, 60), st.integers(least, most_nodes), st.integers(0, 30),
            st.sampled_from("abc"),
        ).map(lambda row: (*row[:3], row[1] + row[3], row[4])),
        min_size=1, max_size=25,
    ).map(sorted)  # fmt: skip


class Promising(Tetris):
    """Notes what it promises to the job that has waited longest."""

    def __init__(self, options):
        super().__init__(options)
        self.promised = {}

    def schedule(self, view):
        decided = list(super().schedule(view))
        room = view.room()
        for decision in decided:
            if decision.why != "has waited longest":
                break
            room.take(decision.job)
        waiting = [job for job in view.queue if job not in room.started]
        if waiting:
            self.promised.setdefault(waiting[0].id, view.shadow(waiting[0], room).time)
        yield from decided


@settings(deadline=None, max_examples=150)
@given(rows(12), st.sampled_from([0.0, 0.5]), st.sampled_from([0.0, 1.0]))
def test_with_a_reservation_who_has_waited_longest_starts_no_later_than_first_promised(jobs, fairness, weight):
    options = Tetris.Options(reservation="easy", fairness=fairness, work_weight=weight)
    promising = Promising(options)
    sim = Simulation(workload(*jobs), promising, nodes=12)
    run(sim)
    started = dict(zip(sim.attempts.job, sim.attempts.start, strict=True))
    assert all(started[job_id] <= promise for job_id, promise in promising.promised.items())


@settings(deadline=None, max_examples=80)
@given(rows(12), st.sampled_from([0.0, 1.0]))
def test_without_fairness_and_reservation_no_job_waits_that_would_fit(jobs, weight):
    sim = counted(workload(*jobs), fairness=0.0, work_weight=weight)
    attempts = run(sim)
    table = jobs_table(sim, np.ones(len(jobs), bool)).to_pylist()
    for second in {row["submit_s"] for row in table} | {row["end_s"] for row in attempts}:
        free = 12 - sum(row["nodes"] for row in attempts if row["start_s"] <= second < row["end_s"])
        assert all(row["nodes"] > free for row in table if row["submit_s"] <= second < row["start_s"])


@settings(deadline=None, max_examples=80)
@given(rows(12), st.sampled_from([0.34, 0.67, 0.99]), st.sampled_from(["project", "user"]))
def test_only_groups_that_have_used_the_least_start(jobs, fairness, group):
    """Node-seconds by the attempts alone, up to the second of each start."""
    sim = counted(workload(*jobs), fairness=fairness, group=group)
    attempts = run(sim)
    table = jobs_table(sim, np.ones(len(jobs), bool)).to_pylist()
    project = {row["job_id"]: jobs[int(row["job_id"][1:])][4] for row in table}
    for start in attempts:
        now = start["start_s"]
        used = defaultdict(int)
        for row in attempts:
            used[project[row["job_id"]]] += row["nodes"] * max(0, min(row["end_s"], now) - min(row["start_s"], now))
        waiting = {project[row["job_id"]] for row in table if row["submit_s"] <= now <= row["start_s"]}
        count = int(np.ceil((1 - fairness) * len(waiting) - 1e-9))
        at_most = sorted(used[name] for name in waiting)[count - 1]
        assert used[project[start["job_id"]]] <= at_most


def ensemble(open_):
    """Ten jobs that an eleventh waits for, of which ``open_`` are still to run, and others that are better to pack."""
    members = [(0, 10, 1, 10, "a")] * (10 - open_) + [(1, 500, 1, 500, "a")] * open_
    others = [(1, 5, 3, 5, "a")] * 4
    jobs = [*members, (2, 5, 1, 5, "a"), *[(2, *other[1:]) for other in others]]
    after = [None] * 10 + [list(range(10))] + [None] * 4
    return workload(*jobs, after=after)


@pytest.mark.parametrize(
    ("open_", "barrier", "goes_first"), [(1, 0.9, True), (3, 0.9, False), (3, 0.7, True), (1, 1.0, False)]
)
def test_the_last_jobs_before_a_barrier_go_first(open_, barrier, goes_first):
    """They are submitted while all nodes are busy, and compete with the others for them when these come free."""
    sim = Simulation(ensemble(open_), Tetris(Tetris.Options(fairness=0.0, barrier=barrier)), nodes=10 - open_)
    attempts = run(sim)
    order = [int(row["job_id"][1:]) for row in attempts if row["start_s"] == 10]
    awaited = [row["job_id"] for row in attempts if row["why"] == "packed: others wait for it"]
    assert all(job < 10 for job in order[:open_]) == goes_first
    assert len(awaited) == (open_ if goes_first else 0)


@settings(deadline=None, max_examples=60)
@given(rows(126), st.floats(0.26, 1.0), st.sampled_from(["none", "easy"]), st.booleans())
def test_under_a_cap_jobs_are_packed_so_that_none_is_slowed_but_one_too_large_for_it(jobs, share, reservation, fair):
    power = COOLEY.power
    dynamic_w = power.cpu_dyn_w + power.gpu_dyn_w
    idle_w = 126 * power.idle_w + power.fixed_w
    cap_w = (idle_w + share * 126 * dynamic_w) * (1 + Facility(COOLEY, 0).worst_overhead(0))
    options = Tetris.Options(reservation=reservation, fairness=0.25 if fair else 0.0)
    sim = placed(workload(*jobs), Tetris(options), cap_w=cap_w)
    attempts = run(sim)
    curve = power_curve(sim, sim.site)
    assert curve.facility_w.max() <= cap_w * (1 + 1e-9)
    for row in attempts:
        slowed = row["end_s"] - row["start_s"] > jobs[int(row["job_id"][1:])][1] + 1
        alone = sum(r["start_s"] < row["end_s"] and row["start_s"] < r["end_s"] for r in attempts) == 1
        assert not slowed or (alone and row["nodes"] > 126 * share)


class Draws:
    """Jobs draw so many watts above idle on a node, on the average of the walltime."""

    name, api, answers = "draws", 1, "energy"

    def __init__(self, watts):
        self.watts = watts

    def energy(self, jobs, speeds, view):
        joules = np.array([(COOLEY.power.idle_w + self.watts) * job.nodes * job.walltime for job in jobs])
        return Prediction(joules, np.zeros(len(jobs)), np.zeros(len(jobs)))


def test_what_the_energy_twin_says_is_what_is_packed():
    power = COOLEY.power
    most_w = power.cpu_dyn_w + power.gpu_dyn_w
    cap_w = (126 * (power.idle_w + most_w / 2) + power.fixed_w) * (1 + Facility(COOLEY, 0).overhead(0))
    jobs = workload(*((0, 100, 42, 100, "a") for _ in range(3)))
    at_once = {}
    for watts in (most_w, most_w / 2.01, None):
        twins = {} if watts is None else {"energy": Draws(watts)}
        sim = placed(jobs, Tetris(Tetris.Options(resources=("nodes", "power"))), cap_w=cap_w, twins=twins)
        sim.run(1)
        at_once[watts] = len(sim.running)
        sim.run()
    assert list(at_once.values()) == [1, 3, 1]


mira_rows = st.lists(
    st.tuples(
        st.integers(0, 100), st.integers(1, 60), st.sampled_from([512, 1024, 2048, 8192, 16_384, 49_152]),
        st.integers(0, 30), st.sampled_from("ab"),
    ).map(lambda row: (*row[:3], row[1] + row[3], row[4])),
    min_size=1, max_size=20,
).map(sorted)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(mira_rows, st.sampled_from(["none", "easy"]), st.booleans())
def test_it_packs_blocks_of_a_torus_around_maintenance(jobs, reservation, maintenance):
    outages = [Outage(120, 200, MIRA.units, "maintenance")] if maintenance else []
    options = Tetris.Options(reservation=reservation)
    sim = placed(workload(*jobs), Tetris(options), spec=MIRA, policy="torus", outages=outages)
    assert {row["state"] for row in run(sim)} == {"completed"}


def test_a_scenario_of_the_centre_with_all_its_physics_keeps_the_laws():
    scheduler = {"name": "tetris", "reservation": "easy"}
    made = hpcsim.simulate("polaris", {"jobs": 800, "scheduler": scheduler}, check=True)
    assert made.manifest["needs"] == []
    starts = made.attempts["why"].str.split(":").str[0]
    assert set(starts) <= {"packed", "has waited longest", "urgent"}


@settings(deadline=None, max_examples=40)
@given(rows(12), st.integers(0, 150))
def test_a_fork_goes_on_as_its_parent_does(jobs, at):
    sim = counted(workload(*jobs), fairness=0.5)
    sim.run(at)
    fork = sim.fork()
    sim.run()
    fork.run()
    assert attempts_table(sim).equals(attempts_table(fork))
