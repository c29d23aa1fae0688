"""Jobs by rank: plans carried out to the second, node classes, data on the way, and rigid jobs longest first."""

from math import ceil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.cli import cli
from hpcsim.engine.availability import Profile
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.engine.twins import Prediction
from hpcsim.errors import InputError
from hpcsim.machine.catalogue import build_spec, machine_data
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.node_classes import NodeClass, NodeClasses
from hpcsim.machine.service import Outage
from hpcsim.plugin import Start
from hpcsim.results.check import check
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.schedulers import taskgraph
from hpcsim.schedulers.backfilling import EASY, FCFS, Conservative
from hpcsim.schedulers.heft import CPOP, HEFT
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import COMPLETED, TIMEOUT, workload_from_columns
from hpcsim.workload.profile import profile_names
from hpcsim.workload.synthetic import synthesise

FAST, SLOW = NodeClass("fast", 2, 2.0), NodeClass("slow", 3, 0.75)
BYTES_PER_S = 10.0


def workload(*jobs):
    """Jobs as (submit, runtime, nodes, walltime, {job: bytes that are read of it})."""
    submit, runtime, nodes, walltime, reads = zip(*jobs, strict=True)
    return workload_from_columns(
        t0_utc=0, source="test", name=[f"j{i}" for i in range(len(jobs))], submit_s=submit, nodes=nodes,
        walltime_s=walltime, runtime_s=runtime, after=[list(each) or None for each in reads],
        after_bytes=[list(each.values()) or None for each in reads],
    )  # fmt: skip


def simulation(jobs, scheduler, classes=(FAST, SLOW), overrun="kill", **options):
    spec = build_spec(machine_data("cooley") | {"nodes": sum(each.nodes for each in classes)})
    each = NodeClasses(classes, BYTES_PER_S)
    cluster = Cluster(
        spec, draw_behaviour(jobs, 1), policy="packed", start=0, class_U=each.slowness_U, classes=each,
        outages=options.pop("outages", ()),
    )  # fmt: skip
    site = Site(cluster, jobs, overrun=overrun, requeues=True, checkpointing=None)
    return Simulation(jobs, scheduler, nodes=spec.nodes, overrun=overrun, site=site, **options)


def run(sim):
    """Run and check it; its jobs as a list of dictionaries."""
    sim.run()
    tables = jobs_table(sim, np.ones(len(sim.workload), bool)), attempts_table(sim), timeline_table(sim)
    check(sim, *tables)
    return tables[0].to_pylist()


def heft(**options):
    return HEFT(HEFT.Options(**options))


def cpop(**options):
    return CPOP(CPOP.Options(**options))


def greedy(view):
    room = view.room()
    yield from (Start(job) for job in view.queue if room.take(job))


class Greedy:
    name = "greedy"
    api = 1

    def schedule(self, view):
        return greedy(view)


@st.composite
def workflows(draw, exact=True, most_nodes=2):
    """Jobs that follow jobs of lower numbers; where exact, they come at once and take the time that they are given."""
    jobs = []
    for i in range(draw(st.integers(1, 9))):
        runtime = draw(st.integers(1, 40))
        walltime = runtime if exact else runtime + draw(st.integers(0, 30))
        reads = {other: draw(st.integers(0, 200)) for other in range(i) if draw(st.integers(0, 2)) == 0}
        submit = 0 if exact else draw(st.integers(0, 30))
        jobs.append((submit, runtime, draw(st.integers(1, most_nodes)), walltime, reads))
    submits = sorted(each[0] for each in jobs)
    return workload(*((submit, *each[1:]) for submit, each in zip(submits, jobs, strict=True)))


def planned(jobs, algorithm, latency_s, insertion=True):
    """The plan by the functions on graphs alone."""
    graph = taskgraph.Graph(
        {
            job.id: [
                latency_s + each.seconds(job.walltime) if job.nodes <= each.nodes else None for each in (FAST, SLOW)
            ]
            for job in jobs
        },
        {
            (before, job.id): ceil(size / BYTES_PER_S)
            for job in jobs
            for before, size in zip(job.after or (), job.after_bytes or (), strict=True)
        },
        jobs={job.id: job for job in jobs},
    )
    return algorithm(graph, [Profile(0, FAST.nodes), Profile(0, SLOW.nodes)], insertion=insertion)


