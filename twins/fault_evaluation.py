"""How good forecasts of failing units are, on months later than those that were learned from.

Judged is every third hour: which of the units in service failed within 24 hours. Figures: the area under the curve of
precision over recall (average precision), that relative to the share of units that fail, that relative to the true
hazard's, and the expected calibration error over ten spans of probability (Guo et al. 2017). Days are resampled, the
same for all (``judging``).

The baselines learn from as many unit-hours of the same practice, drawn in the same way, with the same features, and are
calibrated in the same way on the same months.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import InputError

from .fault_features import HOUR_S
from .fault_network import HORIZON_H, probability
from .fault_records import FaultRecords, Hours
from .fault_training import LINEAR_DRAWN, STEP, calibrated, draw, taught, train
from .judging import Column, Diagram, Evaluation, compare
from .loop import ALONE, Plan

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

LEARNED: Final = "fault-lstm"
TRUE: Final = "true hazard"
_COLUMNS: Final = (
    Column("PR-AUC", 4),
    Column("times prevalence", 1),
    Column("% of the true hazard's", 1, 100.0),
    Column("ECE", 4),
)
_BINS: Final = 10
_DRAWS: Final = 100
_PATIENCE: Final = 6


def evaluate(
    rows: FaultRecords, seeds: list[int], epochs: int, told: Callable[[str], None] = lambda what: None
) -> Evaluation:
    """Train with each seed and judge beside the baselines; of the figures of the seeds the mean is taken."""
    hazard = rows.hazard
    if rows.practice is None or hazard is None:
        raise InputError("faults are judged in a run that can be repeated, on a machine whose hardware fails")
    check, test = (rows.all_of(part, STEP) for part in rows.parts())
    failed = rows.within(test, HORIZON_H)
    if not failed.any():
        raise InputError("no unit fails in the months to judge; set more days")
    told("signs")
    (rows,), signs = taught([rows])
    said: dict[str, list[Floats]] = {}
    for seed in seeds:
        told(f"seed {seed}: {LEARNED}")
        trained = train([rows], signs, Plan(seed, epochs, _PATIENCE), ALONE)
        told(f"seed {seed}: the logistic member has a share of {trained.tensors['linear_share'][0]:.1f}")
        said.setdefault(LEARNED, []).append(trained.probability(rows, test))
    told(TRUE)
    hours, back = np.unique(test.hour, return_inverse=True)
    said[TRUE] = [np.asarray(hazard(rows.time_s[hours], int(HORIZON_H) * HOUR_S), np.float64)[back, test.unit]]
    for name, each in _baselines(rows, check, test, seeds[0], told).items():
        said[name] = [each]
    judges = {name: [_Judge(each, failed) for each in of_seeds] for name, of_seeds in said.items()}

    def figures(name: str) -> Callable[[Int64s], Floats]:
        def of(some: Int64s) -> Floats:
            times = np.bincount(some, minlength=len(failed))
            ceiling = judges[TRUE][0].average_precision(times)
            share = float(times @ failed) / float(times.sum())
            area = float(np.mean([judge.average_precision(times) for judge in judges[name]]))
            error = float(np.mean([judge.calibration_error(times) for judge in judges[name]]))
            return np.array([area, area / max(share, 1e-12), area / max(ceiling, 1e-12), error])

        return of

    compared = compare({name: figures(name) for name in said}, rows.days(test), LEARNED, _DRAWS)
    days = np.unique(rows.days(test)).size
    of = f"{len(failed):,} later unit-hours of {days} days, {int(failed.sum()):,} before a failure"
    first = {name: of_seeds[0] for name, of_seeds in said.items()}
    return Evaluation(LEARNED, _COLUMNS, compared, seeds, of, (_reliability(first, failed), _leads(rows, test, first)))


class _Judge:
    """What a predictor said of N unit-hours, sorted once, to be judged with each counted some times."""

    def __init__(self, said: Floats, failed: npt.NDArray[np.bool_]) -> None:
        self._order = np.argsort(-said, kind="stable")
        ranked = said[self._order]
        self._ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of each value
        self._failed, self._said = failed, said
        self._bins = np.minimum((said * _BINS).astype(np.int64), _BINS - 1)

    def average_precision(self, times: Int64s) -> float:
        """The area under precision over recall."""
        ranked = times[self._order]
        hits = np.cumsum(ranked * self._failed[self._order])[self._ends]
        alarms = np.maximum(np.cumsum(ranked)[self._ends], 1)
        return float((np.diff(hits, prepend=0) * hits / alarms).sum() / max(hits[-1], 1))

    def calibration_error(self, times: Int64s) -> float:
        """The mean distance of what was said and what came, over spans of what was said."""
        off = np.bincount(self._bins, times * (self._said - self._failed), _BINS)
        return float(np.abs(off).sum() / times.sum())


def _baselines(
    rows: FaultRecords, check: Hours, test: Hours, seed: int, told: Callable[[str], None]
) -> dict[str, Floats]:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if rows.practice is None:
        raise ValueError("no practice to learn from")
    drawn = draw([(rows.practice, rows.practice.parts()[0])], LINEAR_DRAWN, np.random.default_rng([seed, 3]))
    x = np.concatenate([drawn.sequence.reshape(len(drawn.slow), -1), drawn.slow], 1).astype(np.float32)
    y = drawn.fails_in_h <= HORIZON_H
    models: dict[str, Any] = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)),
        "boosting": HistGradientBoostingClassifier(
            learning_rate=0.05, max_iter=200, max_leaf_nodes=15, l2_regularization=10.0, early_stopping=True,
            random_state=seed,
        ),
    }  # fmt: skip
    answers = rows.within(check, HORIZON_H)
    said = {"base rate": np.full(len(test.hour), float(answers.mean()))}
    for name, model in models.items():
        told(name)
        model.fit(x, y)
        log_checked, log_tested = (_log_expected(model, rows, which) for which in (check, test))
        said[name] = probability(np.exp(log_tested), calibrated(log_checked, answers)[0])
    return said


def _log_expected(model: Any, rows: FaultRecords, which: Hours) -> Floats:
    """Ln of the failures that a classifier expects."""
    parts = []
    for begin in range(0, len(which.hour), 1 << 16):
        some = Hours(*(part[begin : begin + (1 << 16)] for part in which))
        x = np.concatenate([rows.windows(some).reshape(len(some.hour), -1), rows.slow[some.hour, some.unit]], 1)
        chance = np.clip(model.predict_proba(x.astype(np.float32))[:, 1].astype(np.float64), 1e-9, 1 - 1e-9)
        parts.append(np.log(-np.log1p(-chance)))
    return np.concatenate(parts)


def _reliability(said: dict[str, Floats], failed: npt.NDArray[np.bool_]) -> Diagram:
    """Of what was said, by spans, and how many of these failed."""
    edges = np.array([0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0])
    curves = {}
    for name, each in said.items():
        which = np.clip(np.searchsorted(edges, each, side="right") - 1, 0, len(edges) - 2)
        count = np.bincount(which, minlength=len(edges) - 1)
        there = count >= 20
        mean, came = (np.bincount(which, v, len(edges) - 1)[there] / count[there] for v in (each, failed))
        curves[name] = (mean, came)
    return Diagram(
        "reliability", "do units fail as often as is said?", "said", "failed within 24 h", curves, diagonal=True
    )


def _leads(rows: FaultRecords, test: Hours, said: dict[str, Floats]) -> Diagram:
    """How long before a failure its unit was among as many unit-hours as come before a failure: shares of failures."""
    fails_in_h = rows.fails_in_h[test.hour, test.unit].astype(np.float64)
    soon = np.flatnonzero(fails_in_h <= HORIZON_H)
    failure, which = np.unique(
        np.stack([test.unit[soon], np.rint(test.hour[soon] + fails_in_h[soon])]).astype(np.int64), axis=1,
        return_inverse=True,
    )  # fmt: skip
    which = np.asarray(which).reshape(-1)
    before_h = np.arange(0.0, HORIZON_H + 1)
    curves = {}
    for name, each in said.items():
        alarm = each[soon] > np.sort(each)[-len(soon)]
        lead_h = np.full(failure.shape[1], -1.0)
        np.maximum.at(lead_h, which[alarm], fails_in_h[soon][alarm])
        curves[name] = (before_h, np.array([(lead_h >= h).mean() for h in before_h]))
    return Diagram("leads", "how long before is a failure foreseen?", "hours before", "share of failures", curves)
