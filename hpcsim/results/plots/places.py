"""Which nodes each attempt had: boxes of (attempt, node from, node to), from units as text or by giving out lanes."""

from __future__ import annotations

import heapq
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Int64s = npt.NDArray[np.int64]


class Runs(NamedTuple):
    """Consecutive units ``first`` to ``last`` that row ``row`` of a table had; a row may have several."""

    row: Int64s
    first: Int64s
    last: Int64s


def units_of(column: Any) -> Runs:
    """The runs of a column of texts such as ``0-13,20``, all at once."""
    texts = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    runs = pc.split_pattern(texts, ",")
    row = np.asarray(pc.list_parent_indices(runs), np.int64)
    ends = pc.split_pattern(pc.list_flatten(runs), "-")
    numbers = np.asarray(pc.list_flatten(ends).cast(pa.int64()), np.int64)
    behind = np.cumsum(np.asarray(pc.list_value_length(ends), np.int64))
    return Runs(row, numbers[np.append(0, behind[:-1])] if row.size else numbers, numbers[behind - 1])


def lanes_of(start_s: Int64s, end_s: Int64s, nodes: Int64s) -> Runs:
    """Lanes for attempts of which only the number of nodes is known: each has as many as it has nodes while it runs.

    It gets the lowest ones that are free when it starts; within a second ends come first. There are as many lanes as
    nodes were busy at once. An attempt of no time gets none.
    """
    rows = np.flatnonzero(end_s > start_s)
    order = rows[np.argsort(start_s[rows], kind="stable")]
    free = [(0, int(nodes[order].sum()) if order.size else 0)]  # (first, behind the last), a heap of runs
    ends: list[tuple[int, int, list[tuple[int, int]]]] = []
    found: list[tuple[int, int, int]] = []
    for row, start, end, wanted in zip(
        order.tolist(), start_s[order].tolist(), end_s[order].tolist(), nodes[order].tolist(), strict=True
    ):
        while ends and ends[0][0] <= start:
            for lanes in heapq.heappop(ends)[2]:
                heapq.heappush(free, lanes)
        taken = []
        while wanted:
            first, behind = heapq.heappop(free)
            while free and free[0][0] == behind:  # neighbours that came back apart
                behind = heapq.heappop(free)[1]
            last = min(behind, first + wanted)
            taken.append((first, last))
            if last < behind:
                heapq.heappush(free, (last, behind))
            wanted -= last - first
        heapq.heappush(ends, (end, row, taken))
        found += [(row, first, behind - 1) for first, behind in taken]
    columns = np.array(found, np.int64).reshape(-1, 3)
    return Runs(columns[:, 0], columns[:, 1], columns[:, 2])
