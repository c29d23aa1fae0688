"""A scheduler like Slurm's: multifactor priorities with fair shares, a quick pass and a backfilling pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import log

import numpy as np
from pydantic import Field

from hpcsim import plugin
from hpcsim.plugin import Decision, Hold, Job, Room, Start, View

from .centres import Eligible, Facts, Floats, Ints, best_first
from .orders import urgent_first
from .planning import around_reservations

_DAY_S = 86_400


class FairShare:
    """What each account has used of late: node-seconds, which count half as much every ``half_life`` seconds.

    The account of a job is its project, else its user. Running jobs count as they run, at every moment. ``shares`` are
    those of accounts that do not have one share as all others.
    """

    def __init__(self, half_life: float, shares: dict[str, float]) -> None:
        self.half_life = half_life
        self.shares = shares
        self.accounts: dict[str, int] = {}  # numbered as they are seen
        self.usage_A = np.zeros(0)
        self._share_A = np.zeros(0)
        self._nodes_A = np.zeros(0)  # that the running jobs of each account have
        self._running: dict[int, tuple[int, int]] = {}  # job id -> account and nodes
        self._now = 0

    def number(self, job: Job) -> int:
        """The number of the job's account."""
        name = job.project or job.user
        if name not in self.accounts:
            self.accounts[name] = len(self.accounts)
            self.usage_A, self._nodes_A = np.append(self.usage_A, 0.0), np.append(self._nodes_A, 0.0)
            self._share_A = np.append(self._share_A, self.shares.get(name, 1.0))
        return self.accounts[name]

    def update(self, view: View) -> None:
        """Count what was used since the last time, see who is gone, and who was there before all passes."""
        now, running = view.now, view.running
        if now > self._now:
            self.usage_A = self._kept(now - self._now) * self.usage_A + self._used(now - self._now) * self._nodes_A
            self._now = now
        for job_id in self._running.keys() - running.keys():
            account, nodes = self._running.pop(job_id)
            self._nodes_A[account] -= nodes
        for job_id in sorted(running.keys() - self._running.keys()):
            job, start, _ = running[job_id]
            account = self.number(job)
            self._running[job_id] = account, job.nodes
            self._nodes_A[account] += job.nodes
            self.usage_A[account] += self._used(max(0, now - start)) * job.nodes

    def started(self, jobs: Iterable[Job]) -> None:
        """The pass starts these: they use their nodes from now on, and may be gone before the next pass."""
        for job in jobs:
            account = self.number(job)
            self._running[job.id] = account, job.nodes
            self._nodes_A[account] += job.nodes

    def factor_A(self) -> Floats:
        """Of each account 2 ** -(usage / share), both as parts of the whole: 1 for none, a half for just its share."""
        total = self.usage_A.sum()
        if not total:
            return np.ones_like(self.usage_A)
        factor_A: Floats = np.exp2(-(self.usage_A / total) / (self._share_A / self._share_A.sum()))
        return factor_A

    def _kept(self, seconds: int) -> float:
        """What is left of a usage after ``seconds``."""
        return float(2.0 ** (-seconds / self.half_life))

    def _used(self, seconds: int) -> float:
        """What a node that was used for the last ``seconds`` counts now, in node-seconds."""
        return self.half_life / log(2.0) * (1.0 - self._kept(seconds))


