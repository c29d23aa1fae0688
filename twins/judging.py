"""What came of judging a twin beside baselines: means or other figures with intervals, paired, and diagrams.

Errors of one day hang together, so figures are compared by resampling days (percentile bootstrap), the same days for
all predictors, which is paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

DAY_S: Final = 86_400
_DRAWS: Final = 2000


class Column(NamedTuple):
    """A figure of a predictor: how it is headed, what it is multiplied by, and with how many digits it is shown."""

    heading: str
    digits: int = 3
    scale: float = 1.0

    def shown(self, value: float) -> str:
        """The figure as text."""
        return f"{self.scale * value:.{self.digits}f}"

    def difference(self, value: float) -> str:
        """A difference of two figures as text, with its sign."""
        return f"{self.scale * value:+.{self.digits}f}"


class Compared(NamedTuple):
    """K figures of a predictor, their 95 % intervals, and the interval of the learned twin's less the predictor's."""

    mean: Floats
    low: Floats
    high: Floats
    difference_low: Floats
    difference_high: Floats


class Diagram(NamedTuple):
    """A picture of what was found: ``curves`` have x and y by the predictor's name, in the units of the labels.

    ``points`` have x, y, and the ends of the interval of y. ``name`` is part of the file's name. ``diagonal`` draws
    where x and y are equal, ``band`` the y that are allowed.
    """

    name: str
    title: str
    x: str
    y: str
    curves: Mapping[str, tuple[Floats, Floats]]
    points: Mapping[str, tuple[float, float, float, float]] = {}
    diagonal: bool = False
    band: tuple[float, float] | None = None


class Evaluation(NamedTuple):
    """The figures of all predictors, of which ``learned`` is the twin, and what they are of, such as "917 jobs".

    ``besides`` are those of other questions that the twin answers.
    """

    learned: str
    columns: tuple[Column, ...]
    compared: dict[str, Compared]
    seeds: list[int]
    of: str
    diagrams: tuple[Diagram, ...] = ()
    besides: tuple[Evaluation, ...] = ()


def compare_means(metrics: Mapping[str, Floats], day: Int64s, learned: str) -> dict[str, Compared]:
    """Compare means of K metrics of each of T examples, (T, K) by predictor; ``day`` (T,) says of which day each is."""
    _, day = np.unique(day, return_inverse=True)
    times = _drawn(int(day.max()) + 1)
    examples = np.bincount(day)

    def means(each: Floats) -> tuple[Floats, Floats]:
        sums = np.stack([np.bincount(day, column) for column in each.T], axis=1)
        return each.mean(0), (times @ sums) / (times @ examples)[:, None]

    return _compared({name: means(each) for name, each in metrics.items()}, learned)


def compare(
    figures: Mapping[str, Callable[[Int64s], Floats]], day: Int64s, learned: str, draws: int = 400
) -> dict[str, Compared]:
    """Compare K figures that are no means: ``figures`` compute those of a predictor from the examples of given rows."""
    rows = np.arange(len(day))
    found, day = np.unique(day, return_inverse=True)
    of_day = [rows[day == each] for each in range(len(found))]
    drawn = [
        np.concatenate([np.tile(of_day[each], int(times[each])) for each in np.flatnonzero(times)])
        for times in _drawn(len(found))[:draws]
    ]
    return _compared(
        {name: (figure(rows), np.stack([figure(each) for each in drawn])) for name, figure in figures.items()}, learned
    )


def _drawn(days: int) -> Int64s:
    """How often each day is in each resample, (draws, days)."""
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, days, (_DRAWS, days))
    return np.stack([np.bincount(each, minlength=days) for each in drawn])


def _compared(found: Mapping[str, tuple[Floats, Floats]], learned: str) -> dict[str, Compared]:
    result = {}
    for name, (mean, drawn) in found.items():
        low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
        least, most = np.percentile(found[learned][1] - drawn, [2.5, 97.5], axis=0)
        result[name] = Compared(mean, low, high, least, most)
    return result