@pytest.mark.parametrize("insertion", [True, False])
@pytest.mark.parametrize(("scheduler", "algorithm"), [(heft, taskgraph.heft), (cpop, taskgraph.cpop)])
@settings(max_examples=60, deadline=None)
@given(jobs=workflows(), latency_s=st.sampled_from([0, 3]))
def test_where_runtimes_are_exact_a_run_is_the_plan_to_the_second(scheduler, algorithm, insertion, jobs, latency_s):
    sim = simulation(jobs, scheduler(insertion=insertion), launch_latency=latency_s)
    rows = run(sim)
    plan = planned(list(jobs.jobs()), algorithm, latency_s, insertion)
    for i, row in enumerate(rows):
        assert (row["start_s"] - latency_s, row["end_s"], row["state"]) == (*plan[i][1:], "completed")
        units = sim.site.units[list(sim.attempts.job).index(i)]
        assert sim.site.cluster.classes.among(units) == (plan[i].processor,)


class Replanning(HEFT):
    """HEFT that believes no plan."""

    def _still_holds(self, *_):
        return False


@settings(max_examples=100, deadline=None)
@given(jobs=workflows(exact=False), latency_s=st.sampled_from([0, 3]), out_s=st.integers(1, 90))
def test_a_plan_is_kept_only_where_planning_anew_would_start_the_same_jobs(jobs, latency_s, out_s):
    outages = [Outage(out_s, out_s + 10, 2, "outage")]
    kept, anew = (
        simulation(jobs, each, launch_latency=latency_s, outages=outages)
        for each in (heft(), Replanning(HEFT.Options()))
    )
    assert run(kept) == run(anew)
    assert [units.tolist() for units in kept.site.units] == [units.tolist() for units in anew.site.units]


def test_a_job_that_is_taken_off_the_machine_has_written_nothing():
    """Job 0 is stopped at 8 where it began, and runs from 13 on where job 1 was; there job 2 reads at once."""
    jobs = workload((3, 4, 2, 4, {}), (3, 19, 1, 39, {}), (4, 1, 1, 1, {0: 171}))
    sim = simulation(jobs, heft(), outages=[Outage(8, 18, 2, "outage")])
    assert [(row["start_s"], row["end_s"]) for row in run(sim)] == [(13, 15), (3, 13), (15, 16)]


SCHEDULERS = {
    "heft": heft, "cpop": cpop, "area": lambda: heft(rank="area"), "fcfs": lambda: FCFS(FCFS.Options()),
    "easy": lambda: EASY(EASY.Options()), "conservative": lambda: Conservative(Conservative.Options()),
    "greedy": Greedy,
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULERS)
@settings(max_examples=40, deadline=None)
@given(
    jobs=workflows(exact=False),
    out=st.tuples(st.integers(1, 60), st.integers(1, 40), st.integers(1, 5), st.booleans()),
)
def test_data_come_before_programs_and_slow_nodes_take_longer(name, jobs, out):
    """Under every scheduler, also while nodes go out of service or maintenance comes."""
    begins, lasts, units, scheduled = out
    outage = Outage(begins, begins + lasts, 5 if scheduled else units, "maintenance" if scheduled else "outage")
    sim = simulation(jobs, SCHEDULERS[name](), outages=[outage])
    rows = run(sim)
    if name in ("heft", "cpop", "area"):
        assert list(sim.attempts.taken) == list(sim.attempts.start)  # no node waits for data
    if scheduled:
        assert set(sim.attempts.state) == {COMPLETED}  # maintenance stops no job
    classes = sim.site.cluster.classes
    attempt = {job: i for i, job in enumerate(sim.attempts.job)}  # the last one
    speed = {job: min((FAST, SLOW)[c].speed for c in classes.among(sim.site.units[i])) for job, i in attempt.items()}
    lies_in = {job: set(classes.among(sim.site.units[i])) for job, i in attempt.items()}
    for job in jobs.jobs():
        row = rows[job.id]
        assert row["state"] == "completed"
        assert row["end_s"] - row["start_s"] == ceil(jobs.column("runtime_s")[job.id] / speed[job.id] - 1e-6)
        for before, size in zip(job.after or (), job.after_bytes or (), strict=True):
            way_s = 0 if lies_in[job.id] <= lies_in[before] else ceil(size / BYTES_PER_S)
            assert row["start_s"] >= rows[before]["end_s"] + way_s


def test_a_job_waits_on_its_nodes_for_data_of_another_class():
    first_on_fast = workload((0, 10, 2, 10, {}), (0, 10, 1, 10, {}), (0, 8, 1, 8, {1: 55, 0: 0}))
    sim = simulation(first_on_fast, FCFS(FCFS.Options()))
    rows = run(sim)
    # j0 has both fast nodes until 5, j1 a slow one until 14; j2 has a fast one from then on and its data 6 s later
    assert [(row["start_s"], row["end_s"]) for row in rows] == [(0, 5), (0, 14), (20, 24)]
    assert list(sim.attempts.taken) == [0, 0, 14]
    assert sim.ledger.busy_node_seconds == 2 * 5 + 14 + 10


