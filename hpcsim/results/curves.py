"""Step functions of a run, brought down to as many intervals as can be seen, with no peak lost.

A step function is two columns: each value holds from its second until the next row's, the last one for good. The
seconds do not fall; of rows with the same second the last one holds. NaN stands for nothing: there was no cap, say.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def by_interval(time: npt.NDArray[Any], value: npt.NDArray[Any], edges: npt.NDArray[Any]) -> tuple[Floats, ...]:
    """Time-weighted mean, smallest and largest value of a step function in each interval of rising ``edges``.

    Interval i is from ``edges[i]`` on and before ``edges[i + 1]``; there is one fewer than edges, and ``(mean, least,
    most)`` have so many rows. A value that held for no time at all counts for least and most where it is in the
    interval. What is NaN, and what is before the first row, is left out; an interval of nothing else is NaN.
    Raises ValueError if there are no rows, fewer than two edges, or the edges do not rise.
    """
    known_from, known, edges = _with_nothing_before(time, value, edges)
    if edges.size < 2 or not (np.diff(edges) > 0).all():
        raise ValueError("edges: found fewer than two, or some that do not rise")
    amount, seconds = _integrals(known_from, known, edges)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.diff(amount) / np.diff(seconds)
    # what holds at the left edge, and every row from there until before the right one
    rows = np.searchsorted(known_from, edges[:-1], side="left")
    first = np.minimum(rows, np.searchsorted(known_from, edges[:-1], side="right") - 1)
    behind = np.maximum(np.searchsorted(known_from, edges[1:], side="left"), first + 1)
    spans = np.column_stack([first, behind]).ravel()
    padded = np.append(known, known[-1])  # an index of reduceat must be one of the array
    least = np.fmin.reduceat(padded, spans)[::2]
    most = np.fmax.reduceat(padded, spans)[::2]
    return np.clip(mean, least, most), least, most  # sums round; a mean is never outside


def integral(time: npt.NDArray[Any], value: npt.NDArray[Any], until: npt.NDArray[Any]) -> Floats:
    """The integral of a step function from its first row to each second of ``until``; NaN adds nothing.

    In the unit of ``value`` times seconds; 0 before the first row. Raises ValueError if there are no rows.
    """
    return _integrals(*_with_nothing_before(time, value, until))[0]


def value_at(time: npt.NDArray[Any], value: npt.NDArray[Any], seconds: npt.NDArray[Any]) -> Floats:
    """What a step function is at each of ``seconds``: NaN before its first row. ValueError if there are no rows."""
    known_from, known, seconds = _with_nothing_before(time, value, seconds)
    held: Floats = known[np.searchsorted(known_from, seconds, side="right") - 1]
    return held


def even_edges(begin: float, end: float, intervals: int) -> Floats:
    """Edges of ``intervals`` equal intervals from ``begin`` to ``end``, of a second at least each; at least one."""
    seconds = max(end - begin, 1)
    return np.linspace(begin, begin + seconds, int(max(1, min(intervals, seconds))) + 1)


def _with_nothing_before(
    time: npt.NDArray[Any], value: npt.NDArray[Any], seconds: npt.NDArray[Any]
) -> tuple[Floats, Floats, Floats]:
    """All three as floats, with a row of NaN in front if a second is asked for that is before the first row."""
    if len(time) == 0 or len(time) != len(value):
        raise ValueError(f"a step function of {len(time)} seconds and {len(value)} values: found no rows, or unequal")
    of, known, seconds = (np.asarray(column, np.float64) for column in (time, value, seconds))
    if seconds.size and seconds.min() < of[0]:
        of, known = np.insert(of, 0, seconds.min()), np.insert(known, 0, np.nan)
    return of, known, seconds


def _integrals(time: Floats, value: Floats, until: Floats) -> tuple[Floats, Floats]:
    """Integrals until each of these seconds: of the value, and of the seconds in which it is known."""
    known = ~np.isnan(value)
    height = np.where(known, value, 0.0)
    lasts = np.diff(time)
    last = np.searchsorted(time, until, side="right") - 1
    rest = until - time[last]
    amount = np.concatenate([[0.0], np.cumsum(height[:-1] * lasts)])[last] + height[last] * rest
    seconds = np.concatenate([[0.0], np.cumsum(known[:-1] * lasts)])[last] + known[last] * rest
    return amount, seconds
