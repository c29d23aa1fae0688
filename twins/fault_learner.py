"""How the fault twin is trained and judged: see ``learners.Learner``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from . import fault_network as network
from .fault_features import PER_INTERVAL, SENSES_EVERY_S
from .fault_lstm import KIND
from .fault_records import FaultRecords, of_run
from .fault_training import STEP, taught, train
from .judging import Evaluation
from .learners import Learner, Made, Recorded
from .loop import Course, Plan

_DIGITS: Final = 6


class _Fault:
    """See ``learners.Learner``."""

    settings: Mapping[str, Any] = {"physics.telemetry.interval": SENSES_EVERY_S}

    def records(self, run: Recorded) -> FaultRecords:
        return of_run(run)

    def train(self, runs: Sequence[FaultRecords], plan: Plan, course: Course) -> Made:
        import torch

        runs, signs = taught(runs)
        trained = train(runs, signs, plan, course)
        best = trained.losses[trained.best_epoch]
        failed = [rows.within(rows.all_of(rows.parts()[0], STEP), network.HORIZON_H) for rows in runs]
        usual_per_h = float(np.clip(np.concatenate(failed).mean(), 1e-9, 1.0) / network.HORIZON_H)
        if trained.covariance is None:
            raise ValueError("a network that was not calibrated")
        level, slope = trained.calibration
        share = round(float(trained.tensors["linear_share"][0]), 1)
        hours = sum(len(rows.practice.time_s) for rows in runs if rows.practice is not None)
        about = {
            "kind": KIND,
            "seed": plan.seed,
            "config": {"hidden": network.HIDDEN, "heads": network.HEADS, "dense": network.DENSE,
                       "edges_h": list(network.EDGES_H), "epochs": plan.epochs, "patience": plan.patience,
                       "batch": plan.batch},
            "data": {"sha256": trained.digest, "practice_hours": hours, "interval_s": PER_INTERVAL * SENSES_EVERY_S},
            "metrics": {"epochs": len(trained.losses), "best_epoch": trained.best_epoch,
                        "nll_fit": round(best[0], _DIGITS), "nll_check": round(best[1], _DIGITS)},
            "versions": {"torch": torch.__version__.partition("+")[0], "numpy": np.__version__},
            "features": list(network.FEATURES),
            "center": trained.center.tolist(),
            "scale": trained.scale.tolist(),
            "signs": {"warm_k": round(signs.warm_k, 2), "errors_per_h": round(signs.errors_per_h, 2)},
            "linear_share": share,
            "calibration": {"level": level, "slope": slope, "usual_per_h": usual_per_h,
                            "covariance": trained.covariance.reshape(-1).tolist()},
        }  # fmt: skip
        said = (
            f"{hours:,} hours of practice; the best of {len(trained.losses)} epochs is {trained.best_epoch + 1}: loss "
            f"{best[0]:.4f}, of the hours to check {best[1]:.4f}; the logistic member has a share of {share}"
        )
        return Made({name: value.astype(np.float16) for name, value in trained.tensors.items()}, about, said)

    def evaluate(self, records: FaultRecords, seeds: list[int], epochs: int, told: Callable[[str], None]) -> Evaluation:
        from .fault_evaluation import evaluate

        return evaluate(records, seeds, epochs, told)


LEARNER: Final[Learner] = _Fault()
