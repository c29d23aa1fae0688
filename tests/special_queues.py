"""A small machine with queues that have nodes or rights of their own, for several tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from hpcsim.engine.capabilities import CAPABILITIES
from hpcsim.engine.decisions import Decision, Start
from hpcsim.engine.scheduler import Scheduler
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.engine.view import View
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.queues import Admission, Period, Queue, QueueRules
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
from hpcsim.workload.job import Workload, workload_from_columns

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


def units_of(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, *last = part.split("-")
        found |= set(range(int(first), int(last[0] if last else first) + 1))
    return found


DEMAND = [queue("g"), queue("p", preemptable=True), queue("d", may_preempt=("p",))]


def times(attempts: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["job_id"], row["start_s"], row["end_s"], row["state"]) for row in attempts]
