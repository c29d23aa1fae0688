"""One queue at work: its jobs, counted in the ways that its limits count them, and who is held back behind whom.

Jobs of the same user and project form a line: limits bear on all of them alike, so that only the first of each line
has to be looked at. A line is stuck behind a group, the one whose limit holds its first job back: its user, its project
or the whole queue.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace

from hpcsim.machine.queue_rules import NO_LIMITS, Limits, Queue
from hpcsim.workload.job import Job

_HOUR_S = 3600
_LIMITS = [each.name for each in fields(Limits)]

Line = tuple[str, str]  # user, project
Group = tuple[str, str]  # kind, whose
EVERYONE: Group = ("", "")


class Entry:
    """A job in its queue; nothing in it changes. ``rules`` are those of the day on which it was submitted."""

    __slots__ = ("job", "nodes", "rules")

    def __init__(self, job: Job, rules: Queue) -> None:
        self.job = job
        self.rules = rules
        self.nodes = job.nodes if job.nodes > rules.allocation else rules.allocation

    @property
    def line(self) -> Line:
        return self.job.user, self.job.project

    @property
    def groups(self) -> tuple[Group, Group, Group]:
        """Whom limits may bear on: its user, its project, all; in the end all, to whom the others pass jobs on."""
        return ("user", self.job.user), ("project", self.job.project), EVERYONE


class Lane:
    """The jobs of one queue, through all periods.

    Parameters
    ----------
    periods : the queue in each period that has it.
    refuses : what becomes of a job beyond a limit on waiting jobs or on all jobs: it is refused, or else these limits
        bear on the jobs that may run.

    Attributes
    ----------
    held : the limits in force on the jobs that may run, each with its word for such jobs.
    refused : the same on (all, waiting) jobs.
    alone : whether one job can be too much for ``held`` all by itself.
    open_nodes : how many nodes a job may have at the most; None if that is not known.
    may_run, running : ids of the jobs that may run or do, and of those that do.
    """

    __slots__ = (
        "_active", "_all", "_waiting", "alone", "held", "lines", "may_run", "name", "open_nodes", "refused", "running",
        "stuck",
    )  # fmt: skip

    def __init__(self, name: str, periods: Iterable[Queue], *, refuses: bool) -> None:
        rules = tuple(periods)
        self.name = name
        self.open_nodes: int | None = None
        self.lines: dict[Line, deque[Entry]] = {}  # jobs held back, in the order of submission
        self.stuck: dict[Group, dict[Line, int]] = {}  # each line with the id of its first job
        self.may_run: set[int] = set()
        self.running: set[int] = set()
        # Jobs that may run or do, all jobs, and those that wait; counted only as far as some period limits them.
        self._active = _tally(limits for queue in rules for limits, _ in _on_active(queue, refuses=refuses))
        self._all = _tally(queue.total for queue in rules if refuses)
        self._waiting = _tally(queue.queued for queue in rules if refuses)
        self.turn_to(rules[0], refuses=refuses)

    def turn_to(self, queue: Queue, *, refuses: bool) -> None:
        """Let the limits of ``queue`` be in force."""
        self.held = _on_active(queue, refuses=refuses)
        self.refused = (queue.total, queue.queued) if refuses else (NO_LIMITS, NO_LIMITS)
        self.alone = any(each.nodes is not None or each.user_node_hours is not None for each, _ in self.held)

    def __deepcopy__(self, memo: dict[int, object]) -> Lane:
        twin = copy.copy(self)
        twin.lines = {line: entries.copy() for line, entries in self.lines.items()}
        twin.stuck = {group: lines.copy() for group, lines in self.stuck.items()}
        twin.may_run, twin.running = self.may_run.copy(), self.running.copy()
        for name in ("_active", "_all", "_waiting"):
            setattr(twin, name, copy.deepcopy(getattr(self, name), memo))
        return twin

    # -- counting -----------------------------------------------------------------------------

    def came(self, entry: Entry) -> None:
        """A job has been submitted; it waits."""
        if self._all is not None:
            self._all.count(entry, 1)
        if self._waiting is not None:
            self._waiting.count(entry, 1)

    def started(self, entry: Entry) -> None:
        """A job is on the machine."""
        self.running.add(entry.job.id)
        if self._waiting is not None:
            self._waiting.count(entry, -1)

    def waits_again(self, entry: Entry) -> None:
        """A job was taken off the machine."""
        self.running.discard(entry.job.id)
        if self._waiting is not None:
            self._waiting.count(entry, 1)

    def went(self, entry: Entry) -> list[int]:
        """A job is gone. The ids of those that may run from now on."""
        job_id = entry.job.id
        if self._all is not None:
            self._all.count(entry, -1)
        if self._waiting is not None and job_id not in self.running:
            self._waiting.count(entry, -1)
        self.running.discard(job_id)
        if job_id not in self.may_run:
            self._leave_line(entry)
        else:
            self.may_run.remove(job_id)
            if self._active is not None:
                self._active.count(entry, -1)
        if not self.lines:
            return []
        return [freed for group in entry.groups if group in self.stuck for freed in self._free(group)]

    # -- limits -------------------------------------------------------------------------------

    def broken(self, entry: Entry) -> str | None:
        """The rule for which a job that has just been submitted is refused."""
        if (too_large := self.too_large(entry)) is not None:
            return too_large
        total, queued = self.refused
        if self._waiting is not None and (broken := self._waiting.full(queued, entry)):
            return _said(broken, "waiting ", queued)
        if self._all is not None and (broken := self._all.full(total, entry)):
            return _said(broken, "", total)
        return self.too_much_alone(entry) if self.alone else None

    def too_large(self, entry: Entry) -> str | None:
        """The rule by which the job has more nodes than are open to its queue, on the whole machine."""
        if self.open_nodes is None or entry.nodes <= self.open_nodes:
            return None
        return f"{self.open_nodes} nodes are open to it"

    def too_much_alone(self, entry: Entry) -> str | None:
        """The limit on jobs that may run which would hold the job back for ever."""
        for limits, kind in self.held:
            if broken := _NOTHING.full(limits, entry):
                return _said(broken, kind, limits)
        return None

    def admit(self, entry: Entry) -> str | None:
        """Let the job run, or hold it back behind those that came before it: by which rule, None if it may run."""
        if self.lines and (line := self.lines.get(entry.line)) is not None:
            line.append(entry)
            return self._holding(line[0])
        if (group := self._holder(entry)) is not None:
            self.lines[entry.line] = deque([entry])
            self.stuck.setdefault(group, {})[entry.line] = entry.job.id
            return self._holding(entry)
        self.activate(entry)
        return None

    def _holding(self, entry: Entry) -> str:
        """The rule by which a job that is the first of its line is held back now."""
        for limits, kind in self.held:
            if self._active is not None and (broken := self._active.full(limits, entry)):
                return _said(broken, kind, limits)
        return "a larger job ahead of it is held back"

    def activate(self, entry: Entry) -> None:
        """Let the job run, whatever the limits are."""
        self.may_run.add(entry.job.id)
        if self._active is not None:
            self._active.count(entry, 1)

    def look_again(self) -> list[int]:
        """The ids of the jobs that may run under the limits that are in force by now."""
        return [freed for group in [*self.stuck] for freed in self._free(group)]

    def _holder(self, entry: Entry) -> Group | None:
        """Whose limit does not let the job run now: its user's, its project's or the whole queue's."""
        if self._active is None:
            return None
        for limits, _ in self.held:
            if broken := self._active.full(limits, entry):
                user, project, everyone = entry.groups
                return project if broken == "project" else user if broken.startswith("user") else everyone
        # A small job does not overtake a larger one for which too few of the queue's nodes are left.
        if self.stuck:
            ahead = self.stuck.get(EVERYONE)
            if ahead and entry.line not in ahead:
                return EVERYONE
        return None

    def _free(self, group: Group) -> Iterator[int]:
        """Let jobs run that were held back by ``group``, the earliest first, until it holds the next one back."""
        stuck = self.stuck.get(group)
        while stuck:
            line = next(iter(stuck)) if len(stuck) == 1 else min(stuck, key=stuck.__getitem__)
            first = self.lines[line][0]
            holder = self._holder(first)
            if holder == group:
                return
            if holder is not None:
                del stuck[line]
                self.stuck.setdefault(holder, {})[line] = first.job.id
                continue
            self.activate(first)
            self._leave_line(first)
            yield first.job.id
        self.stuck.pop(group, None)

    def _leave_line(self, entry: Entry) -> None:
        name = entry.line
        line = self.lines[name]
        line.remove(entry)  # nearly always the first
        behind = next(self.stuck[group] for group in entry.groups if name in self.stuck.get(group, ()))
        if line:
            behind[name] = line[0].job.id
        else:
            del self.lines[name], behind[name]


