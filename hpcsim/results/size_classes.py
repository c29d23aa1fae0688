"""Jobs by how many nodes they ask for, and how long those of each class waited."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_FROM = (1, 2, 10, 100, 1_000, 10_000)  # nodes, of each class the fewest


@dataclass(frozen=True, slots=True)
class SizeClass:
    """The measured jobs of a run that ask for ``least`` to ``most`` nodes (None: any more) and have started.

    ``wait_s`` rises; ``bounded_slowdown`` is of those that have ended.
    """

    least: int
    most: int | None
    wait_s: npt.NDArray[np.float64]
    bounded_slowdown: npt.NDArray[np.float64]
    node_hours: float

    @property
    def name(self) -> str:
        """Such as ``10-99 nodes``."""
        if self.most is None:
            return f"{self.least:,} nodes and more"
        return "1 node" if self.most == 1 else f"{self.least:,}-{self.most:,} nodes"


def size_classes(jobs: pa.Table) -> list[SizeClass]:
    """The classes that have jobs, from ``jobs.parquet``."""
    counted = pc.and_(jobs.column("measured"), pc.not_equal(jobs.column("state").cast(pa.string()), "rejected"))
    jobs = jobs.filter(pc.and_(counted, jobs.column("wait_s").is_valid()))
    nodes, wait_s, slowdown, runtime_s = (
        _floats(jobs, name) for name in ("nodes", "wait_s", "bounded_slowdown", "runtime_s")
    )
    number = np.searchsorted(_FROM, nodes, side="right") - 1
    found = []
    for which in np.unique(number).tolist():
        own = number == which
        ended = own & ~np.isnan(runtime_s)
        most = None if which == len(_FROM) - 1 else _FROM[which + 1] - 1
        hours = float((nodes * runtime_s)[ended].sum() / 3600)
        found.append(SizeClass(_FROM[which], most, np.sort(wait_s[own]), slowdown[ended], hours))
    return found


def _floats(table: pa.Table, column: str) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = table.column(column).to_numpy().astype(np.float64)
    return values
