"""The checks of a scheduler: every law that it must keep, in an order in which the simple ones come first."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from hpcsim.engine.capabilities import declared
from hpcsim.engine.decisions import Hold, SetCap, SetCooling, SetSpeed, Sleep, Wake
from hpcsim.engine.simulation import Simulation
from hpcsim.errors import RunError
from hpcsim.testing import cases, classes, schedules, secrets
from hpcsim.testing.budget import budget_broken
from hpcsim.testing.cases import LONG, WIDE, Case
from hpcsim.testing.check import Check, NotReached
from hpcsim.testing.factory import Factory
from hpcsim.testing.runs import made, run, without
from hpcsim.testing.schedules import all_cases, machine_is_needed, plain_cases
from hpcsim.testing.watched import (
    CHANGES,
    FORM,
    JOBS,
    MAINTENANCE,
    RAISES,
    ROOM,
    STALLS,
    Watched,
    stopped_after,
    told,
)

__tracebackhide__ = True


def is_clairvoyant(kind: type) -> bool:
    """Whether a scheduler class declares that it knows what no scheduler can know, the record of the trace."""
    return "clairvoyance" in declared(kind)


def scheduler_checks() -> list[Check]:
    """Every check of a scheduler, each to be called with a class or a ``Factory``; ``docs/testing.md`` lists them."""
    return list(_CHECKS)


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
            with stopped_after(type(scheduler)):
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
        while simulation.step() is not None:
            if simulation.running and not simulation.queue:
                return
    except RunError as error:
        raise NotReached(str(error)) from error
    raise NotReached("there is no moment at which jobs run and none waits")


# -- whole runs -----------------------------------------------------------------------------------


def _fits_on(case: Callable[[], Case], guess: str) -> Callable[[Factory], None]:
    """The law that nothing is started for which there is no room."""
    return without(ROOM, lambda factory: [case()], f". {guess}")


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
                f"when no more jobs came (the last at {submit[-1]}). Short jobs that came later overtook it without "
                "end. Let waiting count, or reserve nodes for it; where it is meant to be so, declare an expected "
                "failure and say why"
            )


def _clairvoyance(kind: type) -> str | None:
    return "it declares that it knows what no scheduler can know" if is_clairvoyant(kind) else None


def _ten_thousand_waiting_jobs_in_time(factory: Factory) -> None:
    complaint = budget_broken(factory, machine=machine_is_needed(factory))
    if complaint is not None:
        raise AssertionError(complaint)


_CHECKS = (
    Check("keeps_to_the_api", "it has a name, api = 1 and schedule(self, view)", classes.scheduler_keeps_to_the_api),
    Check(
        "options_have_defaults_and_a_schema",
        "it can be made from its default options; they have a JSON schema and survive being written down",
        classes.options_have_defaults_and_a_schema,
    ),
    Check(
        "raises_nothing",
        "it raises no error on any machine",
        without(RAISES, all_cases, ". Whatever a scheduler raises voids the run"),
    ),
    Check("decides_in_the_right_form", "what it yields are decisions with values that hold", without(FORM, all_cases)),
    Check(
        "decides_for_known_jobs_only",
        "it starts only jobs that wait, once each, and stops only jobs that run",
        without(JOBS, all_cases),
    ),
    Check(
        "decides_nothing_for_an_empty_queue",
        "where no job waits it decides nothing",
        _decides_nothing_for_an_empty_queue,
    ),
    Check("changes_nothing_itself", "it only decides; the engine carries out", without(CHANGES, all_cases)),
    Check(
        "never_overbooks",
        "it starts no more than fits, on machines of 1 to 64 nodes",
        without(
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
        without(MAINTENANCE, lambda factory: [cases.maintained_case()], f"; {_ASK_THE_ROOM}"),
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
        without(STALLS, all_cases, ". A pass comes only when something happens; to be called later, yield Hold(until)"),
    ),
    Check("no_job_starves", "a wide job and a long one run although short ones never cease to come", _no_job_starves),
    Check("same_seed_same_schedule", "two runs with one seed decide the same", schedules.same_seed_same_schedule),
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
    Check(
        "knows_no_future",
        "no decision hangs on what has not happened yet",
        secrets.knows_no_future,
        exempts=_clairvoyance,
    ),
    Check(
        "reads_nothing_hidden",
        "it reads nothing but what its view shows",
        secrets.reads_nothing_hidden,
        exempts=_clairvoyance,
    ),
    Check(
        "ten_thousand_waiting_jobs_in_time",
        "a pass with 10,000 waiting jobs takes at most some seconds",
        _ten_thousand_waiting_jobs_in_time,
    ),
)
