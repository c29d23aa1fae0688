"""From the jobs of a run to weights of the job failure networks that can be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from . import job_failure_network as network
from .features import NAMES
from .job_failure import SEQUENCE
from .job_failure_training import DRAWN_EPOCHS, Data, Trained, data, drawn, together, train
from .judging import Evaluation
from .learners import Learner, Made, Recorded
from .loop import Course, Plan, digest
from .network import scaled
from .platt import WINDOW
from .records import Records, Split, of_run, split

PATIENCE: Final = 5
"""After how many epochs that bring nothing a training ends; there are few, for it soon knows its jobs by heart."""

_DIGITS: Final = 4


class Lesson(NamedTuple):
    """The jobs to fit and to check, of one run or of several, the latter in the order of their ends; and drawn ones."""

    fit: Data
    drawn: Data
    check: Data
    gap_s: int


def lesson(runs: Sequence[tuple[Records, Split]], seed: int) -> Lesson:
    """The lesson of the jobs of some runs; ``seed`` is that of the drawn failures."""
    rng = np.random.default_rng(seed)
    order = np.argsort(np.concatenate([rows.end_s[parts.check] for rows, parts in runs]), kind="stable")
    return Lesson(
        together([data(rows, parts.fit) for rows, parts in runs]),
        together([drawn(rows, parts.fit, rng) for rows, parts in runs]),
        together([data(rows, parts.check) for rows, parts in runs]).take(order),
        min(parts.gap_s for _, parts in runs),
    )


def half(trained: Trained) -> Trained:
    """The same weights as they are kept in a file: in half precision."""
    tensors = {name: value.astype(np.float16).astype(np.float32) for name, value in trained.tensors.items()}
    center, scale = ([float(f"{value:.6g}") for value in values] for values in (trained.center, trained.scale))
    return trained._replace(tensors=tensors, center=center, scale=scale)


def log_odds(trained: Trained, jobs: Data) -> network.Singles:
    """What the members say of jobs when they are submitted, (J, E)."""
    x = scaled(jobs.features, trained.center, trained.scale)
    return network.log_odds(network.ready(trained.tensors), x, jobs.known)


def made(trained: Trained, taught: Lesson, plan: Plan) -> Made:
    """Trained weights as they are kept."""
    import torch
    from sklearn.metrics import average_precision_score

    trained = half(trained)
    best = trained.losses[trained.best_epoch]
    failed = taught.check.failed
    jobs = len(taught.fit.failed), len(failed)
    odds = log_odds(trained, taught.check).mean(1)
    about = {
        "kind": network.KIND,
        "seed": plan.seed,
        "config": {"members": network.MEMBERS, "layers": network.LAYERS, "hidden": network.HIDDEN,
                   "heads": network.HEADS, "epochs": plan.epochs, "drawn_epochs": DRAWN_EPOCHS,
                   "patience": plan.patience, "batch": plan.batch},
        "data": {"sha256": digest(taught.fit.arrays), "fit": jobs[0], "drawn": len(taught.drawn.failed),
                 "check": jobs[1], "gap_s": taught.gap_s},
        "metrics": {"epochs": len(trained.losses), "best_epoch": trained.best_epoch,
                    "loss_fit": round(best[0], _DIGITS), "loss_check": round(best[1], _DIGITS),
                    "failed_check": round(float(failed.mean()), _DIGITS),
                    "pr_auc_check": round(float(average_precision_score(failed, odds)), _DIGITS)},
        "versions": {"torch": torch.__version__.partition("+")[0], "numpy": np.__version__},
        "features": list(NAMES),
        "sequence": SEQUENCE,
        "center": trained.center,
        "scale": trained.scale,
        "odds": [round(float(each), _DIGITS) for each in odds[-WINDOW:]],
        "failed": [int(each) for each in failed[-WINDOW:]],
    }  # fmt: skip
    told = (
        f"{jobs[0]:,} jobs to fit, {jobs[1]:,} to check; the best of {len(trained.losses)} epochs is "
        f"{trained.best_epoch + 1}: loss {best[0]:.3f}, of the jobs to check {best[1]:.3f}"
    )
    return Made({key: value.astype(np.float16) for key, value in trained.tensors.items()}, about, told)


class _JobFailure:
    """See ``learners.Learner``."""

    settings: Mapping[str, Any] = {}

    def records(self, run: Recorded) -> Records:
        return of_run(run.tables["jobs"], run.manifest["t0_utc"], run.manifest["machine"]["nodes"])

    def train(self, runs: Sequence[Records], plan: Plan, course: Course) -> Made:
        plan = plan._replace(patience=PATIENCE)
        taught = lesson([(rows, split(rows)) for rows in runs], plan.seed)
        return made(train(taught.fit, taught.drawn, taught.check, plan, course), taught, plan)

    def evaluate(self, records: Records, seeds: list[int], epochs: int, told: Callable[[str], None]) -> Evaluation:
        from .job_failure_evaluation import evaluate

        return evaluate(records, split(records), seeds, told, epochs)


LEARNER: Final[Learner] = _JobFailure()
