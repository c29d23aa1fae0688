"""What the ensemble is measured against: point predictions without learning, and learners on the same features.

Each says of J jobs Q quantiles of ln runtime, (J, Q), at the middle of ten equal parts of all probability; a point
prediction says the same at all levels. ``evaluation`` calibrates them all in the same way. Nobody knows more than what
was known when a job was submitted, but the oracle, which knows it all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from .features import Floats, Int64s, last_runtimes
from .records import Records, Split

LEVELS: Final = np.arange(0.05, 1.0, 0.1)
"""The levels of quantiles: the middle of each tenth."""

_TRIED: Final = tuple(
    {"learning_rate": 0.1, "max_leaf_nodes": leaves, "min_samples_leaf": least}
    for leaves in (15, 31)
    for least in (20, 80)
)
"""The settings of boosting of which the best for the jobs to check is taken."""

_MOST_ROUNDS: Final = 200
_MOST_JOBS: Final = 30_000  # that boosting learns from, the latest ones; more brought nothing but time


class Said(NamedTuple):
    """What a predictor says of J jobs: ``point`` in seconds, (J,), and ln quantiles, (J, Q)."""

    point: Floats
    log_quantiles: Floats


def log_runtime(rows: Records, which: npt.NDArray[np.int64]) -> Floats:
    """The truth: ln of the seconds that jobs ran, at most until their walltime."""
    runtime_s, walltime_s = rows.runtime_s[which], rows.jobs.walltime_s[which]
    return np.log(np.maximum(np.minimum(runtime_s, walltime_s), 1).astype(np.float64))


def predictors(rows: Records, parts: Split, seed: int, without: Collection[str] = ()) -> dict[str, Said]:
    """What each baseline, but those ``without``, says of the jobs to check and then those to test, by its name."""
    which = np.concatenate([parts.check, parts.test])
    return {name: said(rows, parts, which, seed) for name, said in _BASELINES.items() if name not in without}


def _clipped(rows: Records, which: Int64s, log_point: Floats) -> Said:
    limit = np.log(np.maximum(rows.jobs.walltime_s[which], 1).astype(np.float64))
    point = np.clip(log_point, 0.0, limit)
    return Said(np.exp(point), np.repeat(point[:, None], LEVELS.size, axis=1))


def _oracle(rows: Records, parts: Split, which: Int64s, seed: int) -> Said:
    return _clipped(rows, which, log_runtime(rows, which))


def _walltime(rows: Records, parts: Split, which: Int64s, seed: int) -> Said:
    return _clipped(rows, which, np.full(which.size, np.inf))


def _last_two(rows: Records, parts: Split, which: Int64s, seed: int) -> Said:
    last = last_runtimes(rows.jobs, rows.ends, 2)[which]
    known = ~np.isnan(last)
    mean = np.where(known, last, 0.0).sum(1) / np.maximum(known.sum(1), 1)
    with np.errstate(divide="ignore"):
        return _clipped(rows, which, np.where(known.any(1), np.log(mean), np.inf))


def _class_median(rows: Records, parts: Split, which: Int64s, seed: int) -> Said:
    """The median runtime of the jobs to fit of the same queue and size, by powers of two of nodes."""
    size = np.round(np.log2(np.maximum(rows.jobs.nodes, 1))).astype(np.int64)
    of_class = (rows.jobs.queue - rows.jobs.queue.min()) * 64 + size
    fit = parts.fit
    log_s = log_runtime(rows, fit)
    medians = {int(each): float(np.median(log_s[of_class[fit] == each])) for each in np.unique(of_class[fit])}
    whole = float(np.median(log_s))
    return _clipped(rows, which, np.array([medians.get(int(each), whole) for each in of_class[which]]))


def _ridge(rows: Records, parts: Split, which: Int64s, seed: int) -> Said:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 6)))
    model.fit(rows.features[parts.fit], log_runtime(rows, parts.fit))
    return _clipped(rows, which, model.predict(rows.features[which]))


def _boosting(rows: Records, parts: Split, which: Int64s, seed: int) -> Said:
    """Histogram gradient boosting, tuned: of the median for the point, and of each level."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    fit = parts.fit[-_MOST_JOBS:]
    x, y = rows.features[fit], log_runtime(rows, fit)
    x_check, y_check = rows.features[parts.check], log_runtime(rows, parts.check)

    def model(level: float, settings: dict[str, Any]) -> Any:
        return HistGradientBoostingRegressor(
            loss="quantile", quantile=level, max_iter=_MOST_ROUNDS, early_stopping=True, n_iter_no_change=10,
            random_state=seed, **settings,
        ).fit(x, y)  # fmt: skip

    tried = [model(0.5, settings) for settings in _TRIED]
    errors = [float(np.abs(each.predict(x_check) - y_check).mean()) for each in tried]
    best = int(np.argmin(errors))
    limit = np.log(np.maximum(rows.jobs.walltime_s[which], 1).astype(np.float64))
    features = rows.features[which]
    point = np.clip(tried[best].predict(features), 0.0, limit)
    levels = np.stack([model(float(level), _TRIED[best]).predict(features) for level in LEVELS], axis=1)
    return Said(np.exp(point), np.clip(np.sort(levels, axis=1), 0.0, limit[:, None]))


_BASELINES: Final[dict[str, Callable[[Records, Split, Int64s, int], Said]]] = {
    "oracle": _oracle,
    "walltime": _walltime,
    "last-two": _last_two,
    "class median": _class_median,
    "ridge": _ridge,
    "boosting": _boosting,
}
