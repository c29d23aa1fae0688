"""What sensors say, as those who are given it know it: plain columns, without the machine that they are of."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Units = npt.NDArray[np.int64]

STATES: Final = ("busy", "idle", "asleep", "waking", "down")
"""What a unit does, by the names of ``Meter.nodes_in``: one on its way to sleep is waking, too."""

LONGEST_INTERVAL_S: Final = 86_400  # far below what ``FailureProcess.corrected_errors`` looks back on


class Readings(NamedTuple):
    """Some samples, one after another: R rows, one for each sampled unit, ascending. None where there is no sensor.

    ``state`` is a place in ``STATES``; ``job`` the id of the job on the unit, -1 without one or where jobs share
    it; ``node_w`` wall watts of one node of the unit; utilisations are the job's, in [0, 1], of a shared node those of
    its jobs by what they have of it; ``corrected_errors`` came since the sample before.
    """

    time_s: npt.NDArray[np.int64]
    unit: Units
    state: npt.NDArray[np.int8]
    job: npt.NDArray[np.int64]
    node_c: Floats | None
    gpu_c: Floats | None
    node_w: Floats
    cpu_util: Floats
    gpu_util: Floats | None
    corrected_errors: npt.NDArray[np.int64] | None
