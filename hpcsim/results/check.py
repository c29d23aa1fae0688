"""The laws that every run must keep, verified from its tables against the engine's own books."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hpcsim.engine.simulation import Simulation
from hpcsim.errors import InvariantBroken
from hpcsim.results.shared import busy_nodes
from hpcsim.results.tables import UNFINISHED
from hpcsim.seconds import NEVER


def check(simulation: Simulation, jobs: pa.Table, attempts: pa.Table, timeline: pa.Table) -> None:
    """Raise InvariantBroken if the run broke a law.

    Busy nodes are never more than the machine has; no job starts before it was submitted, or before those ended that it
    waits for, or is on the machine twice at once; every job ends exactly once (or is rejected, or the run was stopped
    early). Attempts, timeline and the ledger, which integrated while the simulation ran, agree on the node-seconds, and
    jobs, timeline and ledger on how long jobs were there: Little's law. What more holds on a machine with places
    and power is in ``check_machine``.

    References
    ----------
    Little (1961), A proof for the queuing formula L = lambda W.
    Stidham (1974), A last word on L = lambda W.
    """
    busy = timeline.column("busy_nodes").to_numpy()
    time = timeline.column("time_s").to_numpy()
    _demand(busy <= simulation.nodes, lambda i: f"t={time[i]}: {busy[i]} nodes busy of {simulation.nodes}")
    _demand(busy >= 0, lambda i: f"t={time[i]}: {busy[i]} nodes busy")

    job = simulation.attempts.job
    name = attempts.column("job_id")
    start = attempts.column("start_s").to_numpy()
    end = simulation.attempts.end
    over = end >= 0
    submit = simulation.submit_s[job]
    _demand(start >= submit, lambda i: f"t={start[i]}: job {name[i]} started before its submission at {submit[i]}")
    _demand((end >= start)[over], lambda i: f"job {name[i]} ended before it started")
    _demand(
        (simulation.now >= start) | over,
        lambda i: f"job {name[i]} runs since {start[i]}, after the end of the run",
    )

    by_job = np.lexsort((start, job))
    again = np.diff(job[by_job]) == 0
    previous, later = by_job[:-1][again], by_job[1:][again]
    _demand(
        over[previous] & (start[later] >= end[previous]),
        lambda i: f"t={start[later[i]]}: job {name[later[i]]} started while it was running",
    )

    # a node failure ends a job only where it is lost for it; else the job comes back, as after a preemption
    comes_back = _is(attempts, "preempted", "running", "node_failed")
    ends = np.bincount(job[~comes_back], minlength=jobs.num_rows)
    lost = np.bincount(job[_is(attempts, "node_failed")], minlength=jobs.num_rows) > 0
    ends += lost & _is(jobs, "node_failed")
    should = (~_is(jobs, "rejected", *UNFINISHED)).astype(np.int64)
    job_name = jobs.column("job_id")
    _demand(ends == should, lambda i: f"job {job_name[i]} ended {ends[i]} times instead of {should[i]}")

    _check_order(simulation, jobs)
    booked, ran = simulation.ledger.busy_node_seconds, np.where(over, end, simulation.now)
    came_busy, went_busy = busy_nodes(simulation)
    _agree(
        "node-seconds",
        the_ledger=booked,
        the_attempts=int(np.sum(went_busy * ran - came_busy * simulation.attempts.taken)),
        the_timeline=_integral(simulation, timeline, "busy_nodes"),
    )
    _check_flow(simulation, jobs, timeline)
    if simulation.site is not None:
        from hpcsim.results.check_machine import check_machine  # with the machine floor, for few runs

        check_machine(simulation, simulation.site, jobs, attempts)


def _check_order(simulation: Simulation, jobs: pa.Table) -> None:
    """No job starts before those have ended that it waits for, unless it was on the machine from the start."""
    after = simulation.workload.table.column("after").combine_chunks()
    if after.null_count == len(after):
        return
    waits, waits_for = pc.list_parent_indices(after).to_numpy(), pc.list_flatten(after).to_numpy()
    over_s, began_s = np.full((2, len(after)), NEVER)
    end = jobs.column("end_s")
    over_s[: len(end)] = end.fill_null(NEVER).to_numpy()
    over_s[[*simulation.rejected]] = simulation.start  # no later than anything
    began_s[simulation.attempts.job[::-1]] = simulation.attempts.start[::-1]  # the first of its attempts
    name = simulation.workload.table.column("name")
    _demand(
        (began_s[waits] < simulation.start) | (began_s[waits] >= over_s[waits_for]),
        lambda i: (
            f"t={began_s[waits[i]]}: job {name[int(waits[i])]} started before job {name[int(waits_for[i])]} had ended"
        ),
    )


def _check_flow(simulation: Simulation, jobs: pa.Table, timeline: pa.Table) -> None:
    """Little's law: how many jobs are there on average, over time, is how many come by how long each of them stays.

    By the length of the run both sides are job-seconds, and the law holds to the second.
    """
    now, count = simulation.now, jobs.num_rows
    came = np.maximum(simulation.submit_s[:count], simulation.start)
    left = jobs.column("end_s").fill_null(now).to_numpy().copy()
    never = _is(jobs, "rejected", "unsubmitted")
    left[never] = came[never]
    late = simulation.rejected_late
    left[[*late]] = [*late.values()]
    _agree(
        "job-seconds, by Little's law,",
        the_ledger=simulation.ledger.job_seconds(now),
        the_jobs=int(np.sum(left - came)),
        the_timeline=_integral(simulation, timeline, "queue") + _integral(simulation, timeline, "running"),
    )
    there = {"queue": len(simulation.waiting), "running": len(simulation.running)}
    for column, found in there.items():
        last = timeline.column(column)[-1].as_py()
        if last != found:
            raise InvariantBroken(f"t={now}: the timeline ends with {column} {last}, the simulation with {found}")


def _is(table: pa.Table, *states: str) -> npt.NDArray[np.bool_]:
    """Which rows are in one of these states."""
    column = table.column("state").combine_chunks()
    those: npt.NDArray[np.bool_] = np.isin(column.dictionary.to_pylist(), states)[column.indices.to_numpy()]
    return those


def _integral(simulation: Simulation, timeline: pa.Table, column: str) -> int:
    """The integral of a column of the timeline up to now."""
    seconds = np.diff(timeline.column("time_s").to_numpy(), append=simulation.now)
    return int(np.dot(seconds, timeline.column(column).to_numpy()))


def _agree(what: str, **books: int) -> None:
    if len({*books.values()}) > 1:
        said = ", ".join(f"{name.replace('_', ' ')} {amount}" for name, amount in books.items())
        raise InvariantBroken(f"the books disagree on the {what} of the run: {said}")


def _demand(holds: npt.ArrayLike, complaint: Callable[[int], str]) -> None:
    broken = np.flatnonzero(~np.asarray(holds, bool))
    if broken.size:
        raise InvariantBroken(f"{complaint(int(broken[0]))} ({broken.size} such)")
