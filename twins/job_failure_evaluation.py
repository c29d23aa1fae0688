"""How good probabilities of job failure are, beside baselines, on jobs later than those that were learned from.

Everybody is calibrated as in service, hour by hour, by the last thousand jobs that had ended before the first one of
the hour was submitted. The base rate, calibrated so, is the share of these that failed.

Figures: the area under the curve of precision over recall (average precision) and under that of hits over false alarms;
Brier's score, the mean square of probability less outcome; and the expected calibration error, the mean distance of
probability and share of failures in ten equal parts of the probabilities, weighted by their jobs (Guo et al. 2017, On
calibration of modern neural networks).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from . import logistic, platt
from .features import Bools, Floats, Int64s
from .job_failure import prediction
from .job_failure_learner import PATIENCE, half, lesson, log_odds
from .job_failure_sequences import TOKEN
from .job_failure_training import Data, data, train
from .judging import DAY_S, Column, Diagram, Evaluation, compare
from .loop import Plan
from .network import scaled
from .records import Records, Split, hours
from .training import scalers

COLUMNS: Final = (Column("PR-AUC"), Column("ROC-AUC"), Column("Brier"), Column("ECE"))
TWIN: Final = "job-failure"
BINS: Final = 10

_LEAVES: Final = (7, 15, 31)
_ROUNDS: Final = (25, 50, 100, 200)


def evaluate(
    rows: Records, parts: Split, seeds: list[int], told: Callable[[str], None] = lambda what: None, epochs: int = 60
) -> Evaluation:
    """Train with each seed and judge beside the baselines; the twin's figures are means over the seeds.

    The baselines are trained once; of them none draws anything.
    """
    which = np.concatenate([parts.check, parts.test])
    later = data(rows, which)
    said: dict[str, list[Floats]] = {TWIN: []}
    for seed in seeds:
        told(f"seed {seed}: {TWIN}")
        taught = lesson([(rows, parts)], seed)
        trained = half(train(taught.fit, taught.drawn, taught.check, Plan(seed, epochs, PATIENCE)))
        said[TWIN].append(_served(log_odds(trained, later), rows, parts, which, later.failed))
    told("baselines")
    for name, odds in baselines(data(rows, parts.fit), later, len(parts.check)).items():
        said[name] = [_served(odds[:, None], rows, parts, which, later.failed)]
    failed = later.failed[len(parts.check) :]
    day = rows.jobs.submit_s[parts.test] // DAY_S
    compared = compare({name: partial(_mean_figures, each, failed) for name, each in said.items()}, day, TWIN)
    curves = {name: reliability(np.concatenate(each), np.tile(failed, len(each))) for name, each in said.items()}
    return Evaluation(
        TWIN,
        COLUMNS,
        compared,
        seeds,
        f"{len(parts.fit):,} jobs to fit, {len(parts.check):,} to check, {len(failed):,} to test "
        f"({len(np.unique(day))} days), of which {100 * failed.mean():.1f} % failed",
        (
            Diagram(
                "reliability", "Do jobs fail as often as was said?", "probability that was said",
                "share of jobs that failed", curves, diagonal=True,
            ),
        ),
    )  # fmt: skip


def baselines(fit: Data, later: Data, checked: int) -> dict[str, Floats]:
    """The log odds that each baseline gives to ``later`` jobs, the first ``checked`` of which it is tuned by."""
    return {
        "base rate": np.zeros(len(later.failed)),
        "last outcome": _last_outcome(later),
        "logistic regression": _logistic(fit, later, checked),
        "boosting": _boosting(fit, later, checked),
    }


def _last_outcome(later: Data) -> Floats:
    """Whether the last job of the user failed: yes, no, or nothing known."""
    last = np.maximum(later.known.length - 1, 0)
    failed = later.known.tokens[np.arange(len(last)), last, TOKEN.index("failed")]
    told: Floats = np.where(later.known.length > 0, 4.0 * failed - 2.0, 0.0)[later.known.of]
    return told


def _logistic(fit: Data, later: Data, checked: int) -> Floats:
    center, scale = scalers(fit.features)
    x, x_later = scaled(fit.features, center, scale), scaled(later.features, center, scale)
    linear = logistic.fitted(x, fit.failed, x_later[:checked], later.failed[:checked])
    odds: Floats = x_later @ linear.weights + linear.bias
    return odds


def _boosting(fit: Data, later: Data, checked: int) -> Floats:
    from sklearn.ensemble import HistGradientBoostingClassifier

    tried = []
    for leaves in _LEAVES:
        model = HistGradientBoostingClassifier(
            learning_rate=0.05, max_leaf_nodes=leaves, max_iter=_ROUNDS[-1], early_stopping=False, random_state=1
        ).fit(fit.features, fit.failed)
        staged = [np.asarray(odds) for odds in model.staged_decision_function(later.features)]
        tried += [staged[rounds - 1].reshape(-1) for rounds in _ROUNDS]
    return _best(tried, later, checked)


def _best(tried: list[Any], later: Data, checked: int) -> Floats:
    """The log odds of the settings with the best area under precision over recall of the jobs to check."""
    from sklearn.metrics import average_precision_score

    scores = [average_precision_score(later.failed[:checked], odds[:checked]) for odds in tried]
    best: Floats = np.asarray(tried[int(np.argmax(scores))], np.float64)
    return best


def _served(odds_JE: Any, rows: Records, parts: Split, which: Int64s, failed: Bools) -> Floats:
    """The probabilities of the jobs to test, calibrated hour by hour."""
    mean_J = odds_JE.mean(1)
    tested = odds_JE[len(parts.check) :]
    found = np.empty(len(tested))
    for test, known in hours(rows, which, parts, platt.WINDOW):
        found[test] = prediction(tested[test], platt.fitted(mean_J[known], failed[known])).mean
    return found


def _mean_figures(said: list[Floats], failed: Bools, rows: Int64s) -> Floats:
    mean: Floats = np.mean([figures(each[rows], failed[rows]) for each in said], axis=0)
    return mean


def figures(said: Floats, failed: Bools) -> Floats:
    """The figures of ``COLUMNS``; NaN where no job failed, or all."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    both = 0 < failed.sum() < len(failed)
    areas = (average_precision_score(failed, said), roc_auc_score(failed, said)) if both else (np.nan, np.nan)
    promised, happened = reliability(said, failed)
    jobs = np.bincount(_bins(said), minlength=BINS)
    error = np.abs(promised - happened) @ (jobs[jobs > 0] / len(said))
    return np.array([*areas, ((said - failed) ** 2).mean(), error])


def reliability(said: Floats, failed: Bools) -> tuple[Floats, Floats]:
    """The mean probability and the share that failed, in each tenth of probabilities in which there are jobs."""
    place = _bins(said)
    jobs = np.bincount(place, minlength=BINS)
    some = jobs > 0
    promised, happened = (np.bincount(place, values, BINS)[some] / jobs[some] for values in (said, failed))
    return promised, happened


def _bins(said: Floats) -> Int64s:
    return np.minimum((said * BINS).astype(np.int64), BINS - 1)
