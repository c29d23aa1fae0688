"""How hot every unit of a machine is, advanced lazily and exactly.

What is kept of a rack (``thermal.Racks``) is the deviation of each of its modes from the steady state. A change of
power moves the steady state; that adds to the deviations, and then decays. Changes are only noted when they come, and
added up, many at once, when somebody asks.

Whether anything crosses a threshold is asked after every event, so it has to cost next to nothing: each unit has a
limit of power within which it cannot cross as long as its rack keeps its limits too, and only racks in which one is
passed are looked at (``_examine``). The highest temperature so far is kept likewise: only racks that hold a unit whose
power could bring it above that are followed through their history (``_find_hottest``).
"""

from __future__ import annotations

import copy
from typing import Final

import numpy as np
import numpy.typing as npt

from hpcsim.machine.spec import ThermalSpec
from hpcsim.machine.thermal import Racks, rises_to_s

Floats = npt.NDArray[np.float64]
Units = npt.NDArray[np.int64]
Watts = float | Floats

LEAST_RELIEF: Final = 1e-6
"""What ``Heat.relief`` answers where even an idle node would be too hot."""

_NEVER: Final = 2**62
_THROTTLE, _SHUTDOWN = range(2)
_LOG_MOST: Final = 2**15  # items
_FOLD_MOST: Final = 2**20  # items times modes: floats in the largest temporary array
_ROUNDING_K: Final = 1e-9  # between two ways to compute a temperature
# How far above what was seen so far the limits reckon with, so that they need not be changed all the time.
_MORE_WATTS: Final = 1.1
_WARMER_K: Final = 0.5


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
        self._units, self._n, blocks = units, racks.n, racks.blocks
        size = blocks * racks.n
        self.r_U = racks.r_N[:units]
        self.gpu_r_U = racks.gpu_r_N[:units] if racks.has_gpus else None

        # The present.
        self._now = now
        self._supply_c = supply_c
        self._idle_w, self._idle_gpu_w = node_w, gpu_w
        self._node_w_N, self._gpu_w_N = np.zeros(size), np.zeros(size)
        self._node_w_N[:units] = node_w
        if racks.has_gpus:
            self._gpu_w_N[:units] = gpu_w
        self._marked_N = np.arange(size) >= units  # as throttled

        # The log: an item for each unit of a change of power, and changes of the supply.
        self._room = max(2 * units, min(_LOG_MOST, _FOLD_MOST // racks.n))
        self._log_s = np.zeros(self._room, np.int64)
        self._log_unit = np.zeros(self._room, np.int64)
        self._log_node_w, self._log_node_was_w = np.zeros(self._room), np.zeros(self._room)
        self._log_gpu_w, self._log_gpu_was_w = np.zeros(self._room), np.zeros(self._room)
        self._log_end = 0
        self._supply_log: list[tuple[int, float]] = [(now, supply_c)]
        self._mode_n = np.arange(racks.n)

        # Deviations from the steady state at second ``_at``, with so much of the log in them.
        self._at = now
        self._dev = np.zeros((blocks, racks.n))
        self._lag_dev = np.zeros(size)
        self._seen = 0  # items
        self._seen_supplies = 1

        # For means and maxima: the state at the start and when the log began, and sums up to then.
        self._start = self._log_begin = now
        self._start_c, self._start_lag_k = self._node_c_N(), self._lag_k_N()
        self._begin_modes, self._begin_lag_k = racks.steady(self._node_w_N, supply_c), self._start_lag_k
        self._node_j_N, self._gpu_j_N = np.zeros(size), np.zeros(size)
        self._supply_ks = 0.0
        self._hottest_c = float(self._start_c[:units].max())
        self._hottest_gpu_c = float((self._inlet_c_N() + self._start_lag_k)[:units].max())

        # Thresholds of nodes and GPUs; for each the first crossing ahead in each block, and in the machine.
        self._thresholds = (
            (spec.cpu_throttle_c, spec.gpu_throttle_c if racks.has_gpus else np.inf),
            (spec.node_shutdown_c, spec.gpu_shutdown_c if racks.has_gpus else np.inf),
        )
        self._crossing_s = np.full((2, blocks), _NEVER)
        self._crossing_unit = np.zeros((2, blocks), np.int64)
        self._first: list[tuple[int, int] | None] = [None, None]
        # Blocks that have to be examined; those in which every change must be; the hottest that each can get.
        self._dirty = np.ones(blocks, np.bool_)
        self._any_dirty = True
        self._watched = np.ones(blocks, np.bool_)
        self._top_c = np.zeros(blocks)
        self._most_w = node_w * _MORE_WATTS
        self._warmest_supply_c = supply_c + _WARMER_K
        self._set_limits_alone()
        self._limit_w_N, self._limit_gpu_w_N = np.full(size, -np.inf), np.full(size, -np.inf)
        self._quiet_w = self._quiet_gpu_w = -np.inf  # no limit, neither of units nor of all that is reckoned with

    # -- what it is told ----------------------------------------------------------------------

    def set_power(self, now: int, units: Units, node_w: Watts, gpu_w: Watts) -> None:
        """From ``now`` on a node of each of ``units``, no two alike, draws ``node_w``, and one GPU of it ``gpu_w``.

        Watts are scalars, or arrays with a value for each of the units.
        """
        if now < self._now:
            raise _backwards(now, self._now)
        begin = self._log_end
        end = begin + units.size
        if end > self._room:
            self._close(now)
            begin, end = 0, units.size
        self._now = now
        self._log_end = end
        self._log_s[begin:end] = now
        self._log_unit[begin:end] = units
        self._log_node_was_w[begin:end] = self._node_w_N[units]
        self._log_node_w[begin:end] = node_w
        self._node_w_N[units] = node_w
        if self.gpu_r_U is not None:
            self._log_gpu_was_w[begin:end] = self._gpu_w_N[units]
            self._log_gpu_w[begin:end] = gpu_w
            self._gpu_w_N[units] = gpu_w
        if isinstance(node_w, np.ndarray):
            self._look(units, node_w, gpu_w, float(node_w.max(initial=0.0)))
        elif isinstance(gpu_w, np.ndarray) or node_w > self._quiet_w or gpu_w > self._quiet_gpu_w:
            self._look(units, node_w, gpu_w, node_w)

    def set_supply(self, now: int, supply_c: float) -> None:
        """From ``now`` on the supply is at ``supply_c``."""
        if now < self._now:
            raise _backwards(now, self._now)
        self._now = now
        if supply_c > self._supply_c:
            self._dirty |= self._watched
        else:
            self._dirty |= (self._crossing_s < _NEVER).any(axis=0)
        self._supply_c = supply_c
        self._supply_log.append((now, supply_c))
        if not self._warmest_supply_c - 2.0 * _WARMER_K <= supply_c <= self._warmest_supply_c:
            self._reckon_with(self._most_w, supply_c + _WARMER_K)
        self._any_dirty = bool(self._dirty.any())

    def mark_throttled(self, units: Units, flag: bool) -> None:
        """Say whether ``units`` are throttled already, so that ``next_crossing`` passes them over."""
        self._marked_N[units] = flag
        self._dirty[units // self._n] = True
        self._any_dirty = True

    # -- what it is asked ---------------------------------------------------------------------

    def temperatures(self, now: int) -> tuple[Floats, Floats | None]:
        """Of the nodes of every unit, and of their GPUs if they have any: arrays of U values, degrees Celsius."""
        self._advance(now)
        node_c = self._node_c_N()[: self._units]
        return node_c, None if self.gpu_r_U is None else (self._inlet_c_N() + self._lag_k_N())[: self._units]

    def hottest_c(self, now: int) -> tuple[float, float | None]:
        """The highest temperature that any node, and any GPU, has had up to ``now``.

        Exact but for one case, see ``Racks.node_peak_c``.
        """
        self._close(now)
        return self._hottest_c, None if self.gpu_r_U is None else self._hottest_gpu_c

    def mean_c(self, now: int) -> tuple[float, float | None]:
        """The mean temperature of all nodes, and of all GPUs, from the start up to ``now``."""
        node_c, gpu_c = self.mean_c_U(now)
        return float(node_c.mean()), None if gpu_c is None else float(gpu_c.mean())

    def mean_c_U(self, now: int) -> tuple[Floats, Floats | None]:
        """The mean temperatures of each unit's nodes, and of their GPUs, from the start up to ``now``."""
        self._close(now)
        span_s = now - self._start
        if not span_s:
            return self.temperatures(now)
        racks, node_w, supply_c = self._racks, self._node_j_N / span_s, self._supply_ks / span_s
        node_c = racks.mean_node_c_N(node_w, supply_c, self._node_c_N() - self._start_c, span_s)
        if self.gpu_r_U is None:
            return node_c[: self._units], None
        risen_k = self._lag_k_N() - self._start_lag_k
        lag_k = (racks.gpu_r_N * self._gpu_j_N - racks.gpu_tau_s * risen_k) / span_s
        return node_c[: self._units], (racks.inlet_c_N(node_w, supply_c) + lag_k)[: self._units]

    def next_crossing(self) -> tuple[int, int] | None:
        """The first second at which a unit is at its throttle threshold or above, and the unit; None if none ever is.

        That is by its node's or its GPU's temperature under the present powers. A unit that is above already counts as
        crossing now, at the last second that was told of. Passed over are units that are marked as throttled, and
        those that draw no more than an idle one: they can do nothing about it.
        """
        return self._first_of(_THROTTLE)

    def next_shutdown(self) -> tuple[int, int] | None:
        """The same for the shutdown thresholds, with units that are marked."""
        return self._first_of(_SHUTDOWN)

    @property
    def next_s(self) -> int:
        """The second of the first crossing of any kind; far away if there is none."""
        return min((each[0] for each in (self.next_crossing(), self.next_shutdown()) if each), default=_NEVER)

    def shutdowns(self, now: int) -> Units:
        """The units, ascending, that are at a shutdown threshold or above and draw more than an idle one."""
        node_c, gpu_c = self.temperatures(now)
        limit_c, limit_gpu_c = self._thresholds[_SHUTDOWN]
        above = node_c >= limit_c - _ROUNDING_K
        if gpu_c is not None:
            above |= gpu_c >= limit_gpu_c - _ROUNDING_K
        return np.flatnonzero(above & (self._node_w_N[: self._units] > self._idle_w))

    def relief(self, unit: int) -> float:
        """The factor on the power above idle of ``unit`` that lets it end up ``margin_k`` below both its throttles.

        It applies to its nodes and its GPUs alike; all other powers stay as they are. It is in (0, 1], and
        ``LEAST_RELIEF`` where nothing above idle is little enough.
        """
        racks = self._racks
        block, place = divmod(unit, self._n)
        node_w = self._node_w_N[block * self._n : (block + 1) * self._n]
        above_w = float(node_w[place]) - self._idle_w
        gains, shape = racks.gains[block], racks.shapes[block, :, place]
        steady_k = [(float(node_w @ gains @ shape), above_w * float(gains[place] @ shape))]  # and what is its own
        if racks.has_gpus:
            inlet_k_per_w, gpu_w = racks.inlet_k_per_w[place], float(self._gpu_w_N[unit])
            gpu_r = float(racks.gpu_r_N[unit])
            own_k = float(inlet_k_per_w[place]) * above_w + gpu_r * (gpu_w - self._idle_gpu_w)
            steady_k.append((float(inlet_k_per_w @ node_w) + gpu_r * gpu_w, own_k))
        factor = 1.0
        for (all_k, own_k), throttle_c in zip(steady_k, self._thresholds[_THROTTLE], strict=False):
            surplus_k = self._supply_c + all_k - (throttle_c - self.spec.margin_k)
            if surplus_k > 0.0:
                factor = min(factor, 1.0 - surplus_k / own_k if own_k > surplus_k else 0.0)
        return max(factor, LEAST_RELIEF)

    # -- copies -------------------------------------------------------------------------------

    def copy(self) -> Heat:
        """An independent copy; what never changes is shared."""
        twin = copy.copy(self)
        for name in _CHANGES_IN_PLACE:
            setattr(twin, name, getattr(self, name).copy())
        return twin

    def __deepcopy__(self, memo: object) -> Heat:
        return self.copy()

    # -- the state ----------------------------------------------------------------------------

    def _node_c_N(self) -> Floats:
        """Temperatures of the nodes; these three when the later deviations are up to the present."""
        return self._racks.node_c_N(self._dev + self._racks.steady(self._node_w_N, self._supply_c))

    def _inlet_c_N(self) -> Floats:
        return self._racks.inlet_c_N(self._node_w_N, self._supply_c)

    def _lag_k_N(self) -> Floats:
        """How much warmer than its inlet a GPU is."""
        return self._lag_dev + self._racks.gpu_r_N * self._gpu_w_N

    def _advance(self, now: int) -> None:
        """Bring the later deviations to ``now``."""
        if now < self._now:
            raise _backwards(now, self._now)
        self._now = now
        racks, elapsed, end = self._racks, now - self._at, self._log_end
        if not (elapsed or self._seen < end or self._seen_supplies < len(self._supply_log)):
            return
        self._at = now
        self._dev = self._dev * np.exp(-elapsed * racks.rates)
        self._lag_dev = self._lag_dev * np.exp(-elapsed / racks.gpu_tau_s)
        felt_from = now - racks.memory_s
        if self._seen_supplies < len(self._supply_log):
            for second, warmer_k in self._supply_steps(self._seen_supplies):
                if second > felt_from:
                    self._dev -= warmer_k * racks.warm * np.exp((second - now) * racks.rates)
            self._seen_supplies = len(self._supply_log)
        begin, self._seen = self._seen, end
        if begin < end and self._log_s[begin] < felt_from:
            begin += int(np.searchsorted(self._log_s[begin:end], felt_from))
        if begin == end:
            return
        # A run of neighbours in one block, whose power changes alike in one second, makes one kick to its modes.
        units, seconds = self._log_unit[begin:end], self._log_s[begin:end]
        blocks, places = np.divmod(units, self._n)
        change_w = self._log_node_w[begin:end] - self._log_node_was_w[begin:end]
        joins = (units[1:] == units[:-1] + 1) & (blocks[1:] == blocks[:-1])
        joins &= (seconds[1:] == seconds[:-1]) & (change_w[1:] == change_w[:-1])
        ends = np.append(np.flatnonzero(~joins), units.size - 1)
        begins = np.append(0, ends[:-1] + 1)
        blocks = blocks[begins]
        kicks = racks.gains_up_to[blocks, places[ends] + 1] - racks.gains_up_to[blocks, places[begins]]
        kicks *= change_w[begins, None] * np.exp((seconds[begins] - now)[:, None] * racks.rates[blocks])
        modes = (blocks * self._n)[:, None] + self._mode_n
        self._dev -= np.bincount(modes.reshape(-1), kicks.reshape(-1), self._dev.size).reshape(self._dev.shape)
        if racks.has_gpus:
            change_w = self._log_gpu_w[begin:end] - self._log_gpu_was_w[begin:end]
            lag_k = racks.gpu_r_N[units] * change_w * np.exp((seconds - now) / racks.gpu_tau_s)
            self._lag_dev -= np.bincount(units, lag_k, self._lag_dev.size)

    def _supply_steps(self, first: int) -> list[tuple[int, float]]:
        """When, and by how much, the supply got warmer, from the ``first`` of its log on."""
        log = self._supply_log
        return [(log[i][0], log[i][1] - log[i - 1][1]) for i in range(first, len(log))]

    def _close(self, now: int) -> None:
        """Book means and maxima up to ``now``, and begin a new log."""
        self._advance(now)
        self._find_hottest()
        end, span = self._log_end, now - self._log_begin
        units, late = self._log_unit[:end], self._log_s[:end] - self._log_begin
        changes_w = self._log_node_w[:end] - self._log_node_was_w[:end]
        self._node_j_N += self._node_w_N * span - np.bincount(units, changes_w * late, self._node_w_N.size)
        changes_w = self._log_gpu_w[:end] - self._log_gpu_was_w[:end]
        self._gpu_j_N += self._gpu_w_N * span - np.bincount(units, changes_w * late, self._gpu_w_N.size)
        self._supply_ks += self._supply_c * span
        self._supply_ks -= sum((when - self._log_begin) * warmer_k for when, warmer_k in self._supply_steps(1))
        self._supply_log[:] = [(now, self._supply_c)]
        self._log_end = self._seen = 0
        self._seen_supplies = 1
        self._log_begin, self._begin_lag_k = now, self._lag_k_N()
        self._begin_modes = self._dev + self._racks.steady(self._node_w_N, self._supply_c)

    # -- the highest temperature --------------------------------------------------------------

    def _find_hottest(self) -> None:
        """Follow through the log each block that may have been hotter than anything before, the likeliest first.

        No node gets hotter than all of its block are at the beginning, unless it would without its neighbours.
        """
        racks, units = self._racks, self._log_unit[: self._log_end]
        warmest_c = max(supply_c for _, supply_c in self._supply_log) - self._warmest_supply_c + self._warmest_inlet_N
        most_w = self._node_w_N.copy()
        np.maximum.at(most_w, units, self._log_node_was_w[: self._log_end])
        bounds_c = (warmest_c + racks.r_N * most_w).reshape(-1, self._n).max(axis=1)
        for block in np.argsort(-bounds_c).tolist():
            if bounds_c[block] <= self._hottest_c:
                break
            spans_s, watts, _, supply_c = self._pieces(block)
            start = self._begin_modes[block]
            self._hottest_c = racks.node_peak_c(block, start, spans_s, watts, supply_c, self._hottest_c)
        if not racks.has_gpus:
            return
        most_w = self._gpu_w_N.copy()
        np.maximum.at(most_w, units, self._log_gpu_was_w[: self._log_end])
        lag_k = np.maximum(self._begin_lag_k, racks.gpu_r_N * most_w)
        bounds_c = (warmest_c + lag_k).reshape(-1, self._n).max(axis=1)
        for block in np.argsort(-bounds_c).tolist():
            if bounds_c[block] <= self._hottest_gpu_c:
                break
            spans_s, watts, gpu_w, supply_c = self._pieces(block)
            lag_k = self._begin_lag_k[block * self._n : (block + 1) * self._n]
            peak_c = racks.gpu_peak_c(block, lag_k, spans_s, watts, gpu_w, supply_c)
            self._hottest_gpu_c = max(self._hottest_gpu_c, peak_c)

    def _pieces(self, block: int) -> tuple[Floats, Floats, Floats, Floats]:
        """The log of a block as pieces of constant power: their seconds, watts of nodes and of GPUs, and supply."""
        begin, end = block * self._n, (block + 1) * self._n
        units = self._log_unit[: self._log_end]
        items = np.flatnonzero((units >= begin) & (units < end))
        item_s = self._log_s[items]
        supply_s = np.array([second for second, _ in self._supply_log])  # the first is the beginning of the log
        begins_s = np.unique(np.concatenate([item_s, supply_s]))
        piece = np.searchsorted(begins_s, item_s)
        powers_w = []
        for now_w, was_w, is_w in (
            (self._node_w_N, self._log_node_was_w, self._log_node_w),
            (self._gpu_w_N, self._log_gpu_was_w, self._log_gpu_w),
        ):
            changes_w = np.zeros((begins_s.size, self._n))
            np.add.at(changes_w, (piece, units[items] - begin), is_w[items] - was_w[items])
            changes_w = np.append(changes_w[1:], np.zeros((1, self._n)), axis=0)
            powers_w.append(now_w[begin:end] - changes_w[::-1].cumsum(axis=0)[::-1])
        supply_c = np.array([supply_c for _, supply_c in self._supply_log])
        supply_c = supply_c[np.searchsorted(supply_s, begins_s, side="right") - 1]
        return np.diff(begins_s, append=self._at).astype(np.float64), powers_w[0], powers_w[1], supply_c

    # -- thresholds ---------------------------------------------------------------------------

    def _look(self, units: Units, node_w: Watts, gpu_w: Watts, most_w: float) -> None:
        """Have blocks examined in which one of ``units`` passes its limit."""
        if most_w > self._most_w:
            self._reckon_with(most_w * _MORE_WATTS, self._warmest_supply_c)
        passes = (self._limit_w_N[units] < node_w) | (self._limit_gpu_w_N[units] < gpu_w)
        if np.count_nonzero(passes):
            self._dirty[units[passes] // self._n] = True
            self._any_dirty = True

    def _reckon_with(self, most_w: float, warmest_supply_c: float) -> None:
        """Set new limits, for inlets that may get as warm as that; have blocks examined that do not keep them."""
        self._advance(self._now)
        before_c = self._warmest_inlet_N
        self._most_w, self._warmest_supply_c = most_w, warmest_supply_c
        self._set_limits_alone()
        self._top_c += max(0.0, float((self._warmest_inlet_N - before_c).max()))
        for block in np.flatnonzero(~self._watched).tolist():
            self._set_limits(block)
        passes = (self._node_w_N > self._limit_w_N) | (self._gpu_w_N > self._limit_gpu_w_N)
        passes |= self._lag_k_N() + self._warmest_inlet_N > self._thresholds[_THROTTLE][1]
        self._dirty |= passes.reshape(-1, self._n).any(axis=1)
        self._any_dirty = bool(self._dirty.any())
        self._set_quiet()

    def _set_limits_alone(self) -> None:
        """Watts of nodes and GPUs that end at the throttle if the neighbours do too, with the warmest inlet."""
        racks, (limit_c, limit_gpu_c) = self._racks, self._thresholds[_THROTTLE]
        inlet_c = self._warmest_supply_c + self._most_w * racks.inlet_k_per_w.sum(axis=1)
        self._warmest_inlet_N = np.tile(inlet_c, racks.blocks)
        self._alone_w_N = (limit_c - self._warmest_inlet_N) / racks.r_N
        self._alone_gpu_w_N = (limit_gpu_c - self._warmest_inlet_N) / racks.gpu_r_N

    def _set_limits(self, block: int) -> None:
        """Watts within which the units of a block cannot come to a threshold, as long as all keep within them."""
        here = slice(block * self._n, (block + 1) * self._n)
        if not self._watched[block]:
            # Neighbours may be above the threshold while they are throttled, or cool down.
            warmer_k = max(0.0, float(self._top_c[block]) - self.spec.cpu_throttle_c)
            self._limit_w_N[here] = self._alone_w_N[here] - 2.0 * self.spec.coupling_w_per_k * warmer_k
            self._limit_gpu_w_N[here] = self._alone_gpu_w_N[here]
        elif self._crossing_s[:, block].min() < _NEVER:
            self._limit_w_N[here] = self._limit_gpu_w_N[here] = -np.inf  # any change may bring it forward or put it off
        else:  # nothing crosses under the present powers, so nothing does under lower ones
            self._limit_w_N[here] = self._node_w_N[here]
            self._limit_gpu_w_N[here] = self._gpu_w_N[here]

    def _set_quiet(self) -> None:
        self._quiet_w = min(self._most_w, float(self._limit_w_N.min()))
        self._quiet_gpu_w = float(self._limit_gpu_w_N.min())

    def _first_of(self, kind: int) -> tuple[int, int] | None:
        first = self._first[kind]
        if first is not None and first[0] < self._now:  # nobody did anything about it: is it above still?
            self._dirty |= self._crossing_s[kind] < self._now
            self._any_dirty = True
        if self._any_dirty:
            self._examine_all()
        return self._first[kind]

    def _examine_all(self) -> None:
        """Examine what is dirty, and find the first crossings of the machine anew."""
        self._advance(self._now)
        for block in np.flatnonzero(self._dirty).tolist():
            self._examine(block)
            self._set_limits(block)
        self._dirty[:] = False
        self._any_dirty = False
        self._set_quiet()
        for kind, crossing_s in enumerate(self._crossing_s):
            block = int(crossing_s.argmin())  # of several the lowest
            first_s = int(crossing_s[block])
            self._first[kind] = None if first_s == _NEVER else (first_s, int(self._crossing_unit[kind, block]))

    def _examine(self, block: int) -> None:
        """Find the first crossings in a block, and whether it needs watching from now on."""
        racks, here = self._racks, slice(block * self._n, (block + 1) * self._n)
        node_w, dev, warmest_c = self._node_w_N[here], self._dev[block], self._warmest_inlet_N[here]
        steady = node_w @ racks.gains[block] + self._supply_c * racks.warm[block]
        node_c = (steady + dev) @ racks.shapes[block]
        alone_c = warmest_c + racks.r_N[here] * node_w
        self._top_c[block] = top_c = float(np.maximum.reduce(np.maximum(node_c, alone_c)))
        if top_c > self._hottest_c:
            self._hottest_c = max(self._hottest_c, float(node_c.max()))
        steady_lag_k = racks.gpu_r_N[here] * self._gpu_w_N[here]
        lag_k = steady_lag_k + self._lag_dev[here]
        most_gpu_c = warmest_c + np.maximum(lag_k, steady_lag_k)
        top_gpu_c = float(np.maximum.reduce(most_gpu_c))
        self._crossing_s[:, block] = _NEVER
        self._watched[block] = False
        for kind, (limit_c, limit_gpu_c) in enumerate(self._thresholds):
            if top_c <= limit_c and top_gpu_c <= limit_gpu_c:
                continue
            from_neighbours_k = (2.0 * self.spec.coupling_w_per_k * max(0.0, top_c - limit_c)) * racks.r_N[here]
            may = (np.maximum(alone_c + from_neighbours_k, node_c) > limit_c) | (most_gpu_c > limit_gpu_c)
            if kind == _THROTTLE:
                may &= ~self._marked_N[here]
            if not np.count_nonzero(may):
                continue
            self._watched[block] = True
            places = np.flatnonzero(may & (node_w > self._idle_w))
            if not places.size:
                continue
            waits_s = racks.node_waits_s(block, places, dev, steady, limit_c)
            if top_gpu_c > limit_gpu_c:
                inlet_c = self._supply_c + racks.inlet_k_per_w[places] @ node_w
                gpu_c, steady_gpu_c = inlet_c + lag_k[places], inlet_c + steady_lag_k[places]
                gpu_waits_s = rises_to_s(gpu_c, steady_gpu_c, racks.gpu_tau_s, limit_gpu_c)
                waits_s = np.minimum(waits_s, np.ceil(gpu_waits_s))
            first = int(waits_s.argmin())
            if waits_s[first] < np.inf:
                self._crossing_s[kind, block] = self._now + int(waits_s[first])
                self._crossing_unit[kind, block] = block * self._n + int(places[first])


_CHANGES_IN_PLACE: Final = (
    "_node_w_N", "_gpu_w_N", "_marked_N", "_log_s", "_log_unit", "_log_node_w", "_log_node_was_w", "_log_gpu_w",
    "_log_gpu_was_w", "_supply_log", "_node_j_N", "_gpu_j_N", "_crossing_s", "_crossing_unit", "_first", "_dirty",
    "_watched", "_top_c", "_limit_w_N", "_limit_gpu_w_N",
)  # fmt: skip


def _backwards(now: int, before: int) -> ValueError:
    return ValueError(f"told of second {now} after second {before}: time cannot go back")
