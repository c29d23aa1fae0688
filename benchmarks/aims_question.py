"""What a tournament says of the four claims about AIMS, against each other scheduler, as a table in Markdown.

    python -m benchmarks.aims_question docs/evidence/question.csv [--of aims]
    python -m benchmarks.aims_question --data FOLDER

The rows are those of ``python -m benchmarks.aims_evidence question``, or the directory of ``hpcsim tournament
aims-question``. Cells may be missing: compared are windows in which all have ended. Where ``python -m
benchmarks.aims_ceilings`` has left a ceilings.csv beside them, they stand beside the results. FOLDER is where the four
files of the claims lie: their rows are counted.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from pathlib import Path

import numpy as np

from hpcsim.errors import InputError
from hpcsim.tournament.blocks import complete_blocks
from hpcsim.tournament.ceilings import BOUND, KEYS, PLAN, rows_of, with_ceilings
from hpcsim.tournament.cells import Cells, read_cells
from hpcsim.tournament.clairvoyant import METRICS
from hpcsim.tournament.statistics import Estimate, judge

CLAIMS = (
    ("energy_kwh_per_work_node_hour", None, -16.2, "facility energy per work node-hour"),
    ("lost_node_hours", None, -14.7, "lost node-hours"),
    ("throughput_node_h_per_h", "saturation", +21.6, "completed node-hours per hour at saturation"),
    ("variability", None, -16.9, "variability (sd/mean of bounded slowdown)"),
)
FILES = {
    "ANL-ALCF-MACHINESTATUS-AURORA_20250127_20250430.csv.gz": 16,
    "ANL-ALCF-DJC-POLARIS_20240101_20241031.csv.gz": 241_772,
    "ANL-ALCF-DJC-MIRA_20190101_20191231.csv.gz": 52_154,
    "ANL-ALCF-DJC-COOLEY_20190101_20191231.csv.gz": 95_678,
}
"""The files by name, and the rows that the claims count in them, 389,620 in all; those of Aurora are no jobs."""

FAIR = (("max_wait_s", None, "longest wait"), ("mean_bounded_slowdown", None, "mean bounded slowdown"))


def percent(found: Estimate | None) -> str:
    """A relative difference with its interval, in percent."""
    if found is None or not found.is_there:
        return "-"
    value, low, high = (100.0 * x for x in found)
    if not isfinite(low + high):  # where some windows have none of it there is no interval of a ratio
        return f"{value:+.1f}"
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def compared(
    cells: Cells, metric: str, load: str | None, of: str, others: list[str]
) -> tuple[dict[str, Estimate], int]:
    """How much more ``of`` has of a metric than each other, as a share of that; and in how many windows.

    Of a load at which nothing has been run yet, nothing.
    """
    if load is not None and load not in cells.loads:
        return {}, 0
    blocks = complete_blocks(cells, metric, load=load)
    found = {}
    for other in others if of in blocks.schedulers else ():
        standings = {each.scheduler: each for each in judge(blocks, other).standings}
        found[other] = standings[of].relative
    return found, blocks.windows


def totals(cells: Cells, metric: str) -> str:
    """The sum of a metric over all cells, by scheduler."""
    value_C, who = cells.values(metric), np.array(cells.column("scheduler"))
    return ", ".join(f"{np.nansum(value_C[who == name]):,.0f} under {name}" for name in cells.schedulers)


def ceiling(found: Mapping[str, Estimate], bound: Mapping[str, Estimate], other: str) -> str:
    """How far from another scheduler plan and bound are, in percent of that."""
    each = [of[other] for of in (found, bound) if other in of]
    return " / ".join(f"{100 * of.value:+.1f}" if of.is_there else "-" for of in each) or "-"


def count_rows(folder: Path) -> None:
    """Print how many rows each of the four files has, and how many it should have."""
    total = 0
    for name, claimed in FILES.items():
        file = folder / name
        if not file.is_file():
            print(f"{name}: not in {folder}")
            continue
        with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
            rows = sum(1 for _ in csv.reader(lines)) - 1
        total += rows
        print(f"{name}: {rows:,} rows, {'as claimed' if rows == claimed else f'claimed are {claimed:,}'}")
    print(f"in all {total:,} of {sum(FILES.values()):,}")


def main() -> None:
    """Print the tables; what is wrong with the input is told, with exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, nargs="?", help="a table of cells, or the directory of a tournament")
    parser.add_argument("--data", type=Path, help="count the rows of the files of the claims in this folder")
    parser.add_argument("--of", default="aims", help="label of the one that is compared with all others")
    asked = parser.parse_args()
    if asked.data is not None:
        count_rows(asked.data)
    if asked.rows is not None:
        try:
            page(asked)
        except InputError as error:
            parser.error(str(error))


