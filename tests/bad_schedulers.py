"""Schedulers that are wrong in one way each, for the kit to find out: a plug-in file like any other."""

import random
from typing import ClassVar

from pydantic import Field

from hpcsim import plugin
from hpcsim.plugin import Hold, Kill, Start, hookimpl

BAD: list[type] = []


def bad(kind):
    """Note a class as one of these, under its own name."""
    kind.name = kind.__name__.lower()
    kind.api = 1
    BAD.append(kind)
    return kind


def strictly(view, jobs=None):
    """What a right scheduler does: start jobs in order, to the first that does not fit."""
    room = view.room()
    for job in view.queue if jobs is None else jobs:
        if not room.take(job):
            return
        yield Start(job)


@bad
class Raises:
    def schedule(self, view):
        yield from strictly(view)
        if len(view.running) > 2:
            raise ZeroDivisionError("one too many")


@bad
class YieldsText:
    def schedule(self, view):
        yield from (f"start {job.name}" for job in view.queue)


@bad
class HoldsForHalfASecond:
    def schedule(self, view):
        yield from strictly(view)
        if len(view.queue) > 3:
            yield Hold(view.now + 0.5)


@bad
class StartsTwice:
    def schedule(self, view):
        for start in strictly(view):
            yield start
            yield start


@bad
class StartsWhatItOnceSaw:
    def __init__(self):
        self.seen = []

    def schedule(self, view):
        self.seen += [job for job in view.queue if job not in self.seen]
        yield from strictly(view, self.seen)


@bad
class KillsWhatWaits:
    needs: ClassVar = frozenset({"preemption"})

    def schedule(self, view):
        starts = list(strictly(view))
        yield from starts
        if not starts:
            yield Kill(next(iter(view.queue)))


@bad
class KillsWithoutNeed:
    def schedule(self, view):
        yield from strictly(view)
        if len(view.queue) > 5:
            yield from (Kill(each.job) for each in view.running.values())


@bad
class TakesTheFirst:
    def schedule(self, view):
        min(view.queue, key=lambda job: job.walltime)
        yield from strictly(view)


@bad
class AsksForMore:
    def schedule(self, view):
        yield from strictly(view)
        if len(view.queue) < 2:
            yield Hold(view.now + 600)


@bad
class TakesJobsAway:
    def schedule(self, view):
        if len(view.queue) > 4:
            view._simulation.queue.pop(next(iter(view.queue)).id)
        yield from strictly(view)


@bad
class Overbooks:
    def schedule(self, view):
        free = view.free_nodes
        yield from (Start(job) for job in view.queue if job.nodes <= free)


@bad
class CountsBrokenNodes:
    def schedule(self, view):
        free = view.nodes - sum(each.job.nodes for each in view.running.values())
        for job in view.queue:
            if job.nodes <= free:
                free -= job.nodes
                yield Start(job)


@bad
class CountsNodesOnly:
    def schedule(self, view):
        free = view.free_nodes
        for job in view.queue:
            if job.nodes <= free:
                free -= job.nodes
                yield Start(job)


@bad
class NeverStarts:
    def schedule(self, view):
        return ()


@bad
class ShortestFirst:
    def schedule(self, view):
        room = view.room()
        for job in sorted(view.queue, key=lambda job: (job.walltime, job.id)):
            if room.take(job):
                yield Start(job)


@bad
class DrawsItsOwnLots:
    def schedule(self, view):
        yield from strictly(view, random.sample(list(view.queue), len(view.queue)))


@bad
class GoesOverASet:
    def schedule(self, view):
        by_user = {job.user: job for job in reversed(view.queue)}
        yield from strictly(view, [by_user[user] for user in set(by_user)])


@bad
class KeepsItInTheClass:
    served: ClassVar[list[str]] = []

    def __init__(self):
        self.served.clear()

    def schedule(self, view):
        jobs = sorted(view.queue, key=lambda job: (self.served.count(job.user), job.id))
        for start in strictly(view, jobs):
            self.served.append(start.job.user)
            yield start


@bad
class ForgetsWhenCopied:
    def __init__(self):
        self.passes = 0

    def __getstate__(self):
        return {"passes": 0}

    def schedule(self, view):
        self.passes += 1
        yield from strictly(view, list(view.queue) if self.passes % 3 else list(reversed(view.queue)))


@bad
class KeepsAGenerator:
    def __init__(self):
        self.turns = (turn % 3 for turn in range(10**9))

    def schedule(self, view):
        next(self.turns)
        yield from strictly(view)


@bad
class KeepsALambda:
    def __init__(self):
        self.key = lambda job: job.id

    def schedule(self, view):
        yield from strictly(view, sorted(view.queue, key=self.key))


@bad
class ReadsTheFuture:
    def schedule(self, view):
        runtime = view._simulation._runtime
        yield from strictly(view, sorted(view.queue, key=lambda job: runtime[job.id]))


@bad
class ReadsItPastTheGuard:
    def schedule(self, view):
        simulation = object.__getattribute__(view, "_simulation")
        runtime = object.__getattribute__(simulation, "_runtime")
        yield from strictly(view, sorted(view.queue, key=lambda job: runtime[job.id]))


@bad
class ReadsHowJobsEnd:
    def schedule(self, view):
        outcome = view._simulation.workload.column("outcome")
        yield from strictly(view, sorted(view.queue, key=lambda job: (outcome[job.id], job.id)))


class ReadsTheMachine:
    """One that goes by what the cluster keeps of each job, where there is a cluster."""

    column: str

    def schedule(self, view):
        site = object.__getattribute__(object.__getattribute__(view, "_simulation"), "site")
        jobs = list(view.queue)
        if site is not None:
            values = object.__getattribute__(object.__getattribute__(site, "cluster"), self.column)
            jobs.sort(key=lambda job: values[job.id])
        yield from strictly(view, jobs)


@bad
class ReadsUtilisations(ReadsTheMachine):
    column = "_dynamic_w_J"


@bad
class ReadsSensitivities(ReadsTheMachine):
    column = "_beta_J"


@bad
class ReadsFailures:
    def schedule(self, view):
        site = object.__getattribute__(object.__getattribute__(view, "_simulation"), "site")
        failures = None if site is None else object.__getattribute__(site, "cluster").service.failures
        if failures is None or failures.next_time > view.now + 1200 or not view.running:
            yield from strictly(view)


@bad
class LooksBehindItsView:
    def schedule(self, view):
        if view._simulation.free_nodes:
            yield from strictly(view)


@bad
class SortsForEachJob:
    def schedule(self, view):
        room = view.room()
        for number in range(len(view.queue)):
            job = sorted(view.queue, key=lambda job: job.id)[number]
            if room.take(job):
                yield Start(job)


@bad
class NeedsAnOption:
    class Options(plugin.Options):
        depth: int = Field(description="how many jobs to look at")

    def __init__(self, options):
        self.options = options

    def schedule(self, view):
        yield from strictly(view)


@bad
class CallsItselfOtherwise:
    def __init__(self):
        self.name = "another"

    def schedule(self, view):
        yield from strictly(view)


@hookimpl
def hpcsim_schedulers(register):
    for kind in BAD:
        register(kind)
