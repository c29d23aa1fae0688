"""How good predictions of runtimes are, on jobs later than those that were learned from.

Intervals are calibrated as they would be in service, hour by hour: on the last thousand jobs that had ended before the
first one of the hour was submitted. The ensemble widens its distribution by one number, as it does in a run; of the
baselines each quantile is moved by itself.

Metrics of a job, p predicted and r real seconds: accuracy min(p, r) / max(p, r); the absolute error of ln r and of r;
whether the 90 % interval holds r, and its width in ln seconds; CRPS of ln r by the ten quantiles of
``performance_baselines.LEVELS`` (twice the mean pinball loss, Gneiting and Ranjan 2011).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from . import lognormal
from .features import Floats, Int64s
from .judging import DAY_S, Column, Compared, Diagram, Evaluation, compare_means
from .loop import Plan
from .performance_baselines import LEVELS, Said, log_runtime, predictors
from .performance_ensemble import WINDOW
from .performance_learner import half, lesson, mixture
from .records import Records, Split, hours
from .training import Trained, train

COLUMNS: Final = (
    Column("accuracy"),
    Column("ln MAE"),
    Column("MAE, min", 1),
    Column("90 % interval holds", 1, 100.0),
    Column("its width, ln s"),
    Column("CRPS, ln s"),
)
_COVERAGE, _WIDTH = 3, 4
MASSES: Final = LEVELS[::-1][: LEVELS.size // 2] * 2 - 1
"""What the central intervals between pairs of levels hold: 0.9, 0.7, ... 0.1."""

ENSEMBLE: Final = "runtime-ensemble"


class Judged(NamedTuple):
    """The metrics of each test job (T, len(COLUMNS)), and coverage and ln width at several masses, (T, Q // 2)."""

    metrics: Floats
    covered: Floats
    widths: Floats


def evaluate(
    rows: Records, parts: Split, seeds: list[int], told: Callable[[str], None] = lambda what: None, epochs: int = 60
) -> Evaluation:
    """Train an ensemble with each seed and judge it beside the baselines; its metrics are means over the seeds.

    The baselines are trained once, with the first seed, which of them only boosting has a use for: it chooses the jobs
    to stop by.
    """
    judged: dict[str, list[Judged]] = {}
    taught = lesson([(rows, parts)])
    for seed in seeds:
        told(f"seed {seed}: ensemble")
        trained = half(train(taught.fit, taught.check, Plan(seed, epochs)))
        judged.setdefault(ENSEMBLE, []).append(_judged_ensemble(trained, rows, parts))
    told("baselines")
    for name, said in predictors(rows, parts, seeds[0]).items():
        judged[name] = [_judged(said, rows, parts)]
    mean = {name: Judged(*(np.mean(part, axis=0) for part in zip(*all_, strict=True))) for name, all_ in judged.items()}
    day = rows.jobs.submit_s[parts.test] // DAY_S
    compared = compare_means({name: each.metrics for name, each in mean.items()}, day, ENSEMBLE)
    shown = [name for name in mean if name != "oracle"]
    covered = {name: (MASSES, mean[name].covered.mean(0)) for name in shown}
    return Evaluation(
        ENSEMBLE,
        COLUMNS,
        compared,
        seeds,
        f"{len(parts.fit):,} jobs to fit, {len(parts.check):,} to check, {len(parts.test):,} to test "
        f"({len(np.unique(day))} days)",
        (
            Diagram(
                "reliability", "Do intervals hold what they promise?", "central interval promises, share of jobs",
                "interval held, share of jobs", covered, diagonal=True,
            ),
            Diagram(
                "coverage", "How sharp are calibrated intervals?", "mean width of 90 % intervals, ln s",
                "interval held, share of jobs", {}, {name: _point(compared[name]) for name in shown}, band=(0.88, 0.92),
            ),
        ),
    )  # fmt: skip


def _point(each: Compared) -> tuple[float, float, float, float]:
    return each.mean[_WIDTH], each.mean[_COVERAGE], each.low[_COVERAGE], each.high[_COVERAGE]


def _judged_ensemble(trained: Trained, rows: Records, parts: Split) -> Judged:
    which = np.concatenate([parts.check, parts.test])
    believed = mixture(trained, rows.data(which))
    score = lognormal.central_mass(believed, rows.runtime_s[which].astype(np.float64))
    levels_TQ = np.zeros((len(parts.test), LEVELS.size))
    for test, known in hours(rows, which, parts, WINDOW):
        for place, mass in enumerate(MASSES):
            wanted = lognormal.conformal_mass(score[known], float(mass))
            levels_TQ[test, place], levels_TQ[test, -1 - place] = (1 - wanted) / 2, (1 + wanted) / 2
    tested = believed.take(np.arange(len(parts.check), len(which)))
    with np.errstate(divide="ignore"):
        log_quantiles = np.log(np.maximum(lognormal.quantiles(tested, levels_TQ), 1.0))
    point = lognormal.quantiles(tested, np.full((len(parts.test), 1), 0.5))[:, 0]
    return _metrics(rows, parts.test, point, log_quantiles)


def _judged(said: Said, rows: Records, parts: Split) -> Judged:
    """A baseline: each of its quantiles is moved so that the right share of the last ends lay below (conformal)."""
    which = np.concatenate([parts.check, parts.test])
    truth = log_runtime(rows, which)
    error_JQ = truth[:, None] - said.log_quantiles
    first = len(parts.check)
    moved = said.log_quantiles[first:].copy()
    limit = np.log(np.maximum(rows.jobs.walltime_s[parts.test], 1).astype(np.float64))
    for test, known in hours(rows, which, parts, WINDOW):
        n = len(known)
        for place, level in enumerate(LEVELS):
            outward = np.ceil if level > 0.5 else np.floor
            rank = int(np.clip(outward((n + 1) * level), 1, n)) - 1
            moved[test, place] += np.partition(error_JQ[known, place], rank)[rank]
    moved = np.clip(np.sort(moved, axis=1), 0.0, limit[:, None])
    return _metrics(rows, parts.test, said.point[first:], moved)


def _metrics(rows: Records, test: Int64s, point: Floats, log_quantiles: Floats) -> Judged:
    real = np.maximum(rows.runtime_s[test].astype(np.float64), 1.0)
    point = np.maximum(point, 1.0)
    truth = log_runtime(rows, test)
    error = truth[:, None] - log_quantiles
    crps = 2 * np.where(error >= 0, LEVELS * error, (LEVELS - 1) * error).mean(1)
    half = LEVELS.size // 2
    low, high = log_quantiles[:, :half], log_quantiles[:, ::-1][:, :half]
    slack = 1e-6  # of what was a logarithm and is one again
    covered = ((truth[:, None] >= low - slack) & (truth[:, None] <= high + slack)).astype(np.float64)
    widths = high - low
    columns = (
        np.minimum(point, real) / np.maximum(point, real), np.abs(np.log(point) - np.log(real)),
        np.abs(point - real) / 60, covered[:, 0], widths[:, 0], crps,
    )  # fmt: skip
    return Judged(np.stack(columns, axis=1), covered, widths)
