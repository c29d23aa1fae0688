"""A scheduler that is watched: what it saw and decided in every pass, and the first thing that it did wrong.

It stands between the engine and the scheduler of a check, and looks at each pass before the engine carries it out.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import Any, Final, NamedTuple, cast, get_args

from hpcsim.engine.capabilities import CAPABILITIES, needed_for
from hpcsim.engine.complaints import whereabouts
from hpcsim.engine.decisions import Decision, Hold, Kill, Preempt, SetSpeed, Start
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.view import View
from hpcsim.workload.job import Job

__tracebackhide__ = True

_MOST_DECISIONS = 20_000  # in one pass
_MOST_IDLE_PASSES = 20_000  # that start nothing while nothing runs
LONGEST_PASS_S: Final = 30.0  # of CPU: a pass that takes more never ends
_ONCE_MORE_S: Final = 0.1  # for one of whose passes that was so

# The kinds of faults; each is the point of one check or more.
RAISES, FORM, JOBS, ROOM, MAINTENANCE, STALLS, CHANGES = (
    "raises", "form", "jobs", "room", "maintenance", "stalls", "changes",
)  # fmt: skip


class Pass(NamedTuple):
    """One scheduling pass: its second, all that a scheduler could see then, and what was decided, as text."""

    now: int
    seen: tuple[Any, ...]
    decisions: tuple[str, ...]

    def __str__(self) -> str:
        return f"t={self.now}: {'; '.join(self.decisions) or 'nothing'}"


_ENDLESS: Final[set[type]] = set()


@contextmanager
def stopped_after(kind: type) -> Iterator[None]:
    """Raise TimeoutError in a pass of a scheduler of this class, wherever it is, once it has taken too long.

    A class that never ended once is not waited for again. Only the main thread can be stopped: in another none is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(_number: int, _frame: object) -> None:
        _ENDLESS.add(kind)
        raise TimeoutError(f"a pass had not come to an end after {LONGEST_PASS_S:g} s of CPU")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, _ONCE_MORE_S if kind in _ENDLESS else LONGEST_PASS_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


