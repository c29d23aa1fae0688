"""Flux: queue policies against the known schedules, match policies by brute force, instances by counting."""

import csv
import gzip
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import hpcsim
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.errors import InputError, SchedulerError
from hpcsim.machine.catalogue import build_spec, load_machine, machine_data
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.service import Outage
from hpcsim.machine.shares import Shares
from hpcsim.machine.variation import performance_classes, slowness
from hpcsim.results.check import check
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.schedulers.backfilling import EASY, FCFS, Conservative
from hpcsim.schedulers.flux import Flux
from hpcsim.schedulers.flux_graph import EXCLUSIVE, Graph, choose
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import workload_from_columns
from hpcsim.workload.trace import read_trace

ORACLES = (
    "curie30k", "hpc2nhead", "kth", "lublin256", "nasa", "sdsc5k",
    "syn-exact", "syn-exact-ties", "syn-load", "syn-ties",
)  # fmt: skip
ALL = 1_000_000  # a queue depth that is no limit
TAKES_LONG = {"curie30k": 3_000, "lublin256": 4_000}  # to plan anew for all jobs in every pass: the first so many
POLARIS = load_machine("polaris")


def flux(**options):
    return Flux(Flux.Options(**options))


def workload(*jobs, **columns):
    """Jobs as (submit, run, nodes); they run as long as they ask for."""
    submit, run, nodes = zip(*jobs, strict=True)
    columns = {"walltime_s": run} | columns
    return workload_from_columns(
        t0_utc=0, source="test", name=[f"j{i}" for i in range(len(jobs))], submit_s=submit, nodes=nodes, runtime_s=run,
        **columns,
    )  # fmt: skip


def simulated(jobs, scheduler, nodes, **options):
    simulation = Simulation(jobs, scheduler, nodes=nodes, **options)
    simulation.run()
    return simulation


def starts(jobs, scheduler, nodes, **options):
    simulation = simulated(jobs, scheduler, nodes, **options)
    start = np.full(len(jobs), -1)
    start[np.array(simulation.attempts.job)] = np.array(simulation.attempts.start)
    return start.tolist()


def on_polaris(jobs, nodes=560, outages=(), **more):
    spec = build_spec(machine_data("polaris") | {"nodes": nodes})
    cluster = Cluster(spec, draw_behaviour(jobs, 1), policy="packed", start=0, outages=outages, **more)
    return Site(cluster, jobs, overrun="trace", requeues=True, checkpointing=None)


# -- queue policies -------------------------------------------------------------------------------


@pytest.mark.parametrize("trace", ORACLES)
def test_every_start_of_fcfs_and_easy_is_the_known_one(data, trace):
    jobs = read_trace(data / "oracles" / f"{trace}.swf.gz")
    names = jobs.table.column("name").to_pylist()
    for policy, scheduler in (("fcfs", flux()), ("easy", flux(queue_policy="easy", queue_depth=ALL))):
        with gzip.open(data / "oracles" / f"{trace}-{policy}.starts.csv.gz", "rt") as file:
            known = {row["job"]: int(row["start"]) for row in csv.DictReader(file)}
        assert dict(zip(names, starts(jobs, scheduler, jobs.machine_nodes), strict=True)) == known


@pytest.mark.parametrize("trace", ORACLES)
def test_hybrid_without_limit_is_conservative(data, trace):
    jobs = read_trace(data / "oracles" / f"{trace}.swf.gz").first(TAKES_LONG.get(trace, ALL))
    hybrid = flux(queue_policy="hybrid", queue_depth=ALL, reservation_depth=100_000)
    conservative = Conservative(Conservative.Options())
    assert starts(jobs, hybrid, jobs.machine_nodes) == starts(jobs, conservative, jobs.machine_nodes)


CASE_A = workload((0, 10, 6), (1, 20, 8), (2, 8, 4), (3, 30, 2), (4, 6, 2), (5, 9, 2))
CASE_B = workload((0, 10, 6), (1, 10, 8), (2, 4, 10), (3, 40, 2))


