"""How good the learned twins are beside baselines, on later jobs than they learned from, as tables in Markdown.

    python -m benchmarks.twins --twin NAME [--seeds 3] [--case NAME ...] [--plots DIR]

Real traces are looked for under ``$HPCSIM_DATA/traces``. Where a trace records when jobs started, that tells when
their ends became known; the others, and the synthetic months, are run under EASY first.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hpcsim.cli.twins import write_plots
from hpcsim.machine.thermal import Racks
from hpcsim.replay import begin, simulate
from hpcsim.twins import gpu_heat
from hpcsim.twins.features import Columns, Ends, codes
from hpcsim.twins.judging import Evaluation
from hpcsim.twins.learners import Recorded, learner
from hpcsim.twins.records import Records, records
from hpcsim.twins.thermal_learner import GpuTruth, Seen, Truth
from hpcsim.twins.thermal_windows import Windows
from hpcsim.workload.job import FAILED, Workload
from hpcsim.workload.trace import read_trace

MOST_JOBS = 60_000  # of a trace: its last ones
EPOCHS = 60


def recorded(file: str, *, from_first_end: bool = False) -> Records:
    """The records of a trace by the starts that it tells of.

    ``from_first_end``: of a trace of the jobs that ended in some time, of which those submitted before are not all.
    """
    workload = read_trace(_traces() / file)
    if from_first_end:
        begin, ran_s, submit_s = (workload.column(name) for name in ("recorded_start_s", "runtime_s", "submit_s"))
        workload = workload.take(np.flatnonzero(submit_s >= (begin + ran_s)[begin >= 0].min()))
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


def simulated(twin: str, scenario: str, **changes: object) -> Callable[[], Any]:
    """The records of a run of a scenario, for a twin."""

    def run() -> Any:
        taught = learner(twin)
        done = simulate(scenario, {**taught.settings, **changes})
        telemetry = None if done.telemetry_file is None else done.telemetry_file.table
        return taught.records(Recorded(done.tables, done.manifest, telemetry))

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
        sys.exit("set HPCSIM_DATA to the directory that holds traces")
    return Path(data) / "traces" / "swf"


PERFORMANCE: dict[str, tuple[str, Callable[[], Any]]] = {
    "polaris-2023": (
        "Polaris, September to December 2023, without users",
        lambda: recorded("polaris_2023-09_2023-12_nodebug.swf.gz"),
    ),
    "theta-2022": ("Theta, 2022, without users", lambda: recorded("theta_2022_production.swf.gz")),
    "mira-2018": (
        "Mira, August to December 2018, with users, run under EASY",
        lambda: simulated("performance", "bare", trace=str(_traces() / "mira_2018-08_2018-12.swf.gz"))(),
    ),
    "synthetic": (
        "Synthetic Polaris, 60 days, with users, run under EASY",
        simulated("performance", "polaris", days=60),
    ),
    "curie": (
        f"Curie, the last {MOST_JOBS:,} jobs of 2012, with users",
        lambda: recorded("CEA-Curie-2011-2.1-cln.swf.gz"),
    ),
}
JOB_FAILURE: dict[str, tuple[str, Callable[[], Any]]] = {
    "mira-2020": (
        "Mira, January to March 2020, with users",
        lambda: recorded("../alcf/ANL-ALCF-DJC-MIRA_20200101_20201231.csv.gz", from_first_end=True),
    ),
    "thetagpu": (
        "ThetaGPU, September to December 2020, users of a part of the jobs",
        lambda: recorded("../alcf/ANL-ALCF-DJC-THETAGPU_20200922_20201231.csv.gz", from_first_end=True),
    ),
    "synthetic": (
        "Synthetic Polaris, 60 days, with users, run under EASY",
        simulated("job-failure", "polaris", days=60),
    ),
}


@cache
def read_by_sensors(scenario: str, days: int) -> Seen:
    """What sensors read in a run of a scenario, and the truth: the same run again with sensors that do not err."""
    settings = {**learner("thermal").settings, "days": days}
    site = begin(scenario, settings).site
    if site is None or site.cluster.heat is None:
        sys.exit(f"{scenario} has no heat")
    heat, spec = site.cluster.heat, site.cluster.spec
    seen, exact = (
        learner("thermal").records(Recorded(done.tables, done.manifest, done.telemetry_file.table, spec))
        for done in (simulate(scenario, {**settings, "physics.telemetry.noise": noise}) for noise in (True, False))
    )
    gpus, of_gpus = None, exact.telemetry.gpus
    if of_gpus is not None and heat.gpu_r_U is not None:
        published = gpu_heat.published(spec, 0.0, 1, 0.0)
        factor = np.log(heat.gpu_r_U / spec.thermal.gpu_k_per_w)
        gpus = GpuTruth(of_gpus.gpu_c, published._replace(factor=factor), inlets(heat._racks))
    truth = Truth(exact.telemetry.node_c, heat.r_U, spec.thermal.node_j_per_k, closed_form(heat._racks), gpus)
    return Seen(seen.telemetry, truth)


def sensed(scenario: str, days: int, share: float = 1.0) -> Callable[[], Seen]:
    """The same; of the windows to fit only a share is learned from."""
    return lambda: read_by_sensors(scenario, days)._replace(share=share)


def closed_form(racks: Racks) -> Callable[[Windows], Any]:
    """What the machine's own equations say of the later looks of windows, kelvins above the supply."""

    def said(some: Windows) -> Any:
        block = some.units[:, 0] // racks.n
        watts = (some.watts * some.there).astype(float)
        modes = np.einsum("bku,bu->bk", racks.shapes[block], some.above_k * some.there)
        steady = np.einsum("bu,buk->bk", watts, racks.gains[block])
        fades = np.exp(-racks.rates[block][:, :, None] * some.leads_s)
        return np.einsum("bkl,bku->bul", steady[:, :, None] + (modes - steady)[:, :, None] * fades, racks.shapes[block])

    return said


