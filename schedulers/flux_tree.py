"""Instances of Flux below one another: who shares whose nodes, and which job goes to whom.

With static partitioning the lowest level shares out the machine from the start, and each job goes to the instance with
the least work for each of its nodes. On demand an ensemble of jobs asks for an instance of its own as if it were one
job; such an instance ends when its jobs have, and what it had no time for waits again where it came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import pairwise
from math import ceil

import numpy as np
from pydantic import Field

from hpcsim.plugin import Job, View

from .flux_instances import Cost, Due, Instance, Order, Pass
from .flux_loop import Rules


class Level(Rules):
    """One level of instances: how many there are below each instance of the level above, and the rules of each."""

    children: int = Field(ge=2, le=4096, description="how many instances share the nodes of the one above them")


class Tree:
    """All instances below, and with, the one of the whole machine."""

    def __init__(
        self, rules: Rules, levels: tuple[Level, ...], partitioning: str, ensemble_jobs: int, cost: Cost, order: Order
    ) -> None:
        self._rules = rules
        self._levels = levels
        self._on_demand = partitioning == "on-demand"
        self._ensemble_jobs = ensemble_jobs
        self._cost = cost
        self._order = order
        self._instances: list[Instance] = []
        self._there = (-1, -1)  # nodes that were up in the last pass; and of those that all may have, awake
        self._made = 0

    def schedule(self, now: Pass) -> Iterator[tuple[Instance, Due]]:
        """The starts of this pass, and who decided them."""
        view = now.view
        if not self._instances:
            self._begin(view)
        there = view.up_nodes, view.free_nodes + sum(running.job.nodes for running in view.running.values())
        for instance in self._instances:
            instance.settle(now)
            instance.changed |= there != self._there
        self._there = there
        self._end_those_that_are_through(view.now + view.launch_latency)
        self._route(now)
        for instance in self._instances:  # children that are made meanwhile have their turn as well
            for due in instance.carry_out(now):
                yield from self._began(instance, due, now)
            if instance.due or not instance.waiting:
                continue
            if self._cost.is_none or (instance.changed and int(instance.clock_s) <= view.now):
                for due in instance.loop(now, self._cost, self._order, partial(self._asking, instance, now)):
                    yield from self._began(instance, due, now)

    def started(self, urgent: Iterable[Job]) -> None:
        """These start without its decision, where one instance has the whole machine: it sees them end all the same."""
        self._instances[0].running.update((job.id, job) for job in urgent)

    def next_s(self, now: int) -> int | None:
        """The next second in which a decision is through, or an instance with nothing left to do ends."""
        seconds = [each.due[0].second for each in self._instances if each.due]
        for each in self._instances:
            if each.waiting and not each.due:
                if each.changed:
                    seconds.append(int(each.clock_s))
                if each.ends_s is not None and not each.running:
                    seconds.append(each.ends_s)
        return min((second for second in seconds if second > now), default=None)

    def _begin(self, view: View) -> None:
        if not self._levels:
            self._instances = [Instance("flux", self._rules)]
            self.started(running.job for running in view.running.values())  # since before the first second
            return
        units = None if view.machine is None else np.arange(view.machine.units)
        root = Instance("flux", self._rules, view.nodes, units)
        self._instances = [root] if self._on_demand else self._divided(root, view)

    def _divided(self, above: Instance, view: View) -> list[Instance]:
        """The instances that share the nodes of another, or those that share theirs."""
        if above.depth == len(self._levels):
            return [above]
        level, nodes = self._levels[above.depth], above.nodes or 0
        if level.children > nodes:
            raise ValueError(f"levels: {above.name} has {nodes} nodes, too few for {level.children} instances below")
        found = []
        whole = 1 if view.machine is None else view.machine.unit_nodes
        cuts = [at * (nodes // whole) // level.children for at in range(level.children + 1)]
        for number, (first, end) in enumerate(pairwise(cuts)):
            units = None if above.units is None else above.units[first:end]
            child = Instance(f"{above.name}.{number}", level, (end - first) * whole, units, depth=above.depth + 1)
            found += self._divided(child, view)
        return found

    def _route(self, now: Pass) -> None:
        """Give jobs that are new, or back from the machine, to an instance: the one with the least work that is large
        enough, or with partitioning on demand the first."""
        known: set[int] = set()
        for each in self._instances:
            known.update(each.waiting, (due.job.id for due in each.due))
            known.update(job.id for batch in each.granted.values() for job in batch)
        new = [job for job in now.queue.values() if job.id not in known]
        if len(self._instances) == 1 or self._on_demand:
            self._instances[0].receive(new)
            return
        loads = [each.load for each in self._instances] if new else []
        for job in new:
            fits = [at for at, each in enumerate(self._instances) if job.nodes <= (each.nodes or 0)]
            if not fits:
                largest = max(each.nodes or 0 for each in self._instances)
                raise ValueError(
                    f"levels: job {job.name} asks for {job.nodes} nodes, but no instance has more than {largest}; "
                    "take fewer children, or partitioning: on-demand"
                )
            at = min(fits, key=loads.__getitem__)
            self._instances[at].receive([job])
            loads[at] += job.nodes * job.walltime / (self._instances[at].nodes or 1)

    # -- ensembles, which get an instance of their own on demand ------------------------------------

    def _asking(self, instance: Instance, now: Pass) -> list[Job]:
        """Who asks ``instance`` for nodes, in the order of submission: its jobs, and ensembles of them as one each."""
        jobs = [instance.waiting[job_id] for job_id in sorted(instance.waiting)]
        if not self._on_demand or instance.depth == len(self._levels):
            return jobs
        instance.batches = {}
        parts = self._levels[instance.depth].children
        share = (instance.nodes or 0) // parts
        start_s = now.view.now + now.view.launch_latency
        groups: dict[tuple[str, ...], list[Job]] = {}
        for job in jobs:
            if job.nodes <= share and instance.has_time_for(job, start_s):
                owner = (job.user, job.project, job.queue) if instance.depth == 0 else ()
                groups.setdefault(owner, []).append(job)
        asking = {job.id: job for job in jobs}
        for group in groups.values():
            count = min(parts, len(group) // self._ensemble_jobs)
            for batch in (group[first::count] for first in range(count)):
                ensemble = self._ensemble(batch, share, instance, now)
                instance.batches[ensemble.id] = batch
                for job in batch:
                    del asking[job.id]
                asking[batch[0].id] = ensemble
        return [asking[job_id] for job_id in sorted(asking)]

    def _ensemble(self, batch: list[Job], share: int, instance: Instance, now: Pass) -> Job:
        """The instance that a batch asks for, as a job: as long as its jobs need at the most, in any order."""
        view = now.view
        nodes = min(share, sum(job.nodes for job in batch))
        node_s = sum(job.nodes * (view.launch_latency + job.walltime) for job in batch)
        longest = view.launch_latency + max(job.walltime for job in batch)
        machine = view.machine
        vertices = 2 if machine is None else 2 + nodes * (1 + machine.cores_per_node + machine.gpus_per_node)
        walltime = ceil(node_s / nodes + longest + len(batch) * self._cost.of(len(batch), vertices))
        if instance.ends_s is not None:
            walltime = min(walltime, instance.ends_s - view.now - view.launch_latency)
        return batch[0]._replace(id=-1 - batch[0].id, nodes=nodes, walltime=walltime)

    def _began(self, instance: Instance, due: Due, now: Pass) -> Iterator[tuple[Instance, Due]]:
        """A job that starts, or the instance of an ensemble that begins."""
        if due.job.id >= 0:
            yield instance, due
            return
        batch = instance.granted.pop(due.job.id)
        nodes, units = due.job.nodes, None
        if instance.units is not None and now.view.machine is not None:
            count = nodes // now.view.machine.unit_nodes
            if count > now.matcher.free(instance.own_units()).size:  # some have failed meanwhile
                instance.receive(job for job in batch if job.id in now.queue)
                return
            units = now.matcher.choose(count, instance.own_units())
        level = self._levels[instance.depth]
        ends_s = now.view.now + due.job.walltime
        if instance.ends_s is not None:
            ends_s = min(ends_s, instance.ends_s)
        child = Instance(f"{instance.name}.{self._made}", level, nodes, units, ends_s, instance.depth + 1)
        self._made += 1
        child.clock_s = float(now.view.now)
        child.receive(job for job in batch if job.id in now.queue)
        instance.children.append(child)
        self._instances.append(child)

    def _end_those_that_are_through(self, start_s: int) -> None:
        for child in [each for each in reversed(self._instances) if each.ends_s is not None]:
            if child.is_through(start_s):
                above = next(each for each in self._instances if child in each.children)
                above.children.remove(child)
                self._instances.remove(child)
                above.receive(child.waiting.values())
                above.changed = True