@pytest.mark.parametrize(
    ("policy", "a", "b"),
    [
        ("fcfs", [0, 10, 30, 30, 30, 30], [0, 10, 20, 24]),
        ("easy", [0, 10, 2, 10, 30, 30], [0, 10, 43, 3]),
        ("conservative", [0, 10, 2, 10, 30, 30], [0, 10, 20, 24]),
        ("hybrid", [0, 10, 2, 10, 30, 30], [0, 10, 20, 24]),
    ],
)
def test_worked_examples(policy, a, b):
    assert starts(CASE_A, flux(queue_policy=policy), 10) == a
    assert starts(CASE_B, flux(queue_policy=policy), 10) == b


def test_no_more_jobs_than_the_depth_are_looked_at():
    """The machine is full for 100 s but for one node, the first two wait for more, and the third could start."""
    jobs = workload((0, 100, 9), (1, 10, 10), (2, 10, 10), (3, 10, 1))
    assert starts(jobs, flux(queue_policy="easy", queue_depth=3), 10)[3] == 3
    assert starts(jobs, flux(queue_policy="easy", queue_depth=2), 10)[3] == 120


@pytest.mark.parametrize("policy", ["fcfs", "easy", "conservative"])
def test_a_loop_that_ended_by_its_depth_begins_anew_once_it_started_something(policy):
    jobs = workload(*[(0, 10, 1)] * 9)
    assert starts(jobs, flux(queue_policy=policy, queue_depth=1), 10) == [0] * 9


def test_a_busy_instance_sees_the_end_of_a_job_that_was_there_before_it():
    jobs = workload((0, 50, 4), (0, 10, 4))
    assert starts(jobs, flux(cost={"decision_s": 1.7}), 4, running_at_start={0: -5})[1] == 46


@pytest.mark.parametrize(("policy", "second"), [("easy", 20), ("conservative", 20), ("hybrid", 20), ("fcfs", 200)])
def test_a_job_that_needs_nodes_that_are_down_is_parked_and_does_not_count(policy, second):
    """Five of ten nodes are down from 10 to 200 s; the second job needs more than are left. Only fcfs skips nobody."""
    jobs = workload((0, 5, 1), (20, 10, 8), (20, 10, 2))
    site = on_polaris(jobs, nodes=10, outages=[Outage(10, 200, 5, "outage")])
    assert starts(jobs, flux(queue_policy=policy, queue_depth=1), 10, site=site)[1:] == [200, second]


def test_priority_goes_before_submission():
    jobs = workload((0, 10, 10), (1, 10, 10), (2, 10, 10), (3, 10, 10), queue=["a", "a", "low", "high"])
    assert starts(jobs, flux(priority={"high": 31, "low": 0}), 10) == [0, 20, 30, 10]


def test_a_preset_gives_way_to_what_is_said():
    production = Flux.Options(preset="production")
    assert (production.queue_policy, production.queue_depth, production.reservation_depth) == ("hybrid", 8192, 64)
    assert Flux.Options(preset="production", queue_depth=5).queue_depth == 5
    assert (Flux.Options().queue_policy, Flux.Options().queue_depth, Flux.Options().match) == ("fcfs", 32, None)


@pytest.mark.parametrize("wrong", [{"priority": {"q": 32}}, {"queue_depth": 0}, {"levels": [{"children": 1}]}])
def test_options_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValidationError):
        Flux.Options(**wrong)


# -- which nodes ----------------------------------------------------------------------------------

free_units = st.sets(st.integers(0, 30), min_size=1, max_size=12).map(lambda units: np.array(sorted(units)))
classes = st.lists(st.integers(0, 4), min_size=31, max_size=31).map(np.array)


@given(free_units, st.data())
def test_first_and_high_take_the_highest_ids_and_low_the_lowest(free, data):
    count = data.draw(st.integers(1, free.size))
    for policy in ("first", "firstnodex", "high", "hinode", "hinodex"):
        assert choose(policy, free, count).tolist() == sorted(free)[-count:]
    for policy in ("low", "lonode", "lonodex"):
        assert choose(policy, free, count).tolist() == sorted(free)[:count]


@settings(deadline=None)
@given(free_units, classes, st.data())
def test_variation_takes_the_smallest_spread_of_classes_and_of_equals_the_best(free, class_U, data):
    count = data.draw(st.integers(1, min(5, free.size)))
    best = min(
        (max(found) - min(found), sorted(found))
        for found in ([int(class_U[unit]) for unit in units] for units in combinations(free, count))
    )
    chosen = choose("variation", free, count, class_U)
    found = sorted(class_U[chosen].tolist())
    assert (found[-1] - found[0], found) == best
    assert set(chosen.tolist()) <= set(free.tolist())
    assert len(set(chosen.tolist())) == count


