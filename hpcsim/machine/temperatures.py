"""The temperatures of all units of a machine, advanced lazily and exactly.

What is kept of a rack (``thermal.Racks``) is the deviation of each of its modes from the steady state. A change of
power moves the steady state; that adds to the deviations, and then decays. Changes are only noted when they come, and
added up, many at once, when somebody asks. What is older than can be felt is never added up.
"""

from __future__ import annotations

import copy
from bisect import bisect_left

import numpy as np
import numpy.typing as npt

from hpcsim.machine.power_log import PowerLog
from hpcsim.machine.thermal import Racks

Floats = npt.NDArray[np.float64]
Units = npt.NDArray[np.int64]


class Temperatures:
    """Units on ``racks`` from second ``now`` on; everything is idle and has long been.

    ``node_w`` and ``gpu_w`` are watts of one idle node and of one idle GPU, ``supply_c`` is the supply at ``now``.
    For blocks, K, n and ``_N`` see ``thermal.Racks``.
    """

    def __init__(self, racks: Racks, *, now: int, supply_c: float, node_w: float, gpu_w: float) -> None:
        self.racks = racks
        self.now: int = now
        self.supply_c: float = supply_c
        size = racks.blocks * racks.n
        node_w_N, gpu_w_N = np.zeros(size), np.zeros(size)
        node_w_N[: racks.units] = node_w
        if racks.has_gpus:
            gpu_w_N[: racks.units] = gpu_w
        self.log: PowerLog = PowerLog(node_w_N, gpu_w_N, n=racks.n, begin_s=now, supply_c=supply_c)
        self._mode_n = np.arange(racks.n)
        # Deviations from the steady state at second ``_at``, with so much of the log in them.
        self._at = now
        self._seen = 0  # items
        self._seen_supplies = 1
        self.dev: Floats = np.zeros((racks.blocks, racks.n))
        self.lag_dev_N: Floats = np.zeros(size)
        self._remember()

    def _remember(self) -> None:
        """The state when the log begins: modes of the nodes, and how much warmer than its inlet each GPU is."""
        self.begin_modes: Floats = self.dev + self.racks.steady(self.log.node_w_N, self.supply_c)
        self.begin_lag_k_N: Floats = self.lag_k_N

    def set_power(
        self, now: int, units: Units, node_w: float, gpu_w: float, node_was_w: float, gpu_was_w: float
    ) -> None:
        """From ``now`` on a node of each of ``units``, no two alike, draws ``node_w``, and one GPU of it ``gpu_w``."""
        if now < self.now:
            raise backwards(now, self.now)
        self.now = now
        self.log.add(now, units, node_w, gpu_w, node_was_w, gpu_was_w)

    def set_supply(self, now: int, supply_c: float) -> None:
        """From ``now`` on the supply is at ``supply_c``."""
        if now < self.now:
            raise backwards(now, self.now)
        self.now = now
        self.supply_c = supply_c
        self.log.supplies.append((now, supply_c))

    def restart_log(self) -> None:
        """Forget how the present state, up to which everything is advanced, has come about."""
        self.log.restart(self.now, self.supply_c)
        self._seen, self._seen_supplies = 0, 1
        self._remember()

    # -- these hold once everything is advanced to the present --------------------------------

    @property
    def node_c_N(self) -> Floats:
        """Temperatures of the nodes."""
        return self.racks.node_c_N(self.dev + self.racks.steady(self.log.node_w_N, self.supply_c))

    @property
    def lag_k_N(self) -> Floats:
        """How much warmer than its inlet a GPU is."""
        return self.lag_dev_N + self.racks.gpu_r_N * self.log.gpu_w_N

    @property
    def gpu_c_N(self) -> Floats:
        """Temperatures of one GPU of each node."""
        return self.racks.inlet_c_N(self.log.node_w_N, self.supply_c) + self.lag_k_N

    def advance(self, now: int) -> None:
        """Bring the deviations to ``now``."""
        if now < self.now:
            raise backwards(now, self.now)
        self.now = now
        log = self.log
        racks, elapsed, end = self.racks, now - self._at, len(log.seconds)
        if not (elapsed or self._seen < end or self._seen_supplies < len(log.supplies)):
            return
        self._at = now
        self.dev = self.dev * np.exp(-elapsed * racks.rates)
        self.lag_dev_N = self.lag_dev_N * np.exp(-elapsed / racks.gpu_tau_s)
        felt_from = now - racks.memory_s
        for second, warmer_k in log.supply_steps(self._seen_supplies):
            if second > felt_from:
                self.dev -= warmer_k * racks.warm * np.exp((second - now) * racks.rates)
        self._seen_supplies = len(log.supplies)
        first, self._seen = bisect_left(log.seconds, felt_from, self._seen), end
        if first < end:
            self._add_up(log, first)

    def _add_up(self, log: PowerLog, first: int) -> None:
        """Add what the items of the log from the ``first`` on bring to the deviations of now."""
        racks, n = self.racks, self.racks.n
        _, seconds, units, change_w, gpu_change_w = log.changes(first)
        # A run of neighbours in one block, whose power changes alike in one second, makes one kick to its modes.
        blocks, places = np.divmod(units, n)
        joins = (units[1:] == units[:-1] + 1) & (blocks[1:] == blocks[:-1])
        joins &= (seconds[1:] == seconds[:-1]) & (change_w[1:] == change_w[:-1])
        ends = np.append(np.flatnonzero(~joins), units.size - 1)
        begins = np.append(0, ends[:-1] + 1)
        blocks = blocks[begins]
        kicks = racks.gains_up_to[blocks, places[ends] + 1] - racks.gains_up_to[blocks, places[begins]]
        kicks *= change_w[begins, None] * np.exp((seconds[begins] - self.now)[:, None] * racks.rates[blocks])
        modes = (blocks * n)[:, None] + self._mode_n
        self.dev -= np.bincount(modes.reshape(-1), kicks.reshape(-1), self.dev.size).reshape(self.dev.shape)
        if racks.has_gpus:
            lag_k = racks.gpu_r_N[units] * gpu_change_w * np.exp((seconds - self.now) / racks.gpu_tau_s)
            self.lag_dev_N -= np.bincount(units, lag_k, self.lag_dev_N.size)

    def __deepcopy__(self, memo: dict[int, object]) -> Temperatures:
        twin = copy.copy(self)  # arrays of deviations are replaced, and not changed, by ``advance``
        twin.log = copy.deepcopy(self.log, memo)
        return twin


def backwards(now: int, before: int) -> ValueError:
    return ValueError(f"told of second {now} after second {before}: time cannot go back")
