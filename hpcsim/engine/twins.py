"""Digital twins as schedulers ask them: one question for many jobs or units, one answer with its uncertainty.

A twin answers one of four questions, the one that its class attribute ``answers`` names, by the method of that name.
It sees what a scheduler sees, the ``View``, and is told of each job that has ended and of what sensors read; never what
has not happened yet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from hpcsim.errors import InputError, TwinError
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.view import View
    from hpcsim.machine.spec import MachineSpec

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

QUESTIONS: Final = ("performance", "energy", "fault", "thermal")
"""What twins can be asked, and the names of the methods that answer."""

BESIDES: Final = {
    "sensitivity": "performance",
    "power": "energy",
    "job_failure": "fault",
    "gpu_thermal": "thermal",
}
"""What a twin may answer besides its question, by a method of that name; here with that question."""

AT_MOST_1: Final = ("fault", "job_failure", "sensitivity")
"""What is answered with numbers from 0 to 1."""

CELSIUS: Final = ("thermal", "gpu_thermal")
"""What is answered with temperatures, which may be below 0."""


class Prediction(NamedTuple):
    """What a twin believes of J jobs or U units: three float64 arrays of that many values, in the question's unit.

    ``aleatoric`` is the standard deviation that would remain however much the twin had learned, ``epistemic`` the
    standard deviation that it owes to knowing too little.
    """

    mean: Float64s
    aleatoric: Float64s
    epistemic: Float64s


class Ended(NamedTuple):
    """A job that has ended for good at second ``now``, as its last attempt went.

    It ran ``runtime_s`` seconds. ``state`` is ``completed``, ``failed`` or ``timeout``, as its program ended, or
    ``killed`` or ``node_failed``. ``energy_j`` is what its nodes drew at the wall, joules; None on a machine that only
    counts nodes. ``speed`` is its mean speed relative to nominal over those seconds, caps and throttles included.
    """

    job: Job
    runtime_s: int
    state: str
    now: int
    energy_j: float | None
    speed: float = 1.0


class PerformanceTwin(Protocol):
    """How long jobs would run.

    It may also say how they feel a lower clock: ``sensitivity(self, jobs: Sequence[Job], view: View) -> Prediction``,
    of each of J jobs the β with which it takes 1 + β (1/s - 1) times as long at speed s, from 0 to 1.
    """

    name: str
    api: int
    answers: Literal["performance"]

    def performance(self, jobs: Sequence[Job], view: View) -> Prediction:
        """Seconds that each of J waiting jobs would run, if it started now on nodes at full speed."""
        ...


class EnergyTwin(Protocol):
    """How much energy jobs would take.

    It may also say what the machine will draw: ``power(self, horizons_s: Int64s, view: View) -> Prediction``, watts at
    the wall of all nodes together in each of H horizons.
    """

    name: str
    api: int
    answers: Literal["energy"]

    def energy(self, jobs: Sequence[Job], speeds: Float64s, view: View) -> Prediction:
        """Joules at the wall of its nodes that each of J jobs would take, at its speed relative to nominal.

        A job is there once for each speed at which it is asked about.
        """
        ...


class FaultTwin(Protocol):
    """How likely units fail.

    It may also say how likely programs fail: ``job_failure(self, jobs: Sequence[Job], view: View) -> Prediction``,
    the probability that each of J jobs ends as ``failed`` if it starts now.
    """

    name: str
    api: int
    answers: Literal["fault"]

    def fault(self, units: Int64s, horizon_s: int, view: View) -> Prediction:
        """Probability that each of U units goes out of service by itself within ``horizon_s`` seconds."""
        ...


class ThermalTwin(Protocol):
    """How warm units would become.

    It may also say how warm their GPUs would, on a machine that has some: ``gpu_thermal(self, units: Int64s,
    watts: Float64s, gpu_watts: Float64s, horizon_s: int, view: View) -> Prediction``, degrees Celsius of the hottest
    GPU of each of U units, if one node of it drew so many watts and that GPU so many of these; ``gpu_watts`` is NaN
    where nobody has said, and the twin has to find the GPUs' part itself.
    """

    name: str
    api: int
    answers: Literal["thermal"]

    def thermal(self, units: Int64s, watts: Float64s, horizon_s: int, view: View) -> Prediction:
        """Degrees Celsius of the nodes of each of U units in ``horizon_s`` seconds, if one node drew so many watts."""
        ...


Twin = PerformanceTwin | EnergyTwin | FaultTwin | ThermalTwin
"""What a twin plug-in is.

