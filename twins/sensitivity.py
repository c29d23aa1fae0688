"""How much longer jobs take on a lower clock, learned from the ends of those that ran on one.

A job of sensitivity β takes 1 + β (1/s - 1) times as long at speed s (Hsu and Feng 2005). What is seen of it is how
much longer a job ran than was expected of it, and that is mostly noise, whose size the runtime twin knows. So each
group of jobs has a normal belief about its β, which every end moves by as much as it says (an extended Kalman filter);
a group begins with what all others have taught. Jobs at full speed tell how much longer jobs run than expected anyway:
an expected mean, for one, is above what most jobs take.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Final, NamedTuple

_PRIOR_MEAN, _PRIOR_DEVIATION = 0.5, 12**-0.5  # of what may be anywhere from 0 to 1
_OTHERS: Final = 0.15  # standard deviation of the groups' own β around that of all (assumed)
_NOMINAL: Final = 0.999  # speeds above it are full
_OFF: Final = 0.5  # standard deviation of how far expectations are off, in ln seconds, before any end (assumed)


class Belief(NamedTuple):
    """Mean and standard deviation of a β."""

    mean: float
    deviation: float


def usually_longer(speed: float) -> float:
    """How many times as long jobs take at this speed if nothing has been learned of them.

    What is remembered of slow jobs is brought to full speed by this, and not by what has been learned: of one whose
    jobs all run slow nobody can tell sensitive from long, and each would confirm what is believed of the other.
    """
    return 1.0 if speed > _NOMINAL else 1.0 + _PRIOR_MEAN * (1.0 / speed - 1.0)


class Sensitivity:
    """What is believed of the β of groups of jobs."""

    def __init__(self) -> None:
        self._all = Belief(_PRIOR_MEAN, _PRIOR_DEVIATION)
        self._of: dict[Hashable, Belief] = {}
        self._off = Belief(0.0, _OFF)  # of how much longer than expected jobs run at full speed, in ln seconds

    def believed(self, group: Hashable) -> Belief:
        """The β of a group's jobs; of a group of which nothing is known that of all, less sure."""
        return self._of.get(group) or Belief(self._all.mean, math.hypot(self._all.deviation, _OTHERS))

    def learn(self, group: Hashable, speed: float, log_longer: float, deviation: float) -> None:
        """A job at this speed ran exp(``log_longer``) times as long as expected; ``deviation`` is the noise of that."""
        if speed > _NOMINAL:
            mean, spread = self._off
            gain = spread**2 / (spread**2 + deviation**2)
            self._off = Belief(mean + gain * (log_longer - mean), spread * math.sqrt(1.0 - gain))
            return
        log_longer, deviation = log_longer - self._off.mean, math.hypot(deviation, self._off.deviation)
        self._of[group] = _moved(self.believed(group), speed, log_longer, deviation)
        self._all = _moved(self._all, speed, log_longer, math.hypot(deviation, _OTHERS * (1.0 / speed - 1.0)))

    def copy(self) -> Sensitivity:
        """One that learns by itself."""
        twin = Sensitivity()
        twin._all, twin._of, twin._off = self._all, self._of.copy(), self._off
        return twin


def _moved(belief: Belief, speed: float, log_longer: float, deviation: float) -> Belief:
    stretch = 1.0 / speed - 1.0
    slope = stretch / (1.0 + belief.mean * stretch)
    variance = belief.deviation**2
    gain = variance * slope / (slope**2 * variance + deviation**2)
    mean = belief.mean + gain * (log_longer - math.log1p(belief.mean * stretch))
    return Belief(min(max(mean, 0.0), 1.0), math.sqrt(variance * (1.0 - gain * slope)))
