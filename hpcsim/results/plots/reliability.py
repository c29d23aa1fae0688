"""How far twins can be trusted: curves and points of predictors, such as what intervals hold against their promise."""

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


def curves(title: str, x: str, y: str, of: Mapping[str, tuple[Floats, Floats]], *, diagonal: bool = False) -> Figure:
    """A curve for each predictor; ``diagonal``: both axes go from 0 to 1, and a line shows where they are equal."""
    figure, axes = _empty(title, x, y)
    if diagonal:
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="as promised")
        axes.set(xlim=(0, 1), ylim=(0, 1))
    for number, (name, (x_values, y_values)) in enumerate(of.items()):
        axes.plot(x_values, y_values, label=name, marker=_MARKS[number % len(_MARKS)], ms=5, **_look(number))
    axes.legend(loc="upper left" if diagonal else "best", frameon=False, fontsize=TEXT_PT)
    return figure


def points(
    title: str, x: str, y: str, of: Mapping[str, tuple[float, float, float, float]], band: tuple[float, float] | None
) -> Figure:
    """A point for each predictor: x, y, and the ends of the interval of y; ``band`` is which y are right."""
    figure, axes = _empty(title, x, y)
    if band is not None:
        axes.axhspan(*band, color="#EEEEEE", zorder=0)
        axes.axhline(sum(band) / 2, color=GREY, lw=1, ls=":")
    for number, (name, (right, mean, low, high)) in enumerate(of.items()):
        axes.errorbar(
            right, mean, [[mean - low], [high - mean]], label=name, capsize=3, marker=_MARKS[number % len(_MARKS)],
            ms=7, color=COLOURS[number % len(COLOURS)], ls="none",
        )  # fmt: skip
    axes.set_xlim(0, 1.1 * max((each[0] for each in of.values()), default=1.0))
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
