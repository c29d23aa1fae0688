"""How good predicted temperatures are, on later windows than those learned from and on powers that were not learned.

Powers between the 40 % and 50 % quantiles of what busy nodes draw, and above the 90 % quantile, are left out of what is
learned. Judged are nodes that draw such a power, in the last 20 % of the time, for as long as the last look is away:
there they are as warm as they get. Where the truth is known (``thermal_learner.Truth``), errors are against that, else
against readings; intervals are always of readings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import InputError

from .judging import DAY_S, Column, Diagram, Evaluation, compare_means
from .loop import Plan
from .rack_heat import features
from .thermal_certainty import WITHIN, noise_k
from .thermal_learner import Parts, Seen, Truth, parts
from .thermal_training import WEIGHT, Trained, racks_of, said_k, train
from .thermal_windows import Telemetry, Windows

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Said = Callable[[Windows], npt.NDArray[Any]]

SHIPPED: Final = "thermal-rc"
VARIANTS: Final[Mapping[str, tuple[bool, float]]] = {
    SHIPPED: (True, WEIGHT),
    "no equations in the loss": (True, 0.0),
    "only in the loss": (False, WEIGHT),
    "network alone": (False, 0.0),
}
"""What is trained, by name: whether the closed form is in the prediction, and the weight of the equations."""

_SOON_S: Final = 300
_UNSEEN: Final = (0.4, 0.5, 0.9)
_RIDGE: Final = 1e-3


class Unseen(NamedTuple):
    """Powers that nothing is learned of: between the first two, and above the third, watts."""

    low_w: float
    high_w: float
    above_w: float

    def holds(self, watts: npt.NDArray[Any]) -> Bools:
        """Which are such powers."""
        return np.asarray(((watts > self.low_w) & (watts < self.high_w)) | (watts > self.above_w))


def unseen_of(seen: Windows) -> Unseen:
    """Those of the windows to fit: busy is what draws more than a twentieth of the way from idle up to the most."""
    idle_w, most_w = (float(each) for each in np.quantile(seen.watts, (0.05, 0.999)))
    busy_w = seen.watts[seen.watts > idle_w + 0.05 * (most_w - idle_w)]
    return Unseen(*(float(each) for each in np.quantile(busy_w, _UNSEEN)))


def evaluate(seen: Seen, seeds: list[int], epochs: int, told: Callable[[str], None]) -> Evaluation:
    """Train every variant with each seed and judge it beside the baselines; its metrics are means over the seeds."""
    found = parts(seen)
    unseen = unseen_of(found.fit)
    fitted = _without(found.fit, unseen)
    check = _without(found.check, unseen)
    soon = int(np.argmin(np.abs(found.test.leads_s - _SOON_S)))
    chosen = found.test.holds[..., -1] & unseen.holds(found.test.watts)
    if not chosen.any():
        raise InputError("no node draws, in the time that is left for tests, a power that was not learned of")
    units = seen.telemetry.node_w.shape[1]
    judged: dict[str, list[Floats]] = {}
    learned: list[Trained] = []

    def judge(name: str, said: Said) -> None:
        judged.setdefault(name, []).append(_metrics(seen, found.test, chosen, soon, said, _noise(said, check)))

    for seed in seeds:
        for name, (physics, weight) in VARIANTS.items():
            told(f"seed {seed}: {name}")
            trained = train(fitted, check, units, Plan(seed, epochs), physics=physics, weight=weight)
            judge(name, partial(said_k, trained))
            if name == SHIPPED:
                learned.append(trained)
    told("baselines")
    judge("linear regression", _regression(fitted))
    judge("as warm as now", lambda some: np.repeat(some.above_k[..., None], some.leads_s.size, -1))
    if seen.truth is not None:
        judge("true equations", seen.truth.closed_form_k)
    mean = {name: np.mean(each, axis=0) for name, each in judged.items()}
    window = np.nonzero(chosen)[0]
    return Evaluation(
        SHIPPED,
        columns(found.test, seen),
        compare_means(mean, found.test.start_s[window] // DAY_S, SHIPPED),
        seeds,
        _of(seen, found, learned, window.size, fitted),
        (_diagram(found, check, learned[0], unseen),),
    )


def columns(test: Windows, seen: Seen) -> tuple[Column, ...]:
    """The figures of a predictor."""
    soon, late = (f"{round(each / 60)} min" for each in (_SOON_S, int(test.leads_s[-1])))
    of_readings = Column(f"MAE of readings, {soon}, K")
    known: tuple[Column, ...] = (of_readings, Column(f"MAE of readings, {late}, K"))
    if seen.truth is not None:
        known = (Column(f"MAE, {soon}, K"), Column(f"MAE, {late}, K"), of_readings)
    return *known, Column("90 % interval holds", 1, 100.0), Column("its width, K", 2), Column("CRPS, K")


def _without(some: Windows, unseen: Unseen) -> Windows:
    return some._replace(holds=some.holds & ~unseen.holds(some.watts)[..., None])


def _noise(said: Said, check: Windows) -> Floats:
    return noise_k(said(check), check)


def _metrics(seen: Seen, test: Windows, chosen: Bools, soon: int, said: Said, deviation_k: Floats) -> Floats:
    """Of each chosen node, (T, K): the errors of the columns, and the interval of the reading soon."""
    predicted = said(test)[chosen].astype(np.float64)
    error_read = np.abs(predicted - test.later_k[chosen])
    found = [error_read[:, soon], error_read[:, -1]]
    if seen.truth is not None:
        error = np.abs(predicted - _real_k(seen.truth, seen.telemetry, test)[chosen])
        found = [error[:, soon], error[:, -1], found[0]]
    half_k = WITHIN * deviation_k[soon]
    held, crps_k = error_read[:, soon] <= half_k, deviation_k[soon] * _crps(error_read[:, soon] / deviation_k[soon])
    return np.stack([*found, held.astype(np.float64), np.full(len(predicted), 2.0 * half_k), crps_k], axis=1)


def _crps(z: Floats) -> Floats:
    """CRPS of a standard normal at ``z`` (Gneiting and Raftery 2007)."""
    from scipy.special import ndtr

    return np.asarray(z * (2.0 * ndtr(z) - 1.0) + 2.0 * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) - 1 / np.sqrt(np.pi))


def _real_k(truth: Truth, telemetry: Telemetry, some: Windows) -> npt.NDArray[np.float32]:
    """What the later readings of windows would have been without noise."""
    start = np.searchsorted(telemetry.time_s, some.start_s)
    late = np.searchsorted(telemetry.time_s, some.start_s[:, None] + some.leads_s)
    node_c = truth.node_c[late[:, None, :], some.units[:, :, None]]
    return np.asarray(node_c - telemetry.supply_c[start][:, None, None])


def _regression(fitted: Windows) -> Said:
    """Ridge regression of the later temperatures, of each look by itself, on what the network knows."""

    def known(some: Windows) -> Floats:
        racks = racks_of(some, np.zeros(int(some.units.max()) + 1, np.float32))
        x = features(np, racks)[..., :-1].astype(np.float64)
        return np.concatenate([x, np.ones_like(x[..., :1])], -1)

    x = known(fitted)
    scale = np.maximum(np.abs(x).mean((0, 1)), 1e-9)
    by_look = []
    for look in range(fitted.leads_s.size):
        rows = x[fitted.holds[..., look]] / scale
        target = fitted.later_k[..., look][fitted.holds[..., look]]
        by_look.append(np.linalg.solve(rows.T @ rows + _RIDGE * np.eye(scale.size), rows.T @ target) / scale)
    return lambda some: np.asarray(known(some) @ np.stack(by_look, -1))


def _of(seen: Seen, found: Parts, learned: list[Trained], tested: int, fitted: Windows) -> str:
    """What figures are of, and how far R and C are from the truth."""
    days = len(np.unique(found.test.start_s // DAY_S))
    said = (
        f"{len(found.fit.start_s):,} windows of racks to fit, {len(found.check.start_s):,} to check, {tested:,} nodes "
        f"under unseen powers to test ({days} days)"
    )
    if seen.truth is None:
        return said
    units = np.unique(fitted.units[fitted.there > 0])
    off, off_c = [], []
    for each in learned:
        ratio = np.exp(each.tensors["ln_k_per_w"] + each.tensors["factor"]) / seen.truth.k_per_w_U - 1.0
        off.append(np.abs(ratio[units]))
        off_c.append(float(np.exp(each.tensors["ln_j_per_k"])) / seen.truth.j_per_k - 1.0)
    within, mean, largest = (100.0 * float(each) for each in (np.mean(np.array(off) <= 0.1), np.mean(off), np.max(off)))
    return (
        f"{said}; R within 10 % of the truth for {within:.1f} % of nodes (mean error {mean:.1f} %, largest "
        f"{largest:.1f} %), C off by {', '.join(f'{100 * each:+.1f}' for each in off_c)} %"
    )


def _diagram(found: Parts, check: Windows, trained: Trained, unseen: Unseen) -> Diagram:
    """Do intervals of readings hold what they promise, soon and late?"""
    masses = np.arange(0.1, 1.0, 0.1)
    errors = np.abs(said_k(trained, found.test) - found.test.later_k)
    known = np.abs(said_k(trained, check) - check.later_k)
    curves = {}
    for look in (int(np.argmin(np.abs(found.test.leads_s - _SOON_S))), found.test.leads_s.size - 1):
        chosen = found.test.holds[..., look] & unseen.holds(found.test.watts)
        if not check.holds[..., look].any():
            continue
        half = np.quantile(known[..., look][check.holds[..., look]], masses)
        held = (errors[..., look][chosen][:, None] <= half).mean(0)
        curves[f"after {round(found.test.leads_s[look] / 60)} min"] = (masses, held)
    return Diagram(
        "reliability", "Do intervals hold what they promise?", "central interval promises, share of readings",
        "interval held, share of readings", curves, diagonal=True,
    )  # fmt: skip