def test_an_early_end_is_news_even_while_nothing_can_start():
    """By plan the data of j0 are on the slow nodes at 12 + 10; they leave at 5, which is seen before j1 has ended."""
    jobs = workload((0, 5, 3, 12, {}), (0, 12, 4, 12, {}), (0, 20, 2, 20, {0: 100, 1: 500}))
    sim = simulation(jobs, heft(), classes=(NodeClass("fast", 3, 1.0), NodeClass("slow", 4, 1.0)))
    assert [row["start_s"] for row in run(sim)] == [0, 0, 15]


@pytest.mark.parametrize("name", ["heft", "fcfs", "greedy"])
def test_a_job_that_is_too_long_for_slow_nodes_before_maintenance_waits(name):
    """On a slow node 12 s are 16 s, and maintenance is at 14."""
    outages = [Outage(14, 20, 5, "maintenance")]
    sim = simulation(workload((0, 20, 2, 20, {}), (0, 12, 1, 12, {})), SCHEDULERS[name](), outages=outages)
    assert [row["start_s"] for row in run(sim)] == [0, 20]


@pytest.mark.parametrize(("runtime", "start"), [(10, 5), (100, 20)])
def test_a_job_waits_for_a_fast_node_in_repair_if_it_ends_earlier_so(runtime, start):
    """All slow nodes are out of service until 5, then one of the two fast ones until 20."""
    outages = [Outage(0, 5, 3, "outage"), Outage(0, 20, 1, "outage")]
    sim = simulation(workload((5, runtime, 2, runtime, {})), heft(), outages=outages)
    assert run(sim)[0]["start_s"] == start


@pytest.mark.parametrize(
    ("runtime", "end", "outcome"), [(6, 8, COMPLETED), (7, 10, COMPLETED), (8, 10, TIMEOUT)]
)  # a walltime of 7 s is one of 10 s at a speed of 0.75
def test_walltimes_are_those_of_speed_1(runtime, end, outcome):
    sim = simulation(workload((0, 20, 2, 20, {}), (0, runtime, 1, 7, {})), FCFS(FCFS.Options()))
    assert run(sim)[1]["end_s"] == end
    assert sim.state[1] == outcome


def test_a_job_without_a_class_goes_at_the_pace_of_the_slowest_node_that_it_has():
    sim = simulation(workload((0, 12, 5, 12, {})), FCFS(FCFS.Options()))
    assert run(sim)[0]["end_s"] == 16
    with pytest.raises(hpcsim.errors.SchedulerError, match="job j0 is too large for every processor"):
        simulation(workload((0, 12, 5, 12, {})), heft()).run()


@settings(max_examples=15, deadline=None)
@given(jobs=workflows(exact=False), second=st.integers(1, 80), name=st.sampled_from(["heft", "cpop", "easy"]))
def test_a_fork_goes_on_as_its_parent(jobs, second, name):
    sim = simulation(jobs, SCHEDULERS[name]())
    sim.run(second)
    twin = sim.fork()
    assert run(sim) == run(twin)


class Asking(HEFT):
    """HEFT that asks in every pass what would come of it."""

    def __init__(self):
        super().__init__(HEFT.Options())
        self.outlooks = []

    def schedule(self, view):
        decisions = list(super().schedule(view))
        self.outlooks.append(view.what_if(decisions, 10_000, then=heft()))
        yield from decisions


@settings(max_examples=20, deadline=None)
@given(jobs=workflows())
def test_what_would_come_of_a_plan_is_known_where_runtimes_are_exact(jobs):
    """Also of jobs that run on slow nodes, or wait for data, when it is asked."""
    scheduler = Asking()
    rows = run(simulation(jobs, scheduler))
    for outlook in scheduler.outlooks:
        assert outlook.ends == {i: rows[i]["end_s"] for i in outlook.ends}
    assert set().union(*(outlook.ends for outlook in scheduler.outlooks)) == set(range(len(rows)))


# -- rigid jobs on one class ------------------------------------------------------------------


def starts(jobs, scheduler, nodes, **options):
    sim = Simulation(jobs, scheduler, nodes=nodes, **options)
    sim.run()
    start = np.full(len(jobs), -1)
    start[np.array(sim.attempts.job)] = np.array(sim.attempts.start)
    return start.tolist()


