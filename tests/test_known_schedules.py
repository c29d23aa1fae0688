"""Start times of every job against known schedules, and published or twice-computed golden values.

All of them hold on a machine that only counts nodes and, with the same values to the last digit, on one with places and
power whose physics changes no time: neither which nodes a job gets nor what they draw decides when it starts.
"""

import csv
import gzip
from itertools import product

import numpy as np
import pytest

from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.machine.catalogue import build_spec, machine_data
from hpcsim.machine.cluster import Cluster
from hpcsim.results.metrics import summarise
from hpcsim.results.tables import jobs_table, timeline_table
from hpcsim.schedulers.backfilling import EASY, FCFS, Conservative, Hybrid
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import Workload, workload_from_columns
from hpcsim.workload.trace import read_trace

ORACLES = (
    "curie30k", "hpc2nhead", "kth", "lublin256", "nasa", "sdsc5k",
    "syn-exact", "syn-exact-ties", "syn-load", "syn-ties",
)  # fmt: skip
MACHINES = ("counted", "packed", "spread")


def simulated(workload, scheduler, nodes, machine="counted"):
    """The run on a machine of ``nodes`` nodes: only counted, or those of Polaris under a placement policy."""
    site = None
    if machine != "counted":
        spec = build_spec(machine_data("polaris") | {"nodes": nodes})
        cluster = Cluster(spec, draw_behaviour(workload, 1), policy=machine, start=0)
        site = Site(cluster, workload, overrun="trace", requeues=True, checkpointing=None)
    simulation = Simulation(workload, scheduler.build(), nodes=nodes, site=site)
    simulation.run()
    assert site is None or site.cluster.meter.it_w == pytest.approx(spec.power.fixed_w + nodes * spec.power.idle_w)
    return simulation


class Policy:
    """A scheduler with options, made anew for every simulation."""

    def __init__(self, kind, **options):
        self.kind, self.options = kind, options

    def build(self):
        return self.kind(self.kind.Options(**self.options))


def starts(simulation):
    start = np.full(len(simulation.workload), -1)
    start[np.array(simulation.attempts.job)] = np.array(simulation.attempts.start)
    return start.tolist()


# 93,312 nodes with places take 10 s, spread over 6,666 racks 30 s: of them only one, for its size
TOO_LONG = {("curie30k", "fcfs", "packed"), ("curie30k", "fcfs", "spread"), ("curie30k", "easy", "spread")}


@pytest.mark.parametrize(
    ("trace", "policy", "machine"),
    [case for case in product(ORACLES, ("fcfs", "easy"), MACHINES) if case not in TOO_LONG],
)
def test_every_start_of_every_oracle(data, trace, policy, machine):
    workload = read_trace(data / "oracles" / f"{trace}.swf.gz")
    simulation = simulated(workload, Policy({"fcfs": FCFS, "easy": EASY}[policy]), workload.machine_nodes, machine)
    with gzip.open(data / "oracles" / f"{trace}-{policy}.starts.csv.gz", "rt") as file:
        known = {row["job"]: int(row["start"]) for row in csv.DictReader(file)}
    names = workload.table.column("name").to_pylist()
    assert dict(zip(names, starts(simulation), strict=True)) == known


@pytest.mark.parametrize("trace", ["sdsc5k", "hpc2nhead", "syn-ties", "syn-exact-ties"])
def test_hybrid_of_depth_one_is_easy(data, trace):
    workload = read_trace(data / "oracles" / f"{trace}.swf.gz").first(2000)
    nodes = workload.machine_nodes
    one = starts(simulated(workload, Policy(Hybrid, depth=1), nodes))
    assert one == starts(simulated(workload, Policy(EASY), nodes))
    assert one != starts(simulated(workload, Policy(Conservative), nodes))


def test_hybrid_without_limit_is_conservative(data):
    workload = read_trace(data / "oracles" / "syn-ties.swf.gz").first(1000)
    deep = starts(simulated(workload, Policy(Hybrid, depth=10**6), workload.machine_nodes))
    assert deep == starts(simulated(workload, Policy(Conservative), workload.machine_nodes))


