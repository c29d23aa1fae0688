"""How warm a machine was at regular seconds, for the curves of a run.

A machine that is followed does the same as one that is not: what is asked is a second copy of its temperatures, since
to ask changes the rounding of all that comes later (as in ``telemetry``). Nothing is scheduled for it either: the
seconds that lie before a change are caught up with when the change comes, and until then nothing else has happened.
"""

from __future__ import annotations

import copy
from array import array
from typing import Final

import numpy as np
import numpy.typing as npt

from hpcsim.machine.temperatures import Temperatures

INTERVALS_S: Final = (600, 1800, 3600, 3 * 3600, 6 * 3600)
ENOUGH: Final = 1000  # seconds of a run, for a curve


def interval_s(span_s: int) -> int:
    """The shortest of ``INTERVALS_S`` with which ``span_s`` seconds have no more than ``ENOUGH``, or the longest."""
    return next((each_s for each_s in INTERVALS_S if span_s <= ENOUGH * each_s), INTERVALS_S[-1])


class Course:
    """The course of ``temperatures`` from their present second on, every ``every_s`` seconds.

    It has to be told of every change of them, after it was told to ``follow`` up to then.
    """

    def __init__(self, temperatures: Temperatures, every_s: int) -> None:
        self._temperatures = copy.deepcopy(temperatures)
        self._every_s = every_s
        self.next_s: int = temperatures.now
        self._columns = {name: array("d") for name in ("hottest_c", "mean_c", "hottest_gpu_c", "supply_c")}
        self._seconds, self._throttled = array("q"), array("q")

    def set_power(
        self, now: int, units: npt.NDArray[np.int64], node_w: float, gpu_w: float, node_was_w: float, gpu_was_w: float
    ) -> None:
        """See ``Temperatures``."""
        self._temperatures.set_power(now, units, node_w, gpu_w, node_was_w, gpu_was_w)

    def set_supply(self, now: int, supply_c: float) -> None:
        """See ``Temperatures``."""
        self._temperatures.set_supply(now, supply_c)

    def follow(self, now: int, throttled_units: int) -> None:
        """Take down all seconds before ``now``, in which nothing happens any more; so many units are throttled."""
        while self.next_s < now:
            temperatures, columns = self._temperatures, self._columns
            temperatures.advance(self.next_s)
            node_c = temperatures.node_c_N[: temperatures.racks.units]
            columns["hottest_c"].append(node_c.max())
            columns["mean_c"].append(node_c.mean())
            if temperatures.racks.has_gpus:
                columns["hottest_gpu_c"].append(temperatures.gpu_c_N[: temperatures.racks.units].max())
            columns["supply_c"].append(temperatures.supply_c)
            self._seconds.append(self.next_s)
            self._throttled.append(throttled_units)
            temperatures.restart_log()  # what is in the log is in the temperatures now
            self.next_s += self._every_s

    def as_columns(self) -> dict[str, npt.NDArray[np.int64] | npt.NDArray[np.float64]]:
        """Seconds, degrees Celsius of nodes, GPUs (where there are any) and supply, throttled units."""
        celsius = {name: np.frombuffer(column) for name, column in self._columns.items() if column}
        return {
            "time_s": np.frombuffer(self._seconds, np.int64),
            **celsius,
            "throttled_units": np.frombuffer(self._throttled, np.int64),
        }
