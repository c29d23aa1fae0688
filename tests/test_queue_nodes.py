"""Queues with nodes of their own in whole simulations: pools, the periods in which they change, scenarios."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pages import blocks
from special_queues import (
    DEMAND,
    NODES,
    SCHEDULERS,
    SPEC,
    TURN_S,
    Plan,
    easy,
    greedy,
    queue,
    rules,
    run,
    simulation,
    tables,
    times,
    units_of,
    workload,
)

import hpcsim
from hpcsim.engine.decisions import Decision, Sleep, Start, Wake
from hpcsim.engine.view import View
from hpcsim.errors import BadDecision, InputError
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.queues import Limits, Pool, QueueRules
from hpcsim.machine.service import Outage
from hpcsim.workload.job import workload_from_columns

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
