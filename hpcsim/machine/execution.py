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
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hpcsim.machine.power import rate

if TYPE_CHECKING:
    from hpcsim.machine.shares import SharedUnit

_WHOLE = 1e-6  # seconds: what floating point may have left of a second that is over


class Execution:
    """The run of one job on its units.

    Its speed is the product of what the scheduler chose, of the power cap and of the thermal throttle. ``watts``
    is what all its nodes draw together at the wall, ``joules`` what they have drawn up to ``since``; ``lead_s``
    are the seconds left until the program begins, while its nodes are being prepared.
    """

    # What holds of most jobs all the time. ``cap`` and ``heat`` are factors on the chosen speed, ``speed`` is the
    # product of all, and ``hot_nodes`` are nodes that throttle: the others wait for them.
    chosen: float = 1.0
    cap: float = 1.0
    heat: float = 1.0
    speed: float = 1.0
    limit_rate: float = 1.0
    joules: float = 0.0
    hot_nodes: int = 0
    throttled_node_s: int = 0
    slow_s: float = 0.0  # of its seconds so far those that full speed would have saved if all work went with the clock
    shared: SharedUnit | None = None  # the node that it shares with others
    share: float = 1.0  # of that: the largest of its shares of cores, GPUs and memory
    block: int = -1  # the block that it has, on a torus

    def __init__(
        self,
        job_id: int,
        row: int,
        units: npt.NDArray[np.int64],
        nodes: int,
        taken: int,
        lead_s: int,
        work_s: float,
        limit_s: float,
        extra_s: int,
        stretch: float,
    ) -> None:
        self.job_id = job_id
        self.row = row
        self.units = units
        self.nodes = nodes
        self.since: int = taken
        self.lead_s: int = lead_s
        self.work_s: float = work_s
        self.limit_s: float = limit_s
        self.extra_s = extra_s  # of the limit, beyond the walltime
        self.stretch = stretch  # from the nodes' class and from spreading over racks; 1 is none
        self.rate: float = 1.0 / stretch  # seconds of work done in a second
        self.node_w: float = 0.0  # what a node draws
        self.node_gpu_w: float = 0.0  # and one GPU of it
        self.watts: float = 0.0

    def __copy__(self) -> Execution:
        twin = Execution.__new__(Execution)
        twin.__dict__.update(self.__dict__)
        return twin

    def turn(self, beta: float, *, limit_stretches: bool) -> None:
        """Go at the speed that ``chosen``, ``cap`` and ``heat`` now allow; everything before is settled."""
        self.speed = speed = self.chosen * self.cap * self.heat
        self.rate = rate(beta, speed) / self.stretch
        if limit_stretches:
            self.limit_rate = speed

    def settle(self, now: int) -> None:
        """Book everything up to ``now`` at the present speed and power."""
        elapsed = now - self.since
        self.since = now
        self.joules += elapsed * self.watts
        self.throttled_node_s += elapsed * self.hot_nodes
        if self.lead_s:
            lead = min(self.lead_s, elapsed)
            self.lead_s -= lead
            elapsed -= lead
        if self.speed != 1.0:
            self.slow_s += elapsed * (1.0 - self.speed)
        self.work_s -= elapsed * self.rate
        self.limit_s -= elapsed * self.limit_rate

    @property
    def end(self) -> int:
        """The second at which it ends if nothing changes."""
        left = min(self.work_s / self.rate, self.limit_s / self.limit_rate)
        return self.since + self.lead_s + max(0, ceil(left - _WHOLE))

    @property
    def times_out(self) -> bool:
        """Whether the limit, not the work, is what ends it."""
        return self.limit_s / self.limit_rate + _WHOLE < self.work_s / self.rate

    @property
    def expected_end(self) -> int:
        """The second at which its walltime is over at the present speed: all that a scheduler may know of its end.

        Where the machine lets jobs run on a little beyond their walltime, the limit is longer than it.
        """
        left = self.limit_s - self.extra_s
        return self.since + self.lead_s + ceil(left / self.limit_rate - _WHOLE)
