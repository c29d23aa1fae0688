"""Jobs that wait for others to end, in whatever way, before they may start."""

from __future__ import annotations

from collections.abc import Iterable

from hpcsim.workload.job import Job


class Dependencies:
    """Who waits for whom. ``blocked`` are the jobs that wait, by their ids, those that arrived first coming first."""

    __slots__ = ("_followers", "_open_after", "blocked")

    def __init__(self) -> None:
        self.blocked: dict[int, Job] = {}
        self._open_after: dict[int, int] = {}  # blocked job -> how many jobs it still waits for
        self._followers: dict[int, list[int]] = {}  # job that has not ended -> those that wait for it

    def add(self, job: Job, open_after: Iterable[int]) -> None:
        """Let ``job`` wait for these others, which have not ended; there is one at least."""
        after = sorted(set(open_after))
        self.blocked[job.id] = job
        self._open_after[job.id] = len(after)
        for other in after:
            self._followers.setdefault(other, []).append(job.id)

    def ended(self, job_id: int) -> list[Job]:
        """The jobs that need not wait any more now that this one has ended."""
        released = []
        for follower in self._followers.pop(job_id, ()):
            self._open_after[follower] -= 1
            if not self._open_after[follower]:
                del self._open_after[follower]
                released.append(self.blocked.pop(follower))
        return released

    def forget(self, job_id: int) -> None:
        """The job waits no more, and will not start: others that wait for it hear of its end elsewhere."""
        self.blocked.pop(job_id, None)
        if self._open_after.pop(job_id, None) is not None:
            for followers in self._followers.values():
                followers[:] = [follower for follower in followers if follower != job_id]

    def __copy__(self) -> Dependencies:
        twin = Dependencies()
        twin.blocked, twin._open_after = self.blocked.copy(), self._open_after.copy()
        twin._followers = {job_id: followers.copy() for job_id, followers in self._followers.items()}
        return twin