@given(free_units, st.data())
def test_locality_takes_the_longest_runs_of_ids(free, data):
    count = data.draw(st.integers(1, free.size))
    runs, left = [], free.tolist()
    while left:
        run = [left.pop(0)]
        while left and left[0] == run[-1] + 1:
            run.append(left.pop(0))
        runs.append(run)
    longest = [unit for run in sorted(runs, key=lambda run: (-len(run), run)) for unit in run]
    assert choose("locality", free, count).tolist() == longest[:count]


def walked(free, count, first):
    """By walking: cluster, racks from the last on, nodes from the last on, cores and GPUs."""
    visited, found = 1, 0
    for rack in reversed(range(POLARIS.racks)):
        visited += 1
        nodes = [node for node in range(POLARIS.units) if node // POLARIS.units_per_rack == rack]
        if not free & set(nodes):
            continue
        for node in reversed(nodes):
            visited += 1
            if node in free:
                found += 1
                visited += POLARIS.cores_per_node + POLARIS.gpus_per_node
            if first and found == count:
                return visited
    return visited


@given(st.sets(st.integers(0, 559), min_size=4, max_size=60), st.integers(1, 2))
def test_vertices_are_visited_as_far_as_the_filters_let_them(free, count):
    for policy in ("first", "lonode"):
        graph = Graph(POLARIS, policy, np.array(sorted(free)))
        left = set(free)
        for _ in range(2):  # the counters of racks follow
            units, visited = graph.take(count)
            assert visited == walked(left, count, policy == "first")
            left -= set(units.tolist())
        assert graph.free.tolist() == sorted(left)


def places(**scheduler):
    """Units of every attempt of some Polaris jobs, with its nodes."""
    more = {"physics": {"queues": False, "failures": False}, "jobs": 300}
    run = hpcsim.simulate("polaris", more | {"scheduler": {"name": "flux"} | scheduler}, check=True)
    return run.tables["attempts"].select(["nodes", "units"]).to_pylist()


def units_of(text):
    ends = [part.split("-") for part in text.split(",")]
    return [unit for part in ends for unit in range(int(part[0]), int(part[-1]) + 1)]


def test_jobs_start_where_the_policy_says():
    first, low = places(match="first")[0], places(match="lonodex")[0]
    assert units_of(first["units"]) == [*range(560 - first["nodes"], 560)]
    assert units_of(low["units"]) == [*range(low["nodes"])]


def test_variation_makes_the_classes_of_a_job_more_alike():
    class_U = performance_classes(np.linspace(1, 1.1, 560)[np.arange(560) * 37 % 560], np.random.default_rng(0))
    jobs = workload(*[(i, 50 + i % 40, 2 + i % 7) for i in range(400)])
    spread = {}
    for match in ("first", "variation"):
        simulation = simulated(
            jobs, flux(match=match, queue_policy="easy"), 60,
            site=on_polaris(jobs, 60, class_U=np.ones(60), measured_U=class_U[:60]),
        )  # fmt: skip
        spread[match] = np.mean([np.ptp(class_U[units]) for units in simulation.site.units])
    assert spread["variation"] < 0.6 * spread["first"]


@pytest.mark.parametrize("match", ["first", *EXCLUSIVE])
def test_only_an_exclusive_policy_gives_jobs_that_would_share_whole_nodes(match):
    jobs = workload(*[(0, 100, 1)] * 4, cores=[8] * 4, gpus=[1] * 4, memory_gib=[8.0] * 4)
    spec = build_spec(machine_data("polaris") | {"nodes": 4})
    cluster = Cluster(spec, draw_behaviour(jobs, 1), policy="packed", start=0, shares=Shares.of(jobs, spec))
    site = Site(cluster, jobs, overrun="trace", requeues=True, checkpointing=None)
    simulation = simulated(jobs, flux(match=match), 4, site=site)
    assert len({int(units[0]) for units in simulation.site.units}) == (4 if match in EXCLUSIVE else 1)


def test_a_benchmark_tells_about_how_fast_a_node_is_and_not_how_fast():
    class_U = slowness(2000, 0.02, np.random.default_rng(1))
    told = performance_classes(class_U, np.random.default_rng(2))
    assert np.bincount(told).tolist() == [400] * 5
    truly = np.argsort(np.argsort(class_U)) * 5 // 2000
    assert 0.5 < np.mean(told == truly) < 0.95
    assert told.tolist() == performance_classes(class_U, np.random.default_rng(2)).tolist()
    means = [class_U[told == each].mean() for each in range(5)]
    assert means == sorted(means)
    with pytest.raises(ValueError, match="read-only"):
        told[0] = 1


@pytest.mark.parametrize(
    ("machine", "scheduler", "sentence"),
    [
        ({"physics": None}, {"match": "first"}, "set machine.model and physics"),
        ({"physics": {"variation": False}}, {"match": "variation"}, "set physics.variation to true"),
        ({}, {"levels": [{"children": 4}]}, "give match"),
        ({"physics": {"queues": False}}, {"levels": [{"children": 50}], "match": "first"}, "fewer children"),
        ({}, {"levels": [{"children": 2}], "match": "first"}, "queue debug"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(machine, scheduler, sentence):
    with pytest.raises((InputError, SchedulerError), match=sentence):
        hpcsim.simulate("polaris", {"jobs": 200, "scheduler": {"name": "flux"} | scheduler} | machine)


def test_on_a_torus_a_match_policy_is_refused():
    with pytest.raises(SchedulerError, match="leave match out"):
        hpcsim.simulate("mira", {"jobs": 10, "scheduler": {"name": "flux", "match": "first"}})


# -- instances, and what decisions cost -----------------------------------------------------------

ENSEMBLE = workload(*[(0, 60, 1)] * 1280)  # twenty minutes of 64 nodes
SLOW = {"decision_s": 0.25}
LEVELS = [[{"children": 8}], [{"children": 2}, {"children": 4}]]


def end(jobs, nodes=64, **options):
    return simulated(jobs, flux(**options), nodes).now


@pytest.mark.parametrize("partitioning", ["static", "on-demand"])
@pytest.mark.parametrize("levels", LEVELS)
def test_levels_change_nothing_where_decisions_cost_nothing(levels, partitioning):
    assert end(ENSEMBLE) == end(ENSEMBLE, levels=levels, partitioning=partitioning) == 1200


@pytest.mark.parametrize("partitioning", ["static", "on-demand"])
@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("cost", [{"decision_s": 1.5}, {"decision_s": 0.01, "waiting_s": 0.001}])
def test_levels_raise_the_throughput_of_an_ensemble_where_decisions_take_time(levels, partitioning, cost):
    alone = end(ENSEMBLE, cost=cost)
    assert alone > 1.1 * 1200
    assert end(ENSEMBLE, cost=cost, levels=levels, partitioning=partitioning) < 1.05 * 1200


def test_one_instance_starts_no_more_jobs_than_it_has_time_to_decide():
    jobs = workload(*[(0, 10_000, 1)] * 200)
    seconds = starts(jobs, flux(cost=SLOW), 1000)
    assert np.bincount(seconds)[:50].tolist() == [3] + [4] * 49  # the first decision is through after a quarter of one


def test_a_decision_costs_what_waits_and_what_is_visited():
    jobs = workload(*[(0, 1000, 1)] * 3)
    assert starts(jobs, flux(cost={"decision_s": 1, "waiting_s": 10}), 9) == [31, 52, 63]
    assert starts(jobs, flux(cost={"vertex_s": 10}), 9) == [20, 40, 60]  # the cluster, and its pool of nodes
    node = 1 + POLARIS.cores_per_node + POLARIS.gpus_per_node
    visited = [1 + 1 + node, 1 + 1 + 1 + node, 1 + 1 + 2 + node]  # first passes the nodes that are taken
    assert starts(jobs, flux(cost={"vertex_s": 1}), 9, site=on_polaris(jobs, 9)) == np.cumsum(visited).tolist()


def test_an_instance_that_is_busy_hears_of_what_happens_only_later():
    """The loop at 0 takes until 40; of the job that comes at 5 it knows nothing before."""
    jobs = workload((0, 1000, 1), (0, 1000, 1), (5, 1000, 1))
    assert starts(jobs, flux(cost={"decision_s": 20}), 9) == [20, 40, 60]


def test_a_loop_that_starts_nothing_is_not_repeated_until_something_happens():
    jobs = workload((0, 500, 9), (1, 10, 9))
    simulation = simulated(jobs, flux(cost={"decision_s": 1}), 9)
    assert simulation.attempts.start.tolist() == [1, 502]
    assert len(simulation.pass_seconds) < 10


def test_jobs_of_an_instance_never_hold_more_nodes_than_it_has():
    jobs = workload(*[(i // 3, 20 + i * 7 % 50, 1 + i * 5 % 8) for i in range(400)])
    simulation = simulated(jobs, flux(queue_policy="easy", levels=[{"children": 4, "queue_policy": "easy"}]), 34)
    attempts = attempts_table(simulation).to_pylist()
    largest = {"flux.0": 8, "flux.1": 9, "flux.2": 8, "flux.3": 9}
    for name, nodes in largest.items():
        mine = [row for row in attempts if row["why"].endswith(f" of {name}")]
        assert len(mine) > 50
        for second in range(0, simulation.now, 5):
            assert sum(row["nodes"] for row in mine if row["start_s"] <= second < row["end_s"]) <= nodes


def test_instances_stay_on_units_of_their_own():
    run = hpcsim.simulate(
        "polaris",
        {
            "jobs": 300, "machine.nodes": 3000, "physics": {"queues": False},
            "scheduler": {"name": "flux", "levels": [{"children": 4}], "match": "low"},
        },
        check=True,
    )  # fmt: skip
    for row in run.tables["attempts"].to_pylist():
        number = int(row["why"][-1])
        assert {unit // 750 for unit in units_of(row["units"])} == {number}


def test_on_demand_only_ensembles_get_an_instance_and_large_jobs_are_scheduled_by_the_first():
    user = ["many"] * 40 + ["one", "large"]
    jobs = workload(*[(0, 60, 1)] * 40, (0, 60, 1), (0, 60, 60), user=user)
    simulation = simulated(jobs, flux(levels=[{"children": 4}], partitioning="on-demand"), 64)
    by = {row["job_id"]: row["why"].split(" of ")[-1] for row in attempts_table(simulation).to_pylist()}
    assert {by[f"j{i}"] for i in range(40)} == {"flux.0", "flux.1"}
    assert by["j40"] == by["j41"] == "flux"


rows = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 30), st.integers(1, 12)), min_size=1, max_size=40
).map(sorted)  # fmt: skip
policies = st.sampled_from(["fcfs", "easy", "conservative", "hybrid"])


@settings(deadline=None, max_examples=150)
@given(
    rows,
    policies,
    policies,
    st.sampled_from([[{"children": 2}], [{"children": 3}, {"children": 2}]]),
    st.sampled_from([{}, {"decision_s": 0.3}, {"decision_s": 5, "waiting_s": 0.5}]),
    st.integers(1, 4),
    st.sampled_from([0, 7]),
    st.booleans(),
)
def test_every_hierarchy_keeps_the_laws(jobs, policy, below, levels, cost, ensemble, latency, with_places):
    jobs = workload(*jobs)
    scheduler = flux(
        queue_policy=policy, levels=[level | {"queue_policy": below} for level in levels], cost=cost,
        partitioning="on-demand", ensemble_jobs=ensemble, match="first" if with_places else None,
    )  # fmt: skip
    site = on_polaris(jobs, 12, outages=[Outage(30, 60, 4, "outage")]) if with_places else None
    simulation = simulated(jobs, scheduler, 12, site=site, launch_latency=latency)
    tables = jobs_table(simulation, np.ones(len(jobs), bool)), attempts_table(simulation), timeline_table(simulation)
    check(simulation, *tables)
    assert set(tables[0]["state"].to_pylist()) == {"completed"}


@given(rows)
def test_a_cost_of_nothing_is_the_schedule_without_instances(jobs):
    jobs = workload(*jobs)
    for policy, other in (("fcfs", FCFS), ("easy", EASY), ("conservative", Conservative)):
        instance = flux(queue_policy=policy, queue_depth=ALL, cost={"decision_s": 1e-9})
        assert starts(jobs, instance, 12) == starts(jobs, other(other.Options()), 12)
