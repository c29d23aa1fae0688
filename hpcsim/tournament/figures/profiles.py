"""Performance profiles: the share of windows in which a scheduler is within a factor of the best one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from hpcsim.tournament.bootstrap import drawn_again, factor_of_best, interval, profile
from hpcsim.tournament.figures.canvas import (
    EDGE_IN,
    LINE_IN,
    TICKS_IN,
    TITLE_IN,
    WIDTH_IN,
    Style,
    at,
    legend,
    legend_width,
    title,
)
from hpcsim.tournament.statistics import Judgement

_FACTORS = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0)  # ticks of an axis that goes beyond the third
_POINTS, _RESAMPLES, MOST_BANDS, _MOST = 80, 1_000, 8, 20.0


def profiles(judged: Judgement, named: Mapping[str, Style], heading: str) -> Figure:
    """Draw them, with bands of 95 % where few enough schedulers are there to tell the bands apart."""
    blocks = judged.blocks
    shown = {name: named[name] for name in blocks.schedulers}
    factor = factor_of_best(blocks)
    finite = factor[np.isfinite(factor)]
    most = float(np.clip(np.quantile(finite, 0.98) * 1.05, 1.02, _MOST))
    factor_T = np.geomspace(1, most, _POINTS)
    share_BTK = profile(blocks, factor_T, drawn_again(blocks.scenario_U, _RESAMPLES))
    low, high = interval(share_BTK, blocks.scenario_U)
    tall = max(2.6, LINE_IN * len(shown))
    figure = Figure(figsize=(WIDTH_IN, TITLE_IN + EDGE_IN + tall + TICKS_IN))
    title(figure, heading)
    wide = WIDTH_IN - 0.75 - legend_width(shown) - 0.35
    axes = at(figure, 0.75, TITLE_IN + EDGE_IN, wide, tall)
    for k, style in enumerate(shown.values()):
        axes.plot(
            factor_T, 100 * share_BTK[0, :, k], color=style.colour, linestyle=style.line, lw=1.6, drawstyle="steps-post"
        )
        if len(shown) <= MOST_BANDS:
            axes.fill_between(
                factor_T, 100 * low[:, k], 100 * high[:, k], color=style.colour, alpha=0.1, lw=0, step="post"
            )
    axes.set_xscale("log")
    axes.set_xlim(1, most)
    axes.set_ylim(0, 102)
    wide_range = most > _FACTORS[2]
    axes.xaxis.set_major_locator(
        FixedLocator([f for f in _FACTORS if f <= most]) if wide_range else MaxNLocator(6, steps=[1, 2, 5, 10])
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("times as bad as the best scheduler of the window, or less")
    axes.set_ylabel("share of windows [%]")
    legend(figure, 0.75 + wide + 0.25, TITLE_IN + EDGE_IN, shown, lines=True)
    return figure


def can_be_drawn(judged: Judgement) -> bool:
    """Whether a factor means anything: no value is below zero, and some are not alike."""
    value = judged.blocks.value_RK
    return bool((value >= 0).all() and (factor_of_best(judged.blocks) > 1).any())
