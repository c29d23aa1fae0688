"""Bounds that no schedule of a cell can beat, in closed form, by all that the simulator knows of its jobs.

They hold for every schedule that brings each job to its own end, within a week of the earliest end of all, at clocks
that the machine has. (A job that is slowed down and then throttled for heat, or under a cap, may go slower than that.)
They are no plans: mostly no schedule meets one of them, and none all.

References
----------
Etinski, Corbalan, Labarta and Valero (2012), Parallel job scheduling for power constrained HPC systems.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.errors import InputError
from hpcsim.machine.cooling import SUPPLY_STEP_S, overhead, supply_c
from hpcsim.machine.power import best_speed, rate
from hpcsim.workload.job import COMPLETED, FAILED

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WEEK_S: Final = 7 * 86_400
J_PER_KWH: Final = 3.6e6


class Bounds(NamedTuple):
    """The bounds of a cell, by the names of its metrics, and beside them what no schedule can change.

    ``work_node_hours`` are those of all jobs whose programs come to a good end, ``failed_node_hours`` what jobs take at
    full speed whose programs fail by themselves. None is a bound of nothing.
    """

    energy_kwh_per_work_node_hour: float | None
    lost_node_hours: float
    throughput_node_h_per_h: float | None
    variability: float
    mean_bounded_slowdown: float
    work_node_hours: float
    failed_node_hours: float


class Truth:
    """What is true of the J jobs of a simulation at its first second, but for those ``rejected``, by id.

    ``work_s_J`` are the seconds that each has ahead of it at full speed, undisturbed, ``limit_s_J`` those that it may
    run. ``from_s_J`` is when it can start at the earliest, ``began_s_J`` the same, and of a job that runs already when
    it began. ``least_J`` and ``most_J`` are the factors by which its place may make it longer. ``speed_J`` is the clock
    at which it takes the least energy beyond that of nodes that sleep, ``joules_J`` that energy.

    Raises InputError where the scenario has no physics, jobs share nodes or follow others, or nodes are of several
    classes: what is best there is not known in closed form.
    """

    def __init__(self, simulation: Simulation, rejected: Collection[int] = ()) -> None:
        self.site = site = _site(simulation)
        workload, cluster, spec = simulation.workload, site.cluster, site.cluster.spec
        nodes = workload.column("nodes")
        is_in = nodes <= simulation.largest_job
        is_in[[*rejected]] = False
        self.job_J = job_J = np.flatnonzero(is_in)
        self.nodes_J = nodes[job_J]
        self.from_s_J = np.maximum(workload.column("submit_s")[job_J], simulation.now)
        self.nominal_s_J = workload.column("runtime_s")[job_J]
        self.outcome_J = np.array([simulation.program_of(job_id)[1] for job_id in job_J.tolist()], np.int64)
        ahead_J = np.array([site.ahead_of(job_id) for job_id in job_J.tolist()], np.float64).reshape(-1, 2)
        self.began_s_J = self.from_s_J.copy()
        for job_id, running in simulation.running.items():
            self.began_s_J[job_J == job_id] = running.start
        ahead_J -= (self.from_s_J - self.began_s_J)[:, None]
        self.work_s_J, self.limit_s_J = np.maximum(ahead_J, 0.0).T
        self.dynamic_w_J, self.beta_J = cluster.programs(job_J)
        self.least_J, self.most_J = cluster.stretches(job_J, -(-self.nodes_J // spec.unit_nodes))
        self.speed_J, self.joules_J = self._thriftiest()

    def _thriftiest(self) -> tuple[Floats, Floats]:
        """The energy of a job is its watts times the lesser of two times, until its work is done or its limit over."""
        cluster, power = self.site.cluster, self.site.cluster.spec.power
        static_w = power.idle_w - resting_w(self.site)
        static_w_J = np.full(len(self.job_J), static_w)
        by_work_J = best_speed(power, static_w_J, self.dynamic_w_J, self.beta_J)
        by_limit_J = np.full(len(self.job_J), power.least_speed)
        if cluster.limit_stretches:
            by_limit_J = best_speed(power, static_w_J, self.dynamic_w_J, 1.0)
        joules_2J = np.stack(
            [
                self.nodes_J * (static_w + self.dynamic_w_J * speed_J**power.speed_exponent) * seconds_J
                for speed_J, seconds_J in (
                    (by_work_J, self.work_s_J * self.least_J / rate(self.beta_J, by_work_J)),
                    (by_limit_J, self._limit_s_J(by_limit_J)),
                )
            ]
        )
        which_J = joules_2J.argmin(axis=0)
        return np.where(which_J == 0, by_work_J, by_limit_J), joules_2J.min(axis=0)

    def _limit_s_J(self, speed_J: Floats) -> Floats:
        limit_s_J: Floats = self.limit_s_J / speed_J if self.site.cluster.limit_stretches else self.limit_s_J
        return limit_s_J

    @property
    def shortest_s_J(self) -> Floats:
        """How long each job runs at the least: at full speed in the best place."""
        shortest_s_J: Floats = np.minimum(self.work_s_J * self.least_J, self.limit_s_J)
        return shortest_s_J

    def longest_s_J(self, speed_J: Floats) -> Floats:
        """How long each job runs at the most at these clocks: in the worst place."""
        work_s_J = self.work_s_J * self.most_J / rate(self.beta_J, speed_J)
        longest_s_J: Floats = np.minimum(work_s_J, self._limit_s_J(speed_J))
        return longest_s_J


def bounds(
    simulation: Simulation, truth: Truth, measured_from: int | None = None, measured_to: int | None = None
) -> Bounds:
    """The bounds of a simulation at its first second, of whose jobs ``truth`` is true.

    Throughput is that of the seconds from ``measured_from`` to ``measured_to``; there is no bound of it without.
    """
    completes_J = truth.outcome_J == COMPLETED
    work_h = float(truth.nodes_J[completes_J] @ truth.nominal_s_J[completes_J]) / 3600.0
    failed = truth.outcome_J == FAILED
    failed_h = float(truth.nodes_J[failed] @ truth.shortest_s_J[failed]) / 3600.0
    throughput = None
    if measured_from is not None and measured_to is not None:
        throughput = most_node_s(simulation, truth, measured_from, measured_to) / (measured_to - measured_from)
    return Bounds(
        least_facility_j(simulation, truth) / J_PER_KWH / work_h if work_h else None,
        0.0, throughput, 0.0, 1.0, work_h, failed_h,
    )  # fmt: skip


def least_facility_j(simulation: Simulation, truth: Truth) -> float:
    """The least energy of a run: every job at its own best clock on the best nodes, all others asleep all the time.

    All is cooled in the mode of least overhead: what is always drawn in each step of the weather until the run can end
    at the earliest, each job in the best step from its submission on.
    """
    spec, start = truth.site.cluster.spec, simulation.now
    end = earliest_end_s(simulation, truth)
    steps = np.arange(start // SUPPLY_STEP_S, (end + WEEK_S) // SUPPLY_STEP_S + 1)
    utc_T = (steps.astype(np.float64) + 0.5) * SUPPLY_STEP_S + simulation.workload.t0_utc
    supply_c_T = supply_c(spec.thermal, utc_T)
    modes = [overhead(spec.cooling, supply_c_T + change_k, utc_T) for _, change_k in spec.cooling.modes]
    pue_T = 1.0 + np.min(modes, axis=0)
    edges_s = np.clip(np.append(steps, steps[-1] + 1) * SUPPLY_STEP_S, start, end)
    always_w = spec.power.fixed_w + simulation.nodes * resting_w(truth.site)
    best_from_T = np.minimum.accumulate(pue_T[::-1])[::-1]
    step_J = truth.from_s_J // SUPPLY_STEP_S - steps[0]
    return float(always_w * (np.diff(edges_s) @ pue_T) + truth.joules_J @ best_from_T[step_J])


def earliest_end_s(simulation: Simulation, truth: Truth) -> int:
    """No run ends before: the last job could not, or the machine could not do all the work in less."""
    if not len(truth.job_J):
        return simulation.now
    node_s = float(truth.nodes_J @ truth.shortest_s_J)
    last_s = float((truth.from_s_J + truth.shortest_s_J).max())
    return int(max(last_s, simulation.now + node_s / simulation.nodes))


def most_node_s(simulation: Simulation, truth: Truth, begin: int, finish: int) -> float:
    """The most nominal node-seconds of jobs that complete from ``begin`` to ``finish``, each with the whole of it.

    That is the least of two: of all jobs that can complete by then; and of what all nodes get done all that time, on
    the best of places, with what the jobs that lie across its beginning can have done before.
    """
    nominal_s_J = truth.nominal_s_J.astype(float)
    can_J = (truth.outcome_J == COMPLETED) & (truth.from_s_J + truth.shortest_s_J <= finish)
    arrived = float(truth.nodes_J[can_J] @ nominal_s_J[can_J])
    done_s_J = np.clip((begin - truth.began_s_J) / truth.least_J, 0.0, nominal_s_J)
    before_s_J = np.where(can_J, done_s_J, 0.0)
    order = np.argsort(-before_s_J, kind="stable")
    there = np.minimum(np.cumsum(truth.nodes_J[order]), simulation.nodes)
    across = float(np.diff(there, prepend=0) @ before_s_J[order])
    fastest = float(truth.least_J.min(initial=1.0))
    return min(arrived, simulation.nodes * (finish - begin) / fastest + across)


def resting_w(site: Site) -> float:
    """What a node draws at the least."""
    power = site.cluster.spec.power
    return min(power.sleep_w, power.idle_w)


def _site(simulation: Simulation) -> Site:
    site, source = simulation.site, simulation.workload.source
    if site is None:
        raise InputError(f"{source}: ceilings are of a machine with physics; this scenario only counts nodes")
    has = {
        "jobs that share nodes": simulation.workload.shares_nodes,
        "nodes of several classes": site.cluster.classes is not None,
        "jobs that follow others (closed_loop)": simulation.closed_loop is not None,
    }
    lacks = ", ".join(what for what, there in has.items() if there)
    if lacks:
        raise InputError(f"{source}: no ceiling is known with {lacks}")
    return site
