"""Where the jobs of a trace really ran, so that a replay can give them the same places again.

Only names of blocks can be read so far (``hpcsim.machine.torus.block_of_name``, Mira). A place is given again if it is
free: a replay under another scheduler is another history, in which somebody else may be there.
"""

from __future__ import annotations

import copy
from array import array

import numpy as np

from hpcsim.machine.torus import MIRA, BlockTable, TorusBlocks, Units, block_of_name
from hpcsim.workload.job import Workload


class RecordedPlaces:
    """The recorded block of each job of ``workload`` on the torus of ``table``, and how many starts got theirs.

    ``starts`` counts them: ``kept`` are starts in the recorded block, ``other`` in another one, ``none`` those of jobs
    whose place is not recorded, or is no block of this machine that is as large as the job.
    """

    def __init__(self, workload: Workload, table: BlockTable, unit_nodes: int) -> None:
        self._table = table
        self._block_J = array("q", _blocks(workload, table, unit_nodes).tobytes())
        self.starts: dict[str, int] = {"kept": 0, "other": 0, "none": 0}

    def __deepcopy__(self, memo: object) -> RecordedPlaces:
        twin = copy.copy(self)  # what jobs had does not change
        twin.starts = self.starts.copy()
        return twin

    @property
    def jobs(self) -> int:
        """Of how many jobs the block is known."""
        return len(self._block_J) - self._block_J.count(-1)

    def free(self, job_id: int, blocks: TorusBlocks) -> Units | None:
        """The units that the job had, if it could have them in ``blocks`` now."""
        block = self._block_J[job_id]
        return self._table.units[block] if block >= 0 and blocks.is_free(block) else None

    def is_taken(self, job_id: int, blocks: TorusBlocks) -> bool:
        """Whether the place that the job had is known, and not to be had in ``blocks`` now."""
        return self._block_J[job_id] >= 0 and self.free(job_id, blocks) is None

    def count(self, job_id: int, units: Units) -> None:
        """Count a start of the job on ``units``."""
        block = self._block_J[job_id]
        kept = block >= 0 and np.array_equal(self._table.units[block], units)
        self.starts["kept" if kept else "other" if block >= 0 else "none"] += 1


def _blocks(workload: Workload, table: BlockTable, unit_nodes: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The number of each job's recorded block, -1 where there is none of its size."""
    names = workload.table.column("recorded_place").combine_chunks()
    blocks = np.full(len(names.dictionary) + 1, -1)  # the last is of those without a name
    for at, name in enumerate(names.dictionary.to_pylist()):
        units = block_of_name(name)
        if units is not None and table.torus == MIRA:
            blocks[at] = table.number.get(units.tobytes(), -1)
    block_J: np.ndarray[tuple[int], np.dtype[np.int64]] = blocks[names.indices.fill_null(-1).to_numpy()]
    nodes = np.array([units.size for units in table.units]) * unit_nodes
    block_J[nodes[block_J] != workload.column("nodes")] = -1
    return block_J