def tiny(*jobs: tuple[int, int, int]) -> Workload:
    submit, run, nodes = zip(*jobs, strict=True)
    return workload_from_columns(
        t0_utc=0, source="tiny", name=[str(i + 1) for i in range(len(jobs))],
        submit_s=submit, nodes=nodes, walltime_s=run, runtime_s=run,
    )  # fmt: skip


CASE_A = tiny((0, 10, 6), (1, 20, 8), (2, 8, 4), (3, 30, 2), (4, 6, 2), (5, 9, 2))
CASE_B = tiny((0, 10, 6), (1, 10, 8), (2, 4, 10), (3, 40, 2))


def summary_of(simulation):
    jobs = jobs_table(simulation, np.ones(len(simulation.workload), bool))
    return summarise(jobs, timeline_table(simulation), nodes=simulation.nodes, measured_from=None, measured_to=None)


@pytest.mark.parametrize(
    ("policy", "expected", "slowdown", "wait", "makespan"),
    [
        (Policy(FCFS), [0, 10, 30, 30, 30, 30], 2.425, 19.167, 60),
        (Policy(EASY), [0, 10, 2, 10, 30, 30], 1.881, 11.167, 40),
        (Policy(Conservative), [0, 10, 2, 10, 30, 30], 1.881, 11.167, 40),
    ],
)
def test_tiny_case_a(policy, expected, slowdown, wait, makespan):
    simulation = simulated(CASE_A, policy, 10)
    assert starts(simulation) == expected
    summary = summary_of(simulation)
    assert summary["mean_bounded_slowdown"] == pytest.approx(slowdown, abs=5e-4)
    assert summary["mean_wait_s"] == pytest.approx(wait, abs=5e-4)
    assert summary["makespan_s"] == makespan
    if makespan == 40:
        assert summary["utilisation"] == pytest.approx(0.855, abs=5e-4)


@pytest.mark.parametrize(
    ("policy", "expected", "slowdown"),
    [
        (Policy(FCFS), [0, 10, 20, 24], 1.656),
        (Policy(EASY), [0, 10, 43, 3], 2.100),
        (Policy(Conservative), [0, 10, 20, 24], 1.656),
        (Policy(EASY, extra_nodes=False), [0, 10, 20, 24], 1.656),
    ],
)
def test_tiny_case_b_tells_easy_from_conservative(policy, expected, slowdown):
    simulation = simulated(CASE_B, policy, 10)
    assert starts(simulation) == expected
    assert summary_of(simulation)["mean_bounded_slowdown"] == pytest.approx(slowdown, abs=5e-4)


def no_extra(order):
    return Policy(EASY, order=order, extra_nodes=False)


