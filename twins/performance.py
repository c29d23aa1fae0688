"""How long jobs will run, without learning: walltime, last-two."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Literal, NamedTuple

import numpy as np

from hpcsim.plugin import Ended, Job, Prediction, View

UNIFORM = 1 / 3
"""Mean square distance from the walltime, in walltimes, of a runtime of which only that limit is known."""


class Walltime:
    """What the user asked for: jobs run as long as they may.

    The walltime is a limit, and all that is known below it is nothing: the epistemic deviation is the root mean square
    distance from it of a runtime that may lie anywhere below, walltime / √3.
    """

    name = "walltime"
    api = 1
    answers: Literal["performance"] = "performance"

    def performance(self, jobs: Sequence[Job], view: View) -> Prediction:
        walltime_J = np.array([job.walltime for job in jobs], np.float64)
        return Prediction(walltime_J, np.zeros(len(jobs)), walltime_J * sqrt(UNIFORM))


class Seen(NamedTuple):
    """What has been seen of a user's jobs: the runtimes of the last two, seconds, and how far predictions were off.

    ``square`` is the sum of the squares of ``errors`` errors, each in walltimes of its job.
    """

    last: tuple[int, ...] = ()
    errors: int = 0
    square: float = 0.0


class LastTwo:
    """The mean runtime of the last two jobs of the same user that ended, at most the walltime.

    A user of whom no job has ended, or who is not known by name, gets the answer of ``walltime``. Only jobs whose
    program ended or met its limit count: killed ones, and those that lost a node, say nothing of how long they run.

    The aleatoric deviation is the root mean square of how far the predictions for the user were off, relative to the
    walltimes: as if, before the first, one had been off like those of all users on average. The epistemic one is the
    part of it that the mean of so few jobs has, by the root of their number.

    References
    ----------
    Tsafrir, Etsion and Feitelson (2007), Backfilling using system-generated predictions rather than user runtime
    estimates.
    """

    name = "last-two"
    api = 1
    cites = ("Tsafrir2007",)
    answers: Literal["performance"] = "performance"

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}
        self._all = Seen()

    def performance(self, jobs: Sequence[Job], view: View) -> Prediction:
        walltime_J = np.array([job.walltime for job in jobs], np.float64)
        seen = [self._seen.get(job.user) for job in jobs]
        known_J = np.array([user is not None for user in seen])
        runtime_J = np.array([sum(user.last) / len(user.last) if user else np.inf for user in seen])
        variance_J = np.array([self._variance(user) if user else UNIFORM for user in seen])
        jobs_J = np.array([len(user.last) if user else 1 for user in seen])
        deviation_J = walltime_J * np.sqrt(variance_J)
        return Prediction(
            np.minimum(runtime_J, walltime_J),
            np.where(known_J, deviation_J, 0.0),
            deviation_J / np.sqrt(jobs_J),
        )

    def ended(self, end: Ended) -> None:
        """Learn from a job that has ended."""
        job = end.job
        if not job.user or end.state not in ("completed", "failed", "timeout"):
            return
        seen = self._seen.get(job.user, Seen())
        if seen.last:
            predicted = min(sum(seen.last) / len(seen.last), job.walltime)
            square = ((end.runtime_s - predicted) / job.walltime) ** 2
            self._all = Seen((), self._all.errors + 1, self._all.square + square)
            seen = Seen(seen.last, seen.errors + 1, seen.square + square)
        self._seen[job.user] = seen._replace(last=(*seen.last[-1:], end.runtime_s))

    def _variance(self, user: Seen) -> float:
        of_all = self._all.square / self._all.errors if self._all.errors else UNIFORM
        return (user.square + of_all) / (user.errors + 1)

    def __deepcopy__(self, memo: object) -> LastTwo:
        twin = LastTwo()
        twin._seen, twin._all = self._seen.copy(), self._all  # what has been seen of a user never changes
        return twin
