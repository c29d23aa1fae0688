"""Jobs by how many nodes they ask for, and how long those of each class waited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hpcsim.results.run import Run
from hpcsim.workload.describe import size_classes

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MOST_CLASSES = 7


@dataclass(frozen=True, slots=True)
class SizeClass:
    """Jobs of ``first`` to ``last`` nodes."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """Such as ``10 to 99 nodes``."""
        nodes = f"{self.first:,}" if self.first == self.last else f"{self.first:,} to {self.last:,}"
        return f"{nodes} node{'' if self.last == 1 else 's'}"

    def rows(self, nodes_J: Floats) -> Bools:
        """Which of J jobs, that ask for so many nodes, are of it."""
        rows: Bools = (nodes_J >= self.first) & (nodes_J <= self.last)
        return rows


class Started:
    """The jobs of a run that its summary's waits are of: measured, not rejected, and started."""

    def __init__(self, run: Run) -> None:
        jobs = run.tables["jobs"]
        counted = pc.and_(jobs.column("measured"), pc.not_equal(jobs.column("state").cast(pa.string()), "rejected"))
        jobs = jobs.filter(pc.and_(counted, jobs.column("wait_s").is_valid()))
        self.nodes, self.wait_s, self.bounded_slowdown, self.runtime_s = (
            jobs.column(name).to_numpy().astype(np.float64)
            for name in ("nodes", "wait_s", "bounded_slowdown", "runtime_s")
        )
        self.machine_nodes = int(run.manifest["machine"]["nodes"])


def classes_of(machine_nodes: int, nodes: Sequence[Floats]) -> list[SizeClass]:
    """The size classes of a machine that have jobs, neighbours joined if these are many.

    ``nodes`` are what the jobs of each run ask for.
    """
    found = [SizeClass(*ends) for ends in size_classes(machine_nodes)]
    found = [size for size in found if any(size.rows(each).any() for each in nodes)]
    joined = -(-len(found) // _MOST_CLASSES) or 1
    groups = [found[at : at + joined] for at in range(0, len(found), joined)]
    return [SizeClass(group[0].first, group[-1].last) for group in groups]
