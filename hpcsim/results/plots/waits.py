"""How long jobs of each size waited: shares of one run's jobs, or quantiles of several runs beside one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hpcsim.results import size_classes
from hpcsim.results.plots.drawn import Bools, Drawn, Floats
from hpcsim.results.plots.ink import HATCHES, line_of
from hpcsim.results.plots.sheet import Key, Panel, Sheet, decades_on, run_keys, say, spans_on
from hpcsim.results.size_classes import SizeClass

_POINTS = 500  # of a curve: where more jobs are, at so many waits
_SHORTEST_WAIT_S, _LEAST_SLOWDOWN = 1.0, 1.0  # where the logarithmic axes begin


def classes_of(runs: Sequence[Drawn]) -> list[SizeClass]:
    """The size classes of the largest machine that measured jobs are of."""
    nodes = [each.column("jobs", "nodes")[counted(each)] for each in runs]
    return size_classes.classes_of(max(each.nodes for each in runs), nodes)


def counted(run: Drawn) -> Bools:
    """The jobs of the summary's waits: measured, not rejected, and started."""
    rows: Bools = run.column("jobs", "measured") & ~run.is_one_of("jobs", "state", "rejected")
    rows &= ~np.isnan(run.column("jobs", "wait_s").astype(float))
    return rows


def values_of(run: Drawn, size: SizeClass, column: str) -> Floats:
    """Waits or slowdowns of the jobs of a class, sorted; without those that are not known yet."""
    values = run.column("jobs", column)[counted(run) & size.rows(run.column("jobs", "nodes"))].astype(float)
    return np.sort(values[~np.isnan(values)])


def draw(question: str, runs: Sequence[Drawn]) -> Figure:
    """Of one run the share of jobs that waited no longer, a curve for each size; of several runs boxes."""
    classes = classes_of(runs)
    return _shares(question, runs[0], classes) if len(runs) == 1 else _boxes(question, runs, classes)


def shares(values: Floats, least: float) -> tuple[Floats, Floats]:
    """Where the share of values that are no larger is drawn, and how many percent it is: each value, or regular ones.

    ``values`` are sorted; the first is ``least``, where the axis begins.
    """
    at = np.unique(np.maximum(values, least))
    if at.size > _POINTS:
        at = np.geomspace(least, at[-1], _POINTS)
        at[-1] = values[-1]  # which the powers may miss by a bit
    at = np.union1d([least], at)
    return at, 100 * np.searchsorted(values, at, side="right") / values.size


def _shares(question: str, run: Drawn, classes: Sequence[SizeClass]) -> Figure:
    keys = []
    for number, size in enumerate(classes):
        jobs = int((counted(run) & size.rows(run.column("jobs", "nodes"))).sum())
        keys.append(Key(f"{size.name}: {jobs:,} job{'' if jobs == 1 else 's'}", *line_of(number)))
    panels = [Panel(3.0, "jobs with this or less [%]"), Panel(3.0, "")]
    sheet = Sheet(question, [run], panels, keys=keys, columns=2, left_in=0.75, shares_x=False)
    longest = [1.0, 1.0]
    for number, size in enumerate(classes):
        colour, line = line_of(number)
        for at, (column, least) in enumerate((("wait_s", _SHORTEST_WAIT_S), ("bounded_slowdown", _LEAST_SLOWDOWN))):
            values = values_of(run, size, column)
            if values.size:
                x, share = shares(values, least)
                longest[at] = max(longest[at], x[-1])
                x, share = np.append(x, 1e300), np.append(share, share[-1])  # on to the end of the axis
                sheet.axes[at].add_line(Line2D(x, share, drawstyle="steps-post", color=colour, ls=line, lw=1.4))
    for axes, label, most, ticks in zip(
        sheet.axes, ("wait", "bounded slowdown"), longest, (spans_on, decades_on), strict=True
    ):
        axes.set_xscale("log")
        axes.set_xlim(1, max(1.15 * most, 60 if ticks is spans_on else 12))
        ticks(axes.xaxis, most)
        axes.set_xlabel(label)
        axes.set_ylim(0, 101)
        if not classes:
            say(axes, "no measured job started")
    return sheet.figure


_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def _boxes(question: str, runs: Sequence[Drawn], classes: Sequence[SizeClass]) -> Figure:
    panels = [Panel(2.1, "wait"), Panel(1.9, "bounded slowdown")]
    note = "Boxes: half of the jobs, with the median. Lines: 5 to 95 % of the jobs. Points: means."
    sheet = Sheet(question, runs, panels, keys=run_keys(runs, filled=True), note=note)
    above, below = sheet.axes
    longest = [1.0, 1.0]
    wide = 0.8 / len(runs)
    for number, each in enumerate(runs):
        for axes, column, at in ((above, "wait_s", 0), (below, "bounded_slowdown", 1)):
            found = [(place, values_of(each, size, column)) for place, size in enumerate(classes)]
            places = np.array([place for place, values in found if values.size]) + (number - (len(runs) - 1) / 2) * wide
            lots = [np.maximum(values, 1.0) for _, values in found if values.size]
            if not lots:
                continue
            p5, p25, p50, p75, p95 = np.array([np.quantile(values, _QUANTILES) for values in lots]).T
            axes.vlines(places, p5, p95, colors=each.colour, lw=1.2)
            axes.bar(
                places,
                p75 - p25,
                0.8 * wide,
                p25,
                color=each.colour,
                alpha=0.35,
                edgecolor=each.colour,
                lw=1.0,
                hatch=HATCHES[number % len(HATCHES)],
            )
            axes.hlines(p50, places - 0.4 * wide, places + 0.4 * wide, colors=each.colour, lw=2.2)
            means = [values.mean() for values in lots]
            axes.plot(places, means, ls="", marker="o", ms=4, mfc="white", mec=each.colour)
            longest[at] = max(longest[at], p95.max(), *means)
    for axes, most, ticks in zip(sheet.axes, longest, (spans_on, decades_on), strict=True):
        axes.set_yscale("log")
        axes.set_ylim(1, max(1.4 * most, 60 if ticks is spans_on else 12))
        ticks(axes.yaxis, most)
        axes.grid(visible=False, axis="x")
        axes.set_xlim(-0.5, max(len(classes), 1) - 0.5)
        if not classes:
            say(axes, "no measured job started")
    below.set_xticks(range(len(classes)), [f"{size.name}\n{_jobs(runs, size)}" for size in classes], fontsize=8)
    return sheet.figure


def _jobs(runs: Sequence[Drawn], size: SizeClass) -> str:
    """How many jobs of a class were counted: of all runs the same, or from so many to so many."""
    numbers = [int((counted(each) & size.rows(each.column("jobs", "nodes"))).sum()) for each in runs]
    few, many = min(numbers), max(numbers)
    return f"{many:,} job{'' if many == 1 else 's'}" if few == many else f"{few:,} to {many:,} jobs"
