"""Training of the thermal twin: what sensors read, and the equations of heat where nothing is read.

The loss is the mean square of the errors at later readings, plus a weight times the mean square of what a predicted
course violates the equations by, at random times and, for half of the nodes, under powers drawn at random. Equations
and network are learned together, from beginnings that know nothing of the machine's published resistances.

The reading that a window begins with errs as all others do. Were it taken for the truth, what is left of it later
would seem less than it is, and capacities too small. So the error of each beginning is estimated with the rest, in
closed form (errors in variables: Fuller 1987, Measurement error models).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from . import rack_heat
from .loop import ALONE, Course, Descent, Plan, digest, fit, moved
from .rack_heat import EQUATIONS, NETWORK, Racks
from .thermal_model import Model, read
from .thermal_windows import Windows

Float32s = npt.NDArray[np.float32]

WEIGHT: Final = 1.0
"""Of the equations in the loss."""

SPREAD: Final = 0.1
"""Deviation of ln R between nodes, as is believed before anything is read."""

FIRST_S, LAST_S = 5.0, 5400.0
"""Between these times the loss looks at the equations."""

_STEPS: Final = 12  # of an epoch
_NODES: Final = 1024  # of a step
_CHECKED: Final = 10_000  # nodes
_TIMES: Final = 6  # at which a step looks at the equations
_VARIANCE_K2: Final = 0.3  # of a reading, for what SPREAD weighs
_ODD_K2: Final = 1.0  # mean square error of a window of which half is believed: a sensor may be about to fail
_FIRST_TAU_S: Final = 200.0
_FIRST: Final = {"ln_w_per_k": 0.02, "ln_return": 0.03, "ln_reach": 0.5}  # g in units of 1 / R, shares
_STRIDE: Final = {**dict.fromkeys(EQUATIONS, 10.0), "factor": 2.0}
"""By how much faster than the network's numbers these are learned: they are divided by it for the optimiser."""


class Trained(NamedTuple):
    """What was learned, each node's ``factor`` of R among it, the scalers of features, and how the training went."""

    tensors: dict[str, Float32s]
    center: list[float]
    scale: list[float]
    losses: list[tuple[float, float]]
    best_epoch: int
    physics: bool


