"""Which job had which nodes, and when: bars where there are few, a picture of pixels where there are many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpcsim.results.plots.clock import Clock
from hpcsim.results.plots.drawn import Drawn, Floats
from hpcsim.results.plots.ink import COLOURS, GREY, plain, width_in
from hpcsim.results.plots.node_lanes import Int64s, node_lanes
from hpcsim.results.plots.outages import PLANNED
from hpcsim.results.plots.sheet import DPI, LEFT_IN, RIGHT_IN, WIDTH_IN, Key, Panel, Sheet, say
from hpcsim.results.units import spans_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT_IN = 5.0
_LEAST_IN = 1.4  # of each run where there are several
_BARS = 400  # more are drawn as pixels
_PANEL_IN = WIDTH_IN - LEFT_IN - RIGHT_IN
_NAME_PT = 7.0
_BRIGHTNESS = (0.3, 0.6, 0.1)  # of red, green and blue
_FREE, _SHARED, _AWAY = (1.0, 1.0, 1.0), (0.35, 0.35, 0.35), (0.88, 0.88, 0.88)
_STRIPE, _STRIPES = 6, {"failure": 1, "maintenance": -1}  # every so many pixels, up or down


def _palette() -> npt.NDArray[np.float64]:
    """The colours of jobs: the seven of a figure and lighter ones of them, black as grey."""
    plain = np.array([to_rgb(colour if colour != "#000000" else "#666666") for colour in COLOURS])
    return np.concatenate([plain + share * (1 - plain) for share in (0.0, 0.45, 0.25)])


class Bars(NamedTuple):
    """Boxes of seconds ``begin`` to ``end`` and rows ``first`` to ``last``; ``of`` is what each is of."""

    begin: Int64s
    end: Int64s
    first: Int64s
    last: Int64s
    of: Int64s


class Places(NamedTuple):
    """All that a run shows: rows of ``nodes_each`` nodes, the jobs (by their row in ``jobs``), and what was away."""

    rows: int
    nodes_each: int
    jobs: Bars
    away: dict[str, Bars]
    has_places: bool


def places(run: Drawn) -> Places:
    """Where the jobs of a run were: on units where it knows them, else on lanes, which are nodes in no order."""
    attempts = run.run.tables["attempts"]
    start, end, nodes = (run.column("attempts", name) for name in ("start_s", "end_s", "nodes"))
    end = np.where(np.isnan(end), run.end, end).astype(np.int64)  # it runs still
    names = run.run.tables["jobs"].column("job_id").combine_chunks()
    job = np.asarray(pc.index_in(attempts.column("job_id"), value_set=names), np.int64)
    has_places = "units" in attempts.column_names
    found = spans_of(attempts.column("units")) if has_places else node_lanes(start, end, nodes)
    nodes_each = 1
    if has_places and found.row.size:
        units = np.bincount(found.row, found.last - found.first + 1, minlength=nodes.size)
        nodes_each = max(1, round(float(np.max(nodes / np.maximum(units, 1)))))
    rows = max(run.nodes // nodes_each, int(found.last.max(initial=0)) + 1)
    jobs = Bars(start[found.row], end[found.row], found.first, found.last, job[found.row])
    return Places(rows, nodes_each, jobs, _away(run) if has_places and run.has("interrupts") else {}, has_places)


def _away(run: Drawn) -> dict[str, Bars]:
    found = spans_of(run.run.tables["interrupts"].column("units"))
    begin, end = (run.column("interrupts", name)[found.row] for name in ("time_s", "until_s"))
    planned = run.is_one_of("interrupts", "cause", *PLANNED)[found.row]
    bars = Bars(begin, np.minimum(end, run.end), found.first, found.last, found.row)
    kinds = {"failure": ~planned, "maintenance": planned}
    return {kind: Bars(*(column[rows] for column in bars)) for kind, rows in kinds.items() if rows.any()}


def sampled(bars: Bars, rows: Int64s, seconds: Floats) -> tuple[Int64s, Int64s]:
    """What the bar on each of ``rows`` at each of ``seconds`` (neither falls) is of, and how many bars are there.

    Where there is none, or several, the first of the two means nothing. Both are arrays of rows times seconds. A bar
    adds its number at its four corners; sums over rows and seconds spread it over all that is between.
    """
    left, right = np.searchsorted(seconds, bars.begin, side="left"), np.searchsorted(seconds, bars.end, side="left")
    top, bottom = np.searchsorted(rows, bars.first, side="left"), np.searchsorted(rows, bars.last, side="right")
    seen = (left < right) & (top < bottom)
    left, right, top, bottom = left[seen], right[seen], top[seen], bottom[seen]
    wide = seconds.size + 1
    sums = []
    for amount in (bars.of[seen], np.ones(left.size, np.int64)):
        corners = np.zeros((rows.size + 1) * wide, np.int64)
        for row, column, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
            np.add.at(corners, row * wide + column, sign * amount)
        sums.append(corners.reshape(-1, wide).cumsum(axis=0).cumsum(axis=1)[:-1, :-1])
    return sums[0], sums[1]


def draw(question: str, runs: Sequence[Drawn]) -> Figure:
    """Nodes over time, each job in a colour, the same in every run; below one another where there are several runs."""
    clock = Clock(runs)
    found = [places(each) for each in runs]
    high = _HEIGHT_IN if len(runs) == 1 else max(_LEAST_IN, _HEIGHT_IN / len(runs))
    kinds = [kind for kind in _STRIPES if any(kind in each.away for each in found)]
    keys = [Key(f"out of service: {kind}", "#E0E0E0", filled=True, hatch=_HATCH[kind]) for kind in kinds]
    if any("cores" in each.run.tables["jobs"].column_names for each in runs):
        keys.append(Key("several jobs on a node", "#595959", filled=True))
    panels = []
    for each, where in zip(runs, found, strict=True):
        name = [] if len(runs) == 1 else [Key(each.label, "none", "")]
        panels.append(Panel(high, "node" if where.has_places else "busy nodes, in no order", name))
    most = max((where.rows for where in found if not _has_bars(where)), default=0)
    rows = round(high * DPI)
    note = f"A job has the same colour in every run; all jobs share {len(_palette())} colours."
    if most > rows:
        note += f" {rows} of {most:,} rows of nodes are drawn, evenly chosen."
    sheet = Sheet(question, runs, panels, keys=keys, note=note)
    for axes, each, where in zip(sheet.axes, runs, found, strict=True):
        if _has_bars(where):
            _draw_bars(axes, clock, each, where, high)
        else:
            _draw_pixels(axes, clock, each, where, high)
        axes.set_ylim(0, where.rows * where.nodes_each)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.grid(visible=False)
        if not where.jobs.of.size:
            say(axes, "no job ran")
    clock.dress(sheet.axes[-1])
    return sheet.figure


_HATCH = {"failure": "////", "maintenance": "\\\\\\\\"}


def _has_bars(where: Places) -> bool:
    """Whether so few bars are to be drawn that each is one of its own, else pixels of a picture."""
    return where.jobs.of.size + sum(bars.of.size for bars in where.away.values()) <= _BARS


def _draw_bars(axes: Axes, clock: Clock, run: Drawn, where: Places, high_in: float) -> None:
    palette = _palette()
    names = run.run.tables["jobs"].column("job_id")
    for kind, bars in (("", where.jobs), *where.away.items()):
        x0, x1 = clock.x(run, bars.begin), clock.x(run, bars.end)
        y0, y1 = bars.first * where.nodes_each, (bars.last + 1) * where.nodes_each
        shapes = list(np.stack([np.column_stack([x0, x1, x1, x0]), np.column_stack([y0, y0, y1, y1])], axis=2))
        colours = _AWAY if kind else palette[bars.of % len(palette)]
        edges = GREY if kind else "white"
        boxes = PolyCollection(shapes, facecolors=colours, edgecolors=edges, lw=0.5, hatch=_HATCH.get(kind))
        axes.add_collection(boxes, autolim=False)
        if kind or "cores" in run.run.tables["jobs"].column_names:  # names of jobs that share a node would overlap
            continue
        inch_x = _PANEL_IN / (clock.limits[1] - clock.limits[0])
        inch_y = high_in / (where.rows * where.nodes_each)
        for at in np.flatnonzero(((x1 - x0) * inch_x > 0.25) & ((y1 - y0) * inch_y > 0.12)).tolist():
            name = plain(names[int(bars.of[at])].as_py())
            if width_in(name, _NAME_PT) < (x1[at] - x0[at]) * inch_x - 0.06:
                colour = "black" if palette[bars.of[at] % len(palette)] @ _BRIGHTNESS > 0.5 else "white"
                middle = (x0[at] + x1[at]) / 2, (y0[at] + y1[at]) / 2
                axes.text(*middle, name, ha="center", va="center", fontsize=_NAME_PT, color=colour)


def _draw_pixels(axes: Axes, clock: Clock, run: Drawn, where: Places, high_in: float) -> None:
    """A picture that has as many pixels as are seen, each of the job in the middle of it."""
    x = clock.x(run, np.array([run.begin, max(run.end, run.begin + 1)]))
    wide = max(1, round(_PANEL_IN * DPI * (x[1] - x[0]) / (clock.limits[1] - clock.limits[0])))
    tall = round(high_in * DPI)
    rows = ((np.arange(tall) + 0.5) * where.rows / tall).astype(np.int64)
    seconds = run.begin + (np.arange(wide) + 0.5) * max(run.end - run.begin, 1) / wide
    of, jobs = sampled(where.jobs, rows, seconds)
    palette = _palette()
    picture = np.full((tall, wide, 3), _FREE)
    picture[jobs == 1] = palette[of[jobs == 1] % len(palette)]
    picture[jobs > 1] = _SHARED
    for kind, bars in where.away.items():
        there = sampled(bars, rows, seconds)[1] > 0
        slanted = np.arange(tall)[:, None] - _STRIPES[kind] * np.arange(wide)
        picture[there] = _AWAY
        picture[there & (slanted % _STRIPE < 1)] = _SHARED
    axes.imshow(
        (picture * 255).round().astype(np.uint8), origin="lower", aspect="auto", interpolation="nearest",
        extent=(x[0], x[1], 0, where.rows * where.nodes_each),
    )  # fmt: skip
