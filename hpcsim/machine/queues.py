"""The queue rules at work: which jobs a centre accepts, into which queue, and how many of whom may run.

``Admission`` lives as long as one run and is told what happens to each job. A submitted job is routed, and refused
where a rule says so. An accepted job either *may run*, or is *held back* because enough jobs of its user, of its
project or of its queue may run already. So the jobs that may run are never more than the limits on running jobs
allow, whichever of them a scheduler starts: PBS calls such jobs running or accruing. A job that ends lets the next
ones take its place, in the order of submission.

Every call takes a time that does not grow with the number of jobs; ``ended`` grows with the number of users or
projects that are held back by the same limit.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Literal, NamedTuple

from hpcsim.machine.queue_file import QueueRules
from hpcsim.machine.queue_rules import NO_LIMITS, PRIORITIES, Limits, Period, Pool, Queue
from hpcsim.workload.job import Job

__all__ = ["PRIORITIES", "Admission", "Admitted", "Limits", "Period", "Pool", "Queue", "QueueRules", "Refused"]

OverLimit = Literal["refuse", "hold"]

_Line = tuple[str, str, str]  # queue, user, project
_Group = tuple[str, str, str]  # queue, kind, whose

_HOUR_S = 3600


class Admitted(NamedTuple):
    """The job is in ``queue`` now. ``may_run`` is False while it is held back by a limit on running jobs."""

    queue: str
    may_run: bool


class Refused(NamedTuple):
    """The centre does not take the job. ``rule`` says which rule it broke, such as "small: 24 nodes at most"."""

    rule: str


class Admission:
    """The life of ``rules`` in one run whose second 0 is the Unix time ``t0_utc``.

    A job keeps the queue, and the rules of that queue, of the day on which it was submitted; jobs count by the name of
    their queue. Limits on a user or project do not apply where that is unknown (empty).

    Parameters
    ----------
    nodes : size of the machine. With it, jobs are refused too which other queues' exclusive nodes leave no room for.
    over_limit : what becomes of a job beyond a limit on waiting jobs (``queued``, ``total``). ``refuse``: what the
        centre would do. ``hold``: it is held back until there is room, as if its user had come back then; traces
        and profiles submit at fixed times, where people wait for an earlier job.

    Attributes
    ----------
    period : the rules in force at the last submission.
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
        self._live: dict[int, _Entry] = {}
        # By queue, where some period limits them: its jobs, those that wait, and those that may run or do.
        self._all, self._waiting, self._active = self._tallies()
        # Jobs held back, in order of submission; limits bear on all jobs of such a line alike.
        self._lines: dict[_Line, deque[_Entry]] = {}
        self._stuck: dict[_Group, dict[_Line, None]] = {}  # which lines each user, project or queue holds back
        self.period = rules.at(t0_utc)
        self._open = self._open_nodes()

    def submit(self, job: Job, now: int) -> Admitted | Refused:
        """Take the job into a queue, or say which rule it breaks; ``now`` is the second of its submission."""
        self._turn_to(now)
        if job.queue and job.queue not in self.period.queues:
            self.rerouted[job.queue] += 1
        queue = self.period.route(job.queue, job.nodes, job.walltime)
        if not isinstance(queue, Queue):
            return Refused(queue.rule)
        entry = _Entry(job, queue)
        broken = self._broken(entry)
        if broken is not None:
            return Refused(f"{queue.name}: {broken}")
        self._live[job.id] = entry
        _count(self._all, entry, 1)
        _count(self._waiting, entry, 1)
        if entry.line in self._lines:
            self._lines[entry.line].append(entry)
        elif group := self._held_by(entry):
            self._lines[entry.line] = deque([entry])
            self._stuck.setdefault(group, {})[entry.line] = None
        else:
            self._activate(entry)
        return Admitted(queue.name, entry.may_run)

    def found_running(self, job: Job, now: int) -> str:
        """Count a job that is on the machine when the run begins; no rule is asked. Its queue is returned."""
        self._turn_to(now)
        queues = self.period.queues
        queue = self.period.route(job.queue, job.nodes, job.walltime)
        if not isinstance(queue, Queue):  # it runs all the same
            queue = queues.get(job.queue) or queues[self.period.default[0]]
        self._live[job.id] = entry = _Entry(job, queue)
        _count(self._all, entry, 1)
        self._activate(entry)
        entry.running = True
        return queue.name

    def may_run(self, job: Job) -> bool:
        """Whether the limits on running jobs let this job run. Any number of such jobs may start at once."""
        return self._live[job.id].may_run

    def started(self, job: Job) -> None:
        """A job that may run was put on the machine."""
        entry = self._live[job.id]
        if not entry.may_run or entry.running:
            raise ValueError(f"job {job.id} is {'running already' if entry.running else 'held back'}")
        entry.running = True
        _count(self._waiting, entry, -1)

    def requeued(self, job: Job) -> None:
        """A running job was taken off the machine and waits again; it keeps its right to run."""
        entry = self._live[job.id]
        entry.running = False
        _count(self._waiting, entry, 1)

    def ended(self, job: Job) -> list[int]:
        """The job is gone, from the machine or from its queue. The ids of jobs that may run from now on, ascending."""
        entry = self._live.pop(job.id)
        _count(self._all, entry, -1)
        if not entry.running:
            _count(self._waiting, entry, -1)
        if entry.may_run:
            _count(self._active, entry, -1)
        else:
            self._leave_line(entry)
        if not self._lines:
            return []
        # The whole queue comes last: a line that another group passes on to it is looked at there.
        return sorted(freed.job.id for group in entry.groups for freed in self._free(group))

    def queue_of(self, job: Job) -> Queue:
        """The queue that the job is in: its priority, pool and limits."""
        return self._live[job.id].queue

    def pool_of(self, queue: str) -> Pool | None:
        """The nodes that a queue of the period may use; None for all that are exclusive to no other."""
        return self.period.queues[queue].pool

    def preemptable(self, job: Job) -> bool:
        """Whether the job, once it runs, may be stopped for jobs of other queues."""
        return self._live[job.id].queue.preemptable

    def may_preempt(self, job: Job, other: Job | None = None) -> bool:
        """Whether running jobs may be stopped for this one: those of any queue, or the job ``other``."""
        victims = self._live[job.id].queue.may_preempt
        return bool(victims) if other is None else self._live[other.id].queue.name in victims

    # -- limits -------------------------------------------------------------------------------

    def _turn_to(self, now: int) -> None:
        """Let the rules of the second ``now`` be in force."""
        period = self.rules.at(self.t0_utc + now)
        if period is not self.period:
            self.period = period
            self._open = self._open_nodes()

    def _open_nodes(self) -> dict[str, int]:
        """How many nodes a job of each queue can have at the most, where the size of the machine is known."""
        if self.nodes is None:
            return {}
        return {name: self.period.open_nodes(queue, self.nodes) for name, queue in self.period.queues.items()}

    def _tallies(self) -> tuple[dict[str, _Tally], dict[str, _Tally], dict[str, _Tally]]:
        queues = [queue for period in self.rules.periods for queue in period.queues.values()]
        of_all = {queue.name: _Tally() for queue in queues if queue.total is not NO_LIMITS}
        of_waiting = {queue.name: _Tally() for queue in queues if queue.queued is not NO_LIMITS}
        of_active = {queue.name: _Tally() for queue in queues if any(self._limits_on_running(queue))}
        return of_all, of_waiting, of_active

    def _limits_on_running(self, queue: Queue) -> tuple[Limits | None, Limits | None]:
        """What bounds the jobs that may run. Where nobody is refused, the limit on all jobs is one on them."""
        running = None if queue.running is NO_LIMITS else queue.running
        total = None if queue.total is NO_LIMITS or self.over_limit == "refuse" else queue.total
        return running, total

    def _broken(self, entry: _Entry) -> str | None:
        """The limit for which the job is refused."""
        queue = entry.queue
        open_nodes = self._open.get(queue.name, entry.nodes)
        if entry.nodes > open_nodes:
            return f"{open_nodes} nodes are open to it"
        if self.over_limit == "refuse":
            if queue.queued is not NO_LIMITS and (broken := self._waiting[queue.name].full(queue.queued, entry)):
                return _said(broken, "waiting ", queue.queued)
            if queue.total is not NO_LIMITS and (broken := self._all[queue.name].full(queue.total, entry)):
                return _said(broken, "", queue.total)
        for limits in self._limits_on_running(queue):
            # A job beyond these all by itself would be held back for ever.
            if limits is not None and (broken := _NOTHING.full(limits, entry)):
                return _said(broken, "running " if limits is queue.running else "", limits)
        return None

    def _held_by(self, entry: _Entry) -> _Group | None:
        """Whose limit does not let the job run now: its user's, its project's or the whole queue's."""
        for limits in self._limits_on_running(entry.queue):
            if limits is not None and (broken := self._active[entry.queue.name].full(limits, entry)):
                user, project, everyone = entry.groups
                return project if broken == "project" else user if broken.startswith("user") else everyone
        # A small job does not overtake a larger one for which too few of the queue's nodes are left.
        if self._stuck:
            everyone = entry.groups[2]
            ahead = self._stuck.get(everyone)
            if ahead and entry.line not in ahead:
                return everyone
        return None

    def _activate(self, entry: _Entry) -> None:
        entry.may_run = True
        _count(self._active, entry, 1)

    def _free(self, group: _Group) -> Iterator[_Entry]:
        """Let jobs run that were held back by ``group``, the earliest first, until it holds the next one back."""
        stuck = self._stuck.get(group)
        while stuck:
            line = min(stuck, key=lambda each: self._lines[each][0].job.id)
            first = self._lines[line][0]
            holder = self._held_by(first)
            if holder == group:
                return
            if holder is not None:
                del stuck[line]
                self._stuck.setdefault(holder, {})[line] = None
                continue
            self._activate(first)
            self._leave_line(first)
            yield first
        self._stuck.pop(group, None)

    def _leave_line(self, entry: _Entry) -> None:
        line = self._lines[entry.line]
        line.remove(entry)  # nearly always the first
        if not line:
            del self._lines[entry.line]
            for group in entry.groups:
                self._stuck.get(group, {}).pop(entry.line, None)


