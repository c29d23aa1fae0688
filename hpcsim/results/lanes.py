"""Slices of time side by side: on as few lanes as there are slices at once, and never one over another."""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]


def lanes_of(group: Int64s, start: Int64s, end: Int64s) -> Int64s:
    """The lane of each slice ``[start, end)`` within its group: the lowest that is free, counted from 0.

    That is the fewest lanes with which no two slices of a lane overlap.
    """
    lane = np.zeros(group.size, np.int64)
    order = np.lexsort((end, start, group))
    one_group = group[order[1:]] == group[order[:-1]]
    overlaps = one_group & (start[order[1:]] < end[order[:-1]])  # none of a group: it needs one lane
    crowded = np.isin(group[order], np.unique(group[order[1:]][overlaps]))
    rows = order[crowded]
    found: list[int] = []
    free: list[int] = []
    taken: list[tuple[int, int]] = []  # until when, which lane
    before, most = -1, 0
    for number, begins, ends in zip(group[rows].tolist(), start[rows].tolist(), end[rows].tolist(), strict=True):
        if number != before:
            before, free, taken, most = number, [], [], 0
        while taken and taken[0][0] <= begins:
            heappush(free, heappop(taken)[1])
        if free:
            mine = heappop(free)
        else:
            mine = most
            most += 1
        heappush(taken, (ends, mine))
        found.append(mine)
    lane[rows] = found
    return lane
