"""A sheet: a title that asks something, panels below one another, and keys that say what is what.

Everything has its place in inches before it is drawn, so no label is cut off and nothing has to be laid out twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import Formatter, MaxNLocator, NullLocator

from hpcsim.results.plots.drawn import Curve, Drawn, about
from hpcsim.results.plots.ink import GREY, HATCHES, SOLID, TEXT_PT, fitted, width_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN = 10.0
DPI = 110  # of a PNG, and of pictures within a figure
LEFT_IN, RIGHT_IN = 1.15, 0.25  # beside the panels: the left has room for a label of two lines and 9,999,999
BOTTOM_IN = 0.62  # below the last panel: ticks, the label of the axis, and the year
_EDGE_IN, _LINE_IN, _TITLE_IN, _GAP_IN, _FIRST_GAP_IN = 0.12, 0.22, 0.28, 0.16, 0.08
_HANDLE_IN, _SPACE_IN = 0.3, 0.07
_TITLE_PT, _NOTE_PT = 13.0, 8.0


class Key(NamedTuple):
    """What stands for what: a line, or a ``filled`` box with a ``hatch``."""

    text: str
    colour: str
    line: Any = SOLID
    filled: bool = False
    hatch: str = ""


class Panel(NamedTuple):
    """One panel to come: how high it is, the label of its values, and what stands above it."""

    height_in: float
    label: str
    keys: Sequence[Key] = ()


class Sheet:
    """A figure of ``panels`` below one another, and what all runs on it have in common.

    ``question`` is its title. ``keys`` are of the whole figure, such as the runs, and stand below the title; ``note``
    stands at the very bottom. ``columns`` panels may stand beside one another. ``axes`` are those of the panels.
    """

    def __init__(
        self,
        question: str,
        runs: Sequence[Drawn],
        panels: Sequence[Panel],
        *,
        keys: Sequence[Key] = (),
        note: str = "",
        columns: int = 1,
        left_in: float = LEFT_IN,
        bottom_in: float = BOTTOM_IN,
        shares_x: bool = True,
    ) -> None:
        room = WIDTH_IN - left_in - RIGHT_IN
        lines = _flow(keys, WIDTH_IN - 2 * _EDGE_IN)
        wide = (room - (columns - 1) * left_in) / columns
        above = [_flow(panel.keys, wide) for panel in panels]
        rows = [range(first, min(first + columns, len(panels))) for first in range(0, len(panels), columns)]
        high = [
            (
                max(panels[at].height_in for at in row),
                _LINE_IN * max(len(above[at]) for at in row) + (_GAP_IN if row.start else _FIRST_GAP_IN),
            )
            for row in rows
        ]
        top = _EDGE_IN + _TITLE_IN + _LINE_IN * (1 + len(lines))
        foot = bottom_in + (_LINE_IN if note else 0.0)
        between = 0.0 if shares_x else (len(rows) - 1) * bottom_in
        height = top + sum(map(sum, high)) + between + foot
        self.figure = Figure(figsize=(WIDTH_IN, height))
        self.axes: list[Axes] = []
        y = height - _EDGE_IN
        self._text(
            _EDGE_IN,
            y - _TITLE_IN + 0.08,
            fitted(question, WIDTH_IN - 2 * _EDGE_IN, _TITLE_PT, bold=True),
            _TITLE_PT,
            "black",
            weight="bold",
        )
        y -= _TITLE_IN
        self._text(_EDGE_IN, y - _LINE_IN + 0.08, fitted(about(runs), WIDTH_IN - 2 * _EDGE_IN), TEXT_PT, GREY)
        y -= _LINE_IN
        self._keys(lines, _EDGE_IN, y)
        y -= _LINE_IN * len(lines)
        for row, (panel_in, keys_in) in zip(rows, high, strict=True):
            y -= keys_in + panel_in
            for column, at in enumerate(row):
                left = left_in + column * (wide + left_in)
                self._keys(above[at], left + wide, y + panel_in + _LINE_IN * len(above[at]), to_left=True)
                box = (left / WIDTH_IN, y / height, wide / WIDTH_IN, panel_in / height)
                shared = self.axes[0] if shares_x and self.axes else None
                axes = self.figure.add_axes(box, sharex=shared)
                self._dress(axes, panels[at].label, left_in, wide)
                if shares_x and at not in rows[-1]:
                    axes.tick_params(axis="x", bottom=False, labelbottom=False)
                self.axes.append(axes)
            if not shares_x:
                y -= bottom_in
        if note:
            self._text(_EDGE_IN, 0.1, fitted(note, WIDTH_IN - 2 * _EDGE_IN, _NOTE_PT), _NOTE_PT, GREY)

    def _dress(self, axes: Axes, label: str, left_in: float, wide_in: float) -> None:
        axes.set_ylabel(label, va="top")  # of text that is turned the top is on the left
        axes.yaxis.set_label_coords(-(left_in - 0.1) / wide_in, 0.5)
        axes.yaxis.set_major_formatter(Numbers())
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))

    def _text(self, x: float, y: float, text: str, size_pt: float, colour: str, **more: Any) -> None:
        self.figure.text(x, y, text, fontsize=size_pt, color=colour, transform=self.figure.dpi_scale_trans, **more)

    def _keys(
        self, lines: Sequence[Sequence[tuple[Key, str, float]]], x: float, top: float, *, to_left: bool = False
    ) -> None:
        """Draw lines of keys from ``top`` down, beginning at ``x`` or ending there."""
        inches = self.figure.dpi_scale_trans
        for number, line in enumerate(lines):
            y = top - _LINE_IN * (number + 1) + 0.07
            at = x - sum(wide for _, _, wide in line) + 2 * _SPACE_IN if to_left else x
            for key, text, wide in line:
                if key.filled:
                    box = Rectangle(
                        (at, y - 0.01),
                        _HANDLE_IN,
                        0.11,
                        facecolor=key.colour,
                        edgecolor=GREY,
                        lw=0.6,
                        hatch=key.hatch,
                        transform=inches,
                    )
                    self.figure.add_artist(box)
                else:
                    ends = [at, at + _HANDLE_IN]
                    self.figure.add_artist(
                        Line2D(ends, [y + 0.04] * 2, color=key.colour, ls=key.line, lw=1.5, transform=inches)
                    )
                self._text(at + _HANDLE_IN + _SPACE_IN, y, text, TEXT_PT, "black")
                at += wide


def _flow(keys: Sequence[Key], room_in: float) -> list[list[tuple[Key, str, float]]]:
    """Keys in lines that are no wider than ``room_in``: each with its text, cut if need be, and its width in inches."""
    lines: list[list[tuple[Key, str, float]]] = []
    left = 0.0
    for key in keys:
        text = fitted(key.text, room_in - _HANDLE_IN - 3 * _SPACE_IN)
        wide = _HANDLE_IN + 3 * _SPACE_IN + width_in(text)
        if not lines or wide > left:
            lines.append([])
            left = room_in + 2 * _SPACE_IN
        lines[-1].append((key, text, wide))
        left -= wide
    return lines


def run_keys(runs: Sequence[Drawn], notes: Sequence[str] = (), *, filled: bool = False) -> list[Key]:
    """The key of each run where there are several, with a note behind its name; boxes for bars, else lines."""
    if len(runs) == 1:
        return []
    keys = []
    for number, (each, note) in enumerate(zip(runs, notes or [""] * len(runs), strict=True)):
        text = f"{each.label}: {note}" if note else each.label
        keys.append(Key(text, each.colour, each.line, filled, HATCHES[number % len(HATCHES)] if filled else ""))
    return keys


# -- what panels are drawn with ---------------------------------------------------------------------


def draw_curve(
    axes: Axes, x: npt.NDArray[Any], curve: Curve, colour: str, line: Any = SOLID, scale: float = 1.0
) -> None:
    """The mean of a step function as a line, and from the least to the most of each interval as a band.

    ``x`` are the edges where the axis has them. Made of the plainest artists, which is several times faster than
    ``Axes.stairs``.
    """
    xs = np.repeat(x, 2)[1:-1]
    least, mean, most = (np.repeat(values * scale, 2) for values in (curve.least, curve.mean, curve.most))
    seen = np.flatnonzero(most > least)
    if seen.size:
        parts = np.split(seen, np.flatnonzero(np.diff(seen) > 1) + 1)
        shapes = [
            np.column_stack([np.append(xs[at], xs[at[::-1]]), np.append(least[at], most[at[::-1]])]) for at in parts
        ]
        axes.add_collection(PolyCollection(shapes, facecolors=colour, alpha=0.25, lw=0), autolim=False)
    axes.add_line(Line2D(xs, mean, color=colour, ls=line, lw=1.2))


def from_zero(axes: Axes, *most: float, whole: bool = False) -> None:
    """Let the values go from 0 to a little more than the largest of ``most`` that is a number; ``whole`` ones if so."""
    if whole:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True))
    known = [value for value in most if np.isfinite(value)]
    axes.set_ylim(0, 1.06 * max([*known, 0.0]) or 1.0)


def say(axes: Axes, text: str) -> None:
    """What there is instead of a curve."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=TEXT_PT)
    axes.grid(visible=False)


