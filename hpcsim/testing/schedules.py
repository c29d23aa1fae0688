"""Checks that compare schedules, or answers: run again, in a new process, beside another run, from a copy on."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any, cast

from hpcsim.engine.capabilities import declared
from hpcsim.engine.simulation import Simulation
from hpcsim.errors import RunError
from hpcsim.testing import cases
from hpcsim.testing.asked import Asked
from hpcsim.testing.cases import Case
from hpcsim.testing.check import NotReached
from hpcsim.testing.elsewhere import answer_of, elsewhere
from hpcsim.testing.factory import Factory
from hpcsim.testing.runs import Ran, finish, made, next_instant, run, watch, working
from hpcsim.testing.watched import Watched

__tracebackhide__ = True


# -- which simulations ----------------------------------------------------------------------------


def machine_is_needed(factory: Factory) -> bool:
    """Whether it declares that it needs what a machine that only counts nodes has not, or is asked about that."""
    needs = declared(factory.kind) - {"clairvoyance", "preemption"}
    return (
        bool(needs or getattr(factory.kind, "wakes_on", ()))
        or getattr(factory.kind, "answers", "performance") != "performance"
    )


def plain_cases(factory: Factory) -> tuple[Case, ...]:
    """Machines on which nothing is special but their size, as far as it can do with so little."""
    return (cases.failing_case(),) if machine_is_needed(factory) else cases.counted_cases()


def all_cases(factory: Factory) -> tuple[Case, ...]:
    """Every machine that it can do with, the simple ones first."""
    return tuple(dict.fromkeys((*plain_cases(factory), *cases.machine_cases())))


def _some_cases(factory: Factory) -> tuple[Case, ...]:
    """Fewer, for checks that run each of them several times."""
    return tuple(dict.fromkeys((*plain_cases(factory)[-2:], cases.failing_case(), cases.pooled_case())))


# -- what they are compared by --------------------------------------------------------------------


def texts(ran: Ran | Watched) -> list[str]:
    """Every pass of a run as text."""
    watched = ran.watched if isinstance(ran, Ran) else ran
    return [str(each) for each in watched.passes]


def schedules(factory: Factory) -> dict[str, list[str]]:
    """What is decided in each pass of some cases, as text, by the name of the case."""
    return {case.name: texts(ran) for case, ran in working(factory, _some_cases(factory))}


def refuse_chance(factory: Factory, case: Case, decided: list[str]) -> None:
    """Raise NotReached if a plain run again decides otherwise already: then a difference says nothing more."""
    if texts(run(case, factory)) != decided:
        raise NotReached(f"on {case.name}: two runs with the same seed differ already")


def _same(one: list[str], other: list[str], factory: Factory, case: Case, what: str) -> None:
    if one != other:
        refuse_chance(factory, case, one)
        raise AssertionError(f"on {case.name}: {what}: {_first_difference(one, other)}")


def _first_difference(one: list[str], other: list[str]) -> str:
    pairs = zip_longest(one, other, fillvalue="no more passes")
    return next(f"first {mine}, then {theirs}" for mine, theirs in pairs if mine != theirs)


# -- the checks -----------------------------------------------------------------------------------


def same_seed_same_schedule(factory: Factory) -> None:
    one, other = schedules(factory), schedules(factory)
    for name, passes in one.items():
        if passes != other.get(name):
            raise AssertionError(
                f"on {name}: two runs with the same seed differ. Most likely it draws from random or numpy.random, "
                "keeps something in the class or the module from one run to the next, or goes by addresses of objects: "
                f"{_first_difference(passes, other.get(name, []))}"
            )


def same_schedule_in_a_new_process(factory: Factory) -> None:
    here = [(case, texts(ran)) for case, ran in working(factory, _some_cases(factory))]
    processes = [elsewhere(factory, "schedules", hash_seed) for hash_seed in (1, 2)]
    answers = [answer_of(process, factory.name) for process in processes]
    what = (
        "new processes with other PYTHONHASHSEEDs do otherwise. Most likely it goes over a set, whose order differs "
        "from process to process; go over a list, or sorted(...)"
    )
    for case, decided in here:
        for answer in answers:
            _same(decided, answer.get(case.name, []), factory, case, what)


def simulations_do_not_disturb_each_other(factory: Factory) -> None:
    what = (
        "beside another simulation in the same process it does otherwise than alone. Most likely it keeps something in "
        "the class or in the module (a list as a class attribute is shared by all); keep it in self, made in __init__"
    )
    alone = [(case, texts(ran)) for case, ran in working(factory, _some_cases(factory))]
    for first, second in zip(alone, [*alone[1:], alone[0]], strict=True):
        both = [(case, decided, watch(factory)) for case, decided in (first, second)]
        going = [made(case, watched) for case, _, watched in both]
        try:
            while going:  # an instant of one, an instant of the other
                going = [simulation for simulation in going if next_instant(simulation)]
        except RunError as error:
            raise AssertionError(f"{what}: {error}") from error
        for case, decided, watched in both:
            _same(decided, texts(watched), factory, case, what)


def goes_on_alike_when_copied(factory: Factory) -> None:
    _goes_on_alike(factory, copy.deepcopy, "copied by copy.deepcopy")


def goes_on_alike_when_pickled(factory: Factory) -> None:
    kind = factory.kind
    try:
        same = pickle.loads(pickle.dumps(kind)) is kind
    except Exception as error:
        raise AssertionError(
            f"the class {kind.__qualname__} cannot be pickled ({error}), so that it runs in no pool of processes; "
            "define it at the top level of its module"
        ) from error
    if not same:
        raise AssertionError(f"{kind.__module__}.{kind.__qualname__} is another class than the one that is checked")
    _goes_on_alike(factory, lambda one: pickle.loads(pickle.dumps(one)), "pickled")


def _goes_on_alike(factory: Factory, copied: Callable[[Any], Any], how: str) -> None:
    """Copy it at the beginning of runs and in their middle; it and the copy must go on as the whole run did."""
    for case, ran in working(factory, _some_cases(factory)):
        whole = texts(ran)
        for second in (ran.simulation.start, ran.watched.passes[len(whole) // 2].now):
            original = watch(factory)
            simulation = made(case, original)
            simulation.run(second)
            try:
                twin = copied(original.inner)
            except Exception as error:
                raise AssertionError(
                    f"it cannot be {how} at t={second} on {case.name}: {type(error).__name__}: {error}. Most likely it "
                    "keeps a generator, a lambda, a lock or an open file in self; keep plain values, and leave out in "
                    "__getstate__ what can be made again"
                ) from error
            for ending, who in _endings(simulation, original, twin):
                what = (
                    f"{how} at t={second}, {who} goes on otherwise. Most likely some of its state is not in self, or "
                    "the two share it"
                )
                complaint, passes = ending()
                if complaint is not None:
                    raise AssertionError(f"on {case.name}: {what}: {complaint}")
                _same(whole, passes, factory, case, what)


def _endings(
    simulation: Simulation, original: Watched, copied: Any
) -> Iterator[tuple[Callable[[], tuple[str | None, list[str]]], str]]:
    """How the rest of a run goes with the copy, and then with the original."""
    if isinstance(original, Asked):  # both are asked and told the same, in one run
        before = texts(original)
        answers = original.also_ask(copied)
        yield lambda: (finish(simulation, original).complaint, before + answers), "the copy"
        yield lambda: (None, texts(original)), "the original"
        return
    fork = simulation.fork()
    watched = cast("Watched", fork.scheduler)
    watched.inner = copied
    yield lambda: (finish(fork, watched).complaint, texts(watched)), "the copy"
    yield lambda: (finish(simulation, original).complaint, texts(original)), "the original"
