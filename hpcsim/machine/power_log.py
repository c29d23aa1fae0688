"""What every unit draws, and the log of how that and the supply have changed."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Units = npt.NDArray[np.int64]


class Changes(NamedTuple):
    """Changes of power in order of time: in ``second`` a node of ``unit`` came to draw so much more than before."""

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
    """The log from second ``begin_s`` on, of ``node_w_N`` and ``gpu_w_N`` as they are now, in blocks of ``n`` units.

    An item says that some units draw something else from a second on. ``seconds`` are those of the items, in order,
    ``size`` is the number of their units; ``supplies`` are the seconds and temperatures of the supply, the first of
    which is that of the beginning.
    """

    def __init__(self, node_w_N: Floats, gpu_w_N: Floats, *, n: int, begin_s: int, supply_c: float) -> None:
        self.node_w_N, self.gpu_w_N = node_w_N, gpu_w_N
        self.n = n
        self.restart(begin_s, supply_c)

    def restart(self, begin_s: int, supply_c: float) -> None:
        """Begin anew."""
        self.begin_s = begin_s
        self.supplies: list[tuple[int, float]] = [(begin_s, supply_c)]
        self.size = 0
        self.seconds: list[int] = []
        self._units: list[Units] = []
        self._node_w: list[float] = []
        self._gpu_w: list[float] = []
        self._node_was_w: list[Floats] = []
        self._gpu_was_w: list[Floats] = []
        self._joined: Changes | None = None  # all of it, if it was asked for since the last item

    def add(self, now: int, units: Units, node_w: float, gpu_w: float) -> None:
        """From ``now`` on, no earlier than before, a node of each of ``units``, no two alike, draws ``node_w``."""
        node_w_N, gpu_w_N = self.node_w_N, self.gpu_w_N
        self.seconds.append(now)
        self._units.append(units)
        self._node_w.append(node_w)
        self._gpu_w.append(gpu_w)
        self._node_was_w.append(node_w_N[units])
        self._gpu_was_w.append(gpu_w_N[units])
        node_w_N[units] = node_w
        gpu_w_N[units] = gpu_w
        self.size += units.size
        self._joined = None

    def supply_steps(self, first: int) -> list[tuple[int, float]]:
        """When, and by how much, the supply got warmer, from the ``first`` of ``supplies`` on."""
        log = self.supplies
        return [(log[i][0], log[i][1] - log[i - 1][1]) for i in range(first, len(log))]

    def changes(self, first: int) -> Changes:
        """The items from the ``first`` on, unit by unit."""
        if first == 0 and self._joined is not None:
            return self._joined
        units = self._units[first:]
        if not units:
            return Changes(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
        sizes = [each.size for each in units]
        changes = Changes(
            np.repeat(self.seconds[first:], sizes),
            np.concatenate(units),
            np.repeat(self._node_w[first:], sizes) - np.concatenate(self._node_was_w[first:]),
            np.repeat(self._gpu_w[first:], sizes) - np.concatenate(self._gpu_was_w[first:]),
        )
        if first == 0:
            self._joined = changes
        return changes

    def most_w(self) -> tuple[Floats, Floats]:
        """The most that nodes, and GPUs, have drawn since the beginning (``_N``)."""
        node_w, gpu_w = self.node_w_N.copy(), self.gpu_w_N.copy()
        if self._units:
            units = np.concatenate(self._units)
            np.maximum.at(node_w, units, np.concatenate(self._node_was_w))
            np.maximum.at(gpu_w, units, np.concatenate(self._gpu_was_w))
        return node_w, gpu_w

    def pieces(self, block: int, until: int) -> Pieces:
        """The log of a block, cut where something changed."""
        begin, end = block * self.n, (block + 1) * self.n
        changes = self.changes(0)
        mine = np.flatnonzero((changes.unit >= begin) & (changes.unit < end))
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
