"""What a scheduler may believe of jobs that have not run: by twins, or by their requests and published facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hpcsim.plugin import Job, View

from .nsga2_window import Beliefs
from .pareto import Floats

if TYPE_CHECKING:
    from .nsga2 import NSGA2

_CERTAIN = 1.0 - 1e-12  # the highest probability of a failure that can be made a rate of


def beliefs(view: View, jobs: Sequence[Job], speeds: Sequence[float], options: NSGA2.Options) -> Beliefs:
    """What is believed of J ``jobs`` at L ``speeds``."""
    nodes_J = np.array([job.nodes for job in jobs])
    walltime_J = np.array([job.walltime for job in jobs], np.float64)
    runtime_J = walltime_J
    if "performance" in view.twins:
        runtime_J = np.clip(view.twins.performance(jobs).mean, 1.0, walltime_J)
    speed_L = np.array(speeds)
    runtime_JL = runtime_J[:, None] * (1.0 + options.beta * (1.0 / speed_L - 1.0))
    node_s_JL = nodes_J[:, None] * runtime_JL
    machine = view.machine
    idle_w, active_JL = 1.0, np.zeros(runtime_JL.shape)
    if machine is not None:
        power = machine.power
        idle_w = power.idle_w
        dynamic_w = options.load * (power.cpu_dyn_w + power.gpu_dyn_w)
        active_JL = node_s_JL * (idle_w + dynamic_w * speed_L**power.speed_exponent)
        if "energy" in view.twins:
            active_JL = view.twins.energy(jobs, speed_L[:, None]).mean.T.copy()
    loss_JL = np.zeros(runtime_JL.shape)
    if len(speeds) > 1:
        rate = _failures(view, int(walltime_J.max()), options.node_mtbf_h)
        loss_JL = -np.expm1(-rate * node_s_JL) * node_s_JL
    return Beliefs(
        nodes_J=nodes_J,
        waited_J=np.array([view.now + view.launch_latency - job.submit for job in jobs]),
        runtime_J=runtime_J,
        runtime_JL=runtime_JL,
        active_JL=active_JL,
        loss_JL=loss_JL,
        idle_w=idle_w,
    )


def _failures(view: View, horizon_s: int, node_mtbf_h: float) -> float:
    """How often a node is believed to fail, per second: by the fault twin, else as published, else as given."""
    machine = view.machine
    if machine is None:
        return 1.0 / (node_mtbf_h * 3600.0)
    if "fault" in view.twins:
        failing_U: Floats = view.twins.fault(np.arange(machine.units), horizon_s).mean
        hazard = float(-np.log1p(-np.minimum(failing_U, _CERTAIN)).mean())
        return hazard / (horizon_s * machine.unit_nodes)
    return 1.0 / (machine.failures.mean_gap_h * 3600.0 * machine.nodes)
