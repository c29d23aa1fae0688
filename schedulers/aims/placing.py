"""Which nodes are not to be risked, by the twin of faults.

Most units are about as safe as each other, and a job that is spread over more racks than it needs takes longer. So the
safe places of a job are those of the policy ``packed``, but for units that are far more likely to fail than most.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_FACTOR = 4.0  # times as likely to fail as the middle one of all units


def risky(risk_U: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which of all units are far more likely to fail than most."""
    return np.asarray(risk_U > _FACTOR * np.median(risk_U)) if risk_U.size else np.zeros(0, bool)