A method ``ended(self, end: Ended)``, where there is one, tells it of ends. With a class attribute ``senses_every_s``
and a method ``sensed(self, readings: Readings)`` it is told every so many seconds what the sensors of all units read.
A method ``report(self) -> Mapping[str, float | None]`` says when a run is over how it did; it stands in the summary.
"""


class Twins:
    """The twins of a simulation, to be asked during a pass: ``view.twins``.

    InputError for a question that no twin of the scenario answers, ValueError for one that is not well put, TwinError
    for an answer that is none; the run is void then.
    """

    __slots__ = ("_twins", "_view")

    def __init__(self, twins: Mapping[str, Any], view: View) -> None:
        self._twins = twins
        self._view = view

    def __contains__(self, question: str) -> bool:
        """Whether a twin answers ``question``, such as "energy" or "power", of this machine."""
        twin = self._twins.get(BESIDES.get(question, question))
        of_machine = question != "gpu_thermal" or gpus_get_warm(self._view.machine)
        return twin is not None and hasattr(twin, question) and of_machine

    def performance(self, jobs: Collection[Job]) -> Prediction:
        """Seconds that each of J waiting jobs would run, if it started now on nodes at full speed."""
        return self._asked("performance", len(jobs), list(jobs))

    def sensitivity(self, jobs: Collection[Job]) -> Prediction:
        """How each of J jobs feels a lower clock: β, from 0 to 1; at speed s it takes 1 + β (1/s - 1) times as long."""
        return self._asked("sensitivity", len(jobs), list(jobs))

    def energy(self, jobs: Collection[Job], speeds: npt.ArrayLike = 1.0) -> Prediction:
        """Joules at the wall of its nodes that each of J jobs would take, at J speeds (or one) in (0, 1].

        S speeds for each job, (S, J) or (S, 1), are answered with arrays of (S, J), at less cost than by S calls.
        """
        asked = np.asarray(speeds, np.float64)
        rows = len(asked) if asked.ndim == 2 and asked.shape[1] in (1, len(jobs)) else None
        speeds_SJ = _spread(asked, len(jobs), "speeds") if rows is None else np.broadcast_to(asked, (rows, len(jobs)))
        if not np.all((speeds_SJ > 0) & (speeds_SJ <= 1)):
            raise ValueError(f"view.twins.energy: speeds should be in (0, 1], found {speeds!r}")
        answer = self._asked("energy", speeds_SJ.size, list(jobs) * (rows or 1), speeds_SJ.flatten())
        return answer if rows is None else Prediction(*(each.reshape(speeds_SJ.shape) for each in answer))

    def power(self, horizons_s: Sequence[int]) -> Prediction:
        """Watts at the wall of all nodes together in each of H horizons, whole seconds from 1 on; without cooling."""
        horizons_H = np.array([_horizon(each, "power") for each in horizons_s], np.int64)
        return self._asked("power", len(horizons_H), horizons_H)

    def job_failure(self, jobs: Collection[Job]) -> Prediction:
        """Probability that the program of each of J jobs would fail by itself, if it was started now."""
        return self._asked("job_failure", len(jobs), list(jobs))

    def fault(self, units: npt.ArrayLike, horizon_s: int) -> Prediction:
        """Probability that each of U units goes out of service by itself within ``horizon_s`` (1 or more) seconds."""
        units_U = _units(units, "fault")
        return self._asked("fault", len(units_U), units_U, _horizon(horizon_s, "fault"))

    def thermal(self, units: npt.ArrayLike, watts: npt.ArrayLike, horizon_s: int) -> Prediction:
        """Degrees Celsius of the nodes of each of U units in ``horizon_s`` (1 or more) seconds.

        ``watts`` are those that one node of the unit would draw at the wall until then: U of them, or one for all.
        """
        units_U = _units(units, "thermal")
        watts_U = _spread(watts, len(units_U), "watts")
        return self._asked("thermal", len(units_U), units_U, watts_U, _horizon(horizon_s, "thermal"))

    def gpu_thermal(
        self, units: npt.ArrayLike, watts: npt.ArrayLike, horizon_s: int, gpu_watts: npt.ArrayLike = nan
    ) -> Prediction:
        """Degrees Celsius of the hottest GPU of each of U units in ``horizon_s`` (1 or more) seconds.

        ``watts`` as for ``thermal``; ``gpu_watts`` are those of them that the hottest GPU of the node draws: U of them,
        or one for all, NaN where they are not known. InputError where the machine has no GPUs.
        """
        machine = self._view.machine
        if not gpus_get_warm(machine):
            name = "a machine that only counts nodes" if machine is None else machine.name
            known = "ask view.twins.thermal of its nodes"
            raise InputError(f"view.twins.gpu_thermal: nothing is known of GPUs of {name} that get warm; {known}")
        units_U = _units(units, "gpu_thermal")
        watts_U, gpu_watts_U = (
            _spread(each, len(units_U), name) for each, name in ((watts, "watts"), (gpu_watts, "gpu_watts"))
        )
        wrong = (gpu_watts_U < 0.0) | (gpu_watts_U > watts_U)
        if wrong.any():
            found = f"{gpu_watts_U[wrong][0]:g} W of {watts_U[wrong][0]:g} W"
            raise ValueError(f"view.twins.gpu_thermal: gpu_watts should be a part of their node's watts, found {found}")
        return self._asked(
            "gpu_thermal", len(units_U), units_U, watts_U, gpu_watts_U, _horizon(horizon_s, "gpu_thermal")
        )

    def _asked(self, question: str, count: int, *about: Any) -> Prediction:
        kind = BESIDES.get(question, question)
        twin = self._twins.get(kind)
        if twin is None:
            raise InputError(f"view.twins.{question}: this scenario names no twin that answers it; set twins.{kind}")
        if not count:
            return Prediction(np.empty(0), np.empty(0), np.empty(0))
        if not hasattr(twin, question):
            raise InputError(f"view.twins.{question}: {twin.name}, the twin of {kind}, has no method {question}")
        try:
            answer = getattr(twin, question)(*about, self._view)
        except Exception as error:
            raise broken(twin, self._view.now, error) from error
        wrong = _fault_in(answer, question, count)
        if wrong:
            raise TwinError(f"t={self._view.now}: twin {twin.name} answered {question} of {count} with {wrong}")
        return Prediction(*answer)


def answered(twin: Any) -> tuple[str, ...]:
    """The question of a twin, or of its class, and what it answers besides."""
    question: str = twin.answers
    return question, *(each for each, kind in BESIDES.items() if kind == question and hasattr(twin, each))


def gpus_get_warm(machine: MachineSpec | None) -> bool:
    """Whether a machine has GPUs whose temperature is modelled."""
    return machine is not None and machine.thermal.gpu_k_per_w is not None


def broken(twin: Any, now: int, error: Exception) -> TwinError:
    """The error of a twin that raised one itself."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})" if trace else ""
    return TwinError(f"t={now}: twin {twin.name} raised {type(error).__name__}: {error}{where}")


