"""Whether the world is still the one that a twin has learned: its scores against those of its training.

A score says how central an outcome lay in what was predicted, from 0 to 1. While nothing has changed the last scores
look like those of the jobs that the training was checked by; the Kolmogorov-Smirnov distance of the two says how
unlike they are, and with which probability chance alone would make them so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy.special import kolmogorov

LAST: Final = 200
"""Of how many of the last outcomes it is."""

SURE: Final = 1e-4
"""How improbable chance must be before a drift is told of: it is looked for often."""


class Drift(NamedTuple):
    """The greatest distance of the two distribution functions, and the probability that chance alone explains it."""

    distance: float
    chance: float


def drift(scores: Sequence[float], reference: Sequence[float]) -> Drift:
    """How far the last scores are from those of reference (Kolmogorov-Smirnov, two samples, asymptotic)."""
    last, known = np.sort(scores[-LAST:]), np.sort(reference)
    if not last.size or not known.size:
        return Drift(0.0, 1.0)
    both = np.concatenate([last, known])
    below = [np.searchsorted(each, both, side="right") / each.size for each in (last, known)]
    distance = float(np.abs(below[0] - below[1]).max())
    size = last.size * known.size / (last.size + known.size)
    return Drift(distance, float(kolmogorov(np.sqrt(size) * distance)))
