"""One job on the machine: how much of its work is done, how fast it goes, what it draws.

Two things run down while it runs. Its *work*, the seconds it would take at full speed undisturbed, goes at
``rate`` = 1 / (stretch * (1 + beta * (1 / speed - 1))); when it is done the job has ended. Its *limit*, the
walltime, goes at ``speed`` where the limit stretches with the clock (as if beta were 1, the worst case, so that
slowing a job down never makes it time out), or second by second where it does not. Whatever runs out first
ends the job. Sources of the slow-down: Hsu and Feng (2005), A power-aware run-time system for high-performance
computing; Etinski, Corbalan, Labarta and Valero (2012), Parallel job scheduling for power constrained HPC systems.
"""

from __future__ import annotations

from math import ceil

import numpy as np
import numpy.typing as npt

from hpcsim.machine.power import rate

_WHOLE = 1e-6  # seconds: what floating point may have left of a second that is over


class Execution:
    """The run of one job on its units.

    Its speed is the product of what the scheduler chose, of the power cap and of the thermal throttle. ``watts``
    is what all its nodes draw together at the wall, ``joules`` what they have drawn up to ``since``; ``lead_s``
    are the seconds left until the program begins, while its nodes are being prepared.
    """

    __slots__ = (
        "_limit_s",
        "beta",
        "cap",
        "chosen",
        "cpu_w",
        "gpu_w",
        "heat",
        "hot_nodes",
        "idle_w",
        "job_id",
        "joules",
        "lead_s",
        "limit_s",
        "limit_stretches",
        "nodes",
        "row",
        "since",
        "stretch",
        "throttled_node_s",
        "units",
        "watts",
        "work_s",
    )

    def __init__(
        self,
        *,
        job_id: int,
        row: int,
        units: npt.NDArray[np.int64],
        nodes: int,
        taken: int,
        lead_s: int,
        work_s: float,
        limit_s: float,
        limit_stretches: bool,
        beta: float,
        stretch: float,
        idle_w: float,
        cpu_w: float,
        gpu_w: float,
    ) -> None:
        self.job_id = job_id
        self.row = row
        self.units = units
        self.nodes = nodes
        self.since = taken
        self.lead_s = lead_s
        self.work_s = work_s
        self.limit_s = self._limit_s = limit_s
        self.limit_stretches = limit_stretches
        self.beta = beta
        self.stretch = stretch  # from the nodes' class and from spreading over racks; 1 is none
        self.idle_w = idle_w  # of one node, as are the next two: at full speed
        self.cpu_w = cpu_w
        self.gpu_w = gpu_w
        self.chosen = self.cap = self.heat = 1.0
        self.watts = 0.0
        self.joules = 0.0
        self.hot_nodes = 0  # nodes that throttle: the others wait for them
        self.throttled_node_s = 0

    @property
    def speed(self) -> float:
        """The clock relative to nominal, in (0, 1]."""
        return self.chosen * self.cap * self.heat

    @property
    def rate(self) -> float:
        """Seconds of work done in a second."""
        return rate(self.beta, self.speed) / self.stretch

    def dynamic_w(self, speed: float, exponent: float) -> float:
        """What its nodes draw together above idle at ``speed``."""
        watts: float = self.nodes * (self.cpu_w + self.gpu_w) * speed**exponent
        return watts

    def settle(self, now: int) -> None:
        """Book everything up to ``now`` at the present speed and power."""
        elapsed = now - self.since
        self.since = now
        self.joules += elapsed * self.watts
        self.throttled_node_s += elapsed * self.hot_nodes
        lead = min(self.lead_s, elapsed)
        self.lead_s -= lead
        elapsed -= lead
        self.work_s -= elapsed * self.rate
        self.limit_s -= elapsed * (self.speed if self.limit_stretches else 1.0)

    @property
    def end(self) -> int:
        """The second at which it ends if nothing changes."""
        left = min(self.work_s / self.rate, self._limit_left_s)
        return self.since + self.lead_s + max(0, ceil(left - _WHOLE))

    @property
    def times_out(self) -> bool:
        """Whether the limit, not the work, is what ends it."""
        return self._limit_left_s + _WHOLE < self.work_s / self.rate

    def expected_end(self, walltime: int) -> int:
        """The second at which ``walltime`` is over at the present speed: all that a scheduler may know of its end.

        Where the machine lets jobs run on a little beyond their walltime, the limit is longer than it.
        """
        left = self.limit_s - (self._limit_s - walltime)
        return self.since + self.lead_s + ceil((left / self.speed if self.limit_stretches else left) - _WHOLE)

    @property
    def _limit_left_s(self) -> float:
        return self.limit_s / self.speed if self.limit_stretches else self.limit_s
