"""What a fork costs: CPU milliseconds, the median of many, of simulations with 500 running jobs and a long past.

The machines are those of the catalogue with all their physics. Beside them stands what SimPy alone takes to note 500
ends: machines differ, the ratio hardly does. The last column is what a scheduler pays to see an hour ahead
(``view.what_if``): a fork, and the events of that hour.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import simpy

from hpcsim.engine.simulation import Simulation
from hpcsim.engine.what_if import what_if
from hpcsim.plugin.loader import load_plugins
from hpcsim.scenario import build, physics
from hpcsim.scenario.load import load_scenario
from hpcsim.workload.job import Workload, workload_from_columns

RUNNING = 500
HOUR_S = 3600
QUEUELESS = {"physics.queues": False}
CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "Polaris, counted nodes": ("polaris", {"physics": None}, 20_000),
    "Polaris, all but queue rules": ("polaris", QUEUELESS, 20_000),
    "Polaris, everything on": ("polaris", {}, 20_000),
    "Polaris, 10 times the past": ("polaris", QUEUELESS, 200_000),
    "Aurora, all but queue rules": ("aurora", QUEUELESS, 20_000),
}


def busy(jobs: int, seed: int = 1) -> Workload:
    """Jobs of one node that come faster than 500 of them end, each user with few of them."""
    rng = np.random.default_rng(seed)
    walltime_s = rng.integers(3_600, 6 * 3_600, jobs)
    return workload_from_columns(
        t0_utc=1_700_000_000,
        source="busy",
        name=[f"j{number}" for number in range(jobs)],
        submit_s=np.sort(rng.integers(0, 15 * jobs, jobs)),
        nodes=np.ones(jobs, np.int64),
        walltime_s=walltime_s,
        runtime_s=np.maximum(60, (walltime_s * rng.uniform(0.3, 1.0, jobs)).astype(np.int64)),
        user=[f"user{number % 997}" for number in range(jobs)],
        project=[f"project{number % 499}" for number in range(jobs)],
    )


def with_running(name: str, settings: dict[str, Any], past: int, running: int = RUNNING) -> Simulation:
    """A simulation at the first second after ``past`` attempts in which so many jobs run."""
    plugins = load_plugins()
    loaded = load_scenario(name, settings, schedulers=plugins.schedulers, twins=plugins.twins)
    workload = busy(past + 20_000)
    spec = physics.machine_spec(loaded, plugins.machines)
    nodes = build.machine_nodes(loaded, workload) if spec is None else spec.units * spec.unit_nodes
    piece = build.cut(loaded, workload if spec is None else physics.in_places(workload, spec), nodes)
    scheduler = build.make_scheduler(loaded, plugins.schedulers["easy"])
    twins = build.make_twins(loaded, plugins.twins)
    simulation = build.make_simulation(loaded, piece, nodes, scheduler, twins, spec)
    while len(simulation.attempts) < past or len(simulation.running) < running:
        simulation.run(simulation.now + 600)
    return simulation


def median_ms(call: Callable[[], object], times: int) -> float:
    """CPU milliseconds of a call."""
    taken_s = []
    for _ in range(times):
        began = time.process_time()
        call()
        taken_s.append(time.process_time() - began)
    return 1000.0 * statistics.median(taken_s)


def asked(simulation: Simulation) -> None:
    """Ask what comes of deciding nothing, within an hour."""
    what_if(simulation, [], HOUR_S)


def note_ends(count: int = RUNNING) -> simpy.Environment:
    """What a new clock takes at the least."""
    env = simpy.Environment()
    for second in range(count):
        simpy.Timeout(env, second)
    return env


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--times", type=int, default=51, help="forks of each simulation (default 51)")
    times = arguments.parse_args().times
    bare_ms = median_ms(note_ends, times)
    print(
        f"{'a fork of':30} {'running':>8} {'waiting':>8} {'attempts':>9} {'CPU ms':>7} {'ratio':>6} {'what if ms':>11}"
    )
    for name, case in CASES.items():
        simulation = with_running(*case)
        fork_ms = median_ms(simulation.fork, times)
        waiting = len(simulation.queue) + len(simulation.held)
        print(
            f"{name:30} {len(simulation.running):8,} {waiting:8,} {len(simulation.attempts):9,} {fork_ms:7.2f} "
            f"{fork_ms / bare_ms:6.1f} {median_ms(partial(asked, simulation), max(3, times // 10)):11.1f}",
            flush=True,
        )
    print(f"{f'SimPy alone, {RUNNING} ends':30} {'':8} {'':8} {'':9} {bare_ms:7.2f} {1.0:6.1f}")


if __name__ == "__main__":
    main()
