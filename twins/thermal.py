"""How warm nodes will be: by the equations of heat with what was learned of a machine, or as warm as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hpcsim.plugin import InputError, MachineSpec, Options, Prediction, Readings, View

from . import weights as files
from .rack_heat import FEATURES, Racks
from .thermal_certainty import WITHIN
from .thermal_model import KIND, Model, noise_after, path_of, predict, published, read, shipped, spread
from .thermal_windows import STEADY_W

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]

_MOST_WRONG: Final = 4.0  # deviations by which a reading may correct what is believed
_PACE: Final = 0.05  # by which intervals get wider or narrower with each reading
_MISSED: Final = 0.1


class Sample(NamedTuple):
    """What sensors read in one second, of U units."""

    time_s: int
    state: npt.NDArray[np.int8]
    node_c: Float32s
    node_w: Float32s


class ThermalRC:
    """Temperatures by the equations of heat, R and C as learned from telemetry, and a network's correction.

    The equations are those of whole racks: each node is answered as if it alone drew the power that is asked, and all
    others what sensors read last. Readings also correct each node's R while the run goes on, by a Kalman filter, and
    how wide intervals are. Where a run's first readings say that its nodes are not those that were learned, and for a
    machine that nothing was learned of, it begins with nodes that are all alike. What is predicted is what a
    temperature sensor would read.

    References
    ----------
    Raissi, Perdikaris and Karniadakis (2019), Physics-informed neural networks.
    Gibbs and Candès (2021), Adaptive conformal inference under distribution shift.
    """

    name = "thermal-rc"
    api = 1
    cites = ("Raissi2019", "Gibbs2021")
    answers: Literal["thermal"] = "thermal"
    needs = frozenset({"power", "heat"})
    senses_every_s = 300

    class Options(Options):
        """What it was trained on."""

        weights: str | None = Field(
            None,
            description="a file of weights (.json), or the name of those of a machine that come with hpcsim; the "
            "scenario's machine where it is one of them, else what is published of it",
        )

    def __init__(self, options: Options | None = None) -> None:
        options = options or self.Options.model_validate({})
        if options.weights is not None and not options.weights.endswith(".json") and options.weights not in shipped():
            known = ", ".join(shipped())
            raise InputError(f"no weights named {options.weights!r}. Known: {known}; or give the path of a .json file")
        self._weights = options.weights
        if options.weights is not None and options.weights.endswith(".json"):
            files.about(Path(options.weights), KIND, FEATURES)  # what is not sound is told of before the run begins
        self._model: Model | None = None
        self._factor: Float32s | None = None
        self._variance = np.zeros(0, np.float32)
        self._recognised = False  # whether the nodes were compared with those that were learned
        self._stretch = 1.0
        self._foretold, self._error_k, self._held = 0, 0.0, 0  # readings of nodes, their errors, those in intervals
        self._before: Sample | None = None
        self._last: Sample | None = None

    def sensed(self, readings: Readings) -> None:
        if readings.node_c is None:
            return
        self._before = self._last
        self._last = Sample(
            int(readings.time_s[0]), readings.state, readings.node_c.astype(np.float32),
            readings.node_w.astype(np.float32),
        )  # fmt: skip

    def thermal(self, units: Int64s, watts: Floats, horizon_s: int, view: View) -> Prediction:
        machine = view.machine
        if machine is None:
            raise RuntimeError("asked without a machine")
        model = self._known(machine)
        supply_c = view.power.supply_c
        if self._before is not None:
            self._learn(model, machine, supply_c)
        node_w = np.full(machine.units, machine.power.idle_w, np.float32) if self._last is None else self._last.node_w
        n = machine.units_per_rack
        rack = np.unique(units // n)
        at = np.searchsorted(rack, units // n), units % n
        racks = self._racks(rack, (view.node_c - supply_c).astype(np.float32), node_w, n)
        more_w = np.zeros_like(racks.watts)
        more_w[at] = watts - node_w[units]
        above_k, factor_k, layer_deviation_k = predict(model, racks._replace(more_w=more_w), float(horizon_s))
        mean = supply_c + above_k[at].astype(np.float64)
        epistemic = np.sqrt(self._variance[units] * np.square(factor_k[at]) + np.square(layer_deviation_k[at]))
        aleatoric = np.full(units.size, noise_after(model, horizon_s) * self._stretch)
        return Prediction(mean, aleatoric, epistemic.astype(np.float64) * self._stretch)

    def _known(self, machine: MachineSpec) -> Model:
        if self._model is None:
            name = machine.name.lower() if self._weights is None else self._weights
            if name.endswith(".json"):
                self._model = read(Path(name), machine.units)
            elif name in shipped() and files.about(path_of(name), KIND, FEATURES).get("units") == machine.units:
                self._model = read(path_of(name), machine.units)
            else:
                self._model = published(machine)
        if self._factor is None:
            self._factor, self._variance = self._model.factor, np.square(self._model.factor_deviation)
        return self._model

    def _racks(self, rack: Int64s, above_k: Float32s, node_w: Float32s, n: int) -> Racks:
        unit = rack[:, None] * n + np.arange(n)
        there = unit < node_w.size
        unit = np.minimum(unit, node_w.size - 1)
        factor = np.zeros(0, np.float32) if self._factor is None else self._factor
        return Racks(above_k[unit], node_w[unit], factor[unit], there.astype(np.float32))

    def _learn(self, model: Model, machine: MachineSpec, supply_c: float) -> None:
        """Correct what is believed by the last two samples: of the nodes that did the same in both."""
        before, last = self._before, self._last
        if before is None or last is None or self._factor is None:
            return
        self._before = None
        after_s, n, units = float(last.time_s - before.time_s), machine.units_per_rack, machine.units
        rack = np.arange(-(-units // n))
        racks = self._racks(rack, before.node_c - np.float32(supply_c), before.node_w, n)
        above_k, factor_k, layer_deviation_k = (each.reshape(-1)[:units] for each in predict(model, racks, after_s))
        same = (before.state == last.state) & (np.abs(last.node_w - before.node_w) < STEADY_W * before.node_w)
        error_k = last.node_c - np.float32(supply_c) - above_k
        if not self._recognised:
            self._recognised = True
            alike_k = error_k + factor_k * self._factor  # the error if all nodes were alike
            if np.median(np.abs(alike_k)) < np.median(np.abs(error_k)):
                error_k = alike_k
                self._factor = np.zeros_like(self._factor)
                self._variance = np.full_like(self._variance, spread(machine) ** 2)
        noise_k = noise_after(model, after_s) * self._stretch
        variance_k2 = self._variance * factor_k**2 + layer_deviation_k**2 + noise_k**2
        gain = np.where(same, self._variance * factor_k / variance_k2, 0.0)
        most_k = _MOST_WRONG * np.sqrt(variance_k2)
        self._factor = (self._factor + gain * np.clip(error_k, -most_k, most_k)).astype(np.float32)
        self._variance = (self._variance * (1.0 - gain * factor_k)).astype(np.float32)
        if same.any():
            held = np.abs(error_k[same]) <= WITHIN * np.sqrt(variance_k2[same])
            self._stretch *= float(np.exp(_PACE * (1.0 - float(held.mean()) - _MISSED)))
            self._foretold += held.size
            self._held += int(held.sum())
            self._error_k += float(np.abs(error_k[same]).sum(dtype=np.float64))

    def report(self) -> dict[str, float | None]:
        """How it foretold readings of nodes that went on alike, and by how much intervals were widened."""
        if not self._foretold:
            return {"foretold": 0, "mae_k": None, "held_90": None, "stretch": None}
        return {
            "foretold": self._foretold,
            "mae_k": self._error_k / self._foretold,
            "held_90": self._held / self._foretold,
            "stretch": self._stretch,
        }

    def __deepcopy__(self, memo: object) -> ThermalRC:
        twin = object.__new__(ThermalRC)
        twin.__dict__.update(self.__dict__)  # arrays are replaced and never changed
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_model": None}


class TemperatureNow:
    """Every node stays as warm as it is."""

    name = "temperature-now"
    api = 1
    answers: Literal["thermal"] = "thermal"
    needs = frozenset({"heat"})

    def thermal(self, units: Int64s, watts: Floats, horizon_s: int, view: View) -> Prediction:
        nothing = np.zeros(units.size)
        return Prediction(view.node_c[units], nothing, nothing)
