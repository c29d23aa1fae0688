"""The simulated cluster: jobs arrive, are started by a scheduler, run and end, on SimPy's clock.

Event order within one second: ends, then arrivals and holds that run out, then exactly one scheduling pass
(SimPy priority 2). Simulated time is whole seconds. A job that ends frees its nodes for the pass of the same
second. What a pass decides is collected first, then checked and carried out in the order of the decisions.
"""

from __future__ import annotations

import copy
import traceback
from array import array
from bisect import insort
from collections.abc import Iterable, Mapping
from time import perf_counter
from types import MappingProxyType
from typing import Protocol, cast

import numpy as np
import simpy

from hpcsim.engine.availability import Releases
from hpcsim.engine.decisions import Decision, Hold, Kill, Preempt, Start
from hpcsim.engine.ledger import Ledger
from hpcsim.engine.view import Running, View
from hpcsim.errors import BadDecision, SchedulerError
from hpcsim.streams import stream
from hpcsim.workload.job import OUTCOMES, TIMEOUT, Job, Workload

# What has become of a job; the first three are how its program ended (OUTCOMES).
STATES = (*OUTCOMES, "killed", "node_failed", "rejected", "preempted", "running", "waiting", "future")
KILLED, NODE_FAILED, REJECTED, PREEMPTED, RUNNING, WAITING, FUTURE = range(len(OUTCOMES), len(STATES))

_JOBS_MADE_AT_ONCE = 4096


class Scheduler(Protocol):
    """What a scheduler plug-in is: a name, the version of this interface, and one method."""

    name: str
    api: int

    def schedule(self, view: View) -> Iterable[Decision]:
        """Decide what happens now; called once for every instant at which something changed."""
        ...


class _Pass(simpy.Event):
    """A scheduling pass at a given delay, after all other events of that second."""

    def __init__(self, env: simpy.Environment, delay: int, callback: simpy.events.EventCallback) -> None:
        self.env = env
        self.callbacks = [callback]
        self._ok = True
        self._value = None
        env.schedule(self, priority=simpy.events.EventPriority(2), delay=delay)


class Attempts:
    """One row for each time a job was put on the machine, as growing columns."""

    __slots__ = ("end", "job", "start", "state", "why")

    def __init__(self) -> None:
        self.job = array("q")
        self.start = array("q")
        self.end = array("q")  # -1 while it runs
        self.state = array("b")  # an index into STATES
        self.why: list[str] = []

    def __len__(self) -> int:
        return len(self.job)

    def begin(self, job_id: int, start: int, why: str) -> int:
        self.job.append(job_id)
        self.start.append(start)
        self.end.append(-1)
        self.state.append(RUNNING)
        self.why.append(why)
        return len(self.job) - 1


