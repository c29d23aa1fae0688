"""When a unit will come to its throttle or shutdown temperature next, asked after every event and cheap to answer.

A block (of ``thermal.Racks``) is in one of three states, which say what may happen to it without a look:

- *calm*: every unit draws no more than would bring it to its throttle if its neighbours were there too and its inlet
  were the warmest there is. Nothing crosses while all units keep to that, for a rack whose units are all at the
  threshold, none of which is given more than it can lose there, does not get any warmer.
- *tense*: some unit draws more, but under the present powers nothing crosses. Then nothing does under lower ones, nor
  while the others draw so little more that the inlets cannot warm up by what is still missing.
- *restless*: a crossing is ahead. Any change may bring it forward or put it off.

A block that may have left its state is examined when somebody asks: first whether it would be calm with the inlet of
this moment, which takes no history, and if not, then exactly.
"""

from __future__ import annotations

import copy
from typing import Final

import numpy as np
import numpy.typing as npt

from hpcsim.machine.spec import ThermalSpec
from hpcsim.machine.temperatures import Temperatures
from hpcsim.machine.thermal import FORGOTTEN, rises_to_s
from hpcsim.seconds import NEVER

Floats = npt.NDArray[np.float64]
Units = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

THROTTLE, SHUTDOWN = range(2)

_CALM, _TENSE, _RESTLESS = range(3)
# How far above what was seen so far the limits reckon with, so that they need not be changed all the time.
_MORE_WATTS: Final = 1.1
_WARMER_K: Final = 2.0


