"""Where every joule of a run went: to jobs, to idle and sleeping nodes, to repairs, fixed loads and cooling.

The IT power is known as a step function (``Cluster.power_log``); what the facility draws beyond it is linear in it,
with a factor that changes with the weather, in steps of six hours, and with the cooling mode; sun, carbon intensity
and price change every hour. So all integrals are sums. All energies are of the
whole run, also of what a window does not measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hpcsim.engine.attempts import KILLED, NODE_FAILED, PREEMPTED
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.machine.course import Course
from hpcsim.machine.power import conversion_loss_j
from hpcsim.machine.series import JOULES_PER_MWH

Floats = npt.NDArray[np.float64]

J_PER_KWH = 3.6e6

_ROUNDING = 1e-9  # of a cap: a facility that keeps it may be so far above it


@dataclass(frozen=True, slots=True)
class PowerCurve:
    """Power as step functions of time: from each of ``time_s`` on, the last until ``end_s``.

    ``solar_w`` is what the site's solar plant gives, and ``cap_w`` what the facility may draw.
    """

    time_s: npt.NDArray[np.int64]
    it_w: Floats
    facility_w: Floats
    solar_w: Floats
    cap_w: Floats
    end_s: int

    @property
    def used_solar_w(self) -> Floats:
        """What the facility takes of the solar power; the rest is not used by anyone."""
        return np.minimum(self.facility_w, self.solar_w)

    @property
    def grid_w(self) -> Floats:
        """What the facility takes from the grid."""
        return self.facility_w - self.used_solar_w

    @property
    def above_cap_w(self) -> Floats:
        """What the facility draws beyond its cap."""
        above = self.facility_w - self.cap_w
        return np.where(above > _ROUNDING * self.cap_w, above, 0.0)

    def joules(self, watts: Floats) -> float:
        """The integral of one of its curves."""
        return float(np.dot(np.diff(self.time_s, append=self.end_s), watts))


def power_curve(simulation: Simulation, site: Site) -> PowerCurve:
    """The power of the run, cut where that of the machine or anything around it changed."""
    cluster, facility = site.cluster, site.facility
    log_s, log_w = cluster.meter.power_log
    first, end = int(log_s[0]), max(simulation.now, int(log_s[0]) + 1)
    solar = None if facility.solar is None else facility.solar.power
    hours = () if solar is None else solar.boundaries(first, end)
    time = np.unique(np.concatenate((log_s, facility.changes_s(first, end), np.array(hours, np.int64))))
    it_w = log_w[np.searchsorted(log_s, time, side="right") - 1]
    return PowerCurve(
        time,
        it_w,
        facility_w=it_w * (1.0 + facility.overhead_T(time)),
        solar_w=np.zeros(len(time)) if solar is None else solar.at(time),
        cap_w=facility.cap_w_T(time),
        end_s=end,
    )


def power_table(curve: PowerCurve) -> pa.Table:
    """A row for each second from which on something else is drawn, in watts; the last holds to the end of the run."""
    columns = {"it_w": curve.it_w, "facility_w": curve.facility_w, "solar_w": curve.solar_w}
    kept = _changes(columns)
    return pa.table({"time_s": curve.time_s[kept], **{name: watts[kept] for name, watts in columns.items()}})


def grid_table(site: Site, curve: PowerCurve) -> pa.Table:
    """A row for each second from which on the cap, the price or the carbon intensity is another.

    Watts (null: no cap), USD and grams of CO2 for a kilowatt-hour of the grid; the last row holds to the end.
    """
    facility, first, end = site.facility, int(curve.time_s[0]), curve.end_s
    hours = [series.boundaries(first, end) for series in (facility.price, facility.carbon)]
    time_s = np.unique(np.concatenate((curve.time_s[:1], *hours, facility.caps_s(first, end))))
    columns = {
        "cap_w": facility.cap_w_T(time_s),
        "price_usd_per_kwh": facility.price.at(time_s) / 1000.0,  # of USD/MWh
        "carbon_g_per_kwh": facility.carbon.at(time_s),
    }
    table = {name: values[_changes(columns)] for name, values in ({"time_s": time_s} | columns).items()}
    return pa.table(table | {"cap_w": pa.array(table["cap_w"], mask=np.isinf(table["cap_w"]))})


def temperature_table(course: Course, unit_nodes: int) -> pa.Table:
    """A row for each of the course's seconds: degrees Celsius, and how many nodes are throttled."""
    columns = course.as_columns()
    return pa.table(columns | {"throttled_nodes": unit_nodes * columns.pop("throttled_units")})


