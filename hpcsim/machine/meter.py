"""How many nodes are in each state, for how long so far, and what the whole machine draws, from change to change.

Watts are cut to 1/1024 W, so that their sums are exact in floating point and the ledger closes.
"""

from __future__ import annotations

import copy
from typing import Final

import numpy as np
import numpy.typing as npt

from hpcsim.machine.history import History
from hpcsim.machine.readings import STATES
from hpcsim.machine.spec import PowerSpec

Floats = npt.NDArray[np.float64]

_GRAIN: Final = 1024.0  # parts of a watt


def grained(watts: float) -> float:
    """Cut to the grain, down, so that a cap holds."""
    return int(watts * _GRAIN) / _GRAIN


class Meter:
    """Counts ``nodes`` nodes by state, all of them idle from second ``start`` on, and what they and their jobs draw.

    ``nodes_in`` are the nodes in each state now, ``node_seconds`` what they come to up to the second last settled;
    ``it_w`` is what the machine draws now and ``jobs_w`` the part of its jobs, both of which whoever starts and ends
    jobs changes.
    """

    def __init__(self, power: PowerSpec, nodes: int, start: int) -> None:
        # Of one node in each state in which no job runs on it. A node in repair is on (assumed).
        wake_w = power.idle_w if power.wake_w is None else power.wake_w
        watts = {"busy": 0.0, "idle": power.idle_w, "asleep": power.sleep_w, "waking": wake_w, "down": power.idle_w}
        self._state_w = {state: grained(watts[state]) for state in STATES}
        self.nodes_in: dict[str, int] = dict.fromkeys(STATES, 0) | {"idle": nodes}
        self.node_seconds: dict[str, int] = dict.fromkeys(STATES, 0)
        self._since_s = dict.fromkeys(STATES, 0)  # minus the sum of the seconds at which the nodes in a state came
        self._since_s["idle"] = -nodes * start
        self.it_w: float = grained(power.fixed_w) + nodes * self._state_w["idle"]
        self.jobs_w = 0.0
        self._log = History(time_s="q", it_w="d")  # up to the last change, which may be of this second
        self._logged_s, self._logged_w = start, self.it_w

    def __deepcopy__(self, memo: dict[int, object]) -> Meter:
        twin = copy.copy(self)
        twin._log = copy.copy(self._log)
        for name in ("nodes_in", "node_seconds", "_since_s"):
            setattr(twin, name, getattr(self, name).copy())
        return twin

    @property
    def watts_in(self) -> dict[str, float]:
        """Watts of one node in each state in which no job runs on it."""
        return {state: watts for state, watts in self._state_w.items() if state != "busy"}

    def move(self, now: int, nodes: int, source: str, target: str) -> None:
        """From now on ``nodes`` nodes are in another state. Node-seconds are what left less what came, exactly."""
        nodes_in, since_s, state_w, node_s = self.nodes_in, self._since_s, self._state_w, nodes * now
        nodes_in[source] -= nodes
        nodes_in[target] += nodes
        since_s[source] += node_s
        since_s[target] -= node_s
        self.it_w += nodes * (state_w[target] - state_w[source])

    def settle(self, now: int) -> None:
        """Book the node-seconds up to ``now``."""
        for state, nodes in self.nodes_in.items():
            self.node_seconds[state] = self._since_s[state] + nodes * now

    # -- the log of what is drawn ---------------------------------------------------------------

    def log(self, now: int) -> None:
        """Note what the machine draws from ``now`` on."""
        if self._logged_s != now:
            times_s, it_w = self._log.to_append()
            times_s.append(self._logged_s)
            it_w.append(self._logged_w)
            self._logged_s = now
        self._logged_w = self.it_w

    @property
    def power_log(self) -> tuple[npt.NDArray[np.int64], Floats]:
        """The seconds at which the IT power changed, and to how many watts."""
        return self.power_log_since(0)

    def power_log_since(self, row: int) -> tuple[npt.NDArray[np.int64], Floats]:
        """The same from a row on, the last at most."""
        log = self._log
        return np.append(log.column("time_s", row), self._logged_s), np.append(log.column("it_w", row), self._logged_w)

    @property
    def power_log_rows(self) -> int:
        """How many rows it has so far."""
        return len(self._log) + 1
