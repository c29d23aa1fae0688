"""From the jobs of a run to weights of the performance ensemble that can be used."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from . import lognormal, network, weights
from .features import NAMES
from .performance_ensemble import KIND, WINDOW
from .records import Records, Split
from .training import Plan, Trained, train

DIGITS: Final = 4


def fit(
    rows: Records,
    parts: Split,
    plan: Plan,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    told: Callable[[int, float, float], None] = lambda epoch, fitted, checked: None,
) -> Trained:
    """Train on the jobs to fit, until those to check say that it is enough; see ``training.train``."""
    return train(
        rows.data(parts.fit), rows.data(parts.check), plan, checkpoint=checkpoint, resume=resume, told=told
    )


def mixture(trained: Trained, rows: Records, which: np.ndarray[Any, Any]) -> lognormal.Mixture:
    """What the ensemble says of some jobs when they are submitted."""
    x = network.scaled(rows.features[which], trained.center, trained.scale)
    return network.mixture_of(network.outputs(trained.tensors, x), rows.jobs.walltime_s[which])


def half(trained: Trained) -> Trained:
    """The same weights as they are kept in a file: in half precision."""
    tensors = {name: value.astype(np.float16).astype(np.float32) for name, value in trained.tensors.items()}
    scale = [float(f"{value:.6g}") for value in trained.scale]
    return trained._replace(tensors=tensors, center=[float(f"{value:.6g}") for value in trained.center], scale=scale)


def scores(trained: Trained, rows: Records, which: np.ndarray[Any, Any]) -> list[float]:
    """The conformal scores of the last thousand of some jobs, rounded, in the order of their ends."""
    last = which[np.argsort(rows.end_s[which], kind="stable")][-WINDOW:]
    found = lognormal.central_mass(mixture(trained, rows, last), rows.runtime_s[last].astype(np.float64))
    return [round(float(score), DIGITS) for score in found]


def keep(
    trained: Trained, rows: Records, parts: Split, plan: Plan, directory: Path, name: str, told: dict[str, Any]
) -> Path:
    """Write weights as ``directory/NAME.performance.json`` and ``.safetensors``; ``told`` is added to the JSON."""
    import torch

    trained = half(trained)
    best = trained.losses[trained.best_epoch]
    about = {
        "kind": KIND,
        "features": list(NAMES),
        "center": trained.center,
        "scale": trained.scale,
        "scores": scores(trained, rows, parts.check),
        "config": {"members": network.MEMBERS, "hidden": list(network.HIDDEN), "components": network.COMPONENTS,
                   **plan._asdict()},
        "data": {"sha256": rows.data(parts.fit).digest(), "fit": len(parts.fit), "check": len(parts.check),
                 "test": len(parts.test), "gap_s": parts.gap_s},
        "metrics": {"epochs": len(trained.losses), "best_epoch": trained.best_epoch,
                    "nll_fit": _rounded(best[0]), "nll_check": _rounded(best[1])},
        "versions": {"torch": torch.__version__.partition("+")[0], "numpy": np.__version__},
        **told,
    }  # fmt: skip
    tensors = {key: value.astype(np.float16) for key, value in trained.tensors.items()}
    return weights.save(directory, f"{name}.performance", tensors, about)


def _rounded(value: float) -> float | None:
    return round(value, DIGITS) if math.isfinite(value) else None
