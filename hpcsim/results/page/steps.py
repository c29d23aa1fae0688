"""Curves over time for a page: step functions as they are where they are short, else by interval with their extremes.

The page draws any part of a curve at its own resolution, so what is packed here is finer than what a screen shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.results.curves import by_interval
from hpcsim.results.page.pack import real, whole

EXACT_ROWS = 60_000  # up to so many rows all of them are in the page
INTERVALS = 20_000  # else so many, each with its mean, least and most


def packed_steps(
    time_s: npt.NDArray[Any], columns: Mapping[str, npt.NDArray[Any]], end_s: int, *, share: int = 1
) -> dict[str, Any]:
    """Columns that hold from each of ``time_s`` until the next, the last until ``end_s``; NaN for nothing.

    ``share`` is how many runs share a page: each gets so much less of it.
    """
    end_s = max(end_s, int(time_s[-1]) + 1)
    if time_s.size <= EXACT_ROWS // share:
        values = {name: {"mean": _values(column)} for name, column in columns.items()}
        return {"end_s": end_s, "time_s": whole(time_s, changes=True), "columns": values}
    begin_s = int(time_s[0])
    intervals = min(INTERVALS // share, end_s - begin_s)
    edges = np.linspace(begin_s, end_s, intervals + 1)
    binned = {}
    for name, column in columns.items():
        parts = by_interval(time_s, column, edges)
        binned[name] = {what: real(part) for what, part in zip(("mean", "least", "most"), parts, strict=True)}
    return {"end_s": end_s, "begin_s": begin_s, "intervals": intervals, "columns": binned}


def _values(column: npt.NDArray[Any]) -> dict[str, Any]:
    return whole(column, changes=True) if column.dtype.kind in "iu" else real(column)
