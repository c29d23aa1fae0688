"""Runs the cases under what is checked, and says what was wrong with a run."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import cast

from hpcsim.engine.scheduler import Scheduler
from hpcsim.engine.simulation import Simulation
from hpcsim.errors import BadDecision, RunError
from hpcsim.testing.asked import AGAIN, SINGLY, Asked
from hpcsim.testing.cases import Case, Truth
from hpcsim.testing.check import NotReached
from hpcsim.testing.factory import Factory
from hpcsim.testing.watched import CHANGES, FORM, JOBS, MAINTENANCE, RAISES, ROOM, STALLS, NeverStarts, Watched

__tracebackhide__ = True


def watch(
    factory: Factory, *, looks: bool = False, during: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Watched:
    """A new scheduler that is watched, or a new twin that is asked."""
    kind = Asked if factory.is_twin else Watched
    return kind(factory(), looks=looks, during=during)


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


def run(case: Case, factory: Factory, truth: Truth | None = None, *, looks: bool = False, closely: bool = False) -> Ran:
    """Run ``case`` under a new scheduler to its end, or to where it breaks."""
    watched = watch(factory, looks=looks)
    watched.closely = closely
    return finish(made(case, watched, truth), watched)


def made(case: Case, watched: Watched, truth: Truth | None = None) -> Simulation:
    """The simulation of ``case`` under a watched scheduler. Raises NotReached where the engine refuses it."""
    try:
        return case.simulation(cast("Scheduler", watched), truth, watched.twins)
    except RunError as error:
        raise NotReached(f"on {case.name}: {error}") from error


def finish(simulation: Simulation, watched: Watched) -> Ran:
    """Go on to the end, or to where it breaks."""
    try:
        simulation.run()
    except RunError as error:
        kind, text = _judged(error, watched)
        known = kind in watched.faults or {FORM, JOBS} & watched.faults.keys()  # in better words
        return Ran(simulation, watched, watched.faults if known else {**watched.faults, kind: text}, error)
    return Ran(simulation, watched, watched.faults, None)


def _judged(error: RunError, watched: Watched) -> tuple[str, str]:
    """What kind of fault the engine has found, and what to say of it."""
    if isinstance(error, BadDecision):
        last = watched.passes[-1].decisions if watched.passes else ()
        return ROOM if any(each.startswith("Start(") for each in last) else FORM, str(error)
    if isinstance(error.__cause__, NeverStarts):
        return STALLS, str(error.__cause__)
    if error.__cause__ is not None:
        text = str(error) if not isinstance(watched, Asked) else str(error).replace("scheduler", "twin", 1)
        return RAISES, f"{text}{_line_of(error.__cause__)}"
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


def without(kind: str, some: Callable[[Factory], Iterable[Case]], guess: str = "") -> Callable[[Factory], None]:
    """The law that no run of ``some`` cases has a fault of this kind, which ``guess`` may explain.

    It raises NotReached if all runs break by faults of other kinds.
    """

    def law(factory: Factory) -> None:
        complaint: str | None = None
        reached = False
        for case in some(factory):
            ran = run(case, factory, looks=kind == CHANGES, closely=kind in (AGAIN, SINGLY))
            if kind in ran.faults:
                raise AssertionError(f"on {case.name}: {ran.faults[kind]}{guess}") from ran.error
            reached = reached or ran.complaint is None
            complaint = complaint or ran.complaint
        if not reached:
            raise NotReached(f"no run comes to its end: {complaint}")

    return law
