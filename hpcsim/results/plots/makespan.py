"""When the work was done: completed jobs and node-hours over time, at what rate, and when the last job ended."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hpcsim.results.plots.clock import Clock
from hpcsim.results.plots.drawn import Drawn, Floats
from hpcsim.results.plots.ink import BLACK, BLUE, DASH_DOTTED, DASHED, DOTTED, GREEN, SOLID, VERMILLION
from hpcsim.results.plots.sheet import Key, Panel, Sheet, from_zero, run_keys

_H, _D = 3_600, 86_400
_BINS_S = (60, 300, 900, _H, 3 * _H, 6 * _H, 12 * _H, _D, 2 * _D, 7 * _D, 14 * _D, 28 * _D, 91 * _D, 364 * _D)
_MOST_BINS = 80


def draw(question: str, runs: Sequence[Drawn]) -> Figure:
    """Curves that rise to all that was completed, the rate at which, and the makespan as a line."""
    alone = len(runs) == 1
    clock = Clock(runs)
    width_s = bin_s(max(each.end - each.begin for each in runs))
    makespans = [each.summary["makespan_s"] for each in runs]
    notes = ["makespan " + ("none: no job ended" if each is None else span(each)) for each in makespans]
    keys = []
    if alone:
        keys = [Key("submitted", BLACK, DASHED), Key("ended", GREEN, DASH_DOTTED), Key("ended as completed", BLUE)]
        keys.append(Key(notes[0], VERMILLION, DOTTED))
    panels = [
        Panel(1.8, "completed jobs" if not alone else "jobs", keys),
        Panel(1.3, "completed\nnode-hours"),
        Panel(1.3, f"completed jobs/h\n(mean of {span(width_s)})"),
    ]
    sheet = Sheet(question, runs, panels, keys=run_keys(runs, notes))
    jobs_axes, hours_axes, rate_axes = sheet.axes
    most = np.zeros(3)
    for each in runs:
        colour, line = (BLUE, SOLID) if alone else (each.colour, each.line)
        done = each.is_one_of("jobs", "state", "completed")
        ends = each.column("jobs", "end_s")[done]
        nodes, runtime_s = (each.column("jobs", name)[done] for name in ("nodes", "runtime_s"))
        curves = [each.added_up(ends), each.added_up(ends, nodes * runtime_s / _H)]
        for axes, (seconds, sums) in zip((jobs_axes, hours_axes), curves, strict=True):
            axes.add_line(Line2D(clock.x(each, seconds), sums, drawstyle="steps-post", color=colour, ls=line, lw=1.5))
        edges, rate = jobs_per_h(each, ends, width_s)
        xs, ys = np.repeat(clock.x(each, edges), 2)[1:-1], np.repeat(rate, 2)
        rate_axes.add_line(Line2D(xs, ys, color=colour, ls=line, lw=1.2))
        most = np.maximum(most, [curves[0][1][-1], curves[1][1][-1], rate.max()])
        if alone:
            over = each.column("jobs", "end_s")
            came = np.maximum(each.column("jobs", "submit_s"), each.begin)
            for events, own, style in ((came, BLACK, DASHED), (over[~np.isnan(over)], GREEN, DASH_DOTTED)):
                seconds, sums = each.added_up(events)
                x = clock.x(each, seconds)
                jobs_axes.add_line(Line2D(x, sums, drawstyle="steps-post", color=own, ls=style, lw=1.0))
                most[0] = max(most[0], sums[-1])
        last = last_end(each)
        if last is not None:
            for axes in sheet.axes:
                axes.axvline(
                    float(clock.x(each, np.array(last))),
                    color=VERMILLION if alone else colour,
                    ls=DOTTED,
                    lw=1.4,
                    clip_on=False,
                )
    for axes, top in zip(sheet.axes, most, strict=True):
        from_zero(axes, float(top), whole=axes is jobs_axes)
    clock.dress(rate_axes)
    return sheet.figure


def last_end(run: Drawn) -> int | None:
    """The second at which the makespan is over: the last end of a measured job; None if none ended."""
    ends = run.column("jobs", "end_s")[run.column("jobs", "measured") & ~run.is_one_of("jobs", "state", "rejected")]
    ends = ends[~np.isnan(ends)]
    return int(ends.max()) if ends.size else None


def bin_s(span_s: float) -> int:
    """The shortest of a few natural lengths that cuts such a span into few enough pieces."""
    return next((width for width in _BINS_S if span_s <= _MOST_BINS * width), _BINS_S[-1])


def jobs_per_h(run: Drawn, ends: Floats, width_s: int) -> tuple[Floats, Floats]:
    """Edges of such intervals from the beginning to the end of the run, and jobs that ended in each per hour."""
    end = max(run.end, run.begin + 1)
    edges = np.append(np.arange(run.begin, end, width_s, dtype=np.float64), end)
    counts, _ = np.histogram(ends, edges)
    return edges, counts / (np.diff(edges) / _H)


def span(seconds: int) -> str:
    """A span of time by its two largest units."""
    for unit, name, next_unit, next_name in ((_D, "d", _H, "h"), (_H, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit:
            more = seconds % unit // next_unit
            return f"{seconds // unit:,} {name}" + (f" {more} {next_name}" if more else "")
    return f"{seconds} s"