def reports(twins: Mapping[str, Any], now: int) -> dict[str, dict[str, float | None]]:
    """What twins say at the end of how they did, by the question. TwinError for what is no mapping to numbers."""
    told = {}
    for question, twin in twins.items():
        if not hasattr(twin, "report"):
            continue
        try:
            told[question] = dict(twin.report())
        except Exception as error:
            raise broken(twin, now, error) from error
        for name, value in told[question].items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
            if not isinstance(name, str) or not (value is None or is_number):
                raise TwinError(f"t={now}: twin {twin.name} reports {name!r}: {value!r}, expected a number or None")
    return told


def _fault_in(answer: object, question: str, count: int) -> str | None:
    """What is wrong with an answer about ``count`` jobs or units, and what would be right; None if it is right."""
    if not isinstance(answer, tuple) or len(answer) != 3:
        return f"{type(answer).__name__}, not Prediction(mean, aleatoric, epistemic)"
    for name, values in zip(Prediction._fields, answer, strict=True):
        if not isinstance(values, np.ndarray) or values.dtype != np.float64 or values.shape != (count,):
            found = f"{values.dtype} of shape {values.shape}" if isinstance(values, np.ndarray) else repr(values)
            return f"{name} {found}, expected an array of {count} float64"
    of_all = np.array(answer)
    if of_all.min() >= 0 and of_all.max() < inf and (question not in AT_MOST_1 or answer[0].max() <= 1):
        return None
    for name, values, least, most in zip(
        Prediction._fields, of_all, of_all.min(1).tolist(), of_all.max(1).tolist(), strict=True
    ):
        if not (isfinite(least) and isfinite(most)):
            return f"{name} {values[~np.isfinite(values)][0]}, expected finite numbers"
        if name != "mean":
            if least < 0:
                return f"{name} {least}, but no standard deviation is below 0"
        elif question not in CELSIUS and least < 0:
            return f"mean {least}, expected 0 or more"
        elif question in AT_MOST_1 and most > 1:
            return f"mean {most}, expected 0 to 1"
    return None


def _spread(values: npt.ArrayLike, count: int, name: str) -> Float64s:
    array = np.asarray(values, np.float64)
    if array.shape not in ((), (count,)):
        raise ValueError(f"view.twins: {name} should be one number or {count} of them, found shape {array.shape}")
    return np.full(count, array) if array.shape == () else array


def _units(units: npt.ArrayLike, question: str) -> Int64s:
    array = np.asarray(units)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"view.twins.{question}: units should be a list of unit numbers, found {units!r}")
    return array.astype(np.int64)


def _horizon(horizon_s: int, question: str) -> int:
    if isinstance(horizon_s, bool) or not isinstance(horizon_s, int | np.integer) or horizon_s < 1:
        raise ValueError(f"view.twins.{question}: the horizon should be a whole second, 1 or more, found {horizon_s!r}")
    return int(horizon_s)
