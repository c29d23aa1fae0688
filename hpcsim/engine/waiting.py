"""The jobs that wait and may start: in the order of submission, and by how many nodes they ask for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import overload

from hpcsim.workload.job import Job

_Asked = tuple[int, int, Job]  # walltime, place, and the job itself
_place = itemgetter(1)
_ALL = 2**62  # above every place


def place(job: Job) -> int:
    """Where a job stands in the order of submission, whose ties are broken by ids. Mostly that is the order of ids."""
    return (job.submit << 32) | job.id


class Jobs(Sequence[Job]):
    """The queue as plug-ins see it: a sequence in the order of submission that they cannot change."""

    __slots__ = ("_jobs",)

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs = jobs

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: object) -> bool:
        return job in self._jobs

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> list[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | list[Job]:
        return self._jobs[index]


class Waiting:
    """The queue of a simulation. Jobs come in any order, and are kept in that of submission."""

    __slots__ = ("_by_id", "_by_nodes", "_jobs", "_places", "jobs")

    def __init__(self) -> None:
        self._by_id: dict[int, Job] = {}
        self._places: list[int] = []
        self._jobs: list[Job] = []
        self._by_nodes: dict[int, list[_Asked]] | None = None  # by walltime; not kept while nobody asks
        self.jobs: Jobs = Jobs(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[int]:
        """The ids, in order."""
        return iter([job.id for job in self._jobs])

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._by_id

    def get(self, job_id: int) -> Job | None:
        return self._by_id.get(job_id)

    def add(self, job: Job) -> None:
        here, places = place(job), self._places
        self._by_id[job.id] = job
        at = len(places) if not places or places[-1] < here else bisect_left(places, here)
        places.insert(at, here)
        self._jobs.insert(at, job)
        if self._by_nodes is not None:
            insort(self._by_nodes.setdefault(job.nodes, []), (job.walltime, here, job))

    def pop(self, job_id: int) -> Job | None:
        """Take the job out; None if it does not wait."""
        job = self._by_id.pop(job_id, None)
        if job is not None:
            here = place(job)
            at = bisect_left(self._places, here)
            del self._places[at], self._jobs[at]
            if not self._places:
                self._by_nodes = None
            elif self._by_nodes is not None:
                alike = self._by_nodes[job.nodes]
                if len(alike) == 1:
                    del self._by_nodes[job.nodes]
                else:
                    del alike[bisect_left(alike, (job.walltime, here, job))]
        return job

    def within(self, nodes: int, walltime: int, any_nodes: int) -> list[Job]:
        """Those that ask for at most ``nodes`` nodes, and of more than ``any_nodes`` at most ``walltime``; in order."""
        found: list[_Asked] = []
        if self._by_nodes is None:
            self._by_nodes = {}
            for job in self._jobs:
                insort(self._by_nodes.setdefault(job.nodes, []), (job.walltime, place(job), job))
        for size, alike in self._by_nodes.items():
            if size > nodes:
                continue
            if size <= any_nodes:
                found += alike
            elif alike[0][0] <= walltime:
                found += alike[: bisect_right(alike, (walltime, _ALL))]
        found.sort(key=_place)
        return [job for _, _, job in found]

    def __deepcopy__(self, memo: object) -> Waiting:
        twin = Waiting()
        twin._by_id = self._by_id.copy()
        twin._places += self._places
        twin._jobs += self._jobs
        return twin
