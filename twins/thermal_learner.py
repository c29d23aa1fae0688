"""From the telemetry of a run to weights of the thermal twin that can be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import InputError

from .gpu_heat import Gpus
from .gpu_training import fit, inlets_k, of_gpus, with_noise
from .judging import Evaluation
from .learners import Learner, Made, Recorded
from .loop import Course, Plan, digest
from .rack_heat import EQUATIONS, FEATURES, HIDDEN, TIMES_S
from .thermal_certainty import factor_variance, layer_root, noise_k
from .thermal_model import KIND
from .thermal_training import WEIGHT, Trained, said_k, train
from .thermal_windows import Telemetry, Windows, of_run, windows

_NODES: Final = 400_000  # of the windows to fit; of those to check a quarter
_MOST: Final = 20_000
_FIT, _CHECK = 0.6, 0.8  # of the time, until then


class GpuTruth(NamedTuple):
    """What only a simulator knows of GPUs: temperatures (S, U) without noise, R and tau; of windows the inlets."""

    gpu_c: npt.NDArray[np.float32]
    gpus: Gpus
    inlet_k: Callable[[Windows], npt.NDArray[Any]]


class Truth(NamedTuple):
    """What only a simulator knows, for those who judge: temperatures without noise and drift, R and C of the machine.

    ``node_c`` (S, U) goes with the samples of the telemetry. ``closed_form_k`` solves the machine's own equations for
    the later looks of windows, kelvins above the supply, (N, n, L).
    """

    node_c: npt.NDArray[np.float32]
    k_per_w_U: npt.NDArray[np.float64]
    j_per_k: float
    closed_form_k: Callable[[Windows], npt.NDArray[Any]]
    gpus: GpuTruth | None = None


class Seen(NamedTuple):
    """What sensors read of a machine; with ``share`` below 1 only so many windows of it are learned from."""

    telemetry: Telemetry
    truth: Truth | None = None
    share: float = 1.0


class Parts(NamedTuple):
    """Windows to fit, to check and to test, each part later than the last."""

    fit: Windows
    check: Windows
    test: Windows


def parts(seen: Seen) -> Parts:
    """The windows of a run: of its first 60 %, the next 20 % and the rest. No window reaches into the next part."""
    telemetry = seen.telemetry
    samples = len(telemetry.time_s)
    bounds = [0, int(_FIT * samples), int(_CHECK * samples), samples]
    most = min(_MOST, _NODES // telemetry.units_per_rack)
    counts = (most, most // 4, most // 4)
    rng = np.random.default_rng(1)
    found = Parts(*(windows(telemetry, a, b, n, rng) for a, b, n in zip(bounds, bounds[1:], counts, strict=False)))
    if seen.share < 1.0:
        total = len(found.fit.start_s)
        fewer = np.sort(rng.permutation(total)[: max(1, round(seen.share * total))])
        found = found._replace(fit=found.fit.take(fewer))
    return found


def made(trained: Trained, found: Parts, plan: Plan, seen: Telemetry) -> Made:
    """Trained weights as they are kept: nodes and network in half precision; with GPUs what is learned of these."""
    import torch

    tensors = {name: np.asarray(value, np.float32) for name, value in trained.tensors.items()}
    kept: dict[str, npt.NDArray[Any]] = {
        name: value.astype(np.float16) for name, value in tensors.items() if name not in EQUATIONS
    }
    trained = trained._replace(tensors={**tensors, **{name: each.astype(np.float32) for name, each in kept.items()}})
    kept["equations"] = np.array([tensors[name] for name in EQUATIONS], np.float32)
    kept["factor_deviation"] = np.sqrt(factor_variance(trained, found.fit)).astype(np.float16)
    kept["layer_root"] = layer_root(trained, found.fit, plan.seed).astype(np.float16)
    kept["looks_s"] = found.check.leads_s.astype(np.float32)
    kept["noise_k"] = noise_k(said_k(trained, found.check), found.check).astype(np.float16)
    best = trained.losses[trained.best_epoch]
    error_k = np.abs(said_k(trained, found.check) - found.check.later_k)
    look = int(np.argmin(np.abs(found.check.leads_s - 300)))
    windows_ = len(found.fit.start_s), len(found.check.start_s)
    about: dict[str, Any] = {
        "kind": KIND,
        "seed": plan.seed,
        "config": {"hidden": list(HIDDEN), "times_s": list(TIMES_S), "weight": WEIGHT, "epochs": plan.epochs},
        "data": {"sha256": digest(found.fit), "fit": windows_[0], "check": windows_[1]},
        "metrics": {"epochs": len(trained.losses), "best_epoch": trained.best_epoch,
                    "loss_fit_k2": round(best[0], 4), "loss_check_k2": round(best[1], 4),
                    "mae_check_k": round(float(error_k[..., look][found.check.holds[..., look]].mean()), 4)},
        "learned": {name: round(float(np.exp(tensors[f"ln_{name}"])), 6) for name in ("k_per_w", "j_per_k", "w_per_k")},
        "versions": {"torch": torch.__version__.partition("+")[0], "numpy": np.__version__},
        "units": int(tensors["factor"].size),
        "looks": int(found.check.leads_s.size),
        "features": list(FEATURES),
        "center": trained.center,
        "scale": trained.scale,
    }  # fmt: skip
    said = (
        f"{windows_[0]:,} windows of racks to fit, {windows_[1]:,} to check; the best of {len(trained.losses)} epochs "
        f"is {trained.best_epoch + 1}: loss {best[0]:.3f} K2, of the windows to check {best[1]:.3f} K2; "
        f"R {about['learned']['k_per_w']:.4g} K/W, C {about['learned']['j_per_k']:.5g} J/K"
    )
    if seen.gpus is not None:
        gpus = gpus_of(trained, found, seen)
        kept |= {
            "gpu_equations": np.array([gpus.ln_k_per_w, gpus.ln_tau_s], np.float32),
            "gpu_factor": gpus.factor.astype(np.float16),
            "gpu_factor_deviation": gpus.factor_deviation.astype(np.float16),
            "gpu_noise_k": gpus.noise_k.astype(np.float16),
        }
        about["gpus"] = seen.gpus.machine.gpus_per_node
        about["learned"] |= {
            name: round(float(np.exp(each)), 6)
            for name, each in (("gpu_k_per_w", gpus.ln_k_per_w), ("gpu_tau_s", gpus.ln_tau_s))
        }
        said += f"; of one GPU R {about['learned']['gpu_k_per_w']:.4g} K/W, tau {about['learned']['gpu_tau_s']:.3g} s"
    return Made(kept, about, said)


def gpus_of(trained: Trained, found: Parts, seen: Telemetry) -> Gpus:
    """What is learned of the GPUs with nodes that are known."""
    fitted, check = (of_gpus(seen, each) for each in (found.fit, found.check))
    gpus = fit(fitted, inlets_k(trained, found.fit), trained.tensors["factor"].size)
    return with_noise(gpus, check, inlets_k(trained, found.check))


class _Thermal:
    """See ``learners.Learner``."""

    settings: Mapping[str, Any] = {"physics.telemetry.interval": "1m"}

    def records(self, run: Recorded) -> Seen:
        if run.machine is None or run.telemetry is None or "temperature" not in run.tables:
            raise InputError("the thermal twin learns from telemetry of temperatures: the scenario needs physics")
        submitted_s = int(np.asarray(run.tables["jobs"]["submit_s"]).max())
        return Seen(of_run(run.telemetry(), run.tables["temperature"], run.machine, submitted_s))

    def train(self, runs: Sequence[Seen], plan: Plan, course: Course) -> Made:
        if len(runs) != 1:
            raise InputError("the thermal twin learns each node of one machine: name one scenario")
        found = parts(runs[0])
        units = runs[0].telemetry.node_w.shape[1]
        return made(train(found.fit, found.check, units, plan, course), found, plan, runs[0].telemetry)

    def evaluate(self, records: Seen, seeds: list[int], epochs: int, told: Callable[[str], None]) -> Evaluation:
        from .thermal_evaluation import evaluate

        return evaluate(records, seeds, epochs, told)


LEARNER: Final[Learner] = _Thermal()
