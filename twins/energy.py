"""What jobs take and what the machine will draw, without learning: last-two, and as now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from hpcsim.plugin import Ended, Job, Prediction, View

from .features import COUNTED, Floats, Int64s


class Taken(NamedTuple):
    """A job that has ended: how long it ran, seconds, and what one of its nodes drew, watts, at nominal speed."""

    runtime_s: int
    node_w: float


class EnergyLastTwo:
    """What the last two jobs of the same user took, for power what is drawn now.

    Runtime and watts of a node are means of both jobs; the runtime is at most the walltime. Of a user of whom none has
    ended a job is taken to run until its walltime, with half of what a busy node can draw above idle. At another speed
    the dynamic watts fall as speed^a; that jobs take longer then is left out. The epistemic deviation of energy is the
    answer itself, of power a tenth of the dynamic watts of all nodes.
    """

    name = "energy-last-two"
    api = 1
    answers: Literal["energy"] = "energy"
    needs = frozenset({"power"})

    def __init__(self) -> None:
        self._taken: dict[str, tuple[Taken, ...]] = {}

    def energy(self, jobs: Sequence[Job], speeds: Floats, view: View) -> Prediction:
        spec = view.power.node
        unknown_w = spec.idle_w + (spec.cpu_dyn_w + spec.gpu_dyn_w) / 2
        joules = np.empty(len(jobs))
        for place, (job, speed) in enumerate(zip(jobs, speeds.tolist(), strict=True)):
            taken = self._taken.get(job.user) or (Taken(job.walltime, unknown_w),)
            runtime_s = min(sum(each.runtime_s for each in taken) / len(taken), job.walltime)
            node_w = sum(each.node_w for each in taken) / len(taken)
            still_w = min(node_w, spec.idle_w)
            joules[place] = job.nodes * runtime_s * (still_w + (node_w - still_w) * speed**spec.speed_exponent)
        return Prediction(joules, np.zeros(len(jobs)), joules.copy())

    def power(self, horizons_s: Int64s, view: View) -> Prediction:
        """Watts at the wall of all nodes together in each of H horizons."""
        power, count = view.power, len(horizons_s)
        spread_w = (power.node.cpu_dyn_w + power.node.gpu_dyn_w) * view.nodes / 10
        return Prediction(np.full(count, power.it_w), np.zeros(count), np.full(count, spread_w))

    def ended(self, end: Ended) -> None:
        """Learn from a job that has ended."""
        if end.job.user and end.state in COUNTED and end.energy_j and end.runtime_s > 0:
            taken = Taken(end.runtime_s, end.energy_j / (end.job.nodes * end.runtime_s))
            self._taken[end.job.user] = (*self._taken.get(end.job.user, ())[-1:], taken)

    def __deepcopy__(self, memo: object) -> EnergyLastTwo:
        twin = EnergyLastTwo()
        twin._taken = self._taken.copy()
        return twin
