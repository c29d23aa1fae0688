"""How long it takes to draw a large run, and the pictures of docs/.

Without options: all figures of a made-up run of 390,000 jobs on 50,000 nodes, each in CPU seconds, and the highest
memory of the process in MiB. The tables are drawn from random numbers and not simulated; nothing in a figure is
cheaper for that. ``--docs`` runs a month of Polaris under EASY and FCFS and draws docs/images anew.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from hpcsim.results.run import Run
from hpcsim.results.tables import SLOWDOWN_BOUND_S

JOBS, NODES, INTERRUPTS = 390_000, 50_000, 20_000
YEAR_S, HOUR_S = 31_536_000, 3_600
ASKED_CPU_S, ASKED_MIB = 20.0, 2_048.0
COLOURS = 48  # of a picture in docs/: enough for seven hues, their bands and smooth letters


def made_up_run(jobs: int = JOBS, nodes: int = NODES, interrupts: int = INTERRUPTS) -> Run:
    """A year in which each of 20 partitions of the machine is given to one job after the other; the same run again."""
    random = np.random.default_rng(1)
    lanes = 20
    job = np.arange(jobs)
    runtime_s = random.exponential(YEAR_S * lanes / jobs * 0.9, jobs).astype(np.int64) + 1
    gap_s = random.exponential(YEAR_S * lanes / jobs * 0.1, jobs).astype(np.int64)
    end_s, start_s = np.empty(jobs, np.int64), np.empty(jobs, np.int64)
    for lane in range(lanes):
        mine = job % lanes == lane
        end_s[mine] = np.cumsum(gap_s[mine] + runtime_s[mine])
        start_s[mine] = end_s[mine] - runtime_s[mine]
    wide = np.minimum(1 + random.geometric(4 * lanes / nodes, jobs), nodes // lanes)
    first = job % lanes * (nodes // lanes)
    submit_s = np.maximum(start_s - random.exponential(6 * HOUR_S, jobs).astype(np.int64), 0)
    order = np.argsort(submit_s, kind="stable")
    start_s, end_s, runtime_s, wide, first, submit_s = (
        each[order] for each in (start_s, end_s, runtime_s, wide, first, submit_s)
    )
    state = pa.array(np.array(["completed", "failed", "timeout"])[random.choice(3, jobs, p=[0.8, 0.1, 0.1])])
    names = pa.array([f"{number}.machine" for number in range(jobs)])
    units = pa.array([f"{a}-{b}" for a, b in zip(first.tolist(), (first + wide - 1).tolist(), strict=True)])
    jobs_table = pa.table(
        {
            "job_id": names, "submit_s": submit_s, "start_s": start_s, "end_s": end_s, "nodes": wide,
            "runtime_s": runtime_s, "state": state.dictionary_encode(), "wait_s": start_s - submit_s,
            "bounded_slowdown": np.maximum(1.0, (end_s - submit_s) / np.maximum(runtime_s, SLOWDOWN_BOUND_S)),
            "measured": np.ones(jobs, bool),
        }
    )  # fmt: skip
    starts = np.argsort(start_s, kind="stable")
    attempts = jobs_table.select(["job_id", "start_s", "end_s", "nodes", "state"]).take(starts)
    attempts = attempts.append_column("units", units.take(pa.array(starts)))
    time_s, at = np.unique(np.concatenate([[0], submit_s, start_s, end_s]), return_inverse=True)

    def level(*changes: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        change = np.concatenate([[0], *(amount * sign for amount, sign in changes)])
        return np.cumsum(np.bincount(at, change, minlength=time_s.size)).astype(np.int64)

    one, none = np.ones(jobs, np.int64), np.zeros(jobs, np.int64)
    busy = level((none, one), (wide, one), (wide, -one))
    it_w = 500.0 * nodes + 1500.0 * busy
    hours = np.arange(0, int(time_s[-1]), HOUR_S)
    six_hours = np.arange(0, int(time_s[-1]), 6 * HOUR_S)
    fails = np.sort(random.integers(0, YEAR_S, interrupts))
    unit = random.integers(0, nodes, interrupts)
    tables = {
        "jobs": jobs_table, "attempts": attempts,
        "timeline": pa.table({
            "time_s": time_s, "queue": level((one, one), (one, -one), (none, one)),
            "running": level((none, one), (one, one), (one, -one)), "busy_nodes": busy,
        }),
        "power": pa.table({
            "time_s": time_s, "it_w": it_w, "facility_w": 1.2 * it_w, "solar_w": np.zeros(time_s.size),
        }),
        "grid": pa.table({
            "time_s": hours, "cap_w": np.full(hours.size, 1.3 * float(it_w.max())),
            "price_usd_per_kwh": random.gamma(2.0, 0.03, hours.size),
            "carbon_g_per_kwh": random.normal(350, 50, hours.size),
        }),
        "temperature": pa.table({
            "time_s": six_hours, "hottest_c": random.normal(72, 4, six_hours.size),
            "mean_c": random.normal(50, 3, six_hours.size), "hottest_gpu_c": random.normal(80, 4, six_hours.size),
            "supply_c": random.normal(22, 1, six_hours.size), "throttled_nodes": random.poisson(1, six_hours.size),
        }),
        "interrupts": pa.table({
            "time_s": fails, "until_s": fails + random.exponential(4 * HOUR_S, interrupts).astype(np.int64),
            "cause": pa.array(["hardware"] * interrupts).dictionary_encode(),
            "units": pa.array([str(number) for number in unit.tolist()]), "nodes": np.ones(interrupts, np.int64),
            "jobs": np.ones(interrupts, np.int64),
        }),
    }  # fmt: skip
    facility_kwh = float(np.dot(np.diff(time_s), 1.2 * it_w[:-1])) / 3.6e6
    summary = {
        "utilisation": float(np.dot(np.diff(time_s), busy[:-1])) / (nodes * float(time_s[-1])),
        "makespan_s": int(end_s.max() - submit_s.min()), "energy_facility_kwh": facility_kwh,
        "energy_split_kwh": {"jobs": 0.6 * facility_kwh, "idle": 0.2 * facility_kwh, "cooling": 0.2 * facility_kwh},
        "hottest_node_c": 90.0, "interrupts": interrupts,
    }  # fmt: skip
    manifest = {
        "scenario": "made up", "scheduler": "nobody", "levers": [], "seed": 1, "t0_utc": 1_704_067_200,
        "machine": {"name": "Large", "nodes": nodes},
    }  # fmt: skip
    return Run(tables, summary, manifest, "{machine: {model: polaris}, until: null}\n", {})


def measure() -> None:
    """Print CPU seconds and peak memory of all figures of the made-up run."""
    run = made_up_run()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.process_time()
    from hpcsim.results.plots import PLOTS, drawn_runs, write_plots

    total = time.process_time() - began
    print(f"| figure | CPU s |\n|---|---:|\n| loading matplotlib | {total:.2f} |")
    attempts = run.tables["attempts"].drop_columns(["units"])
    counted = replace(run, tables={**run.tables, "attempts": attempts})
    with TemporaryDirectory() as folder:
        for of, which, note in ((run, PLOTS, ""), (counted, ["gantt"], ", of a run that only counts nodes")):
            drawn = drawn_runs([("made-up", of)])
            for name in which:
                began = time.process_time()
                write_plots(drawn, [name], Path(folder))
                cpu_s = time.process_time() - began
                total += cpu_s
                print(f"| {name}{note} | {cpu_s:.2f} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| all; asked: under {ASKED_CPU_S:g} | {total:.2f} |")
    print(f"\n{JOBS:,} jobs on {NODES:,} nodes: {peak:,.0f} MiB at most, {before:,.0f} before; asked: {ASKED_MIB:,.0f}")


def make_images(directory: Path) -> None:
    """A month of Polaris under EASY and FCFS: every figure of the first, and the standard ones of both overlaid."""
    import hpcsim
    from hpcsim.results.plots import PLOTS, drawn_runs, write_plots

    runs = [(name, hpcsim.simulate("polaris", {"scheduler": name})) for name in ("easy", "fcfs")]
    with TemporaryDirectory() as folder:
        for chosen, prefix in ((runs[:1], "polaris-easy"), (runs[1:], "polaris-fcfs"), (runs, "polaris-easy-fcfs")):
            for path in write_plots(drawn_runs(chosen), PLOTS, Path(folder)):
                _with_few_colours(path, directory / f"{prefix}-{path.name}")


def _with_few_colours(picture: Path, to: Path) -> None:
    """The same PNG with a palette, several times smaller and the same to look at."""
    from PIL import Image

    with Image.open(picture) as image:
        few = image.convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(to, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", action="store_true", help="draw docs/images anew instead")
    parser.add_argument("--images", type=Path, default=Path("docs/images"), help="where they go (default docs/images)")
    chosen = parser.parse_args()
    if chosen.docs:
        make_images(chosen.images)
    else:
        measure()


if __name__ == "__main__":
    main()