def _changes(columns: dict[str, Floats]) -> npt.NDArray[np.bool_]:
    """The rows that differ from the one before."""
    return np.append(True, np.any([values[1:] != values[:-1] for values in columns.values()], axis=0))


def energy_summary(
    simulation: Simulation, site: Site, curve: PowerCurve, *, work_node_hours: float, ended: int
) -> dict[str, Any]:
    """The keys of the summary that need power, heat and failures; docs/results.md has their formulas."""
    cluster = site.cluster
    cluster.meter.settle(simulation.now)
    it_j, facility_j = curve.joules(curve.it_w), curve.joules(curve.facility_w)
    heat, grid_w = cluster.heat, curve.grid_w
    return {
        "energy_it_kwh": it_j / J_PER_KWH,
        "energy_facility_kwh": facility_j / J_PER_KWH,
        "energy_kwh_per_job": facility_j / J_PER_KWH / ended if ended else None,
        "energy_kwh_per_work_node_hour": facility_j / J_PER_KWH / work_node_hours if work_node_hours else None,
        "energy_split_kwh": {name: joules / J_PER_KWH for name, joules in ledger_j(simulation, site, curve).items()},
        "pue": facility_j / it_j,
        "peak_power_kw": float(curve.facility_w.max()) / 1000.0,
        "cap_exceeded_s": int(curve.joules(np.sign(curve.above_cap_w))),
        "cap_exceeded_kwh": curve.joules(curve.above_cap_w) / J_PER_KWH,
        "solar_kwh": curve.joules(curve.solar_w) / J_PER_KWH,
        "solar_used_kwh": curve.joules(curve.used_solar_w) / J_PER_KWH,
        "grid_kwh": curve.joules(grid_w) / J_PER_KWH,
        # kg/MWh are g/kWh
        "carbon_kg": site.facility.carbon.weighted(curve.time_s, grid_w, curve.end_s) / JOULES_PER_MWH,
        "cost_usd": site.facility.price.weighted(curve.time_s, grid_w, curve.end_s) / JOULES_PER_MWH,
        "hottest_node_c": None if heat is None else heat.hottest_c(simulation.now)[0],
        "hottest_gpu_c": None if heat is None else heat.hottest_c(simulation.now)[1],
        "throttled_node_hours": float(site.throttled_node_s.sum()) / 3600.0,
        "interrupts": len(cluster.service.interrupts),
        "lost_node_hours": float(site.lost_node_s.sum()) / 3600.0,
        "recorded_places": None if site.recorded is None else dict(site.recorded.starts),
        "down_node_hours": cluster.meter.node_seconds["down"] / 3600.0,
    }


def ledger_j(simulation: Simulation, site: Site, curve: PowerCurve) -> dict[str, float]:
    """Every joule once: the parts add up to what the facility drew.

    ``jobs`` is what jobs drew while their work counted, ``lost`` what attempts drew that a failure or the scheduler
    ended. ``conversion`` is the part of all nodes' wall joules that their converters turned into heat; it is taken
    out of none of the others, but said beside them under ``of_which_conversion``.
    """
    cluster = site.cluster
    power = cluster.spec.power
    joules = site.joules
    for execution in cluster.executions.values():  # of a run that was stopped early
        execution.settle(simulation.now)
        joules[execution.row] = execution.joules
    lost = np.isin(simulation.attempts.state, (KILLED, NODE_FAILED, PREEMPTED))
    resting = {
        "repair" if name == "down" else name: cluster.meter.node_seconds[name] * watts
        for name, watts in cluster.meter.watts_in.items()
    }
    if cluster.shares is not None:
        cluster.shares.settle(simulation.now)
        resting["unshared"] = cluster.shares.unshared_j
    seconds = curve.end_s - int(curve.time_s[0])
    parts = {
        "jobs": float(joules[~lost].sum()),
        "lost": float(joules[lost].sum()),
        **resting,
        "fixed": power.fixed_w * seconds,
        "cooling": curve.joules(curve.facility_w - curve.it_w),
    }
    wall_j = parts["jobs"] + parts["lost"] + sum(resting.values())
    awake_s = sum(count for name, count in cluster.meter.node_seconds.items() if name != "asleep")
    asleep_j = resting["asleep"]
    return parts | {"of_which_conversion": conversion_loss_j(power, wall_j - asleep_j, float(awake_s))}
