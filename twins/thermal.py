"""How warm nodes will be: by the equations of heat with what was learned of a machine, or as warm as they are."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hpcsim.plugin import InputError, MachineSpec, Options, Prediction, Readings, View

from . import rack_heat
from . import weights as files
from .rack_heat import EQUATIONS, FEATURES, NETWORK, Racks
from .thermal_certainty import SIZE, WITHIN, layer_k
from .thermal_windows import STEADY_W

KIND: Final = "thermal-rc"
TRAINED: Final = Path(__file__).with_name("trained")

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]

_AIR_SHARE: Final = 0.4  # as docs/power.md: of R, what warms the air that others may get
_REACH: Final = 0.25  # of a rack, and
_SLANT: Final = 0.5493  # tanh of it is 0.5: three times as much comes back to the highest inlet as to the lowest
_NOISE_K: Final = 0.75  # of a reading less what is predicted of it, of a machine that nothing was learned of
_MOST_WRONG: Final = 4.0  # deviations by which a reading may correct what is believed
_PACE: Final = 0.05  # by which intervals get wider or narrower with each reading
_MISSED: Final = 0.1


class Model(NamedTuple):
    """What is known of a machine: numbers of the equations and the network, of its nodes, and how wrong it is."""

    p: dict[str, Any]
    center: Float32s
    scale: Float32s
    factor: Float32s
    factor_deviation: Float32s
    layer_root: Float32s
    looks_s: Float32s
    noise_k: Float32s


class Sample(NamedTuple):
    """What sensors read in one second, of U units."""

    time_s: int
    state: npt.NDArray[np.int8]
    node_c: Float32s
    node_w: Float32s


@cache
def read(path: Path, units: int) -> Model:
    """The model of a JSON file, of a machine of so many units; InputError for one that is not sound."""
    looks = files.about(path, KIND, FEATURES).get("looks")
    if not isinstance(looks, int) or not 1 <= looks <= 100:
        raise InputError(f"{path}: looks should be a number from 1 to 100, found {looks!r}")
    tensors, about = files.load(path, KIND, shapes(units, looks), FEATURES)
    wrong = [name for name in ("factor_deviation", "noise_k", "looks_s") if tensors[name].min() < 0.0]
    if wrong:
        raise InputError(f"{path}: {wrong[0]} should be 0 or more")
    p: dict[str, Any] = dict(zip(EQUATIONS, tensors["equations"], strict=True))
    p |= {name: tensors[name] for name in NETWORK}
    scalers = (np.asarray(about[name], np.float32) for name in ("center", "scale"))
    of_nodes = (tensors[name] for name in ("factor", "factor_deviation", "layer_root", "looks_s", "noise_k"))
    return Model(p, *scalers, *of_nodes)


def shapes(units: int, looks: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a file by name, of a machine of so many units."""
    return {
        "equations": (len(EQUATIONS),), "factor": (units,), "factor_deviation": (units,), **NETWORK,
        "layer_root": (SIZE, SIZE), "looks_s": (looks,), "noise_k": (looks,),
    }  # fmt: skip


def published(machine: MachineSpec) -> Model:
    """What is published of a machine, with a network that corrects nothing, and nodes that are all alike."""
    thermal, n = machine.thermal, machine.units_per_rack
    place = np.arange(n)
    kernel = np.exp(-np.abs(place[:, None] - place) / n / _REACH) * (0.5 + place / max(1, n - 1))[:, None]
    returned = max(thermal.recirculation, 1e-9) * _AIR_SHARE * n * n / float(kernel.sum())
    told = {
        "ln_k_per_w": np.log(thermal.node_k_per_w),
        "ln_j_per_k": np.log(thermal.node_j_per_k),
        "ln_w_per_k": np.log(max(thermal.coupling_w_per_k, 1e-9)),
        "ln_return": np.log(returned),
        "slant": _SLANT,
        "ln_reach": np.log(_REACH),
    }
    p: dict[str, Any] = {name: np.float32(told[name]) for name in EQUATIONS}
    p |= {name: np.zeros(shape, np.float32) for name, shape in NETWORK.items()}
    nothing, one = np.zeros(len(FEATURES), np.float32), np.ones(len(FEATURES), np.float32)
    units = machine.units
    return Model(
        p, nothing, one, np.zeros(units, np.float32), np.full(units, _spread(machine), np.float32),
        np.zeros((SIZE, SIZE), np.float32), np.array([60.0], np.float32), np.array([_NOISE_K], np.float32),
    )  # fmt: skip


def shipped() -> list[str]:
    """The names of the weights that come with hpcsim."""
    return sorted(path.name.removesuffix(".thermal.json") for path in TRAINED.glob("*.thermal.json"))


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
            elif name in shipped() and files.about(_path(name), KIND, FEATURES).get("units") == machine.units:
                self._model = read(_path(name), machine.units)
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
                self._variance = np.full_like(self._variance, _spread(machine) ** 2)
        noise_k = noise_after(model, after_s) * self._stretch
        variance_k2 = self._variance * factor_k**2 + layer_deviation_k**2 + noise_k**2
        gain = np.where(same, self._variance * factor_k / variance_k2, 0.0)
        most_k = _MOST_WRONG * np.sqrt(variance_k2)
        self._factor = (self._factor + gain * np.clip(error_k, -most_k, most_k)).astype(np.float32)
        self._variance = (self._variance * (1.0 - gain * factor_k)).astype(np.float32)
        if same.any():
            missed = float(np.mean(np.abs(error_k[same]) > WITHIN * np.sqrt(variance_k2[same])))
            self._stretch *= float(np.exp(_PACE * (missed - _MISSED)))

    def __deepcopy__(self, memo: object) -> ThermalRC:
        return copy.copy(self)  # arrays are replaced and never changed

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


def predict(model: Model, racks: Racks, horizon_s: float) -> tuple[Float32s, Float32s, Float32s]:
    """After ``horizon_s``, (B, n): kelvins above the supply, per 1 of a node's factor, and the network's deviation."""
    times_s = np.full((racks.watts.shape[0], 1), horizon_s, np.float32)
    last = rack_heat.known(np, model.p, racks, model.center, model.scale)
    h = rack_heat.output(np, model.p, last, model.scale)
    ends = rack_heat.steady(np, model.p, racks)
    found = rack_heat.course(np, model.p, racks, h, times_s, ends=ends)
    factor_k = (ends.above_k - ends.inlet_k) * -np.expm1(-ends.rate * np.float32(horizon_s))
    return found.above_k[:, :, 0], factor_k, layer_k(model.layer_root, last, horizon_s, float(model.scale[0]))


def noise_after(model: Model, horizon_s: float) -> float:
    """The deviation of a reading after ``horizon_s`` from what is predicted of it, if all was learned."""
    return float(np.interp(np.log(horizon_s), np.log(model.looks_s), model.noise_k))


def _spread(machine: MachineSpec) -> float:
    """Deviation of ln R between the nodes of a machine, racks included."""
    return float(np.hypot(machine.thermal.node_spread, machine.thermal.rack_spread))


def _path(name: str) -> Path:
    return TRAINED / f"{name}.thermal.json"
