"""Which nodes and which programs will fail, learned: from sensors, and from the last ends of users."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hpcsim.plugin import Ended, InputError, Job, Options, Prediction, Readings, View

from . import fault_network as network
from . import weights as files
from .fault_features import HOUR_S, SENSES_EVERY_S, SEQUENCE, Health
from .fault_signs import Signs
from .job_failure import JobFailure

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

KIND: Final = "fault-lstm"
_OF: Final = "fault"  # what files of weights are called after


class Network(NamedTuple):
    """Weights in use: tensors, scalers, the calibration with its covariance, and the failures of a unit in an hour."""

    tensors: dict[str, npt.NDArray[np.float32]]
    center: Floats
    scale: Floats
    calibration: tuple[float, float]
    covariance: Floats
    usual_per_h: float


@cache
def read(path: Path) -> Network:
    """The network of a JSON file; InputError for one that is not sound."""
    tensors, about = files.load(path, KIND, network.SHAPES, network.FEATURES)
    told = about.get("calibration")
    found: Any = told if isinstance(told, dict) else {}
    numbers: list[Any] = [*map(found.get, ("level", "slope", "usual_per_h")), *found.get("covariance", ())]
    if len(numbers) != 7 or not all(isinstance(each, float) and np.isfinite(each) for each in numbers):
        raise InputError(f"{path}: calibration should have level, slope, usual_per_h and the 4 numbers of covariance")
    level, slope, usual, *covariance = numbers
    if slope <= 0 or usual <= 0:
        raise InputError(f"{path}: the slope of the calibration and usual_per_h should be above 0")
    center, scale = (np.array(about[name]) for name in ("center", "scale"))
    return Network(tensors, center, scale, (level, slope), np.array(covariance).reshape(2, 2), usual)


class FaultLSTM:
    """Failing nodes and programs: signs of faults, and LSTMs over the last 15 hours of sensors, or 15 ends of a user.

    It is told every 5 minutes what the sensors of all units read, and keeps of that the features of
    ``fault_features``. Only when it is asked does it look for signs of a fault, and the network and a logistic
    regression at all units, once an hour. Who asks every hour does not wait for that: it looks as soon as an hour is
    over in which it was asked. Averaged, both say of each unit the rate of failures in spans of time to come, of
    which the probability within any horizon follows; that is calibrated on months of a machine that were not learned
    from. Before the first hour is over, all units are as likely to fail.

    Of programs, see ``job_failure.JobFailure``.

    The aleatoric deviation is that of a coin with the probability; the epistemic one what the calibration leaves open.

    References
    ----------
    Hochreiter and Schmidhuber (1997), Long short-term memory.
    Vaswani et al. (2017), Attention is all you need.
    Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm.
    Turin (1960), An introduction to matched filters.
    Friedman (1982), Piecewise exponential models for survival data with covariates.
    Cheng et al. (2016), Wide & deep learning for recommender systems.
    Lakshminarayanan, Pritzel and Blundell (2017), Simple and scalable predictive uncertainty estimation using deep
    ensembles.
    Platt (1999), Probabilistic outputs for support vector machines.
    """

    name = "fault-lstm"
    api = 1
    cites = (
        "Hochreiter1997",
        "Vaswani2017",
        "Dempster1977",
        "Turin1960",
        "Friedman1982",
        "Cheng2016",
        "Lakshminarayanan2017",
        "Platt1999",
    )
    answers: Literal["fault"] = "fault"
    senses_every_s = SENSES_EVERY_S

    class Options(Options):
        """What it was trained on."""

        weights: str | None = Field(
            None,
            description="a file of weights (.json), or the name of those of a machine that come with hpcsim; the "
            "scenario's machine where it is one of them, else those named general",
        )
        job_weights: str | None = Field(None, description="the same of the weights by which programs are judged")

    def __init__(self, options: Options | None = None) -> None:
        options = options or self.Options.model_validate({})
        self._weights = options.weights
        if options.weights is not None:
            read(files.path(options.weights, _OF))  # so that a file that is not sound is told of before the run begins
        self._programs = JobFailure(options.job_weights)
        self._health: Health | None = None
        self._log_rate = np.zeros((0, 0), np.float32)
        self._looked = self._asked = 0  # how many hours were over when it looked, and was asked, last
        self._asked_of: Path | None = None  # the weights by which it answered then

    def ended(self, end: Ended) -> None:
        """Learn of a job that has ended."""
        self._programs.ended(end)

    def job_failure(self, jobs: Sequence[Job], view: View) -> Prediction:
        """Probability that the program of each of J jobs would fail by itself, if it was started now."""
        return self._programs.job_failure(jobs, view)

    def sensed(self, readings: Readings) -> None:
        if self._health is None:
            self._health = Health(len(readings.unit))
        health = self._health
        health.hear(readings)
        if self._asked_of is not None and self._asked == health.intervals - 1 and self._looked < health.intervals:
            self._look(health, read(self._asked_of))

    def fault(self, units: Int64s, horizon_s: int, view: View) -> Prediction:
        self._asked_of = self._path(view)
        known = read(self._asked_of)
        horizon_h = horizon_s / HOUR_S
        health = self._health
        self._asked = 0 if health is None else health.intervals
        if health is None or not health.intervals:
            expected_U = np.full(len(units), known.usual_per_h * horizon_h)
            log_h, calibrated = np.log(expected_U), expected_U
        else:
            if health.intervals != self._looked:
                self._look(health, known)
            log_h = network.log_expected(self._log_rate[units], horizon_h)
            level, slope = known.calibration
            calibrated = np.exp(level + slope * log_h)
        probability = -np.expm1(-calibrated)
        x = np.stack([np.ones_like(log_h), log_h])
        doubt = np.sqrt(np.maximum((x * (known.covariance @ x)).sum(0), 0.0))
        epistemic = np.minimum((1 - probability) * calibrated * doubt, 1.0)
        return Prediction(probability, np.sqrt(probability * (1 - probability)), epistemic)

    def _look(self, health: Health, known: Network) -> None:
        first = len(SEQUENCE)
        x = network.scaled(health.sequence(), known.center[:first], known.scale[:first])
        described = health.described(Signs.unpacked(known.tensors["signs"])).astype(np.float16)
        z = network.scaled(described, known.center[first:], known.scale[first:])
        self._log_rate = network.log_rates(known.tensors, x, z)
        self._looked = health.intervals

    def _path(self, view: View) -> Path:
        if self._weights is not None:
            return files.path(self._weights, _OF)
        return files.path(files.of_machine(view.machine, _OF), _OF)

    def __deepcopy__(self, memo: dict[int, Any]) -> FaultLSTM:
        twin = copy.copy(self)
        twin._health, twin._programs = copy.deepcopy((self._health, self._programs), memo)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_asked_of": None}
