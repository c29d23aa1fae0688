"""What happens as often as it usually does: twins without learning, which those that learn have to beat."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

import numpy as np

from hpcsim.plugin import Ended, Job, Prediction, Readings, View

from .energy import EnergyLastTwo
from .features import COUNTED, Floats, Int64s

_LAST = 1000  # ends whose share of failures is told
_DAY_S = 86_400
_EVERY_S = 300


class FaultBaseRate:
    """All nodes are as likely to fail, and all programs.

    Nodes fail as often as the machine's facts say of all of them together, at random times; programs as often as they
    did among the last thousand ends, 0 before the first. The epistemic deviation is 0: nothing is believed of anybody.
    """

    name = "fault-base-rate"
    api = 1
    answers: Literal["fault"] = "fault"

    def __init__(self) -> None:
        self._failed: deque[bool] = deque(maxlen=_LAST)

    def ended(self, end: Ended) -> None:
        """Learn from a job that has ended."""
        if end.state in COUNTED:
            self._failed.append(end.state == "failed")

    def fault(self, units: Int64s, horizon_s: int, view: View) -> Prediction:
        machine = view.machine
        if machine is None:
            raise RuntimeError("asked without a machine")
        expected = horizon_s / 3600.0 / (machine.failures.mean_gap_h * machine.units)
        return _coin(float(-np.expm1(-expected)), len(units))

    def job_failure(self, jobs: Sequence[Job], view: View) -> Prediction:
        """Probability that the program of each of J jobs would fail by itself, if it was started now."""
        return _coin(sum(self._failed) / max(len(self._failed), 1), len(jobs))


class EnergyYesterday(EnergyLastTwo):
    """What the last two jobs of the same user took, for power what sensors read at that hour of yesterday.

    Before a day is over it is what is drawn now.
    """

    name = "energy-yesterday"
    senses_every_s = _EVERY_S

    def __init__(self) -> None:
        super().__init__()
        self._node_w: dict[int, float] = {}  # the mean of all nodes, by five minutes

    def sensed(self, readings: Readings) -> None:
        """Remember what sensors read, for a day."""
        now = int(readings.time_s[0]) // _EVERY_S
        self._node_w[now] = float(readings.node_w.mean())
        self._node_w.pop(now - _DAY_S // _EVERY_S - 1, None)

    def power(self, horizons_s: Int64s, view: View) -> Prediction:
        """Watts at the wall of all nodes together in each of H horizons."""
        now = super().power(horizons_s, view)
        mean = now.mean.copy()
        for place, horizon_s in enumerate(horizons_s.tolist()):
            node_w = self._node_w.get((view.now + horizon_s - _DAY_S) // _EVERY_S)
            if node_w is not None:
                mean[place] = node_w * view.nodes + view.power.node.fixed_w
        return Prediction(mean, now.aleatoric, now.epistemic)

    def __deepcopy__(self, memo: object) -> EnergyYesterday:
        twin = EnergyYesterday()
        twin._taken, twin._node_w = self._taken.copy(), self._node_w.copy()
        return twin


def _coin(probability: float, count: int) -> Prediction:
    said: Floats = np.full(count, probability)
    return Prediction(said, np.sqrt(said * (1.0 - said)), np.zeros(count))
