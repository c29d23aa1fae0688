"""A centre's queues: which jobs each takes, whom it sends them on to, and how many of whom it lets run at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

# How a queue's jobs gain priority at a centre that ranks them: with a base score and by the centre's formula, with
# a base score and by waiting, within a bound that keeps them below the others, or by waiting alone.
PRIORITIES = ("production", "debug", "backfill", "fifo")

_HOUR_S = 3600


class Pool(NamedTuple):
    """Nodes that a queue may use: ``exclusive`` are its own, ``shared`` so many of those that all may use."""

    exclusive: int
    shared: int


class Misfit(NamedTuple):
    """Why a queue does not take a job. ``longest_s`` is the walltime it would take, -1 if the nodes do not fit."""

    rule: str
    longest_s: int = -1


@dataclass(frozen=True, slots=True)
class Limits:
    """At most so much at a time in one queue; None where nothing is said."""

    user: int | None = None
    project: int | None = None
    jobs: int | None = None
    nodes: int | None = None
    user_node_hours: int | None = None


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue in one period; the fields are the keys of the file, walltimes in seconds."""

    name: str
    nodes: tuple[int, int]
    walltime_s: tuple[int, int]
    steps: tuple[tuple[int, int], ...] = ()  # (nodes from which it holds, longest walltime), ascending
    allocation: int = 1
    routes: tuple[str, ...] = ()
    running: Limits = NO_LIMITS
    queued: Limits = NO_LIMITS
    total: Limits = NO_LIMITS
    pool: Pool | None = None
    priority: str = "production"
    preemptable: bool = False
    may_preempt: tuple[str, ...] = ()

    def __deepcopy__(self, memo: object) -> Queue:
        return self  # nothing in it can change

    def misfit(self, nodes: int, walltime_s: int) -> Misfit | None:
        """Why the queue does not take a job of ``nodes`` nodes that asks for ``walltime_s``; None if it does."""
        fewest, most = self.nodes
        if nodes < fewest:
            return Misfit(f"{self.name}: {counted(fewest, 'node')} at least")
        if nodes > most:
            return Misfit(f"{self.name}: {counted(most, 'node')} at most")
        shortest, longest = self.walltime_s
        below = ""
        for from_nodes, step_s in self.steps:
            if nodes < from_nodes:
                below = f" below {from_nodes} nodes"
                break
            longest = step_s
        if walltime_s > longest:
            return Misfit(f"{self.name}: {_span(longest)} at most{below}", longest)
        if walltime_s < shortest:
            return Misfit(f"{self.name}: {_span(shortest)} at least", longest)
        return None


@dataclass(frozen=True, slots=True)
class Period:
    """The queues of the time from ``start_utc`` (Unix time) to the start of the next period."""

    start_utc: int
    queues: Mapping[str, Queue]
    default: tuple[str, ...]
    _routed: dict[tuple[str, int, int], Queue | Misfit] = field(default_factory=dict, repr=False, compare=False)

    def __deepcopy__(self, memo: object) -> Period:
        return self  # nothing in it can change but what it remembers

    def route(self, name: str, nodes: int, walltime_s: int) -> Queue | Misfit:
        """The queue in which such a job ends up that asks for the queue ``name``, or why none takes it.

        Routes are followed; a name that the period does not have is as none, and the queues of ``default`` are tried.
        """
        key = name, nodes, walltime_s
        found = self._routed.get(key)
        if found is None:  # users ask for the same things over and over
            names = (name,) if name in self.queues else self.default
            found = self._routed[key] = self._first_of(names, nodes, walltime_s)
        return found

    def _first_of(self, names: Iterable[str], nodes: int, walltime_s: int) -> Queue | Misfit:
        """The first queue that takes the job; else why that one does not which comes nearest to it.

        A wrong number of nodes is farther than any walltime.
        """
        nearest = Misfit("no queue")
        for at, name in enumerate(names):
            queue = self.queues[name]
            found: Queue | Misfit = queue.misfit(nodes, walltime_s) or queue
            if found is queue and queue.routes:
                found = self._first_of(queue.routes, nodes, walltime_s)
            if isinstance(found, Queue):
                return found
            if at == 0 or found.longest_s > nearest.longest_s:
                nearest = found
        return nearest

    @property
    def pools(self) -> dict[str, Pool]:
        """The pools by the name of their queue."""
        return {name: queue.pool for name, queue in self.queues.items() if queue.pool is not None}

    @property
    def stops(self) -> dict[str, frozenset[str]]:
        """Of the queues whose jobs may stop others: from which queues these are."""
        return {name: frozenset(queue.may_preempt) for name, queue in self.queues.items() if queue.may_preempt}

    def open_nodes(self, queue: Queue | None, nodes: int) -> int:
        """How many of the machine's ``nodes`` a job of ``queue``, or of one that is no more, may have at the most."""
        own, shared = (0, nodes) if queue is None or queue.pool is None else queue.pool
        unowned = nodes - sum(pool.exclusive for pool in self.pools.values())
        return min(own + min(shared, unowned), nodes) if unowned >= 0 else 0


def counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _span(seconds: int) -> str:
    """A walltime as centres write it: hours where they are whole."""
    return f"{seconds // _HOUR_S} h" if seconds and seconds % _HOUR_S == 0 else f"{seconds / 60:g} min"