class Simulation:
    """A machine of ``nodes`` nodes that replays ``workload`` under ``scheduler``.

    Parameters
    ----------
    nodes : whole machine; nodes are counted, not told apart.
    start : first simulated second.
    running_at_start : recorded start of each job (by id) that is on the machine at ``start``.
    overrun : ``trace``: a job runs as recorded, at most 1.1 times its walltime; ``kill``: at most its walltime.
    pass_interval : passes happen only at multiples of so many seconds (0: whenever something changed).
    launch_latency : seconds between the decision to start a job and its start; its nodes are taken at once.
    seed : of the random stream that the scheduler is given.
    """

    def __init__(
        self,
        workload: Workload,
        scheduler: Scheduler,
        *,
        nodes: int,
        start: int = 0,
        running_at_start: Mapping[int, int] = MappingProxyType({}),
        overrun: str = "trace",
        pass_interval: int = 0,
        launch_latency: int = 0,
        seed: int = 0,
    ) -> None:
        self.workload = workload
        self.scheduler = scheduler
        self.scheduler_rng = stream(seed, f"scheduler {scheduler.name}")
        self.nodes = nodes
        self.pass_interval = pass_interval
        self.launch_latency = launch_latency
        self._passes_when_idle = bool(getattr(scheduler, "passes_when_idle", False))

        # The hidden truth: how long each job really runs here, and how it then ends.
        walltime, runtime = workload.column("walltime_s"), workload.column("runtime_s")
        limit = walltime if overrun == "kill" else walltime * 11 // 10
        self._runtime = array("q", np.minimum(runtime, limit).tobytes())
        self._outcome = np.where(runtime > limit, TIMEOUT, workload.column("outcome")).astype(np.int8).tobytes()
        self._submit = array("q", workload.column("submit_s").tobytes())

        self.queue: dict[int, Job] = {}  # waiting and eligible, by id, in order of submission
        self.running: dict[int, Running] = {}
        self.releases = Releases()
        self.free_nodes = nodes
        self.state = bytearray([FUTURE]) * len(workload)
        self.rejected: dict[int, str] = {}  # job id -> the rule it broke
        self.attempts = Attempts()
        self.ledger = Ledger(start)
        self.pass_seconds = array("d")  # how long each pass took by the clock on the wall
        self._attempt_of: dict[int, int] = {}  # running job -> its row in attempts
        self._ends: dict[int, tuple[int, int]] = {}  # running job -> (real end, generation)
        self._generation = 0
        self._open_after: dict[int, int] = {}  # blocked job -> how many jobs it still waits for
        self._blocked: dict[int, Job] = {}
        self._followers: dict[int, list[int]] = {}
        self._holds: list[int] = []
        self._next = 0  # the first job that has not arrived
        self._coming: list[Job] = []  # the next jobs, made a few thousand at a time
        self._pass_at = -1  # when the next pass is due; -1 if none is

        self._wire(start)
        for job_id, began in running_at_start.items():
            self._continue(next(workload.jobs(job_id, job_id + 1)), began)
        self._schedule_arrival()

    # -- the three things that happen to a job ------------------------------------------------

    def _arrive(self, _event: simpy.Event) -> None:
        now = self.now
        submit, last = self._submit, len(self._submit)
        while self._next < last and submit[self._next] <= now:
            job = self._take_next()
            if self.state[job.id] == FUTURE:  # else it has been on the machine from the start
                self._submitted(job)
        self._schedule_arrival()
        self._ask_for_pass()

    def _start(self, job: Job, why: str) -> None:
        now, job_id = self.now, job.id
        mine = self.queue.get(job_id)
        if mine is None:
            raise self._bad(f"started {self._called(job)}, which is {self._whereabouts(job)}; only a job of the queue can start")
        if mine.nodes > self.free_nodes:
            raise self._bad(f"started {self._called(mine)} on {mine.nodes} nodes, but only {self.free_nodes} are free")
        del self.queue[job_id]
        self._run(mine, now + self.launch_latency, now, why)

    def _end(self, event: simpy.Event) -> None:
        job_id, generation = cast("tuple[int, int]", event.value)
        if self._ends.get(job_id, (0, 0))[1] == generation:  # else the end was overtaken by a later decision
            self._leave(job_id, self._outcome[job_id])
            self._ask_for_pass()

    # -- the scheduling pass ------------------------------------------------------------------

    def _ask_for_pass(self) -> None:
        if self._pass_at < 0 and (self.queue or self._passes_when_idle):
            wait = -self.now % self.pass_interval if self.pass_interval else 0
            self._pass_at = self.now + wait
            _Pass(self.env, wait, self._pass)

    def _pass(self, _event: simpy.Event) -> None:
        self._pass_at = -1
        if not self.queue and not self._passes_when_idle:
            return
        began = perf_counter()
        try:
            decisions = list(self.scheduler.schedule(self._view))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise SchedulerError(
                f"t={self.now}: scheduler {self.scheduler.name} raised {type(error).__name__}: {error} "
                f"({where.filename}:{where.lineno})"
            ) from error
        self.pass_seconds.append(perf_counter() - began)
        for decision in decisions:
            if type(decision) is Start:
                self._start(decision.job, decision.why)
            elif isinstance(decision, Preempt):
                self._preempt(decision.job)
            elif isinstance(decision, Kill):
                self._kill(decision.job)
            elif isinstance(decision, Hold):
                self._hold(decision.until)
            else:
                raise self._bad(f"decided {decision!r}; a decision is a Start, Hold, Preempt or Kill")

    def _hold(self, until: int) -> None:
        if isinstance(until, bool) or not isinstance(until, int) or until <= self.now:
            raise self._bad(f"holds until {until!r}; it must be a whole second later than now, {self.now}")
        if until not in self._holds:
            insort(self._holds, until)
            self._alarm(until)

    def _preempt(self, job: Job) -> None:
        mine = self._on_machine(job, "preempted")
        self._leave(mine.id, PREEMPTED)
        self._enqueue_late(mine)

    def _kill(self, job: Job) -> None:
        self._leave(self._on_machine(job, "killed").id, KILLED)

    # -- changes of state ---------------------------------------------------------------------

    def _submitted(self, job: Job) -> None:
        if job.nodes > self.nodes:
            self.rejected[job.id] = "larger than the machine"
            self._finished(job.id, REJECTED)
            return
        self.state[job.id] = WAITING
        open_after = {i for i in job.after or () if self.state[i] > REJECTED}
        if open_after:
            self._blocked[job.id] = job
            self._open_after[job.id] = len(open_after)
            for i in sorted(open_after):
                self._followers.setdefault(i, []).append(job.id)
        else:
            self.queue[job.id] = job

    def _enqueue_late(self, job: Job) -> None:
        """Put into the queue a job that was submitted before others that wait: at its place among them."""
        self.state[job.id] = WAITING
        self.queue[job.id] = job
        in_order = sorted(self.queue.items())
        self.queue.clear()
        self.queue.update(in_order)

    def _run(self, job: Job, start: int, taken: int, why: str) -> None:
        """Put ``job`` on the machine: its nodes are busy from ``taken``, it runs from ``start``."""
        job_id = job.id
        expected_end = start + job.walltime
        self.running[job_id] = Running(job, start, expected_end)
        self.state[job_id] = RUNNING
        self.free_nodes -= job.nodes
        self.releases.add(expected_end, job_id, job.nodes)
        self.ledger.change(taken, job.nodes)
        self._attempt_of[job_id] = self.attempts.begin(job_id, start, why)
        self._end_at(job_id, start + self._runtime[job_id])

    def _continue(self, job: Job, began: int) -> None:
        """Put on the machine a job that has been running since ``began``, before the first second."""
        self._run(job, began, self.now, "running at the start")

    def _leave(self, job_id: int, state: int) -> None:
        """Take ``job_id`` off the machine now."""
        job, _, expected_end = self.running.pop(job_id)
        del self._ends[job_id]
        self.free_nodes += job.nodes
        self.releases.remove(expected_end, job_id, job.nodes)
        self.ledger.change(self.now, -job.nodes)
        row = self._attempt_of.pop(job_id)
        self.attempts.end[row] = self.now
        self.attempts.state[row] = state
        if state != PREEMPTED:
            self._finished(job_id, state)

    def _finished(self, job_id: int, state: int) -> None:
        self.state[job_id] = state
        for follower in self._followers.pop(job_id, ()):
            self._open_after[follower] -= 1
            if not self._open_after[follower]:
                del self._open_after[follower]
                self._enqueue_late(self._blocked.pop(follower))
                self._ask_for_pass()

    # -- SimPy --------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Simulated time, seconds."""
        return cast(int, self.env.now)

    def run(self, until: int | None = None) -> None:
        """Simulate up to second ``until`` (not included), or until nothing is left to happen.

        Raises BadDecision or SchedulerError where the scheduler is at fault; the simulation is void then.
        """
        if until is None:
            self.env.run()
            self._refuse_a_stall()
        elif until > self.now:
            self.env.run(until=until)
        self.ledger.settle(self.now)

    @property
    def next_event(self) -> float:
        """The second of the next event, infinite if none is left."""
        return self.env.peek()

    def fork(self) -> Simulation:
        """An independent copy that goes on from here; the workload is shared, the clock is built anew."""
        twin = copy.copy(self)
        shared = {"workload", "env", "_runtime", "_outcome", "_submit", "_view"}
        state = {name: value for name, value in vars(self).items() if name not in shared and not name.startswith("_on_")}
        vars(twin).update(copy.deepcopy(state))
        twin._wire(self.now)
        for job_id, (end, generation) in twin._ends.items():
            twin._timeout(end, (job_id, generation), twin._end)
        for until in twin._holds:
            twin._alarm(until)
        twin._schedule_arrival()
        if twin._pass_at >= 0:
            _Pass(twin.env, twin._pass_at - twin.now, twin._pass)
        return twin

    def _wire(self, now: int) -> None:
        self.env = simpy.Environment(initial_time=now)
        self._view = View(self)

    def _timeout(self, at: int, value: object, callback: simpy.events.EventCallback) -> None:
        simpy.Timeout(self.env, max(at - self.now, 0), value).callbacks.append(callback)

    def _end_at(self, job_id: int, end: int) -> None:
        self._generation += 1
        self._ends[job_id] = (end, self._generation)
        self._timeout(end, (job_id, self._generation), self._end)

    def _schedule_arrival(self) -> None:
        if self._next < len(self._submit):
            self._timeout(self._submit[self._next], None, self._arrive)

    def _take_next(self) -> Job:
        if not self._coming:
            stop = min(self._next + _JOBS_MADE_AT_ONCE, len(self._submit))
            self._coming = list(self.workload.jobs(self._next, stop))
            self._coming.reverse()
        self._next += 1
        return self._coming.pop()

    def _alarm(self, until: int) -> None:
        self._timeout(until, None, self._alarm_rings)

    def _alarm_rings(self, _event: simpy.Event) -> None:
        self._holds.remove(self.now)
        self._ask_for_pass()

    # -- complaints ---------------------------------------------------------------------------

    def _on_machine(self, job: Job, verb: str) -> Job:
        running = self.running.get(job.id)
        if running is None:
            raise self._bad(f"{verb} {self._called(job)}, which is {self._whereabouts(job)}; only a running job can be {verb}")
        return running.job

    def _called(self, job: object) -> str:
        return f"job {job.name}" if isinstance(job, Job) else f"{job!r}"

    def _whereabouts(self, job: object) -> str:
        if not isinstance(job, Job) or not 0 <= job.id < len(self.state):
            return "not a job of this run"
        return "waiting for other jobs" if job.id in self._blocked else STATES[self.state[job.id]]

    def _bad(self, what: str) -> BadDecision:
        return BadDecision(f"t={self.now}: scheduler {self.scheduler.name} {what}")

    def _refuse_a_stall(self) -> None:
        waiting = [job.name for job in (*self.queue.values(), *self._blocked.values())]
        if waiting:
            some = ", ".join(waiting[:5]) + (f" and {len(waiting) - 5} more" if len(waiting) > 5 else "")
            reason = (
                f"scheduler {self.scheduler.name} left jobs waiting with nothing left to happen"
                if self.queue
                else "jobs wait for jobs that never end"
            )
            raise SchedulerError(f"t={self.now}: {reason}: {some}; {self.free_nodes} of {self.nodes} nodes are free")
