"""How the decisions of a pass are carried out: each is checked against what is true by now, in their order."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from types import GeneratorType
from typing import TYPE_CHECKING, Final, cast, get_args

from hpcsim.engine.attempts import KILLED, PREEMPTED
from hpcsim.engine.capabilities import needed_for
from hpcsim.engine.complaints import bad, called, undeclared, whereabouts
from hpcsim.engine.decisions import Decision, Hold, Kill, Preempt, Start
from hpcsim.engine.lifecycle import leave, put_back, start
from hpcsim.errors import BadDecision
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.centre import Centre
    from hpcsim.engine.scheduler import Scheduler
    from hpcsim.engine.simulation import Simulation
    from hpcsim.engine.view import View

_MOST_DECISIONS: Final = 1_000_000  # of one pass: more is a scheduler that never ends


class Collected(list[Decision]):
    """The decisions of a pass. ``lines`` says where each was yielded, in ``file``: both empty where nothing was."""

    __slots__ = ("file", "lines")

    def __init__(self) -> None:
        self.file = ""
        self.lines: list[int] = []


def decisions_of(scheduler: Scheduler, view: View) -> Collected:
    """What it decides in a pass, before any of it is carried out; not all of a scheduler that never ends.

    Raises TypeError where ``schedule`` returns nothing to go through, and what its code raises.
    """
    found: object = scheduler.schedule(view)
    if not isinstance(found, Iterable):
        raise TypeError(f"schedule() returned {found!r}; it should yield decisions, or return some")
    return collected(found)


def collected(decisions: Iterable[Decision]) -> Collected:
    """As many of them as a pass may have, as a list."""
    made = Collected()
    if isinstance(decisions, GeneratorType) and (frame := decisions.gi_frame) is not None:
        made.file = frame.f_code.co_filename
        for decision in islice(decisions, _MOST_DECISIONS):
            made.append(decision)
            made.lines.append(frame.f_lineno)
    else:
        made.extend(islice(decisions, _MOST_DECISIONS))
    return made


def carry_out(sim: Simulation, decisions: Collected) -> None:
    """Do what was decided. Raises BadDecision for what cannot be done; those before it are done by then."""
    if len(decisions) == _MOST_DECISIONS:
        raise bad(sim, f"decided {len(decisions)} things in one pass, for {len(sim.queue)} waiting jobs")
    number = 0
    try:
        for number, decision in enumerate(decisions):  # noqa: B007 (the last one is the bad one)
            if type(decision) is Start:
                _start(sim, *decision)
            else:
                _do(sim, decision)
    except BadDecision as error:
        if decisions.lines:
            error.yielded_at = decisions.file, decisions.lines[number]
        raise


def _do(sim: Simulation, decision: Decision) -> None:
    """Carry out what is no start."""
    if (need := needed_for(decision)) is not None and need not in sim.needs:
        raise undeclared(sim, f"decided {decision!r}", need)
    if isinstance(decision, Preempt):
        _preempt(sim, decision.job)
    elif isinstance(decision, Kill):
        _kill(sim, decision.job)
    elif isinstance(decision, Hold):
        _hold(sim, decision.until)
    elif isinstance(cast("object", decision), Job):
        raise bad(sim, f"decided {called(decision)} itself; to start it, yield Start(job)")
    elif not isinstance(cast("object", decision), Decision):
        kinds = ", ".join(kind.__name__ for kind in get_args(Decision))
        raise bad(sim, f"decided {decision!r}; a decision is one of {kinds}")
    elif sim.site is None:
        raise bad(sim, f"decided {decision!r}, but this machine only counts nodes: it has no power to control")
    else:
        try:
            sim.site.decide(decision)
        except ValueError as error:
            raise bad(sim, f"decided {decision!r}, but {error}") from None
        sim.free_nodes = sim.site.free_nodes
    if type(decision.why) is not str:
        raise bad(sim, f"decided {decision!r} with the reason {decision.why!r}; a reason is text")
    sim.decided.add(sim.now, decision)


def _start(sim: Simulation, job: Job, why: str, speed: float = 1.0, units: tuple[int, ...] | None = None) -> None:
    mine = sim.queue.get(job.id) if type(job) is Job else None
    if mine is None:
        raise bad(sim, f"started {called(job)}, which is {whereabouts(sim, job)}; only a job of the queue can start")
    if type(why) is not str:
        raise bad(sim, f"started {called(mine)} with the reason {why!r}; a reason is text")
    if speed != 1.0 and "speed" not in sim.needs:
        raise undeclared(sim, f"started {called(mine)} at speed {speed!r}", "speed")
    if units is not None and "places" not in sim.needs:
        raise undeclared(sim, f"started {called(mine)} on units of its choice", "places")
    if sim.centre is not None:
        _clear_for(sim, mine, sim.centre)
    elif mine.nodes > sim.free_nodes and not sim.has_room(mine):
        free = f"only {sim.free_nodes} are free; room = view.room(), once in a pass, tells by room.take(job) what fits"
        raise bad(sim, f"started {called(mine)} on {mine.nodes} nodes, but {free}")
    sim.queue.pop(mine.id)
    if units is None and sim.chosen:
        units = sim.chosen.get(mine.id)
    start(sim, mine, why, speed, units)


def _clear_for(sim: Simulation, job: Job, centre: Centre) -> None:
    """Stop the jobs that the rules let be stopped for ``job``, as far as it needs their nodes to start now."""
    try:
        stopped = centre.clear_for(job)
    except ValueError as error:
        raise bad(sim, f"started {called(job)} on {job.nodes} nodes, but {error}") from None
    for each in stopped:
        _preempt(sim, each)
        sim.decided.add(sim.now, Preempt(each, f"for job {job.name} of queue {job.queue}"))
    sim.special.pop(job.id, None)
    centre.admission.started(job)


def _preempt(sim: Simulation, job: Job) -> None:
    mine = _on_machine(sim, job, "preempted")
    leave(sim, mine.id, PREEMPTED, comes_back=True)
    put_back(sim, mine)


def _kill(sim: Simulation, job: Job) -> None:
    waiting = len(sim.queue)
    leave(sim, _on_machine(sim, job, "killed").id, KILLED)
    if len(sim.queue) > waiting:
        sim.agenda.pass_again()  # a job that waited for its end may start in this very second


def _hold(sim: Simulation, until: int) -> None:
    if isinstance(until, bool) or not isinstance(until, int) or until <= sim.now:
        raise bad(sim, f"holds until {until!r}; it must be a whole second later than now, {sim.now}")
    sim.agenda.wake_at(until)


def _on_machine(sim: Simulation, job: Job, verb: str) -> Job:
    running = sim.running.get(job.id) if type(job) is Job else None
    if running is None:
        raise bad(sim, f"{verb} {called(job)}, which is {whereabouts(sim, job)}; only a running job can be {verb}")
    return running.job
