"""The last ends of groups of jobs, the newest first: gathered for a whole trace at once, and told one by one in a run.

Of an end some numbers are kept. Of ends of one second the job that was submitted last comes first.

Shapes: J jobs, K last ends of a group, C numbers that are kept of an end.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

_END_S, _JOB = -2, -1


class Gathered(NamedTuple):
    """What was known of the groups of J jobs: ``kept`` (J, K, C), ``end_s`` (J, K), and of how many ends in all, (J,).

    Where ``known`` is below K, the rest is of no meaning.
    """

    kept: Floats
    end_s: Int64s
    known: Int64s


def gathered(
    kept: Floats, end_s: Int64s, end_group: Int64s, end_job: Int64s, group: Int64s, now_s: Int64s, last: int
) -> Gathered:
    """The ``last`` ends of each job's ``group`` that were known at its second ``now_s``; of group -1 there are none.

    Of E ends are given what is kept of them (E, C), when they were told, of which group they are and of which job.
    """
    order = np.lexsort((end_job, end_s, end_group))
    order = order[end_group[order] >= 0]
    first_s = min(int(end_s.min(initial=0)), int(now_s.min(initial=0)))
    span_s = max(int(end_s.max(initial=0)), int(now_s.max(initial=0))) - first_s + 1
    key = end_group[order] * span_s + (end_s[order] - first_s)
    known_until = np.searchsorted(key, group * span_s + (now_s - first_s), side="right")
    count = np.where(group < 0, 0, known_until - np.searchsorted(key, group * span_s, side="left"))
    at_JK = np.maximum(known_until[:, None] - 1 - np.arange(last), 0)
    if not order.size:
        return Gathered(np.zeros((*at_JK.shape, kept.shape[1])), np.zeros(at_JK.shape, np.int64), count)
    return Gathered(kept[order[at_JK]], end_s[order[at_JK]], count)


class LastEnds:
    """The ends of groups that became known in a run so far. Row 0 is that of groups of which none is known.

    ``kept`` (rows, K, C) is what is kept of their last ends, ``end_s`` (rows, K) when they were told, in whole seconds,
    and ``count`` (rows,) how many ends there were in all.
    """

    def __init__(self, last: int, numbers: int) -> None:
        self._row: dict[Hashable, int] = {}
        self.count = np.zeros(64, np.int64)
        # Of each end what is kept, then its second, then its job: side by side, so that one shift makes room.
        self._told = np.zeros((64, last, numbers + 2))

    @property
    def kept(self) -> Floats:
        return self._told[..., :_END_S]

    @property
    def end_s(self) -> Floats:
        return self._told[..., _END_S]

    def copy(self) -> LastEnds:
        """Another that goes its own way."""
        twin = LastEnds(*self.kept.shape[1:])
        twin._row, twin.count = self._row.copy(), self.count.copy()
        twin._told = self._told.copy()
        return twin

    def row(self, key: Hashable) -> int:
        """The row of a group."""
        return self._row.get(key, 0)

    def put(self, keys: Iterable[Hashable], kept: Floats, end_s: int, job: int) -> None:
        """Learn of an end of some groups; None is no group."""
        told = np.array([*kept.tolist(), end_s, job])
        for key in keys:
            if key is None:
                continue
            row = self._row.setdefault(key, len(self._row) + 1)
            if row == len(self.count):
                self.count = np.concatenate([self.count, np.zeros_like(self.count)])
                self._told = np.concatenate([self._told, np.zeros_like(self._told)])
            ends = self._told[row]
            known = min(len(ends), int(self.count[row]))
            self.count[row] += 1
            place = 0
            while place < known and ends[place, _END_S] == end_s and ends[place, _JOB] > job:
                place += 1
            if place < len(ends):
                ends[place + 1 :] = ends[place:-1]  # numpy takes care that they overlap
                ends[place] = told
