"""What AIMS keeps of its choices, so that people can ask later why."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from .choosing import Worth
from .network import Floats32, State
from .shape import CLOCKS, MODES, OBJECTIVES, OF_JOB, PLACES, REST

_MOST_KEPT: Final = 512
_AT_ONCE: Final = 128
_FITS: Final = OF_JOB.index("fits")
_STARTS: Final = [f"start {CLOCKS[clock]}" + (f", {PLACES[place]}" if place else "") for clock, place in MODES]


class Choice(NamedTuple):
    """What a network is asked about: a state at second ``now``, names of jobs, weights, and what the rule would do."""

    now: int
    jobs: list[str]
    state: State
    weights: npt.NDArray[np.float64]
    usual: int | None


class Journal:
    """Of each choice the chosen action and the ``most`` best others, a row each; and the weights, hour by hour.

    Where the rule has chosen whatever the network says, that can be asked later, of many at a time: such choices are
    kept until they are ``_MOST_KEPT``. Which are asked together decides the last bits, so nothing else brings it about.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._choices = 0
        self._kept: list[Choice] = []
        self._plain: list[tuple[int, int, str, str, bool]] = []  # second, choice, job, action, whether it was chosen
        self._numbers: list[npt.NDArray[np.float64]] = []

    def keep(self, choice: Choice) -> None:
        """A choice as the rule has made it."""
        if self._most:
            self._kept.append(choice)

    @property
    def is_full(self) -> bool:
        """Whether no more choices should be kept."""
        return len(self._kept) >= _MOST_KEPT

    def catch_up(self, asked: Callable[[Sequence[Choice]], Sequence[tuple[Floats32, Worth]]]) -> None:
        """Note the choices that were kept, by what the network says of some of them at a time when ``asked``."""
        kept, self._kept = self._kept, []
        for begin in range(0, len(kept), _AT_ONCE):
            some = kept[begin : begin + _AT_ONCE]
            for choice, (q_AHO, worth) in zip(some, asked(some), strict=True):
                self.note(choice, q_AHO, worth, cast("int", choice.usual))

    def note(self, choice: Choice, q_AHO: Floats32, worth: Worth, chosen: int) -> None:
        """A choice, and what was chosen."""
        if not self._most:
            return
        now, jobs, fits = choice.now, choice.jobs, choice.state.job_JF[:, _FITS] > 0
        less_A = -worth.mean_A
        others = less_A.argsort(kind="stable")[: self._most + 1].tolist()
        listed = [chosen, *(each for each in others if each != chosen and less_A[each] < np.inf)][: self._most + 1]
        for action in listed:
            place, mode = divmod(action, len(MODES))
            if place < len(jobs):
                job, told = jobs[place], _STARTS[mode] if fits[place] else "keep nodes for it"
            else:
                job, told = "", "start nothing more; " + REST[action - len(jobs) * len(MODES)]
            self._plain.append((now, self._choices, job, told, action == chosen))
        numbers = np.empty((len(listed), 2 + 2 * len(OBJECTIVES)))
        numbers[:, 0], numbers[:, 1] = worth.mean_A[listed], worth.deviation_A[listed]
        numbers[:, 2 : -len(OBJECTIVES)] = q_AHO[listed].mean(1)
        numbers[:, -len(OBJECTIVES) :] = worth.weights_AO[listed]
        self._numbers.append(numbers)
        self._choices += 1

    def __deepcopy__(self, memo: object) -> Journal:
        twin = copy.copy(self)
        for name in ("_kept", "_plain", "_numbers"):  # what is in them is never changed
            setattr(twin, name, getattr(self, name).copy())
        return twin

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
