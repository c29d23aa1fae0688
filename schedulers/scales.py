"""How times are shown to a network: on a logarithmic scale, between 0 and 1."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

TIME_UNIT_S: Final = 10.0  # the bound of the bounded slowdown: shorter times differ little
LONGEST_S: Final = 30 * 86_400.0

_OF_LONGEST = 1.0 / np.log1p(LONGEST_S / TIME_UNIT_S)


def scaled(seconds: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Times of 0 or more: 0 s is 0.0, a minute 0.16, an hour 0.47, a day 0.73, 30 days and more 1.0."""
    shares: npt.NDArray[np.float64] = np.minimum(np.log1p(seconds * (1.0 / TIME_UNIT_S)) * _OF_LONGEST, 1.0)
    return shares
