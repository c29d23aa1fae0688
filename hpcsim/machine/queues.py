"""The queue rules at work: which jobs a centre accepts, into which queue, and how many of whom may run.

``Admission`` lives as long as one run and is told what happens to each job. A submitted job is routed, and refused
where a rule says so. An accepted job either *may run*, or is *held back* because enough jobs of its user, of its
project or of its queue may run already. So the jobs that may run are never more than the limits on running jobs
allow, whichever of them a scheduler starts: PBS calls such jobs running or accruing. A job that ends lets the next
ones take its place, in the order of submission.

Where a new period begins, its limits hold from then on for the jobs that are there, too. Jobs that may run already
keep that right; what could never run any more is refused.

Every call takes a time that does not grow with the number of jobs; ``ended`` grows with the number of users or
projects that are held back by the same limit, ``turn_to`` with the number of jobs.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Literal, NamedTuple

from hpcsim.machine.lanes import Entry, Lane
from hpcsim.machine.queue_file import QueueRules
from hpcsim.machine.queue_rules import PRIORITIES, Limits, Period, Pool, Queue
from hpcsim.seconds import NEVER
from hpcsim.workload.job import Job

__all__ = ["PRIORITIES", "Admission", "Admitted", "Limits", "Period", "Pool", "Queue", "QueueRules", "Refused", "Turn"]

OverLimit = Literal["refuse", "hold"]


class Admitted(NamedTuple):
    """The job is in ``queue`` now. ``may_run`` is False while it is held back by a limit, which ``held_by`` names."""

    queue: str
    may_run: bool
    held_by: str = ""


class Refused(NamedTuple):
    """The centre does not take the job. ``rule`` says which rule it broke, such as "small: 24 nodes at most"."""

    rule: str


class Turn(NamedTuple):
    """What a new period has done to jobs: ids of those that may run from now on, and of those refused, with why."""

    freed: tuple[int, ...] = ()
    refused: tuple[tuple[int, str], ...] = ()


class Admission:
    """The life of ``rules`` in one run whose second 0 is the Unix time ``t0_utc``.

    A job keeps the queue, and what its walltime and priority follow, of the day on which it was submitted; jobs count
    by the name of their queue, by the limits in force. Limits on a user or project do not apply where that is unknown
    (empty).

    Parameters
    ----------
    nodes : size of the machine. With it, jobs are refused too which other queues' exclusive nodes leave no room for.
    over_limit : what becomes of a job beyond a limit on waiting jobs (``queued``, ``total``). ``refuse``: what the
        centre would do. ``hold``: it is held back until there is room, as if its user had come back then; traces
        and profiles submit at fixed times, where people wait for an earlier job.

    Attributes
    ----------
    period : the rules in force.
    next_period_s : the second at which other rules come into force; a second that never comes if none do.
    rerouted : jobs by the name of a queue that they asked for and that the period does not have; they were routed as
        jobs that name no queue.
    """

    def __init__(
        self, rules: QueueRules, t0_utc: int, *, nodes: int | None = None, over_limit: OverLimit = "refuse"
    ) -> None:
        self.rules = rules
        self.t0_utc = t0_utc
        self.nodes = nodes
        self.over_limit: OverLimit = over_limit
        self.rerouted: Counter[str] = Counter()
        self._live: dict[int, Entry] = {}
        periods: dict[str, list[Queue]] = {}
        for period in rules.periods:
            for name, queue in period.queues.items():
                periods.setdefault(name, []).append(queue)
        refuses = over_limit == "refuse"
        self._lanes = {name: Lane(name, queues, refuses=refuses) for name, queues in periods.items()}
        self._answers = {name: Admitted(name, True) for name in self._lanes}
        self._turned = Turn()
        self._since_s = 0
        self.next_period_s: int = 0
        self._put_in_force(0)

    def __deepcopy__(self, memo: dict[int, object]) -> Admission:
        """An independent copy; rules and jobs are shared, for they do not change."""
        twin = copy.copy(self)
        twin.rerouted, twin._live = self.rerouted.copy(), self._live.copy()
        twin._lanes = {name: copy.deepcopy(lane, memo) for name, lane in self._lanes.items()}
        return twin

    # -- the life of a job --------------------------------------------------------------------

    def submit(self, job: Job, now: int) -> Admitted | Refused:
        """Take the job into a queue, or say which rule it breaks; ``now`` is the second of its submission."""
        if not self._since_s <= now < self.next_period_s:
            self._turn(now)
        period, name = self.period, job.queue
        if name and name not in period.queues:
            self.rerouted[name] += 1
        queue = period.route(name, job.nodes, job.walltime)
        if not isinstance(queue, Queue):
            return Refused(queue.rule)
        lane = self._lanes[queue.name]
        entry = Entry(job, queue)
        broken = lane.broken(entry)
        if broken is not None:
            return Refused(f"{queue.name}: {broken}")
        self._live[job.id] = entry
        lane.came(entry)
        held_by = lane.admit(entry)
        return self._answers[queue.name] if held_by is None else Admitted(queue.name, False, f"{queue.name}: {held_by}")

    def found_running(self, job: Job, now: int) -> str:
        """Count a job that is on the machine when the run begins; no rule is asked. Its queue is returned."""
        if not self._since_s <= now < self.next_period_s:
            self._turn(now)
        queues = self.period.queues
        queue = self.period.route(job.queue, job.nodes, job.walltime)
        if not isinstance(queue, Queue):  # it runs all the same
            queue = queues.get(job.queue) or queues[self.period.default[0]]
        lane = self._lanes[queue.name]
        self._live[job.id] = entry = Entry(job, queue)
        lane.came(entry)
        lane.activate(entry)
        lane.started(entry)
        return queue.name

    def may_run(self, job: Job) -> bool:
        """Whether the limits on running jobs let this job run. Any number of such jobs may start at once."""
        return job.id in self._lane(self._live[job.id]).may_run

    def started(self, job: Job) -> None:
        """A job that may run was put on the machine."""
        entry = self._live[job.id]
        lane = self._lane(entry)
        if job.id in lane.running or job.id not in lane.may_run:
            raise ValueError(f"job {job.id} is {'running already' if job.id in lane.running else 'held back'}")
        lane.started(entry)

    def requeued(self, job: Job) -> None:
        """A running job was taken off the machine and waits again; it keeps its right to run."""
        entry = self._live[job.id]
        self._lane(entry).waits_again(entry)

    def ended(self, job: Job) -> list[int]:
        """The job is gone, from the machine or from its queue. The ids of jobs that may run from now on, ascending."""
        entry = self._live.pop(job.id)
        freed = self._lane(entry).went(entry)
        freed.sort()
        return freed

    # -- what its queue says ------------------------------------------------------------------

    def queue_of(self, job: Job) -> Queue:
        """The queue that the job is in, as on the day of its submission: its priority and walltimes."""
        return self._live[job.id].rules

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that there are in any period."""
        return tuple(self._lanes)

    @property
    def pooled(self) -> tuple[str, ...]:
        """The queues that have a pool in any period."""
        return self._ever(lambda queue: queue.pool is not None)

    @property
    def preempting(self) -> tuple[str, ...]:
        """The queues whose jobs may stop others in any period."""
        return self._ever(lambda queue: bool(queue.may_preempt))

    def _ever(self, says: Callable[[Queue], bool]) -> tuple[str, ...]:
        """The queues of which this is true in any period, in the order of the file."""
        every = (queue for period in self.rules.periods for queue in period.queues.values())
        return tuple(dict.fromkeys(queue.name for queue in every if says(queue)))

    # -- periods ------------------------------------------------------------------------------

    def turn_to(self, now: int) -> Turn:
        """Let the rules of the second ``now`` be in force; what that did to jobs since this was last asked."""
        if not self._since_s <= now < self.next_period_s:
            self._turn(now)
        turned, self._turned = self._turned, Turn()
        return turned

    def go_on(self, start: int) -> None:
        """Take over the limits of all periods since second ``start``, after its state was replaced."""
        since_s = self._since_s
        for period in self.rules.periods:
            if start < period.start_utc - self.t0_utc <= since_s:
                self._put_in_force(period.start_utc - self.t0_utc)

    def ruled_out(self, job: Job) -> str | None:
        """The rule in force by which the waiting job could never run; None if it could."""
        entry = self._live[job.id]
        lane = self._lane(entry)
        broken = lane.too_large(entry)
        if broken is None and job.id not in lane.may_run:
            broken = lane.too_much_alone(entry)
        return None if broken is None else f"{lane.name}: {broken}"

    def _lane(self, entry: Entry) -> Lane:
        return self._lanes[entry.rules.name]

    def _turn(self, now: int) -> None:
        """Let the rules of the second ``now`` be in force for all jobs."""
        self._put_in_force(now)
        waiting = (entry.job for entry in self._live.values() if entry.job.id not in self._lane(entry).running)
        refused = {job.id: rule for job in waiting if (rule := self.ruled_out(job)) is not None}
        freed = {number for each in refused for number in self.ended(self._live[each].job)}
        freed.update(number for lane in self._lanes.values() for number in lane.look_again())
        before = self._turned
        self._turned = Turn(
            tuple(sorted({*before.freed, *freed} - refused.keys())), (*before.refused, *sorted(refused.items()))
        )

    def _put_in_force(self, now: int) -> None:
        """Take over the limits of the rules of the second ``now``. A queue that is no more keeps those it had last."""
        utc = self.t0_utc + now
        self.period: Period = self.rules.at(utc)
        since, until = self.rules.around(utc)
        self._since_s = -NEVER if since is None else since - self.t0_utc
        self.next_period_s = NEVER if until is None else until - self.t0_utc
        refuses = self.over_limit == "refuse"
        for name, lane in self._lanes.items():
            queue = self.period.queues.get(name)
            if queue is not None:
                lane.turn_to(queue, refuses=refuses)
            if self.nodes is not None:
                lane.open_nodes = self.period.open_nodes(queue, self.nodes)
