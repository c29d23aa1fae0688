"""How good the learned twins are beside baselines, on later jobs than they learned from, as tables in Markdown.

    python -m benchmarks.twins --twin performance [--seeds 3] [--case NAME ...] [--plots DIR]

Real traces are looked for under ``$HPCSIM_DATA/traces/swf``. Where a trace records when jobs started, that tells when
their ends became known; the others, and the synthetic months, are run under EASY first.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpcsim.cli.twins import write_plots
from hpcsim.replay import simulate
from hpcsim.twins.evaluation import ENSEMBLE, METRICS, Evaluation, evaluate
from hpcsim.twins.features import Columns, Ends, codes
from hpcsim.twins.records import Records, of_run, records, split
from hpcsim.workload.job import FAILED, Workload
from hpcsim.workload.trace import read_trace

MOST_JOBS = 60_000  # of a trace: its last ones

ABOUT = {
    "accuracy": "accuracy", "log_mae": "ln MAE", "mae_min": "MAE, min", "coverage": "90 % interval holds",
    "width": "its width, ln s", "crps": "CRPS, ln s",
}  # fmt: skip


def recorded(file: str) -> Records:
    """The records of a trace by the starts that it tells of."""
    workload = read_trace(_traces() / file)
    count = len(workload)
    if count > MOST_JOBS:
        workload = workload.take(np.arange(count - MOST_JOBS, count))
    column = workload.column
    start_s, runtime_s = column("recorded_start_s"), column("runtime_s")
    told = np.flatnonzero(start_s >= 0)
    counted = np.ones(told.size, bool)
    failed = column("outcome")[told] == FAILED
    ends = Ends(told, (start_s + runtime_s)[told], runtime_s[told], failed, counted)
    return records(_columns(workload), ends)


def simulated(scenario: str, **changes: object) -> Callable[[], Records]:
    """The records of a run of a scenario."""

    def run() -> Records:
        done = simulate(scenario, dict(changes))
        return of_run(done.tables["jobs"], done.manifest["t0_utc"], done.manifest["machine"]["nodes"])

    return run


def _columns(workload: Workload) -> Columns:
    column, table = workload.column, workload.table
    return Columns(
        column("submit_s"), column("nodes"), column("walltime_s"), column("cores"), column("gpus"),
        codes(table.column("user").to_pylist()), codes(table.column("project").to_pylist()),
        codes(table.column("queue").to_pylist(), named=False), np.zeros(len(workload), bool), workload.t0_utc,
        workload.machine_nodes or int(column("nodes").max()),
    )  # fmt: skip


def _traces() -> Path:
    data = os.environ.get("HPCSIM_DATA")
    if not data:
        sys.exit("set HPCSIM_DATA to the directory that holds traces/swf")
    return Path(data) / "traces" / "swf"


CASES: dict[str, tuple[str, Callable[[], Records]]] = {
    "polaris-2023": (
        "Polaris, September to December 2023, without users",
        lambda: recorded("polaris_2023-09_2023-12_nodebug.swf.gz"),
    ),
    "theta-2022": ("Theta, 2022, without users", lambda: recorded("theta_2022_production.swf.gz")),
    "mira-2018": (
        "Mira, August to December 2018, with users, run under EASY",
        lambda: simulated("bare", trace=str(_traces() / "mira_2018-08_2018-12.swf.gz"))(),
    ),
    "synthetic": ("Synthetic Polaris, 60 days, with users, run under EASY", simulated("polaris", days=60)),
    "curie": (
        f"Curie, the last {MOST_JOBS:,} jobs of 2012, with users",
        lambda: recorded("CEA-Curie-2011-2.1-cln.swf.gz"),
    ),
}


def table(judged: Evaluation) -> str:
    """Means by predictor with their 95 % intervals, and below them what the ensemble has more, with its interval."""
    lines = [f"| | {' | '.join(ABOUT[metric] for metric in METRICS)} |", "|---|" + "---|" * len(METRICS)]
    for name, each in judged.compared.items():
        cells = []
        for k, metric in enumerate(METRICS):
            scale, digits = (100, 1) if metric == "coverage" else (1, 1 if metric == "mae_min" else 3)
            mean = f"{scale * each.mean[k]:.{digits}f}"
            if name == ENSEMBLE:
                cells.append(f"{mean} [{scale * each.low[k]:.{digits}f}, {scale * each.high[k]:.{digits}f}]")
            else:
                least, most = scale * each.difference_low[k], scale * each.difference_high[k]
                cells.append(f"{mean} ({least:+.{digits}f}, {most:+.{digits}f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--twin", choices=["performance"], default="performance")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--plots", type=Path)
    asked = parser.parse_args()
    for name in asked.case or CASES:
        title, load = CASES[name]
        began = time.process_time()
        rows = load()
        parts = split(rows)
        judged = evaluate(rows, parts, list(range(1, asked.seeds + 1)), lambda what: print(what, file=sys.stderr))
        spent = time.process_time() - began
        today = datetime.date.today().isoformat()
        jobs = f"{len(parts.fit):,} jobs to fit, {len(parts.check):,} to check, {judged.tested:,} to test"
        how = f"({judged.days} days); seeds 1 to {asked.seeds}; {today}; {spent:.0f} CPU seconds"
        print(f"### {title}\n\n{jobs} {how}.\n\n{table(judged)}\n", flush=True)
        if asked.plots:
            write_plots(asked.plots, name, asked.twin, judged)


if __name__ == "__main__":
    main()
