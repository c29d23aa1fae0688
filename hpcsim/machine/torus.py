"""Blue Gene/Q blocks: boxes of midplanes on a torus, the cables they need, and which of them exclude each other.

A midplane is a unit of 512 nodes, a 4x4x4x4x2 piece of the torus; the machine is a torus (A, B, C, D) of midplanes.
Midplanes are numbered in the order of their coordinates, D running fastest, so on Mira (2, 3, 4, 4) two consecutive
numbers are one rack. A job gets one block: a box, possibly across the end of a ring, of an existing size.

The wiring is a simple model. The k midplanes of a line along one dimension form a ring of k cables. In every line of
a box of length m in that dimension

- m = 1 uses no cable (the midplane closes the torus within itself);
- m = k uses all k cables;
- 1 < m < k as a torus uses all k cables as well: those beyond the box close its ring through the midplanes outside
  ("pass-through"), so no other block longer than one midplane can lie on that line; as a mesh it uses m - 1 cables.

Two blocks exclude each other if they share a midplane or a cable. Passing through a midplane that is down or busy
works. On Mira 1,024 and 32,768 nodes are meshes in one dimension, all other sizes are full tori (ALCF, 2019, Machine
Partitions on Mira/Cetus/Vesta). Under these rules the jobs of Mira's public log of 2020 never exclude each other,
but for two pairs that overlap by seconds; with every block a torus hundreds of pairs would.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

import numpy as np
import numpy.typing as npt

from hpcsim.errors import InputError

Units = npt.NDArray[np.int64]  # numbers of units, ascending
Box = tuple[int, int, int, int]  # coordinates or sides along A, B, C, D, in midplanes

MIRA: Box = (2, 3, 4, 4)
NODE_SIDE = 4  # nodes along A, B, C and D of one midplane
MIDPLANE_NODES = 512

# The boxes of each size, in midplanes, that jobs of Mira's public log of 2020 ran in. No job of 24 midplanes
# is in it: these two follow the pattern of 8, along the row of racks or across both halves of it.
_MIRA_BOXES: dict[int, tuple[Box, ...]] = {
    1: ((1, 1, 1, 1),),
    2: ((1, 1, 1, 2),),
    4: ((1, 1, 1, 4),),
    8: ((1, 1, 2, 4), (2, 1, 1, 4)),
    16: ((1, 1, 4, 4),),
    24: ((1, 3, 2, 4), (2, 3, 1, 4)),
    32: ((2, 1, 4, 4), (1, 2, 4, 4)),
    48: ((1, 3, 4, 4),),
    64: ((2, 2, 4, 4),),
    96: ((2, 3, 4, 4),),
}
_MIRA_MESHES = (2, 64)


@dataclass(frozen=True, slots=True, eq=False)
class BlockTable:
    """The B blocks of a torus, ascending by size, then in the order of ``boxes``, then by start corner.

    ``units``: the midplanes of each block. ``box_B4``: its sides. ``conflict_BB``: whether two blocks exclude each
    other (a block excludes itself); ``weight_BB`` is the same as 0.0 and 1.0, whose product with a column BLAS
    knows how to form fast. ``span``: size in midplanes -> the first block of that size and the one after the
    last. ``number``: the midplanes of a block (``tobytes`` of its row in ``units``) -> its number.
    """

    torus: Box
    units: tuple[Units, ...]
    box_B4: npt.NDArray[np.int64]
    member_BU: npt.NDArray[np.bool_]
    conflict_BB: npt.NDArray[np.bool_]
    weight_BB: npt.NDArray[np.float32]
    span: dict[int, tuple[int, int]]
    number: dict[bytes, int]

    def __deepcopy__(self, memo: object) -> BlockTable:
        return self  # nothing in it changes


def boxes(torus: Box, size: int) -> tuple[Box, ...]:
    """The sides of the blocks of ``size`` midplanes.

    Mira's are known. Elsewhere: the boxes that use the fewest rings partly, for these take the most cables.
    """
    if torus == MIRA and size in _MIRA_BOXES:
        return _MIRA_BOXES[size]
    along_a, along_b, along_c, along_d = (range(1, ring + 1) for ring in torus)
    fitting = [box for box in product(along_a, along_b, along_c, along_d) if prod(box) == size]
    if not fitting:
        raise InputError(f"found {size}, but no box of a torus {torus} has {size} midplanes")

    def partly(box: Box) -> int:
        return sum(1 < side < ring for side, ring in zip(box, torus, strict=True))

    fewest = min(map(partly, fitting))
    return tuple(box for box in fitting if partly(box) == fewest)


@lru_cache(maxsize=8)
def block_table(torus: Box, sizes: tuple[int, ...]) -> BlockTable:
    """All blocks of ``sizes`` midplanes at all positions; raises InputError for a size that no box has."""
    found: dict[bytes, int] = {}
    units: list[Units] = []
    sides: list[Box] = []
    cables: list[list[int]] = []
    span: dict[int, tuple[int, int]] = {}
    for size in sorted(set(sizes)):
        first = len(units)
        mesh = torus == MIRA and size in _MIRA_MESHES
        for box in boxes(torus, size):
            # A box as long as its ring is the same wherever it starts.
            starts = (range(ring if side < ring else 1) for side, ring in zip(box, torus, strict=True))
            for start in product(*starts):
                inside = np.array(sorted(_midplanes(torus, start, box)), np.int64)
                inside.flags.writeable = False
                found[inside.tobytes()] = len(units)
                units.append(inside)
                sides.append(box)
                cables.append(_cables(torus, start, box, mesh=mesh))
        span[size] = (first, len(units))
    midplanes = prod(torus)
    member_BU = np.zeros((len(units), midplanes), np.bool_)
    cable_BX = np.zeros((len(units), 4 * midplanes), np.bool_)
    for block, inside in enumerate(units):
        member_BU[block, inside] = True
        cable_BX[block, cables[block]] = True
    uses_BX = np.hstack([member_BU, cable_BX]).astype(np.float32)
    conflict_BB = (uses_BX @ uses_BX.T) > 0
    weight_BB = conflict_BB.astype(np.float32)
    return BlockTable(torus, tuple(units), np.array(sides, np.int64), member_BU, conflict_BB, weight_BB, span, found)


class TorusBlocks:
    """Which blocks run and which could: the blocks of ``sizes`` midplanes on a torus of (A, B, C, D) midplanes.

    A block is free if none of its midplanes is closed (down, asleep) and no running block excludes it.
    """

    def __init__(self, torus: Box, sizes: tuple[int, ...]) -> None:
        self.table: BlockTable = block_table(torus, sizes)
        self.running: list[int] = []  # blocks, in the order of their starts
        self._hindered_B = np.zeros(len(self.table.units), np.int64)  # running blocks against it, closed midplanes
        self.closed_U: npt.NDArray[np.bool_] = np.zeros(prod(torus), np.bool_)

    def free_blocks(self, size: int) -> Units:
        """The blocks of exactly ``size`` midplanes that could start now, ascending."""
        first, end = self.table.span[size]
        free: Units = first + (self._hindered_B[first:end] == 0).nonzero()[0]
        return free

    def is_free(self, block: int) -> bool:
        """Whether ``block`` could start now."""
        return not self._hindered_B[block]

    def block_of(self, units: Units) -> int:
        """The block of exactly these midplanes; raises ValueError if there is none or it is not free."""
        block = self.table.number.get(units.tobytes())
        if block is None:
            raise ValueError(f"midplanes {units.tolist()} are no block of the torus")
        if not self.is_free(block):
            raise ValueError(f"midplanes {units.tolist()}: one of them, or a cable that their block uses, is taken")
        return block

    def least_blocking(self, size: int) -> int:
        """The free block of ``size`` that excludes the fewest larger free blocks (the lowest number of equals).

        Raises ValueError if no block of that size is free. The rule is that of Cobalt, the scheduler of Mira, where
        "larger" are the parents of a block in its partition tree.
        """
        best = self.least_blocking_beside(size, -1)
        if best < 0:
            raise ValueError(f"no block of {size} midplanes is free")
        return best

    def least_blocking_beside(self, size: int, kept: int) -> int:
        """The same of those that do not exclude the block ``kept``, if that is one; -1 if no such block is free."""
        first, end = self.table.span[size]
        free_B = self._hindered_B[first:] == 0
        may_b = free_B[: end - first]
        if kept >= 0:
            may_b = may_b & ~self.table.conflict_BB[first:end, kept]
        if not may_b.any():
            return -1
        blocked = self.table.weight_BB[first:end, end:] @ free_B[end - first :].astype(np.float32)
        blocked[~may_b] = np.inf
        return first + int(blocked.argmin())

    @property
    def open_U(self) -> npt.NDArray[np.bool_]:
        """Whether no running block holds the midplane and it is not closed."""
        open_U = ~self.closed_U
        for block in self.running:
            open_U[self.table.units[block]] = False
        return open_U

    def __deepcopy__(self, memo: object) -> TorusBlocks:
        twin = copy.copy(self)
        twin.running = self.running.copy()
        twin._hindered_B = self._hindered_B.copy()
        twin.closed_U = self.closed_U.copy()
        return twin

    def start(self, block: int) -> None:
        """Run ``block``; raises ValueError if it is not free."""
        if not self.is_free(block):
            raise ValueError(f"block {block} is not free")
        self.running.append(block)
        self._hindered_B += self.table.conflict_BB[block]

    def end(self, block: int) -> None:
        """End ``block``; raises ValueError if it does not run."""
        self.running.remove(block)
        self._hindered_B -= self.table.conflict_BB[block]

    def close(self, unit: int, closed: bool = True) -> None:
        """No block with this midplane may start (one that runs goes on), or none is kept from it any longer."""
        if self.closed_U[unit] != closed:
            self.closed_U[unit] = closed
            self._hindered_B += self.table.member_BU[:, unit] if closed else -self.table.member_BU[:, unit].astype(int)


def _midplanes(torus: Box, start: tuple[int, ...], box: tuple[int, ...]) -> list[int]:
    """The numbers of the midplanes of a box that begins at ``start``, in the order of its own coordinates."""
    along = [
        [(first + step) % ring for step in range(side)] for first, side, ring in zip(start, box, torus, strict=True)
    ]
    return [_number(torus, at) for at in product(*along)]


def _number(torus: Box, at: tuple[int, ...]) -> int:
    a, b, c, d = at
    return ((a * torus[1] + b) * torus[2] + c) * torus[3] + d


def _cables(torus: Box, start: tuple[int, ...], box: Box, *, mesh: bool) -> list[int]:
    """The cables of a block. Cable ``dimension * U + u`` leads from midplane u to the next one in that dimension."""
    used: list[int] = []
    for dimension, (side, ring) in enumerate(zip(box, torus, strict=True)):
        if side == 1:
            continue
        length = side - 1 if mesh and side < ring else ring
        reach = (*box[:dimension], length, *box[dimension + 1 :])
        used += [dimension * prod(torus) + unit for unit in _midplanes(torus, start, reach)]
    return used


_CORNERS = re.compile(r"MIR-([0-9A-F]{4})0-([0-9A-F]{4})1(?:-([0-9]+))?-([0-9]+)")
_RACKS = re.compile(r"MIR-R([0-2])([0-9A-F])-R([0-2])([0-9A-F])-([0-9]+)")
_C_OF_RACK_PAIR = (0, 3, 1, 2)  # the ring C is folded along a row of racks


def block_of_name(name: str) -> Units | None:
    """The midplanes of a recorded block of Mira, such as ``MIR-00C80-33FF1-1-1024``; None if the name says none.

    The two groups of five hexadecimal digits are the first and the last node along A, B, C, D, E; a last before the
    first goes across the end of the ring. The last number is the count of nodes and must agree. The number between
    names dimensions with a bit each, A the highest: ``1`` and ``4`` (a mesh in D, in B) change nothing here; the
    older form ``0100`` says that in B only the two ends belong to the block and what lies between is passed through.

    ``MIR-R24-R27-4096`` names racks, by row and column: a row is one B, a half of it one A, and a pair of racks one C,
    of which the first has D = 0, 1 and the second D = 2, 3 (S. Di et al., 2017, LogAider, with Mira's reservations).
    """
    if found := _CORNERS.fullmatch(name):
        first, last, flag, nodes = found.groups()
        units = _between(_digits(first), _digits(last), flag or "")
    elif found := _RACKS.fullmatch(name):
        row, column, last_row, last_column, nodes = found.groups()
        racks = range(int(row + column, 16), int(last_row + last_column, 16) + 1)
        units = [unit for rack in racks for unit in _rack(rack)]
    else:
        return None
    if not units or len(units) * MIDPLANE_NODES != int(nodes):
        return None
    return np.array(sorted(units), np.int64)


def _digits(corner: str) -> tuple[int, ...]:
    return tuple(int(digit, 16) for digit in corner)


def _between(first: tuple[int, ...], last: tuple[int, ...], flag: str) -> list[int]:
    """The midplanes from the node ``first`` to the node ``last``; none where these are no corners of midplanes."""
    start: list[int] = []
    box: list[int] = []
    for dimension, (low, high, ring) in enumerate(zip(first, last, MIRA, strict=True)):
        if low % NODE_SIDE or (high + 1) % NODE_SIDE or max(low, high) >= ring * NODE_SIDE:
            return []
        begin, end = low // NODE_SIDE, high // NODE_SIDE
        if len(flag) == len(MIRA) and flag[dimension] == "1":
            begin, end = end, begin  # the two ends are neighbours across the end of the ring
        start.append(begin)
        box.append((end - begin) % ring + 1)
    return _midplanes(MIRA, tuple(start), tuple(box))


def _rack(rack: int) -> tuple[int, int]:
    """The two midplanes of a rack by its name, read as a hexadecimal number: 0x1D is rack R1D."""
    row, column = divmod(rack, 16)
    half, column = divmod(column, 8)
    first = _number(MIRA, (half, row, _C_OF_RACK_PAIR[column // 2], column % 2 * 2))
    return first, first + 1
