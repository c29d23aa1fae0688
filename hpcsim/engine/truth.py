"""What only the simulator knows, for oracles: twins that show how good any twin could be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpcsim.workload.job import FAILED, Job

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation

Float64s = npt.NDArray[np.float64]


class Truth:
    """The truth of one simulation. It is given to twins that have a method ``knows``, and to nobody else."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def __deepcopy__(self, memo: dict[int, Any]) -> Truth:
        """That of the simulation's copy where it is copied with it; else the same."""
        copied = memo.get(id(self._simulation))
        return self if copied is None else Truth(copied)

    def runtime_s(self, jobs: Sequence[Job]) -> Float64s:
        """Seconds that each of J jobs would run if it started now at full speed; of one that runs, those of its run.

        What other jobs, heat, failures and its place will do to it is not in it: that hangs on what is yet decided.
        """
        simulation = self._simulation
        seconds = []
        for job in jobs:
            running = simulation.running.get(job.id)
            seconds.append(self._alone_s(job) if running is None else simulation.ends_at(job.id) - running.start)
        return np.array(seconds, np.float64)

    def fails(self, jobs: Sequence[Job]) -> npt.NDArray[np.bool_]:
        """Whether the program of each of J jobs will fail by itself before its walltime is over."""
        simulation = self._simulation
        return np.array([simulation.program_of(job.id)[1] == FAILED for job in jobs], bool)

    def joules(self, jobs: Sequence[Job], speeds_J: Float64s) -> Float64s:
        """Joules at the wall of its whole nodes that each of J jobs would take at its speed, if it started now."""
        site = self._simulation.site
        if site is None:
            raise ValueError("truth.joules: this machine only counts nodes")
        joules = [
            site.cluster.undisturbed_j(job.id, job.nodes, *site.ahead_of(job.id), speed)
            for job, speed in zip(jobs, speeds_J.tolist(), strict=True)
        ]
        return np.array(joules, np.float64)

    def hazard(self, units: npt.NDArray[np.int64], horizon_s: int) -> Float64s:
        """The probability that hardware takes each of U units within a horizon, for one who sees all but the future.

        See ``machine.hazard``; 0 where hardware does not fail.
        """
        site = self._simulation.site
        if site is None or site.cluster.service.failures is None:
            return np.zeros(len(units))
        from hpcsim.machine.hazard import hazard  # with scipy, for few runs

        cluster, failures = site.cluster, site.cluster.service.failures
        now = min(self._simulation.now, failures.next_time)
        celsius = None if cluster.heat is None else cluster.heat.seen_c(self._simulation.now)
        return hazard(failures, now, horizon_s, celsius)[units]

    def celsius(
        self, units: npt.NDArray[np.int64], watts_U: Float64s, gpu_watts_U: Float64s, horizon_s: int
    ) -> tuple[Float64s, Float64s]:
        """Degrees of the nodes of each of U units and of their GPUs in a horizon, if each alone drew other watts.

        ``watts_U`` are those of one node, ``gpu_watts_U`` of one GPU; where these are NaN they are as at full load.
        """
        site = self._simulation.site
        if site is None or site.cluster.heat is None:
            raise ValueError("truth.celsius: this machine has no heat")
        heat, power, spec = site.cluster.heat, site.cluster.spec.power, site.cluster.spec
        share = (power.gpu_idle_w * spec.gpus_per_node + power.gpu_dyn_w) / (
            power.idle_w + power.cpu_dyn_w + power.gpu_dyn_w
        )
        usual_w = share * watts_U / max(spec.gpus_per_node, 1)
        gpu_w = np.where(np.isnan(gpu_watts_U), usual_w, gpu_watts_U)
        planned = zip(units.tolist(), watts_U.tolist(), gpu_w.tolist(), strict=True)
        node_c, gpu_c = zip(*(heat.planned_c(self._simulation.now, *each, horizon_s) for each in planned), strict=True)
        return np.array(node_c), np.array(gpu_c)

    def _alone_s(self, job: Job) -> float:
        site = self._simulation.site
        return self._simulation.program_of(job.id)[0] if site is None else min(site.ahead_of(job.id))
