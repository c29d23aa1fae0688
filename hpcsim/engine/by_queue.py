"""A scheduling pass while jobs wait whose queue has nodes of its own, or whose queue may stop other jobs.

The nodes that all jobs may have are *general*. ``Room.free``, ``Shadow.extra`` and a ``Profile`` count only these.
"""

from __future__ import annotations

from bisect import insort
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from hpcsim.engine.availability import Profile, Shadow
from hpcsim.engine.preemption import Stoppable, to_stop
from hpcsim.engine.room import Room
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation

_ALL = 2**62  # more nodes than there are


class _Given(NamedTuple):
    """What a job has got in this pass: nodes of its own queue, and general ones."""

    queue: str
    own: int
    general: int


class _Then(NamedTuple):
    """What the head of the queue will find at its shadow: the job, when, nodes of its own queue, general ones that its
    pool lets it take, and general ones."""

    head: Job
    time: int
    own: int
    left: int
    free: int

    def extra(self) -> int:
        """General nodes that the head will not need; less than 0 if it does not find enough."""
        if self.own + max(0, min(self.left, self.free)) < self.head.nodes:
            return -_ALL
        return self.free - max(0, self.head.nodes - self.own)

    def without(self, given: _Given) -> _Then:
        """The same when a job has been given nodes until later."""
        if given.queue != self.head.queue:
            return self._replace(free=self.free - given.general)
        return self._replace(own=self.own - given.own, left=self.left - given.general, free=self.free - given.general)


class _Pool:
    """What the room has left of one queue's pool: nodes of its own, and how many general ones it may take."""

    __slots__ = ("left", "own")

    def __init__(self, own: int, left: int) -> None:
        self.own = own
        self.left = left


class _Stoppable:
    """The jobs that jobs of one queue may still stop, and the general nodes that they have."""

    __slots__ = ("jobs", "nodes")

    def __init__(self, jobs: list[Stoppable]) -> None:
        self.jobs = jobs
        self.nodes = sum(each.nodes for each in jobs)


