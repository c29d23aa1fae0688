"""Probabilities that hold what they say: log odds are stretched and moved as the last known outcomes would have it.

References
----------
Platt (1999), Probabilistic outputs for support vector machines and comparisons to regularized likelihood methods.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

WINDOW: Final = 1000
"""Of how many of the last outcomes the scaling is."""

_STEPS: Final = 25
_CLOSE: Final = 1e-9
_HELD: Final = np.array([4.0, 0.25])  # how firmly the slope is held at 1 and the shift at 0, as if by so many outcomes
_MOST: Final = 30.0


class Scaling(NamedTuple):
    """Log odds z become slope * z + shift."""

    slope: float = 1.0
    shift: float = 0.0

    def __call__(self, odds: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        scaled: npt.NDArray[np.float64] = self.slope * odds.astype(np.float64) + self.shift
        return scaled


def fitted(odds: npt.NDArray[Any], happened: npt.NDArray[np.bool_]) -> Scaling:
    """The scaling under which what happened was likeliest, by J log odds; with few of them, near to none at all."""
    z = np.stack([np.clip(odds, -_MOST, _MOST).astype(np.float64), np.ones(len(odds))])
    held_at = np.array([1.0, 0.0])
    at = held_at.copy()
    for _ in range(_STEPS):
        p = 0.5 * np.tanh(0.5 * (at @ z)) + 0.5
        slope = z @ (p - happened) + _HELD * (at - held_at)
        curve = (z * (p * (1 - p))) @ z.T + np.diag(_HELD)
        step = np.linalg.solve(curve, slope)
        step *= min(1.0, 2.0 / max(float(np.abs(step).max()), _CLOSE))
        at = at - step
        if np.abs(step).max() < _CLOSE:
            break
    return Scaling(max(float(at[0]), 0.0), float(at[1]))