class Watched:
    """``inner`` is the scheduler. ``during`` is entered while it decides.

    With ``looks`` each pass keeps all that could be seen, and that nothing changed meanwhile. ``faults`` has the first
    fault of each kind.
    """

    def __init__(
        self,
        inner: Any,
        *,
        looks: bool = False,
        during: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.inner = inner
        self.looks = looks
        self.during = during
        self.passes: list[Pass] = []
        self.faults: dict[str, str] = {}
        self.closely = False  # whether a twin is asked about each job alone as well
        self.twins: Mapping[str, Any] | None = None  # of the simulation, instead of the case's own
        self._idle_passes = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":  # not there yet, while it is copied
            raise AttributeError(name)
        return getattr(self.inner, name)

    def schedule(self, view: View) -> list[Decision]:
        simulation = view._simulation
        before = visible(simulation) if self.looks else ()
        with self.during(), stopped_after(type(self.inner)):
            answer = cast("Any", self.inner.schedule(view))
            if answer is None:
                self._blame(FORM, simulation, "returned None: schedule() should yield decisions, or return some")
                return []
            decisions = list(islice(answer, _MOST_DECISIONS))
        if self.looks and (after := visible(simulation)) != before:
            self._blame(CHANGES, simulation, changed(before, after))
        self.passes.append(Pass(simulation.now, before, tuple(map(told, decisions))))
        self._judge(simulation, decisions)
        self._count_idle(simulation, decisions)
        return decisions

    def _blame(self, kind: str, simulation: Simulation, text: str) -> None:
        self.faults.setdefault(kind, f"t={simulation.now}: {self.inner.name} {text}")

    def _judge(self, simulation: Simulation, decisions: list[Any]) -> None:
        """Find what is wrong with decisions whatever the machine is."""
        if len(decisions) == _MOST_DECISIONS:
            self._blame(FORM, simulation, f"decided {_MOST_DECISIONS} things in one pass, and had not come to an end")
            return
        queue, running = {job.id: job for job in simulation.queue.jobs}, dict(simulation.running)
        started: set[int] = set()
        for decision in decisions:
            if not isinstance(decision, Decision):
                kinds = ", ".join(kind.__name__ for kind in get_args(Decision))
                self._blame(FORM, simulation, f"decided {decision!r}; a decision is one of {kinds}")
            elif type(decision.why if hasattr(decision, "why") else "") is not str:
                self._blame(FORM, simulation, f"gave the reason {decision.why!r}; a reason is text")
            elif (need := _need(decision)) is not None and need not in simulation.needs:
                gives = CAPABILITIES[need].gives
                self._blame(
                    FORM, simulation, f"decided {told(decision)}; declare {need!r} among its needs to use {gives}"
                )
            elif isinstance(decision, Hold):
                until = cast("object", decision.until)
                if type(until) is not int or until <= simulation.now:
                    rule = "it must be a whole second later than now (int, not a float nor one of numpy's)"
                    self._blame(FORM, simulation, f"holds until {until!r}; {rule}")
            elif isinstance(decision, Start | Preempt | Kill | SetSpeed):
                self._judge_job(simulation, decision, queue, running, started)

    def _judge_job(
        self,
        simulation: Simulation,
        decision: Start | Preempt | Kill | SetSpeed,
        queue: dict[int, Job],
        running: dict[int, Any],
        started: set[int],
    ) -> None:
        job, verb = cast("object", decision.job), _VERBS[type(decision)]
        if not isinstance(job, Job):
            self._blame(
                JOBS, simulation, f"{verb} {job!r}, which is no job; yield the job itself, as view.queue has it"
            )
            return
        known = queue.get(job.id) or (running[job.id].job if job.id in running else None)
        if known is not None and known != job:
            self._blame(JOBS, simulation, f"{verb} a job {job!r} of its own making; the one that is known is {known!r}")
        elif isinstance(decision, Start) and job.id not in queue:
            if job.id in started:
                cause = "most likely the pass goes over the queue again and forgets what it has just started"
                self._blame(JOBS, simulation, f"started job {job.name} twice in one pass; {cause}")
            else:
                cause = "most likely it keeps a list of jobs from an earlier pass instead of asking view.queue"
                where = whereabouts(simulation, job)
                self._blame(JOBS, simulation, f"started job {job.name}, which is {where}; {cause}")
        elif not isinstance(decision, Start) and job.id not in running:
            where = whereabouts(simulation, job)
            self._blame(JOBS, simulation, f"{verb} job {job.name}, which is {where}; only a running job can be {verb}")
        elif isinstance(decision, Start):
            del queue[job.id]
            running[job.id] = simulation.running.get(job.id) or _Started(job)
            started.add(job.id)
            self._judge_maintenance(simulation, job)
        elif not isinstance(decision, SetSpeed):
            gone = running.pop(job.id).job
            if isinstance(decision, Preempt):
                queue[job.id] = gone

    def _judge_maintenance(self, simulation: Simulation, job: Job) -> None:
        if simulation.site is None or simulation.site.closes_s < 0:
            return
        closes_s = simulation.site.closes_s
        until = simulation.now + simulation.launch_latency + job.walltime
        if until > closes_s:
            self._blame(
                MAINTENANCE,
                simulation,
                f"started job {job.name}, which may run until {until}, but maintenance begins at {closes_s}",
            )

    def _count_idle(self, simulation: Simulation, decisions: list[Any]) -> None:
        idle = simulation.queue and not simulation.running and not any(isinstance(each, Start) for each in decisions)
        self._idle_passes = self._idle_passes + 1 if idle else 0
        if self._idle_passes > _MOST_IDLE_PASSES:
            self._blame(
                STALLS, simulation, f"was called {self._idle_passes} times with nothing running, and starts nothing"
            )
            raise NeverStarts(self.faults[STALLS])


class NeverStarts(Exception):
    """Raised to end a run that would go on for ever."""


def _need(decision: Any) -> str | None:
    """What has to be declared for a decision."""
    if isinstance(decision, Start):
        return "speed" if decision.speed != 1.0 else "places" if decision.units is not None else None
    return needed_for(decision)


class _Started(NamedTuple):
    job: Job


_VERBS = {Start: "started", Preempt: "preempted", Kill: "killed", SetSpeed: "set the speed of"}


def told(decision: Any) -> str:
    """A decision as text: all its fields, jobs by their names."""
    if not isinstance(decision, Decision):
        return repr(decision)
    fields = (value.name if isinstance(value, Job) else repr(value) for value in decision)
    return f"{type(decision).__name__}({', '.join(fields)})"


def visible(simulation: Simulation) -> tuple[Any, ...]:
    """All that a scheduler can see of the simulation through its view."""
    site = simulation.site
    seen: tuple[Any, ...] = (
        simulation.now,
        simulation.free_nodes,
        tuple(simulation.queue),
        tuple((job_id, each.start, each.expected_end) for job_id, each in simulation.running.items()),
        tuple(simulation.releases),
    )
    if site is None:
        return seen
    cluster = site.cluster
    return (
        *seen,
        tuple(cluster.meter.nodes_in.items()),
        cluster.places.holder_U.tobytes(),
        cluster.places.up_U.tobytes(),
        site.closed,
        cluster.meter.it_w,
        cluster.cap,
        site.facility.cap_w,
        None if cluster.heat is None else cluster.heat.temperatures(simulation.now)[0].tobytes(),
    )


_SEEN = (
    "the time", "the free nodes", "the queue", "the running jobs", "the expected ends", "the states of nodes",
    "who has which node", "which nodes are up", "the maintenance", "the power", "the throttle", "the cap", "the heat",
)  # fmt: skip


def changed(before: tuple[Any, ...], after: tuple[Any, ...]) -> str:
    what = [name for name, old, new in zip(_SEEN, before, after, strict=False) if old != new]
    cause = "who is asked reads its view and answers; only the engine changes things"
    return f"changed {' and '.join(what)} itself while it was asked; {cause}"
