"""What AIMS keeps of its choices, so that people can ask later why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Job

from .choosing import Worth
from .network import Floats32
from .shape import CLOCKS, MODES, OBJECTIVES, PLACES, REST

_STARTS = [f"start {CLOCKS[clock]}" + (f", {PLACES[place]}" if place else "") for clock, place in MODES]


class Journal:
    """Of each choice the chosen action and the ``most`` best others, a row each; and the weights, hour by hour."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._choices = 0
        self._plain: list[tuple[int, int, str, str, bool]] = []  # second, choice, job, action, whether it was chosen
        self._numbers: list[npt.NDArray[np.float64]] = []

    def note(
        self, now: int, jobs: Sequence[Job], fits: npt.NDArray[np.bool_], q_AHO: Floats32, worth: Worth, chosen: int
    ) -> None:
        """A choice: ``fits`` says which jobs would start, and not have nodes kept for them."""
        if not self._most:
            return
        less_A = -worth.mean_A
        others = less_A.argsort(kind="stable")[: self._most + 1].tolist()
        listed = [chosen, *(each for each in others if each != chosen and less_A[each] < np.inf)][: self._most + 1]
        for action in listed:
            place, mode = divmod(action, len(MODES))
            if place < len(jobs):
                job, told = jobs[place].name, _STARTS[mode] if fits[place] else "keep nodes for it"
            else:
                job, told = "", "start nothing more; " + REST[action - len(jobs) * len(MODES)]
            self._plain.append((now, self._choices, job, told, action == chosen))
        numbers = np.empty((len(listed), 2 + 2 * len(OBJECTIVES)))
        numbers[:, 0], numbers[:, 1] = worth.mean_A[listed], worth.deviation_A[listed]
        numbers[:, 2 : -len(OBJECTIVES)] = q_AHO[listed].mean(1)
        numbers[:, -len(OBJECTIVES) :] = worth.weights_AO[listed]
        self._numbers.append(numbers)
        self._choices += 1

    def tables(self, course: Sequence[tuple[int, float, float, float]]) -> dict[str, dict[str, Any]]:
        """Two tables, as columns: ``choices`` and ``weights``, of which ``course`` has the rows."""
        tables: dict[str, dict[str, Any]] = {}
        if self._plain:
            plain = zip(*self._plain, strict=True)
            numbers = np.concatenate(self._numbers).T
            told = ("worth", "deviation", *OBJECTIVES, *(f"weight_{name}" for name in OBJECTIVES))
            tables["choices"] = dict(zip(("time_s", "choice", "job_id", "action", "chosen"), plain, strict=True))
            tables["choices"] |= dict(zip(told, numbers, strict=True))
        if course:
            tables["weights"] = dict(zip(("time_s", *OBJECTIVES), zip(*course, strict=True), strict=True))
        return tables