def inlets(racks: Racks) -> Callable[[Windows], Any]:
    """How far the machine's own inlets are above the supply in windows."""
    return lambda some: (some.watts * some.there) @ racks.inlet_k_per_w.T


THERMAL: dict[str, tuple[str, Callable[[], Any]]] = {
    "thermal-polaris": ("Polaris, 8 days, a reading a minute", sensed("polaris", 8)),
    "thermal-polaris-1": ("The same, learned from 1 % of the windows", sensed("polaris", 8, 0.01)),
    "thermal-theta": ("Theta, 2 days, a reading a minute", sensed("theta", 2)),
    "thermal-cooley": ("Cooley, 15 days, a reading a minute", sensed("cooley", 15)),
    "thermal-mira": ("Mira, 8 days, a reading a minute", sensed("mira", 8)),
}
CASES = {"performance": PERFORMANCE, "thermal": THERMAL, "job-failure": JOB_FAILURE}
"""By the twin and the name of the case: what it is, and its records."""


def table(judged: Evaluation) -> str:
    """Figures by predictor with their 95 % intervals, and what the learned twin has more, with its interval."""
    headings = [column.heading for column in judged.columns]
    lines = [f"| | {' | '.join(headings)} |", "|---|" + "---|" * len(headings)]
    for name, each in judged.compared.items():
        cells = []
        for k, column in enumerate(judged.columns):
            mean = column.shown(each.mean[k])
            if name == judged.learned:
                cells.append(f"{mean} [{column.shown(each.low[k])}, {column.shown(each.high[k])}]")
            else:
                least, most = each.difference_low[k], each.difference_high[k]
                cells.append(f"{mean} ({column.difference(least)}, {column.difference(most)})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--twin", choices=list(CASES), default="performance")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--case", action="append", choices=list(dict.fromkeys(name for cases in CASES.values() for name in cases))
    )
    parser.add_argument("--plots", type=Path)
    asked = parser.parse_args()
    cases = CASES[asked.twin]
    for name in asked.case or cases:
        title, load = cases[name]
        began = time.process_time()
        judged = learner(asked.twin).evaluate(
            load(), list(range(1, asked.seeds + 1)), EPOCHS, lambda what: print(what, file=sys.stderr)
        )
        spent = time.process_time() - began
        today = datetime.date.today().isoformat()
        how = f"seeds 1 to {asked.seeds}; {today}; {spent:.0f} CPU seconds"
        print(f"### {title}\n\n{judged.of}; {how}.\n\n{table(judged)}\n", flush=True)
        for each in judged.besides:
            print(f"{each.of}.\n\n{table(each)}\n", flush=True)
        if asked.plots:
            write_plots(asked.plots, name, asked.twin, judged)


if __name__ == "__main__":
    main()