class RoomByQueue(Room):
    """The nodes of a pass where queues differ.

    A job of a queue with a pool takes free nodes of its own first, then general ones within the bound of its pool. A
    job of a queue that may stop others takes what is free, and what ``to_stop`` chooses besides; the jobs that it
    stops wait again after the pass, and what they leave over is free at once. Their ids are in ``stopped``.
    """

    __slots__ = (
        "_closes_s", "_given", "_latency_s", "_now", "_pools", "_simulation", "_stoppable", "_then", "shared",
        "special", "stopped",
    )  # fmt: skip

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation.free_nodes)
        self._simulation = simulation
        self._now = simulation.now
        self._latency_s = simulation.launch_latency
        self._closes_s = -1 if simulation.site is None else simulation.site.closes_s
        self._given: dict[int, _Given] = {}  # to jobs that have not got just general nodes
        self._then: _Then | None = None
        self.shared = None
        if simulation.sharing is not None:
            from hpcsim.engine.sharing import SharedRoom  # for few runs

            self.shared = SharedRoom(simulation, simulation.sharing)
        self.special = MappingProxyType(simulation.special)
        self.stopped: set[int] = set()
        queues = {job.queue for job in simulation.special.values()}
        pools, centre = simulation.pools, simulation.centre
        self._pools: dict[str, _Pool] = {}
        if pools is not None:
            for queue in sorted(queues & pools.pools.keys()):
                self._pools[queue] = _Pool(pools.own_free(queue), pools.general_left(queue))
        self._stoppable: dict[str, _Stoppable] = {}
        if centre is not None:
            for queue in sorted(queues & centre.stops.keys()):
                self._stoppable[queue] = _Stoppable(centre.stoppable(queue))
        self._stretch()

    def take(self, job: Job) -> bool:
        """Whether ``job`` can start now beside all that was taken before; if so, its nodes are taken too."""
        if self._closes_s >= 0 and self._now + self._latency_s + job.walltime > self._closes_s:
            return False
        if job.cores and self.shared is not None:
            if not self.shared.take(self, job):
                return False
            self._given[job.id] = _Given("", 0, 1)  # at the most: its node may have been taken anyway
        elif job.id not in self.special:
            if job.nodes > self.free:
                return False
            self.free -= job.nodes
        elif not self._take_by_queue(job):
            return False
        self.started.append(job)
        self._stretch()
        if self._then is not None and self._now + self._latency_s + job.walltime > self._then.time:
            self._then = self._then.without(self._given_to(job))
        return True

    def _take_by_queue(self, job: Job) -> bool:
        given, pool = self._to_give(job), self._pools.get(job.queue)
        if pool is not None and given.general > max(0, pool.left):
            return False
        if given.general > self.free and not self._stop_for(job, given.general - self.free):
            return False
        if pool is not None:
            pool.own -= given.own
            pool.left -= given.general
        self.free -= given.general
        self._given[job.id] = given
        return True

    def taken_from(self, head: Job, job: Job) -> int:
        """How many of the nodes that the blocked ``head`` counts on ``job`` would have if it started now.

        That is how many fewer general nodes others may then take beyond the head's shadow; more than there are if
        the head would not find enough.
        """
        if job.id not in self.special:
            return job.nodes
        then = self._then
        if then is None or then.head.id != head.id:
            self.shadow(head)
            then = self._then
        return 0 if then is None else then.extra() - then.without(self._to_give(job)).extra()

    def shadow(self, job: Job, busy: int = 0) -> Shadow:
        """When the blocked ``job`` can start at the latest, and how many general nodes others may take beyond that.

        No running job is expected to end within ``busy`` seconds.
        """
        pool = self._pools.get(job.queue)
        own, left, free = (0, _ALL, self.free) if pool is None else (pool.own, pool.left, self.free)
        now = self._now
        soonest = now + busy
        fits = own + max(0, min(left, free)) >= job.nodes
        time = now if fits else -1  # it fits, but something else keeps it from starting
        until = -1 if busy else time
        for end, holder, nodes in self.ends():
            if time >= 0 and end > until:
                break
            free += nodes
            if pool is not None:
                own += self._own_back(holder, job.queue)
                left += self._left_back(holder, job.queue)
            if time < 0 and own + max(0, min(left, free)) >= job.nodes:
                time = until = max(end, soonest)
        if time < 0:
            raise ValueError(f"job {job.name} of {job.nodes} nodes never fits: only {own + min(left, free)} in all")
        self._then = _Then(job, time, own, left, free)
        return Shadow(self._then.time, max(0, self._then.extra()))

    def ends(self) -> list[tuple[int, int, int]]:
        """When general nodes come back after what the pass has done: (second, holder, nodes), sorted."""
        ends = [each for each in self._simulation.releases if each[1] not in self.stopped]
        if self.shared is not None:
            ends = self.shared.ends(ends)
        for job in self.started:
            if job.cores and self.shared is not None:
                continue  # its node is among them
            insort(ends, (self._now + self._latency_s + job.walltime, job.id, self._given_to(job).general))
        return ends

    def profiles(self) -> dict[str, tuple[Profile, Profile]]:
        """Of each queue whose pool matters now: its free nodes from now on, and the general ones that it may take."""
        ends = self.ends()
        found: dict[str, tuple[Profile, Profile]] = {}
        for queue, pool in self._pools.items():
            own = [(end, by, nodes) for end, by, _ in ends if (nodes := self._own_back(by, queue))]
            left = [(end, by, nodes) for end, by, _ in ends if (nodes := self._left_back(by, queue))]
            found[queue] = Profile(self._now, pool.own, own), Profile(self._now, pool.left, left)
        return found

    def _to_give(self, job: Job) -> _Given:
        pool = self._pools.get(job.queue)
        own = 0 if pool is None else min(pool.own, job.nodes)
        return _Given(job.queue, own, job.nodes - own)

    def _given_to(self, job: Job) -> _Given:
        return self._given.get(job.id) or _Given(job.queue, 0, job.nodes)

    def _stop_for(self, job: Job, missing: int) -> bool:
        """Whether jobs can be stopped so that ``missing`` general nodes become free; if so, they are."""
        stoppable = self._stoppable.get(job.queue)
        chosen = None if stoppable is None or stoppable.nodes < missing else to_stop(stoppable.jobs, missing)
        if chosen is None:
            return False
        for each in chosen:
            self.stopped.add(each.job_id)
            self.free += each.nodes
            for queue, pool in self._pools.items():
                pool.own += self._own_back(each.job_id, queue)
                pool.left += self._left_back(each.job_id, queue)
        for queue, before in self._stoppable.items():
            self._stoppable[queue] = _Stoppable([each for each in before.jobs if each.job_id not in self.stopped])
        return True

    def _own_back(self, holder: int, queue: str) -> int:
        """The nodes of ``queue`` that come back when ``holder`` goes."""
        given = self._given.get(holder)
        if given is not None:
            return given.own if given.queue == queue else 0
        pools = self._simulation.pools
        returns = None if pools is None else pools.returns.get(holder)
        return 0 if returns is None else returns.own.get(queue, 0)

    def _left_back(self, holder: int, queue: str) -> int:
        """How many more general nodes jobs of ``queue`` may take when ``holder`` goes."""
        given = self._given.get(holder)
        if given is not None:
            return given.general if given.queue == queue else 0
        pools = self._simulation.pools
        share = None if pools is None else pools.shares.get(holder)
        return share.general if share is not None and share.queue == queue else 0

    def _stretch(self) -> None:
        """Say how far it reaches: to all general nodes, and those of the job's queue or of jobs that it may stop."""
        own = max((pool.own for pool in self._pools.values()), default=0)
        self.reach = self.free + own + max((each.nodes for each in self._stoppable.values()), default=0)
        if self.shared is not None and self.shared.is_open:
            self.reach = max(1, self.reach)


