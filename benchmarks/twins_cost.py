"""What it costs to consult the learned twins, in CPU time of this process, imports and weights left out.

    python -m benchmarks.twins_cost [--jobs 100000] [--days 7] [--times 5]

In bulk: after three days of Polaris, so many jobs that nobody has asked about yet. All are asked about in one call
for runtime, energy and program failure; each on a node of its own for its temperature an hour on and its failure within
24 hours, in one call for every 560 jobs, for the machine has as many nodes. In a run: ``scenarios/polaris.yaml`` under
its own scheduler, which also asks about every job when it sees it first in the queue: in one call for all such jobs of
a pass, and then for each job about the nodes that it would get. What the run takes more than with the same twins that
nobody asks is divided by the jobs that were asked about. These twins have their price too, for they are told of ends
and by sensors: that is shown below, as what the run takes more than without twins. Medians are shown.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from hpcsim.engine.scheduler import Scheduler
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.twins import BESIDES, Twins
from hpcsim.engine.view import View
from hpcsim.plugin import Decision, Job
from hpcsim.replay import begin

TWINS = {
    "performance": "runtime-ensemble",
    "energy": "energy-cnn-lstm",
    "fault": "fault-lstm",
    "thermal": "thermal-rc",
}
QUESTIONS = ("performance", "energy", "job_failure", "fault", "thermal")
"""In this order, because how warm nodes get is asked with the watts that a job would draw."""

CASES = {question: (question,) for question in QUESTIONS} | {"all": QUESTIONS}
LIMIT_S = 20.0
LIMITS_MS = {"performance": 1.0, "all": 3.0}
BEFORE_S, DAY_S, HOUR_S = 3 * 86_400, 86_400, 3_600


class Asking:
    """A scheduler that asks twins about each job that it has not seen, and then decides as another one does."""

    def __init__(self, scheduler: Scheduler, questions: tuple[str, ...]) -> None:
        self.name, self.api = scheduler.name, scheduler.api
        self.scheduler, self.questions = scheduler, questions
        self.asked: set[int] = set()

    def schedule(self, view: View) -> Iterable[Decision]:
        new = [job for job in view.queue if job.id not in self.asked]
        if new:
            self.asked.update(job.id for job in new)
            self._ask(new, view)
        return self.scheduler.schedule(view)

    def _ask(self, jobs: list[Job], view: View) -> None:
        twins = view.twins
        of_jobs = {
            question: getattr(twins, question)(jobs)
            for question in ("performance", "energy", "job_failure")
            if question in self.questions
        }
        if "fault" not in self.questions and "thermal" not in self.questions:
            return
        free = view.free_units(view.room())
        for number, job in enumerate(jobs):
            units = free[: job.nodes] if len(free) >= job.nodes else np.arange(job.nodes)
            if "fault" in self.questions:
                twins.fault(units, job.walltime)
            if "thermal" in self.questions:
                node_w = 1000.0
                if len(of_jobs) == 3:
                    node_s = of_jobs["performance"].mean[number] * job.nodes
                    node_w = float(of_jobs["energy"].mean[number] / node_s)
                twins.thermal(units, node_w, HOUR_S)


def in_a_run(named: Mapping[str, str], questions: tuple[str, ...], days: int) -> tuple[float, int]:
    """CPU seconds of a run with these twins in which so much is asked, and of how many jobs the scheduler knows."""
    simulation = begin("polaris", {"days": days, **{f"twins.{kind}": name for kind, name in named.items()}})
    asking = Asking(simulation.scheduler, questions)
    simulation.scheduler = asking
    taken_s = cpu_s(lambda: simulation.run(days * DAY_S))
    return taken_s, len(asking.asked)


def more_ms(questions: tuple[str, ...], days: int) -> tuple[float, float]:
    """CPU milliseconds more a job, of a run that asks than with twins alone, and of that than without any."""
    kinds = {BESIDES.get(question, question) for question in questions}
    named = {kind: name for kind, name in TWINS.items() if kind in kinds}
    bare, listening, asking = (in_a_run(*case, days) for case in (({}, ()), (named, ()), (named, questions)))
    if not bare[1] == listening[1] == asking[1]:
        raise SystemExit(f"asking about {', '.join(questions)} changed the run: it has other jobs than without")
    return 1000.0 * (asking[0] - listening[0]) / bare[1], 1000.0 * (listening[0] - bare[0]) / bare[1]


def after_some_days(jobs: int) -> tuple[Simulation, list[Job]]:
    """A simulation whose twins know the jobs of three days and were asked once, and jobs that are still to come."""
    days = 10 + jobs // 500
    simulation = begin("polaris", {"days": days, **{f"twins.{kind}": name for kind, name in TWINS.items()}})
    asking = Asking(simulation.scheduler, QUESTIONS)
    simulation.scheduler = asking
    simulation.run(BEFORE_S)
    first = max(asking.asked) + 1
    found = [job for job in simulation.workload.jobs(first, first + jobs) if job.id not in asking.asked]
    if len(found) < jobs:
        raise SystemExit(f"{days} days of Polaris have {len(found)} jobs after the first three, fewer than {jobs}")
    return simulation, found


def in_bulk(simulation: Simulation, jobs: list[Job]) -> dict[str, float]:
    """CPU seconds of each question about all jobs, of twins that were not asked about them."""
    view = View(simulation)
    twins = Twins({kind: copy.deepcopy(twin) for kind, twin in simulation.twins.items()}, view)
    units = np.arange(len(jobs)) % view.nodes
    watts = np.linspace(600.0, 1800.0, len(jobs))

    def of_nodes(asked: Callable[[slice], object]) -> None:
        for first in range(0, len(jobs), view.nodes):
            asked(slice(first, first + view.nodes))

    questions: dict[str, Callable[[], object]] = {
        "performance": lambda: twins.performance(jobs),
        "energy": lambda: twins.energy(jobs),
        "job_failure": lambda: twins.job_failure(jobs),
        "fault": lambda: of_nodes(lambda part: twins.fault(units[part], DAY_S)),
        "thermal": lambda: of_nodes(lambda part: twins.thermal(units[part], watts[part], HOUR_S)),
    }
    return {question: cpu_s(ask) for question, ask in questions.items()}


def cpu_s(call: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def row(name: str, figures: Sequence[float], limit: float | None) -> str:
    """A row in Markdown: the median of figures, and what it should stay below."""
    return f"| {name} | {statistics.median(figures):.2f} | {'' if limit is None else f'{limit:g}'} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    simulation, jobs = after_some_days(given.jobs)
    bulk = [in_bulk(simulation, jobs) for _ in range(given.times)]
    print(f"| {len(jobs):,} jobs in bulk | CPU s | limit |\n|---|---:|---:|")
    for question in QUESTIONS:
        print(row(question, [each[question] for each in bulk], None))
    print(row("all", [sum(each.values()) for each in bulk], LIMIT_S), flush=True)
    print(f"\n| each new job in {given.days} days of a run | CPU ms | limit |\n|---|---:|---:|", flush=True)
    for name, questions in CASES.items():
        more = [more_ms(questions, given.days) for _ in range(given.times)]
        print(row(name, [asked for asked, _ in more], LIMITS_MS.get(name)), flush=True)
    print(row("all, and nobody asks", [silent for _, silent in more], None))


if __name__ == "__main__":
    main()
