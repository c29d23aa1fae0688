"""What a tournament says of the four claims about AIMS, against each other scheduler, as a page in Markdown.

    python -m benchmarks.aims_question docs/evidence/question.csv [docs/evidence/seeds.csv ...] [--of aims]
    python -m benchmarks.aims_question --data FOLDER

The rows are those of ``python -m benchmarks.aims_evidence``, or the directory of ``hpcsim tournament aims-question``.
Cells may be missing: two are compared in the windows in which both have ended. Several trainings, which are called
alike but for a number, are compared by their mean, "aims, mean of 5". Where ``python -m benchmarks.aims_ceilings`` has
left a ceilings.csv beside the first file, they stand beside the results. FOLDER is where the four files of the claims
lie: their rows are counted.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.aims_rows import DEVIATION, rows_in, with_deviation, with_means
from hpcsim.errors import InputError
from hpcsim.tournament.blocks import complete_blocks
from hpcsim.tournament.ceilings import BOUND, KEYS, PLAN, rows_of, with_ceilings
from hpcsim.tournament.cells import Cells
from hpcsim.tournament.clairvoyant import METRICS
from hpcsim.tournament.statistics import Estimate, judge

CLAIMS = (
    ("energy_kwh_per_work_node_hour", None, -16.2, "Facility energy per work node-hour"),
    ("lost_node_hours", None, -14.7, "Lost node-hours"),
    ("throughput_node_h_per_h", "saturation", +21.6, "Completed node-hours per hour, at saturation"),
    ("variability", None, -16.9, "Variability (sd/mean of bounded slowdown)"),
)
FILES = {
    "ANL-ALCF-MACHINESTATUS-AURORA_20250127_20250430.csv.gz": 16,
    "ANL-ALCF-DJC-POLARIS_20240101_20241031.csv.gz": 241_772,
    "ANL-ALCF-DJC-MIRA_20190101_20191231.csv.gz": 52_154,
    "ANL-ALCF-DJC-COOLEY_20190101_20191231.csv.gz": 95_678,
}
"""The files by name, and the rows that the claims count in them, 389,620 in all; those of Aurora are no jobs."""

BESIDE = (
    (DEVIATION, None, None, "Standard deviation of bounded slowdown"),
    ("mean_bounded_slowdown", None, None, "Mean bounded slowdown"),
    ("throughput_node_h_per_h", None, None, "Completed node-hours per hour, at all loads"),
)
DOUBTS = """\
**Doubts, found by a review on 2026-12-01 and not yet mended.** Energy and lost node-hours are those of whole runs, in
which the machine begins empty and, after the last submission, runs empty: much of the hours, and of what sleeping
nodes save. A load paces a window as a whole, so at saturation two days measured after a day of warm-up are mostly far
less than that. Throughput counts all node-hours of a job in the second in which it completes. Work lost to a walltime
that a slower or more scattered job ran into is in no loss. Slowdown is measured by the runtime that a job had, so who
lowers clocks looks better. Where one machine has no losses the others stand alone. The claims were made of other
metrics of those names, those that begin with `seed_` in [results.md](results.md). So no line below shows that a claim
holds; the cells are to be run anew once this is right."""

LABELS = (
    "*+sleep*: idle nodes sleep after the break-even time. *+cooling*: the plant is as warm as nodes stand.\n"
    "*+levers*: both, and all jobs run at one clock, that of least energy for a usual job."
)
EASY = "backfilling"  # by whose longest wait and work is judged whether a gain was bought
PUBLISHED = (EASY, "heft", "tetris", "nsga2", "flux", "greendrl", "rlschert")
LEVERS = "+"  # in the labels of those that have levers beyond their own


class Against(NamedTuple):
    """By how much one has more of a metric than another, as a share of that, and in what share of windows it is better.

    Both are None where no window is whole yet.
    """

    more: Estimate | None = None
    better: Estimate | None = None
    windows: int = 0


Compared = dict[str, Against]


def known(found: Mapping[str, Estimate | None]) -> dict[str, Estimate]:
    """Those of which there is a figure."""
    return {name: each for name, each in found.items() if each is not None and each.is_there}


def percent(found: Estimate | None, *, interval: bool = True) -> str:
    """A relative difference with its interval, in percent."""
    if found is None or not found.is_there:
        return "-"
    value, low, high = (100.0 * x for x in found)
    if not interval or not isfinite(low + high):  # where some windows have none of it there is no interval of a ratio
        return f"{value:+.1f}"
    return f"{value:+.1f} [{low:+.1f},\u00a0{high:+.1f}]"  # which is not to be broken


def compared(
    cells: Cells, metric: str, load: str | None, of: str, other: str, scenarios: tuple[str, ...] = ()
) -> Against:
    """``of`` beside another, in a metric."""
    who = cells.column("scheduler")
    two = replace(cells, rows=tuple(row for row, name in zip(cells.rows, who, strict=True) if name in (of, other)))
    if load is not None and load not in two.loads:
        return Against()
    with suppress(InputError):
        direction = "lower" if metric == DEVIATION else None  # it is of no run
        blocks = complete_blocks(two, metric, load=load, scenarios=scenarios, direction=direction)
        if {of, other} <= set(blocks.schedulers):
            standing = next(each for each in judge(blocks, other).standings if each.scheduler == of)
            return Against(standing.relative, standing.improvement, blocks.windows)
    return Against()


def totals(cells: Cells, metric: str) -> str:
    """The sum of a metric over all cells, by scheduler."""
    value_C, who = cells.values(metric), np.array(cells.column("scheduler"))
    return ", ".join(f"{np.nansum(value_C[who == name]):,.0f} under {name}" for name in cells.schedulers)


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
    parser.add_argument("rows", type=Path, nargs="*", help="tables of cells, or directories of tournaments")
    parser.add_argument("--data", type=Path, help="count the rows of the files of the claims in this folder")
    parser.add_argument("--of", default="aims", help="label of the one that is compared with all others")
    asked = parser.parse_args()
    if asked.data is not None:
        count_rows(asked.data)
    if asked.rows:
        try:
            page(asked)
        except InputError as error:
            parser.error(str(error))


def page(asked: argparse.Namespace) -> None:
    """Print the tables of a tournament."""
    cells, of = with_means(with_deviation(rows_in(asked.rows))), asked.of
    if of not in cells.schedulers:
        raise InputError(f"--of: found {of!r}, expected one of {', '.join(cells.schedulers)}")
    first = asked.rows[0]
    ceilings = first / "ceilings.csv" if first.is_dir() else first.with_name("ceilings.csv")
    rows = {tuple(row[key] for key in KEYS): row for row in rows_of(ceilings)}
    around = with_ceilings(cells, rows) if rows else None  # of several rows of a cell the last counts
    print(f"# What is true of {of}\n\nMade by `python -m benchmarks.aims_question {cells.place}`")
    print(f"of {cells.count('done'):,} cells{_made_when(cells)}: by how many percent {of} has more of a metric than")
    print(
        "each other, in the same windows, with 95 % intervals. Where a window has none of a metric there is no interval"
    )
    print("of a ratio; in what share of windows it is better can always be told (ties count half).")
    print("[AIMS](aims.md) says how it decides.")
    print(f"\n{DOUBTS}\n")
    if around is not None:
        print(f"Ceilings, of {len(rows)} cells: a plan of one who knows all, and what no schedule can beat, likewise")
        print("([what they are](aims.md#ceilings)).")
    if any(LEVERS in name for name in cells.schedulers):
        print(f"\n{LABELS}")
    found = {
        what: {other: _against(cells, metric, load, of, other) for other in cells.schedulers if other != of}
        for metric, load, _, what in (*CLAIMS, *BESIDE)
    }
    print("\n## In short\n")
    in_short(found)
    for metric, load, claim, what in (*CLAIMS, *BESIDE):
        print(f"\n## {what}{'' if claim is None else f': claimed {claim:+.1f} %'}\n")
        section(cells, around, (metric, load, claim), of, found[what])
    print("\n## What it was bought with\n")
    bought(cells, of)
    besides(cells, rows)


def _made_when(cells: Cells) -> str:
    """The days on which rows were made, where the table tells them."""
    days = sorted(set(cells.column("date"))) if "date" in cells.header else []
    return f", made from {days[0]} to {days[-1]}" if days else ""


def _against(cells: Cells, metric: str, load: str | None, of: str, other: str) -> Against:
    """Over all machines on which there is a ratio: nobody loses a node-hour on some."""
    alone = {name: compared(cells, metric, load, of, other, (name,)).more for name in cells.scenarios}
    return compared(cells, metric, load, of, other, tuple(known(alone)))


def in_short(found: Mapping[str, Compared]) -> None:
    """A line for each claim: against EASY, the best of the seven as published, and the best of those with levers.

    The best one is that against which least is gained.
    """
    print("| metric | claimed | against backfilling | the best as published | the best with levers |")
    print("|---" * 5 + "|")
    for _, _, claim, what in CLAIMS:
        there = known({name: each.more for name, each in found[what].items()})
        line = [what, f"{claim:+.1f}", percent(there.get(EASY))]
        for names in ([each for each in there if each in PUBLISHED], [each for each in there if LEVERS in each]):
            best = sorted(names, key=lambda name, of=there: of[name].value)[0 if claim > 0 else -1 :][:1]
            line += [f"{percent(there[name])}, {name}" for name in best] or ["-"]
        print(f"| {' | '.join(line)} |")


def section(
    cells: Cells, around: Cells | None, asked: tuple[str, str | None, float | None], of: str, found: Compared
) -> None:
    """The table of a metric: all together, the ceilings, each machine and load alone; and what is true of the claim."""
    metric, load, claim = asked
    has_ceiling = around is not None and metric in METRICS
    loads = cells.loads if load is None else ()
    head = ["against", "all", *(["plan", "bound"] if has_ceiling else [])]
    head += [*cells.scenarios, *(f"load {each}" for each in loads), "better in % of windows"]
    print(f"| {' | '.join(head)} |")
    print("|---" * len(head) + "|")
    bounds: dict[str, Estimate | None] = {}
    for other, whole in found.items():
        parts = [compared(cells, metric, load, of, other, (name,)).more for name in cells.scenarios]
        parts += [_against(cells, metric, each, of, other).more for each in loads]
        line = [other, percent(whole.more)]
        if around is not None and has_ceiling:
            plan, bounds[other] = (compared(around, metric, load, who, other).more for who in (PLAN, BOUND))
            line += [percent(plan, interval=False), percent(bounds[other], interval=False)]
        line += [*(percent(each, interval=False) for each in parts), _better(whole)]
        print(f"| {' | '.join(line)} |")
    print()
    if claim is not None:
        told = known({name: each.more for name, each in found.items()})
        reached = [name for name, each in told.items() if not _less(each, claim)]
        open_ = [name for name, each in told.items() if _less(each, claim) and _holds(each, claim)]
        print(f"{claim:+.1f} % is reached against {', '.join(reached) or 'nobody'}.")
        if open_:
            print(f"It is not, but within the interval, against {', '.join(open_)}.")
        if has_ceiling:
            beyond = [name for name, each in known(bounds).items() if _less(each, claim)]
            print(f"It is out of reach for any schedule against {', '.join(beyond) or 'nobody'}.")
    if around is not None and has_ceiling:
        above = [percent(compared(around, metric, load, who, of).more, interval=False) for who in (PLAN, BOUND)]
        print(f"Beside {of} itself the plan has {above[0]} and the bound {above[1]} %.")
        if not known(bounds):
            print(f"In all there are {totals(around, metric)}.")  # somebody has none at all: there are no ratios


def _better(whole: Against) -> str:
    """In what share of how many windows it is better."""
    if whole.better is None or not whole.better.is_there:
        return "-"
    value, low, high = (100.0 * x for x in whole.better)
    return f"{value:.0f} [{low:.0f},\u00a0{high:.0f}] of {whole.windows}"


def bought(cells: Cells, of: str) -> None:
    """Whether work was left undone, or jobs starve, window by window, beside plain backfilling."""
    place = [tuple(each) for each in zip(*(cells.column(key) for key in KEYS), strict=True)]
    energy, each_kwh = cells.values("energy_facility_kwh"), cells.values("energy_kwh_per_work_node_hour")
    known = zip(place, cells.column("scheduler"), energy / each_kwh, cells.values("max_wait_s"), strict=True)
    by_cell = {(at, who): (work, wait) for at, who, work, wait in known if isfinite(work + wait)}
    waits = "longest wait over EASY's, median | at most | in cells over twice"
    print(f"| scheduler | cells | completed work, in all | least in a cell | {waits} |")
    print("|---" * 7 + "|")
    for who in cells.schedulers:
        pairs = [(by_cell[at, who], by_cell[at, EASY]) for at in dict.fromkeys(place) if _both(by_cell, at, who)]
        if not pairs:
            continue
        work, wait = (np.array([[a[k], b[k]] for a, b in pairs]) for k in (0, 1))
        share, longer = work[:, 0] / work[:, 1], np.divide(*np.maximum(wait, 3600.0).T)
        mark = f"**{who}**" if who == of else who
        done = f"{100 * work[:, 0].sum() / work[:, 1].sum() - 100:+.2f} % | {100 * share.min() - 100:+.2f} %"
        over = int((longer > 2.0).sum())
        print(f"| {mark} | {len(pairs)} | {done} | {np.median(longer):.2f} | {longer.max():.2f} | {over} |")
    print(f"\nBeside {EASY} in the same cell; waits of less than an hour count as one.")


def _both(by_cell: Mapping[tuple[tuple[str, ...], str], tuple[float, float]], at: tuple[str, ...], who: str) -> bool:
    return (at, who) in by_cell and (at, EASY) in by_cell


def besides(cells: Cells, rows: Mapping[tuple[str, ...], Mapping[str, str]]) -> None:
    """What bounds any gain: programs that fail by themselves, and what idle nodes draw."""
    if rows:
        done, failed = (sum(float(row[f"{name}_node_hours"]) for row in rows.values()) for name in ("work", "failed"))
        print(
            f"\nOf the work of all jobs {100 * failed / (done + failed):.1f} % is of programs that fail by themselves."
        )
    idle = cells.column("energy_split_kwh.idle"), cells.column("energy_facility_kwh"), cells.column("scheduler")
    shares = [float(a) / float(b) for a, b, who in zip(*idle, strict=True) if a and b and who == EASY]
    if shares:
        print(
            f"\nOf the energy under {EASY} {100 * np.mean(shares):.1f} % is drawn by idle nodes, before cooling: "
            "what an order of jobs alone cannot save."
        )


def _less(bound: Estimate, claim: float) -> bool:
    """Whether a bound lies short of a claim."""
    return 100 * bound.value < claim if claim > 0 else 100 * bound.value > claim


def _holds(found: Estimate, claim: float) -> bool:
    return 100 * found.high >= claim if claim > 0 else 100 * found.low <= claim


if __name__ == "__main__":
    main()
