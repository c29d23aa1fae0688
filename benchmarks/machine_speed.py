"""What the machine costs: places, power, heat, failures, outages, maintenance and queue rules, all on.

Three tables, under EASY: the simulation alone (in this process, without reading and writing) of 26,266 jobs of
polaris-nodebug beside the same jobs on counted nodes, for each part of the physics by itself and for all of them; the
campaign of Polaris, Mira and Cooley as whole processes; with ``--year``, a year of Aurora as well. Runs with and
without physics take turns, and the median of the ratios is shown: machines differ, the ratio hardly does.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.speed import jobs_in, whole_process
from hpcsim.plugin.loader import load_plugins
from hpcsim.scenario import build
from hpcsim.scenario.load import load_scenario

PARTS = ("variation", "heat", "failures", "outages", "maintenance", "queues")
NODEBUG = {"profile": "polaris-nodebug", "jobs": 26_266}
CAMPAIGN = {"polaris": 241_772, "mira": 52_154, "cooley": 95_678}


def simulation_s(settings: Mapping[str, Any]) -> float:
    """CPU seconds of the simulation alone of packaged ``polaris`` with these settings."""
    plugins = load_plugins()
    loaded = load_scenario("polaris", settings, schedulers=plugins.schedulers, twins=plugins.twins)
    workload, spec, nodes = build.jobs_and_machine(loaded, (), plugins.machines)
    piece = build.cut(loaded, workload, nodes)
    scheduler = build.make_scheduler(loaded, plugins.schedulers["easy"])
    simulation = build.make_simulation(loaded, piece, nodes, scheduler, build.make_twins(loaded, plugins.twins), spec)
    began = time.process_time()
    simulation.run()
    return time.process_time() - began


def parts(runs: int) -> None:
    """Print how many times as long as counting nodes each part takes."""
    off = {f"physics.{part}": False for part in PARTS} | {"physics.checkpoint": None}
    cases = {"places and power": off}
    cases |= {f"with {part}": off | {f"physics.{part}": True} for part in PARTS}
    cases |= {"everything on": {}}
    print(f"{'26,266 jobs of polaris-nodebug':34} {'counted s':>10} {'CPU s':>7} {'ratio':>6}")
    for name, settings in cases.items():
        counted, placed = [], []
        for _ in range(runs):
            counted.append(simulation_s(NODEBUG | {"physics": None}))
            placed.append(simulation_s(NODEBUG | settings))
        ratio = statistics.median(b / a for a, b in zip(counted, placed, strict=True))
        print(f"{name:34} {statistics.median(counted):10.2f} {statistics.median(placed):7.2f} {ratio:6.1f}", flush=True)


def processes(cases: Mapping[str, list[str]]) -> None:
    """Print CPU seconds and peak memory of whole runs without plots, and their sum."""
    print(f"{'everything on, whole processes':34} {'jobs':>10} {'CPU s':>7} {'MiB':>6}")
    total_s, total_jobs = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in cases.items():
            out = Path(folder) / name.replace(" ", "-")
            command = [sys.executable, "-m", "hpcsim", "run", *arguments, "--no-plots", "--out", str(out)]
            cpu_s, mib = whole_process(command)
            jobs = jobs_in(out)
            total_s, total_jobs = total_s + cpu_s, total_jobs + jobs
            print(f"{name:34} {jobs:10,} {cpu_s:7.1f} {mib:6.0f}", flush=True)
    if len(cases) > 1:
        print(f"{'together':34} {total_jobs:10,} {total_s:7.1f}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=3, help="pairs of runs for each ratio (default 3)")
    arguments.add_argument("--year", action="store_true", help="a year of Aurora too: minutes")
    given = arguments.parse_args()
    parts(given.runs)
    print()
    processes({name: [name, "--jobs", str(jobs)] for name, jobs in CAMPAIGN.items()})
    if given.year:
        print()
        processes({"a year of Aurora": ["aurora", "--set", "days=365"]})


if __name__ == "__main__":
    main()