class _Entry:
    """A job in its queue."""

    __slots__ = ("job", "may_run", "nodes", "queue", "running")

    def __init__(self, job: Job, queue: Queue) -> None:
        self.job = job
        self.queue = queue
        self.nodes = max(job.nodes, queue.allocation)
        self.may_run = False
        self.running = False

    @property
    def line(self) -> _Line:
        return self.queue.name, self.job.user, self.job.project

    @property
    def groups(self) -> tuple[_Group, _Group, _Group]:
        """Whom limits may bear on: its user, its project, all."""
        name = self.queue.name
        return (name, "user", self.job.user), (name, "project", self.job.project), (name, "", "")


class _Tally:
    """Jobs of one queue, counted in the ways that limits count them."""

    __slots__ = ("jobs", "nodes", "of_project", "of_user", "user_node_s")

    def __init__(self) -> None:
        self.jobs = 0
        self.nodes = 0
        self.of_user: dict[str, int] = {}
        self.of_project: dict[str, int] = {}
        self.user_node_s: dict[str, int] = {}

    def count(self, entry: _Entry, sign: int) -> None:
        job = entry.job
        self.jobs += sign
        self.nodes += sign * entry.nodes
        self.of_user[job.user] = self.of_user.get(job.user, 0) + sign
        self.of_project[job.project] = self.of_project.get(job.project, 0) + sign
        self.user_node_s[job.user] = self.user_node_s.get(job.user, 0) + sign * entry.nodes * job.walltime

    def full(self, limits: Limits, entry: _Entry) -> str | None:
        """Which limit one more job would break: the name of a field of ``Limits``."""
        job = entry.job
        if job.user:
            if limits.user is not None and self.of_user.get(job.user, 0) >= limits.user:
                return "user"
            if limits.user_node_hours is not None:
                node_s = self.user_node_s.get(job.user, 0) + entry.nodes * job.walltime
                if node_s > limits.user_node_hours * _HOUR_S:
                    return "user_node_hours"
        if limits.project is not None and job.project and self.of_project.get(job.project, 0) >= limits.project:
            return "project"
        if limits.jobs is not None and self.jobs >= limits.jobs:
            return "jobs"
        if limits.nodes is not None and self.nodes + entry.nodes > limits.nodes:
            return "nodes"
        return None


_NOTHING = _Tally()


def _count(tallies: dict[str, _Tally], entry: _Entry, sign: int) -> None:
    tally = tallies.get(entry.queue.name)
    if tally is not None:
        tally.count(entry, sign)


def _said(broken: str, kind: str, limits: Limits) -> str:
    """A limit in words: "10 running jobs of a project at most"."""
    number = getattr(limits, broken)
    jobs = f"{kind}job" if number == 1 else f"{kind}jobs"
    text = {
        "user": f"{number} {jobs} of a user",
        "project": f"{number} {jobs} of a project",
        "jobs": f"{number} {jobs}",
        "nodes": f"{number} nodes in {kind}jobs",
        "user_node_hours": f"{number} node-hours in {kind}jobs of a user",
    }[broken]
    return f"{text} at most"