def train(
    fitted: Windows,
    check: Windows,
    units: int,
    plan: Plan,
    course: Course = ALONE,
    *,
    physics: bool = True,
    weight: float = WEIGHT,
) -> Trained:
    """Train on ``fitted`` windows of a machine of so many ``units``, and stop by ``check``.

    Without ``physics`` the network alone predicts; a ``weight`` of 0 leaves the equations out of the loss.
    """
    import torch

    torch.manual_seed(plan.seed)
    begun = None if course.start is None else read(course.start, units)
    center, scale = _scalers(fitted) if begun is None else (begun.center.tolist(), begun.scale.tolist())
    device = course.device
    scalers = moved(tuple(torch.tensor(each, dtype=torch.float32) for each in (center, scale)), device)
    parameters = moved(_begin(torch, fitted, units) if begun is None else _begun(torch, begun), device)
    rows, check_rows = (
        moved(_tensors(torch, each), device) for each in (fitted, check.take(slice(None, None, _thinner(check))))
    )
    least_w, most_w = 0.9 * float(fitted.watts.min()), 1.1 * float(fitted.watts.max())
    size = max(1, min(_NODES // fitted.units.shape[1], len(fitted.start_s)))
    prior = _VARIANCE_K2 / SPREAD**2 / max(1, int(fitted.holds.sum()))

    def predicted(p: Mapping[str, Any], racks: Racks, times_s: Any) -> rack_heat.Course:
        last = rack_heat.known(torch, p, racks, *scalers)
        h = rack_heat.output(torch, p, last, scalers[1])
        return rack_heat.course(torch, p, racks, h, times_s, physics=physics)

    def data_loss(p: Mapping[str, Any], some: _Rows) -> Any:
        found = predicted(p, some.racks(p), some.leads_s.expand(len(some.watts), -1))
        error = (some.later_k - found.above_k) * some.holds
        start_k = (error * found.left).sum(-1) / (1.0 + (found.left**2 * some.holds).sum(-1))
        error = error - found.left * start_k[:, :, None] * some.holds
        looks = some.holds.sum(-1)
        found_k2 = ((error**2).sum(-1) + start_k**2) / looks.clamp(min=1.0)
        robust_k2 = _ODD_K2 * torch.log1p(found_k2 / _ODD_K2)
        return (robust_k2 * looks).sum() / looks.sum().clamp(min=1.0)

    def steps(_epoch: int) -> Iterator[tuple[Any, int]]:
        for _ in range(_STEPS):
            p = _strided(parameters)
            some = rows.take(torch.randint(len(rows.watts), (size,)))
            loss = data_loss(p, some) + prior * (p["factor"] ** 2).sum()
            if weight:
                racks = some.racks(p)
                shapes = (racks.watts.shape, racks.watts.shape, (size, _TIMES))
                powers, chances, times = moved(tuple(torch.rand(shape) for shape in shapes), device)
                drawn_w = least_w + (most_w - least_w) * powers
                racks = racks._replace(watts=torch.where(chances < 0.5, drawn_w, racks.watts))
                times_s = FIRST_S * (LAST_S / FIRST_S) ** times
                violated_k = rack_heat.imbalance_k(torch, p, racks, predicted(p, racks, times_s))
                loss = loss + weight * (violated_k**2).sum() / (_TIMES * racks.there.sum())
            yield loss, size

    def checked() -> float:
        return float(data_loss(_strided(parameters), check_rows))

    plan = plan._replace(patience=max(plan.patience, plan.epochs // 2))
    of_start = "" if begun is None else digest([*begun.p.values(), begun.factor])
    identity = f"{digest(fitted)} {digest(check)} {physics} {weight} {of_start}"
    found = fit(parameters, steps, checked, plan, Descent(5e-3, 0.0, 10.0), identity, course)
    tensors = {name: np.asarray(value * _STRIDE.get(name, 1.0), np.float32) for name, value in found.tensors.items()}
    return Trained(tensors, center, scale, found.losses, found.best_epoch, physics)


def racks_of(some: Windows, factor: Float32s) -> Racks:
    """The racks at the beginnings of windows."""
    return Racks(some.above_k, some.watts, factor[some.units], some.there)


def said_k(trained: Trained, some: Windows) -> Float32s:
    """What is predicted for the later readings of windows, kelvins above the supply, (N, n, L)."""
    p, scale = trained.tensors, np.asarray(trained.scale, np.float32)
    racks = racks_of(some, p["factor"])
    h = rack_heat.output(np, p, rack_heat.known(np, p, racks, np.asarray(trained.center, np.float32), scale), scale)
    times_s = np.broadcast_to(some.leads_s.astype(np.float32), (len(some.start_s), some.leads_s.size))
    found: Float32s = rack_heat.course(np, p, racks, h, times_s, physics=trained.physics).above_k
    return found


class _Rows(NamedTuple):
    """Windows as torch's tensors."""

    above_k: Any
    watts: Any
    there: Any
    units: Any
    later_k: Any
    holds: Any
    leads_s: Any

    def take(self, which: Any) -> _Rows:
        return _Rows._make([*(part[which] for part in self[:-1]), self.leads_s])

    def racks(self, p: Mapping[str, Any]) -> Racks:
        return Racks(self.above_k, self.watts, p["factor"][self.units], self.there)


def _tensors(torch: Any, some: Windows) -> _Rows:
    parts = (some.above_k, some.watts, some.there, some.units, some.later_k, some.holds.astype(np.float32))
    leads_s = torch.from_numpy(some.leads_s.astype(np.float32))
    return _Rows._make([*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts), leads_s])


def _thinner(some: Windows) -> int:
    """Every how many windows are looked at, so that there are not too many."""
    return -(-some.units.size // _CHECKED)


def _scalers(some: Windows) -> tuple[list[float], list[float]]:
    """Mean and deviation of the features, but of those of the place and of the factor."""
    racks = racks_of(some, np.zeros(int(some.units.max()) + 1, np.float32))
    x = rack_heat.features(np, racks)[some.there > 0].astype(np.float64)
    center, scale = x.mean(0), np.maximum(x.std(0), 1e-3)
    center[-3:], scale[-3:] = 0.0, (0.5, 1.0, SPREAD)
    return [float(f"{each:.6g}") for each in center], [float(f"{each:.6g}") for each in scale]


def _begin(torch: Any, some: Windows, units: int) -> dict[str, Any]:
    """Beginnings: R as temperatures and powers are in the median, and guesses that are the same for all machines."""
    r = float(np.median(some.above_k[some.there > 0] / some.watts[some.there > 0]))
    first = {name: np.log(value) for name, value in _FIRST.items()} | {"slant": 0.0}
    first |= {"ln_k_per_w": np.log(r), "ln_j_per_k": np.log(_FIRST_TAU_S / r)}
    first["ln_w_per_k"] -= np.log(r)
    parameters = {name: torch.tensor(first[name] / _STRIDE[name], dtype=torch.float32) for name in EQUATIONS}
    parameters["factor"] = torch.zeros(units)
    for name, shape in NETWORK.items():
        drawn = torch.randn(shape) * (1.0 / shape[0]) ** 0.5 * (0.1 if name == "weight2" else 1.0)
        parameters[name] = drawn if name.startswith("weight") else torch.zeros(shape)
    return parameters


def _begun(torch: Any, model: Model) -> dict[str, Any]:
    """The same from weights."""
    known = {**model.p, "factor": model.factor}
    return {name: torch.tensor(value / np.float32(_STRIDE.get(name, 1.0))) for name, value in known.items()}


def _strided(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value * _STRIDE.get(name, 1.0) for name, value in parameters.items()}
