"""How a metric goes with the load: mean and interval of each scheduler at each load, a panel per scenario."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from hpcsim.results.plots.ink import fitted
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
    log_ticks,
    rows_of,
    spots,
    title,
    write,
)
from hpcsim.tournament.statistics import Judgement

_MOST = 2  # panels beside each other
_LOG = 8  # from which ratio of largest and smallest mean on the axis is logarithmic
_DODGE = 0.6  # of the way from one load to the next, over which schedulers stand beside each other


def loads(judged: dict[str, Judgement], named: Mapping[str, Style], heading: str, label: str) -> Figure:
    """Draw the judgements by scenario, each of all its loads."""
    tall = 2.3
    below = rows_of(len(judged), _MOST) * (TITLE_IN + tall + TICKS_IN)
    shown = {name: style for name, style in named.items() if any(name in j.blocks.schedulers for j in judged.values())}
    height = TITLE_IN + EDGE_IN + max(below, TITLE_IN + LINE_IN * len(shown) + EDGE_IN)
    figure = Figure(figsize=(WIDTH_IN, height))
    title(figure, heading)
    right = WIDTH_IN - legend_width(shown) - 0.3
    top = TITLE_IN + EDGE_IN + TITLE_IN
    for (scenario, each), spot in zip(
        judged.items(), spots(len(judged), 0.85, top, right, tall, gap=0.75, most=_MOST), strict=True
    ):
        axes = at(figure, *spot[:4])
        write(figure, spot.left, spot.top - 0.22, fitted(scenario, spot.width))
        at_loads = [load for _, load in each.blocks.strata]
        aside = np.linspace(-_DODGE / 2, _DODGE / 2, len(each.blocks.schedulers))
        for name, offset in zip(each.blocks.schedulers, aside, strict=True):
            style = named[name]
            points = [each.mean_of_strata[stratum][name] for stratum in each.blocks.strata]
            x = np.arange(len(points)) + offset
            value = [point.value for point in points]
            axes.plot(x, value, color=style.colour, linestyle=style.line, lw=1.0, marker=style.marker, ms=4)
            axes.vlines(x, [p.low for p in points], [p.high for p in points], color=style.colour, lw=1.0)
        axes.set_xticks(range(len(at_loads)), [fitted(load, spot.width / len(at_loads)) for load in at_loads])
        axes.set_xlim(-0.5, len(at_loads) - 0.5)
        axes.margins(y=0.06)
        means = [point.value for of_all in each.mean_of_strata.values() for point in of_all.values()]
        if min(means) > 0 and max(means) / min(means) > _LOG:
            axes.set_yscale("log")
            log_ticks(axes, x=False)
        else:
            few_ticks(axes, x=False)
        axes.set_xlabel("offered load")
        if spot.first:
            axes.set_ylabel(fitted(label, tall))
    legend(figure, right + 0.2, TITLE_IN + EDGE_IN + TITLE_IN, shown, lines=False)
    return figure
