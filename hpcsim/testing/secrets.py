"""Checks that nothing is known of what has not happened, and that nothing is read behind the view."""

from __future__ import annotations

from hpcsim.testing.factory import Factory
from hpcsim.testing.futures import differences
from hpcsim.testing.guard import Guard
from hpcsim.testing.runs import finish, made, watch, working
from hpcsim.testing.schedules import all_cases, refuse_chance, texts

__tracebackhide__ = True


def knows_no_future(factory: Factory) -> None:
    for case, ran in working(factory, all_cases(factory), looks=True):
        for what, second, one, other in differences(factory, case, ran):
            refuse_chance(factory, case, texts(ran))
            raise AssertionError(
                f"on {case.name}: it knows {what}. Two runs show it the same things up to t={one.now} and differ only "
                f"in {what} after t={second}, yet it {factory.did} {one}, and then {other}. Most likely it reads the "
                "workload or the simulation behind its view"
            )


def reads_nothing_hidden(factory: Factory) -> None:
    for case in all_cases(factory):
        guard = Guard()
        watched = watch(factory, during=guard.deciding)
        simulation = made(case, watched)
        guard.watch(simulation)
        finish(simulation, watched)  # what else is wrong is the point of other checks
        if guard.looks:
            raise AssertionError(
                f"on {case.name}: it looks behind its view: {guard.told()}. What hpcsim.plugin.View does not show is "
                "hidden, or may change without notice; ask the view"
            )
