"""Differences from the control with their intervals: a panel for all scenarios and one for each."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from hpcsim.results.plots.ink import BLUE, GREY, VERMILLION, fitted
from hpcsim.tournament.figures.canvas import (
    EDGE_IN,
    NAME_IN,
    TICKS_IN,
    TITLE_IN,
    WIDTH_IN,
    at,
    few_ticks,
    rows_of,
    spots,
    title,
    widest,
    write,
)
from hpcsim.tournament.leaderboard import Board

_ROW_IN, _MOST = 0.24, 3
_LOOK = {
    "better": (BLUE, "o", BLUE), "worse": (VERMILLION, "s", VERMILLION), "not separated": (GREY, "o", "white"),
    "control": (GREY, "|", GREY),
}  # fmt: skip
KEY = "filled circle: better than the control, filled square: worse, hollow: not separated"


def differences(boards: Sequence[Board], schedulers: Sequence[str], heading: str) -> Figure:
    """Draw the boards' relative differences, a row per scheduler, in per cent of the control's mean."""
    judged = [(board, board.judgement) for board in boards if board.judgement is not None]
    left = EDGE_IN + widest(schedulers) + 0.12
    tall = _ROW_IN * len(schedulers)
    height = TITLE_IN + EDGE_IN + 0.22 + rows_of(len(judged), _MOST) * (TITLE_IN + tall + TICKS_IN)
    figure = Figure(figsize=(WIDTH_IN, height))
    title(figure, heading)
    write(figure, EDGE_IN, EDGE_IN + 0.24, KEY, fontsize=8.0, color=GREY)
    top = TITLE_IN + EDGE_IN + 0.22 + TITLE_IN
    for (board, judgement), spot in zip(
        judged, spots(len(judged), left, top, WIDTH_IN - 0.15, tall, gap=0.3, most=_MOST), strict=True
    ):
        axes = at(figure, *spot[:4])
        write(figure, spot.left, spot.top - 0.22, fitted(board.scope, spot.width))
        axes.axvline(0, color=GREY, lw=0.9)
        for each in judgement.standings:
            row = schedulers.index(each.scheduler)
            colour, marker, face = _LOOK[each.verdict]
            value, low, high = (100 * bound for bound in each.relative)
            axes.plot([low, high], [row, row], color=colour, lw=1.6, solid_capstyle="butt")
            axes.plot([value], [row], linestyle="", marker=marker, color=colour, markerfacecolor=face, markersize=5.5)
        axes.set_ylim(len(schedulers) - 0.5, -0.5)
        axes.margins(x=0.06)
        axes.set_yticks(range(len(schedulers)), [fitted(name, NAME_IN) if spot.first else "" for name in schedulers])
        axes.tick_params(axis="y", length=0)
        few_ticks(axes)
        axes.set_xlabel(fitted(f"against {judgement.control} [%]", spot.width))
    return figure
