"""How good predicted temperatures are, on later windows than those learned from and on powers that were not learned.

Powers between the 40 % and 50 % quantiles of what busy nodes draw, and above the 90 % quantile, are left out of what is
learned. Judged are nodes that draw such a power, in the last 20 % of the time, for as long as the last look is away:
there they are as warm as they get; so are their GPUs, which are judged by themselves. Where the truth is known
(``thermal_learner.Truth``), errors are against that, else against readings; intervals are always of readings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import InputError

from .gpu_evaluation import gpus_judged
from .judging import DAY_S, Diagram, Evaluation, compare_means
from .loop import Plan
from .rack_heat import features
from .thermal_certainty import noise_k
from .thermal_figures import columns, later_k, metrics, regressed, soon
from .thermal_learner import Parts, Seen, parts
from .thermal_training import WEIGHT, Trained, racks_of, said_k, train
from .thermal_windows import Windows

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

_UNSEEN: Final = (0.4, 0.5, 0.9)


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
    chosen = found.test.holds[..., -1] & unseen.holds(found.test.watts)
    if not chosen.any():
        raise InputError("no node draws, in the time that is left for tests, a power that was not learned of")
    units = seen.telemetry.node_w.shape[1]
    judged: dict[str, list[Floats]] = {}
    learned: list[Trained] = []
    real_k = None if seen.truth is None else later_k(seen.truth.node_c, seen.telemetry, found.test)

    def judge(name: str, said: Said) -> None:
        judged.setdefault(name, []).append(metrics(said(found.test), found.test, real_k, chosen, _noise(said, check)))

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
        columns(found.test, truth=seen.truth is not None),
        compare_means(mean, found.test.start_s[window] // DAY_S, SHIPPED),
        seeds,
        _of(seen, found, learned, window.size, fitted),
        (_diagram(found, check, learned[0], unseen),),
        ()
        if seen.telemetry.gpus is None
        else (gpus_judged(seen, Parts(fitted, check, found.test), chosen, learned, seeds),),
    )


def _without(some: Windows, unseen: Unseen) -> Windows:
    return some._replace(holds=some.holds & ~unseen.holds(some.watts)[..., None])


def _noise(said: Said, check: Windows) -> Floats:
    return noise_k(said(check), check)


def _regression(fitted: Windows) -> Said:
    """Ridge regression on what the network knows."""

    def known(some: Windows) -> Floats:
        racks = racks_of(some, np.zeros(int(some.units.max()) + 1, np.float32))
        return np.asarray(features(np, racks)[..., :-1], np.float64)

    said = regressed(known(fitted), fitted)
    return lambda some: said(known(some))


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
    for look in (soon(found.test), found.test.leads_s.size - 1):
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
