"""The simulated cluster: jobs arrive, are started by a scheduler, run and end, on SimPy's clock.

Event order within one second: new queue rules, then ends, arrivals and holds that run out, then what the machine does
by itself, then exactly one scheduling pass. Simulated time is whole seconds. A job that ends frees its nodes for the
pass of the same second. What a pass decides is collected first, then checked and carried out in the order of the
decisions.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import simpy

from hpcsim.engine.arrivals import Arrivals
from hpcsim.engine.attempts import FUTURE, NODE_FAILED, REJECTED, RUNNING, STATES, Attempts
from hpcsim.engine.availability import Releases
from hpcsim.engine.carrying_out import carry_out, collected, decisions_of
from hpcsim.engine.clock import AFTER_ENDS, FIRST, Callback, PassEvent, clock_from, schedule
from hpcsim.engine.complaints import bad, called, needs_of, raised, refuse_a_stall, wishes_of, with_place
from hpcsim.engine.decided import Decided
from hpcsim.engine.decisions import Decision
from hpcsim.engine.dependencies import Dependencies
from hpcsim.engine.ledger import Ledger
from hpcsim.engine.twins import Ended, broken
from hpcsim.engine.view import Running, View
from hpcsim.engine.waiting import Waiting
from hpcsim.errors import BadDecision, InputError, TwinError
from hpcsim.seconds import NEVER
from hpcsim.streams import stream
from hpcsim.workload.job import TIMEOUT, Job, Workload

_MOST_IDLE_EVENTS = 100_000  # one for every hour of a decade: who needs more waits for nothing

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from hpcsim.engine.centre import Centre
    from hpcsim.engine.clock import Clock
    from hpcsim.engine.closed_loop import ClosedLoop
    from hpcsim.engine.observers import Observers
    from hpcsim.engine.scheduler import Scheduler
    from hpcsim.engine.sharing import Sharing
    from hpcsim.engine.site import Site
    from hpcsim.machine.pools import NodePools
    from hpcsim.machine.queues import Admission


class Simulation:
    """A machine of ``nodes`` nodes that replays ``workload`` under ``scheduler``.

    Parameters
    ----------
    nodes : whole machine; nodes are counted, not told apart.
    start : first simulated second.
    running_at_start : recorded start of each job (by id) that is on the machine at ``start``; one for which no place
        is left there waits.
    overrun : ``trace``: a job runs as recorded, at most 1.1 times its walltime; ``kill``: at most its walltime.
    pass_interval : passes happen only at multiples of so many seconds (0: whenever something changed).
    launch_latency : seconds between the decision to start a job and its start; its nodes are taken at once.
    seed : of the random stream that the scheduler is given.
    twins : the twin that answers each question, by the question (``engine.twins.QUESTIONS``).
    site : the machine's places, power, heat and failures; without it nodes are only counted.
    closed_loop : which jobs follow others, and are submitted when these have ended.
    admission : the centre's queue rules; without them every job that the machine can hold is admitted. Node pools
        need a ``site`` with places; on a torus there are none, and no queue may stop other jobs.

    Jobs that share nodes need a ``site`` whose cluster has ``shares``; InputError without.
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
        twins: Mapping[str, Any] = MappingProxyType({}),
        site: Site | None = None,
        admission: Admission | None = None,
        closed_loop: ClosedLoop | None = None,
    ) -> None:
        self.workload = workload
        self.scheduler: Scheduler = scheduler
        self.scheduler_rng: np.random.Generator = stream(seed, f"scheduler {scheduler.name}")
        self.needs: frozenset[str] = needs_of(scheduler)
        self.twins: dict[str, Any] = dict(twins)
        self._learning = [twin for twin in self.twins.values() if hasattr(twin, "ended")]
        self.nodes = nodes
        self.largest_job: int = nodes if site is None else min(nodes, site.largest_job)  # nodes
        self.pass_interval = pass_interval
        self.launch_latency = launch_latency
        self.site = site
        self.closed_loop = closed_loop
        self.centre: Centre | None = None
        self.pools: NodePools | None = None
        self.sharing: Sharing | None = None  # where any job shares a node
        self.observers: Observers | None = None  # where anybody watches
        if workload.shares_nodes:
            if site is None or site.cluster.shares is None:
                raise InputError(f"{workload.source}: jobs share nodes, which needs a machine.model and physics")
            from hpcsim.engine.sharing import Sharing  # for few runs

            self.sharing = Sharing(site.cluster.shares)
        self.held: dict[int, Job] = {}  # admitted, but over a limit on running jobs
        self._site_at = NEVER  # when the machine next does something by itself
        self._passes_when_idle = bool(getattr(scheduler, "passes_when_idle", False))

        # The hidden truth: how long each job really runs here, and how it then ends.
        walltime, runtime = workload.column("walltime_s"), workload.column("runtime_s")
        limit = walltime if overrun == "kill" else walltime * 11 // 10
        self._runtime = array("q", np.minimum(runtime, limit).tobytes())
        self.recorded_start_s: array[int] | None = None  # -1 where unknown; only for a scheduler that is clairvoyant
        if "clairvoyance" in self.needs:
            self.recorded_start_s = array("q", workload.column("recorded_start_s").tobytes())
        self._outcome = np.where(runtime > limit, TIMEOUT, workload.column("outcome")).astype(np.int8).tobytes()

        self.queue: Waiting = Waiting()  # who may start
        self.special: dict[int, Job] = {}  # those of them whose queue has nodes or rights of its own
        self.running: dict[int, Running] = {}
        self.chosen: dict[int, tuple[int, ...]] = {}  # units that the room of the last pass gave to jobs, by job id
        self.releases: Releases = Releases()
        self.free_nodes: int = nodes
        self.state: bytearray = bytearray([FUTURE]) * len(workload)  # how each job ended
        self.rejected: dict[int, str] = {}  # job id -> the rule it broke
        self.rejected_late: dict[int, int] = {}  # those that waited until another period's rules -> when it began
        self.eligible: dict[int, int] = {}  # jobs that could start only later than submitted -> from when on
        self.held_by: dict[int, str] = {}  # jobs that were held back -> the limit that did it first
        self.attempts: Attempts = Attempts()
        self.decided: Decided = Decided()  # besides starts
        self.ledger: Ledger = Ledger(start)
        self.pass_seconds: array[float] = array("d")  # how long each pass took by the clock on the wall
        self._ends: dict[int, tuple[int, int, int]] = {}  # running job -> (real end, generation, row in attempts)
        self._generation = 0  # of the end that became known last
        self._arrival_after = 0  # the same when the next arrival became known
        self.dependencies: Dependencies = Dependencies()
        self._holds: list[int] = []
        self._idle_events = 0  # of holds and of the machine, since anything last started
        self.start = start
        self.now: int = start  # simulated time, seconds
        self.arrivals: Arrivals = self._from(0)
        self._pass_at = -1  # when the next pass is due; -1 if none is
        self.scenario_yaml = ""  # what it was made of, if that is a scenario
        self.is_belief = False  # whether it is what somebody believes, see ``what_if``
        self._by_hand = False  # whether the next pass is left to the caller
        self._pass_is_open = False  # whether the caller may decide now
        self._decided: list[Decision] = []  # what the caller has decided in it

        self._wire(start)
        wakes_on = wishes_of(scheduler)
        if site is not None:
            site.attach(self)
            site.wake_on(wakes_on)
        if admission is not None:
            from hpcsim.engine.centre import Centre  # which a run without queue rules need not load

            self.centre = Centre(admission, site, start, len(workload))
            self.centre.attach(self)
            self.pools = self.centre.pools
        for job_id, began in running_at_start.items():
            job = next(workload.jobs(job_id, job_id + 1))
            if site is None or site.fits(job):  # else, as those of before it lie here, it has no place: it waits
                self._continue(job, began)
        self.found_running: int = len(self.running)
        if self.pools is not None and site is not None:
            self.pools.open()
            self.free_nodes = site.free_nodes
        for twin in self.twins.values():
            if hasattr(twin, "knows"):
                from hpcsim.engine.truth import Truth  # for oracles only

                twin.knows(Truth(self))
        self._await_arrival()
        self._await_site()
        self._await_period()

    # -- the three things that happen to a job ------------------------------------------------

    def _arrive(self, _event: simpy.Event) -> None:
        self.now = self.env.now
        for job in self.arrivals.until(self.now):
            self._take_in(job)
        self._await_arrival()
        self._ask_for_pass()

    def _take_in(self, job: Job) -> None:
        """A job has been submitted."""
        if self.state[job.id] != FUTURE:
            return  # it has been on the machine from the start
        self.ledger.came(self.now)
        if self.observers is not None:
            self.observers.tell("submitted", job, self.now)
        if job.nodes > self.largest_job:
            self.refuse(job.id, "larger than the machine" if job.nodes > self.nodes else "larger than any block")
        elif self.sharing is not None and job.cores and self.sharing.shares.too_large(job):
            self.refuse(job.id, "larger than a node")
        elif self.centre is not None:
            self.centre.submit(job)
        elif job.after is not None:
            self._wait_for_others(job)
        else:
            self.queue.add(job)

    def submit(self, job: Job) -> None:
        """Take in a job now that is no next one of the workload: its user waited for another to end."""
        self.now = self.env.now
        self._take_in(job)
        self._ask_for_pass()

    def begin(self, job: Job, why: str, speed: float, units: tuple[int, ...] | None) -> None:
        """Start a job that has been taken out of the queue, at this speed, on these units or as the machine places."""
        self._idle_events = 0
        self._run(job, self.now + self.launch_latency, self.now, why, speed, units)

    def _end(self, event: simpy.Event) -> None:
        job_id, generation = cast("tuple[int, int]", event.value)
        if self._ends.get(job_id, (0, 0, 0))[1] == generation:  # else the end was overtaken by a later decision
            self.now = self.env.now
            state = self._outcome[job_id] if self.site is None else self.site.how_it_ends(job_id, TIMEOUT)
            self.leave(job_id, state)
            if self.site is not None and not self.queue:
                self._await_site()  # else the pass that follows does
            self._ask_for_pass()

    # -- the scheduling pass ------------------------------------------------------------------

    def _ask_for_pass(self) -> None:
        """Have the scheduler called once all that happens in this second has happened."""
        if self._pass_at < 0 and (self.queue or self._passes_when_idle):
            if not self.pass_interval and self.env.peek() > self.now:
                self._pass()  # nothing else happens in this second: no need to queue for it
            else:
                self._pass_later()

    def pass_again(self) -> None:
        """Have another pass in this second, unless one is due."""
        if self._pass_at < 0:
            self._pass_later()

    def _pass_later(self) -> None:
        wait = -self.now % self.pass_interval if self.pass_interval else 0
        self._pass_at = self.now + wait
        self._next_pass.due_in(wait)

    def _pass_is_due(self, _event: simpy.Event) -> None:
        self.now = self.env.now
        self._pass_at = -1
        if self.queue or self._passes_when_idle:
            self._pass()

    def _pass(self) -> None:
        self.chosen = {}
        if self._by_hand:
            self._pass_is_open = True
            return
        began = perf_counter()
        try:
            decisions = decisions_of(self.scheduler, self._view)
        except (KeyboardInterrupt, TwinError):
            raise
        except BaseException as error:  # also SystemExit: a plug-in does not end the program
            raise raised(self, error) from error
        self.pass_seconds.append(perf_counter() - began)
        if decisions:
            try:
                carry_out(self, decisions)
            except BadDecision as error:
                raise with_place(self, error) from None
        if self.site is not None:
            self._await_site()
        if self.observers is not None:
            self.observers.tell("passed", self.observers.view, tuple(decisions))

    def _close_pass(self) -> None:
        if self._pass_is_open:
            self._pass_is_open = False
            if self.site is not None:
                self._await_site()
            if self.observers is not None:
                self.observers.tell("passed", self.observers.view, tuple(self._decided))
            self._decided = []

    def wake_at(self, until: int) -> None:
        """Have a pass at this second, which is still to come."""
        if until not in self._holds:
            insort(self._holds, until)
            self._alarm(until)

    # -- changes of state ---------------------------------------------------------------------

    def let_wait(self, job: Job) -> None:
        """Take in a job that may run by the queue rules: it waits in the queue, or first for others that it names."""
        if job.after is not None:
            self._wait_for_others(job)
        else:
            self._enqueue(job)

    def _wait_for_others(self, job: Job) -> None:
        """Put ``job`` into the queue once every job that it names has ended, in whatever way."""
        open_after = [i for i in job.after or () if self.state[i] > REJECTED]
        self.eligible.pop(job.id, None)
        if open_after:
            self.dependencies.add(job, open_after)
        else:
            self._release(job)

    def _release(self, job: Job) -> None:
        self.eligible[job.id] = self.now
        self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        self.queue.add(job)
        if self.centre is not None and job.queue in self.centre.special and not job.cores:
            self.special[job.id] = job

    def put_back(self, job: Job) -> None:
        """Put back into the queue a job that was taken off the machine, unless the rules by now leave it no nodes."""
        if self.centre is None or not self.centre.rules_out(job):
            self._enqueue(job)

    def _run(
        self, job: Job, start: int, taken: int, why: str, speed: float = 1.0, wanted: tuple[int, ...] | None = None
    ) -> None:
        """Put ``job`` on the machine: its nodes are busy from ``taken``, it runs from ``start``."""
        job_id = job.id
        if self.site is None:
            if speed != 1.0 or wanted is not None:
                raise bad(self, f"started {called(job)} at a speed or on units; this machine only counts nodes")
            expected_end = start + job.walltime
            end = max(start + self._runtime[job_id], taken)
            self.free_nodes -= job.nodes
        else:
            try:
                end, expected_end = self.site.begin(job, start, taken, speed, wanted)
            except ValueError as error:
                raise bad(self, f"started {called(job)}, but {error}") from None
            self.free_nodes = self.site.free_nodes
            if self.site.cluster.classes is not None:
                start = max(start, taken + self.site.cluster.executions[job_id].lead_s)
        self.running[job_id] = Running(job, start, expected_end)
        if self.sharing is not None and job.cores:
            self.sharing.began(self, job)
        else:
            self.releases.add(expected_end, job_id, self._general_nodes(job))
            self.ledger.change(taken, job.nodes)
        self._generation = generation = self._generation + 1
        self._ends[job_id] = (end, generation, self.attempts.begin(job_id, taken, start, why))
        simpy.Timeout(self.env, end - self.now, (job_id, generation)).callbacks.append(self._end)
        if self.observers is not None:
            units = None if self.site is None else tuple(self.site.units[-1].tolist())
            self.observers.tell("started", job, taken, units, why)

    def _continue(self, job: Job, began: int) -> None:
        """Put on the machine a job that has been running since ``began``, before the first second."""
        self.state[job.id] = RUNNING
        self.ledger.came(self.now)
        if self.centre is not None:
            job = job._replace(queue=self.centre.admission.found_running(job, self.now))
        self._run(job, began, self.now, "running at the start")

    def leave(self, job_id: int, state: int, *, comes_back: bool = False) -> None:
        """Take ``job_id`` off the machine now; ``state`` says how this attempt ended."""
        job, _, expected_end = self.running.pop(job_id)
        _, _, row = self._ends.pop(job_id)
        if self.sharing is not None and job.cores:
            self.sharing.leaves(self, job_id)
        else:
            self.releases.remove(expected_end, job_id, self._general_nodes(job))
            self.ledger.change(self.now, -job.nodes)
        slow_s = 0.0
        if self.site is None:
            self.free_nodes += job.nodes
        else:
            slow_s = self.site.end(job_id, work_is_lost=state > TIMEOUT)
            self.free_nodes = self.site.free_nodes
        self.attempts.finish(row, self.now, state)
        if not comes_back:
            self._finished(job_id, state)
            if self._learning:
                self._tell_twins(job, row, slow_s)
        if self.centre is not None:
            self.centre.left(job, comes_back=comes_back)
        if self.observers is not None:
            self.observers.tell("ended", job, self.now, STATES[state])

    def _tell_twins(self, job: Job, row: int, slow_s: float) -> None:
        """Tell the twins that learn how the job of a row in attempts has ended."""
        _, _, start, end, ended_as, _ = self.attempts.row(row)
        runtime_s, state = end - start, STATES[ended_as]
        energy_j = None if self.site is None else self.site.joules_of(row)
        told = Ended(job, runtime_s, state, self.now, energy_j, 1.0 - slow_s / max(runtime_s, 1))
        for twin in self._learning:
            try:
                twin.ended(told)
            except Exception as error:
                raise broken(twin, self.now, error) from error

    def _finished(self, job_id: int, state: int) -> None:
        self.state[job_id] = state
        self.ledger.left(self.now)
        if self.closed_loop is not None:
            self.closed_loop.ended(self, job_id)
        for job in self.dependencies.ended(job_id):
            self._release(job)

    # -- queue rules --------------------------------------------------------------------------

    def refuse(self, job_id: int, rule: str) -> None:
        """Reject a job that is submitted: ``rule`` says why it may not start."""
        self.rejected[job_id] = rule
        self._finished(job_id, REJECTED)
        if self.observers is not None:
            self.observers.tell("rejected", next(self.workload.jobs(job_id, job_id + 1)), self.now, rule)

    def turn_away(self, job_id: int, rule: str) -> None:
        """Reject a job that waits, or has just been taken off the machine: by ``rule`` it could never start again."""
        self.queue.pop(job_id)
        for others in (self.special, self.held):
            others.pop(job_id, None)
        self.dependencies.forget(job_id)
        self.rejected_late[job_id] = self.now
        self.refuse(job_id, rule)

    def has_room(self, job: Job) -> bool:
        """Whether a shared node has room for ``job``, which shares."""
        return bool(job.cores) and self.sharing is not None and self.sharing.shares.fits(job)

    def _general_nodes(self, job: Job) -> int:
        """How many nodes that all jobs may have come back when the running ``job`` ends."""
        return job.nodes if self.pools is None else self.pools.coming_back(job.id, job.nodes)

    def _await_period(self) -> None:
        """Note when other queue rules come into force, as long as there are jobs that they could concern."""
        if self.centre is None or self.is_over:
            return
        begins = self.centre.admission.next_period_s
        if begins < NEVER:
            schedule(self.env, begins - self.now, FIRST, self._period_begins)

    def _period_begins(self, _event: simpy.Event) -> None:
        if self.centre is None or self.is_over:
            return
        self.now = self.env.now
        if self.centre.turn():
            self._await_site()
            self._ask_for_pass()
        self._await_period()

    # -- the machine itself -------------------------------------------------------------------

    def fail(self, job_id: int, *, comes_back: bool) -> None:
        """End a job because a node of it failed."""
        job = self.running[job_id].job
        self.leave(job_id, NODE_FAILED, comes_back=comes_back)
        if comes_back:
            self.put_back(job)

    def retime(self, job_id: int, end: int, expected_end: int) -> None:
        """A running job has another pace: it now ends at ``end``, by its limit at ``expected_end`` at the latest."""
        job, start, expected = self.running[job_id]
        if self.sharing is not None and expected_end != expected and job.cores:
            self.running[job_id] = Running(job, start, expected_end)
            self.sharing.changed(self, job_id)
        elif expected_end != expected:
            nodes = self._general_nodes(job)
            self.releases.remove(expected, job_id, nodes)
            self.releases.add(expected_end, job_id, nodes)
            self.running[job_id] = Running(job, start, expected_end)
        self._generation = generation = self._generation + 1
        self._ends[job_id] = (end, generation, self._ends[job_id][2])
        simpy.Timeout(self.env, end - self.now, (job_id, generation)).callbacks.append(self._end)

    def _await_site(self) -> None:
        """Note when the machine next does something by itself, as long as there are jobs that it could concern."""
        site = self.site
        if site is None:
            return
        if not (self.running or self.arrivals.coming) and (self.is_over or not (self._holds or site.changes)):
            return  # nobody waits, or for nothing that the machine could bring
        at = site.next_s
        if at != self._site_at and at < NEVER:
            self._site_at = at
            schedule(self.env, max(0, at - self.now), AFTER_ENDS, self._site_is_due, at)

    def _site_is_due(self, event: simpy.Event) -> None:
        if event.value != self._site_at or self.site is None or self.is_over:
            return  # overtaken by something earlier, or of no concern to any job any more
        self.now = self.env.now
        self._site_at = NEVER
        self._count_idle()
        self.site.happen()
        self.free_nodes = self.site.free_nodes
        self._await_site()
        self._ask_for_pass()

    # -- SimPy --------------------------------------------------------------------------------

    def watch(self, observers: Mapping[str, object]) -> Observers:
        """Tell these ``observers``, by name, of all that happens from now on, instead of those there were."""
        from hpcsim.engine.observers import Observers  # for few runs

        self.observers = Observers(self, observers)
        self.observers.tell("began", self.observers.view)
        return self.observers

    def run(self, until: int | None = None) -> None:
        """Simulate up to second ``until`` (not included), or until nothing is left to happen.

        Once every job has ended the clock stands still, and so does the machine: ``now`` is the end of the run.

        Raises BadDecision or SchedulerError where the scheduler is at fault; the simulation is void then.
        """
        self._close_pass()
        if until is None:
            self.env.run()
            refuse_a_stall(self)
        elif until > self.now:
            if until > self.env.now:
                self.env.run(until=until)
            if not self.is_over:  # else the run ended with its last job
                self.now = until
        self.ledger.settle(self.now)

    def step(self) -> View | None:
        """Simulate the next second in which anything happens, with its scheduling pass; None if nothing is left.

        The view shows what the scheduler has made of that second, and is valid until the next call. Raises as ``run``.
        """
        self._close_pass()
        env = self.env
        while (second := env.peek()) < inf:
            while env.peek() == second:
                env.step()
            if self.now == second:  # else only what was overtaken by something earlier
                self.ledger.settle(self.now)
                return self._view
        refuse_a_stall(self)
        self.ledger.settle(self.now)
        return None

    def instants(self) -> Iterator[View]:
        """Iterate over the seconds in which anything happens, as ``step`` does."""
        while (view := self.step()) is not None:
            yield view

    def advance(self) -> View | None:
        """Simulate up to the next scheduling pass and leave that to the caller; None if nothing is left to happen.

        The scheduler is not asked. What the caller wants done is told to ``decide``; the pass is over with the next
        call of ``advance``, ``step`` or ``run``. Raises SchedulerError where jobs are left waiting for ever.
        """
        self._close_pass()
        env = self.env
        self._by_hand = True
        try:
            while not self._pass_is_open:
                env.step()
        except simpy.core.EmptySchedule:
            refuse_a_stall(self)
        finally:
            self._by_hand = False
        self.ledger.settle(self.now)
        return self._view if self._pass_is_open else None

    def decide(self, decisions: Iterable[Decision]) -> None:
        """Carry out decisions in the pass that ``advance`` has left to the caller.

        It may be called several times in a pass: the view then shows what was decided before. Raises BadDecision, as
        for a scheduler, and RuntimeError where there is no such pass.
        """
        if not self._pass_is_open:
            raise RuntimeError(f"t={self.now}: decide() is for the pass that advance() has left to its caller")
        made = collected(decisions)
        carry_out(self, made)
        self._decided += made

    @property
    def next_arrival(self) -> int:
        """The id of the next job that is submitted without following another; after the last, the number of jobs."""
        return self.arrivals.next_id

    @property
    def arrived(self) -> int:
        """Below this id are all jobs that have been submitted so far; and no others, unless some follow others."""
        loop = self.closed_loop
        return max(self.next_arrival, 0 if loop is None else max(loop.submitted_s, default=-1) + 1)

    @property
    def submitted(self) -> int:
        """How many jobs have been submitted so far."""
        following = 0 if self.closed_loop is None else self.closed_loop.open_below(self.next_arrival)
        return self.next_arrival + following

    @property
    def submit_s(self) -> npt.NDArray[np.int64]:
        """When each job was submitted, as far as it has been: as the workload says, or after one that it followed."""
        column = self.workload.column("submit_s")
        if self.closed_loop is not None:
            column = column.copy()
            for job_id, second in self.closed_loop.submitted_s.items():
                column[job_id] = second
        return column

    @property
    def waiting(self) -> list[Job]:
        """All jobs that were submitted and are to start: those of the queue, then those that are held back."""
        return [*self.queue.jobs, *self.held.values(), *self.dependencies.blocked.values()]

    def ends_at(self, job_id: int) -> int:
        """The second at which a running job really ends if nothing changes."""
        return self._ends[job_id][0]

    def program_of(self, job_id: int) -> tuple[int, int]:
        """How long the program of a job really runs, as far as it may, and how it then ends: a place in ``STATES``."""
        return self._runtime[job_id], self._outcome[job_id]

    def rows_running(self) -> Iterator[tuple[int, int]]:
        """The ids of the running jobs, each with the row of its attempt."""
        return ((job_id, row) for job_id, (_, _, row) in self._ends.items())

    @property
    def blocked(self) -> list[Job]:
        """The submitted jobs that wait for others to end, in the order of submission."""
        return [job for _, job in sorted(self.dependencies.blocked.items())]

    @property
    def is_over(self) -> bool:
        """Whether every job has ended."""
        if self.arrivals.coming or self.queue or self.running or self.dependencies.blocked or self.held:
            return False
        return self.closed_loop is None or self.closed_loop.is_over

    def fork(self) -> Simulation:
        """An independent copy that goes on from here as this simulation does, whatever becomes of the other.

        Scheduler and twins are copied with ``copy.deepcopy``: one with large weights has a ``__deepcopy__`` that shares
        them; twins go on being told what sensors read. What never changes is shared, and so is the past, page by page.
        Telemetry is not recorded in a copy, which nobody observes, and ``pass_seconds`` begins anew. Raises
        SchedulerError where a plug-in cannot be copied. It is for whoever owns the simulation: it knows the future.
        """
        from hpcsim.engine.fork import fork  # for few runs

        return fork(self)

    def save(self, path: str | Path) -> None:
        """Write the state to a file from which another process can go on: see ``restore``.

        It is written under a temporary name and renamed. What the scheduler and the twins remember is taken from their
        ``__getstate__`` and has to be plain: SchedulerError if it is not. InputError if the file cannot be written.
        """
        from hpcsim.engine.snapshot import save  # for few runs

        save(self, path)

    def restore(self, path: str | Path) -> None:
        """Go on from where the simulation was that wrote the file: to the same bytes.

        This one must have been made as that one was, from the same jobs, machine, seed and plug-ins; whatever it has
        done so far is forgotten. Nobody observes it and no telemetry is recorded; ``pass_seconds`` begins anew. A file
        holds plain data and can make nothing run. Raises InputError for a file that is not whole, of another version or
        of another simulation; this one is of no use then.
        """
        from hpcsim.engine.snapshot import restore  # for few runs

        restore(self, path)

    def go_on_from_here(self, arrived: int) -> None:
        """Have a new clock, after the state was replaced; so many jobs have been submitted."""
        self.pass_seconds = array("d")
        self.observers = None
        self.arrivals = self._from(arrived)
        self._wire(self.now)
        if self.site is not None:
            self.site.go_on()
        if self.centre is not None:
            self.centre.go_on()
        self._await_again()

    def take_over(self, scheduler: Scheduler) -> None:
        """Let another scheduler decide from now on."""
        self.scheduler = scheduler
        self.needs = needs_of(scheduler)
        self.recorded_start_s = None
        self._passes_when_idle = bool(getattr(scheduler, "passes_when_idle", False))
        wakes_on = wishes_of(scheduler)
        if self.site is not None:
            self.site.wake_on(wakes_on)

    def _await_again(self) -> None:
        """Fill a new clock with all that was pending, in the same order within each second."""
        arrival_after = self._arrival_after
        ends = sorted((generation, job_id, end) for job_id, (end, generation, _) in self._ends.items())
        before = bisect_right(ends, (arrival_after, NEVER))
        self._await_ends(ends[:before])
        self._await_arrival()
        self._await_ends(ends[before:])
        self._arrival_after = arrival_after
        for until in self._holds:
            self._alarm(until)
        if self._site_at < NEVER:
            schedule(self.env, max(0, self._site_at - self.now), AFTER_ENDS, self._site_is_due, self._site_at)
        self._await_period()
        if self.closed_loop is not None:
            self.closed_loop.go_on(self)
        if self._pass_at >= 0:
            self._next_pass.due_in(self._pass_at - self.now)

    def _await_ends(self, ends: Iterable[tuple[int, int, int]]) -> None:
        for generation, job_id, end in ends:
            simpy.Timeout(self.env, end - self.now, (job_id, generation)).callbacks.append(self._end)

    def _wire(self, now: int) -> None:
        self.env: Clock = clock_from(now)
        self._next_pass = PassEvent(self.env, self._pass_is_due)
        self._view = View(self)

    def _await_arrival(self) -> None:
        if self.arrivals.coming:
            self._arrival_after = self._generation
            delay = self.arrivals.coming[-1].submit - self.now  # negative only for jobs submitted before the start
            simpy.Timeout(self.env, delay if delay > 0 else 0).callbacks.append(self._arrive)

    def after_ends(self, delay: int, callback: Callback) -> None:
        """Have ``callback`` called after ``delay`` seconds, behind all ends and arrivals of that second."""
        schedule(self.env, delay, AFTER_ENDS, callback)

    def _from(self, first: int) -> Arrivals:
        """The jobs from ``first`` on that follow no others."""
        return Arrivals(self.workload, () if self.closed_loop is None else self.closed_loop.jobs, first)

    def _alarm(self, until: int) -> None:
        simpy.Timeout(self.env, until - self.now).callbacks.append(self._alarm_rings)

    def _alarm_rings(self, _event: simpy.Event) -> None:
        self._holds.remove(self.env.now)
        if self.is_over:
            return  # the run ended with its last job: what nobody waits for does not make it longer
        self.now = self.env.now
        self._count_idle()
        self._ask_for_pass()

    def _count_idle(self) -> None:
        """Refuse a scheduler that waits for ever: the machine stands idle, no job will come, and time goes on."""
        if (
            not self.running
            and not self.arrivals.coming
            and not (self.closed_loop is not None and self.closed_loop.due_s)
        ):
            self._idle_events += 1
            if self._idle_events > _MOST_IDLE_EVENTS:
                raise bad(self, f"was called {self._idle_events} times with nothing running and starts nothing")