# mean bounded slowdown, mean wait [s], utilisation, makespan [s] on the first 2,000 jobs
LUBLIN_2000 = [
    (Policy(FCFS), 11783.65, 432425.0, 0.5854, 2693405),
    (Policy(EASY), 291.055, 23310.5, 0.7934, 1987180),
    (no_extra("fcfs"), 288.522, 25005.1, 0.7967, 1978889),
    (Policy(Conservative), 291.408, 26911.4, 0.8153, 1933779),
    (Policy(FCFS, order="sjf"), 45.130, 44498.9, 0.6453, 2443374),
    (Policy(EASY, order="sjf"), 42.018, 12106.3, 0.7278, 2166322),
    (no_extra("sjf"), 38.891, 34665.2, 0.6719, 2346428),
    (Policy(Conservative, order="sjf"), 35.165, 24061.8, 0.6803, 2317502),
    (Policy(FCFS, order="saf"), 14.176, 22813.8, 0.6359, 2479415),
    (Policy(EASY, order="saf"), 15.734, 13753.3, 0.6953, 2267679),
    (Policy(FCFS, order="wfp3"), 87.929, 101278.5, 0.6981, 2258621),
    (Policy(EASY, order="wfp3"), 82.289, 16630.5, 0.7950, 1983307),
    (Policy(FCFS, order="f1"), 17.850, 16217.3, 0.7158, 2202677),
    (Policy(EASY, order="f1"), 21.438, 14450.5, 0.7356, 2143271),
]
# the same with walltimes twice the runtimes; no makespan is known
LUBLIN_2000_TWICE = [
    (Policy(EASY), 353.456, 22506.4, 0.7975),
    (Policy(Conservative), 197.624, 20358.1, 0.8014),
    (Policy(EASY, order="sjf"), 34.510, 10273.3, None),
    (Policy(Conservative, order="sjf"), 30.254, 22634.1, None),
    (Policy(EASY, order="wfp3"), 55.384, 13935.4, None),
]
LUBLIN_10000 = [
    (Policy(FCFS), 66502.476, 2388443.8, 0.6549, 12482549),
    (Policy(EASY), 590.054, 97156.0, 0.9363, 8730698),
    (no_extra("fcfs"), 442.497, 117130.0, 0.9268, 8820406),
    (Policy(FCFS, order="sjf"), 53.543, 275304.2, 0.7197, 11359058),
    (Policy(EASY, order="sjf"), 40.560, 59632.2, 0.7897, 10351841),
    (Policy(FCFS, order="saf"), 20.309, None, None, None),
    (Policy(EASY, order="saf"), 23.862, 59038.9, 0.7817, 10458494),
    (Policy(FCFS, order="wfp3"), 232.425, None, None, None),
    (Policy(EASY, order="wfp3"), 117.032, 61096.0, 0.9119, 8964857),
    (Policy(FCFS, order="f1"), 32.727, None, None, None),
    (Policy(EASY, order="f1"), 40.080, 71421.6, 0.8108, 10082198),
]


def _named(cases):
    return [
        pytest.param(*case, id="-".join([case[0].kind.name, *map(str, case[0].options.values())])) for case in cases
    ]


def _agrees(summary, slowdown, wait, utilisation, makespan=None):
    assert summary["mean_bounded_slowdown"] == pytest.approx(slowdown, abs=6e-3 if slowdown > 1e4 else 6e-4)
    if wait is not None:
        assert summary["mean_wait_s"] == pytest.approx(wait, abs=0.06)
    if utilisation is not None:
        assert summary["utilisation"] == pytest.approx(utilisation, abs=6e-5)
    if makespan is not None:
        assert summary["makespan_s"] == makespan


@pytest.fixture(scope="module")
def lublin(data):
    return read_trace(data / "traces" / "swf" / "lublin_256.swf.gz")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("policy", "slowdown", "wait", "utilisation", "makespan"), _named(LUBLIN_2000))
def test_lublin_first_2000(lublin, machine, policy, slowdown, wait, utilisation, makespan):
    _agrees(summary_of(simulated(lublin.first(2000), policy, 256, machine)), slowdown, wait, utilisation, makespan)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("policy", "slowdown", "wait", "utilisation"), _named(LUBLIN_2000_TWICE))
def test_lublin_first_2000_with_doubled_walltimes(lublin, machine, policy, slowdown, wait, utilisation):
    part = lublin.first(2000).table
    doubled = workload_from_columns(
        t0_utc=0, source="doubled",
        **{name: part.column(name).combine_chunks() for name in ("name", "submit_s", "nodes", "runtime_s")},
        walltime_s=part.column("walltime_s").to_numpy() * 2,
    )  # fmt: skip
    _agrees(summary_of(simulated(doubled, policy, 256, machine)), slowdown, wait, utilisation)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("policy", "slowdown", "wait", "utilisation", "makespan"), _named(LUBLIN_10000))
def test_lublin_all(lublin, machine, policy, slowdown, wait, utilisation, makespan):
    _agrees(summary_of(simulated(lublin, policy, 256, machine)), slowdown, wait, utilisation, makespan)
