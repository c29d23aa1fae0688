"""The places of attempts and interrupts, in tables text such as ``0-13,20``: as numbers, all rows at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Spans:
    """Runs of adjacent units, in the order of the rows and then of the units: ``first`` to ``last``, both included."""

    row: Int64s
    first: Int64s
    last: Int64s

    def in_groups(self, size: int) -> Spans:
        """The same in groups of ``size`` adjacent units, of which each row has each at most once."""
        first, last = self.first // size, self.last // size
        if first.size:
            again = (self.row[1:] == self.row[:-1]) & (first[1:] == last[:-1])
            first[1:] += again
        kept = first <= last
        return Spans(self.row[kept], first[kept], last[kept])

    @property
    def count(self) -> int:
        """How many units that is over all rows."""
        return int((self.last - self.first + 1).sum())

    def each(self) -> tuple[Int64s, Int64s]:
        """The row and the number of every single unit."""
        count = self.last - self.first + 1
        before = np.cumsum(count) - count
        return np.repeat(self.row, count), np.arange(count.sum()) + np.repeat(self.first - before, count)


def spans_of(units: Any) -> Spans:
    """The runs of units of each row of a text column."""
    texts = units.combine_chunks() if isinstance(units, pa.ChunkedArray) else units
    runs = pc.split_pattern(texts, ",")
    ends = pc.split_pattern(pc.list_flatten(runs), "-")
    number = pc.cast(pc.list_flatten(ends), pa.int64()).to_numpy()
    count = pc.list_value_length(ends).to_numpy()
    last = np.cumsum(count)
    return Spans(pc.list_parent_indices(runs).to_numpy().astype(np.int64), number[last - count], number[last - 1])
