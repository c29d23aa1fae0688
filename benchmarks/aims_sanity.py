"""Does AIMS learn what is best where that is known? Three small worlds, without the rule to lean on.

    python -m benchmarks.aims_sanity [--world NAME ...] [--rounds 20]

- ``clocks``: half of the users run programs that memory limits, the others such as follow the clock; only energy
  counts. Best is the clock of least energy for each program, which the truth tells.
- ``order``: long and short jobs, each of the whole machine, all there from the beginning; only performance counts. Best
  is the order of Smith (1956), by cost over length, which is short first.
- ``places``: hardware fails often, and some nodes more than others; only reliability counts. Best are always the nodes
  of least hazard.

The network is trained on random actions and its own, never shown a rule and never measured by one, and judged on other
jobs. ``above`` is by how much it costs more than the best, ``chance`` the same of random actions.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.power import rate
from hpcsim.replay import begin
from hpcsim.schedulers.aims import trained
from hpcsim.schedulers.aims.beliefs import SHORT_S
from hpcsim.schedulers.aims.network import State
from hpcsim.schedulers.aims.shape import OBJECTIVES, SPEEDS
from hpcsim.training.course import Plan, train
from hpcsim.training.rewards import Hazard, expected_loss_s
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import Workload, workload_from_columns
from hpcsim.workload.swf import write_swf

SEED = 7  # of the machine and its programs
LAST_S = 40 * 3600  # when a job comes with which an episode ends
Settings = dict[str, Any]


class World(NamedTuple):
    """Jobs, drawn by a number; what else is in the scenario; the objective; what a run of it costs, and the best would.

    ``best`` is None where the rule takes what is best: the safest nodes by the true hazard.
    """

    jobs: Callable[[int], Workload]
    settings: Settings
    options: Settings
    objective: str
    cost: Callable[[Any, Hazard], float]
    best: Callable[[Any], float] | None


def workload(rows: list[tuple[int, int, int, str]]) -> Workload:
    """Jobs as (submit, runtime, nodes, user), and the one with which an episode ends."""
    submit, runtime, nodes, user = zip(*sorted([*rows, (LAST_S, 60, 1, "1")]), strict=True)
    return workload_from_columns(
        t0_utc=0, source="world", name=[str(1 + k) for k in range(len(submit))], submit_s=submit, nodes=nodes,
        walltime_s=[2 * each for each in runtime], runtime_s=runtime, user=user, project=user,
    )  # fmt: skip


def users() -> tuple[list[str], list[str]]:
    """Users whose programs memory limits, and users whose programs follow the clock, as the seed has drawn them."""
    names = [str(k) for k in range(1, 400)]
    beta = draw_behaviour(workload([(k, 1800, 2, name) for k, name in enumerate(names)]), SEED).beta_J[:-1]
    order = np.argsort(beta)
    return [names[k] for k in order[:6]], [names[k] for k in order[-6:]]


def clocks(number: int) -> Workload:
    """Jobs of two nodes and half an hour, never so many that one waits."""
    rng = np.random.default_rng([number, 1])
    memory, computing = users()
    every = np.sort(rng.integers(0, LAST_S - 7200, 240)).tolist()
    return workload([(int(s), 1800, 2, str(rng.choice(memory if rng.random() < 0.5 else computing))) for s in every])


def order(number: int) -> Workload:
    """Forty jobs of the whole machine, of ten minutes or an hour."""
    rng = np.random.default_rng([number, 2])
    return workload([(0, 600 if rng.random() < 0.5 else 3600, 126, str(1 + k % 5)) for k in range(40)])


def places(number: int) -> Workload:
    """Jobs of up to eight nodes on a machine that is half full."""
    rng = np.random.default_rng([number, 3])
    every = np.sort(rng.integers(0, LAST_S - 7200, 300)).tolist()
    return workload([(int(s), 7200, int(rng.integers(1, 9)), str(1 + k % 9)) for k, s in enumerate(every)])


def joules(sim: Any, hazard: Hazard) -> float:
    """What jobs drew."""
    return float(sim.site.joules.sum())


def least_joules(sim: Any) -> float:
    """What they would draw each at the best of the clocks there are."""
    spec = load_machine("cooley").power
    truth = draw_behaviour(sim.workload, SEED)
    full_w = spec.cpu_dyn_w * truth.cpu_util_J + spec.gpu_dyn_w * truth.gpu_util_J
    seconds, nodes = sim.workload.column("runtime_s"), sim.workload.column("nodes")
    speeds = [np.full(len(seconds), speed) for speed in SPEEDS]
    every = [
        nodes * (spec.idle_w + full_w * speed**spec.speed_exponent) * seconds / rate(truth.beta_J, speed)
        for speed in speeds
    ]
    return float(np.min(every, 0).sum())


def waiting(sim: Any, hazard: Hazard) -> float:
    """The slowdowns by waiting."""
    job, start = sim.attempts.column("job"), sim.attempts.column("start")
    return float((start / np.maximum(sim.workload.column("runtime_s")[job], SHORT_S))[job < 40].sum())


def least_waiting(sim: Any) -> float:
    """Those of the order by cost over length."""
    runtime = np.sort(sim.workload.column("runtime_s")[:40].astype(float))
    starts = np.cumsum(runtime) - runtime
    return float((starts / np.maximum(runtime, SHORT_S)).sum())


def losses(sim: Any, hazard: Hazard) -> float:
    """Node-seconds that failures cost on average."""
    return float(expected_loss_s(sim, sim.site, np.arange(len(sim.attempts)), hazard).sum())


QUIET: Settings = {
    "twins.energy": "energy-oracle",
    "physics.failure_rate": 1e-6,
    "physics.variation": False,
    "physics.queues": False,
}
COUNTED: Settings = {"physics": None, "machine.nodes": 126}
FRAIL: Settings = {"physics.failure_rate": 30.0, "physics.queues": False, "twins.fault": "fault-oracle"}
WORLDS = {
    "clocks": World(clocks, QUIET, {"sleep": False, "places": False}, "energy", joules, least_joules),
    "order": World(order, COUNTED, {"patience": 0}, "performance", waiting, least_waiting),
    "places": World(places, FRAIL, {"sleep": False, "speed": False}, "reliability", losses, None),
}


def cost(world: World, scenario: Path, changed: Settings, options: Settings) -> tuple[float, Any]:
    """What a run costs, and its simulation."""
    sim = begin(scenario, {**changed, "scheduler": {"name": "aims", **options, **world.options}})
    scheduler: Any = sim.scheduler
    hazard, chooses = Hazard(sim), scheduler.chooser

    def chooser(state: State, now: int) -> int:
        hazard.look(now)
        return int(chooses(state, now))

    scheduler.chooser = chooser
    sim.run()
    return world.cost(sim, hazard), sim


def tried(world: World, folder: Path, rounds: int) -> tuple[float, float]:
    """By how much the trained network and chance cost more than the best, on jobs that it was not trained on."""
    scenarios = []
    for number in range(4):
        write_swf(world.jobs(number), folder / f"{number}.swf")
        scenarios.append(folder / f"{number}.yaml")
        scenarios[-1].write_text(f"base: cooley\nname: world\nprofile: null\ndays: null\ntrace: {number}.swf\n")
    changed: Settings = {"seed": SEED, **world.settings}
    plan = Plan(
        tuple(map(str, scenarios[:3])), days=None, loads=(None,), shown=6, show_epsilon=1.0, imitated=300,
        rounds=rounds, at_once=3, updates=200, check_every=4, checked=2, imitate=(0.0, 0.0), anchor=False,
        uncertainty=False, objective=OBJECTIVES.index(world.objective), overrides=tuple(changed.items()),
        options=tuple(world.options.items()), epsilon=(0.5, 0.05), ahead_s=3600,
    )  # fmt: skip
    found = train(plan, workers=2)
    file = trained.write(folder, "world", found.tensors, found.rates_O, {"dueling": True})
    only = [float(name == world.objective) for name in OBJECTIVES]
    plain = {"objectives": only, "adapt": False, "kappa": 0.0, "aversion": 0.0, "anchor": False}
    mine, sim = cost(world, scenarios[3], changed, {"weights": str(file), **plain})
    chance, _ = cost(world, scenarios[3], changed, {"policy": "random"})
    best = cost(world, scenarios[3], changed, {"policy": "rule"})[0] if world.best is None else world.best(sim)
    return mine / best - 1.0, chance / best - 1.0


def main() -> None:
    """Print a row for each world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", action="append", choices=[*WORLDS])
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    print("| world | above the best | chance | seconds |\n|---|---|---|---|")
    for name in asked.world or WORLDS:
        before = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            mine, chance = tried(WORLDS[name], Path(folder), asked.rounds)
        print(f"| {name} | {100 * mine:+.1f} % | {100 * chance:+.1f} % | {time.monotonic() - before:.0f} |", flush=True)


if __name__ == "__main__":
    main()
