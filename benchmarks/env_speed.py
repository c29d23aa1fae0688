"""How many steps of ``hpcsim/Cluster-v0`` a CPU second makes, episodes begun anew included.

The setting is RLScheduler's: lublin_256 (in the folder that HPCSIM_DATA names, else a synthetic month of Polaris),
episodes of 256 jobs, observations of 128 jobs x 8 features. Actions are drawn at random among the valid ones, or are
always the first job of the queue. The environment is stepped bare, without Gymnasium's wrappers; the median of
several measurements is shown.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from hpcsim.env import ClusterEnv

CASES: dict[str, dict[str, Any]] = {
    "a job is reserved until it starts": {},
    "others are backfilled meanwhile": {"backfill": "fcfs"},
    "only jobs that fit": {"unfitting": "mask"},
}


def steps_per_s(env: ClusterEnv, *, first: bool, steps: int) -> tuple[float, float]:
    """Steps per CPU second, and the mean number of waiting jobs."""
    rng = np.random.default_rng(1)
    _, info = env.reset(seed=1)
    waiting = 0
    began = time.process_time()
    for _ in range(steps):
        valid = np.flatnonzero(info["action_mask"])
        _, _, terminated, _, info = env.step(valid[0] if first else valid[rng.integers(valid.size)])
        waiting += info["waiting"]
        if terminated:
            _, info = env.reset()
    return steps / (time.process_time() - began), waiting / steps


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=5, help="measurements of each case (default 5)")
    arguments.add_argument("--steps", type=int, default=10_000, help="steps of each measurement (default 10,000)")
    given = arguments.parse_args()
    scenario: dict[str, Any] = {"base": "bare", "name": "bench", "profile": "polaris-nodebug"}
    data = os.environ.get("HPCSIM_DATA")
    if data is None:
        print("HPCSIM_DATA names no folder of real traces: synthetic jobs instead of lublin_256")
    else:
        scenario["trace"] = str(Path(data) / "traces" / "swf" / "lublin_256.swf.gz")
    title = f"{Path(scenario.get('trace', scenario['profile'])).name}, 256 jobs, 128 x 8"
    print(f"{title:38} {'action':8} {'waiting':>8} {'steps/CPU s':>12}")
    for name, options in CASES.items():
        for first in (False, True):
            env = ClusterEnv(scenario, **options)
            measured = [steps_per_s(env, first=first, steps=given.steps) for _ in range(given.runs)]
            speed, waiting = statistics.median(each[0] for each in measured), measured[0][1]
            print(f"{name:38} {'first' if first else 'random':8} {waiting:8.0f} {speed:12,.0f}", flush=True)


if __name__ == "__main__":
    main()
