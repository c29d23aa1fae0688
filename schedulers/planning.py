"""Allocate or else reserve: what a pass may still give away now, and what it has promised for later."""

from __future__ import annotations

from collections.abc import Callable

from hpcsim.plugin import Job, Profile, Room, View

JOINED = "on a node that is shared already"


class Plan:
    """The plan of one pass: jobs that start now, and reservations that no other start may delay.

    While nothing is reserved a job starts if it fits into ``room``. The profile of free nodes is made with the first
    reservation: the machine's, if ``make_profile`` makes no other. ``reservations`` counts them.
    """

    __slots__ = ("_differs", "_latency_s", "_make_profile", "_now", "_profile", "_view", "reservations", "room")

    def __init__(self, view: View, room: Room, make_profile: Callable[[], Profile] | None = None) -> None:
        self.room = room
        self.reservations = 0
        self._view = view
        self._now = view.now
        self._latency_s = view.launch_latency
        self._make_profile = make_profile or (lambda: view.profile(room))
        self._profile: Profile | None = None
        # whether there is more to a job than its nodes
        self._differs = bool(room.special) or room.shared is not None

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
        span = self._latency_s + job.walltime
        if other and job.cores and self._joins(job, profile, span):
            return JOINED
        if room.names_units and else_reserve and not self.reservations:
            # free nodes say little where jobs need blocks: the first that waits is promised one, which is kept for it
            start = self._view.shadow(job, room).time
        else:
            start = profile.earliest(job.nodes, span, job)
        if start == self._now and room.take(job):
            profile.reserve(start, span, job.nodes, job)
            return "backfilled: delays no reservation" if self.reservations else "first in the queue"
        if else_reserve:
            profile.reserve(start, span, job.nodes, job)
            self.reservations += 1
        return None

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
