"""What went out of service, why, for how long, and how many nodes that were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hpcsim.results.plots.clock import Clock
from hpcsim.results.plots.drawn import Drawn
from hpcsim.results.plots.ink import BLUE, DASHED, GREEN, ORANGE, PURPLE, SKY, SOLID, TEXT_PT, VERMILLION
from hpcsim.results.plots.outages import CAUSES, away, steps
from hpcsim.results.plots.sheet import Key, Panel, Sheet, counts_on, draw_curve, from_zero, run_keys, say

# (colour, hatch) of each cause
_LOOKS = {
    "hardware": (VERMILLION, ""), "heat": (ORANGE, "...."), "outage": (PURPLE, "xxxx"), "maintenance": (SKY, "////"),
    "recorded": (BLUE, "\\\\\\\\"),
}  # fmt: skip
_ROW_IN = 0.24


def draw(question: str, runs: Sequence[Drawn]) -> Figure:
    """Nodes out of service by cause, each outage from when to when, and failures and repairs added up.

    Of several runs the nodes of each and its interrupts added up.
    """
    return _one(question, runs[0]) if len(runs) == 1 else _several(question, runs)


def _one(question: str, run: Drawn) -> Figure:
    clock = Clock([run])
    causes = [cause for cause in CAUSES if run.is_one_of("interrupts", "cause", cause).any()]
    rows = {cause: run.is_one_of("interrupts", "cause", cause) for cause in causes}
    begins, ends, nodes = (run.column("interrupts", name).astype(float) for name in ("time_s", "until_s", "nodes"))
    ends = np.minimum(ends, run.end)  # the run is over before the last repairs
    keys = []
    for cause in causes:
        hours = float((nodes * (ends - begins))[rows[cause]].sum()) / 3600
        keys.append(
            Key(
                f"{cause}: {_times(rows[cause].sum())}, {hours:,.0f} node-h",
                *_LOOKS[cause][:1],
                filled=True,
                hatch=_LOOKS[cause][1],
            )
        )
    panels = [
        Panel(1.8, "nodes out\nof service"),
        Panel(max(0.7, _ROW_IN * len(causes) + 0.2), "each one"),
        Panel(1.3, "times so far", [Key("out of service", VERMILLION), Key("back", GREEN, DASHED)]),
    ]
    sheet = Sheet(question, [run], panels, keys=keys)
    above, middle, below = sheet.axes
    x = np.repeat(clock.x(run, run.edges), 2)[1:-1]
    most = 0.0
    for number, cause in enumerate(causes):
        colour, hatch = _LOOKS[cause]
        curve = away(run, rows[cause])
        shape = np.column_stack([np.append(x, x[::-1]), np.append(np.zeros(x.size), np.repeat(curve.most[::-1], 2))])
        above.add_collection(PolyCollection([shape], facecolors=colour, alpha=0.5, lw=0, hatch=hatch), autolim=False)
        above.add_line(Line2D(x, np.repeat(curve.most, 2), color=colour, lw=1.0))
        most = max(most, float(curve.most.max()))
        spans = [clock.x(run, each[rows[cause]]) for each in (begins, ends)]
        lines = np.stack([np.column_stack(spans), np.full((spans[0].size, 2), float(number))], axis=2)
        middle.add_collection(LineCollection(list(lines), colors=colour, lw=5), autolim=False)
        middle.plot(spans[0], np.full(spans[0].size, number), ls="", marker="|", ms=9, mec="black")
    counts_on(above, most)
    middle.set_ylim(len(causes) - 0.4, -0.6)
    middle.set_yticks(range(len(causes)), causes, fontsize=TEXT_PT - 1)
    middle.set_ylabel("")
    for seconds, colour, line in ((begins, VERMILLION, SOLID), (run.column("interrupts", "until_s"), GREEN, DASHED)):
        came = seconds[seconds <= run.end]
        at, sums = run.added_up(came)
        below.add_line(Line2D(clock.x(run, at), sums, drawstyle="steps-post", color=colour, ls=line, lw=1.4))
    from_zero(below, float(begins.size), whole=True)
    clock.dress(below)
    if not causes:
        for axes in sheet.axes:
            say(axes, "nothing went out of service")
    return sheet.figure


def _times(number: int) -> str:
    return f"{number:,} time{'' if number == 1 else 's'}"


def _several(question: str, runs: Sequence[Drawn]) -> Figure:
    clock = Clock(runs)
    notes = []
    for each in runs:
        jobs = int(each.column("interrupts", "jobs").sum())
        notes.append(f"{_times(each.summary['interrupts'])}, {jobs:,} job{'' if jobs == 1 else 's'} ended")
    panels = [Panel(2.0, "nodes out\nof service"), Panel(1.6, "times out of\nservice so far")]
    sheet = Sheet(question, runs, panels, keys=run_keys(runs, notes))
    above, below = sheet.axes
    most = np.zeros(2)
    for each in runs:
        curve = away(each)
        draw_curve(above, clock.x(each, each.edges), curve, each.colour, each.line)
        at, sums = each.added_up(each.column("interrupts", "time_s"))
        below.add_line(Line2D(clock.x(each, at), sums, drawstyle="steps-post", color=each.colour, ls=each.line, lw=1.4))
        most = np.maximum(most, [steps(each)[1].max(), sums[-1]])
    counts_on(above, float(most[0]))
    from_zero(below, float(most[1]), whole=True)
    clock.dress(below)
    return sheet.figure
