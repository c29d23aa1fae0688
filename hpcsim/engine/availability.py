"""How many nodes will be free when, as far as the requested walltimes tell.

Two views of the same facts: ``Releases`` lists the running jobs by expected end and answers EASY's question
about one blocked job; ``Profile`` is the whole step function, into which reservations can be put.

A job that runs past its walltime is expected to end at once: for ``Releases.shadow`` that is now, for a
``Profile`` (whose first step must hold what is free now) it is the next second.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from hpcsim.workload.job import Job


class Shadow(NamedTuple):
    """When a blocked job can start at the latest, and what others may take beyond that time.

    ``time`` is the earliest second at which enough nodes are free by the expected ends of running jobs;
    ``extra`` nodes are still free then, counting every job that ends at exactly that second, once the
    blocked job has started. Source: Mualem and Feitelson (2001), Utilization, predictability, workloads,
    and user runtime estimates in scheduling the IBM SP2 with backfilling.
    """

    time: int
    extra: int


class Releases:
    """Running jobs in the order of their expected ends."""

    __slots__ = ("_ends",)

    def __init__(self, ends: list[tuple[int, int, int]] | None = None) -> None:
        self._ends = [] if ends is None else ends  # (expected end, job id, nodes), sorted

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return iter(self._ends)

    def __copy__(self) -> Releases:
        return Releases(self._ends.copy())

    def add(self, expected_end: int, job_id: int, nodes: int) -> None:
        """Note that ``nodes`` nodes are expected back at second ``expected_end``."""
        insort(self._ends, (expected_end, job_id, nodes))

    def remove(self, expected_end: int, job_id: int, nodes: int) -> None:
        """Forget what was noted by ``add`` with the same values."""
        del self._ends[bisect_left(self._ends, (expected_end, job_id, nodes))]

    def shadow(
        self, nodes: int, free: int, now: int, starting: Iterable[Job] = (), latency: int = 0, busy: int = 0
    ) -> Shadow:
        """The shadow of a job that needs ``nodes`` where ``free`` are free now.

        ``starting`` are jobs that the same pass has decided to start: their nodes are not in ``free`` any
        more and come back after their walltime. No running job is expected to end within ``busy`` seconds.
        """
        ends: Iterable[tuple[int, int, int]] = self._ends
        if starting:
            ends = self._ends.copy()
            for job in starting:
                insort(ends, (now + latency + job.walltime, job.id, job.nodes))
        soonest = now + busy
        time = now if free >= nodes else -1  # it fits, but something else keeps it from starting
        until = -1 if busy else time  # the ends up to then leave nodes to others
        for end, _, released in ends:
            if time < 0:
                free += released
                if free >= nodes:
                    time = until = max(end, soonest)
            elif end <= until:
                free += released
            else:
                break
        if time < 0:
            raise ValueError(f"a job of {nodes} nodes never fits: only {free} nodes in all")
        return Shadow(time, max(0, free - nodes))


class Profile:
    """Free nodes from now on, as a step function that reservations are cut out of."""

    __slots__ = ("_free", "_times")

    def __init__(self, now: int, free: int, releases: Iterable[tuple[int, int, int]] = ()) -> None:
        self._times = [now]
        self._free = [free]
        for end, _, nodes in releases:
            end = max(end, now + 1)
            free += nodes
            if end == self._times[-1]:
                self._free[-1] = free
            else:
                self._times.append(end)
                self._free.append(free)

    def steps(self) -> list[tuple[int, int]]:
        """The steps as (second, nodes free from then on)."""
        return list(zip(self._times, self._free, strict=True))

    def at(self, time: int) -> int:
        """The nodes free at second ``time``, which is not before the first step."""
        return self._free[bisect_right(self._times, time) - 1]

    def least(self, start: int, duration: int) -> int:
        """The fewest nodes that are free at any second from ``start`` on for ``duration`` seconds (1 or more)."""
        first = bisect_right(self._times, start) - 1
        return min(self._free[first : bisect_left(self._times, start + duration, first + 1)])

    def earliest(
        self, nodes: int, duration: int, job: Job | None = None, since: int = -1, not_before: int | None = None
    ) -> int:
        """The first second, none before ``not_before``, from which ``nodes`` stay free for ``duration`` seconds.

        They are for ``job``, if one is given: that matters only where its queue has nodes of its own. ``since`` is the
        second of a step, such as an earlier answer for no more nodes and no more seconds.
        """
        times, free = self._times, self._free
        if not_before is not None and not_before > times[0]:
            return self._earliest_from(not_before, nodes, duration)
        last = len(times) - 1
        start = -1
        first = bisect_left(times, since)
        for i, available in enumerate(islice(free, first, None), first):
            if available < nodes:
                start = -1
            else:
                if start < 0:
                    start = times[i]
                if i == last or times[i + 1] - start >= duration:
                    return start
        raise ValueError(f"a job of {nodes} nodes never fits: only {free[-1]} nodes in the end")

    def _earliest_from(self, second: int, nodes: int, duration: int) -> int:
        rest = Profile.__new__(Profile)
        first = bisect_right(self._times, second) - 1
        rest._times, rest._free = [second, *self._times[first + 1 :]], self._free[first:]
        return rest.earliest(nodes, duration)

    def reserve(self, start: int, duration: int, nodes: int, job: Job | None = None) -> None:
        """Take ``nodes`` out for ``duration`` seconds from ``start``, for ``job``; they must be free then."""
        first = self._step_at(start)
        after = self._step_at(start + duration)
        for i in range(first, after):
            self._free[i] -= nodes

    def close(self, start: int, end: int) -> None:
        """Have no node free from ``start`` to ``end``, as in scheduled maintenance."""
        start = max(start, self._times[0])
        if start < end:
            first = self._step_at(start)
            after = self._step_at(end)
            self._free[first:after] = [0] * (after - first)

    def _step_at(self, time: int) -> int:
        """The index of the step that begins at ``time``, cut there if none does."""
        times = self._times
        i = bisect_right(times, time) - 1
        if times[i] != time:
            i += 1
            times.insert(i, time)
            self._free.insert(i, self._free[i - 1])
        return i
