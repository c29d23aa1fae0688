"""The checks of a scheduler: every law that it must keep, in an order in which the simple ones come first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from math import inf

from pydantic import BaseModel

from hpcsim.engine.decisions import Hold, SetCap, SetCooling, SetSpeed, Sleep, Wake
from hpcsim.engine.operations import SIGNALS
from hpcsim.engine.simulation import Simulation
from hpcsim.errors import SchedulerError
from hpcsim.plugin.kinds import Refused, checked_class
from hpcsim.testing import cases, schedules
from hpcsim.testing.budget import budget_broken
from hpcsim.testing.cases import LONG, WIDE, Case
from hpcsim.testing.check import Check, NotReached
from hpcsim.testing.factory import Factory
from hpcsim.testing.futures import differences
from hpcsim.testing.guard import Guard
from hpcsim.testing.schedules import all_cases, machine_is_needed, plain_cases, refuse_chance, texts
from hpcsim.testing.watched import (
    CHANGES,
    FORM,
    JOBS,
    MAINTENANCE,
    RAISES,
    ROOM,
    STALLS,
    Watched,
    finish,
    made,
    next_instant,
    run,
    told,
    working,
)

__tracebackhide__ = True


def is_clairvoyant(kind: type) -> bool:
    """Whether a scheduler class declares that it knows what no scheduler can know, the record of the trace."""
    return "clairvoyance" in getattr(kind, "needs", ()) or bool(getattr(kind, "hindsight", False))


def scheduler_checks() -> list[Check]:
    """Every check of a scheduler, each to be called with a class or a ``Factory``; ``docs/testing.md`` lists them."""
    return list(_CHECKS)


# -- the class ------------------------------------------------------------------------------------


def _keeps_to_the_api(factory: Factory) -> None:
    kind = factory.kind
    try:
        name, _ = checked_class(kind, "scheduler", "schedule(self, view)")
    except Refused as error:
        raise AssertionError(str(error)) from error
    signals = getattr(kind, "wakes_on", ())
    if not isinstance(signals, tuple | list | set | frozenset) or not set(signals) <= set(SIGNALS):
        raise AssertionError(f"{kind.__qualname__}.wakes_on should be some of {', '.join(SIGNALS)} (found {signals!r})")
    for flag in ("passes_when_idle", "hindsight"):
        value = getattr(kind, flag, False)
        if type(value) is not bool:
            raise AssertionError(f"{kind.__qualname__}.{flag} should be True or False (found {value!r})")
    mine = getattr(factory(), "name", None)
    if mine != name:
        raise AssertionError(f"{kind.__qualname__} is registered as {name!r}, but one that is made calls itself {mine!r}")


def _options_have_defaults_and_a_schema(factory: Factory) -> None:
    model = getattr(factory.kind, "Options", None)
    if model is None:
        _can_be_made(factory)
        return
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise AssertionError(f"{factory.kind.__qualname__}.Options should be a pydantic model, found {model!r}")
    needed = [name for name, info in model.model_fields.items() if info.is_required()]
    if needed:
        raise AssertionError(
            f"the options of {factory.name} have no default for {', '.join(needed)}, so that --scheduler {factory.name} "
            "alone is refused; give a default to every field"
        )
    _can_be_made(Factory(factory.kind))
    _can_be_made(factory)
    try:
        json.dumps(model.model_json_schema())
        options = model.model_validate(dict(factory.options))
        again = model.model_validate(json.loads(json.dumps(options.model_dump(mode="json", by_alias=True))))
    except Exception as error:
        raise AssertionError(
            f"the options of {factory.name} cannot be written into a scenario file and read again: "
            f"{type(error).__name__}: {error}. Most likely a field holds something that JSON has not"
        ) from error
    if again != options:
        raise AssertionError(f"the options of {factory.name} change when written and read: {options!r}, then {again!r}")


def _can_be_made(factory: Factory) -> None:
    try:
        factory()
    except NotReached as error:
        rule = "a class without Options is made without arguments, one with Options takes them as its only argument"
        raise AssertionError(f"{error}; {rule}") from error


# -- single passes --------------------------------------------------------------------------------


def _decides_nothing_for_an_empty_queue(factory: Factory) -> None:
    case = plain_cases(factory)[-1]
    scheduler = factory()
    allowed = (Hold, Sleep, Wake, SetCap, SetCooling, SetSpeed) if getattr(scheduler, "passes_when_idle", False) else ()
    simulation = made(case, Watched(scheduler))  # nothing has arrived yet
    for when in ("while nothing runs", "while jobs run"):
        if when == "while jobs run":
            _run_to_an_empty_queue(simulation)
        try:
            decisions = list(scheduler.schedule(simulation._view) or ())
        except Exception as error:
            raise AssertionError(
                f"asked with an empty queue {when}, {factory.name} raised {type(error).__name__}: {error}. Most likely "
                "it takes the first job of the queue, or the least of it, without asking whether there is one"
            ) from error
        wrong = [told(each) for each in decisions if not isinstance(each, allowed)]
        if wrong:
            raise AssertionError(
                f"asked with an empty queue {when}, {factory.name} decided {'; '.join(wrong[:3])}. There is nothing to "
                "decide, unless it declares passes_when_idle = True to control the machine; most likely it keeps a "
                "list of jobs of its own, or decides before it looks at the queue"
            )


def _run_to_an_empty_queue(simulation: Simulation) -> None:
    """Go on until jobs run and none waits; raises NotReached if that never comes."""
    try:
        while next_instant(simulation):
            if simulation.running and not simulation.queue:
                return
    except SchedulerError as error:
        raise NotReached(str(error)) from error
    raise NotReached("there is no moment at which jobs run and none waits")


# -- whole runs -----------------------------------------------------------------------------------


def _no_fault(factory: Factory, some: Iterable[Case], kind: str, guess: str) -> None:
    """Raise AssertionError if a run has a fault of this kind, NotReached if all break by faults of other kinds."""
    complaint: str | None = None
    reached = False
    for case in some:
        ran = run(case, factory, looks=kind == CHANGES)
        if kind in ran.faults:
            raise AssertionError(f"on {case.name}: {ran.faults[kind]}{guess}") from ran.error
        reached = reached or ran.complaint is None
        complaint = complaint or ran.complaint
    if not reached:
        raise NotReached(f"no run comes to its end: {complaint}")


def _without(kind: str, some: Callable[[Factory], Iterable[Case]], guess: str = "") -> Callable[[Factory], None]:
    """The law that no run of ``some`` cases has a fault of this kind."""

    def law(factory: Factory) -> None:
        _no_fault(factory, some(factory), kind, guess)

    return law


def _fits_on(case: Callable[[], Case], guess: str) -> Callable[[Factory], None]:
    """The law that nothing is started for which there is no room."""
    return _without(ROOM, lambda factory: [case()], f". {guess}")


_ASK_THE_ROOM = "ask room = view.room() once in each pass, and start what room.take(job) agrees to"


def _no_job_starves(factory: Factory) -> None:
    case = cases.stream_case()
    if machine_is_needed(factory):
        case = cases.on_machine(case)
    ran = run(case, factory)
    if ran.complaint is not None:
        raise NotReached(f"on {case.name}: {ran.complaint}")
    submit = case.workload.column("submit_s")
    start = dict(zip(ran.simulation.attempts.job, ran.simulation.attempts.start, strict=True))
    for number, what in ((WIDE, "needs all nodes"), (LONG, "takes ten times as long as the others")):
        if start.get(number, inf) > submit[-1]:
            raise AssertionError(
                f"a job that {what} was submitted at {submit[number]} and started at {start.get(number, 'no time')}, "
                f"when no more jobs came (the last at {submit[-1]}). Short jobs that came later overtook it without end. Let waiting "
                "count, or reserve nodes for it; where it is meant to be so, declare an expected failure and say why"
            )


# -- what nobody can know -------------------------------------------------------------------------


def _knows_no_future(factory: Factory) -> None:
    for case, ran in working(factory, all_cases(factory), looks=True):
        for what, second, one, other in differences(factory, case, ran):
            refuse_chance(factory, case, texts(ran))
            raise AssertionError(
                f"on {case.name}: it knows {what}. Two runs show it the same things up to t={one.now} and differ only in "
                f"{what} after t={second}, yet it decided {one}, and then {other}. Most likely it reads the workload or "
                "the simulation behind its view"
            )


def _reads_nothing_hidden(factory: Factory) -> None:
    for case in all_cases(factory):
        guard = Guard()
        watched = Watched(factory(), during=guard.deciding)
        simulation = made(case, watched)
        guard.watch(simulation)
        finish(simulation, watched)  # what else is wrong is the point of other checks
        if guard.looks:
            raise AssertionError(
                f"on {case.name}: it looks behind its view: {guard.told()}. What hpcsim.plugin.View does not show is "
                "hidden, or may change without notice; ask the view"
            )


def _clairvoyance(kind: type) -> str | None:
    return "it declares that it knows what no scheduler can know" if is_clairvoyant(kind) else None


def _ten_thousand_waiting_jobs_in_time(factory: Factory) -> None:
    complaint = budget_broken(factory, machine=machine_is_needed(factory))
    if complaint is not None:
        raise AssertionError(complaint)


_CHECKS = (
    Check("keeps_to_the_api", "it has a name, api = 1 and schedule(self, view)", _keeps_to_the_api),
    Check(
        "options_have_defaults_and_a_schema",
        "it can be made from its default options; they have a JSON schema and survive being written down",
        _options_have_defaults_and_a_schema,
    ),
    Check(
        "raises_nothing",
        "it raises no error on any machine",
        _without(RAISES, all_cases, ". Whatever a scheduler raises voids the run"),
    ),
    Check("decides_in_the_right_form", "what it yields are decisions with values that hold", _without(FORM, all_cases)),
    Check(
        "decides_for_known_jobs_only",
        "it starts only jobs that wait, once each, and stops only jobs that run",
        _without(JOBS, all_cases),
    ),
    Check(
        "decides_nothing_for_an_empty_queue",
        "where no job waits it decides nothing",
        _decides_nothing_for_an_empty_queue,
    ),
    Check("changes_nothing_itself", "it only decides; the engine carries out", _without(CHANGES, all_cases)),
    Check(
        "never_overbooks",
        "it starts no more than fits, on machines of 1 to 64 nodes",
        _without(
            ROOM,
            plain_cases,
            ". Most likely it looks at the free nodes for each job and does not take away what it has just given; "
            + _ASK_THE_ROOM,
        ),
    ),
    Check(
        "respects_down_nodes",
        "it starts no more than fits where nodes fail",
        _fits_on(
            cases.failing_case,
            f"Most likely it counts the nodes that no job has, of which some are down; {_ASK_THE_ROOM}",
        ),
    ),
    Check(
        "respects_maintenance",
        "it starts nothing that may run into scheduled maintenance",
        _without(MAINTENANCE, lambda factory: [cases.maintained_case()], f"; {_ASK_THE_ROOM}"),
    ),
    Check(
        "respects_queue_pools",
        "it starts a job only where the nodes of its queue hold it",
        _fits_on(
            cases.pooled_case, f"Queues may have nodes of their own, which free_nodes does not say; {_ASK_THE_ROOM}"
        ),
    ),
    Check(
        "respects_torus_blocks",
        "it starts a job only where a block of the torus is free",
        _fits_on(cases.torus_case, f"Enough free nodes may be scattered, and be no block; {_ASK_THE_ROOM}"),
    ),
    Check(
        "respects_shared_nodes",
        "it starts a job that shares a node only where its part is free",
        _fits_on(cases.shared_case, f"Jobs may take a part of a node; {_ASK_THE_ROOM}"),
    ),
    Check(
        "every_fitting_job_runs",
        "every job that the machine can hold finally runs",
        _without(
            STALLS, all_cases, ". A pass comes only when something happens; to be called later, yield Hold(until)"
        ),
    ),
    Check("no_job_starves", "a wide job and a long one run although short ones never cease to come", _no_job_starves),
    Check(
        "same_seed_same_schedule", "two runs with one seed decide the same", schedules.same_seed_same_schedule
    ),
    Check(
        "same_schedule_in_a_new_process",
        "new processes with other PYTHONHASHSEEDs decide the same",
        schedules.same_schedule_in_a_new_process,
    ),
    Check(
        "simulations_do_not_disturb_each_other",
        "two simulations, an instant of each in turn, go as they do alone",
        schedules.simulations_do_not_disturb_each_other,
    ),
    Check(
        "goes_on_alike_when_copied",
        "a deep copy goes on as the original does, and leaves it alone",
        schedules.goes_on_alike_when_copied,
    ),
    Check("goes_on_alike_when_pickled", "so does one that was pickled", schedules.goes_on_alike_when_pickled),
    Check("knows_no_future", "no decision hangs on what has not happened yet", _knows_no_future, exempts=_clairvoyance),
    Check(
        "reads_nothing_hidden", "it reads nothing but what its view shows", _reads_nothing_hidden, exempts=_clairvoyance
    ),
    Check(
        "ten_thousand_waiting_jobs_in_time",
        "a pass with 10,000 waiting jobs takes at most some seconds",
        _ten_thousand_waiting_jobs_in_time,
    ),
)
