"""The cooling plant in its warmest mode that leaves nodes below their throttle: for everybody who chooses its mode."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hpcsim.engine.decisions import Hold, SetCooling
from hpcsim.engine.view import View

_LOOK_S = 900
_MAY_BE_HOT = 0.01  # share of nodes


class Plant:
    """Looks at the temperatures of all nodes every 15 minutes, and takes the mode that costs least of those allowed.

    A warmer supply costs less cooling and warms every node alike. A mode is allowed in which at most one node in a
    hundred would be within the machine's margin of the temperature at which it is slowed down, or its GPUs are; where
    none is, the coldest is taken. The scenario has to model heat; whoever asks declares ``power`` and ``heat``.

    References
    ----------
    Moore, Chase, Ranganathan and Sharma (2005), Making scheduling "cool": temperature-aware workload placement in data
    centers.
    """

    def __init__(self) -> None:
        self._looked_s: int | None = None

    def decide(self, view: View) -> list[SetCooling | Hold]:
        """The change of mode that is due now, if any; and, while there are jobs, when to look again."""
        if self._looked_s is not None and view.now - self._looked_s < _LOOK_S:
            return []
        self._looked_s = view.now
        modes = view.power.cooling_modes
        now_k = modes[view.power.cooling_mode]
        most_k = now_k + self.margin_k(view)
        allowed = [name for name, change_k in modes.items() if change_k <= most_k]
        mode = max(allowed, key=modes.__getitem__) if allowed else min(modes, key=modes.__getitem__)
        due: list[SetCooling | Hold] = []
        if view.running or view.queue:
            due.append(Hold(view.now + _LOOK_S, "to look at the nodes"))
        if modes[mode] != now_k:
            due.append(SetCooling(mode, "the warmest that nodes stand" if allowed else "too warm"))
        return due

    @staticmethod
    def margin_k(view: View) -> float:
        """By how many K all but one node in a hundred may become warmer."""
        machine = view.machine
        if machine is None:
            raise ValueError("a machine that only counts nodes has no temperatures")
        limits = machine.thermal
        margin = limits.cpu_throttle_c - _hot(view.node_c)
        if machine.gpus_per_node and limits.gpu_k_per_w is not None:
            margin = min(margin, limits.gpu_throttle_c - _hot(view.gpu_c))
        return margin - limits.margin_k


def _hot(degrees_U: npt.NDArray[np.float64]) -> float:
    """The temperature that at most one unit in a hundred is above."""
    above = int(_MAY_BE_HOT * len(degrees_U))
    return float(np.partition(degrees_U, len(degrees_U) - 1 - above)[len(degrees_U) - 1 - above])
