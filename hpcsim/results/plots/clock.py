"""The axis of time: dates in UTC, or time since the beginning where runs have no time in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, num2date
from matplotlib.ticker import Locator, MaxNLocator

from hpcsim.results.plots.drawn import Drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DAY_S = 86_400
_LAST_DATE = 253_000_000_000  # Unix time in the year 9987; matplotlib knows no dates after 9999
_SHORTEST_S = 10  # that the axis shows
_UNITS = (("days", _DAY_S), ("hours", 3_600), ("minutes", 60), ("seconds", 1))


class _Dates(ConciseDateFormatter):
    """Dates of which the year stands once; both years where the ticks lie in two."""

    # matplotlib's dates have no types
    _years: tuple[int, ...] = ()

    def format_ticks(self, values: Any) -> list[str]:
        """A label for each tick."""
        self._years = tuple(sorted({moment.year for moment in num2date(values)}))  # type: ignore[no-untyped-call]
        labels: list[str] = super().format_ticks(values)  # type: ignore[no-untyped-call]
        return labels

    def get_offset(self) -> str:
        """What stands at the end of the axis."""
        offset: str = super().get_offset()  # type: ignore[no-untyped-call]
        if self._years and offset == str(self._years[-1]) != str(self._years[0]):
            return f"{self._years[0]}\u2013{self._years[-1]}"
        return offset


class Clock:
    """Where seconds of a run are on the axis: days since 1970 (as matplotlib has them), or a unit since it began."""

    def __init__(self, runs: Sequence[Drawn]) -> None:
        begins, ends = ([each.t0_utc + at for each, at in zip(runs, of, strict=True)] for of in (
            [each.begin for each in runs], [each.end for each in runs]))  # fmt: skip
        longest = max(end - begin for begin, end in zip(begins, ends, strict=True))
        self.has_dates = max(begins) <= min(ends) and max(ends) < _LAST_DATE
        if self.has_dates:
            self._unit_s = _DAY_S
            self.label = "date (UTC)"
            self.limits = (min(begins) / _DAY_S, max(*ends, min(begins) + _SHORTEST_S) / _DAY_S)
        else:
            name, self._unit_s = next((unit for unit in _UNITS if longest >= 3 * unit[1]), _UNITS[-1])
            self.label = f"{name} since the beginning of each run"
            self.limits = (0.0, max(longest, _SHORTEST_S) / self._unit_s)

    def x(self, run: Drawn, seconds: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Where seconds of this run are."""
        return (np.asarray(seconds, np.float64) + (run.t0_utc if self.has_dates else -run.begin)) / self._unit_s

    def dress(self, axes: Axes) -> None:
        """Make time the axis of these axes, which may share it with others above."""
        locator: Locator
        if self.has_dates:
            # matplotlib's dates have no types
            locator = AutoDateLocator()  # type: ignore[no-untyped-call]
            formatter = _Dates(locator)  # type: ignore[no-untyped-call]
            formatter.zero_formats[2] = formatter.formats[2] = "%d %b"  # of days: the first tick may be in mid month
            formatter.offset_formats[2] = "%Y"
            axes.xaxis.set_major_formatter(formatter)
        else:
            locator = MaxNLocator(nbins=10, steps=[1, 2, 5, 10])
        axes.xaxis.set_major_locator(locator)
        axes.set_xlabel(self.label)
        axes.set_xlim(*self.limits)
