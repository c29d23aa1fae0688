"""Lanes for the jobs of a run that only counts nodes: as many side by side as a job has nodes."""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

from hpcsim.results.units import Spans

Int64s = npt.NDArray[np.int64]


def node_lanes(start_s: Int64s, end_s: Int64s, nodes: Int64s) -> Spans:
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
    return Spans(columns[:, 0], columns[:, 1], columns[:, 2])
