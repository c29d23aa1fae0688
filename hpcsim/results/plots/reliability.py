"""How far the intervals of twins can be trusted: what they hold against what they promise, and how wide they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from hpcsim.results.plots.ink import COLOURS, GREY, LINES, TEXT_PT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]

_MARKS = "osD^vP*X"
_NOMINAL = 0.9
_ALLOWED = (0.88, 0.92)


def reliability(title: str, promised: Floats, held: Mapping[str, Floats]) -> Figure:
    """The share of real runtimes inside intervals, against the share that the intervals promise; both from 0 to 1."""
    figure, axes = _empty(title, "central interval promises, % of jobs", "interval held, % of jobs")
    axes.plot([0, 100], [0, 100], color=GREY, lw=1, ls=":", label="as promised")
    for number, (name, share) in enumerate(held.items()):
        axes.plot(100 * promised, 100 * share, label=name, marker=_MARKS[number], ms=5, **_look(number))
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.legend(loc="upper left", frameon=False, fontsize=TEXT_PT)
    return figure


def coverage(title: str, held: Mapping[str, tuple[float, float, float]], width: Mapping[str, float]) -> Figure:
    """What 90 % intervals held (mean, and the ends of its 95 % interval) against their mean width in ln seconds."""
    figure, axes = _empty(title, "mean width of 90 % intervals, ln s (narrower is sharper)", "interval held, % of jobs")
    axes.axhspan(100 * _ALLOWED[0], 100 * _ALLOWED[1], color="#EEEEEE", zorder=0)
    axes.axhline(100 * _NOMINAL, color=GREY, lw=1, ls=":")
    for number, (name, (mean, low, high)) in enumerate(held.items()):
        axes.errorbar(
            width[name], 100 * mean, [[100 * (mean - low)], [100 * (high - mean)]], label=name, capsize=3,
            marker=_MARKS[number], ms=7, color=COLOURS[number % len(COLOURS)], ls="none",
        )  # fmt: skip
    axes.set_xlim(0, 1.1 * max(width.values(), default=1.0))
    axes.set_ylim(min(75.0, *(100 * low - 1 for _, low, _ in held.values())), 100)
    axes.legend(loc="lower left", frameon=False, fontsize=TEXT_PT)
    return figure


def _look(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "ls": LINES[number % len(LINES)], "lw": 1.5}


def _empty(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.0, 5.0))
    axes = figure.add_axes((0.1, 0.11, 0.87, 0.8))
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes
