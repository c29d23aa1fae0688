"""Queues with rights of their own in whole simulations: demand jobs, which may stop preemptable ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from special_queues import (
    DEMAND,
    NODES,
    SCHEDULERS,
    Plan,
    easy,
    greedy,
    queue,
    rules,
    run,
    simulation,
    times,
    workload,
)

from hpcsim.engine.decisions import Decision, Hold, Preempt, Start
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.view import View
from hpcsim.machine.checkpoint import Checkpointing
from hpcsim.machine.queues import Admission, Pool
from hpcsim.machine.service import Outage


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
