"""Which nodes are safest: the places of a job by the twin of faults."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_FACTOR = 4.0  # units whose risks differ by less are as good as each other


def safest(free_U: npt.NDArray[np.int64], risk_U: npt.NDArray[np.float64], units: int) -> tuple[int, ...]:
    """So many of the free units: those of the least risk first, in steps of a factor of 4, and packed within a step."""
    step = np.floor(np.log(np.maximum(risk_U[free_U], 1e-9)) / np.log(_FACTOR))
    return tuple(np.sort(free_U[np.lexsort((free_U, step))[:units]]).tolist())
