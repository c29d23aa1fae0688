"""The same past with another future: whether a scheduler knows what it cannot know.

A run is stopped in mind at some second. Something of what has not happened by then is exchanged: how long jobs really
run, how their programs end, what they draw and feel, or when nodes fail. A run with that truth shows the very same
things up to that second, and so the scheduler must decide the very same, up to the first pass in which it can see a
difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.engine.simulation import Simulation
from hpcsim.errors import RunError
from hpcsim.testing.cases import Case, Truth
from hpcsim.testing.factory import Factory
from hpcsim.testing.runs import Ran, made, watch
from hpcsim.testing.watched import Pass, Watched

__tracebackhide__ = True

Int64s = npt.NDArray[np.int64]


class Difference(NamedTuple):
    """A pass that was decided differently although all that could be seen was the same."""

    what: str  # that differs later
    second: int  # up to which the pasts are the same
    one: Pass
    other: Pass


# What is exchanged, and at which shares of a run's passes. What shows soon is asked for more often.
_RUNTIMES, _ENDS, _DRAWS, _FEELS, _FAILURES = (
    "how long jobs really run",
    "how programs end",
    "what jobs will draw",
    "how far jobs will feel a lower clock and distant nodes",
    "when nodes will fail",
)
_ON_ALL = ((_RUNTIMES, (0.0, 0.2, 0.4, 0.6, 0.8)), (_ENDS, (0.0, 0.5)))
_ON_MACHINES = ((_DRAWS, (0.0, 0.4, 0.8)), (_FEELS, (0.0, 0.5)))
_WHERE_NODES_FAIL = ((_FAILURES, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),)


def differences(factory: Factory, case: Case, ran: Ran) -> Iterator[Difference]:
    """Where the decisions of ``ran``, a run of ``case`` that kept what was seen, hang on the future."""
    passes, site = ran.watched.passes, ran.simulation.site
    exchanges = list(_ON_ALL)
    if site is not None:
        exchanges += _ON_MACHINES
    if site is not None and site.cluster.service.failures is not None:
        exchanges += _WHERE_NODES_FAIL
    for what, shares in exchanges:
        for share in shares:
            second = passes[int(share * len(passes))].now - 1
            other = watch(factory, looks=True)
            simulation = made(case, other, another_future(case, ran.simulation, second, what))
            for number in _side_by_side(simulation, other, passes):
                if other.passes[number].decisions != passes[number].decisions:
                    yield Difference(what, second, passes[number], other.passes[number])
                    break


def _side_by_side(simulation: Simulation, other: Watched, passes: list[Pass]) -> Iterator[int]:
    """The numbers of the passes in which both see the same, up to the first in which they do not."""
    compared = 0
    while True:
        try:
            if simulation.step() is None:
                return
        except RunError:  # what it does in another world is the point of other checks
            return
        while compared < len(other.passes):
            if compared == len(passes) or other.passes[compared].seen != passes[compared].seen:
                return
            yield compared
            compared += 1


def another_future(case: Case, simulation: Simulation, second: int, what: str) -> Truth:
    """The truth of ``case``, but for what had not happened by the end of ``second`` of ``simulation``.

    The order of the runtimes is turned round, the shortest becomes the longest, so that whoever goes by them decides
    otherwise; what runs at ``second`` runs on beyond it. All else is shuffled among the jobs that had not begun.
    """
    truth, behaviour = case.truth, case.truth.behaviour
    taken, end, job = (np.array(getattr(simulation.attempts, name), np.int64) for name in ("taken", "end", "job"))
    open_J = np.ones(truth.runtime_J.size, bool)  # whether a job has still to end for good
    last_row = dict(zip(job.tolist(), range(job.size), strict=True))
    for number, row in last_row.items():
        open_J[number] = not 0 <= end[row] <= second
    begun = np.flatnonzero(taken <= second)
    begun_J = np.zeros(open_J.size, bool)
    begun_J[job[begun]] = True
    past_J = np.zeros(open_J.size, np.int64)  # the longest that a job had run in one go by then
    until = np.where(end[begun] < 0, second, np.minimum(end[begun], second))
    np.maximum.at(past_J, job[begun], until - taken[begun])
    if what == _RUNTIMES:
        runtime_J = _turned(truth.runtime_J, open_J)
        return replace(truth, runtime_J=np.where(open_J & begun_J, np.maximum(runtime_J, past_J + 1), runtime_J))
    if what == _FAILURES:
        return replace(truth, moved_from=second)
    rng = np.random.default_rng(second % 2**32)

    def shuffled(values_J: npt.NDArray[Any]) -> npt.NDArray[Any]:
        mixed_J, which = values_J.copy(), np.flatnonzero(open_J & ~begun_J)
        mixed_J[which] = rng.permutation(values_J[which])
        return mixed_J

    if what == _ENDS:
        return replace(truth, outcome_J=shuffled(truth.outcome_J))
    if what == _DRAWS:
        drawn = replace(behaviour, cpu_util_J=shuffled(behaviour.cpu_util_J), gpu_util_J=shuffled(behaviour.gpu_util_J))
        return replace(truth, behaviour=drawn)
    felt = replace(behaviour, beta_J=shuffled(behaviour.beta_J), communication_J=shuffled(behaviour.communication_J))
    return replace(truth, behaviour=felt)


def _turned(values_J: Int64s, which_J: npt.NDArray[np.bool_]) -> Int64s:
    """The values of some jobs the other way round: the least is exchanged with the largest, and so on."""
    ids = np.flatnonzero(which_J)
    by_value = ids[np.argsort(values_J[ids], kind="stable")]
    turned_J = values_J.copy()
    turned_J[by_value] = values_J[by_value[::-1]]
    return turned_J
