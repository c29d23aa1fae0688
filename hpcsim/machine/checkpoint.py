"""Checkpoints: how often, what they cost, and what they save when a job fails.

A program computes for ``interval_s``, then writes a checkpoint for ``cost_s``, and so on; it writes none when it is
done. When it fails, what it did before its last finished checkpoint is kept.

References: Young (1974), A first order approximation to the optimum checkpoint interval; Daly (2006), A higher
order estimate of the optimum checkpoint interval for restart dumps.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TypeVar

import numpy as np
import numpy.typing as npt


def young_s(cost_s: float, mtbf_s: float) -> float:
    """Young's interval between checkpoints of ``cost_s``, for a mean time between failures of ``mtbf_s``."""
    return sqrt(2.0 * cost_s * mtbf_s)


def daly_s(cost_s: float, mtbf_s: float) -> float:
    """Daly's higher order interval; ``mtbf_s`` itself where a checkpoint costs twice that or more."""
    if cost_s >= 2.0 * mtbf_s:
        return mtbf_s
    share = cost_s / (2.0 * mtbf_s)
    return young_s(cost_s, mtbf_s) * (1.0 + sqrt(share) / 3.0 + share / 9.0) - cost_s


Seconds = TypeVar("Seconds", int, npt.NDArray[np.int64])


@dataclass(frozen=True, slots=True)
class Checkpointing:
    """A checkpoint of ``cost_s`` seconds (0 or more) after every ``interval_s`` seconds of work (1 or more).

    All seconds are whole and at one constant speed of the program; the results are exact.
    """

    interval_s: int
    cost_s: int

    @classmethod
    def young(cls, cost_s: int, mtbf_s: float) -> Checkpointing:
        """At Young's interval."""
        return cls(max(1, round(young_s(cost_s, mtbf_s))), cost_s)

    @classmethod
    def daly(cls, cost_s: int, mtbf_s: float) -> Checkpointing:
        """At Daly's interval."""
        return cls(max(1, round(daly_s(cost_s, mtbf_s))), cost_s)

    @property
    def slowdown(self) -> float:
        """Elapsed seconds for a second of work, in a run that is long and does not fail."""
        return (self.interval_s + self.cost_s) / self.interval_s

    def work_done(self, elapsed_s: int) -> int:
        """Seconds of work done ``elapsed_s`` seconds after the start."""
        whole, rest = divmod(elapsed_s, self.interval_s + self.cost_s)
        return whole * self.interval_s + min(rest, self.interval_s)

    def elapsed_for(self, work_s: Seconds) -> Seconds:
        """The fewest seconds after which ``work_s`` seconds of work, or so many of several jobs, are done."""
        pieces = -(-work_s // self.interval_s)
        checkpoints: Seconds = pieces - (pieces > 0)  # none when it is done
        return work_s + checkpoints * self.cost_s

    def saved(self, elapsed_s: int) -> int:
        """Seconds of work kept when the program fails ``elapsed_s`` seconds after the start."""
        return elapsed_s // (self.interval_s + self.cost_s) * self.interval_s
