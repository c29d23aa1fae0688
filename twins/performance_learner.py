"""From the jobs of a run to weights of the performance ensemble that can be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from . import lognormal, network
from .features import NAMES
from .judging import Evaluation
from .learners import Learner, Made, Recorded
from .loop import Course, Plan, digest
from .performance_ensemble import WINDOW
from .records import Records, Split, of_run, split
from .training import Data, Trained, train

_DIGITS: Final = 4


class Lesson(NamedTuple):
    """The jobs to fit and to check, of one run or of several; the latter in the order of their ends."""

    fit: Data
    check: Data
    gap_s: int


def lesson(runs: Sequence[tuple[Records, Split]]) -> Lesson:
    """The lesson of the jobs of some runs."""
    check = [rows.data(parts.check) for rows, parts in runs]
    order = np.argsort(np.concatenate([rows.end_s[parts.check] for rows, parts in runs]), kind="stable")
    return Lesson(
        Data(*map(np.concatenate, zip(*[rows.data(parts.fit) for rows, parts in runs], strict=True))),
        Data(*(np.concatenate(part)[order] for part in zip(*check, strict=True))),
        min(parts.gap_s for _, parts in runs),
    )


def mixture(trained: Trained, data: Data) -> lognormal.Mixture:
    """What the ensemble says of jobs when they are submitted."""
    x = network.scaled(data.features, trained.center, trained.scale)
    output = network.outputs(trained.tensors, x, network.pointed(data.features))
    return network.mixture_of(output, data.walltime_s.astype(np.int64))


def half(trained: Trained) -> Trained:
    """The same weights as they are kept in a file: in half precision."""
    tensors = {name: value.astype(np.float16).astype(np.float32) for name, value in trained.tensors.items()}
    scale = [float(f"{value:.6g}") for value in trained.scale]
    return trained._replace(tensors=tensors, center=[float(f"{value:.6g}") for value in trained.center], scale=scale)


def scores(trained: Trained, check: Data) -> list[float]:
    """The conformal scores of the last thousand of the jobs to check."""
    last = Data(*(part[-WINDOW:] for part in check))
    return [
        round(float(score), 2 * _DIGITS) for score in lognormal.central_mass(mixture(trained, last), last.runtime_s)
    ]


def made(trained: Trained, taught: Lesson, plan: Plan) -> Made:
    """Trained weights as they are kept."""
    import torch

    trained = half(trained)
    best = trained.losses[trained.best_epoch]
    jobs = len(taught.fit.runtime_s), len(taught.check.runtime_s)
    said = lognormal.quantiles(mixture(trained, taught.check), np.full((jobs[1], 1), 0.5))[:, 0]
    real = np.maximum(taught.check.runtime_s, 1.0)
    about = {
        "kind": network.KIND,
        "seed": plan.seed,
        "config": {"members": network.MEMBERS, "hidden": list(network.HIDDEN), "components": network.FREE,
                   "pointers": list(network.POINTERS),
                   "epochs": plan.epochs, "patience": plan.patience, "batch": plan.batch},
        "data": {"sha256": digest(taught.fit), "fit": jobs[0], "check": jobs[1], "gap_s": taught.gap_s},
        "metrics": {"epochs": len(trained.losses), "best_epoch": trained.best_epoch,
                    "nll_fit": round(best[0], _DIGITS), "nll_check": round(best[1], _DIGITS),
                    "accuracy_check": round(float(np.mean(np.minimum(said, real) / np.maximum(said, real))), _DIGITS)},
        "versions": {"torch": torch.__version__.partition("+")[0], "numpy": np.__version__},
        "features": list(NAMES),
        "center": trained.center,
        "scale": trained.scale,
        "scores": scores(trained, taught.check),
    }  # fmt: skip
    told = (
        f"{jobs[0]:,} jobs to fit, {jobs[1]:,} to check; the best of {len(trained.losses)} epochs is "
        f"{trained.best_epoch + 1}: loss {best[0]:.3f}, of the jobs to check {best[1]:.3f}"
    )
    return Made({key: value.astype(np.float16) for key, value in trained.tensors.items()}, about, told)


class _Performance:
    """See ``learners.Learner``."""

    settings: Mapping[str, Any] = {}

    def records(self, run: Recorded) -> Records:
        return of_run(run.tables["jobs"], run.manifest["t0_utc"], run.manifest["machine"]["nodes"])

    def train(self, runs: Sequence[Records], plan: Plan, course: Course) -> Made:
        taught = lesson([(rows, split(rows)) for rows in runs])
        return made(train(taught.fit, taught.check, plan, course), taught, plan)

    def evaluate(self, records: Records, seeds: list[int], epochs: int, told: Callable[[str], None]) -> Evaluation:
        from .performance_evaluation import evaluate

        return evaluate(records, split(records), seeds, told, epochs)


LEARNER: Final[Learner] = _Performance()
