"""The jobs that are still to be submitted: made of the workload's columns a few thousand at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from hpcsim.workload.job import Job, Workload

_MADE_AT_ONCE: Final = 4096


class Arrivals:
    """The jobs from ``first`` on, but for those of ``following``: these come when others have ended.

    ``coming`` are those that are made already, the next one last; it is empty only if no job is to come.
    """

    __slots__ = ("_following", "_workload", "coming")

    def __init__(self, workload: Workload, following: Collection[int], first: int = 0) -> None:
        self._workload, self._following = workload, following
        self.coming: list[Job] = []
        self._make(first)

    @property
    def next_id(self) -> int:
        """The id of the next job; after the last, the number of jobs."""
        return self.coming[-1].id if self.coming else len(self._workload)

    def until(self, second: int) -> Iterator[Job]:
        """Take the jobs that are submitted up to this second, one after the other."""
        coming = self.coming
        while coming and coming[-1].submit <= second:
            job = coming.pop()
            if not coming:
                self._make(job.id + 1)
            yield job

    def stop(self) -> None:
        """Let no more jobs come."""
        self.coming = []

    def _make(self, first: int) -> None:
        while not self.coming and first < len(self._workload):
            stop = min(first + _MADE_AT_ONCE, len(self._workload))
            made = (job for job in self._workload.jobs(first, stop) if job.id not in self._following)
            self.coming.extend(made)
            first = stop
        self.coming.reverse()

    def __copy__(self) -> Arrivals:
        twin = Arrivals(self._workload, self._following, len(self._workload))
        twin.coming = self.coming.copy()
        return twin
