"""Which answers of a twin about jobs are kept, and which are to be made again as more of their users' jobs have ended.

A job is predicted when it is asked about first, and again when 1, 2, 4, 8 ... more jobs of its group have ended. The
answers lie in arrays of the twin's own, of which each job that is remembered has a row.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

import numpy as np

from hpcsim.plugin import Job

_FEWEST: Final = 256


class Remembered:
    """The rows of the jobs that were asked about and have not ended. ``group`` says whose ends a job's answer is by."""

    def __init__(self, group: Callable[[Job], Hashable]) -> None:
        self._group = group
        self.fresh: dict[int, int] = {}
        """Row by job id, of the jobs whose answers hold."""
        self._stale: dict[int, int] = {}  # of those that are to be predicted again
        self._alike: dict[Hashable, dict[int, int]] = {}  # rows by job id of those of one group
        self._free: list[int] = []
        self._first = np.zeros(0, np.int64)  # how many of its group had ended when a job was predicted first,
        self._due = np.zeros(0, np.int64)  # and how many have to have for the next time

    def copy(self) -> Remembered:
        """Another that goes its own way."""
        twin = Remembered(self._group)
        twin.fresh, twin._stale, twin._free = self.fresh.copy(), self._stale.copy(), self._free.copy()
        twin._alike = {group: rows.copy() for group, rows in self._alike.items()}
        twin._first, twin._due = self._first.copy(), self._due.copy()
        return twin

    @property
    def rows(self) -> int:
        """How many rows there are, used or not."""
        return len(self._due)

    def place(self, job: Job, known: int) -> int:
        """The row of a job that is predicted now, for the first time or again, by ``known`` ends of its group."""
        row = self._stale.pop(job.id, None)
        if row is not None:
            self._due[row] = self._first[row] + 2 * (known - self._first[row])
        else:
            if not self._free:
                self._grow()
            row = self._free.pop()
            self._first[row], self._due[row] = known, known + 1
            self._alike.setdefault(self._group(job), {})[job.id] = row
        self.fresh[job.id] = row
        return row

    def forget(self, job: Job) -> int | None:
        """The row that a job had which has ended, None if it had none; the next one gets it."""
        row = self.fresh.pop(job.id, None)
        if row is None:
            row = self._stale.pop(job.id, None)
        if row is None:
            return None
        group = self._group(job)
        alike = self._alike[group]
        del alike[job.id]
        if not alike:
            del self._alike[group]
        self._free.append(row)
        return row

    def outdate(self, job: Job, known: Callable[[Job], int]) -> None:
        """Of the group of ``job``, which has ended, ``known`` says how many have: some answers are due again."""
        alike = self._alike.get(self._group(job))
        if not alike:
            return
        ends = known(job)
        for other, row in alike.items():
            if ends >= self._due[row] and other in self.fresh:
                self._stale[other] = self.fresh.pop(other)

    def _grow(self) -> None:
        size = len(self._due)
        more = max(_FEWEST, size)
        self._free = list(range(size + more - 1, size - 1, -1))
        self._first = np.concatenate([self._first, np.zeros(more, np.int64)])
        self._due = np.concatenate([self._due, np.zeros(more, np.int64)])
