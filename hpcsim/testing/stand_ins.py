"""Twins that stand in where a checked scheduler asks one: plain answers by rules of thumb, the same at all times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np

from hpcsim.engine.twins import Float64s, Int64s, Prediction
from hpcsim.engine.view import View
from hpcsim.twins.performance import Walltime
from hpcsim.workload.job import Job

_NODE_W = 500.0


class Energy:
    """Every node draws the same, and goes the slower the lower its clock."""

    name = "stand-in"
    api = 1
    answers: Literal["energy"] = "energy"

    def energy(self, jobs: Sequence[Job], speeds: Float64s, view: View) -> Prediction:
        joules_J = _NODE_W * np.array([job.nodes * job.walltime for job in jobs], np.float64) * speeds
        return Prediction(joules_J, 0.1 * joules_J, 0.1 * joules_J)


class Fault:
    """One unit is as likely to fail as another: every 30 days."""

    name = "stand-in"
    api = 1
    answers: Literal["fault"] = "fault"

    def fault(self, units: Int64s, horizon_s: int, view: View) -> Prediction:
        probability_U = np.full(len(units), -np.expm1(-horizon_s / (30 * 86_400.0)))
        return Prediction(probability_U, np.sqrt(probability_U * (1 - probability_U)), probability_U)


class Thermal:
    """Every unit is as warm as its watts make it in the end."""

    name = "stand-in"
    api = 1
    answers: Literal["thermal"] = "thermal"

    def thermal(self, units: Int64s, watts: Float64s, horizon_s: int, view: View) -> Prediction:
        return Prediction(24.0 + 0.03 * watts, np.full(len(units), 1.0), np.full(len(units), 1.0))


STAND_INS: Final[Mapping[str, Any]] = MappingProxyType(
    {twin.answers: twin for twin in (Walltime(), Energy(), Fault(), Thermal())}
)
