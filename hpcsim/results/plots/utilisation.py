"""How many nodes were busy and how many jobs waited, over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from hpcsim.results.plots.clock import Clock
from hpcsim.results.plots.drawn import Drawn
from hpcsim.results.plots.ink import BLUE, LIGHT, VERMILLION
from hpcsim.results.plots.outages import away
from hpcsim.results.plots.sheet import Key, Panel, Sheet, draw_curve, from_zero, run_keys


def draw(question: str, runs: Sequence[Drawn]) -> Figure:
    """Busy nodes as a share of the machine, below what was out of service, and the jobs that waited."""
    alone = len(runs) == 1
    keys: list[Key] = []
    if alone:
        keys = [Key("busy", BLUE)]
        if runs[0].has("interrupts"):
            keys.append(Key("out of service", LIGHT, filled=True))
    notes = [_mean(each) for each in runs]
    if alone and notes[0]:
        keys[0] = Key(f"busy ({notes[0]})", BLUE)
    sizes = {each.nodes for each in runs}
    of = f" of {sizes.pop():,}" if len(sizes) == 1 else ""
    sheet = Sheet(
        question,
        runs,
        [Panel(2.0, f"nodes [%{of}]", keys), Panel(1.7, "waiting jobs")],
        keys=run_keys(runs, notes),
    )
    above, below = sheet.axes
    clock = Clock(runs)
    most = [0.0]
    for each in runs:
        busy, queue = each.column("timeline", "busy_nodes"), each.column("timeline", "queue")
        x = clock.x(each, each.edges)
        if alone and each.has("interrupts"):
            gone = np.repeat(away(each).mean, 2) * (100 / each.nodes)
            xs = np.repeat(x, 2)[1:-1]
            shape = np.column_stack([np.append(xs, xs[::-1]), np.append(100 - gone, np.full(gone.size, 100.0))])
            above.add_collection(PolyCollection([shape], facecolors=LIGHT, lw=0), autolim=False)
        colours = (BLUE, VERMILLION) if alone else (each.colour, each.colour)
        draw_curve(above, x, each.curve("timeline", busy), colours[0], each.line, 100 / each.nodes)
        waiting = each.curve("timeline", queue)
        draw_curve(below, x, waiting, colours[1], each.line)
        most.append(waiting.most.max())
    above.set_ylim(0, 103)
    from_zero(below, *most, whole=True)
    clock.dress(below)
    return sheet.figure


def _mean(run: Drawn) -> str:
    """The utilisation of the summary, and of what, where that is another time than the one that is drawn."""
    share = run.summary["utilisation"]
    if share is None:
        return ""
    _, node_s = run.integral("timeline", run.column("timeline", "busy_nodes"))
    drawn = float(node_s[-1]) / (run.nodes * max(run.end - run.begin, 1))
    return f"{100 * share:.1f} % " + ("in the mean" if abs(drawn - share) < 5e-4 else "in the measured time")