class Tally:
    """Jobs of one queue, counted for the limits of the kinds ``kinds``, which are fields of ``Limits``."""

    __slots__ = ("jobs", "nodes", "of_project", "of_user", "user_node_s")

    def __init__(self, kinds: Iterable[str]) -> None:
        self.jobs = 0
        self.nodes = 0
        self.of_user: dict[str, int] | None = {} if "user" in kinds else None
        self.of_project: dict[str, int] | None = {} if "project" in kinds else None
        self.user_node_s: dict[str, int] | None = {} if "user_node_hours" in kinds else None

    def __deepcopy__(self, memo: object) -> Tally:
        twin = copy.copy(self)
        for name in ("of_project", "of_user", "user_node_s"):
            counts = getattr(self, name)
            setattr(twin, name, None if counts is None else counts.copy())
        return twin

    def count(self, entry: Entry, sign: int) -> None:
        """One job more (``sign`` 1) or fewer (-1)."""
        job = entry.job
        self.jobs += sign
        self.nodes += sign * entry.nodes
        if self.of_user is not None:
            self.of_user[job.user] = self.of_user.get(job.user, 0) + sign
        if self.of_project is not None:
            self.of_project[job.project] = self.of_project.get(job.project, 0) + sign
        if self.user_node_s is not None:
            node_s = sign * entry.nodes * job.walltime
            self.user_node_s[job.user] = self.user_node_s.get(job.user, 0) + node_s

    def full(self, limits: Limits, entry: Entry) -> str | None:
        """Which limit one more job would break: the name of a field of ``Limits``."""
        job = entry.job
        user, project = job.user, job.project
        if limits.user is not None and user and _of(self.of_user, user) >= limits.user:
            return "user"
        if limits.user_node_hours is not None and user:
            node_s = _of(self.user_node_s, user) + entry.nodes * job.walltime
            if node_s > limits.user_node_hours * _HOUR_S:
                return "user_node_hours"
        if limits.project is not None and project and _of(self.of_project, project) >= limits.project:
            return "project"
        if limits.jobs is not None and self.jobs >= limits.jobs:
            return "jobs"
        if limits.nodes is not None and self.nodes + entry.nodes > limits.nodes:
            return "nodes"
        return None


_NOTHING = Tally(())


def _of(counts: dict[str, int] | None, whose: str) -> int:
    return 0 if counts is None else counts.get(whose, 0)


def _tally(limits: Iterable[Limits]) -> Tally | None:
    """Counts for these limits; None where they limit nothing."""
    kinds = {kind for each in limits for kind in _LIMITS if getattr(each, kind) is not None}
    return Tally(kinds) if kinds else None


def _on_active(queue: Queue, *, refuses: bool) -> tuple[tuple[Limits, str], ...]:
    """What bounds the jobs that may run, each with its word for such jobs in a complaint.

    Where nobody is refused, the limit on all jobs is one on them; as far as the limit on running jobs lets it ever be
    reached.
    """
    running, total = queue.running, NO_LIMITS if refuses else queue.total
    reached = {
        kind: limit
        for kind in _LIMITS
        if (limit := getattr(total, kind)) is not None
        and ((sooner := getattr(running, kind)) is None or limit < sooner)
    }
    both = (running, "running "), (replace(NO_LIMITS, **reached), "")
    return tuple((limits, kind) for limits, kind in both if limits != NO_LIMITS)


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
