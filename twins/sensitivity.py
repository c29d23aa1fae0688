"""How much longer jobs take on a lower clock, learned from the ends of those that ran on one.

A job of sensitivity β takes 1 + β (1/s - 1) times as long at speed s (Hsu and Feng 2005). What is seen of it is how
much longer a job ran than was expected of it, and that is mostly noise, whose size the runtime twin knows. So each
group of jobs has a normal belief about its β, which every end moves by as much as it says (an extended Kalman filter);
a group begins with what all others have taught.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Final, NamedTuple

_PRIOR_MEAN, _PRIOR_DEVIATION = 0.5, 12**-0.5  # of what may be anywhere from 0 to 1
_OTHERS: Final = 0.15  # standard deviation of the groups' own β around that of all (assumed)
_NOMINAL: Final = 0.999  # speeds above it say nothing


class Belief(NamedTuple):
    """Mean and standard deviation of a β."""

    mean: float
    deviation: float


class Sensitivity:
    """What is believed of the β of groups of jobs."""

    def __init__(self) -> None:
        self._all = Belief(_PRIOR_MEAN, _PRIOR_DEVIATION)
        self._of: dict[Hashable, Belief] = {}

    def believed(self, group: Hashable) -> Belief:
        """The β of a group's jobs; of a group of which nothing is known that of all, less sure."""
        return self._of.get(group) or Belief(self._all.mean, math.hypot(self._all.deviation, _OTHERS))

    def learn(self, group: Hashable, speed: float, log_longer: float, deviation: float) -> None:
        """A job at this speed ran exp(``log_longer``) times as long as expected; ``deviation`` is the noise of that."""
        if speed > _NOMINAL:
            return
        self._of[group] = _moved(self.believed(group), speed, log_longer, deviation)
        self._all = _moved(self._all, speed, log_longer, math.hypot(deviation, _OTHERS * (1.0 / speed - 1.0)))

    def longer(self, group: Hashable, speed: float) -> float:
        """How many times as long the group's jobs take at this speed, as is believed."""
        return 1.0 if speed > _NOMINAL else 1.0 + self.believed(group).mean * (1.0 / speed - 1.0)

    def copy(self) -> Sensitivity:
        """One that learns by itself."""
        twin = Sensitivity()
        twin._all, twin._of = self._all, self._of.copy()
        return twin


def _moved(belief: Belief, speed: float, log_longer: float, deviation: float) -> Belief:
    stretch = 1.0 / speed - 1.0
    slope = stretch / (1.0 + belief.mean * stretch)
    variance = belief.deviation**2
    gain = variance * slope / (slope**2 * variance + deviation**2)
    mean = belief.mean + gain * (log_longer - math.log1p(belief.mean * stretch))
    return Belief(min(max(mean, 0.0), 1.0), math.sqrt(variance * (1.0 - gain * slope)))