class Crossings:
    """The crossings ahead of the units of ``temperatures``, whose idle nodes draw ``node_w``.

    It is to be told of every change after it was made. ``thresholds_c`` are those of nodes and of GPUs, by kind.
    ``seen_c`` is the highest temperature of a node that examinations came upon; the GPUs', which change with the powers
    in no time, are told by ``seen_gpu_c``. ``exceeded_K`` tells of each block whether a unit in it may have been above
    both that and its throttle since this was last cleared.
    """

    def __init__(self, temperatures: Temperatures, spec: ThermalSpec, *, node_w: float) -> None:
        self._temperatures = temperatures
        racks = temperatures.racks
        self._n, blocks, size = racks.n, racks.blocks, racks.blocks * racks.n
        self._idle_w = node_w
        self.thresholds_c = (
            (spec.cpu_throttle_c, spec.gpu_throttle_c if racks.has_gpus else np.inf),
            (spec.node_shutdown_c, spec.gpu_shutdown_c if racks.has_gpus else np.inf),
        )
        warming_k_per_w = float(racks.inlet_k_per_w.sum(axis=1).max())  # of the warmest inlet, by all of a block
        self._w_per_inlet_k = 1.0 / warming_k_per_w if warming_k_per_w else np.inf
        self._marked_N = np.arange(size) >= racks.units  # as throttled
        self._crossing_s = np.full((2, blocks), NEVER)
        self._crossing_unit = np.zeros((2, blocks), np.int64)
        self._first: list[tuple[int, int] | None] = [None, None]
        self._dirty_K = np.ones(blocks, np.bool_)  # to be examined
        self.any_dirty = True
        self._dirty_since = temperatures.now
        self._next_s = -1
        self._state_K = np.full(blocks, _CALM)
        self._hot_K = np.zeros(blocks, np.bool_)  # a unit in it may be above its throttle
        self.exceeded_K = np.zeros(blocks, np.bool_)
        self.seen_c = self._seen_gpu_c = -np.inf
        # Temperatures of the hottest GPU of a block that hold if nothing changes any more in this second.
        self.sighted_s = -1
        self._sight_c: dict[int, float] = {}
        self._most_w, self._warmest_supply_c = node_w * _MORE_WATTS, temperatures.supply_c + _WARMER_K
        self._set_alone()
        self._limit_w_N, self._limit_gpu_w_N = self._alone_w_N.copy(), self._alone_gpu_w_N.copy()
        self._least_w_K, self._least_gpu_w_K = [-np.inf] * blocks, [-np.inf] * blocks  # of the limits of a block
        # Since a block was examined no GPU of it has drawn more than this.
        self._drawn_gpu_w_N = self._limit_gpu_w_N.copy()
        # When a block was examined, no GPU of it was warmer, beyond its inlet, than its power or this one would make it
        # in the end. Since this second no GPU of it has drawn more than its limit alone; NEVER if one does.
        self._lag_w_N = np.zeros(size)
        self._gpus_within_since_K = np.full(blocks, temperatures.now)
        self._set_quiet()

    # -- what it is told ----------------------------------------------------------------------

    def powered(self, units: Units, node_w: float, gpu_w: float) -> None:
        """``units`` now draw that.

        Need not be told of what is at most ``quiet_w`` and ``quiet_gpu_w``.
        """
        if node_w > self._most_w:
            self._reckon_with(node_w * _MORE_WATTS, self._warmest_supply_c)
            return
        blocks = slice(int(units[0]) // self._n, int(units[-1]) // self._n + 1)
        if node_w > min(self._least_w_K[blocks]) or gpu_w > min(self._least_gpu_w_K[blocks]):
            passes = (self._limit_w_N[units] < node_w) | (self._limit_gpu_w_N[units] < gpu_w)
            if np.count_nonzero(passes):
                self._soil(units[passes] // self._n)

    def supplied(self, before_c: float) -> None:
        """The supply has changed; it was at ``before_c``."""
        supply_c = self._temperatures.supply_c
        if self.sighted_s == self._temperatures.now:
            self.unsee(np.arange(self._marked_N.size))
        if not self._warmest_supply_c - 3.0 * _WARMER_K <= supply_c <= self._warmest_supply_c:
            self._reckon_with(self._most_w, supply_c + _WARMER_K)
        else:
            self._soil(self._state_K > (_CALM if supply_c > before_c else _TENSE))

    def mark(self, units: Units, flag: bool) -> None:
        """Say whether ``units`` are throttled already: their throttle crossings are passed over, as idle units' are."""
        self._marked_N[units] = flag
        if flag or np.any(self._temperatures.log.node_w_N[units] > self._idle_w):
            self._soil(units // self._n)

    @property
    def marked(self) -> int:
        """How many units are throttled."""
        return int(np.count_nonzero(self._marked_N[: self._temperatures.racks.units]))

    def throttle(self, unit: int) -> None:
        """Mark the unit that crosses now, to which all is advanced, under the powers with which it came there."""
        self.see_all()
        self.mark(np.array([unit]), True)

    def see_all(self) -> None:
        """Come upon all temperatures of now, to which all is advanced."""
        temperatures = self._temperatures
        self.seen_c = max(self.seen_c, float(temperatures.node_c_N.max()))
        gpu_c_K = temperatures.gpu_c_N.reshape(-1, self._n).max(axis=1)
        if temperatures.log.changed_s < temperatures.now:
            self._seen_gpu_c = max(self._seen_gpu_c, float(gpu_c_K.max()))
        else:  # they may have been others before
            self.exceeded_K |= gpu_c_K >= self.thresholds_c[THROTTLE][1]

    def unsee(self, units: Units) -> None:
        """``units`` change in the second in which GPUs were sighted, whose temperatures do not last then."""
        for block in np.unique(units // self._n).tolist():
            if self._sight_c.pop(block, None) is not None:
                self.exceeded_K[block] = True

    # -- what it is asked ---------------------------------------------------------------------

    def first(self, kind: int) -> tuple[int, int] | None:
        """The first crossing of a kind: the second, and the unit."""
        now, first = self._temperatures.now, self._first[kind]
        if first is not None and first[0] < now:  # nobody did anything about it: is it above still?
            passed_K = self._crossing_s[kind] < now
            self.exceeded_K |= passed_K
            self._soil(passed_K)
        if self.any_dirty:
            self._examine_all()
        return self._first[kind]

    @property
    def next_s(self) -> int:
        """The second of the first crossing of any kind; ``NEVER`` if there is none."""
        if self.any_dirty or self._next_s < self._temperatures.now:
            self.first(THROTTLE), self.first(SHUTDOWN)
        return self._next_s

    @property
    def seen_gpu_c(self) -> float:
        """The highest temperature of a GPU that examinations came upon and that lasted."""
        if self._temperatures.now > self.sighted_s:
            self._seen_gpu_c = max(self._seen_gpu_c, *self._sight_c.values()) if self._sight_c else self._seen_gpu_c
            self._sight_c.clear()
        return self._seen_gpu_c

    def clear_exceeded(self) -> None:
        """Keep in ``exceeded_K`` only blocks in which a unit is above a throttle now; all is advanced to now."""
        temperatures, (limit_c, limit_gpu_c) = self._temperatures, self.thresholds_c[THROTTLE]
        above_N = (temperatures.node_c_N >= limit_c) | (temperatures.gpu_c_N >= limit_gpu_c)
        self.exceeded_K &= above_N.reshape(-1, self._n).any(axis=1)

    def forget_seen(self) -> None:
        """Begin anew to note the highest temperatures."""
        self.seen_c = self._seen_gpu_c = -np.inf
        self._sight_c.clear()

    # -- limits -------------------------------------------------------------------------------

    def _soil(self, blocks: Units | Flags) -> None:
        """Have these blocks, given by their numbers or as a column, examined before the next answer."""
        if not self.any_dirty:
            self._dirty_since, self.any_dirty = self._temperatures.now, True
        self._dirty_K[blocks] = True

    def _reckon_with(self, most_w: float, warmest_supply_c: float) -> None:
        """Set new limits, for nodes that may draw that much and a supply that may get that warm."""
        self._most_w, self._warmest_supply_c = most_w, warmest_supply_c
        self._set_alone()
        self._soil(np.arange(self._dirty_K.size))

    def _set_alone(self) -> None:
        """Watts of nodes and GPUs that end at the throttle if the neighbours do too, with the warmest inlet."""
        racks, (limit_c, limit_gpu_c) = self._temperatures.racks, self.thresholds_c[THROTTLE]
        inlet_c = np.tile(self._warmest_supply_c + self._most_w * racks.inlet_k_per_w.sum(axis=1), racks.blocks)
        self._alone_w_N = (limit_c - inlet_c) / racks.r_N
        self._alone_gpu_w_N = (limit_gpu_c - inlet_c) / racks.gpu_r_N

    def _set_quiet(self) -> None:
        """Watts up to which no change of power needs a look."""
        self.quiet_w, self.quiet_gpu_w = min(self._most_w, *self._least_w_K), min(self._least_gpu_w_K)

    def _enter(self, block: int, state: int, missing_k: float = 0.0) -> None:
        """Have a block be in a state, with the limits of that; its inlets may get warmer by ``missing_k``."""
        log = self._temperatures.log
        self._state_K[block] = state
        here = slice(block * self._n, (block + 1) * self._n)
        if state == _CALM:
            self._limit_w_N[here], self._limit_gpu_w_N[here] = self._alone_w_N[here], self._alone_gpu_w_N[here]
        elif state == _RESTLESS:
            self._limit_w_N[here] = self._limit_gpu_w_N[here] = -np.inf
        elif missing_k == 0.0:
            self._limit_w_N[here], self._limit_gpu_w_N[here] = log.node_w_N[here], log.gpu_w_N[here]
        else:
            node_w = log.node_w_N[here]
            more_w = np.minimum(self._alone_w_N[here], node_w + missing_k * self._w_per_inlet_k)
            self._limit_w_N[here] = np.maximum(node_w, more_w)
            self._limit_gpu_w_N[here] = np.maximum(log.gpu_w_N[here], self._alone_gpu_w_N[here])
        self._least_w_K[block] = float(np.minimum.reduce(self._limit_w_N[here]))
        self._least_gpu_w_K[block] = float(np.minimum.reduce(self._limit_gpu_w_N[here]))
        self._drawn_gpu_w_N[here] = self._limit_gpu_w_N[here] if state != _RESTLESS else log.gpu_w_N[here]

    # -- examining ----------------------------------------------------------------------------

    def _examine_all(self) -> None:
        """Examine what is dirty, and find the first crossings of the machine anew."""
        late = self._dirty_since < self._temperatures.now  # what was in between has not been looked at
        if late:
            self.exceeded_K |= self._dirty_K
        for block in np.flatnonzero(self._dirty_K).tolist():
            if late or self._hot_K[block] or not self._would_be_calm(block):
                self._examine(block)
        self._dirty_K[:] = False
        self.any_dirty = False
        self._set_quiet()
        for kind, crossing_s in enumerate(self._crossing_s):
            block = int(crossing_s.argmin())  # of several the lowest
            first_s = int(crossing_s[block])
            self._first[kind] = None if first_s == NEVER else (first_s, int(self._crossing_unit[kind, block]))
        self._next_s = int(self._crossing_s.min())

    def _would_be_calm(self, block: int) -> bool:
        """Whether nothing crosses in a block whose units are all below their throttles; if so, it is settled."""
        temperatures, (limit_c, limit_gpu_c) = self._temperatures, self.thresholds_c[THROTTLE]
        if self._crossing_s[:, block].min() <= temperatures.now:
            return False  # they are not all below
        racks, here = temperatures.racks, slice(block * self._n, (block + 1) * self._n)
        node_w, gpu_w = temperatures.log.node_w_N[here], temperatures.log.gpu_w_N[here]
        inlet_c = temperatures.supply_c + racks.inlet_k_per_w @ node_w
        missing_k = limit_c - float(np.maximum.reduce(inlet_c + racks.r_N[here] * node_w))
        if missing_k < 0.0:
            return False
        within = bool((node_w <= self._alone_w_N[here]).all())
        if racks.has_gpus:
            # Since the block was examined last, they have drawn what they did then, or now, at the most.
            lag_w = self._lag_w_N[here]
            if self._gpus_within(block, gpu_w) >= FORGOTTEN * racks.gpu_tau_s:
                lag_w[:] = 0.0
            else:
                np.maximum(lag_w, self._drawn_gpu_w_N[here], out=lag_w)
            most_w = np.maximum(lag_w, gpu_w)
            missing_k = min(missing_k, limit_gpu_c - float(np.maximum.reduce(inlet_c + racks.gpu_r_N[here] * most_w)))
            if missing_k < 0.0:
                return False
            within = within and bool((most_w <= self._alone_gpu_w_N[here]).all())
        self._crossing_s[:, block] = NEVER
        self._enter(block, _CALM if within else _TENSE, missing_k)
        return True

    def _gpus_within(self, block: int, gpu_w: Floats) -> float:
        """For how many seconds no GPU of a block, which now draw ``gpu_w``, has drawn more than its limit alone."""
        now, since_s = self._temperatures.now, int(self._gpus_within_since_K[block])
        here = slice(block * self._n, (block + 1) * self._n)
        if not (gpu_w <= self._alone_gpu_w_N[here]).all():
            since_s = NEVER
        elif since_s == NEVER:
            since_s = now
        self._gpus_within_since_K[block] = since_s
        return 0.0 if since_s == NEVER else float(now - since_s)

    def _examine(self, block: int) -> None:
        """Find the first crossings in a block, and its state."""
        temperatures, n = self._temperatures, self._n
        temperatures.advance(temperatures.now)
        racks, here = temperatures.racks, slice(block * n, (block + 1) * n)
        node_w, gpu_w = temperatures.log.node_w_N[here], temperatures.log.gpu_w_N[here]
        dev, shapes = temperatures.dev[block], racks.shapes[block]
        steady = node_w @ racks.gains[block] + temperatures.supply_c * racks.warm[block]
        node_c, steady_c = (steady + dev) @ shapes, steady @ shapes
        highest_c = np.maximum(node_c, steady_c + max(0.0, float((node_c - steady_c).max())))
        inlet_c = temperatures.supply_c + racks.inlet_k_per_w @ node_w
        steady_lag_k = racks.gpu_r_N[here] * gpu_w
        lag_k = steady_lag_k + temperatures.lag_dev_N[here]
        highest_gpu_c = inlet_c + np.maximum(lag_k, steady_lag_k)

        top_c, top_gpu_c = np.maximum.reduce(highest_c), np.maximum.reduce(highest_gpu_c)

        throttle_c, throttle_gpu_c = self.thresholds_c[THROTTLE]
        hot = bool(node_c.max() >= throttle_c or (inlet_c + lag_k).max() >= throttle_gpu_c)
        crossing = False
        for kind, (limit_c, limit_gpu_c) in enumerate(self.thresholds_c):
            self._crossing_s[kind, block] = NEVER
            if top_c < limit_c and top_gpu_c < limit_gpu_c:
                continue
            may = ((highest_c >= limit_c) | (highest_gpu_c >= limit_gpu_c)) & (node_w > self._idle_w)
            if kind == THROTTLE:
                may &= ~self._marked_N[here]
            places = np.flatnonzero(may)
            if not places.size:
                continue
            waits_s = np.full(places.size, np.inf)
            if top_c >= limit_c:
                waits_s = racks.node_waits_s(block, places, dev, steady, limit_c)
            if top_gpu_c >= limit_gpu_c:
                gpu_c, steady_gpu_c = (inlet_c + lag_k)[places], (inlet_c + steady_lag_k)[places]
                gpu_waits_s = rises_to_s(gpu_c, steady_gpu_c, racks.gpu_tau_s, limit_gpu_c)
                waits_s = np.minimum(waits_s, np.ceil(gpu_waits_s))
            first = int(waits_s.argmin())
            if waits_s[first] < np.inf:
                crossing = True
                self._crossing_s[kind, block] = temperatures.now + int(waits_s[first])
                self._crossing_unit[kind, block] = block * n + int(places[first])
        self._hot_K[block] = hot
        if hot:
            self.seen_c = max(self.seen_c, float(node_c.max()))
            self._sight(block, float((inlet_c + lag_k).max()))
            # From now on only what is marked can be above its throttle, and only if it gets hotter still.
            marked = self._marked_N[here]
            if np.count_nonzero(marked & (highest_gpu_c > max(throttle_gpu_c, float((inlet_c + lag_k).max())))):
                self.exceeded_K[block] = True
            elif np.count_nonzero(marked & (highest_c > max(throttle_c, self.seen_c))):
                spans_s, supply_c = np.array([float(racks.memory_s)]), np.array([temperatures.supply_c])
                modes = steady + dev
                peak_c = racks.node_peak_c(block, modes, spans_s, node_w[None, :], supply_c, self.seen_c)
                self.exceeded_K[block] |= peak_c > self.seen_c
        self._lag_w_N[here] = lag_w = lag_k / racks.gpu_r_N[here]
        self._gpus_within(block, gpu_w)
        if crossing:
            self._enter(block, _RESTLESS)
        elif (
            hot
            or (node_w > self._alone_w_N[here]).any()
            or (np.maximum(gpu_w, lag_w) > self._alone_gpu_w_N[here]).any()
        ):
            self._enter(block, _TENSE)
        else:
            self._enter(block, _CALM)

    def _sight(self, block: int, gpu_c: float) -> None:
        """The hottest GPU of a block is now at that temperature."""
        if self._temperatures.now > self.sighted_s:
            self._seen_gpu_c = self.seen_gpu_c
            self.sighted_s = self._temperatures.now
        self._sight_c[block] = gpu_c

    def copy(self, temperatures: Temperatures) -> Crossings:
        """An independent copy, of units that are at ``temperatures``."""
        twin = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (np.ndarray, list, dict)):
                setattr(twin, name, value.copy())
        twin._temperatures = temperatures
        return twin
