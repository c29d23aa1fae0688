"""What every rule-based scheduler makes of the same jobs: 26,266 of polaris-nodebug on Polaris, with its physics.

A row for each scheduler of the registry, with its default options, so that new ones appear by themselves; those that
need what the scenario lacks (a twin, or a trace that records starts) are named and left out. Waits, bounded slowdowns
(means over all jobs), utilisation and energy are the run's own figures, the same everywhere; CPU seconds are of the
whole process without plots, and decision latencies of the scheduling passes, on this machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.speed import whole_process
from hpcsim.engine.capabilities import CAPABILITIES, declared
from hpcsim.plugin.loader import load_plugins
from hpcsim.scenario.load import load_scenario
from hpcsim.scenario.needs import capabilities_of

JOBS = 26_266
TABLE = Path(__file__).parents[1] / "docs" / "baselines-table.md"
_OF_THE_CLOCK = 5  # the column from which on figures are of the clock
ALIKE = {  # why two rows may be the same to the last digit
    ("fcfs", "flux"): "`flux` is `fcfs` to the last digit: with its default options Flux is plain first come, first "
    "served ([baselines.md](baselines.md)); `scheduler.preset=production` backfills.",
    ("heft", "cpop"): "`heft` is `cpop` to the last digit: of jobs without dependencies on one node class both ranks "
    "are the predicted runtime, so both plan the longest jobs first ([baselines.md](baselines.md)).",
}
COLUMNS = (
    ("scheduler", "{}"),
    ("mean wait, h", "{:,.2f}"),
    ("bounded slowdown", "{:,.1f}"),
    ("utilisation, %", "{:.2f}"),
    ("energy, MWh", "{:,.1f}"),
    ("CPU s", "{:,.1f}"),
    ("jobs/CPU s", "{:,.0f}"),
    ("latency p50, ms", "{:.3f}"),
    ("p99, ms", "{:.3f}"),
)


def chosen(names: list[str] | None, settings: list[str]) -> list[str]:
    """The schedulers to run, in the order of the registry: ``names``, or all whose needs the scenario meets."""
    known = load_plugins().schedulers
    has = capabilities_of(load_scenario("polaris", settings).scenario)
    for name in names or ():
        if name not in known:
            raise SystemExit(f"no scheduler named {name!r}; known: {', '.join(known)}")
    fit = []
    for name, scheduler in known.items():
        lacking = [need for need in CAPABILITIES if need in declared(scheduler) - has]
        if names is not None:
            fit += [name] if name in names else []
        elif lacking:
            print(f"left out: {name}, which needs {', '.join(lacking)}")
        else:
            fit.append(name)
    return fit


def measured(name: str, jobs: int, settings: list[str], folder: Path) -> list[Any]:
    """The row of one scheduler."""
    out = folder / name
    command = [sys.executable, "-m", "hpcsim", "run", "polaris", "--jobs", str(jobs), "--scheduler", name]
    for setting in settings:
        command += ["--set", setting]
    cpu_s, _ = whole_process([*command, "--no-plots", "--out", str(out)])
    summary, timing = (json.loads((out / f"{part}.json").read_text("utf-8")) for part in ("summary", "timing"))
    energy_kwh = summary.get("energy_facility_kwh")
    return [
        name,
        summary["mean_wait_s"] / 3600.0,
        summary["mean_bounded_slowdown"],
        100.0 * summary["utilisation"],
        None if energy_kwh is None else energy_kwh / 1000.0,
        cpu_s,
        jobs / cpu_s,
        1000.0 * timing["decision_latency_p50_s"],
        1000.0 * timing["decision_latency_p99_s"],
    ]


def cells(row: list[Any]) -> list[str]:
    """A row as text."""
    return ["-" if value is None else text.format(value) for value, (_, text) in zip(row, COLUMNS, strict=True)]


def markdown(rows: list[list[Any]], command: str) -> str:
    """The table as a document."""
    heads = [head for head, _ in COLUMNS]
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *map(cells, rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    what, _, more = (__doc__ or "").strip().partition("\n\n")
    of = {row[0]: row[1:_OF_THE_CLOCK] for row in rows}
    alike = [said for (one, other), said in ALIKE.items() if one in of and of[one] == of.get(other)]
    parts = ["# The baselines on the same jobs", what, table, *alike, more, f"Made by `{command}`."]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--schedulers", help="only these, such as fcfs,easy")
    arguments.add_argument("--jobs", type=int, default=JOBS, help=f"so many jobs (default {JOBS})")
    arguments.add_argument("--set", dest="settings", action="append", default=[], help="change a key of the scenario")
    arguments.add_argument("--write", action="store_true", help=f"write {TABLE.parent.name}/{TABLE.name}")
    given = arguments.parse_args()
    settings = ["profile=polaris-nodebug", *given.settings]
    names = chosen(given.schedulers.split(",") if given.schedulers else None, settings)
    widths = [max(len(head), 12 if at else max(map(len, names))) for at, (head, _) in enumerate(COLUMNS)]
    print("  ".join(head.rjust(width) if at else head.ljust(width) for at, (head, width) in enumerate(
        zip([head for head, _ in COLUMNS], widths, strict=True))))  # fmt: skip
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            rows.append(measured(name, given.jobs, settings, Path(folder)))
            shown = zip(cells(rows[-1]), widths, strict=True)
            print("  ".join(cell.rjust(width) if at else cell.ljust(width) for at, (cell, width) in enumerate(shown)),
                  flush=True)  # fmt: skip
    if given.write:
        TABLE.write_text(markdown(rows, " ".join(["python -m benchmarks.baselines", *sys.argv[1:]])), encoding="utf-8")
        print(TABLE)


if __name__ == "__main__":
    main()
