"""How good predicted temperatures of GPUs are, of the nodes and at the looks that the thermal twin is judged by."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import MachineSpec

from .gpu_heat import Gpus, k_per_w, one_w
from .gpu_training import inlets_k, of_gpus, said_k
from .judging import DAY_S, Evaluation, compare_means
from .thermal_certainty import noise_k
from .thermal_figures import columns, later_k, metrics, regressed
from .thermal_learner import GpuTruth, Parts, Seen, gpus_of
from .thermal_training import Trained
from .thermal_windows import Windows

Floats = npt.NDArray[np.float64]

SHIPPED: Final = "thermal-rc, GPUs"
UNREAD: Final = "the catalogue's share"
"""The same where no sensor has told how busy the GPUs are, as of a node on which a program is only planned."""


def gpus_judged(
    seen: Seen, found: Parts, chosen: npt.NDArray[np.bool_], learned: list[Trained], seeds: list[int]
) -> Evaluation:
    """Judge what nodes that were ``learned`` with each of ``seeds`` make of their GPUs, beside the baselines."""
    if seen.telemetry.gpus is None:
        raise ValueError("telemetry without GPUs")
    machine, truth = seen.telemetry.gpus.machine, None if seen.truth is None else seen.truth.gpus
    of_nodes = Parts(*found)
    fitted, check, test = (of_gpus(seen.telemetry, each) for each in found)
    unread = [_unread(machine, nodes, gpus) for nodes, gpus in ((of_nodes.check, check), (of_nodes.test, test))]
    real_k = None if truth is None else later_k(truth.gpu_c, seen.telemetry, test)
    judged: dict[str, list[Floats]] = {}
    gpus: list[Gpus] = []

    def judge(name: str, said_check: npt.NDArray[Any], said_test: npt.NDArray[Any]) -> None:
        figures = metrics(said_test, test, real_k, chosen, noise_k(said_check, check))
        judged.setdefault(name, []).append(figures)

    for trained in learned:
        gpus.append(gpus_of(trained, found, seen.telemetry))
        inlet_k = [inlets_k(trained, each) for each in (of_nodes.check, of_nodes.test)]
        for name, some in ((SHIPPED, (check, test)), (UNREAD, unread)):
            judge(name, *(said_k(gpus[-1], each, warm_k) for each, warm_k in zip(some, inlet_k, strict=True)))
    said = regressed(_known(of_nodes.fit, fitted), fitted)
    judge("linear regression", said(_known(of_nodes.check, check)), said(_known(of_nodes.test, test)))
    judge("as warm as now", *(np.repeat(each.above_k[..., None], each.leads_s.size, -1) for each in (check, test)))
    if truth is not None:
        judge(
            "true equations",
            *(said_k(truth.gpus, b, truth.inlet_k(a)) for a, b in ((of_nodes.check, check), (of_nodes.test, test))),
        )
    window = np.nonzero(chosen)[0]
    mean = {name: np.mean(each, axis=0) for name, each in judged.items()}
    return Evaluation(
        SHIPPED,
        columns(test, truth=truth is not None),
        compare_means(mean, test.start_s[window] // DAY_S, SHIPPED),
        seeds,
        _of(window.size, gpus, truth, np.unique(fitted.units[fitted.there > 0])),
    )


def _unread(machine: MachineSpec, nodes: Windows, gpus: Windows) -> Windows:
    """Windows of GPUs of which nobody knows how busy they are."""
    watts = one_w(machine, nodes.watts, np.full(nodes.watts.shape, np.nan))
    return gpus._replace(watts=watts.astype(np.float32))


def _known(nodes: Windows, gpus: Windows) -> Floats:
    """What the regression knows: of each GPU and its node warmth and watts, and the watts of the rack."""
    rack_w = ((nodes.watts * nodes.there).sum(1) / nodes.there.sum(1))[:, None] + np.zeros_like(nodes.watts)
    return np.stack([gpus.above_k, gpus.watts, nodes.watts, rack_w], -1).astype(np.float64)


def _of(tested: int, gpus: list[Gpus], truth: GpuTruth | None, units: npt.NDArray[np.int64]) -> str:
    """What figures are of, and how far R and tau are from the truth."""
    said = f"GPUs of {tested:,} nodes under unseen powers"
    if truth is None:
        return said
    real = k_per_w(truth.gpus, truth.gpus.factor)[units]
    off = np.array([np.abs(k_per_w(each, each.factor)[units] / real - 1.0) for each in gpus])
    off_tau = (100.0 * (np.exp(each.ln_tau_s - truth.gpus.ln_tau_s) - 1.0) for each in gpus)
    return (
        f"{said}; R within 10 % of the truth for {100.0 * np.mean(off <= 0.1):.1f} % of them (mean error "
        f"{100.0 * off.mean():.1f} %, largest {100.0 * off.max():.1f} %), tau off by "
        f"{', '.join(f'{each:+.1f}' for each in off_tau)} %"
    )