def page(asked: argparse.Namespace) -> None:
    """Print the tables of a tournament."""
    file = asked.rows / "cells.csv" if asked.rows.is_dir() else asked.rows
    cells = read_cells(file)
    others = [name for name in dict.fromkeys(cells.column("scheduler")) if name != asked.of]
    rows = {tuple(row[key] for key in KEYS): row for row in rows_of(file.with_name("ceilings.csv"))}
    around = with_ceilings(cells, rows) if rows else None  # of several rows of a cell the last counts
    tables, windows, seen = {}, 0, 0
    ceilings: dict[str, tuple[dict[str, Estimate], dict[str, Estimate]]] = {}
    for metric, load, *_ in (*CLAIMS, *FAIR):
        tables[metric], there = compared(cells, metric, load, asked.of, others)
        windows = max(windows, there)
        if around is not None and metric in METRICS:
            with suppress(InputError):  # no window is whole yet, at this load
                plan, there = compared(around, metric, load, PLAN, [asked.of, *others])
                if plan:
                    seen = max(seen, there)
                    ceilings[metric] = plan, compared(around, metric, load, BOUND, [asked.of, *others])[0]
    heads = {metric: f"{what}, claimed {claim:+.1f} %" for metric, _, claim, what in CLAIMS}
    heads |= {metric: what for metric, _, what in FAIR}
    print(f"{asked.of} against each, in percent of that, with 95 % intervals; {windows} windows")
    if ceilings:
        print(f"Ceilings: a plan of one who knows all / what no schedule can beat, likewise; {seen} windows")
    shown = [f"{head}{' | ceiling' if metric in ceilings else ''}" for metric, head in heads.items()]
    print(f"\n| against | {' | '.join(shown)} |")
    print("|---" * (len(heads) + len(ceilings) + 1) + "|")
    for other in others:
        line = []
        for metric, found in tables.items():
            line += [percent(found.get(other)), *([ceiling(*ceilings[metric], other)] if metric in ceilings else [])]
        print(f"| {other} | {' | '.join(line)} |")
    print()
    for metric, _load, claim, what in CLAIMS:
        reached = [name for name, each in tables[metric].items() if each.is_there and _holds(each, claim)]
        print(f"- {what}: {claim:+.1f} % is within or below the interval against {', '.join(reached) or 'nobody'}.")
        if metric in ceilings:
            bound = ceilings[metric][1]
            beyond = [name for name in others if name in bound and bound[name].is_there and _less(bound[name], claim)]
            if not any(each.is_there for of in ceilings[metric] for each in of.values()) and around is not None:
                print(f"  In all there are {totals(around, metric)}.")  # somebody has none at all: there are no ratios
            left, out = ceiling(*ceilings[metric], asked.of), ", ".join(beyond) or "nobody"
            print(
                f"  Above {asked.of} itself there is {left}; out of reach for any schedule is the claim against {out}."
            )
    if rows:
        done, failed = (sum(float(row[f"{name}_node_hours"]) for row in rows.values()) for name in ("work", "failed"))
        share = failed / (done + failed)
        print(f"- Of the work of all jobs {100 * share:.1f} % is of programs that fail by themselves.")
    idle = cells.column("energy_split_kwh.idle"), cells.column("energy_facility_kwh"), cells.column("scheduler")
    shares = [float(a) / float(b) for a, b, who in zip(*idle, strict=True) if a and b and who == "backfilling"]
    if shares:
        print(
            f"- Of the energy under backfilling {100 * np.mean(shares):.1f} % is drawn by idle nodes, before cooling: "
            "what an order of jobs alone cannot save."
        )


def _less(bound: Estimate, claim: float) -> bool:
    """Whether a bound lies short of a claim."""
    return 100 * bound.value < claim if claim > 0 else 100 * bound.value > claim


def _holds(found: Estimate, claim: float) -> bool:
    return 100 * found.high >= claim if claim > 0 else 100 * found.low <= claim


if __name__ == "__main__":
    main()
