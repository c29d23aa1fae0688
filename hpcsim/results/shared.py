"""What jobs that share nodes count for in the tables and figures of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hpcsim.engine.simulation import Simulation
from hpcsim.workload.job import Int64s, Workload

_PARTS = ("cores", "gpus", "memory_gib")


def parts_of_nodes(workload: Workload, job: Int64s) -> dict[str, pa.Array]:
    """The columns of a table that say what part of a node each of these jobs takes; none if no job shares a node."""
    if not workload.shares_nodes:
        return {}
    return {name: pa.array(workload.column(name)[job]) for name in _PARTS}


def nodes_of_jobs(simulation: Simulation) -> npt.NDArray[Any]:
    """The nodes that each job that was submitted counts for: of one that shares a node, its largest share."""
    nodes: npt.NDArray[Any] = simulation.workload.column("nodes")[: simulation.arrived]
    if simulation.sharing is None:
        return nodes
    return nodes * simulation.sharing.shares.largest_J[: nodes.size]


def busy_nodes(simulation: Simulation) -> tuple[Int64s, Int64s]:
    """How many nodes become busy when each attempt takes its own, and how many are free again when it ends.

    A shared node is busy from its first job to its last: it counts for the first of them, and for the last.
    """
    attempts, workload = simulation.attempts, simulation.workload
    job = attempts.job
    nodes: Int64s = workload.column("nodes")[job]
    came, went = nodes.copy(), nodes.copy()
    if simulation.sharing is None or simulation.site is None:
        return came, went
    end = attempts.end
    end = np.where(end < 0, np.iinfo(np.int64).max, end)
    taken = attempts.taken
    row = np.flatnonzero(workload.column("cores")[job] > 0)
    came[row] = went[row] = 0
    units_of = simulation.site.units
    unit = np.array([int(units_of[i][0]) for i in row.tolist()], np.int64)
    last: dict[int, int] = {}  # of each unit, the attempt that leaves it last so far
    for at in np.lexsort((row, taken[row], unit)).tolist():
        i, number = int(row[at]), int(unit[at])
        before = last.get(number)
        if before is None or taken[i] > end[before]:
            came[i] += 1
            if before is not None:
                went[before] += 1
            last[number] = i
        elif end[i] >= end[before]:
            last[number] = i
    for i in last.values():
        went[i] += 1
    return came, went


def parts_in_use(simulation: Simulation, units: int) -> tuple[Int64s, Int64s]:
    """What each attempt takes of its node, cores, GPUs and MiB, all 0 if whole nodes; and of each unit nothing yet."""
    workload, job = simulation.workload, simulation.attempts.job
    mib = np.rint(1024 * workload.column("memory_gib")).astype(np.int64)
    parts = np.stack([workload.column("cores"), workload.column("gpus"), mib], axis=1)[job]
    return parts, np.zeros((units, 3), np.int64)
