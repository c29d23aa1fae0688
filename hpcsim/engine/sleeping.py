"""Idle nodes go to sleep, and wake in time for the jobs that need them: for everybody who lets nodes sleep."""

from __future__ import annotations

from collections.abc import Container
from math import isfinite

from hpcsim.engine.awake import AwakeView
from hpcsim.engine.decisions import Decision, Hold, Sleep, Start, Wake
from hpcsim.engine.view import View
from hpcsim.seconds import NEVER
from hpcsim.workload.job import Job


class Idle:
    """How many nodes have been idle since when. Of nodes that are alike, those go busy that became idle the latest."""

    def __init__(self) -> None:
        self._since: list[tuple[int, int]] = []  # (second, nodes), ascending
        self.nodes = 0

    def follow(self, nodes: int, now: int) -> None:
        """There are so many of them by now."""
        if nodes > self.nodes:
            self._since.append((now, nodes - self.nodes))
        while nodes < self.nodes:
            since, top = self._since.pop()
            left = max(0, top - (self.nodes - nodes))
            self.nodes -= top - left
            if left:
                self._since.append((since, left))
        self.nodes = nodes

    def before(self, second: int) -> int:
        """How many have been idle since ``second`` or longer."""
        return sum(nodes for since, nodes in self._since if since <= second)

    def oldest(self) -> int | None:
        """Since when the first of them have been idle; None if there are none."""
        return self._since[0][0] if self._since else None

    def leave(self, nodes: int) -> None:
        """So many of those that have been idle the longest are gone."""
        self.nodes -= nodes
        while nodes:
            since, oldest = self._since.pop(0)
            if oldest > nodes:
                self._since.insert(0, (since, oldest - nodes))
            nodes -= min(nodes, oldest)


class Sleeping:
    """Lets nodes sleep that have been idle long enough, but for a ``reserve`` of nodes, and wakes them.

    Who decides what starts is shown a view in which sleeping nodes are free. What it starts on nodes that are awake
    starts at once; for the rest nodes wake first, and the job starts when it is decided again then. For the job that
    has waited longest nodes wake so that they are there when the running jobs are expected to let it start.

    In each pass ``shown`` is asked first and ``decide`` after it.
    """

    def __init__(self, reserve: int = 0) -> None:
        self._reserve = reserve
        self._idle = Idle()
        self._awake: AwakeView | None = None

    def shown(self, view: View) -> View:
        """The view by which it is to be decided what starts."""
        self._awake = view.if_awake()
        return self._awake if self._awake.dormant_nodes else view

    def decide(
        self, view: View, decisions: list[Decision], after_s: float, held: Container[int] = ()
    ) -> list[Decision]:
        """What becomes of the decisions of this pass, with nodes asleep that have been idle for ``after_s`` seconds.

        With an infinite ``after_s`` none goes to sleep; the others wake as they are needed. For jobs that are ``held``
        back on purpose, by their ids, no node wakes.
        """
        now, awake = view.now, self._awake
        self._awake = None  # it is of this pass only
        if awake is None:
            raise RuntimeError("it was not asked what the scheduler is shown")
        self._idle.follow(view.free_nodes, now)
        starts = [each.job for each in decisions if isinstance(each, Start)]
        waiting: list[Job] = []
        if awake.dormant_nodes:
            can = {job.id for job in awake.can_start(starts)}
            waiting = [job for job in starts if job.id not in can]
            starts = [job for job in starts if job.id in can]
            decisions = [each for each in decisions if not isinstance(each, Start) or each.job.id in can]
        free = max(0, view.free_nodes - sum(job.nodes for job in starts))
        self._idle.follow(free, now)
        if not awake.dormant_nodes and not view.asleep_nodes and free - self._reserve < view.unit_nodes:
            return decisions
        to_wake = awake.to_wake(waiting, free)
        promised_s, missing = self._promised(view, awake, starts, waiting, free, held)
        wake_s = view.power.node.wake_s
        if promised_s - wake_s <= now:
            to_wake = max(to_wake, min(missing, view.asleep_nodes))
        elif missing > 0 and view.asleep_nodes:
            decisions.append(Hold(promised_s - wake_s, "to wake nodes in time"))
        if view.asleep_nodes > awake.dormant_nodes:  # some are by now for jobs of one queue, which may need them
            to_wake = view.asleep_nodes
        if to_wake:
            decisions.append(Wake(to_wake, "for jobs that wait"))
        elif not waiting and promised_s - now >= after_s:
            decisions += self._to_sleep(view, free, after_s)
        return decisions

    def _promised(
        self, view: View, awake: AwakeView, starts: list[Job], waiting: list[Job], free: int, held: Container[int]
    ) -> tuple[int, int]:
        """When the job that has waited longest can start at the latest, and how many nodes are asleep that it needs."""
        decided = {job.id for job in (*starts, *waiting)}
        first = next((job for job in view.queue if job.id not in decided and job.id not in held), None)
        if first is None:
            return NEVER, 0
        room = awake.room()
        for job in (*starts, *waiting):
            room.take(job)
        try:
            shadow_s = awake.shadow(first, room).time
        except ValueError:  # by the present rules its queue never has the nodes
            return NEVER, 0
        return shadow_s, max(0, awake.missing_at(shadow_s, first.nodes, free))

    def _to_sleep(self, view: View, free: int, after_s: float) -> list[Decision]:
        if not isfinite(after_s):
            return []
        unit = view.unit_nodes
        ripe = min(self._idle.before(view.now - int(after_s)), free - self._reserve) // unit * unit
        decisions: list[Decision] = []
        if ripe > 0:
            self._idle.leave(ripe)
            decisions.append(Sleep(ripe, f"idle for {int(after_s)} s"))
        if self._idle.nodes - self._reserve >= unit:
            since = self._idle.oldest()
            if since is not None:
                decisions.append(Hold(max(view.now + 1, since + int(after_s)), "to let idle nodes sleep"))
        return decisions
