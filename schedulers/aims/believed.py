"""What starts, and what waits, is believed to cost by what the twins say: the part of its worth that needs no learning.

Three costs of each job in each mode, as negative shares of what an hour usually costs, so that they are on the scale of
the network's values, which adds to them what it has learned:

- *energy*: kWh beyond those at the full clock, less what its nodes would draw while they rest;
- *performance*: nodes that a slower job keeps for longer delay all that waits, by their share of the machine; and a job
  that starts out of turn delays those that are more urgent;
- *reliability*: node-hours that failures of its nodes take on average, half of the job each time, beyond those that
  they take at full speed on nodes that fail as often as all do in the mean.

References
----------
Etinski, Corbalan, Labarta and Valero (2012), Understanding the future of energy-performance trade-off via DVFS in HPC
environments (a job's runtime and energy at another clock). van Mieghem (1995), Dynamic scheduling with convex delay
costs: the generalized c-mu rule (whose turn it is). Ng, Harada and Russell (1999), Policy invariance under
reward transformations (what is believed of a state).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Room, View

from .beliefs import J_PER_KWH, Beliefs
from .network import Floats32
from .shape import CLOCKS, DISCOUNT_S, MODES, OBJECTIVES

Floats = npt.NDArray[np.float64]

_HOUR_S: Final = 3600.0
CLOCK_M: Final = np.array([clock for clock, _ in MODES])
PLACE_M: Final = np.array([place for _, place in MODES])
"""Clock and place of each mode."""

_CLOCKS: Final = np.linspace(0.0, 1.0, len(CLOCKS))  # from the full one to that of least energy


def speeds(clock_J: Floats) -> Floats:
    """The speeds of ``CLOCKS`` for jobs whose clock of least energy is ``clock_J``: ``(J, C)``."""
    return np.asarray(1.0 + (clock_J[:, None] - 1.0) * _CLOCKS)


def slowness(beta_J: Floats, speed_JC: Floats) -> Floats:
    """Runtimes at those speeds as multiples of the one at full speed."""
    return np.asarray(1.0 + beta_J[:, None] * (1.0 / speed_JC - 1.0))


def _lost_h(rate: Floats, nodes: Floats, runtime_s: Floats) -> Floats:
    """Node-hours that failures at this rate take of jobs on average: half of what they do."""
    return np.asarray(-np.expm1(-rate * runtime_s) * nodes * runtime_s / 2.0 / _HOUR_S)


def until_started(nodes_K: Floats, waited_h_K: Floats, starts_in_h_K: Floats) -> float:
    """Node-hours waited, summed over the hours until each of K jobs has started; later hours count less.

    It is the integral of nodes (waited + t) exp(-t / tau) until each one's start, with tau of ``DISCOUNT_S``.
    """
    tau_h = DISCOUNT_S / _HOUR_S
    late = starts_in_h_K / tau_h
    once = -np.expm1(-late)  # the integrals of 1 and of t, by tau and by tau squared
    rising = once - late * np.exp(-late)
    return float(nodes_K @ (waited_h_K * once * tau_h + rising * tau_h**2))


def urgency(waited_h: Floats, runtime_h: Floats, power: float) -> Floats:
    """Whose turn it is: the highest of what each job has waited by that power of what it is believed to run.

    If waiting costs nodes times its square and runtimes are known, a power of 1 is best of those that look at each job
    by itself; less where what is believed of runtimes is unsure. 0 has the longest waiting first.
    """
    return np.asarray(waited_h / runtime_h**power)


def out_of_turn(
    urgency_J: Floats, waited_J: Floats, area_J: Floats, rival_J: npt.NDArray[np.bool_], nodes: float
) -> Floats:
    """What it costs to start each job before all that are more urgent, in node-hours waited times hours.

    Those of ``rival_J`` that are more urgent come later by the job's ``area_J`` (node-hours) on all ``nodes``,
    and it comes earlier by theirs. To come an hour later costs the node-hours that a job has waited so far.
    """
    order = np.argsort(-urgency_J, kind="stable")
    waited, area = waited_J[order], area_J[order]
    ahead = [np.cumsum(np.where(rival_J[order], each, 0.0)) for each in (waited, area)]
    cost_J = np.empty(len(order))
    cost_J[order] = (area * ahead[0] - waited * ahead[1]) / nodes
    return np.maximum(cost_J, 0.0)


class Costs:
    """Of J jobs of a pass: their ``speed_JC`` and ``runtime_JC`` at each clock, and what a start in each mode costs."""

    def __init__(
        self, known: Mapping[str, Floats], view: View, room: Room, beliefs: Beliefs, hourly_O: Floats,
        *, sleeps: bool, places: int,
    ) -> None:  # fmt: skip
        nodes_J = known["nodes"]
        self.speed_JC = speeds(known["clock"])
        self.runtime_JC = known["runtime_s"][:, None] * slowness(known["beta"], self.speed_JC)
        self._table = np.zeros((len(nodes_J), len(MODES), len(OBJECTIVES)), np.float32)
        longer_JC = self.runtime_JC - self.runtime_JC[:, :1]
        machine = view.machine
        if machine is not None:
            spec, dynamic_w = machine.power, known["dynamic_w"][:, None]
            rest_w = spec.sleep_w if sleeps else spec.idle_w
            drawn = (spec.idle_w + dynamic_w * self.speed_JC**spec.speed_exponent) * self.runtime_JC
            beyond = drawn - drawn[:, :1] - rest_w * longer_JC
            kwh_JC = nodes_J[:, None] * beyond * (1.0 + view.power.overhead) / J_PER_KWH
            self._table[:, :, 0] = (-kwh_JC / hourly_O[0])[:, CLOCK_M]
        self._delayed_JM = (longer_JC * nodes_J[:, None] / max(view.up_nodes, 1) / hourly_O[1])[:, CLOCK_M]
        rate_U = beliefs.rate_U
        if rate_U.size and len(nodes_J):
            open_U = view.free_units(room) if places > 1 else np.arange(len(rate_U))
            rate, safe = rate_U[open_U], rate_U[open_U[~beliefs.risky_U[open_U]]]
            units_J = np.ceil(nodes_J / view.unit_nodes).astype(int)
            usual_J = units_J * (rate.mean() if len(rate) else 0.0)
            safest_J = np.where(units_J <= len(safe), units_J * (safe.mean() if len(safe) else 0.0), usual_J)
            rate_JP = np.array([usual_J, safest_J]).T
            lost_JM = _lost_h(rate_JP[:, PLACE_M], nodes_J[:, None], self.runtime_JC[:, CLOCK_M])
            anyhow_J = _lost_h(units_J * beliefs.mean_rate, nodes_J, self.runtime_JC[:, 0])
            self._table[:, :, 2] = (anyhow_J[:, None] - lost_JM) / hourly_O[2]

    def while_waiting(self, per_s: float, turn_J: Floats) -> Floats32:
        """The costs, ``(J, M, O)``, while a second of delay of the whole machine costs ``per_s``, as waiting does.

        ``turn_J`` is what each job costs for starting out of turn, as a share of what an hour usually costs.
        """
        self._table[:, :, 1] = -per_s * self._delayed_JM - turn_J[:, None]
        return self._table.copy()
