"""The simulated cluster: jobs arrive, are started by a scheduler, run and end, on SimPy's clock.

Event order within one second: new queue rules, then ends, arrivals and holds that run out, then what the machine does
by itself, then exactly one scheduling pass. Simulated time is whole seconds. A job that ends frees its nodes for the
pass of the same second. What a pass decides is collected first, then checked and carried out in the order of the
decisions.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import simpy

from hpcsim.engine.agenda import Agenda
from hpcsim.engine.arrivals import Arrivals
from hpcsim.engine.attempts import FUTURE, Attempts
from hpcsim.engine.availability import Releases
from hpcsim.engine.carrying_out import carry_out, collected, decisions_of
from hpcsim.engine.complaints import needs_of, note_who_decided, raised, refuse_a_stall, wishes_of, with_place
from hpcsim.engine.decided import Decided
from hpcsim.engine.decisions import Decision
from hpcsim.engine.dependencies import Dependencies
from hpcsim.engine.ledger import Ledger
from hpcsim.engine.lifecycle import found_running
from hpcsim.engine.view import Running, View
from hpcsim.engine.waiting import Waiting
from hpcsim.errors import BadDecision, InputError, TwinError
from hpcsim.streams import stream
from hpcsim.workload.job import TIMEOUT, Job, Workload

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from hpcsim.engine.centre import Centre
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
        self.learning: list[Any] = [twin for twin in self.twins.values() if hasattr(twin, "ended")]
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
        self.dependencies: Dependencies = Dependencies()
        self.start = start
        self.now: int = start  # simulated time, seconds
        self.arrivals: Arrivals = self._from(0)
        self.scenario_yaml = ""  # what it was made of, if that is a scenario
        self.is_belief = False  # whether it is what somebody believes, see ``what_if``
        self._by_hand = False  # whether the next pass is left to the caller
        self._pass_is_open = False  # whether the caller may decide now
        self._decided: list[Decision] = []  # what the caller has decided in it

        self.agenda: Agenda = Agenda(self, start)
        self._view = View(self)
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
                found_running(self, job, began)
        self.found_running: int = len(self.running)
        if self.pools is not None and site is not None:
            self.pools.open()
            self.free_nodes = site.free_nodes
        for twin in self.twins.values():
            if hasattr(twin, "knows"):
                from hpcsim.engine.truth import Truth  # for oracles only

                twin.knows(Truth(self))
        self.agenda.await_arrival()
        self.agenda.await_site()
        self.agenda.await_period()

    # -- the scheduling pass ------------------------------------------------------------------

    def ask_for_pass(self) -> None:
        """Have the scheduler called once all that happens in this second has happened."""
        agenda = self.agenda
        if agenda.pass_at < 0 and (self.queue or self._passes_when_idle):
            if not self.pass_interval and agenda.env.peek() > self.now:
                self._pass()  # nothing else happens in this second: no need to queue for it
            else:
                agenda.pass_later()

    def have_pass(self) -> None:
        """Call the scheduler now, if there is anything that it could decide."""
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
        except KeyboardInterrupt as stop:
            note_who_decided(self, stop, perf_counter() - began)
            raise
        except TwinError:
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
            self.agenda.await_site()
        if self.observers is not None:
            self.observers.tell("passed", self.observers.view, tuple(decisions))

    def _close_pass(self) -> None:
        if self._pass_is_open:
            self._pass_is_open = False
            if self.site is not None:
                self.agenda.await_site()
            if self.observers is not None:
                self.observers.tell("passed", self.observers.view, tuple(self._decided))
            self._decided = []

    # -- those who drive it -------------------------------------------------------------------

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
            self.agenda.env.run()
            refuse_a_stall(self)
        elif until > self.now:
            env = self.agenda.env
            if until > env.now:
                env.run(until=until)
            if not self.is_over:  # else the run ended with its last job
                self.now = until
        self.ledger.settle(self.now)

    def step(self) -> View | None:
        """Simulate the next second in which anything happens, with its scheduling pass; None if nothing is left.

        The view shows what the scheduler has made of that second, and is valid until the next call. Raises as ``run``.
        """
        self._close_pass()
        env = self.agenda.env
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
        env = self.agenda.env
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
        return self.agenda.ends[job_id][0]

    def program_of(self, job_id: int) -> tuple[int, int]:
        """How long the program of a job really runs, as far as it may, and how it then ends: a place in ``STATES``."""
        return self._runtime[job_id], self._outcome[job_id]

    def rows_running(self) -> Iterator[tuple[int, int]]:
        """The ids of the running jobs, each with the row of its attempt."""
        return ((job_id, row) for job_id, (_, _, row) in self.agenda.ends.items())

    def has_room(self, job: Job) -> bool:
        """Whether a shared node has room for ``job``, which shares."""
        return bool(job.cores) and self.sharing is not None and self.sharing.shares.fits(job)

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
        self.agenda.new_clock(self.now)
        self._view = View(self)
        if self.site is not None:
            self.site.go_on()
        if self.centre is not None:
            self.centre.go_on()
        self.agenda.go_on()

    def take_over(self, scheduler: Scheduler) -> None:
        """Let another scheduler decide from now on."""
        self.scheduler = scheduler
        self.needs = needs_of(scheduler)
        self.recorded_start_s = None
        self._passes_when_idle = bool(getattr(scheduler, "passes_when_idle", False))
        wakes_on = wishes_of(scheduler)
        if self.site is not None:
            self.site.wake_on(wakes_on)

    def _from(self, first: int) -> Arrivals:
        """The jobs from ``first`` on that follow no others."""
        return Arrivals(self.workload, () if self.closed_loop is None else self.closed_loop.jobs, first)
