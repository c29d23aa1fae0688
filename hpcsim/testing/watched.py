"""A scheduler that is watched: what it saw and decided in every pass, and the first thing that it did wrong.

It stands between the engine and the scheduler of a check, and looks at each pass before the engine carries it out.
"""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Any, NamedTuple, cast, get_args

from hpcsim.engine.decisions import Decision, Hold, Kill, Preempt, SetSpeed, Start
from hpcsim.engine.simulation import Scheduler, Simulation
from hpcsim.engine.view import View
from hpcsim.errors import BadDecision, SchedulerError
from hpcsim.testing.cases import Case, Truth
from hpcsim.testing.check import NotReached
from hpcsim.testing.factory import Factory
from hpcsim.workload.job import Job

__tracebackhide__ = True

_MOST_DECISIONS = 20_000  # in one pass
_MOST_IDLE_PASSES = 20_000  # that start nothing while nothing runs

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


class Watched:
    """``inner`` is the scheduler. ``during`` is entered while it decides.

    With ``looks`` each pass keeps all that could be seen, and that nothing changed meanwhile. ``faults`` has the first
    fault of each kind.
    """

    def __init__(
        self,
        inner: Scheduler,
        *,
        looks: bool = False,
        during: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.inner = inner
        self.looks = looks
        self.during = during
        self.passes: list[Pass] = []
        self.faults: dict[str, str] = {}
        self._idle_passes = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":  # not there yet, while it is copied
            raise AttributeError(name)
        return getattr(self.inner, name)

    def schedule(self, view: View) -> list[Decision]:
        simulation = view._simulation
        before = visible(simulation) if self.looks else ()
        with self.during():
            answer = cast("Any", self.inner.schedule(view))
            if answer is None:
                self._blame(FORM, simulation, "returned None: schedule() should yield decisions, or return some")
                return []
            decisions = list(islice(answer, _MOST_DECISIONS))
        if self.looks and (after := visible(simulation)) != before:
            self._blame(CHANGES, simulation, _changed(before, after))
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
        queue, running = {job.id: job for job in simulation.queue.values()}, dict(simulation.running)
        started: set[int] = set()
        for decision in decisions:
            if not isinstance(decision, Decision):
                kinds = ", ".join(kind.__name__ for kind in get_args(Decision))
                self._blame(FORM, simulation, f"decided {decision!r}; a decision is one of {kinds}")
            elif type(decision.why if hasattr(decision, "why") else "") is not str:
                self._blame(FORM, simulation, f"gave the reason {decision.why!r}; a reason is text")
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
            self._blame(JOBS, simulation, f"{verb} {job!r}, which is no job; yield the job itself, as view.queue has it")
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
                where = simulation._whereabouts(job)
                self._blame(JOBS, simulation, f"started job {job.name}, which is {where}; {cause}")
        elif not isinstance(decision, Start) and job.id not in running:
            where = simulation._whereabouts(job)
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
            self._blame(STALLS, simulation, f"was called {self._idle_passes} times with nothing running, and starts nothing")
            raise _NeverStarts(self.faults[STALLS])


class _NeverStarts(Exception):
    """Raised to end a run that would go on for ever."""


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
        tuple(job.id for job in simulation.queue.values()),
        tuple((job_id, each.start, each.expected_end) for job_id, each in simulation.running.items()),
        tuple(simulation.releases),
    )
    if site is None:
        return seen
    cluster = site.cluster
    return (
        *seen,
        tuple(cluster.nodes_in.items()),
        cluster.places.holder_U.tobytes(),
        cluster.places.up_U.tobytes(),
        site.closed,
        cluster.it_w,
        cluster.cap,
        site.facility.cap_w,
        None if cluster.heat is None else cluster.heat.temperatures(simulation.now)[0].tobytes(),
    )


_SEEN = (
    "the time", "the free nodes", "the queue", "the running jobs", "the expected ends", "the states of nodes",
    "who has which node", "which nodes are up", "the maintenance", "the power", "the throttle", "the cap", "the heat",
)  # fmt: skip


def _changed(before: tuple[Any, ...], after: tuple[Any, ...]) -> str:
    what = [name for name, old, new in zip(_SEEN, before, after, strict=False) if old != new]
    cause = "a scheduler reads its view and yields decisions; only the engine changes things"
    return f"changed {' and '.join(what)} itself while it was asked; {cause}"


# -- runs -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ran:
    """A simulation that is over, as far as it came, and what was wrong with it: a sentence for each kind of fault."""

    simulation: Simulation
    watched: Watched
    faults: dict[str, str]
    error: Exception | None

    @property
    def complaint(self) -> str | None:
        """Why it is no run that others can be compared with; None if it is one."""
        return next((text for kind, text in self.faults.items() if kind != MAINTENANCE), None)


def run(case: Case, factory: Factory, truth: Truth | None = None, *, looks: bool = False) -> Ran:
    """Run ``case`` under a new scheduler to its end, or to where it breaks."""
    watched = Watched(factory(), looks=looks)
    return finish(made(case, watched, truth), watched)


def made(case: Case, watched: Watched, truth: Truth | None = None) -> Simulation:
    """The simulation of ``case`` under a watched scheduler. Raises NotReached where the engine refuses it."""
    try:
        return case.simulation(cast("Scheduler", watched), truth)
    except SchedulerError as error:
        raise NotReached(f"on {case.name}: {error}") from error


def next_instant(simulation: Simulation) -> bool:
    """Let all of the next second happen in which something does; whether there was one."""
    env = simulation.env
    second = env.peek()
    if second == inf:
        return False
    while env.peek() == second:
        env.step()
    return True


def finish(simulation: Simulation, watched: Watched) -> Ran:
    """Go on to the end, or to where it breaks."""
    try:
        simulation.run()
    except SchedulerError as error:
        kind, text = _judged(error, watched)
        known = kind in watched.faults or {FORM, JOBS} & watched.faults.keys()  # in better words
        return Ran(simulation, watched, watched.faults if known else {**watched.faults, kind: text}, error)
    return Ran(simulation, watched, watched.faults, None)


def _judged(error: SchedulerError, watched: Watched) -> tuple[str, str]:
    """What kind of fault the engine has found, and what to say of it."""
    if isinstance(error, BadDecision):
        last = watched.passes[-1].decisions if watched.passes else ()
        return ROOM if any(each.startswith("Start(") for each in last) else FORM, str(error)
    if isinstance(error.__cause__, _NeverStarts):
        return STALLS, str(error.__cause__)
    if error.__cause__ is not None:
        return RAISES, f"{error}{_line_of(error.__cause__)}"
    return STALLS, str(error)


def _line_of(error: BaseException) -> str:
    """The line of source that raised, as people know it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    line = linecache.getline(last.filename, last.lineno or 0).strip()
    return f": {line}" if line else ""


def working(factory: Factory, cases: Iterable[Case], *, looks: bool = False) -> Iterator[tuple[Case, Ran]]:
    """Those of ``cases`` that run to their end, each with what came of it. Raises NotReached if none does."""
    complaint: str | None = None
    ran_any = False
    for case in cases:
        ran = run(case, factory, looks=looks)
        if ran.complaint is None:
            ran_any = True
            yield case, ran
        complaint = complaint or ran.complaint
    if not ran_any:
        raise NotReached(f"no run comes to its end: {complaint}")
