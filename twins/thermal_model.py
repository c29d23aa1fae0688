"""What the thermal twin knows of a machine: read from a file of weights, or what is published; and what it predicts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import InputError, MachineSpec

from . import gpu_heat, rack_heat
from . import weights as files
from .gpu_heat import Gpus
from .rack_heat import EQUATIONS, FEATURES, NETWORK, SIZE, Racks, layer_k

KIND: Final = "thermal-rc"
TRAINED: Final = files.TRAINED
"""Where the weights lie that come with hpcsim: NAME.thermal.json and .safetensors."""

Float32s = npt.NDArray[np.float32]

_AIR_SHARE: Final = 0.4  # as docs/power.md: of R, what warms the air that others may get
_REACH: Final = 0.25  # of a rack, and
_SLANT: Final = 0.5493  # tanh of it is 0.5: three times as much comes back to the highest inlet as to the lowest
_NOISE_K: Final = 0.75  # of a reading less what is predicted of it, of a machine that nothing was learned of


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
    gpus: Gpus | None


@cache
def read(path: Path, units: int) -> Model:
    """The model of a JSON file, of a machine of so many units; InputError for one that is not sound."""
    told = files.about(path, KIND, FEATURES)
    looks, has_gpus = told.get("looks"), bool(told.get("gpus"))
    if not isinstance(looks, int) or not 1 <= looks <= 100:
        raise InputError(f"{path}: looks should be a number from 1 to 100, found {looks!r}")
    tensors, about = files.load(path, KIND, shapes(units, looks, gpus=has_gpus), FEATURES)
    never_negative = ["factor_deviation", "noise_k", "looks_s"]
    never_negative += ["gpu_factor_deviation", "gpu_noise_k"] if has_gpus else []
    wrong = [name for name in never_negative if tensors[name].min() < 0.0]
    if wrong:
        raise InputError(f"{path}: {wrong[0]} should be 0 or more")
    p: dict[str, Any] = dict(zip(EQUATIONS, tensors["equations"], strict=True))
    p |= {name: tensors[name] for name in NETWORK}
    center, scale = (np.asarray(about[name], np.float32) for name in ("center", "scale"))
    gpus = None
    if has_gpus:
        ln_k_per_w, ln_tau_s = (float(each) for each in tensors["gpu_equations"])
        of_gpus = (tensors[name] for name in ("gpu_factor", "gpu_factor_deviation", "gpu_noise_k"))
        gpus = Gpus(ln_k_per_w, ln_tau_s, *of_gpus)
    return Model(
        p, center, scale, tensors["factor"], tensors["factor_deviation"], tensors["layer_root"], tensors["looks_s"],
        tensors["noise_k"], gpus,
    )  # fmt: skip


def shapes(units: int, looks: int, *, gpus: bool = False) -> dict[str, tuple[int, ...]]:
    """The tensors of a file by name, of a machine of so many units, with or without GPUs."""
    of_nodes: dict[str, tuple[int, ...]] = {
        "equations": (len(EQUATIONS),), "factor": (units,), "factor_deviation": (units,), **NETWORK,
        "layer_root": (SIZE, SIZE), "looks_s": (looks,), "noise_k": (looks,),
    }  # fmt: skip
    of_gpus: dict[str, tuple[int, ...]] = {
        "gpu_equations": (2,), "gpu_factor": (units,), "gpu_factor_deviation": (units,), "gpu_noise_k": (looks,),
    }  # fmt: skip
    return of_nodes | of_gpus if gpus else of_nodes


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
        p, nothing, one, np.zeros(units, np.float32), np.full(units, spread(machine), np.float32),
        np.zeros((SIZE, SIZE), np.float32), np.array([60.0], np.float32), np.array([_NOISE_K], np.float32),
        gpu_heat.published(machine, spread(machine), 1, _NOISE_K),
    )  # fmt: skip


def shipped() -> list[str]:
    """The names of the weights that come with hpcsim."""
    return files.shipped("thermal")


def path_of(name: str) -> Path:
    return TRAINED / f"{name}.thermal.json"


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
    return _after(horizon_s, model.looks_s, model.noise_k)


def gpu_noise_after(model: Model, gpus: Gpus, horizon_s: float) -> float:
    """The same of GPUs."""
    return _after(horizon_s, model.looks_s, gpus.noise_k)


def _after(horizon_s: float, looks_s: Float32s, noise_k: Float32s) -> float:
    return float(np.interp(np.log(horizon_s), np.log(looks_s), noise_k))


def spread(machine: MachineSpec) -> float:
    """Deviation of ln R between the nodes of a machine, racks included."""
    return float(np.hypot(machine.thermal.node_spread, machine.thermal.rack_spread))
