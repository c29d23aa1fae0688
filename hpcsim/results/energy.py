"""Where every joule of a run went: to jobs, to idle and sleeping nodes, to repairs, fixed loads and cooling.

The IT power is known as a step function (``Cluster.power_log``); what the facility draws beyond it is linear in it,
with a factor that follows the weather in steps of six hours. So all integrals are sums. All energies are of the
whole run, also of what a window does not measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.engine.attempts import KILLED, NODE_FAILED, PREEMPTED
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.machine.cluster import SUPPLY_STEP_S
from hpcsim.machine.cooling import overhead, supply_c
from hpcsim.machine.power import conversion_loss_j
from hpcsim.machine.series import StepSeries

Floats = npt.NDArray[np.float64]

J_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class PowerCurve:
    """IT and facility power as step functions: from each of ``time_s`` on, the last until ``end_s``."""

    time_s: npt.NDArray[np.int64]
    it_w: Floats
    facility_w: Floats
    end_s: int

    def joules(self, watts: Floats) -> float:
        """The integral of one of its curves."""
        return float(np.dot(np.diff(self.time_s, append=self.end_s), watts))


def power_curve(simulation: Simulation, site: Site) -> PowerCurve:
    """The power of the run, cut where the power of a node or the weather changed."""
    cluster, zero = site.cluster, simulation.workload.t0_utc
    spec = cluster.spec
    log_s = np.array(cluster.power_log_s)
    log_w = np.array(cluster.power_log_w)
    first, end = int(log_s[0]), max(simulation.now, int(log_s[0]) + 1)
    steps = np.arange(first // SUPPLY_STEP_S, -(-end // SUPPLY_STEP_S)) * SUPPLY_STEP_S
    middle = (steps + SUPPLY_STEP_S / 2 + zero).astype(np.float64)
    beyond = np.broadcast_to(overhead(spec.cooling, supply_c(spec.thermal, middle), middle), steps.shape)
    time = np.union1d(log_s, np.maximum(steps, first))
    it_w = log_w[np.searchsorted(log_s, time, side="right") - 1]
    facility_w = it_w * (1.0 + beyond[np.searchsorted(steps, time, side="right") - 1])
    return PowerCurve(time, it_w, facility_w, end)


def energy_summary(
    simulation: Simulation, site: Site, *, carbon: StepSeries, price: StepSeries, work_node_hours: float, ended: int
) -> dict[str, Any]:
    """The keys of the summary that need power, heat and failures; docs/results.md has their formulas."""
    cluster = site.cluster
    cluster.settle(simulation.now)
    curve = power_curve(simulation, site)
    it_j, facility_j = curve.joules(curve.it_w), curve.joules(curve.facility_w)
    heat = cluster.heat
    # grams are joules to kWh times g/kWh; dollars are joules to MWh times $/MWh
    return {
        "energy_it_kwh": it_j / J_PER_KWH,
        "energy_facility_kwh": facility_j / J_PER_KWH,
        "energy_kwh_per_job": facility_j / J_PER_KWH / ended if ended else None,
        "energy_kwh_per_work_node_hour": facility_j / J_PER_KWH / work_node_hours if work_node_hours else None,
        "energy_split_kwh": {name: joules / J_PER_KWH for name, joules in ledger_j(simulation, site, curve).items()},
        "pue": facility_j / it_j,
        "peak_power_kw": float(curve.facility_w.max()) / 1000.0,
        "carbon_kg": carbon.weighted(curve.time_s, curve.facility_w, curve.end_s) / J_PER_KWH / 1000.0,
        "cost_usd": price.weighted(curve.time_s, curve.facility_w, curve.end_s) / J_PER_KWH / 1000.0,
        "hottest_node_c": None if heat is None else heat.hottest_c(simulation.now)[0],
        "hottest_gpu_c": None if heat is None else heat.hottest_c(simulation.now)[1],
        "throttled_node_hours": float(sum(site.throttled_node_s)) / 3600.0,
        "interrupts": len(cluster.interrupts),
        "lost_node_hours": float(sum(site.lost_node_s)) / 3600.0,
        "recorded_places": None if site.recorded is None else dict(site.recorded.starts),
        "down_node_hours": cluster.node_seconds["down"] / 3600.0,
    }


def ledger_j(simulation: Simulation, site: Site, curve: PowerCurve) -> dict[str, float]:
    """Every joule once: the parts add up to what the facility drew.

    ``jobs`` is what jobs drew while their work counted, ``lost`` what attempts drew that a failure or the scheduler
    ended. ``conversion`` is the part of all nodes' wall joules that their converters turned into heat; it is taken
    out of none of the others, but said beside them under ``of_which_conversion``.
    """
    cluster = site.cluster
    power = cluster.spec.power
    joules = np.array(site.joules)
    for execution in cluster.executions.values():  # of a run that was stopped early
        execution.settle(simulation.now)
        joules[execution.row] = execution.joules
    lost = np.isin(np.frombuffer(simulation.attempts.state, np.int8), (KILLED, NODE_FAILED, PREEMPTED))
    resting = {
        "repair" if name == "down" else name: cluster.node_seconds[name] * watts
        for name, watts in cluster.watts_in.items()
    }
    seconds = curve.end_s - int(curve.time_s[0])
    parts = {
        "jobs": float(joules[~lost].sum()),
        "lost": float(joules[lost].sum()),
        **resting,
        "fixed": power.fixed_w * seconds,
        "cooling": curve.joules(curve.facility_w - curve.it_w),
    }
    wall_j = parts["jobs"] + parts["lost"] + sum(resting.values())
    awake_s = sum(count for name, count in cluster.node_seconds.items() if name != "asleep")
    asleep_j = resting["asleep"]
    return parts | {"of_which_conversion": conversion_loss_j(power, wall_j - asleep_j, float(awake_s))}
