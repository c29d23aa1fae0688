"""What every unit draws, and the log of how that and the supply have changed."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Units = npt.NDArray[np.int64]


class Changes(NamedTuple):
    """Changes of power in order of time: in ``second`` a node of ``unit`` came to draw so much more than before.

    ``items`` of the log are in it.
    """

    items: int
    second: Units
    unit: Units
    node_w: Floats
    gpu_w: Floats


class Pieces(NamedTuple):
    """Pieces of time in which all powers of a block of n units, and its supply, are constant."""

    spans_s: Floats
    node_w: Floats  # pieces, n
    gpu_w: Floats
    supply_c: Floats


class PowerLog:
    """The log from second ``begin_s`` on of what all units draw, in blocks of ``n`` units, and of the supply.

    An item says that some units draw something else from a second on. ``seconds`` are those of the items, in order;
    ``supplies`` are the seconds and temperatures of the supply, the first of which is that of the beginning.
    """

    def __init__(self, node_w_N: Floats, gpu_w_N: Floats, *, n: int, begin_s: int, supply_c: float) -> None:
        self._node_w_N, self._gpu_w_N = node_w_N, gpu_w_N  # with so many of the items in them:
        self._seen = 0
        self.n = n
        self._begin(begin_s, supply_c)

    def restart(self, begin_s: int, supply_c: float) -> None:
        """Begin anew with what is drawn now."""
        self._catch_up()
        self._begin(begin_s, supply_c)

    def _begin(self, begin_s: int, supply_c: float) -> None:
        self.begin_s = begin_s
        self.supplies: list[tuple[int, float]] = [(begin_s, supply_c)]
        self.seconds: list[int] = []
        self._items: list[tuple[Units, float, float, float, float]] = []
        self._seen = 0
        self.forget_answers()

    def forget_answers(self) -> None:
        """Forget what was asked before."""
        self._most: tuple[int, tuple[Floats, Floats]] | None = None  # of how many items, and what ``most_w`` said
        self._joined: Changes | None = None  # all of it, as when it was asked for last
        self._by_block: tuple[Changes, Units, Units] | None = None  # the same, its order by block, where each begins

    @property
    def changed_s(self) -> int:
        """The second of the last change since the beginning, of a power or of the supply; -1 if there was none."""
        changed_s = self.supplies[-1][0] if len(self.supplies) > 1 else -1
        return max(changed_s, self.seconds[-1]) if self.seconds else changed_s

    def add(self, now: int, units: Units, node_w: float, gpu_w: float, node_was_w: float, gpu_was_w: float) -> None:
        """From ``now`` on, no earlier than before, a node of each of ``units`` draws that, and drew that before."""
        self.seconds.append(now)
        self._items.append((units, node_w, gpu_w, node_was_w, gpu_was_w))

    def _catch_up(self) -> None:
        items = self._items[self._seen :]
        if items:
            self._seen = len(self._items)
            units, node_w, gpu_w, _, _ = zip(*items, strict=True)
            sizes = [each.size for each in units]
            unit = np.concatenate(units)
            self._node_w_N[unit] = np.repeat(node_w, sizes)  # of several for one unit the last holds
            self._gpu_w_N[unit] = np.repeat(gpu_w, sizes)

    @property
    def node_w_N(self) -> Floats:
        """What a node of each unit draws now."""
        if self._seen < len(self._items):
            self._catch_up()
        return self._node_w_N

    @property
    def gpu_w_N(self) -> Floats:
        """What a GPU of each unit draws now."""
        if self._seen < len(self._items):
            self._catch_up()
        return self._gpu_w_N

    def supply_steps(self, first: int) -> list[tuple[int, float]]:
        """When, and by how much, the supply got warmer, from the ``first`` of ``supplies`` on."""
        log = self.supplies
        return [(log[i][0], log[i][1] - log[i - 1][1]) for i in range(first, len(log))]

    def changes(self, first: int) -> Changes:
        """The items from the ``first`` on, unit by unit."""
        if first == 0 and self._joined is not None and self._joined.items == len(self._items):
            return self._joined
        items = self._items[first:]
        if not items:
            return Changes(0, np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
        units, node_w, gpu_w, node_was_w, gpu_was_w = zip(*items, strict=True)
        sizes = [each.size for each in units]
        changes = Changes(
            len(items),
            np.repeat(self.seconds[first:], sizes),
            np.concatenate(units),
            np.repeat(np.subtract(node_w, node_was_w), sizes),
            np.repeat(np.subtract(gpu_w, gpu_was_w), sizes),
        )
        if first == 0:
            self._joined = changes
        return changes

    def most_w(self) -> tuple[Floats, Floats]:
        """The most that nodes, and GPUs, have drawn since the beginning (``_N``)."""
        if self._most is not None and self._most[0] == len(self._items):
            return self._most[1]
        node_w, gpu_w = self.node_w_N.copy(), self.gpu_w_N.copy()
        for units, _, _, node_was_w, gpu_was_w in self._items:
            node_w[units] = np.maximum(node_w[units], node_was_w)
            gpu_w[units] = np.maximum(gpu_w[units], gpu_was_w)
        self._most = len(self._items), (node_w, gpu_w)
        return node_w, gpu_w

    def pieces(self, block: int, until: int) -> Pieces:
        """The log of a block, cut where something changed."""
        begin, end = block * self.n, (block + 1) * self.n
        changes = self.changes(0)
        if self._by_block is None or self._by_block[0] is not changes:
            blocks = (changes.unit // self.n).astype(np.uint16 if self.node_w_N.size < 2**16 else np.uint32)
            order = np.argsort(blocks, kind="stable")
            self._by_block = changes, order, np.searchsorted(blocks[order], np.arange(self.node_w_N.size // self.n + 1))
        _, order, starts = self._by_block
        mine = order[starts[block] : starts[block + 1]]
        item_s, places = changes.second[mine], changes.unit[mine] - begin
        supply_s = np.array([second for second, _ in self.supplies])  # the first is the beginning of the log
        begins_s = np.unique(np.concatenate([item_s, supply_s]))
        piece = np.searchsorted(begins_s, item_s)

        def backwards(now_w: Floats, changes_w: Floats) -> Floats:
            """From what is drawn now, by taking the changes back."""
            steps_w = np.zeros((begins_s.size + 1, self.n))
            np.add.at(steps_w, (piece, places), changes_w)
            return np.asarray(now_w - steps_w[:0:-1].cumsum(axis=0)[::-1])

        supply_c = np.array([each_c for _, each_c in self.supplies])
        return Pieces(
            np.diff(begins_s, append=until).astype(np.float64),
            backwards(self.node_w_N[begin:end], changes.node_w[mine]),
            backwards(self.gpu_w_N[begin:end], changes.gpu_w[mine]),
            supply_c[np.searchsorted(supply_s, begins_s, side="right") - 1],
        )

    def __deepcopy__(self, memo: object) -> PowerLog:
        twin = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (np.ndarray, list)):
                setattr(twin, name, value.copy())
        return twin
