"""Differences from the control with their intervals: a panel for all scenarios and one for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
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
    log_ticks,
    rows_of,
    spots,
    title,
    widest,
    write,
)
from hpcsim.tournament.leaderboard import Board
from hpcsim.tournament.statistics import Judgement

_ROW_IN, _MOST = 0.24, 3
_FAR = 2.0  # from three times the control on the axis is logarithmic
_LOOK = {
    "better": (BLUE, "o", BLUE), "worse": (VERMILLION, "s", VERMILLION), "not separated": (GREY, "o", "white"),
    "control": (GREY, "|", GREY),
}  # fmt: skip
KEY = "filled circle: better than the control, filled square: worse, hollow: not separated"


def differences(boards: Sequence[Board], schedulers: Sequence[str], heading: str) -> Figure:
    """Draw the boards' relative differences, a row per scheduler: in per cent of the control's mean, or as multiples
    of it on a logarithmic axis where some are many times as large.
    """
    judged = [(board, board.judgement) for board in boards if board.judgement is not None]
    far = _far(judged)
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
        axes.axvline(1.0 if far else 0.0, color=GREY, lw=0.9)
        for verdict, (colour, marker, face) in _LOOK.items():
            those = [each for each in judgement.standings if each.verdict == verdict]
            row = [schedulers.index(each.scheduler) for each in those]
            share = np.array([each.relative for each in those]).reshape(-1, 3)
            value, low, high = (1 + share if far else 100 * share).T
            axes.hlines(row, low, high, color=colour, lw=1.6)
            axes.plot(value, row, linestyle="", marker=marker, color=colour, markerfacecolor=face, markersize=5.5)
        axes.set_ylim(len(schedulers) - 0.5, -0.5)
        axes.margins(x=0.06)
        axes.set_yticks(range(len(schedulers)), [fitted(name, NAME_IN) if spot.first else "" for name in schedulers])
        axes.tick_params(axis="y", length=0)
        if far:
            axes.set_xscale("log")
            log_ticks(axes)
        else:
            few_ticks(axes)
        label = f"times that of {judgement.control}" if far else f"against {judgement.control} [%]"
        axes.set_xlabel(fitted(label, spot.width))
    return figure


def _far(judged: Sequence[tuple[Board, Judgement]]) -> bool:
    """Whether some are so many times the control that per cents would hide all others, and none is nothing at all."""
    shares = [each.relative for _, judgement in judged for each in judgement.standings if each.relative.is_there]
    lowest = min(min(share.value, share.low) if share.low == share.low else share.value for share in shares)
    return max(share.value for share in shares) > _FAR and lowest > -1
