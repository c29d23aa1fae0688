"""The weights of the objectives, which move towards what does worse than it should.

References
----------
The multiplicative update is that of Freund and Schapire (1997), A decision-theoretic generalization of on-line learning
and an application to boosting. The projection is that of Duchi, Shalev-Shwartz, Singer and Chandra (2008), Efficient
projections onto the l1-ball for learning in high dimensions.
"""

from __future__ import annotations

from math import exp
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BEGIN: Final = (0.35, 0.40, 0.25)
"""Weights of energy, performance and reliability to begin with."""

EVERY_S: Final = 3600
FLOOR: Final = 0.1
_RATE: Final = 0.05
_OVER_S: Final = 6 * 3600.0  # over which what was measured is averaged
_POWER_SHARE, _HOT_C, _STEP, _MOST = 0.8, 70.0, 0.01, 0.6  # what moves a weight at once


def projected(weights: Floats, floor: float = FLOOR) -> Floats:
    """The nearest weights that are at least ``floor`` and add up to 1."""
    free = 1.0 - floor * len(weights)
    above = np.sort(weights - floor)[::-1]
    over = (np.cumsum(above) - free) / np.arange(1, len(weights) + 1)
    last = int(np.flatnonzero(above > over)[-1])
    return np.asarray(np.maximum(weights - floor - over[last], 0.0) + floor)


class Objectives:
    """Three weights that are adapted once an hour of simulated time, and how they went: ``course``.

    What is measured of each objective in an hour is a rate that should be 1: energy, waiting and risk as multiples of
    what they were in training. The weight of one that is above grows, by exp(0.05) for twice as much at most.
    """

    def __init__(self, *, adapt: bool, begin: tuple[float, float, float] = BEGIN) -> None:
        self.weights = projected(np.array(begin)) if adapt else np.array(begin)
        self.course: list[tuple[int, float, float, float]] = []
        self._adapt = adapt
        self._since: int | None = None
        self._mean = np.ones(3)

    def follow(self, now: int, measured: Floats, power_share: float, hottest_c: float) -> None:
        """Adapt the weights by what was ``measured`` since the last hour, if one is over."""
        if self._since is None:
            self._since = now
            self.course.append((now, *self.weights.tolist()))
        spent_s = now - self._since
        if not self._adapt or spent_s < EVERY_S:
            return
        self._since = now
        fade = exp(-spent_s / _OVER_S)
        self._mean = fade * self._mean + (1.0 - fade) * measured
        weights = self.weights * np.exp(_RATE * np.clip(self._mean - 1.0, -1.0, 1.0))
        weights = projected(weights / weights.sum())
        for place, urgent in ((0, power_share > _POWER_SHARE), (2, hottest_c > _HOT_C)):
            if urgent and weights[place] + _STEP <= _MOST:
                weights[place] += _STEP
                weights = projected(weights / weights.sum())
        self.weights = weights
        self.course.append((now, *weights.tolist()))
