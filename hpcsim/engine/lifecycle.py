"""What happens to a job of a Simulation: it is submitted, waits, starts, ends or is refused, and all books say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcsim.engine.attempts import FUTURE, NODE_FAILED, REJECTED, RUNNING, STATES
from hpcsim.engine.complaints import bad, called
from hpcsim.engine.twins import Ended, broken
from hpcsim.engine.view import Running
from hpcsim.workload.job import TIMEOUT, Job

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation

# -- submission and waiting -------------------------------------------------------------------


def take_in(simulation: Simulation, job: Job) -> None:
    """A job has been submitted."""
    if simulation.state[job.id] != FUTURE:
        return  # it has been on the machine from the start
    simulation.ledger.came(simulation.now)
    if simulation.observers is not None:
        simulation.observers.tell("submitted", job, simulation.now)
    if job.nodes > simulation.largest_job:
        larger = "the machine" if job.nodes > simulation.nodes else "any block"
        refuse(simulation, job.id, f"larger than {larger}")
    elif simulation.sharing is not None and job.cores and simulation.sharing.shares.too_large(job):
        refuse(simulation, job.id, "larger than a node")
    elif simulation.centre is not None:
        simulation.centre.submit(job)
    elif job.after is not None:
        _wait_for_others(simulation, job)
    else:
        simulation.queue.add(job)


def let_wait(simulation: Simulation, job: Job) -> None:
    """Take in a job that may run by the queue rules: it waits in the queue, or first for others that it names."""
    if job.after is not None:
        _wait_for_others(simulation, job)
    else:
        _enqueue(simulation, job)


def put_back(simulation: Simulation, job: Job) -> None:
    """Put back into the queue a job that was taken off the machine, unless the rules by now leave it no nodes."""
    if simulation.centre is None or not simulation.centre.rules_out(job):
        _enqueue(simulation, job)


def _wait_for_others(simulation: Simulation, job: Job) -> None:
    """Put ``job`` into the queue once every job that it names has ended, in whatever way."""
    open_after = [i for i in job.after or () if simulation.state[i] > REJECTED]
    simulation.eligible.pop(job.id, None)
    if open_after:
        simulation.dependencies.add(job, open_after)
    else:
        _release(simulation, job)


def _release(simulation: Simulation, job: Job) -> None:
    simulation.eligible[job.id] = simulation.now
    _enqueue(simulation, job)


def _enqueue(simulation: Simulation, job: Job) -> None:
    simulation.queue.add(job)
    if simulation.centre is not None and job.queue in simulation.centre.special and not job.cores:
        simulation.special[job.id] = job


# -- on the machine ---------------------------------------------------------------------------


def start(simulation: Simulation, job: Job, why: str, speed: float, units: tuple[int, ...] | None) -> None:
    """Start a job that has been taken out of the queue, at this speed, on these units or as the machine places."""
    simulation.agenda.started()
    _run(simulation, job, simulation.now + simulation.launch_latency, simulation.now, why, speed, units)


def found_running(simulation: Simulation, job: Job, began: int) -> None:
    """Put on the machine a job that has been running since ``began``, before the first second."""
    simulation.state[job.id] = RUNNING
    simulation.ledger.came(simulation.now)
    if simulation.centre is not None:
        job = job._replace(queue=simulation.centre.admission.found_running(job, simulation.now))
    _run(simulation, job, began, simulation.now, "running at the start", 1.0, None)


def _run(
    simulation: Simulation, job: Job, begins: int, taken: int, why: str, speed: float, wanted: tuple[int, ...] | None
) -> None:
    """Put ``job`` on the machine: its nodes are busy from ``taken``, it runs from ``begins``."""
    job_id, site = job.id, simulation.site
    if site is None:
        if speed != 1.0 or wanted is not None:
            raise bad(simulation, f"started {called(job)} at a speed or on units; this machine only counts nodes")
        expected_end = begins + job.walltime
        end = max(begins + simulation.program_of(job_id)[0], taken)
        simulation.free_nodes -= job.nodes
    else:
        try:
            end, expected_end = site.begin(job, begins, taken, speed, wanted)
        except ValueError as error:
            raise bad(simulation, f"started {called(job)}, but {error}") from None
        simulation.free_nodes = site.free_nodes
        if site.cluster.classes is not None:
            begins = max(begins, taken + site.cluster.executions[job_id].lead_s)
    simulation.running[job_id] = Running(job, begins, expected_end)
    if simulation.sharing is not None and job.cores:
        simulation.sharing.began(simulation, job)
    else:
        simulation.releases.add(expected_end, job_id, _general_nodes(simulation, job))
        simulation.ledger.change(taken, job.nodes)
    simulation.agenda.await_end(job_id, end, simulation.attempts.begin(job_id, taken, begins, why))
    if simulation.observers is not None:
        units = None if site is None else tuple(site.units[-1].tolist())
        simulation.observers.tell("started", job, taken, units, why)


def _general_nodes(simulation: Simulation, job: Job) -> int:
    """How many nodes that all jobs may have come back when the running ``job`` ends."""
    return job.nodes if simulation.pools is None else simulation.pools.coming_back(job.id, job.nodes)


def retime(simulation: Simulation, job_id: int, end: int, expected_end: int) -> None:
    """A running job has another pace: it now ends at ``end``, by its limit at ``expected_end`` at the latest."""
    job, began, expected = simulation.running[job_id]
    if simulation.sharing is not None and expected_end != expected and job.cores:
        simulation.running[job_id] = Running(job, began, expected_end)
        simulation.sharing.changed(simulation, job_id)
    elif expected_end != expected:
        nodes = _general_nodes(simulation, job)
        simulation.releases.remove(expected, job_id, nodes)
        simulation.releases.add(expected_end, job_id, nodes)
        simulation.running[job_id] = Running(job, began, expected_end)
    simulation.agenda.await_end(job_id, end, simulation.agenda.ends[job_id][2])


# -- ends -------------------------------------------------------------------------------------


def end_by_itself(simulation: Simulation, job_id: int) -> None:
    """The program of a running job has ended, or come to its limit."""
    site = simulation.site
    leave(simulation, job_id, simulation.program_of(job_id)[1] if site is None else site.how_it_ends(job_id, TIMEOUT))


def fail(simulation: Simulation, job_id: int, *, comes_back: bool) -> None:
    """End a job because a node of it failed."""
    job = simulation.running[job_id].job
    leave(simulation, job_id, NODE_FAILED, comes_back=comes_back)
    if comes_back:
        put_back(simulation, job)


def leave(simulation: Simulation, job_id: int, state: int, *, comes_back: bool = False) -> None:
    """Take ``job_id`` off the machine now; ``state`` says how this attempt ended."""
    job, _, expected_end = simulation.running.pop(job_id)
    _, _, row = simulation.agenda.ends.pop(job_id)
    if simulation.sharing is not None and job.cores:
        simulation.sharing.leaves(simulation, job_id)
    else:
        simulation.releases.remove(expected_end, job_id, _general_nodes(simulation, job))
        simulation.ledger.change(simulation.now, -job.nodes)
    slow_s = 0.0
    if simulation.site is None:
        simulation.free_nodes += job.nodes
    else:
        slow_s = simulation.site.end(job_id, work_is_lost=state > TIMEOUT)
        simulation.free_nodes = simulation.site.free_nodes
    simulation.attempts.finish(row, simulation.now, state)
    if not comes_back:
        _finished(simulation, job_id, state)
        if simulation.learning:
            _tell_twins(simulation, job, row, slow_s)
    if simulation.centre is not None:
        simulation.centre.left(job, comes_back=comes_back)
    if simulation.observers is not None:
        simulation.observers.tell("ended", job, simulation.now, STATES[state])


def _tell_twins(simulation: Simulation, job: Job, row: int, slow_s: float) -> None:
    """Tell the twins that learn how the job of a row in attempts has ended."""
    _, _, began, end, ended_as, _ = simulation.attempts.row(row)
    runtime_s, state = end - began, STATES[ended_as]
    energy_j = None if simulation.site is None else simulation.site.joules_of(row)
    told = Ended(job, runtime_s, state, simulation.now, energy_j, 1.0 - slow_s / max(runtime_s, 1))
    for twin in simulation.learning:
        try:
            twin.ended(told)
        except Exception as error:
            raise broken(twin, simulation.now, error) from error


def refuse(simulation: Simulation, job_id: int, rule: str) -> None:
    """Reject a job that is submitted: ``rule`` says why it may not start."""
    simulation.rejected[job_id] = rule
    _finished(simulation, job_id, REJECTED)
    if simulation.observers is not None:
        job = next(simulation.workload.jobs(job_id, job_id + 1))
        simulation.observers.tell("rejected", job, simulation.now, rule)


def turn_away(simulation: Simulation, job_id: int, rule: str) -> None:
    """Reject a job that waits, or has just been taken off the machine: by ``rule`` it could never start again."""
    simulation.queue.pop(job_id)
    for others in (simulation.special, simulation.held):
        others.pop(job_id, None)
    simulation.dependencies.forget(job_id)
    simulation.rejected_late[job_id] = simulation.now
    refuse(simulation, job_id, rule)


def _finished(simulation: Simulation, job_id: int, state: int) -> None:
    simulation.state[job_id] = state
    simulation.ledger.left(simulation.now)
    if simulation.closed_loop is not None:
        simulation.closed_loop.ended(simulation, job_id)
    for job in simulation.dependencies.ended(job_id):
        _release(simulation, job)