def scaled(most: float, units: Sequence[tuple[str, float]]) -> tuple[str, float]:
    """The first unit of which there is at least one, or else the last, with the factor that makes it of the value."""
    return next((unit for unit in units if most * unit[1] >= 1.0), units[-1])


WATTS = (("MW", 1e-6), ("kW", 1e-3), ("W", 1.0))
KWH = (("GWh", 1e-6), ("MWh", 1e-3), ("kWh", 1.0))


class Numbers(Formatter):
    """Numbers with thousands apart; from ten millions on, all of an axis in millions if that leaves them short."""

    def __call__(self, value: float, pos: int | None = None) -> str:
        return f"{value:,.10g}".replace("-", "−")

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        large = [abs(value) for value in values if value]
        if not large or max(large) < 1e7 or min(large) < 1e4:
            return [self(value) for value in values]
        return [self(value / 1e6) + (" M" if value else "") for value in values]


_SPANS = {1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3_600: "1 h", 21_600: "6 h", 86_400: "1 d",
          604_800: "7 d", 5_184_000: "60 d", 31_536_000: "365 d"}  # fmt: skip


def spans_on(axis: Any, most_s: float) -> None:
    """Ticks for a logarithmic axis of spans of time from a second on; shorter ones are on its edge."""
    ticks = [at for at in _SPANS if at <= max(most_s, 60)]
    axis.set_ticks(ticks, ["≤ 1 s" if at == 1 else _SPANS[at] for at in ticks])
    axis.set_minor_locator(NullLocator())


def decades_on(axis: Any, most: float) -> None:
    """Ticks for a logarithmic axis from 1 on."""
    decades = [10**power for power in range(int(np.floor(np.log10(max(most, 10)))) + 1)]
    step = len(decades) // 7 + 1
    axis.set_ticks(decades[::step], [f"{value:,}" for value in decades[::step]])
    axis.set_minor_locator(NullLocator())


def counts_on(axes: Axes, most: float) -> None:
    """A logarithmic axis of counts that begins with 0: a few beside many are seen too."""
    axes.set_yscale("symlog", linthresh=1.0, linscale=0.4)
    axes.set_ylim(0, 1.3 * max(most, 1.0))
    axes.yaxis.set_ticks([0, *(10**power for power in range(int(np.log10(max(most, 1.0))) + 1))])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(Numbers())
