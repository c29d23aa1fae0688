"""A rule for GreenDRL's slots, which its network imitates before it learns: run what the green power carries.

It is what an operator would write down: by day as many nodes as the sun carries beyond what is drawn, or all while the
grid is about as green as it becomes; nothing else, unless so much is held back that it could not be done in time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from hpcsim.schedulers.greendrl.network import LEVELS
from hpcsim.schedulers.greendrl.observing import FEATURES

Floats32 = npt.NDArray[np.float32]

FULL: Final = LEVELS - 1
_PLACE: Final = {name: number for number, name in enumerate(FEATURES)}
_HELD: Final = [_PLACE[f"held work, slack {k}"] for k in range(8)]
_AHEAD: Final = [
    _PLACE[name] for name in (*(f"green in slot {k + 1}" for k in range(24)), "green in span 1", "green in span 2")
]
_MOST_HELD_H: Final = 4.0
"""Hours that the whole machine would take, by walltimes, for what is held back and waits: more is let go."""

_CLOSE: Final = 0.02
"""The grid is green enough when it is so far, or less, from the greenest of the next twelve hours."""


def by_rule(numbers_F: Floats32) -> tuple[int, int]:
    """The load level, and the warmest mode of cooling."""
    warmest = 2
    held_h = float(_hours(numbers_F[_HELD]).sum()) + float(_hours(numbers_F[[_PLACE["waiting work"]]]).sum())
    if held_h > _MOST_HELD_H:
        return FULL, warmest
    if numbers_F[_PLACE["sun"]] < 0.5:
        green = numbers_F[_PLACE["green now"]] >= numbers_F[_AHEAD].max() - _CLOSE
        return (FULL if green else 0), warmest
    surplus, startable = float(numbers_F[_PLACE["surplus"]]), float(_hours(numbers_F[[_PLACE["startable"]]])[0])
    if surplus <= 0.0:
        return 0, warmest
    return int(min(FULL, np.ceil(FULL * surplus / max(startable, 1e-6)))), warmest


def _hours(squeezed: Floats32) -> Floats32:
    """What was squeezed to less than 2, as it was."""
    whole: Floats32 = squeezed / np.maximum(2.0 - squeezed, 1e-3)
    return whole