class ProfileByQueue(Profile):
    """The general nodes from now on, and beside them those of queues with pools, for jobs of these queues.

    A job takes the nodes of its own queue that are free when it starts, as the machine will give them.
    """

    __slots__ = ("_pools",)

    def __init__(self, now: int, room: RoomByQueue) -> None:
        super().__init__(now, room.free, room.ends())
        self._pools = room.profiles()

    def earliest(
        self, nodes: int, duration: int, job: Job | None = None, since: int = -1, not_before: int | None = None
    ) -> int:
        """The first second, none before ``not_before``, from which ``nodes`` stay free for ``duration`` seconds.

        They are for ``job``, if one is given; for ``since`` see ``Profile``.
        """
        pool = None if job is None else self._pools.get(job.queue)
        if pool is None:
            return super().earliest(nodes, duration, None, since, not_before)
        own, left = pool
        seconds = {s for profile in (self, *pool) for s, _ in profile.steps() if s >= since}
        if not_before is not None and not_before > min(seconds):
            seconds = {not_before, *(second for second in seconds if second > not_before)}
        for start in sorted(seconds):
            mine = min(nodes, own.at(start))
            rest = nodes - mine
            if (
                own.least(start, duration) >= mine
                and self.least(start, duration) >= rest
                and (not rest or left.least(start, duration) >= rest)
            ):
                return start
        raise ValueError(f"a job of {nodes} nodes never fits into its pool")

    def reserve(self, start: int, duration: int, nodes: int, job: Job | None = None) -> None:
        """Take ``nodes`` out for ``duration`` seconds from ``start``, for ``job``; they must be free for it then."""
        pool = None if job is None else self._pools.get(job.queue)
        if pool is not None:
            own, left = pool
            mine = min(nodes, own.at(start))
            own.reserve(start, duration, mine)
            nodes -= mine
            left.reserve(start, duration, nodes)
        super().reserve(start, duration, nodes)

    def close(self, start: int, end: int) -> None:
        """Have no node free from ``start`` to ``end``, as in scheduled maintenance."""
        super().close(start, end)
        for own, _ in self._pools.values():
            own.close(start, end)
