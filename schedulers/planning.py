"""Allocate or else reserve: what a pass may still give away now, and what it has promised for later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from operator import attrgetter

from hpcsim.plugin import Decision, Job, Profile, Room, Start, View

JOINED = "on a node that is shared already"
_nodes, _walltime = attrgetter("nodes"), attrgetter("walltime")


def around_reservations(
    view: View,
    room: Room,
    queue: Iterable[Job],
    depth: int | None,
    window: int | None = None,
    resolution: int = 1,
    runs_s: Callable[[Job], int] = _walltime,
) -> Iterator[Decision]:
    """Start those of ``queue``, in order, that delay none of its first ``depth`` jobs that must wait (None: of all).

    Each job gets the earliest place in the profile of free nodes, which those that must wait keep as a reservation. A
    place that begins more than ``window`` seconds from now is not kept. Jobs are planned to take ``runs_s`` of them,
    rounded up to a multiple of ``resolution`` seconds; those that start before any other has to wait are taken as they
    ask, as those that run already are.
    """
    plan, queue = Plan(view, room, window=window, resolution=resolution, runs_s=runs_s), list(queue)
    if depth is None:
        smallest = list(accumulate(map(_nodes, reversed(queue)), min))  # of a job and those behind it, the last first
        for job in queue:
            if smallest.pop() > room.reach:
                return  # what is planned now is planned anew in the next pass
            why = plan.allocate(job, True)
            if why is not None:
                yield Start(job, why)
        return
    for place, job in enumerate(queue):
        if not room.reach:
            return
        if plan.reservations >= depth:
            for behind in plan.that_may_start(queue[place:]):
                why = plan.allocate(behind, False)
                if why is not None:
                    yield Start(behind, why)
            return
        why = plan.allocate(job, True)
        if why is not None:
            yield Start(job, why)


class Plan:
    """The plan of one pass: jobs that start now, and reservations that no other start may delay.

    While nothing is reserved a job starts if it fits into ``room``. The profile of free nodes is made with the first
    reservation: the machine's, if ``make_profile`` makes no other. ``reservations`` counts them. ``window``,
    ``resolution`` and ``runs_s`` are those of ``around_reservations``.
    """

    __slots__ = (
        "_differs", "_known", "_latency_s", "_make_profile", "_now", "_profile", "_refused", "_resolution", "_runs_s",
        "_view", "_window", "reservations", "room",
    )  # fmt: skip

    def __init__(
        self,
        view: View,
        room: Room,
        make_profile: Callable[[], Profile] | None = None,
        *,
        window: int | None = None,
        resolution: int = 1,
        runs_s: Callable[[Job], int] = _walltime,
    ) -> None:
        self.room = room
        self.reservations = 0
        self._view = view
        self._now = view.now
        self._latency_s = view.launch_latency
        self._make_profile = make_profile or (lambda: view.profile(room))
        self._profile: Profile | None = None
        self._window, self._resolution, self._runs_s = window, resolution, runs_s
        self._known: dict[tuple[int, int, str | None], int] = {}  # earliest places: later jobs alike get none before
        # Nodes and seconds of jobs that got nothing, none of them less than another in both. No more nodes get free
        # in a pass, so a job that needs as much as one of them gets nothing, either.
        self._refused: dict[bool, list[tuple[int, int]]] = {True: [], False: []}  # by whether they would have reserved
        # whether there is more to a job than its nodes
        self._differs = bool(room.special) or room.shared is not None

    def that_may_start(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """``jobs`` without those that need more nodes than are free."""
        free, special = self.room.free, self.room.special
        if self._differs:
            return [job for job in jobs if job.nodes <= free or job.cores or job.id in special]
        return [job for job in jobs if job.nodes <= free]

    def allocate(self, job: Job, else_reserve: bool) -> str | None:
        """Why ``job`` starts now; None if it cannot without delaying a reservation.

        With ``else_reserve`` it then holds its earliest place, or raises ValueError if it never fits.
        """
        room, profile = self.room, self._profile
        other = self._differs and bool(job.cores or job.id in room.special)
        if profile is None:
            shares = other and room.shared_until(job) is not None
            if room.take(job):
                return JOINED if shares else "first in the queue"
            if not else_reserve:
                return None
            profile = self._profile = self._make_profile()
        elif not else_reserve and job.nodes > room.free and not other:
            return None
        span = -(-(self._latency_s + self._runs_s(job)) // self._resolution) * self._resolution
        if not other:
            nodes = job.nodes
            for refused_nodes, refused_span in self._refused[else_reserve]:
                if nodes >= refused_nodes and span >= refused_span:
                    return None
            if not else_reserve and profile.least(self._now, span) < nodes:
                self._refuse(nodes, span, else_reserve)
                return None
        if other and job.cores and self._joins(job, profile, span):
            return JOINED
        if room.names_units and else_reserve and not self.reservations:
            # free nodes say little where jobs need blocks: the first that waits is promised one, which is kept for it
            start = self._view.shadow(job, room).time
        else:
            alike = job.nodes, span, job.queue if other else None
            start = self._known[alike] = profile.earliest(job.nodes, span, job, self._known.get(alike, -1))
        if start == self._now and room.take(job):
            profile.reserve(start, span, job.nodes, job)
            return "backfilled: delays no reservation" if self.reservations else "first in the queue"
        if else_reserve and (self._window is None or start <= self._now + self._window):
            profile.reserve(start, span, job.nodes, job)
            self.reservations += 1
        elif start > self._now and not other:
            self._refuse(job.nodes, span, else_reserve)
        return None

    def _refuse(self, nodes: int, span: int, else_reserve: bool) -> None:
        kept = [each for each in self._refused[else_reserve] if each[0] < nodes or each[1] < span]
        self._refused[else_reserve] = [*kept, (nodes, span)]

    def _joins(self, job: Job, profile: Profile, span: int) -> bool:
        """Whether ``job`` gets part of a shared node, which it keeps from no reservation; if so, it is taken."""
        until = self.room.shared_until(job)
        if until is None:
            return False
        until = max(until, self._now + 1)
        longer = self._now + span - until  # than the node is taken anyway
        if (longer > 0 and profile.least(until, longer) < 1) or not self.room.take(job):
            return False
        if longer > 0:
            profile.reserve(until, longer, 1)
        return True
