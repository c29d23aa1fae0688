"""The Pareto front of a scenario as two views: energy against slowdown, and energy against lost node-hours."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from hpcsim.results.directions import UNITS
from hpcsim.results.plots.ink import GREY, fitted
from hpcsim.tournament.figures.canvas import (
    EDGE_IN,
    LINE_IN,
    TICKS_IN,
    TITLE_IN,
    WIDTH_IN,
    Style,
    at,
    few_ticks,
    legend,
    legend_width,
    spots,
    title,
    write,
)
from hpcsim.tournament.fronts import OBJECTIVES, Front

KEY = (
    "filled: on the front of all three; hollow: another scheduler has means as good in all three; lines: 95 % intervals"
)


def front_figure(front: Front, named: Mapping[str, Style]) -> Figure:
    """Draw it."""
    shown = {name: named[name] for name in front.means}
    tall = max(2.9, LINE_IN * len(shown))
    top = TITLE_IN + EDGE_IN + 0.3
    figure = Figure(figsize=(WIDTH_IN, top + tall + TICKS_IN))
    title(figure, f"Energy, slowdown and lost node-hours: {front.scenario}")
    write(figure, EDGE_IN, EDGE_IN + 0.24, KEY, fontsize=8.0, color=GREY)
    right = WIDTH_IN - legend_width(shown) - 0.3
    for upward, spot in zip((1, 2), spots(2, 0.8, top, right, tall, gap=0.85, most=2), strict=True):
        axes = at(figure, *spot[:4])
        for name, style in shown.items():
            x, y = front.means[name][0], front.means[name][upward]
            axes.plot([x.low, x.high], [y.value, y.value], color=style.colour, lw=0.7, alpha=0.6)
            axes.plot([x.value, x.value], [y.low, y.high], color=style.colour, lw=0.7, alpha=0.6)
            face = style.colour if name in front.on_front else "white"
            axes.plot([x.value], [y.value], linestyle="", marker=style.marker, color=style.colour, markerfacecolor=face,
                      ms=7)  # fmt: skip
        axes.margins(0.08)
        few_ticks(axes)
        few_ticks(axes, x=False)
        axes.set_xlabel(fitted("energy [kWh per node-hour of work]", spot.width))
        unit = UNITS[OBJECTIVES[upward]]
        axes.set_ylabel(OBJECTIVES[upward].replace("_", " ") + (f" [{unit}]" if unit else ""))
    legend(figure, right + 0.2, top, shown, lines=False)
    return figure