@pytest.mark.parametrize(("rank", "order"), [("time", "ljf"), ("area", "laf")])
def test_independent_jobs_are_backfilled_conservatively_longest_first(rank, order):
    assert "polaris-nodebug" in profile_names()
    jobs = synthesise("polaris-nodebug", seed=5, jobs=1500)
    conservative = starts(jobs, Conservative(Conservative.Options(order=order)), 300)
    assert starts(jobs, heft(rank=rank), 300) == starts(jobs, cpop(rank=rank), 300) == conservative
    assert conservative != starts(jobs, Conservative(Conservative.Options()), 300)


@settings(max_examples=40, deadline=None)
@given(
    jobs=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 20), st.integers(1, 5), st.integers(0, 20)), min_size=1),
    rank=st.sampled_from(["time", "area"]),
)
def test_the_plan_of_a_machine_of_one_class_starts_what_backfilling_by_rank_starts(jobs, rank):
    """As workflows are planned, if none of the jobs follows another."""

    class ByPlan(HEFT):
        def schedule(self, view):
            return self._by_plan(view, view.room())

    rows = [(submit, runtime, nodes, runtime + more, {}) for submit, runtime, nodes, more in sorted(jobs)]
    each = workload(*rows)
    assert starts(each, ByPlan(HEFT.Options(rank=rank)), 5) == starts(each, heft(rank=rank), 5)


class Known:
    """Knows that jobs take half their number more than a second."""

    name = "known"
    api = 1
    answers = "performance"

    def performance(self, jobs, view):
        mean = np.array([1.5 + job.id for job in jobs])
        return Prediction(mean, mean, mean)


def test_jobs_rank_by_what_the_performance_twin_predicts_but_no_longer_than_their_walltime():
    jobs = workload(*[(0, 1, 1, walltime, {}) for walltime in (60, 50, 40, 3)])
    assert starts(jobs, heft(), 1) == [0, 1, 2, 3]
    assert starts(jobs, heft(), 1, twins={"performance": Known()}) == [3, 1, 0, 2]  # predicted: 2, 3, 4 and 3 s


def test_a_short_job_may_starve_behind_longer_ones():
    jobs = workload((0, 1, 1, 1, {}), *[(10 * i, 10, 1, 10, {}) for i in range(5)])
    assert starts(jobs, heft(), 1) == [50, 0, 10, 20, 30, 40]


# -- scenarios --------------------------------------------------------------------------------


DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(("name", "makespan_s"), [("heft", 1029), ("cpop", 1134), ("easy", 1139)])
def test_the_packaged_workflow_runs_under_every_scheduler_as_documented(name, makespan_s):
    result = hpcsim.simulate("workflows", {"scheduler": name}, check=True)
    assert result.summary["jobs_by_state"] == {"completed": 101}
    assert result.summary["makespan_s"] == makespan_s
    ratio = result.summary["schedule_length_ratio"]
    assert ratio == makespan_s / result.summary["critical_path_s"]
    assert f"| `{name}` | {makespan_s:,} | {ratio:.3f} |" in (DOCS / "workflows.md").read_text()
    assert result.summary["throttled_node_hours"] == 0


def test_the_summary_of_a_workflow_is_printed(tmp_path):
    result = CliRunner().invoke(cli, ["run", "workflows", "--out", str(tmp_path / "run"), "--no-plots"])
    assert result.exit_code == 0, result.output
    for line in ("makespan                     1,029", "critical path                  640", "SLR", "speedup"):
        assert line in result.output


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"physics": None}, "machine.classes: needs machine.model and physics"),
        ({"machine.nodes": 17}, "machine.classes: found 16 nodes in all, but Cooley has 17"),
        ({"machine.classes": [{"name": "a", "nodes": 8}] * 2}, "found the names a, a, which should differ"),
        ({"physics.placement": "spread"}, "physics.placement: found 'spread', but with machine.classes"),
        ({"physics.processors": "cores"}, "physics.processors: found 'cores', but jobs share no nodes"),
        ({"machine.classes": None}, "machine.transfer_gb_s: data move between machine.classes, but there are none"),
        ({"machine.classes": [{"name": "a", "nodes": 8, "speed": 0}]}, "should be greater than 0"),
    ],
)
def test_classes_that_cannot_be_are_refused(settings, told):
    with pytest.raises(InputError, match=told):
        hpcsim.simulate("workflows", settings)


def test_queues_that_need_nodes_of_their_own_do_not_go_with_classes():
    classes = [{"name": "a", "nodes": 280, "speed": 2}, {"name": "b", "nodes": 280}]
    with pytest.raises(InputError, match=r"machine\.classes: queues cannot have node pools or stop other jobs"):
        hpcsim.simulate("polaris", {"jobs": 10, "machine.classes": classes})
    run = hpcsim.simulate("polaris", {"jobs": 300, "machine.classes": classes, "physics.queues": False}, check=True)
    assert run.summary["jobs"] == 300
