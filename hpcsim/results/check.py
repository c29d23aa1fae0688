"""The laws that every run must keep, verified from its tables against the engine's own books."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hpcsim.engine.simulation import Simulation
from hpcsim.errors import InvariantBroken
from hpcsim.results.shared import busy_nodes, parts_in_use
from hpcsim.results.tables import UNFINISHED
from hpcsim.workload.job import Int64s

if TYPE_CHECKING:
    from hpcsim.engine.site import Site


def check(simulation: Simulation, jobs: pa.Table, attempts: pa.Table, timeline: pa.Table) -> None:
    """Raise InvariantBroken if the run broke a law.

    Busy nodes are never more than the machine has; no job starts before it was submitted or is on the machine
    twice at once; every job ends exactly once (or is rejected, or the run was stopped early); node-seconds of all
    attempts come to what the ledger integrated while the simulation ran. On a machine with places every attempt has as
    many units as its nodes need, and no unit is held by two attempts at once, but by jobs that share it: these
    never take more of it than there is.
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
    state = np.array(attempts.column("state").to_pylist(), object)
    job_state = np.array(jobs.column("state").to_pylist(), object)
    ends = np.bincount(job[~np.isin(state, ["preempted", "running", "node_failed"])], minlength=jobs.num_rows)
    ends += (np.bincount(job[state == "node_failed"], minlength=jobs.num_rows) > 0) & (job_state == "node_failed")
    should = (~np.isin(job_state, ["rejected", *UNFINISHED])).astype(np.int64)
    job_name = jobs.column("job_id")
    _demand(ends == should, lambda i: f"job {job_name[i]} ended {ends[i]} times instead of {should[i]}")

    taken = simulation.attempts.taken
    came_busy, went_busy = busy_nodes(simulation)
    booked = int(np.sum(went_busy * np.where(over, end, simulation.now) - came_busy * taken))
    if booked != simulation.ledger.busy_node_seconds:
        raise InvariantBroken(
            f"the attempts add up to {booked} node-seconds, the ledger integrated {simulation.ledger.busy_node_seconds}"
        )
    if simulation.site is not None:
        _check_units(simulation, simulation.site, attempts, taken, np.where(over, end, simulation.now + 1))


def _check_units(simulation: Simulation, site: Site, attempts: pa.Table, taken: Int64s, free_from: Int64s) -> None:
    """Every attempt has its nodes from ``taken`` to ``free_from``, and no other has one of them then."""
    spec, name = site.cluster.spec, attempts.column("job_id")
    units_of = site.units
    count = np.array([units.size for units in units_of], np.int64)
    nodes = attempts.column("nodes").to_numpy()
    _demand(count * spec.unit_nodes == nodes, lambda i: f"job {name[i]} has {count[i]} units for {nodes[i]} nodes")
    lasting = np.flatnonzero(taken < free_from)
    row = np.concatenate([lasting, lasting])
    is_start = np.arange(row.size) < lasting.size
    time = np.where(is_start, taken[row], free_from[row])
    holder_U = np.full(spec.units, -1, np.int64)
    parts_A, used_U = parts_in_use(simulation, spec.units)
    for event in np.lexsort((is_start, time)).tolist():  # in one second what ends comes first
        i = int(row[event])
        units = units_of[i]
        if parts_A[i, 0]:
            unit = int(units[0])
            if is_start[event] and holder_U[unit] >= 0 and not used_U[unit, 0]:
                raise InvariantBroken(f"t={time[event]}: job {name[i]} shares unit {unit}, which another job holds")
            used_U[unit] += parts_A[i] if is_start[event] else -parts_A[i]
            if site.cluster.shares is None or np.any(used_U[unit] > site.cluster.shares.whole):
                raise InvariantBroken(
                    f"t={time[event]}: jobs share more of unit {unit} than there is, at job {name[i]}"
                )
            holder_U[unit] = i if used_U[unit, 0] else -1
        elif is_start[event]:
            held = units[holder_U[units] >= 0]
            if held.size:
                other = name[int(holder_U[held[0]])]
                raise InvariantBroken(f"t={time[event]}: unit {held[0]} is held by the jobs {other} and {name[i]}")
            holder_U[units] = i
        else:
            holder_U[units] = -1


def _demand(holds: npt.ArrayLike, complaint: Callable[[int], str]) -> None:
    broken = np.flatnonzero(~np.asarray(holds, bool))
    if broken.size:
        raise InvariantBroken(f"{complaint(int(broken[0]))} ({broken.size} such)")
