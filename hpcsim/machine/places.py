"""Places: which units of the machine are free, and which of them a job gets.

A unit is open if no job holds it, it is up, it is awake and it is not set aside for a queue. The open units of a rack
are the bits of one integer, and their number is kept for every rack and dragonfly group: a choice looks at groups and
racks, and only what was chosen becomes an array of units. Nothing here is random.
"""

from __future__ import annotations

import copy
from bisect import bisect_left
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.errors import InputError
from hpcsim.machine.spec import MachineSpec
from hpcsim.machine.torus import TorusBlocks, Units

FREE: Final = -1
POLICIES = ("packed", "spread", "contiguous", "coolest", "most-reliable", "torus")

_Counts = list[tuple[int, int]]  # (rack or group, how many units of it)
_Parts = list[tuple[int, int, int]]  # (rack, the units of it as bits, how many)


class Held(NamedTuple):
    """What one job holds: its units, the same as bits of racks (ascending), and its torus block (-1: none).

    ``marked``: how often units had become ready or ceased to be when it got them.
    """

    units: Units
    parts: _Parts
    block: int
    marked: int


class Places:
    """The units of a machine and the policy by which jobs get them.

    - ``packed``: one rack, the one that is left with the fewest open units; else one dragonfly group likewise, in it
      the fewest racks; else the fewest groups. Without groups: the fewest racks.
    - ``spread``: as evenly over the racks as they have open units.
    - ``contiguous``: the shortest run of consecutive open units that is long enough; ``packed`` if there is none.
    - ``coolest``, ``most-reliable``: the units with the lowest scores that the caller gives, temperatures or failures
      seen.
    - ``torus``: the block that blocks the fewest larger ones (``hpcsim.machine.torus``); other policies ignore cables.

    Of equals the lowest number is taken: of units, racks, groups, runs and blocks.

    ``holder_U``, ``up_U``, ``asleep_U``: which job holds the unit (``FREE``: none), it is not down, it sleeps; to be
    read only. ``aside_U``: the unit is set aside for jobs that name it (``take_beside``); no policy chooses it.
    ``free_nodes``: nodes of the open units. ``down_units``: units that are down, busy ones included. ``marked``: how
    often units have become ready or ceased to be.
    """

    def __init__(self, spec: MachineSpec, policy: str) -> None:
        if policy not in POLICIES:
            raise InputError(f"placement: found {policy!r}; it is one of {', '.join(POLICIES)}")
        self.spec = spec
        self.policy = policy
        self.blocks: TorusBlocks | None = None
        if policy == "torus":
            if spec.torus is None or spec.block_units is None:
                raise InputError(f"placement: found 'torus', but {spec.name} has no torus with blocks")
            self.blocks = TorusBlocks(spec.torus, spec.block_units)
        units = spec.units
        self.holder_U: npt.NDArray[np.int32] = np.full(units, FREE, np.int32)
        self.up_U: npt.NDArray[np.bool_] = np.ones(units, np.bool_)
        self._all_U = np.arange(units)
        self._all_U.setflags(write=False)
        self.asleep_U: npt.NDArray[np.bool_] = np.zeros(units, np.bool_)
        self.aside_U: npt.NDArray[np.bool_] = np.zeros(units, np.bool_)
        self.free_nodes: int = units * spec.unit_nodes
        self.down_units: int = 0
        self.marked: int = 0
        self._rack_units = spec.units_per_rack
        self._group_racks = spec.racks_per_group or 1  # a group of one rack is that rack
        self._block_units = sorted(spec.block_units or ())
        self._sizes: dict[int, int | None] = {}
        self._held: dict[int, Held] = {}  # by the first unit: no two jobs hold the same
        # Bits of each rack: its units that are up, awake and not set aside, and those of them that no job holds.
        self._ready_R = [(1 << min(self._rack_units, units - first)) - 1 for first in range(0, units, self._rack_units)]
        self._open_R = self._ready_R.copy()
        self._count_R = [bits.bit_count() for bits in self._open_R]
        self._count_G = [
            sum(self._count_R[first : first + self._group_racks])
            for first in range(0, len(self._count_R), self._group_racks)
        ]

    def __deepcopy__(self, memo: dict[int, object]) -> Places:
        """A copy for trying out what can be had beside what; what a job holds is shared, for it never changes."""
        twin = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray | list | dict):
                setattr(twin, name, value.copy())
        twin.blocks = copy.deepcopy(self.blocks, memo)
        return twin

    # -- asking -------------------------------------------------------------------------------

    @property
    def open_U(self) -> npt.NDArray[np.bool_]:
        """Whether any job could get the unit now."""
        return np.asarray((self.holder_U == FREE) & self.up_U & ~self.asleep_U & ~self.aside_U)

    def usable(self, units: Units) -> Units:
        """Those of ``units`` that no job holds and that are up and awake, set aside or not."""
        usable: Units = units[(self.holder_U[units] == FREE) & self.up_U[units] & ~self.asleep_U[units]]
        return usable

    def size(self, nodes: int) -> int | None:
        """The nodes that a job of ``nodes`` takes: whole units, and the next block that exists where only blocks do.

        None if the machine has no place of that size even when empty.
        """
        size = self._sizes.get(nodes, -1)
        if size == -1:  # jobs ask for the same few sizes again and again
            size = self._sizes[nodes] = self._size(nodes)
        return size

    def _size(self, nodes: int) -> int | None:
        unit_nodes = self.spec.unit_nodes
        units = -(-nodes // unit_nodes)
        if self._block_units:
            at = bisect_left(self._block_units, units)
            if at == len(self._block_units):
                return None
            units = self._block_units[at]
        return units * unit_nodes if units <= self.holder_U.size else None

    def fits(self, nodes: int) -> bool:
        """Whether a job of ``nodes`` can have a place now."""
        size = self.size(nodes)
        if size is None or size > self.free_nodes:
            return False
        return self.blocks is None or self.blocks.free_blocks(size // self.spec.unit_nodes).size > 0

    def block_of(self, units: Units) -> int:
        """The torus block that a job holds whose ``units`` these are."""
        return self._held[int(units[0])].block

    def spread_of(self, units: Units) -> float:
        """How far a job's ``units`` (ascending) lie apart: 0 as compact as so many can be, 1 as far apart as possible.

        The share of the racks touched beyond the fewest, between the fewest and the most that so many units can
        touch; with dragonfly groups the mean of that and of the same share for groups. Under ``torus`` always 0: a
        block has cables of its own.
        """
        if self.blocks is not None or units.size == 1:
            return 0.0
        held = self._held.get(int(units[0]))
        parts = held.parts if held is not None and held.units is units else self._bits(units)
        racks, group_racks = len(parts), self._group_racks
        spread = 0.0 if racks == 1 else _beyond_least(racks, units.size, self._rack_units, len(self._count_R))
        if group_racks == 1 or racks == 1:
            return spread
        touched = len({rack // group_racks for rack, _, _ in parts})
        per_group = self._rack_units * self._group_racks
        return (spread + _beyond_least(touched, units.size, per_group, len(self._count_G))) / 2

    # -- taking and giving back ---------------------------------------------------------------

    def take(
        self,
        nodes: int,
        *,
        holder: int = 0,
        wanted: Units | None = None,
        scores_U: npt.NDArray[np.floating] | None = None,
    ) -> Units:
        """Give the job ``holder`` of ``nodes`` its units, ascending: ``wanted`` if given, else by the policy.

        ``scores_U`` is read by ``coolest`` and ``most-reliable`` only. Raises ValueError if there is no such place
        now, naming the units that are in the way of ``wanted``; nothing is changed then. The array returned is what
        ``release`` knows the place by: leave it as it is.
        """
        size = self.size(nodes)
        if size is None:
            raise ValueError(f"a job of {nodes} nodes has no place on {self.spec.name} even when it is empty")
        count = size // self.spec.unit_nodes
        block = -1
        if wanted is not None:
            units = np.sort(np.asarray(wanted, np.int64))
            self._refuse(units, count)
            if self.blocks is not None:
                block = self.blocks.block_of(units)
            parts = self._bits(units)
        elif size > self.free_nodes:
            raise ValueError(f"a job of {nodes} nodes takes {size}, but only {self.free_nodes} are free")
        elif self.policy == "packed":
            parts = self._first_open(self._packed(count))
            units = self._units(parts, count)
        elif self.policy == "spread":
            parts = self._first_open(self._evenly(count))
            units = self._units(parts, count)
        elif self.policy == "contiguous":
            units = self._run(count)
            parts = self._bits(units)
        elif self.blocks is not None:
            block = self.blocks.least_blocking(count)
            units = self.blocks.table.units[block]
            parts = self._bits(units)
        else:
            units = self._lowest(count, scores_U)
            parts = self._bits(units)

        if self.blocks is not None:
            self.blocks.start(block)
        self.holder_U[units] = holder
        self._change(parts, -1)
        self._held[int(units[0])] = Held(units, parts, block, self.marked)
        return units

    def take_beside(
        self,
        own: Units,
        nodes: int,
        *,
        holder: int = 0,
        wanted: Units | None = None,
        scores_U: npt.NDArray[np.floating] | None = None,
    ) -> Units:
        """Give the job ``holder`` of ``nodes`` the usable units ``own``, set aside, and what else it needs.

        ``wanted`` are the units besides. Raises ValueError as ``take`` does; the array returned is released as one.
        """
        if not own.size:
            return self.take(nodes, holder=holder, wanted=wanted, scores_U=scores_U)
        count = -(-nodes // self.spec.unit_nodes) - own.size
        if count > 0:
            others = self.take(count * self.spec.unit_nodes, holder=holder, wanted=wanted, scores_U=scores_U)
            del self._held[int(others[0])]
            units = np.union1d(own, others)
        else:
            units = np.sort(own)
        self.holder_U[own] = holder
        self._held[int(units[0])] = Held(units, self._bits(units), -1, -1)  # some of them were not ready
        return units

    def release(self, units: Units) -> int:
        """Take back exactly what one ``take`` gave; how many of the units are down. ValueError for anything else."""
        held = self._held.get(int(units[0])) if units.size else None
        if held is None or (held.units is not units and not np.array_equal(held.units, units)):
            raise ValueError(f"units {_some(units)} are not what one job holds")
        del self._held[int(units[0])]
        if self.blocks is not None:
            self.blocks.end(held.block)
        self.holder_U[units] = FREE
        if held.marked == self.marked:  # they are all ready, as when they were taken
            self._change(held.parts, 1)
            return 0
        ready_R = self._ready_R
        self._change([(rack, ready := bits & ready_R[rack], ready.bit_count()) for rack, bits, _ in held.parts], 1)
        return units.size - int(np.count_nonzero(self.up_U[units]))

    # -- units that go and come ---------------------------------------------------------------

    def set_down(self, units: Units) -> None:
        """These units are out of order; those that a job holds stay its own until released. Down twice is down."""
        self._mark(self.up_U, units, False)

    def set_up(self, units: Units) -> None:
        """These units are in order again."""
        self._mark(self.up_U, units, True)

    def sleep(self, units: Units) -> None:
        """Nobody gets these units until they wake; raises ValueError if a job holds one of them."""
        busy = units[self.holder_U[units] != FREE]
        if busy.size:
            raise ValueError(f"units {_some(busy)} are busy and cannot sleep")
        self._mark(self.asleep_U, units, True)

    def wake(self, units: Units) -> None:
        """These units are awake again."""
        self._mark(self.asleep_U, units, False)

    def set_aside(self, units: Units, aside: bool = True) -> None:
        """Keep these units from all policies, or from none any more; ValueError if a job holds one of them."""
        busy = units[self.holder_U[units] != FREE]
        if busy.size:
            raise ValueError(f"units {_some(busy)} are busy and cannot change hands")
        self._mark(self.aside_U, units, aside)

    def _mark(self, column_U: npt.NDArray[np.bool_], units: Units, value: bool) -> None:
        """Set a column and what follows from it: units become ready, or cease to be."""
        self.marked += 1
        units = np.unique(units)
        before = self._ready(units)
        column_U[units] = value
        changed = units[before != self._ready(units)]
        self.down_units = self.up_U.size - int(np.count_nonzero(self.up_U))
        ready = value if column_U is self.up_U else not value  # what the changed ones are now
        if self.blocks is not None:
            for unit in changed.tolist():
                self.blocks.close(unit, not ready)
        for rack, bits, _ in self._bits(changed):
            self._ready_R[rack] ^= bits
        self._change(self._bits(changed[self.holder_U[changed] == FREE]), 1 if ready else -1)

    def _ready(self, units: Units) -> npt.NDArray[np.bool_]:
        """Whether a policy could choose the units if no job held them."""
        ready: npt.NDArray[np.bool_] = self.up_U[units] & ~(self.asleep_U[units] | self.aside_U[units])
        return ready

    # -- choosing: how many units of which racks, or which units --------------------------------

    def _packed(self, count: int) -> _Counts:
        if count <= self._rack_units:
            rack = _best_fit(self._count_R, count)
            if rack is not None:
                return [(rack, count)]
        if self._group_racks == 1:
            return _fewest(self._count_R, count)
        parts: _Counts = []
        for group, part in _fewest(self._count_G, count):
            parts += self._in_group(group, part)
        return parts

    def _in_group(self, group: int, count: int) -> _Counts:
        first = group * self._group_racks
        open_units = self._count_R[first : first + self._group_racks]
        if count == self._count_G[group]:
            return [(rack, part) for rack, part in enumerate(open_units, first) if part]
        return [(first + rack, part) for rack, part in _fewest(open_units, count)]

    def _evenly(self, count: int) -> _Counts:
        """At most ``level`` units of every rack, and one more of those that have the most open."""
        open_R = np.array(self._count_R)
        level, high = 0, self._rack_units
        while level < high:
            middle = (level + high + 1) // 2
            if int(np.minimum(open_R, middle).sum()) <= count:
                level = middle
            else:
                high = middle - 1
        part_R = np.minimum(open_R, level)
        fuller = np.argsort(-open_R, kind="stable")[: count - int(part_R.sum())]
        part_R[fuller] += 1
        return [(rack, part) for rack, part in enumerate(part_R.tolist()) if part]

    def _run(self, count: int) -> Units:
        edges = np.diff(np.concatenate(([0], self.open_U.view(np.int8), [0]))).nonzero()[0]
        starts = edges[::2]
        run = _best_fit((edges[1::2] - starts).tolist(), count)
        if run is None:
            return self._units(self._first_open(self._packed(count)), count)
        return np.arange(starts[run], starts[run] + count, dtype=np.int64)

    def _lowest(self, count: int, scores_U: npt.NDArray[np.floating] | None) -> Units:
        if scores_U is None or scores_U.shape != self.holder_U.shape:
            raise ValueError(f"placement {self.policy} needs a score for each of the {self.holder_U.size} units")
        units: Units = self.open_U.nonzero()[0]
        scores = scores_U[units]
        highest = np.partition(scores, count - 1)[count - 1]  # of those taken
        if np.isnan(highest):
            raise ValueError(f"placement {self.policy} needs scores that are numbers, but some are NaN")
        taken = scores < highest
        equals = (scores == highest).nonzero()[0]
        taken[equals[: count - int(np.count_nonzero(taken))]] = True
        lowest: Units = units[taken]
        return lowest

    def _refuse(self, units: Units, count: int) -> None:
        """Raise ValueError unless these are ``count`` different open units."""
        if units.size != count or np.any(units[1:] == units[:-1]):
            raise ValueError(f"the job takes {count} different units, but these were wanted: {_some(units)}")
        if units[0] < 0 or units[-1] >= self.holder_U.size:
            raise ValueError(f"units are numbered 0 to {self.holder_U.size - 1}, but these were wanted: {_some(units)}")
        because = {
            "busy": units[self.holder_U[units] != FREE],
            "down": units[~self.up_U[units]],
            "asleep": units[self.asleep_U[units]],
            "exclusive to a queue": units[self.aside_U[units]],
        }
        told = ", ".join(f"{what}: {_some(which)}" for what, which in because.items() if which.size)
        if told:
            raise ValueError(f"wanted units are not available ({told})")

    # -- racks and their units ----------------------------------------------------------------

    def _change(self, parts: _Parts, sign: int) -> None:
        """These units cease to be open (-1), or become open again (+1)."""
        open_R, count_R, count_G, group_racks = self._open_R, self._count_R, self._count_G, self._group_racks
        total = 0
        for rack, bits, count in parts:
            change = sign * count
            open_R[rack] ^= bits
            count_R[rack] += change
            count_G[rack // group_racks] += change
            total += change
        self.free_nodes += total * self.spec.unit_nodes

    def _first_open(self, counts: _Counts) -> _Parts:
        """The lowest-numbered open units of each of some racks, so many of it; racks ascending."""
        counts.sort()
        open_R, count_R, width = self._open_R, self._count_R, self._rack_units
        return [
            (rack, open_R[rack] if count == count_R[rack] else _lowest_bits(open_R[rack], count, width), count)
            for rack, count in counts
        ]

    def _units(self, parts: _Parts, count: int) -> Units:
        """The ``count`` units, ascending, that are these bits of racks."""
        (rack, bits, _), (last_rack, last_bits, _), rack_units = parts[0], parts[-1], self._rack_units
        first = rack * rack_units + (bits & -bits).bit_length() - 1
        end = last_rack * rack_units + last_bits.bit_length()
        if end - first == count:  # a run
            return self._all_U[first:end]
        if len(parts) == 1:
            return _ones_from(rack * rack_units, bits)
        return np.concatenate([_ones_from(rack * rack_units, bits) for rack, bits, _ in parts])

    def _bits(self, units: Units) -> _Parts:
        """Units, ascending, as bits of their racks."""
        if not units.size:
            return []
        rack = int(units[0]) // self._rack_units
        base = rack * self._rack_units
        among = np.zeros(int(units[-1]) - base + 1, np.bool_)
        among[units - base] = True
        bits = int.from_bytes(np.packbits(among, bitorder="little").tobytes(), "little")
        whole = (1 << self._rack_units) - 1
        parts: _Parts = []
        while bits:
            if part := bits & whole:
                parts.append((rack, part, part.bit_count()))
            bits >>= self._rack_units
            rack += 1
        return parts


def _best_fit(open_units: list[int], count: int) -> int | None:
    """The first place with the fewest open units that holds ``count``."""
    fewest = min(filter(count.__le__, open_units), default=None)
    return None if fewest is None else open_units.index(fewest)


def _fewest(open_units: list[int], count: int) -> _Counts:
    """The fewest places that together hold ``count``, and how much each gives.

    The emptiest ones whole, until one of the others can hold all the rest: of those the one left with the least.
    """
    order = sorted(range(len(open_units)), key=open_units.__getitem__, reverse=True)  # equals: lowest number first
    parts: _Counts = []
    for place in order:
        whole = open_units[place]
        if whole >= count:
            break
        parts.append((place, whole))
        count -= whole
    last = order[len(parts)]
    for place in order[len(parts) + 1 :]:
        if open_units[place] < count:
            break
        if open_units[place] < open_units[last]:
            last = place
    parts.append((last, count))
    return parts


@lru_cache(maxsize=2**14)  # jobs ask for the same few patterns again and again
def _ones_from(begin: int, bits: int) -> Units:
    """The places of the ones, ascending, counted from ``begin``."""
    octets = np.frombuffer(bits.to_bytes((bits.bit_length() + 7) // 8, "little"), np.uint8)
    ones: Units = np.unpackbits(octets, bitorder="little").nonzero()[0] + begin
    ones.setflags(write=False)
    return ones


@lru_cache(maxsize=2**14)
def _lowest_bits(bits: int, count: int, width: int) -> int:
    """The ``count`` lowest of the ones among ``width`` bits, by bisection of where to cut."""
    low, high = count, width
    while low < high:
        middle = (low + high) // 2
        if (bits & ((1 << middle) - 1)).bit_count() < count:
            low = middle + 1
        else:
            high = middle
    return bits & ((1 << low) - 1)


def _beyond_least(touched: int, units: int, each: int, places: int) -> float:
    """Where ``touched`` lies between the fewest and the most places of ``each`` units that ``units`` can touch."""
    least, most = -(-units // each), min(units, places)
    return (touched - least) / (most - least) if most > least else 0.0


def _some(units: Units) -> str:
    shown = ", ".join(map(str, units[:8].tolist()))
    return f"{shown} and {units.size - 8} more" if units.size > 8 else shown
