"""What a centre's queue rules do to a Simulation: who may start where, who is stopped for whom, and from when on."""

from __future__ import annotations

import copy
from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hpcsim.engine.lifecycle import let_wait, refuse, turn_away
from hpcsim.engine.preemption import Stoppable, to_stop
from hpcsim.machine.pools import NodePools
from hpcsim.machine.queues import Admission, Refused
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation
    from hpcsim.engine.site import Site


class Centre:
    """The queue rules of a simulation of so many ``jobs`` that began at second ``start``.

    ``routed_to`` says of each job that is in another queue than it asked for in which: 1 + its place in ``queues``.
    ``special`` are the queues that have nodes or rights of their own now: a pool, or jobs that may stop others;
    ``stops`` says from which queues these are. ``pools`` are the node pools, None if no period has any. Raises
    ValueError where the machine has no places for pools, or where a start takes a free block and not just nodes.
    """

    def __init__(self, admission: Admission, site: Site | None, start: int, jobs: int) -> None:
        self.admission = admission
        self.queues: tuple[str, ...] = admission.queues
        self.routed_to: array[int] = array("H", bytes(2 * jobs))
        self.pools: NodePools | None = None
        admission.turn_to(start)
        pooled = admission.pooled
        if (pooled or admission.preempting) and site is not None and site.torus is not None:
            raise ValueError("on a torus, queues cannot have node pools and cannot stop other jobs")
        if pooled:
            if site is None:
                raise ValueError("node pools are places: they need a machine with a site")
            self.pools = site.pools = NodePools(site.cluster.places, pooled, admission.period.pools)
        self._name_special()

    def attach(self, simulation: Simulation) -> None:
        """Let it act on ``simulation``, which has just begun or been forked."""
        self._simulation = simulation

    def __deepcopy__(self, memo: dict[int, object]) -> Centre:
        """A copy that belongs to no simulation until it is attached to one."""
        twin = copy.copy(self)
        twin.admission, twin.pools = copy.deepcopy(self.admission, memo), copy.deepcopy(self.pools, memo)
        twin.routed_to = self.routed_to[:]
        return twin

    def go_on(self) -> None:
        """Have the rules in force of the second from which the simulation goes on, after its state was replaced."""
        self.admission.go_on(self._simulation.start)
        self._name_special()

    def _name_special(self) -> None:
        period = self.admission.period
        self.stops: dict[str, frozenset[str]] = period.stops
        self.special: frozenset[str] = frozenset({*period.pools, *self.stops})

    # -- the life of a job --------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Route, hold or refuse a job that has just been submitted."""
        simulation = self._simulation
        answer = self.admission.submit(job, simulation.now)
        if isinstance(answer, Refused):
            refuse(simulation, job.id, answer.rule)
            return
        if answer.queue != job.queue:
            job = job._replace(queue=answer.queue)
            self.routed_to[job.id] = 1 + self.queues.index(answer.queue)
        if answer.may_run:
            let_wait(simulation, job)
        else:
            simulation.held[job.id] = job
            simulation.held_by[job.id] = answer.held_by

    def left(self, job: Job, *, comes_back: bool) -> None:
        """A job was taken off the machine, to come back or for good."""
        if comes_back:
            self.admission.requeued(job)
        else:
            self._let_run(self.admission.ended(job))

    def rules_out(self, job: Job) -> bool:
        """Whether a job that was taken off the machine can never run again by the rules by now: then it is refused."""
        rule = self.admission.ruled_out(job)
        if rule is not None:
            turn_away(self._simulation, job.id, rule)
            self._let_run(self.admission.ended(job))
        return rule is not None

    def _let_run(self, job_ids: Iterable[int]) -> None:
        """Take in jobs that were held back by a limit on running jobs."""
        for job_id in job_ids:
            self._simulation.eligible[job_id] = self._simulation.now
            let_wait(self._simulation, self._simulation.held.pop(job_id))

    # -- starts -------------------------------------------------------------------------------

    def stoppable(self, queue: str) -> list[Stoppable]:
        """The running jobs that jobs of ``queue`` may stop, each with the general nodes that this would free.

        What the present pass has started is not stopped in it.
        """
        simulation, victims, pools = self._simulation, self.stops.get(queue, ()), self.pools
        started_now = simulation.now + simulation.launch_latency
        return [
            Stoppable(start, job_id, nodes)
            for job_id, (job, start, _) in simulation.running.items()
            if job.queue in victims
            and start < started_now
            and not job.cores
            and (nodes := job.nodes if pools is None else pools.coming_back(job_id, job.nodes))
        ]

    def preemptable(self, job: Job) -> bool:
        """Whether the job, when it runs, may be stopped for jobs of other queues."""
        queue = self.admission.period.queues.get(job.queue)
        return queue is not None and queue.preemptable

    def clear_for(self, job: Job) -> list[Job]:
        """The jobs that must be stopped so that ``job`` can start now; ValueError where it cannot."""
        if self._simulation.has_room(job):
            return []
        free, pools = self._simulation.free_nodes, self.pools
        own = 0
        if pools is not None and job.queue in pools.pools and not job.cores:
            own = min(job.nodes, pools.own_free(job.queue))
            left = max(0, pools.general_left(job.queue))
            if job.nodes - own > left:
                raise ValueError(
                    f"its queue {job.queue} has {own} free nodes of its own and may take {left} more of the others"
                )
        missing = job.nodes - own - free
        if missing <= 0:
            return []
        jobs = [] if job.cores else self.stoppable(job.queue)
        chosen = to_stop(jobs, missing)
        if chosen is None:
            of_queue = f" and {own} of queue {job.queue}" if own else ""
            stoppable = f", and the jobs that it may stop have {sum(each.nodes for each in jobs)}" if jobs else ""
            raise ValueError(f"only {free}{of_queue} are free{stoppable}")
        return [self._simulation.running[each.job_id].job for each in chosen]

    # -- periods ------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Let the rules of this second be in force; whether jobs that wait may now start that could not before."""
        simulation = self._simulation
        turned = self.admission.turn_to(simulation.now)
        before = self.stops
        self._name_special()
        moved = self.stops != before
        pools = self.admission.period.pools
        if self.pools is not None and simulation.site is not None and self.pools.pools != pools:
            simulation.site.move_pools(pools)
            moved = True
        for job_id, rule in turned.refused:
            turn_away(simulation, job_id, rule)
        self._let_run(turned.freed)
        simulation.special = {
            job.id: job for job in simulation.queue.jobs if job.queue in self.special and not job.cores
        }
        return moved or bool(turned.refused or turned.freed)
