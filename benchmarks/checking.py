"""What ``--check`` costs: CPU seconds of all laws beside those of the run that they are verified of, without plots.

Each line is of one scenario under EASY, read, simulated and made into tables in this process; the median of several
runs. Machines differ, the share hardly does.
"""

from __future__ import annotations

import argparse
import statistics

import hpcsim

NODEBUG = {"profile": "polaris-nodebug", "jobs": 26_266}
CASES = {
    "counted nodes": ("polaris", NODEBUG | {"physics": None}),
    "everything on": ("polaris", NODEBUG),
    "on a torus": ("mira", {}),
    "jobs that share nodes": ("polaris", {"physics.processors": "cores", "physics.queues": False}),
    "workflows": ("workflows", {}),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=3, help="runs of each case; the median is shown (default 3)")
    runs = arguments.parse_args().runs
    print(f"{'--check':24} {'jobs':>8} {'attempts':>9} {'run, CPU s':>11} {'check, CPU s':>13} {'share':>7}")
    for name, (scenario, settings) in CASES.items():
        rest, check = [], []
        for _ in range(runs):
            run = hpcsim.simulate(scenario, {"scheduler": "easy", **settings}, check=True)
            cpu_s = dict(run.timing["cpu_s"])
            check.append(cpu_s.pop("check"))
            rest.append(sum(cpu_s.values()))
        share = statistics.median(a / b for a, b in zip(check, rest, strict=True))
        jobs, attempts = (run.tables[table].num_rows for table in ("jobs", "attempts"))
        print(
            f"{name:24} {jobs:8,} {attempts:9,} {statistics.median(rest):11.2f} {statistics.median(check):13.3f} "
            f"{share:7.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
