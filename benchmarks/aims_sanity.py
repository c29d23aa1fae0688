"""Does AIMS learn what is best where that is known? Three small worlds, without the rule to lean on.

    python -m benchmarks.aims_sanity [--world NAME ...] [--rounds 12]

- ``clocks``: half of the users run programs that memory limits, the others such as follow the clock; energy counts, and
  a tenth is waiting. Best is the clock of least energy for each program, by the truth, and the best of ways to rest.
- ``packing``: jobs of six and of four tenths of the machine, as long as each other, all there from the beginning; only
  performance counts. Best is one of each kind at a time, as long as there are both: two small ones leave nodes idle.
- ``places``: hardware fails often, and some nodes more than others; reliability counts, and a tenth is waiting. Best
  are always the nodes of least hazard.

A tenth is waiting in two of them because else a job that is put off costs hardly more than one that starts.

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

from hpcsim.replay import begin
from hpcsim.results.energy import power_curve
from hpcsim.schedulers.aims import trained
from hpcsim.schedulers.aims.expert import by_rule
from hpcsim.schedulers.aims.network import State
from hpcsim.schedulers.aims.shape import CLOCKS, DEPARTURES, MODES, REST
from hpcsim.training.course import Plan, train
from hpcsim.training.rewards import Hazard, expected_loss_s
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import Workload, workload_from_columns
from hpcsim.workload.swf import write_swf

SEED = 7  # of the machine and its programs
LAST_S = 40 * 3600  # when a job comes with which an episode ends
Settings = dict[str, Any]


class World(NamedTuple):
    """Jobs, drawn by a number; what else is in the scenario; the weights of the objectives; what a run of it costs.

    What the ``best`` would cost is in closed form, or by ways to choose, which know the truth and one of which is best.
    """

    jobs: Callable[[int], Workload]
    settings: Settings
    options: Settings
    weights: tuple[float, float, float]
    cost: Callable[[Any, Hazard], float]
    best: Callable[[Any], float] | tuple[Callable[[State], int], ...]


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
    """Jobs of eight nodes and half an hour, never so many that one waits."""
    rng = np.random.default_rng([number, 1])
    memory, computing = users()
    every = np.sort(rng.integers(0, LAST_S - 7200, 240)).tolist()
    return workload([(int(s), 1800, 8, str(rng.choice(memory if rng.random() < 0.5 else computing))) for s in every])


def packing(number: int) -> Workload:
    """Sixty jobs of 76 or 50 nodes and half an hour, on 126 nodes."""
    rng = np.random.default_rng([number, 2])
    return workload([(0, 1800, 76 if rng.random() < 0.5 else 50, str(1 + k % 5)) for k in range(60)])


def places(number: int) -> Workload:
    """Jobs of up to eight nodes on a machine that is half full."""
    rng = np.random.default_rng([number, 3])
    every = np.sort(rng.integers(0, LAST_S - 7200, 300)).tolist()
    return workload([(int(s), 7200, int(rng.integers(1, 9)), str(1 + k % 9)) for k, s in enumerate(every)])


def joules(sim: Any, hazard: Hazard) -> float:
    """What the machine drew, jobs and all other nodes."""
    curve = power_curve(sim, sim.site)
    return float(curve.joules(curve.it_w))


def at_best_clocks(rest: int) -> Callable[[State], int]:
    """Whatever waits starts at once at its clock of least energy; nodes always rest in one way."""

    def chooses(state: State) -> int:
        open_J = np.flatnonzero(state.legal_JM[:, 0])
        if not len(open_J):
            return len(state.job_JF) * len(MODES) + (rest if state.legal_R[rest] else 0)
        slowest = MODES.index((len(CLOCKS) - 1, 0))
        return int(open_J[0]) * len(MODES) + (slowest if state.legal_JM[open_J[0], slowest] else 0)

    return chooses


def waiting(sim: Any, hazard: Hazard) -> float:
    """Node-seconds by waiting."""
    job, start = sim.attempts.column("job"), sim.attempts.column("start")
    return float((start * sim.workload.column("nodes")[job])[job < 60].sum())


def least_waiting(sim: Any) -> float:
    """Those where pairs of both kinds go first, then what is left: large ones one by one, or small ones by twos.

    Of k turns none has more node-seconds behind it: each has at most one large job, and beside it one small one.
    """
    nodes = sim.workload.column("nodes")[:60]
    large, small = int((nodes == 76).sum()), int((nodes == 50).sum())
    pairs = min(large, small)
    turns = [126] * pairs + [76] * (large - pairs) + [100] * ((small - pairs) // 2) + [50] * ((small - pairs) % 2)
    return float(sum(1800 * k * each for k, each in enumerate(turns)))


def losses(sim: Any, hazard: Hazard) -> float:
    """Node-seconds that failures cost on average."""
    taken = sim.attempts.column("taken").tolist()
    rate = np.array([hazard.of(units, second) for units, second in zip(sim.site.units, taken, strict=True)])
    return float(expected_loss_s(sim, sim.site, np.arange(len(taken)), rate).sum())


QUIET: Settings = {
    "twins.energy": "energy-oracle",
    "physics.failure_rate": 1e-6,
    "physics.variation": False,
    "physics.queues": False,
}
COUNTED: Settings = {"physics": None, "machine.nodes": 126}
FRAIL: Settings = {"physics.failure_rate": 30.0, "physics.queues": False, "twins.fault": "fault-oracle"}
AT_BEST_CLOCKS = tuple(map(at_best_clocks, range(len(REST))))
WORLDS = {
    "clocks": World(clocks, QUIET, {"places": False}, (0.9, 0.1, 0.0), joules, AT_BEST_CLOCKS),
    "packing": World(packing, COUNTED, {"patience": 0}, (0.0, 1.0, 0.0), waiting, least_waiting),
    "places": World(places, FRAIL, {"sleep": False, "speed": False}, (0.0, 0.1, 0.9), losses, (by_rule,)),
}


def cost(
    world: World, scenario: Path, changed: Settings, options: Settings, known: Callable[[State], int] | None = None
) -> tuple[float, Any]:
    """What a run costs in which the scheduler chooses, or what is ``known`` to be best; and its simulation."""
    sim = begin(scenario, {**changed, "scheduler": {"name": "aims", **options, **world.options}})
    scheduler: Any = sim.scheduler
    hazard, chooses = Hazard(sim), scheduler.chooser

    def chooser(state: State, now: int) -> int:
        hazard.look(now)
        return int(chooses(state, now)) if known is None else known(state)

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
        rounds=rounds, at_once=3, updates=200, check_every=2, checked=3, imitate=(0.0, 0.0), anchor=False,
        uncertainty=False, weights=world.weights, various_weights=False, overrides=tuple(changed.items()),
        options=tuple(world.options.items()), epsilon=(0.5, 0.05), ahead_s=3600,
    )  # fmt: skip
    found = train(plan, workers=2)
    about = {"dueling": True, "aversion": [0.0] * len(DEPARTURES)}
    file = trained.write(folder, "world", found.tensors, found.rates_O, found.usual_O, about)
    plain = {"objectives": list(world.weights), "adapt": False, "kappa": 0.0, "aversion": 0.0, "anchor": False}
    mine, sim = cost(world, scenarios[3], changed, {"weights": str(file), **plain})
    chance, _ = cost(world, scenarios[3], changed, {"policy": "random"})
    if isinstance(world.best, tuple):
        best = min(cost(world, scenarios[3], changed, {}, known)[0] for known in world.best)
    else:
        best = world.best(sim)
    return mine / best - 1.0, chance / best - 1.0


def main() -> None:
    """Print a row for each world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", action="append", choices=[*WORLDS])
    parser.add_argument("--rounds", type=int, default=12)
    asked = parser.parse_args()
    print("| world | above the best | chance | seconds |\n|---|---|---|---|")
    for name in asked.world or WORLDS:
        before = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            mine, chance = tried(WORLDS[name], Path(folder), asked.rounds)
        print(f"| {name} | {100 * mine:+.1f} % | {100 * chance:+.1f} % | {time.monotonic() - before:.0f} |", flush=True)


if __name__ == "__main__":
    main()
