"""The laws of a run on a machine with places and power: no unit is given away twice, and no joule is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hpcsim.errors import InvariantBroken
from hpcsim.results.energy import ledger_j, power_curve
from hpcsim.results.shared import parts_in_use
from hpcsim.workload.job import Int64s

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation
    from hpcsim.engine.site import Site

_ROUNDING = 1e-9  # of a sum of joules
_END, _BACK, _OUT, _START = range(4)  # in which order things happen in one second


def check_machine(simulation: Simulation, site: Site, jobs: pa.Table, attempts: pa.Table) -> None:
    """Raise InvariantBroken if the run broke a law of its machine.

    Every attempt has as many units as its nodes need, and none of them is out of service or held by another, but by
    jobs that share it: these never take more of it than there is. While the whole machine is out of service no job runs
    anywhere. The seconds that nodes spent in each state come to the length of the run, those of busy ones to what the
    ledger integrated, and those of nodes in repair to what the interrupts say. What jobs, resting nodes, fixed loads
    and cooling took comes to what the facility drew.
    """
    _check_units(simulation, site, attempts)
    _check_node_seconds(simulation, site)
    if simulation.now > simulation.start:  # else the power curve shows the one second that it has at least
        _check_joules(simulation, site, jobs)


def _check_units(simulation: Simulation, site: Site, attempts: pa.Table) -> None:
    """Go through all starts, ends and outages in the order of time, and look who holds each unit."""
    spec, name = site.cluster.spec, attempts.column("job_id")
    units_of, interrupts = site.units, site.cluster.service.interrupts
    nodes = attempts.column("nodes").to_numpy()
    count = np.array([units.size for units in units_of], np.int64)
    for i in np.flatnonzero(count * spec.unit_nodes != nodes)[:1].tolist():
        raise InvariantBroken(f"job {name[i]} has {count[i]} units for {nodes[i]} nodes")
    taken, end = simulation.attempts.taken, simulation.attempts.end
    for begin_s, until_s in site.cluster.service.shut:
        runs = (taken < until_s) & ((end > begin_s) | (end < 0)) & (taken != end)
        for i in np.flatnonzero(runs)[:1].tolist():
            when = f"t={max(int(taken[i]), begin_s)}"
            raise InvariantBroken(f"{when}: the whole machine is out of service, and job {name[i]} is on it")
    time, kind, number = _happenings(simulation, site)
    holder_U = np.full(spec.units, -1, np.int64)
    is_out_U = np.zeros(spec.units, bool)
    parts_A, used_U = parts_in_use(simulation, spec.units)
    for at in np.lexsort((kind, time)).tolist():
        i, what = int(number[at]), int(kind[at])
        if what in (_OUT, _BACK):
            units = interrupts[i].units
            is_out_U[units] = what == _OUT
            if what == _OUT and (held := units[holder_U[units] >= 0]).size:
                holder = name[int(holder_U[held[0]])]
                raise InvariantBroken(f"t={time[at]}: unit {held[0]} is out of service, and job {holder} goes on there")
            continue
        units = units_of[i]
        if what == _START and is_out_U[units].any():
            unit = units[is_out_U[units]][0]
            raise InvariantBroken(f"t={time[at]}: job {name[i]} starts on unit {unit}, which is out of service")
        if parts_A[i, 0]:
            unit = int(units[0])
            if what == _START and holder_U[unit] >= 0 and not used_U[unit, 0]:
                raise InvariantBroken(f"t={time[at]}: job {name[i]} shares unit {unit}, which another job holds")
            used_U[unit] += parts_A[i] if what == _START else -parts_A[i]
            if site.cluster.shares is None or np.any(used_U[unit] > site.cluster.shares.whole):
                raise InvariantBroken(f"t={time[at]}: jobs share more of unit {unit} than there is, at job {name[i]}")
            holder_U[unit] = i if used_U[unit, 0] else -1
        elif what == _START:
            held = units[holder_U[units] >= 0]
            if held.size:
                other = name[int(holder_U[held[0]])]
                raise InvariantBroken(f"t={time[at]}: unit {held[0]} is held by the jobs {other} and {name[i]}")
            holder_U[units] = i
        else:
            holder_U[units] = -1


def _happenings(simulation: Simulation, site: Site) -> tuple[Int64s, Int64s, Int64s]:
    """When jobs took their units and left them, and units went out of service and came back: seconds, kinds, rows.

    A row is one of the attempts or of the interrupts. What has not ended yet ends after the run.
    """
    taken, end = simulation.attempts.taken, simulation.attempts.end
    end = np.where(end < 0, simulation.now + 1, end)
    lasting = np.flatnonzero(taken < end)
    interrupts = site.cluster.service.interrupts
    out_s = np.array([each.time_s for each in interrupts], np.int64)
    back_s = np.array([each.until_s for each in interrupts], np.int64)
    each = np.arange(len(interrupts))
    kinds = np.repeat((_START, _END, _OUT, _BACK), (lasting.size, lasting.size, each.size, each.size))
    times = np.concatenate((taken[lasting], end[lasting], out_s, back_s))
    return times, kinds, np.concatenate((lasting, lasting, each, each))


def _check_node_seconds(simulation: Simulation, site: Site) -> None:
    cluster, now = site.cluster, simulation.now
    cluster.meter.settle(now)
    spent, lasted = cluster.meter.node_seconds, simulation.nodes * (now - simulation.start)
    if sum(spent.values()) != lasted:
        raise InvariantBroken(f"nodes spent {spent} seconds in their states, of {lasted}")
    if spent["busy"] != simulation.ledger.busy_node_seconds:
        raise InvariantBroken(
            f"nodes were busy for {spent['busy']} s, the ledger integrated {simulation.ledger.busy_node_seconds}"
        )
    out = sum((min(each.until_s, now) - each.time_s) * each.units.size for each in cluster.service.interrupts)
    if spent["down"] != out * cluster.spec.unit_nodes:
        raise InvariantBroken(
            f"nodes were in repair for {spent['down']} s, the interrupts come to {out * cluster.spec.unit_nodes}"
        )


def _check_joules(simulation: Simulation, site: Site, jobs: pa.Table) -> None:
    curve = power_curve(simulation, site)
    parts = ledger_j(simulation, site, curve)
    parts.pop("of_which_conversion")  # which is in the others
    drawn, found = curve.joules(curve.facility_w), sum(parts.values())
    if abs(found - drawn) > _ROUNDING * drawn:
        raise InvariantBroken(f"the parts add up to {found} J, the facility drew {drawn} J: {parts}")
    of_jobs, of_attempts = float(jobs.column("energy_j").to_numpy().sum()), float(site.joules.sum())
    if abs(of_jobs - of_attempts) > _ROUNDING * of_attempts:
        raise InvariantBroken(f"the jobs drew {of_jobs} J, their attempts {of_attempts} J")
