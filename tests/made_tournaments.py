"""Tables of cells made of numbers that are known, for tests: no simulation."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

FIELD = {
    "easy": 1.0, "fcfs": 1.6, "conservative": 1.05, "easy + sleep_idle": 1.0, "sjf": 0.7, "wfp": 0.85, "tetris": 0.9,
    "nsga2": 0.95,
}  # fmt: skip
MACHINES = {"polaris": 4000.0, "mira": 14000.0}


def write_cells(
    path: Path,
    *,
    field: Mapping[str, float] = FIELD,
    machines: Mapping[str, float] = MACHINES,
    windows: int = 10,
    seeds: int = 2,
    loads: Sequence[str] = ("",),
    failed: Callable[[str, int, str, int, str], bool] = lambda *_: False,
    noise: float = 0.15,
    seed: int = 1,
) -> Path:
    """``cells.csv`` in the folder ``path``: waits and slowdowns are ``field`` times a machine's, times noise.

    Half of the noise is of the window, which all schedulers share.
    """
    rng = np.random.default_rng(seed)
    metrics = [
        "mean_wait_s", "mean_bounded_slowdown", "utilisation", "energy_kwh_per_work_node_hour", "lost_node_hours",
        "throughput_jobs_per_h", "variability",
    ]  # fmt: skip
    rows, times = [], []
    for scenario, wait in machines.items():
        for window in range(windows):
            of_window = rng.lognormal(0, noise)
            for load in loads:
                pace = 1.0 if not load else 4.0 if load == "saturation" else float(load) ** 3
                for scheduler, factor in field.items():
                    for number in range(seeds):
                        key = (scenario, f"w{window + 1:02}", scheduler, str(number), load)
                        level = factor * pace * of_window * rng.lognormal(0, noise / 2)
                        asleep = 0.85 if "sleep" in scheduler else 1.0
                        values = [
                            wait * level,
                            1 + 30 * level,
                            min(1.0, 0.8 - 0.05 * level),
                            1.2 * asleep * rng.normal(1, 0.01),
                            40 * asleep * rng.lognormal(0, 0.3),
                            12 - level,
                            1 + level / 4,
                        ]
                        lost = failed(scenario, window, scheduler, number, load)
                        rows.append([*key, "failed" if lost else "done", *([""] * 7 if lost else map(repr, values))])
                        if not lost:
                            times.append([*key, repr(1.5 * factor), repr(2e-5 * factor), repr(2e-4 * factor)])
    timing = ["cpu_s", "decision_latency_p50_s", "decision_latency_p99_s"]
    keys = ["scenario", "window", "scheduler", "seed", "load"]
    path.mkdir(parents=True, exist_ok=True)
    for name, header, content in (
        ("cells.csv", [*keys, "state", *metrics], rows),
        ("timing.csv", [*keys, *timing], times),
    ):
        with (path / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *content])
    return path / "cells.csv"
