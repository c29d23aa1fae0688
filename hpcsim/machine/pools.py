"""Node pools: which units are exclusive to which queue, and how many of the others the jobs of a queue hold.

The exclusive nodes of a machine are its last units, those of the queue that the rules name first last of all. No job
of another queue gets them. A job of the queue takes its exclusive nodes first, the lowest numbers before the others,
and then of the general ones, as long as all running jobs of its queue hold no more of these than ``shared``.

Where another period's rules move the line between exclusive and general nodes, a unit changes hands when no job holds
it: at once, or when its job ends.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from hpcsim.machine.places import FREE, Places
from hpcsim.machine.queue_rules import Pool
from hpcsim.machine.torus import Units
from hpcsim.workload.job import Job

_GENERAL = -1
_NONE: Units = np.empty(0, np.int64)


class Share(NamedTuple):
    """What a running job of a queue with a pool has of the general nodes."""

    queue: str
    general: int


class Returns(NamedTuple):
    """The nodes that come back when a holder gives up its units: general ones, and those of queues by their names."""

    general: int
    own: Mapping[str, int]


class NodePools:
    """The pools of one run, on the units of ``places``.

    Units out of service are held as well, by the interrupt that took them. A holder is a number: a job's id, or
    whatever negative number the caller gives to an interrupt.

    Parameters
    ----------
    queues : those that have a pool in any period.
    pools : those in force at the beginning. Until ``open`` is called, no unit is exclusive but those that jobs of
        their queue hold: for the jobs that are on the machine when a run begins, no rule is asked.

    Attributes
    ----------
    pools : those in force, by queue.
    shares : what the running jobs of ``queues`` have of the general nodes, by job id.
    returns : of each holder of units that do not all come back as general ones, what comes back when it goes.
    """

    def __init__(self, places: Places, queues: Iterable[str], pools: Mapping[str, Pool]) -> None:
        self.places = places
        self.pools: Mapping[str, Pool] = {}
        self.shares: dict[int, Share] = {}
        self.returns: dict[int, Returns] = {}
        self._unit_nodes = places.spec.unit_nodes
        self._queues = tuple(queues)
        self._general = dict.fromkeys(self._queues, 0)  # nodes that its running jobs have of the general ones
        self._own_free: dict[str, int] = {}  # as counted when the places had so many marks:
        self._marked = -1
        self._opened = False
        # To which of the queues a unit belongs: by the rules in force, and in fact. They differ while a job holds it.
        self._due_U = np.full(places.spec.units, _GENERAL, np.int16)
        self._now_U = self._due_U.copy()
        self._late = False  # whether they differ anywhere
        self._own: dict[str, Units] = {}
        self._lay_out(pools)

    def __deepcopy__(self, memo: dict[int, object]) -> NodePools:
        twin = copy.copy(self)
        twin.places = copy.deepcopy(self.places, memo)
        for name in ("shares", "returns", "_general", "_own_free", "_due_U", "_now_U", "_own"):
            setattr(twin, name, getattr(self, name).copy())
        return twin

    # -- asking -------------------------------------------------------------------------------

    def own_free(self, queue: str) -> int:
        """Nodes exclusive to ``queue`` on which a job of it could start now."""
        if self._marked != self.places.marked:
            self._marked = self.places.marked
            self._own_free.clear()
        nodes = self._own_free.get(queue)
        if nodes is None:
            nodes = self._unit_nodes * self.places.usable(self._own.get(queue, _NONE)).size
            self._own_free[queue] = nodes
        return nodes

    def general_left(self, queue: str) -> int:
        """How many general nodes jobs of ``queue``, which has a pool now, may take besides those that they have.

        Less than 0 where they had more already when the rules changed.
        """
        return self.pools[queue].shared - self._general[queue]

    def coming_back(self, holder: int, nodes: int) -> int:
        """How many of the ``nodes`` that ``holder`` holds come back as general ones when it gives them up."""
        returns = self.returns.get(holder)
        return nodes if returns is None else returns.general

    # -- jobs and interrupts ------------------------------------------------------------------

    def choose(self, job: Job, wanted: Units | None = None) -> tuple[Units | None, Units | None]:
        """The exclusive units that ``job`` gets, and those of ``wanted`` that it takes besides.

        None for the first where its queue has no pool. Raises ValueError where the pool does not allow the job now.
        """
        if job.queue not in self.pools:
            return None, wanted
        count = -(-job.nodes // self._unit_nodes)
        if wanted is not None and (wanted.size != count or np.unique(wanted).size != count):
            raise ValueError(f"the job takes {count} different units, but {wanted.size} were wanted")
        if self._opened:
            mine = self.places.usable(self._own[job.queue]) if self.own_free(job.queue) else _NONE
        else:
            mine = self.places.usable(np.flatnonzero(self._due_U == self._queues.index(job.queue)))
        if wanted is None:
            own = mine[:count]
        else:
            is_own = np.isin(wanted, mine)
            own, wanted = wanted[is_own], wanted[~is_own]
        if not self._opened:
            self._hand_over(own)
            return own, wanted
        general = job.nodes - own.size * self._unit_nodes
        left = max(0, self.general_left(job.queue))
        if general > left:
            raise ValueError(f"queue {job.queue} may take {left} more general nodes, and this takes {general} of them")
        return own, wanted

    def begin(self, job: Job, units: Units, own: Units | None) -> None:
        """``job`` has got ``units``, of which ``own`` are exclusive to its queue."""
        if own is not None and own.size:
            self._own_free.clear()
        if job.queue in self._queues:
            of_own = 0 if own is None else own.size * self._unit_nodes
            general = max(0, job.nodes - of_own)
            self.shares[job.id] = Share(job.queue, general)
            self._general[job.queue] += general
        elif not self._late:
            return
        if self._late:  # what it has got may be due to others when it gives it up
            self.note(job.id, units)
        elif of_own:
            self.returns[job.id] = Returns(general, {job.queue: of_own})

    def end(self, job_id: int, units: Units) -> None:
        """A job has given up ``units``; those that belong to another queue by now change hands."""
        share = self.shares.pop(job_id, None)
        if share is not None:
            self._general[share.queue] -= share.general
        self.forget(job_id)
        if self._late:
            self._hand_over(units)

    def note(self, holder: int, units: Units) -> int:
        """``holder`` holds ``units``; how many general nodes come back when it gives them up."""
        due = self._due_U[units]
        nodes = self._unit_nodes * units.size
        own = due[due != _GENERAL]
        self.returns.pop(holder, None)
        if own.size:
            by_queue = {
                self._queues[number]: count * self._unit_nodes for number, count in Counter(own.tolist()).items()
            }
            nodes -= sum(by_queue.values())
            self.returns[holder] = Returns(nodes, by_queue)
        return nodes

    def forget(self, holder: int) -> None:
        """``holder`` holds nothing any more."""
        if self.returns.pop(holder, None) is not None:
            self._own_free.clear()

    # -- rules --------------------------------------------------------------------------------

    def open(self) -> None:
        """Let the rules hold from now on: what no job holds becomes exclusive at once."""
        self._opened = True
        self._hand_over(np.flatnonzero(self._due_U != self._now_U))

    def turn_to(self, pools: Mapping[str, Pool]) -> bool:
        """Let other pools be in force; whether any unit belongs to another queue by them.

        What comes back from holders is not what ``returns`` says until each of them has been noted anew.
        """
        before_U = self._due_U.copy()
        self._lay_out(pools)
        moved: Units = np.flatnonzero(before_U != self._due_U)
        self._hand_over(moved)
        return moved.size > 0

    def _lay_out(self, pools: Mapping[str, Pool]) -> None:
        """Say which units belong to which queue: the last ones to the first queue."""
        self.pools = dict(pools)
        self._due_U[:] = _GENERAL
        end = self._due_U.size
        for queue, pool in pools.items():
            first = max(0, end - -(-pool.exclusive // self._unit_nodes))
            self._due_U[first:end] = self._queues.index(queue)
            self._own.setdefault(queue, _NONE)
            end = first
        self._late = bool(np.any(self._now_U != self._due_U))

    def _hand_over(self, units: Units) -> None:
        """Give those of ``units`` that no job holds to whom they are due."""
        units = units[self.places.holder_U[units] == FREE]
        units = units[self._now_U[units] != self._due_U[units]]
        if units.size:
            due = self._due_U[units]
            self._now_U[units] = due
            self.places.set_aside(units[due != _GENERAL])
            self.places.set_aside(units[due == _GENERAL], False)
            self._own = {queue: np.flatnonzero(self._now_U == at) for at, queue in enumerate(self._queues)}
        self._late = bool(np.any(self._now_U != self._due_U))
