"""How hot every unit of a machine is, when one will be too hot, and how hot they have been."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from hpcsim.machine.course import Course
from hpcsim.machine.crossings import SHUTDOWN, THROTTLE, Crossings
from hpcsim.machine.spec import ThermalSpec
from hpcsim.machine.temperatures import Temperatures
from hpcsim.machine.thermal import Racks

Floats = npt.NDArray[np.float64]
Units = npt.NDArray[np.int64]

LEAST_RELIEF: Final = 1e-6
"""What ``Heat.relief`` answers where even an idle node would be too hot."""

_LOG_MOST: Final = 2**13  # changes of power
_ROUNDING_K: Final = 1e-9  # between two ways to compute a temperature


class Heat:
    """The temperatures of all units of a machine, from second ``now`` on; everything is idle and has long been.

    Parameters
    ----------
    units, units_per_rack : how many; the last rack may be short.
    supply_c : temperature of the supply.
    node_w, gpu_w : watts of one idle node and of one idle GPU.
    rng : draws the resistances.

    ``r_U`` and ``gpu_r_U`` (None without GPUs) are the resistances of the units, K/W. Time may stand still but not go
    back: a method that is told of an earlier second than one before it raises ValueError. Throttles are taken to lie
    below shutdowns. For blocks, K, n and ``_N`` see ``thermal.Racks``.
    """

    def __init__(
        self,
        spec: ThermalSpec,
        *,
        units: int,
        units_per_rack: int,
        now: int,
        supply_c: float,
        node_w: float,
        gpu_w: float,
        rng: np.random.Generator,
    ) -> None:
        self.spec = spec
        self._racks = racks = Racks(spec, units, units_per_rack, rng)
        self._units = units
        self.r_U: Floats = racks.r_N[:units]
        self.gpu_r_U: Floats | None = racks.gpu_r_N[:units] if racks.has_gpus else None
        self._idle_w, self._idle_gpu_w = node_w, gpu_w
        self._now = Temperatures(racks, now=now, supply_c=supply_c, node_w=node_w, gpu_w=gpu_w)
        self._ahead = Crossings(self._now, spec, node_w=node_w)
        self.course: Course | None = None
        self._hottest_c = float(self._now.node_c_N[:units].max())
        self._hottest_gpu_c = float(self._now.gpu_c_N[:units].max()) if racks.has_gpus else None

    def take_down(self, every_s: int) -> None:
        """Have the ``course`` of the temperatures from now on, every ``every_s`` seconds; copies have none."""
        self.course = Course(self._now, every_s)

    # -- what it is told ----------------------------------------------------------------------

    def set_power(
        self, now: int, units: Units, node_w: float, gpu_w: float, node_was_w: float, gpu_was_w: float
    ) -> None:
        """From ``now`` on a node of each of ``units``, ascending, draws ``node_w``, and one GPU of it ``gpu_w``.

        All of them have drawn ``node_was_w`` and ``gpu_was_w`` before. The array is kept: leave it as it is.
        """
        temperatures, ahead = self._now, self._ahead
        if len(temperatures.log.seconds) == _LOG_MOST:
            self._look_back(now)
        if self.gpu_r_U is None:
            gpu_w = gpu_was_w = 0.0
        if self.course is not None:
            if now > self.course.next_s:
                self.follow(now)
            self.course.set_power(now, units, node_w, gpu_w, node_was_w, gpu_was_w)
        temperatures.set_power(now, units, node_w, gpu_w, node_was_w, gpu_was_w)
        if now == ahead.sighted_s:
            ahead.unsee(units)
        if node_w > ahead.quiet_w or gpu_w > ahead.quiet_gpu_w:
            ahead.powered(units, node_w, gpu_w)

    def set_supply(self, now: int, supply_c: float) -> None:
        """From ``now`` on the supply is at ``supply_c``."""
        before_c = self._now.supply_c
        if self.course is not None:
            self.follow(now)
            self.course.set_supply(now, supply_c)
        self._now.set_supply(now, supply_c)
        self._ahead.supplied(before_c)

    def throttle(self, now: int, unit: int) -> float:
        """Mark the ``unit`` that crosses its throttle now, and say by how much it has to be relieved."""
        self.follow(now)
        self._now.advance(now)
        self._ahead.throttle(unit)
        return self.relief(unit)

    def follow(self, now: int) -> None:
        """Tell the ``course``, if there is one, that nothing happens any more before ``now``."""
        if self.course is not None:
            self.course.follow(now, self.throttled_units)

    def mark_throttled(self, units: Units, flag: bool) -> None:
        """Say whether ``units`` are throttled already, so that ``next_crossing`` passes them over."""
        self._ahead.mark(units, flag)

    # -- what it is asked ---------------------------------------------------------------------

    def temperatures(self, now: int) -> tuple[Floats, Floats | None]:
        """Of the nodes of every unit, and of their GPUs if they have any: arrays of U values, degrees Celsius."""
        self._now.advance(now)
        node_c = self._now.node_c_N[: self._units]
        return node_c, None if self.gpu_r_U is None else self._now.gpu_c_N[: self._units]

    def seen_c(self, now: int) -> Floats:
        """The same of the nodes only, by a copy: later answers are to the last bit as if nobody had asked."""
        seen = copy.deepcopy(self._now)
        seen.advance(now)
        return seen.node_c_N[: self._units].copy()

    def hottest_c(self, now: int) -> tuple[float, float | None]:
        """The highest temperature that any node, and any GPU, has had up to ``now``.

        Exact but for one case, see ``Racks.node_peak_c``.
        """
        self._look_back(now)
        return self._hottest_c, self._hottest_gpu_c

    def forget_hottest(self, now: int) -> None:
        """From ``now`` on ``hottest_c`` tells of what comes and not of what has been."""
        node_c, gpu_c = self.temperatures(now)
        self._ahead.first(THROTTLE)
        self._now.restart_log()
        self._ahead.clear_exceeded()
        self._ahead.forget_seen()
        self._hottest_c = float(node_c.max())
        self._hottest_gpu_c = None if gpu_c is None else float(gpu_c.max())

    def power_w(self, unit: int) -> tuple[float, float]:
        """What a node of ``unit``, and one GPU of it, draw now."""
        log = self._now.log
        return float(log.node_w_N[unit]), float(log.gpu_w_N[unit])

    def planned_c(self, now: int, unit: int, node_w: float, gpu_w: float, after_s: int) -> tuple[float, float]:
        """How warm a unit, and a GPU of it, will be in so many seconds, if it alone draws other watts from now on.

        Nothing of it happens. Without GPUs the second is NaN.
        """
        ahead = copy.deepcopy(self._now)
        ahead.advance(now)
        ahead.set_power(now, np.array([unit]), node_w, gpu_w, *self.power_w(unit))
        ahead.advance(now + after_s)
        gpu_c = float(ahead.gpu_c_N[unit]) if ahead.racks.has_gpus else float("nan")
        return float(ahead.node_c_N[unit]), gpu_c

    def next_crossing(self) -> tuple[int, int] | None:
        """The first second at which a unit is at its throttle threshold or above, and the unit; None if none ever is.

        That is by its node's or its GPU's temperature under the present powers. A unit that is above already counts as
        crossing now, at the last second that was told of. Passed over are units that are marked as throttled, and
        those that draw no more than an idle one: they can do nothing about it.
        """
        return self._ahead.first(THROTTLE)

    def next_shutdown(self) -> tuple[int, int] | None:
        """The same for the shutdown thresholds, with units that are marked."""
        return self._ahead.first(SHUTDOWN)

    @property
    def throttled_units(self) -> int:
        """How many units are throttled now."""
        return self._ahead.marked

    @property
    def next_s(self) -> int:
        """The second of the first crossing of any kind; far away if there is none."""
        return self._ahead.next_s

    def shutdowns(self, now: int) -> Units:
        """The units, ascending, that are at a shutdown threshold or above and draw more than an idle one."""
        node_c, gpu_c = self.temperatures(now)
        self._ahead.see_all()
        limit_c, limit_gpu_c = self._ahead.thresholds_c[SHUTDOWN]
        above = node_c >= limit_c - _ROUNDING_K
        if gpu_c is not None:
            above |= gpu_c >= limit_gpu_c - _ROUNDING_K
        return np.flatnonzero(above & (self._now.log.node_w_N[: self._units] > self._idle_w))

    def relief(self, unit: int) -> float:
        """The factor on the power above idle of ``unit`` that lets it end up ``margin_k`` below both its throttles.

        It applies to its nodes and its GPUs alike; all other powers stay as they are. It is in (0, 1], and
        ``LEAST_RELIEF`` where nothing above idle is little enough.
        """
        racks, log = self._racks, self._now.log
        block, place = divmod(unit, racks.n)
        node_w = log.node_w_N[block * racks.n : (block + 1) * racks.n]
        above_w = float(node_w[place]) - self._idle_w
        gains, shape = racks.gains[block], racks.shapes[block, :, place]
        steady_k = [(float(node_w @ gains @ shape), above_w * float(gains[place] @ shape))]  # and what is its own
        if racks.has_gpus:
            inlet_k_per_w, gpu_w = racks.inlet_k_per_w[place], float(log.gpu_w_N[unit])
            gpu_r = float(racks.gpu_r_N[unit])
            own_k = float(inlet_k_per_w[place]) * above_w + gpu_r * (gpu_w - self._idle_gpu_w)
            steady_k.append((float(inlet_k_per_w @ node_w) + gpu_r * gpu_w, own_k))
        factor = 1.0
        for (all_k, own_k), throttle_c in zip(steady_k, self._ahead.thresholds_c[THROTTLE], strict=False):
            surplus_k = self._now.supply_c + all_k - (throttle_c - self.spec.margin_k)
            if surplus_k > 0.0:
                factor = min(factor, 1.0 - surplus_k / own_k if own_k > surplus_k else 0.0)
        return max(factor, LEAST_RELIEF)

    def __deepcopy__(self, memo: dict[int, object]) -> Heat:
        """An independent copy; what never changes is shared."""
        twin = copy.copy(self)
        twin._now = copy.deepcopy(self._now, memo)
        twin._ahead = self._ahead.copy(twin._now)
        twin.course = None
        return twin

    # -- the highest temperature --------------------------------------------------------------

    def _look_back(self, now: int) -> None:
        """Find the highest temperatures up to ``now``, and begin a new log.

        Followed through the log is each block that may have been hotter than anything before, the likeliest first.
        Once a throttle was passed anywhere, these are only blocks in which one was.
        """
        racks, temperatures = self._racks, self._now
        temperatures.advance(now)
        self._ahead.first(THROTTLE)
        log, lag_k_N = temperatures.log, temperatures.begin_lag_k_N
        self._hottest_c = max(self._hottest_c, self._ahead.seen_c)
        throttle_c, gpu_throttle_c = self._ahead.thresholds_c[THROTTLE]
        for block in self._likely_hottest(throttle_c):
            pieces, start = log.pieces(block, now), temperatures.begin_modes[block]
            self._hottest_c = racks.node_peak_c(
                block, start, pieces.spans_s, pieces.node_w, pieces.supply_c, self._hottest_c
            )
        if self._hottest_gpu_c is not None:
            self._hottest_gpu_c = max(self._hottest_gpu_c, self._ahead.seen_gpu_c)
            for block in self._likely_hottest(gpu_throttle_c, gpus=True):
                pieces, start = log.pieces(block, now), lag_k_N[block * racks.n : (block + 1) * racks.n]
                peak_c = racks.gpu_peak_c(block, start, pieces.spans_s, pieces.node_w, pieces.gpu_w, pieces.supply_c)
                self._hottest_gpu_c = max(self._hottest_gpu_c, peak_c)
        temperatures.restart_log()
        self._ahead.clear_exceeded()

    def _likely_hottest(self, throttle_c: float, *, gpus: bool = False) -> Iterator[int]:
        """Blocks in which a node, or a GPU, may have been hotter than any before; the likeliest first.

        Once the throttle was passed anywhere, these are those in which it may have been. Else no node gets hotter than
        all of its block are at the beginning, unless it would without its neighbours.
        """
        racks, temperatures, exceeded_K = self._racks, self._now, self._ahead.exceeded_K
        yield from np.flatnonzero(exceeded_K).tolist()
        if self._hottest(gpus) >= throttle_c:
            return
        log = temperatures.log
        most_w, most_gpu_w = log.most_w()
        warming_k = float(most_w.max()) * racks.inlet_k_per_w.sum(axis=1)
        warmest_c = max(supply_c for _, supply_c in log.supplies) + warming_k
        if gpus:
            most_c = warmest_c + np.maximum(temperatures.begin_lag_k_N, racks.gpu_r_N * most_gpu_w).reshape(-1, racks.n)
        else:
            begin_c = racks.node_c_N(temperatures.begin_modes).reshape(-1, racks.n)
            most_c = np.maximum(begin_c, warmest_c + (racks.r_N * most_w).reshape(-1, racks.n))
        bounds_c = most_c.max(axis=1)
        for block in np.argsort(-bounds_c).tolist():
            if bounds_c[block] <= self._hottest(gpus):
                return
            if not exceeded_K[block]:
                yield block

    def _hottest(self, gpus: bool) -> float:
        return self._hottest_c if not gpus or self._hottest_gpu_c is None else self._hottest_gpu_c
