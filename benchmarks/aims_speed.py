"""How fast AIMS decides: the profile month of 26,266 jobs, and passes with 1,000 jobs in the queue.

python -m benchmarks.aims_speed [--jobs 26266]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from hpcsim import simulate
from hpcsim.replay import begin

JOBS = 26_266
MOST_CPU_S = 180.0
MOST_MS = 5.0
QUEUED = 1_000


def month(jobs: int) -> None:
    """Print the CPU seconds of a run of so many jobs under AIMS, and under easy."""
    for scheduler in ("easy", "aims"):
        before = time.process_time()
        run = simulate("polaris", {"seed": 11, "scheduler": scheduler, "jobs": jobs, "days": None})
        spent = time.process_time() - before
        print(f"{scheduler}: {len(run.jobs):,} jobs in {spent:.1f} CPU s")


def latency(who: str, **options: float) -> None:
    """Print the quantiles of what a pass takes while about 1,000 jobs wait."""
    crowd = {"days": 6, "seed": 11, "load": 8.0, "physics.queues": False}
    sim: Any = begin("polaris", {**crowd, "scheduler": {"name": "aims", **options}})
    scheduler, took_ms = sim.scheduler, []
    decide = scheduler.schedule

    def timed(view: Any) -> Any:
        before = time.process_time()
        decisions = list(decide(view))
        if len(view.queue) >= QUEUED * 0.8:
            took_ms.append(1000.0 * (time.process_time() - before))
        return decisions

    scheduler.schedule = timed
    sim.run(int(sim.workload.column("submit_s")[-1]))
    p50, p99, most = np.quantile(took_ms, [0.5, 0.99, 1.0])
    print(
        f"{who}: {len(took_ms):,} passes with 800 jobs or more in the queue: median {p50:.2f} ms, p99 {p99:.2f} ms "
        f"of CPU (at most {MOST_MS:g}), the longest {most:.0f} ms"
    )


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=JOBS)
    asked = parser.parse_args()
    month(asked.jobs)
    print(f"at most {MOST_CPU_S:g} CPU s are asked of aims")
    latency("as it comes")
    latency("free to depart from the rule", aversion=1.0)


if __name__ == "__main__":
    main()
