"""How long a pass takes when 10,000 jobs wait, measured against a yardstick of the same machine and moment."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from math import log
from time import process_time
from typing import Any, cast

from hpcsim.engine.decisions import Decision
from hpcsim.engine.scheduler import Scheduler
from hpcsim.engine.view import View
from hpcsim.errors import RunError
from hpcsim.testing import cases
from hpcsim.testing.asked import Asked
from hpcsim.testing.check import NotReached
from hpcsim.testing.factory import Factory
from hpcsim.testing.watched import stopped_after

__tracebackhide__ = True

JOBS = 10_000
MOST = 1_000
"""A pass may take so many times the yardstick: to sort 10,000 jobs by walltime. That is some seconds, where plain
backfilling takes some milliseconds, and conservative backfilling, which plans them all, a second or two."""

_STEPS = (1_000, 3_000, JOBS)  # so that a hopeless scheduler is stopped before it takes minutes
_TELLING_S = 0.02, 0.3  # with fewer jobs and with more: what takes less says nothing about how it grows


def budget_broken(factory: Factory, *, machine: bool) -> str | None:
    """What to complain of if the pass takes too long; None if it does not. Raises NotReached if it raises."""
    limit_s = MOST * _yardstick_s()
    fewer: tuple[int, float] | None = None
    for jobs in _STEPS:
        case = cases.on_machine(cases.crowd(jobs)) if machine else cases.crowd(jobs)
        timed = _Timed(factory())
        try:
            case.simulation(cast("Scheduler", timed)).run(1)
        except RunError as error:
            raise NotReached(f"on {case.name}: {error}") from error
        if timed.cpu_s > limit_s:
            return _told(factory, f"took {timed.cpu_s:.1f} s of CPU with {jobs:,} waiting jobs", limit_s)
        if fewer is not None and jobs < JOBS and fewer[1] > _TELLING_S[0] and timed.cpu_s > _TELLING_S[1]:
            power = log(timed.cpu_s / fewer[1]) / log(jobs / fewer[0])
            expected_s = timed.cpu_s * (JOBS / jobs) ** power
            if expected_s > 3.0 * limit_s:
                took = f"took {timed.cpu_s:.1f} s of CPU with {jobs:,} waiting jobs, {fewer[1]:.2g} s with {fewer[0]:,}"
                return _told(factory, f"{took}; with {JOBS:,} it would take about {expected_s:,.0f} s", limit_s)
        fewer = jobs, timed.cpu_s
    return None


def crowd_answered(factory: Factory) -> None:
    """Raise AssertionError if a twin's answer about 10,000 waiting jobs, or about all units, takes too long."""
    limit_s = MOST * _yardstick_s()
    case = cases.on_machine(cases.crowd(JOBS))
    asked = Asked(factory())
    simulation = case.simulation(cast("Scheduler", asked), None, asked.twins)
    try:
        simulation.agenda.env.step()  # all arrive, and a few start
        about = asked.about(simulation._view)
        with _without_gc():
            began = process_time()
            asked.ask(about, simulation._view)
            cpu_s = process_time() - began
    except Exception as error:
        raise NotReached(f"on {case.name}: {type(error).__name__}: {error}") from error
    if cpu_s > limit_s:
        raise AssertionError(
            f"an answer of {factory.name} about {len(about[0]):,} took {cpu_s:.1f} s of CPU; the budget is "
            f"{limit_s:.1f} s, which is {MOST:,} times as long as to sort {JOBS:,} jobs here and now. Most likely it "
            "goes through them one by one; compute with whole arrays"
        )


def _told(factory: Factory, what: str, limit_s: float) -> str:
    return (
        f"a pass of {factory.name} {what}; the budget is {limit_s:.1f} s for {JOBS:,}, which is {MOST:,} times as long "
        "as to sort them here and now. Most likely it looks at all waiting jobs, or sorts them, once for each of them; "
        "stop when the room is spent (room.reach is 0), and sort once in a pass"
    )


def _yardstick_s() -> float:
    """CPU seconds to sort the crowd by walltime: the least of some tries, for the others were disturbed."""
    jobs = list(cases.crowd(JOBS).workload.jobs())
    tries = []
    for _ in range(7):
        began = process_time()
        sorted(jobs, key=lambda job: (job.walltime, job.id))
        tries.append(process_time() - began)
    return min(tries)


class _Timed:
    """A scheduler whose first pass is timed."""

    def __init__(self, inner: Scheduler) -> None:
        self.inner = inner
        self.cpu_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def schedule(self, view: View) -> list[Decision]:
        with _without_gc():
            began = process_time()
            with stopped_after(type(self.inner)):
                decisions = list(self.inner.schedule(view))
            self.cpu_s = self.cpu_s or process_time() - began
        return decisions


@contextmanager
def _without_gc() -> Iterator[None]:
    """No garbage of others is collected meanwhile: in a test run that takes a tenth of a second now and then."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
