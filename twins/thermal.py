"""How warm nodes and GPUs will be: by the equations of heat with what was learned of a machine, or as warm as now."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hpcsim import plugin
from hpcsim.plugin import UNIT_STATES, InputError, MachineSpec, Prediction, Readings, View

from . import gpu_heat, rack_heat
from . import weights as files
from .gpu_heat import Gpus
from .rack_heat import FEATURES, Racks
from .thermal_belief import Belief
from .thermal_model import (
    KIND,
    Model,
    gpu_noise_after,
    noise_after,
    path_of,
    predict,
    published,
    read,
    shipped,
    spread,
)
from .thermal_windows import STEADY_W

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]

_BUSY: Final = UNIT_STATES.index("busy")
_MANY: Final = 48  # readings learned from, four hours of them: after these nodes are known, and seldom ones suffice
_LATER_S: Final = 1800


class Sample(NamedTuple):
    """What sensors read in one second, of U units; None of what has no sensors."""

    time_s: int
    state: npt.NDArray[np.int8]
    node_c: Float32s
    node_w: Float32s
    cpu_util: Float32s
    gpu_c: Float32s | None
    gpu_util: Float32s | None


class ThermalRC:
    """Temperatures of nodes and GPUs by the equations of heat, R and C learned from telemetry, and a correction.

    A network corrects what the equations say of nodes. GPUs have R and a time constant of their own, learned alike;
    what part of a node's watts these draw, where nobody says it, is as sensors read it last of the program that runs
    there, and on a node without one the catalogue's of full load.

    The equations are those of whole racks: each node is answered as if it alone drew the power that is asked, and all
    others what sensors read last. Readings also correct each node's R while the run goes on, by a Kalman filter, and
    how wide intervals are. Where a run's first readings say that its nodes are not those that were learned, and for a
    machine that nothing was learned of, it begins with nodes that are all alike. What is predicted is what a
    temperature sensor would read.

    References
    ----------
    Raissi, Perdikaris and Karniadakis (2019), Physics-informed neural networks.
    Gibbs and Candès (2021), Adaptive conformal inference under distribution shift.
    Incropera and DeWitt (2002), Fundamentals of heat and mass transfer.
    Tang, Gupta and Varsamopoulos (2008), Energy-efficient thermal-aware task scheduling for homogeneous
    high-performance computing data centers.
    Lu et al. (2021), Learning nonlinear operators via DeepONet.
    MacKay (1992), A practical Bayesian framework for backpropagation networks.
    Daxberger et al. (2021), Laplace redux.
    Hsu and Feng (2005), A power-aware run-time system for high-performance computing.
    """

    name = "thermal-rc"
    api = 1
    cites = (
        "Raissi2019",
        "Gibbs2021",
        "Incropera2002",
        "Tang2008",
        "Lu2021",
        "MacKay1992",
        "Daxberger2021",
        "HsuFeng2005",
    )
    answers: Literal["thermal"] = "thermal"
    needs = frozenset({"power", "heat"})
    senses_every_s = 300

    class Options(plugin.Options):
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
        self._nodes: Belief | None = None
        self._gpus: Belief | None = None
        self._before: Sample | None = None
        self._last: Sample | None = None
        self._lessons, self._taught_s = 0, 0  # how many readings it has learned from, and when the last time

    def sensed(self, readings: Readings) -> None:
        if readings.node_c is None:
            return
        self._before = self._last
        node_c, node_w, cpu_util = (
            each.astype(np.float32) for each in (readings.node_c, readings.node_w, readings.cpu_util)
        )
        gpu_c, gpu_util = (
            None if each is None else each.astype(np.float32) for each in (readings.gpu_c, readings.gpu_util)
        )
        self._last = Sample(int(readings.time_s[0]), readings.state, node_c, node_w, cpu_util, gpu_c, gpu_util)

    def thermal(self, units: Int64s, watts: Floats, horizon_s: int, view: View) -> Prediction:
        machine, model = self._asked(view)
        nodes = self._nodes_of(model)
        supply_c = view.power.supply_c
        racks, at = self._racks_if(units, watts, view.node_c - supply_c, machine, nodes)
        above_k, factor_k, layer_deviation_k = predict(model, racks, float(horizon_s))
        mean = supply_c + above_k[at].astype(np.float64)
        epistemic = np.sqrt(nodes.variance[units] * np.square(factor_k[at]) + np.square(layer_deviation_k[at]))
        aleatoric = np.full(units.size, noise_after(model, horizon_s) * nodes.stretch)
        return Prediction(mean, aleatoric, epistemic.astype(np.float64) * nodes.stretch)

    def gpu_thermal(self, units: Int64s, watts: Floats, gpu_watts: Floats, horizon_s: int, view: View) -> Prediction:
        machine, model = self._asked(view)
        gpus = self._gpus_known(model)
        belief = self._gpus_of(gpus)
        supply_c = view.power.supply_c
        racks, at = self._racks_if(units, watts, view.node_c - supply_c, machine, self._nodes_of(model))
        now_k, then_k = (
            rack_heat.inlet_k(np, model.p, each)[at].astype(np.float64) for each in (racks._replace(more_w=None), racks)
        )
        share = np.full(units.size, np.nan) if self._last is None else _share(machine, self._last)[units]
        nobody_said = np.isnan(gpu_watts)
        gpu_w = np.where(nobody_said, gpu_heat.one_w(machine, watts, share), gpu_watts)
        unsure_w = np.where(nobody_said & np.isnan(share), gpu_heat.unsure_w(machine, watts), 0.0)
        left = gpu_heat.left_of(gpus, float(horizon_s))
        k_per_w = gpu_heat.k_per_w(gpus, belief.factor[units])
        risen_k, lag_k = k_per_w * gpu_w * (1.0 - left), view.gpu_c[units] - supply_c - now_k
        epistemic = np.hypot(np.sqrt(belief.variance[units]) * risen_k, k_per_w * unsure_w * (1.0 - left))
        aleatoric = np.full(units.size, gpu_noise_after(model, gpus, horizon_s) * belief.stretch)
        return Prediction(supply_c + then_k + risen_k + lag_k * left, aleatoric, epistemic * belief.stretch)

    def _asked(self, view: View) -> tuple[MachineSpec, Model]:
        """The machine and what is known of it, after all that was read has taught what it could."""
        machine = view.machine
        if machine is None:
            raise RuntimeError("asked without a machine")
        model = self._known(machine)
        before, last = self._before, self._last
        if before is None or last is None:
            return machine, model
        if self._lessons < _MANY or last.time_s - self._taught_s >= _LATER_S:
            self._lessons, self._taught_s = self._lessons + 1, last.time_s
            self._learn(model, machine, view.power.supply_c)
        return machine, model

    def _racks_if(
        self, units: Int64s, watts: Floats, above_k: Floats, machine: MachineSpec, nodes: Belief
    ) -> tuple[Racks, tuple[Int64s, Int64s]]:
        """The racks of ``units``, each of which alone draws ``watts``, and where in them the units are."""
        node_w = np.full(machine.units, machine.power.idle_w, np.float32) if self._last is None else self._last.node_w
        n = machine.units_per_rack
        rack = np.unique(units // n)
        at = np.searchsorted(rack, units // n), units % n
        if len(np.unique(units)) < len(units):  # asked several things of one unit, each has a rack of its own
            rack, at = units // n, (np.arange(len(units)), units % n)
        racks = _racks(rack, above_k.astype(np.float32), node_w, nodes.factor, n)
        more_w = np.zeros_like(racks.watts)
        more_w[at] = watts - node_w[units]
        return racks._replace(more_w=more_w), at

    def _known(self, machine: MachineSpec) -> Model:
        if self._model is None:
            name = machine.name.lower() if self._weights is None else self._weights
            if name.endswith(".json"):
                self._model = read(Path(name), machine.units)
            elif name in shipped() and files.about(path_of(name), KIND, FEATURES).get("units") == machine.units:
                self._model = read(path_of(name), machine.units)
            else:
                self._model = published(machine)
        return self._model

    def _gpus_known(self, model: Model) -> Gpus:
        """InputError where the weights were trained without GPUs."""
        if model.gpus is None:
            named = self._weights or "the weights of this machine"
            raise InputError(f"{named}: tell nothing of GPUs; train them again, of a machine that has GPUs")
        return model.gpus

    def _nodes_of(self, model: Model) -> Belief:
        if self._nodes is None:
            self._nodes = Belief(model.factor, np.square(model.factor_deviation))
        return self._nodes

    def _gpus_of(self, gpus: Gpus) -> Belief:
        if self._gpus is None:
            self._gpus = Belief(gpus.factor, np.square(gpus.factor_deviation))
        return self._gpus

    def _learn(self, model: Model, machine: MachineSpec, supply_c: float) -> None:
        """Correct what is believed by the last two samples: of the nodes that did the same in both."""
        before, last = self._before, self._last
        if before is None or last is None:
            return
        self._before = None
        nodes = self._nodes_of(model)
        after_s, n, units = float(last.time_s - before.time_s), machine.units_per_rack, machine.units
        rack = np.arange(-(-units // n))
        racks = _racks(rack, before.node_c - np.float32(supply_c), before.node_w, nodes.factor, n)
        above_k, factor_k, layer_deviation_k = (each.reshape(-1)[:units] for each in predict(model, racks, after_s))
        same = (before.state == last.state) & (np.abs(last.node_w - before.node_w) < STEADY_W * before.node_w)
        error_k = last.node_c - np.float32(supply_c) - above_k
        nodes, error_k = nodes.recognised(error_k, factor_k, spread(machine))
        self._nodes = nodes.corrected(error_k, factor_k, layer_deviation_k, noise_after(model, after_s), same)
        if model.gpus is not None:
            inlet_k = rack_heat.inlet_k(np, model.p, racks).reshape(-1)[:units]
            self._learn_of_gpus(model, model.gpus, machine, (before, last), inlet_k + np.float32(supply_c), same)

    def _learn_of_gpus(
        self, model: Model, gpus: Gpus, machine: MachineSpec, samples: tuple[Sample, Sample], inlet_c: Float32s,
        same: npt.NDArray[np.bool_],
    ) -> None:  # fmt: skip
        """The same of their GPUs."""
        before, last = samples
        if before.gpu_c is None or last.gpu_c is None:
            return
        belief, after_s = self._gpus_of(gpus), float(last.time_s - before.time_s)
        was_w, now_w = (gpu_heat.one_w(machine, each.node_w, _share(machine, each)) for each in samples)
        left = gpu_heat.left_of(gpus, after_s)
        risen_k = gpu_heat.k_per_w(gpus, belief.factor) * was_w * (1.0 - left)
        error_k = last.gpu_c - inlet_c - risen_k - (before.gpu_c - inlet_c) * left
        belief, error_k = belief.recognised(error_k, risen_k, spread(machine))
        same = same & (np.abs(now_w - was_w) < STEADY_W * was_w)
        self._gpus = belief.corrected(error_k, risen_k, 0.0, gpu_noise_after(model, gpus, after_s), same)

    def report(self) -> dict[str, float | None]:
        """How it foretold readings of nodes that went on alike, and by how much intervals were widened."""
        nodes = Belief(np.zeros(0, np.float32), np.zeros(0, np.float32)) if self._nodes is None else self._nodes
        return nodes.report() | ({} if self._gpus is None else self._gpus.report("gpu_"))

    def __deepcopy__(self, memo: object) -> ThermalRC:
        twin = object.__new__(ThermalRC)
        twin.__dict__.update(self.__dict__)  # arrays are replaced and never changed
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_model": None}


class TemperatureNow:
    """Every node stays as warm as it is, and so does every GPU."""

    name = "temperature-now"
    api = 1
    answers: Literal["thermal"] = "thermal"
    needs = frozenset({"heat"})

    def thermal(self, units: Int64s, watts: Floats, horizon_s: int, view: View) -> Prediction:
        nothing = np.zeros(units.size)
        return Prediction(view.node_c[units], nothing, nothing)

    def gpu_thermal(self, units: Int64s, watts: Floats, gpu_watts: Floats, horizon_s: int, view: View) -> Prediction:
        nothing = np.zeros(units.size)
        return Prediction(view.gpu_c[units], nothing, nothing)


def _share(machine: MachineSpec, sample: Sample) -> Floats:
    """The GPUs' part of the watts above idle of each unit as sensors read it; NaN where no program ran."""
    if sample.gpu_util is None:
        return np.full(machine.units, np.nan)
    share = gpu_heat.share(machine, sample.cpu_util, sample.gpu_util)
    return np.where(sample.state == _BUSY, share, np.nan)


def _racks(rack: Int64s, above_k: Float32s, node_w: Float32s, factor: Float32s, n: int) -> Racks:
    """Some racks of n units each, from what is known of all units."""
    unit = rack[:, None] * n + np.arange(n)
    there = unit < node_w.size
    unit = np.minimum(unit, node_w.size - 1)
    return Racks(above_k[unit], node_w[unit], factor[unit], there.astype(np.float32))
