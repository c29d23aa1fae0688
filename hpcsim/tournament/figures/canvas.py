"""Where things stand on a figure, in inches, and how each scheduler is drawn: alike on all figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from hpcsim.results.plots.ink import TEXT_PT, fitted, line_of, width_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN = 9.5
TITLE_IN, TICKS_IN, EDGE_IN, LINE_IN = 0.28, 0.62, 0.1, 0.21
NAME_IN = 2.3  # the longest name of a scheduler that is written out
_DECADES = 200  # from which ratio on a logarithmic axis has a tick for each decade only
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")


class Style(NamedTuple):
    """How a scheduler is drawn."""

    colour: str
    line: Any
    marker: str


def styles(schedulers: Sequence[str]) -> dict[str, Style]:
    """A style for each, told apart without colours too: 63 of them before one comes again."""
    return {name: Style(*line_of(number), MARKERS[number % len(MARKERS)]) for number, name in enumerate(schedulers)}


def at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes so many inches from the left and the top of a figure."""
    whole_width, whole_height = figure.get_size_inches()
    bottom = whole_height - top - height
    return figure.add_axes((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))


def write(figure: Figure, left: float, top: float, text: str, **how: Any) -> None:
    """A text whose upper left corner is so many inches from the left and the top."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, **{"fontsize": TEXT_PT, "ha": "left", "va": "top", **how})


def legend_width(names: Iterable[str]) -> float:
    """How many inches wide the legend of these schedulers is."""
    return 0.55 + widest(names)


def widest(names: Iterable[str]) -> float:
    """How many inches wide the longest of these names is, as it is written out."""
    return max(width_in(fitted(name, NAME_IN)) for name in names)


def legend(figure: Figure, left: float, top: float, named: Mapping[str, Style], *, lines: bool) -> None:
    """What each scheduler is drawn as, below one another."""
    width, height = figure.get_size_inches()
    for number, (name, style) in enumerate(named.items()):
        y = 1 - (top + LINE_IN * (number + 0.5)) / height
        x = [left / width, (left + 0.35) / width]
        shape: dict[str, Any] = {"color": style.colour, "markersize": 5}
        if lines:
            figure.add_artist(Line2D(x, [y, y], linestyle=style.line, lw=1.5, **shape))
        else:
            figure.add_artist(Line2D([sum(x) / 2], [y], linestyle="", marker=style.marker, **shape))
        write(figure, left + 0.45, top + LINE_IN * number + 0.02, fitted(name, NAME_IN))


def title(figure: Figure, text: str) -> None:
    """The title, as far as there is room."""
    write(figure, EDGE_IN, EDGE_IN, fitted(text, figure.get_size_inches()[0] - 2 * EDGE_IN, 11.0), fontsize=11.0)


class Spot(NamedTuple):
    """A panel among several: where it begins, how large it is, and whether it is the first of its row."""

    left: float
    top: float
    width: float
    height: float
    first: bool


def spots(count: int, left: float, top: float, right: float, height: float, *, gap: float, most: int) -> Iterator[Spot]:
    """Panels from left to right, at most so many in a row, between ``left`` and ``right`` inches."""
    columns = min(most, count)
    width = (right - left - gap * (columns - 1)) / columns
    for number in range(count):
        row, column = divmod(number, columns)
        yield Spot(
            left + column * (width + gap), top + row * (height + TITLE_IN + TICKS_IN), width, height, column == 0
        )


def rows_of(count: int, most: int) -> int:
    """How many rows ``spots`` has."""
    return -(-count // most)


def few_ticks(axes: Axes, x: bool = True) -> None:
    """As many ticks as are easy to read on a narrow panel."""
    axis = axes.xaxis if x else axes.yaxis
    axis.set_major_locator(MaxNLocator(4 if x else 5))
    axis.set_major_formatter(_PLAIN)


def log_ticks(axes: Axes, x: bool = True) -> None:
    """Ticks of a logarithmic axis: 1, 2, 5, 10, or only 1, 10 if that is enough; as plain numbers."""
    axis = axes.xaxis if x else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < _DECADES else (1.0,)))
    axis.set_major_formatter(_PLAIN)
    axis.set_minor_locator(NullLocator())


_PLAIN = FuncFormatter(lambda value, _: f"{value:,.6g}".replace("-", "−"))