class Slurm:
    """Jobs by a weighted sum of age, fair share, size and queue, as Slurm's multifactor plug-in ranks them.

    Each factor is between 0 and 1: the eligible time relative to ``max_age``; the classic fair-share factor of the
    job's account, 2 ** -(usage / share), from a usage that halves every ``half_life``; nodes relative to the machine's,
    or one minus that (``favor_small``); and that of its queue (``queue_factor``). The account is the job's project,
    else its user, and all are siblings.

    Whenever something changed, jobs start in strict order up to the first that does not fit. At most every
    ``bf_interval`` seconds a backfilling pass plans the first ``bf_max_job_test`` jobs one by one: each gets the
    earliest place that disturbs none before it, and starts if that is now. A job whose place is farther away than
    ``bf_window`` holds none.

    References
    ----------
    Yoo, Jette and Grondona (2003), SLURM: simple Linux utility for resource management.
    SchedMD, Slurm documentation: Multifactor Priority Plugin; Classic Fairshare Algorithm; Scheduling Configuration.
    """

    name = "slurm"
    api = 1
    cites = ("Yoo2003", "SlurmPriority")
    passes_when_idle = True  # to see when jobs end, of which usage is made

    class Options(plugin.Options):
        age_weight: float = Field(1000.0, ge=0, description="weight of the time that a job has waited")
        fair_share_weight: float = Field(10_000.0, ge=0, description="weight of what its account has left to use")
        size_weight: float = Field(1000.0, ge=0, description="weight of its part of the machine")
        queue_weight: float = Field(1000.0, ge=0, description="weight of its queue's factor")
        max_age: int = Field(7 * _DAY_S, ge=1, description="seconds of waiting from which age grows no more")
        half_life: int = Field(7 * _DAY_S, ge=1, description="seconds after which usage counts half")
        favor_small: bool = Field(False, description="whether small jobs gain by their size, and not large ones")
        shares: dict[str, float] = Field({}, description="shares of accounts by name; all others have 1")
        queue_factor: dict[str, float] = Field({}, description="factor of queues by name, 0 to 1; all others have 0")
        default_queue_depth: int = Field(100, ge=1, description="how many jobs a quick pass looks at")
        bf_interval: int = Field(30, ge=0, description="least seconds between two backfilling passes")
        bf_max_job_test: int = Field(500, ge=0, description="how many jobs a backfilling pass plans; 0: none backfills")
        bf_window: int = Field(_DAY_S, ge=1, description="seconds ahead up to which places are held")
        bf_resolution: int = Field(60, ge=1, description="seconds of which planned times are multiples")

    def __init__(self, options: Options) -> None:
        self.options = options
        self.usage = FairShare(options.half_life, options.shares)
        self._facts = Facts(self._describe, 3)
        self._eligible = Eligible(None)
        self._backfilled = -options.bf_interval  # when it last backfilled

    def schedule(self, view: View) -> Iterator[Decision]:
        self.usage.update(view)
        room, jobs = view.room(), view.queue
        if not jobs:
            return
        ids_Q, facts_QF = self._facts.of(jobs, view)
        eligible_Q = self._eligible.seconds(jobs, ids_Q, view)
        if room.special:
            yield from urgent_first(view, room)
        if facts_QF[:, 0].min() <= room.reach:
            yield from self._serve(view, best_first(jobs, self.priority(facts_QF, eligible_Q), room.started), room)
        self._eligible.started(room.started, view.now)
        self.usage.started(room.started)

    def priority(self, facts_QF: Floats, eligible_Q: Ints) -> Floats:
        """The priorities of Q jobs."""
        options = self.options
        _, fixed_Q, account_Q = facts_QF.T
        share_Q = self.usage.factor_A()[account_Q.astype(np.int64)]
        age_Q = np.minimum(1.0, eligible_Q / options.max_age)
        priority_Q: Floats = fixed_Q + options.age_weight * age_Q + options.fair_share_weight * share_Q
        return priority_Q

    def _describe(self, job: Job, view: View) -> tuple[float, ...]:
        """Nodes, what its size and its queue count, and the number of its account."""
        options = self.options
        size = job.nodes / view.nodes
        fixed = options.size_weight * (1.0 - size if options.favor_small else size)
        fixed += options.queue_weight * options.queue_factor.get(job.queue, 0.0)
        return job.nodes, fixed, self.usage.number(job)

    def _serve(self, view: View, order: list[Job], room: Room) -> Iterator[Decision]:
        now, options = view.now, self.options
        due = self._backfilled + options.bf_interval
        if now >= due and options.bf_max_job_test:
            self._backfilled = now
            tested = order[: options.bf_max_job_test]
            yield from around_reservations(view, room, tested, None, options.bf_window, options.bf_resolution)
            return
        for job in order[: options.default_queue_depth]:
            if not room.take(job):
                break
            yield Start(job, "highest priority")
        if options.bf_max_job_test and room.reach and len(room.started) < len(order):
            yield Hold(due, "for the next backfilling pass")
