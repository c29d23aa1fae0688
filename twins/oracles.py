"""Oracles: twins that know the truth, to show how good any twin could be. No scheduler has them in life."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Job, Prediction, Truth, View

Float64s = npt.NDArray[np.float64]


class _Oracle:
    """One who is told the truth of the simulation that it belongs to, and remembers nothing."""

    api = 1

    def knows(self, truth: Truth) -> None:
        self._truth = truth

    def __getstate__(self) -> dict[str, Any]:
        return {}


class RuntimeOracle(_Oracle):
    """How long jobs really run, at full speed and undisturbed: no twin can be better."""

    name = "runtime-oracle"
    answers: Literal["performance"] = "performance"

    def performance(self, jobs: Sequence[Job], view: View) -> Prediction:
        return _surely(self._truth.runtime_s(jobs))


class EnergyOracle(_Oracle):
    """The energy that jobs really take, undisturbed on nodes of their own: no twin can be better."""

    name = "energy-oracle"
    answers: Literal["energy"] = "energy"

    def energy(self, jobs: Sequence[Job], speeds: Float64s, view: View) -> Prediction:
        return _surely(self._truth.joules(jobs, speeds))


class FaultOracle(_Oracle):
    """The true hazard of hardware: the odds of one who knows all that has come about, and nothing that is still to."""

    name = "fault-oracle"
    answers: Literal["fault"] = "fault"

    def fault(self, units: npt.NDArray[np.int64], horizon_s: int, view: View) -> Prediction:
        odds = self._truth.hazard(units, horizon_s)
        return Prediction(odds, np.sqrt(odds * (1 - odds)), np.zeros(len(odds)))


class ThermalOracle(_Oracle):
    """The machine's own equations: how warm a node, or a GPU of it, becomes if it alone draws other watts from now on.

    Where nobody says what a GPU would draw, it is its share of the watts at full load.
    """

    name = "thermal-oracle"
    answers: Literal["thermal"] = "thermal"
    needs = frozenset({"heat"})

    def thermal(self, units: npt.NDArray[np.int64], watts: Float64s, horizon_s: int, view: View) -> Prediction:
        return _surely(self._truth.celsius(units, watts, np.full(len(units), np.nan), horizon_s)[0])

    def gpu_thermal(
        self, units: npt.NDArray[np.int64], watts: Float64s, gpu_watts: Float64s, horizon_s: int, view: View
    ) -> Prediction:
        return _surely(self._truth.celsius(units, watts, gpu_watts, horizon_s)[1])


def _surely(values: Float64s) -> Prediction:
    return Prediction(values, np.zeros(len(values)), np.zeros(len(values)))
