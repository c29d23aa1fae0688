"""What a tournament says of the four claims about AIMS, against each other scheduler, as a table in Markdown.

    python -m benchmarks.aims_question DIR [--of aims]
    python -m benchmarks.aims_question --data FOLDER

DIR is the directory of ``hpcsim tournament aims-question``, which may have cells that are still to be run: compared are
windows in which all have ended. FOLDER is where the four files of the claims lie: their rows are counted.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from pathlib import Path

import numpy as np

from hpcsim.tournament.blocks import complete_blocks
from hpcsim.tournament.cells import Cells, read_cells
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


def percent(found: Estimate) -> str:
    """A relative difference with its interval, in percent."""
    if not found.is_there:
        return "-"
    value, low, high = (100.0 * x for x in found)
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def compared(
    cells: Cells, metric: str, load: str | None, of: str, others: list[str]
) -> tuple[dict[str, Estimate], int]:
    """How much more ``of`` has of a metric than each other, as a share of that; and in how many windows."""
    blocks = complete_blocks(cells, metric, load=load)
    found = {}
    for other in others:
        standings = {each.scheduler: each for each in judge(blocks, other).standings}
        found[other] = standings[of].relative
    return found, blocks.windows


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
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--data", type=Path, help="count the rows of the files of the claims in this folder")
    parser.add_argument("--of", default="aims", help="label of the one that is compared with all others")
    asked = parser.parse_args()
    if asked.data is not None:
        count_rows(asked.data)
    if asked.directory is None:
        return
    cells = read_cells(asked.directory / "cells.csv")
    others = [name for name in dict.fromkeys(cells.column("scheduler")) if name != asked.of]
    tables, windows = {}, 0
    for metric, load, *_ in (*CLAIMS, *FAIR):
        tables[metric], windows = compared(cells, metric, load, asked.of, others)
    heads = [*(f"{what}, claimed {claim:+.1f} %" for _, _, claim, what in CLAIMS), *(what for _, _, what in FAIR)]
    print(f"{asked.of} against each, in percent of that, with 95 % intervals; {windows} windows\n")
    print(f"| against | {' | '.join(heads)} |")
    print("|---" * (len(heads) + 1) + "|")
    for other in others:
        print(f"| {other} | {' | '.join(percent(found[other]) for found in tables.values())} |")
    print()
    for metric, _load, claim, what in CLAIMS:
        reached = [name for name, each in tables[metric].items() if each.is_there and _holds(each, claim)]
        print(f"- {what}: {claim:+.1f} % is within or below the interval against {', '.join(reached) or 'nobody'}.")
    idle = cells.column("energy_split_kwh.idle"), cells.column("energy_facility_kwh"), cells.column("scheduler")
    shares = [float(a) / float(b) for a, b, who in zip(*idle, strict=True) if a and b and who == "backfilling"]
    if shares:
        print(
            f"- Of the energy under backfilling {100 * np.mean(shares):.1f} % is drawn by idle nodes, before cooling: "
            "what an order of jobs alone cannot save."
        )


def _holds(found: Estimate, claim: float) -> bool:
    return 100 * found.high >= claim if claim > 0 else 100 * found.low <= claim


if __name__ == "__main__":
    main()
