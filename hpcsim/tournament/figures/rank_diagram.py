"""The critical-difference diagram: mean ranks on an axis, and bars that join what is not separable (Demsar 2006)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from hpcsim.results.plots.ink import BLACK, GREY, fitted
from hpcsim.tournament.figures.canvas import EDGE_IN, NAME_IN, TITLE_IN, WIDTH_IN, at, title, widest
from hpcsim.tournament.statistics import Judgement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_AXIS_IN, _BAR_IN, _ROW_IN, _TAIL_IN = 0.75, 0.11, 0.24, 0.2


def rank_diagram(judged: Judgement, heading: str) -> Figure:
    """Draw it: the best rank is at the left; names of the better half stand there, those of the worse half opposite."""
    rank = {each.scheduler: each.mean_rank for each in judged.standings}
    names = list(rank)
    k = len(names)
    levels = _levels([(rank[group[0]], rank[group[-1]]) for group in judged.groups])
    better, worse = names[: (k + 1) // 2], names[(k + 1) // 2 :]
    below = _AXIS_IN + 0.12 + _BAR_IN * (max(levels, default=0) + 1) + 0.16
    height = TITLE_IN + below + _ROW_IN * len(better) + EDGE_IN
    figure = Figure(figsize=(WIDTH_IN, height))
    title(figure, heading)
    axes = at(figure, 0, TITLE_IN, WIDTH_IN, height - TITLE_IN)
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH_IN)
    axes.set_ylim(height - TITLE_IN, 0)
    said = {name: f"{rank[name]:.2f}" for name in names}
    room = widest(names) + 0.6
    left, right = room + _TAIL_IN + EDGE_IN, WIDTH_IN - room - _TAIL_IN - EDGE_IN

    def x_of(value: float) -> float:
        return left + (value - 1) / (k - 1) * (right - left)

    axes.plot([left, right], [_AXIS_IN] * 2, color=BLACK, lw=1)
    for tick in range(1, k + 1):
        axes.plot([x_of(tick)] * 2, [_AXIS_IN, _AXIS_IN - 0.08], color=BLACK, lw=1)
        if tick % 2 or k <= 12:
            axes.text(x_of(tick), _AXIS_IN - 0.11, str(tick), ha="center", va="bottom")
    axes.text(left - 0.12, _AXIS_IN, "best", ha="right", va="center", color=GREY)
    axes.text(right + 0.12, _AXIS_IN, "worst", ha="left", va="center", color=GREY)
    _ruler(axes, judged.distance, k, left, right)
    for group, level in zip(judged.groups, levels, strict=True):
        y = _AXIS_IN + 0.14 + _BAR_IN * level
        axes.plot([x_of(rank[group[0]]) - 0.04, x_of(rank[group[-1]]) + 0.04], [y, y], color=BLACK, lw=3.5,
                  solid_capstyle="round")  # fmt: skip
    sides = ((better, room + EDGE_IN, "right", -0.06), (worse[::-1], WIDTH_IN - room - EDGE_IN, "left", 0.06))
    for side, end, align, aside in sides:
        for row, name in enumerate(side):
            y = below + _ROW_IN * row
            axes.plot([x_of(rank[name])] * 2 + [end], [_AXIS_IN, y, y], color=GREY, lw=0.9)
            label = fitted(name, NAME_IN)
            text = f"{label}  {said[name]}" if align == "right" else f"{said[name]}  {label}"
            axes.text(end + aside, y, text, ha=align, va="center")
    return figure


def _ruler(axes: Axes, distance: float, k: int, left: float, right: float) -> None:
    """The critical distance as a length of the axis, if it is no longer than that."""
    if distance > k - 1:
        said = f"critical distance {distance:.2f} ranks: longer than the axis, nothing is separable"
        axes.text(left, 0.22, said, ha="left", va="center")
        return
    end = left + distance / (k - 1) * (right - left)
    axes.plot([left, end], [0.3, 0.3], color=BLACK, lw=1)
    for x in (left, end):
        axes.plot([x, x], [0.25, 0.35], color=BLACK, lw=1)
    axes.text(left, 0.2, f"critical distance {distance:.2f}", ha="left", va="bottom")


def _levels(bars: list[tuple[float, float]]) -> list[int]:
    """For each bar the first level on which no bar is in its way."""
    taken: list[float] = []  # where the last bar of each level ends
    found = []
    for start, end in bars:
        level = next((at for at, before in enumerate(taken) if before < start), len(taken))
        taken[level : level + 1] = [end]
        found.append(level)
    return found
