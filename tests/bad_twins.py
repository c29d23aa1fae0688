"""Twins that are wrong in one way each, for the kit to find out: a plug-in file like any other."""

import random
from typing import ClassVar

import numpy as np

from hpcsim.plugin import Prediction, hookimpl

BAD: list[type] = []


def bad(kind):
    """Note a class as one of these, under its own name."""
    kind.name = kind.__name__.lower()
    kind.api = 1
    kind.answers = "thermal" if hasattr(kind, "thermal") else "performance"
    BAD.append(kind)
    return kind


def walltimes(jobs):
    return np.array([job.walltime for job in jobs], np.float64)


def sure(mean):
    return Prediction(mean, np.zeros(len(mean)), np.zeros(len(mean)))


@bad
class Raises:
    def performance(self, jobs, view):
        return sure(walltimes(jobs) + jobs[5].nodes)


@bad
class RaisesWhenTold:
    def performance(self, jobs, view):
        return sure(walltimes(jobs))

    def ended(self, end):
        raise LookupError(end.state)


@bad
class RaisesWhenItHears:
    senses_every_s = 600

    def performance(self, jobs, view):
        return sure(walltimes(jobs))

    def sensed(self, readings):
        raise LookupError(readings.node_w.size)


@bad
class AnswersWithAList:
    def performance(self, jobs, view):
        return Prediction([job.walltime for job in jobs], np.zeros(len(jobs)), np.zeros(len(jobs)))


@bad
class AnswersWithTheMean:
    def performance(self, jobs, view):
        return walltimes(jobs)


@bad
class DividesByZero:
    def performance(self, jobs, view):
        with np.errstate(divide="ignore"):
            return sure(np.log(walltimes(jobs) - walltimes(jobs)))


@bad
class DeviatesBelowZero:
    def performance(self, jobs, view):
        return Prediction(walltimes(jobs), -walltimes(jobs), np.zeros(len(jobs)))


@bad
class ExpectsLessThanNothing:
    def performance(self, jobs, view):
        return sure(walltimes(jobs) - 3600.0)


@bad
class LooksAtTheOthers:
    def performance(self, jobs, view):
        return sure(walltimes(jobs) / walltimes(jobs).max())


@bad
class TiresOfQuestions:
    def __init__(self):
        self.asked = 0

    def performance(self, jobs, view):
        self.asked += 1
        return sure(walltimes(jobs) / self.asked)


@bad
class TakesJobsAway:
    def performance(self, jobs, view):
        if len(jobs) > 4:
            view._simulation.queue.pop(jobs[-1].id)
        return sure(walltimes(jobs))


@bad
class DrawsItsOwnLots:
    def performance(self, jobs, view):
        return sure(walltimes(jobs) * random.random())


@bad
class LearnsByASet:
    def __init__(self):
        self.users = set()

    def ended(self, end):
        self.users.add(end.job.user)

    def performance(self, jobs, view):
        rank = {user: number for number, user in enumerate(self.users)}
        return sure(np.array([float(rank.get(job.user, 0)) for job in jobs]))


@bad
class LearnsInTheClass:
    seen: ClassVar[list[int]] = []

    def __init__(self):
        self.seen.clear()

    def ended(self, end):
        self.seen.append(end.runtime_s)

    def performance(self, jobs, view):
        return sure(np.full(len(jobs), float(np.mean(self.seen or [0]))))


@bad
class ForgetsWhenCopied:
    def __init__(self):
        self.seen = []

    def __getstate__(self):
        return {"seen": []}

    def ended(self, end):
        self.seen.append(end.runtime_s)

    def performance(self, jobs, view):
        return sure(np.full(len(jobs), float(np.mean(self.seen or [0]))))


@bad
class KeepsALambda:
    def __init__(self):
        self.guess = lambda job: job.walltime

    def performance(self, jobs, view):
        return sure(np.array([float(self.guess(job)) for job in jobs]))


@bad
class ReadsTheFuture:
    def performance(self, jobs, view):
        return sure(np.array([float(view._simulation._runtime[job.id]) for job in jobs]))


@bad
class ReadsHowJobsEnd:
    def performance(self, jobs, view):
        outcome = object.__getattribute__(object.__getattribute__(view, "_simulation"), "_outcome")
        return sure(np.array([float(outcome[job.id]) for job in jobs]))


@bad
class LooksBehindItsView:
    def performance(self, jobs, view):
        return sure(np.full(len(jobs), float(view._simulation.now)))


@bad
class CallsItselfOtherwise:
    def __init__(self):
        self.name = "another"

    def performance(self, jobs, view):
        return sure(walltimes(jobs))


@bad
class NeedsAnArgument:
    def __init__(self, model):
        self.model = model

    def performance(self, jobs, view):
        return sure(walltimes(jobs))


@bad
class ComputesOneByOne:
    def performance(self, jobs, view):
        return sure(np.array([float(sum(range(4000)) - 7_998_000 + job.walltime) for job in jobs]))


@bad
class TakesEveryWattageForKnown:
    needs = frozenset({"heat"})

    def thermal(self, units, watts, horizon_s, view):
        return sure(view.node_c[units])

    def gpu_thermal(self, units, watts, gpu_watts, horizon_s, view):
        return sure(view.node_c[units] + 0.1 * gpu_watts)


@hookimpl
def hpcsim_twins(register):
    for kind in BAD:
        register(kind)
