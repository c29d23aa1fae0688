"""How good the energy twin is, on moments and jobs later than those that were learned from.

*Power*: mean absolute error in kW 15, 30 and 60 minutes ahead, the same as a share of that of persistence, and whether
90 % intervals held. Persistence says that nothing changes, the other naive one that it will be as at the same hour
yesterday. The oracle is the same network, taught and asked with the true ends of the jobs that run in place of what is
believed of them: what is left to it is what will start, and what that draws.

*Jobs*: the median of the relative error of joules at submission, when the runtime is not known; of joules per
node-second, which is the part of power alone; and of seconds, the part of the runtime.

Intervals are calibrated as in service, at every moment, or every hour for jobs, on the last thousand outcomes that
were known by then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from . import energy_learner as learner
from .energy_cnn_lstm import WINDOW, stretch
from .energy_features import JOB_NAMES
from .energy_learner import JobData
from .energy_network import watts_of
from .energy_records import Energies
from .energy_state import HORIZONS_S
from .energy_training import H, train_system
from .features import Floats, Int64s, last_runtimes
from .judging import DAY_S, Column, Evaluation, compare
from .loop import Plan
from .records import Split

TWIN: Final = "energy-cnn-lstm"
POWER_COLUMNS: Final = (
    *(Column(f"MAE {horizon // 60} min, kW", 2, 1e-3) for horizon in HORIZONS_S),
    *(Column(f"of persistence, {horizon // 60} min", 3) for horizon in HORIZONS_S),
    *(Column(f"90 % holds, {horizon // 60} min", 1, 100.0) for horizon in HORIZONS_S),
)
JOB_COLUMNS: Final = (
    Column("median error, energy, %", 1, 100.0),
    Column("of a node-second, %", 1, 100.0),
    Column("of the runtime, %", 1, 100.0),
    Column("ln MAE, energy"),
    Column("90 % holds", 1, 100.0),
)
_NORMAL: Final = 1.6448536269514722  # the deviations that a central interval of 90 % has to each side
_HOUR_S: Final = 3_600


class Forecasts(NamedTuple):
    """Errors in watts and whether intervals held, of T moments, (seeds, T, H) both."""

    error_w: Floats
    held: Floats


class Joules(NamedTuple):
    """What was said of jobs less the truth: ln joules, ln joules of a node-second, ln seconds; and whether intervals
    held; (seeds, J) each."""

    energy: Floats
    watts: Floats
    runtime: Floats
    held: Floats


def evaluate(
    energies: Energies,
    parts: Split,
    seeds: list[int],
    told: Callable[[str], None] = lambda what: None,
    epochs: int = 60,
) -> Evaluation:
    """Train with each seed and judge beside baselines; figures are means over the seeds.

    The oracle is trained once, with the first seed.
    """
    period = learner.period(energies, parts)
    moments, node = energies.moments, energies.node
    all_w = node.dynamic_w * node.nodes
    known = np.concatenate([period.check, period.test])
    first = len(period.check)
    now_w, truth_w = moments.watts(known), np.stack([moments.watts(known + h) for h in HORIZONS_S], axis=1)
    yesterday_w = np.stack([moments.watts(known + h - DAY_S) for h in HORIZONS_S], axis=1)
    forecasts: dict[str, list[Forecasts]] = {}
    jobs: dict[str, list[Joules]] = {}
    for seed in seeds:
        told(f"seed {seed}: networks")
        plan = Plan(seed, epochs)
        learned, _, _ = learner.learn([energies], plan)
        output = learner.job_output(learned.runtime, learned.watts, energies.rows.features)
        asked = learner.system_data(energies, known, output)
        location, deviation = learner.forecast(learned.system, learned.trust, asked)
        error_w = (asked.changes - location) * all_w
        forecasts.setdefault(TWIN, []).append(_held(error_w, deviation * all_w, known, first))
        if seed == seeds[0]:
            told("oracle")
            forecasts["oracle of ends"] = [_oracle(energies, period, output, plan)]
        for name, each in _judged_jobs(learned, energies, parts).items():
            jobs.setdefault(name, []).append(each)
    even = np.ones_like(truth_w)
    forecasts["persistence"] = [_held(truth_w - now_w[:, None], even, known, first)]
    forecasts["same hour yesterday"] = [_held(truth_w - yesterday_w, even, known, first)]
    still_w = np.abs(forecasts["persistence"][0].error_w)
    compared = compare(
        {name: _power_figures(Forecasts(*map(np.stack, zip(*each, strict=True))), still_w)
         for name, each in forecasts.items()},
        period.test // DAY_S, TWIN,
    )  # fmt: skip
    tested = parts.test[energies.is_told[parts.test]]
    of_jobs = compare(
        {name: _job_figures(Joules(*map(np.stack, zip(*each, strict=True)))) for name, each in jobs.items()},
        energies.rows.jobs.submit_s[tested] // DAY_S, TWIN,
    )  # fmt: skip
    days = len(np.unique(period.test // DAY_S))
    return Evaluation(
        TWIN,
        POWER_COLUMNS,
        compared,
        seeds,
        f"power, {len(period.fit):,} moments to fit, {len(period.check):,} to check, {len(period.test):,} to test "
        f"({days} days)",
        besides=(Evaluation(TWIN, JOB_COLUMNS, of_jobs, seeds, f"energy of {len(tested):,} later jobs ({days} days)"),),
    )


def _oracle(energies: Energies, period: learner.Period, output: npt.NDArray[np.float32], plan: Plan) -> Forecasts:
    """The errors of the network that knows when the jobs that run will end."""
    known = np.concatenate([period.check, period.test])
    fit, check, asked = (
        learner.system_data(energies, each, output, knows_ends=True) for each in (period.fit, period.check, known)
    )
    system = learner.halved(train_system(fit, check, plan))
    location, deviation = learner.forecast(system, learner.trusted(system, check), asked)
    all_w = energies.node.dynamic_w * energies.node.nodes
    return _held((asked.changes - location) * all_w, deviation * all_w, known, len(period.check))


def _held(error: Floats, deviation: Floats, time_s: Int64s, first: int) -> Forecasts:
    """The errors from the moment ``first`` on, and whether calibrated intervals held them."""
    score = np.abs(error) / np.maximum(deviation, 1e-9)
    held = np.zeros((len(error) - first, H))
    for place, horizon_s in enumerate(HORIZONS_S):
        known = np.searchsorted(time_s + horizon_s, time_s[first:], side="right")
        for row, until in enumerate(known):
            wanted = _quantile(score[max(until - WINDOW, 0) : until, place])
            held[row, place] = score[first + row, place] <= wanted
    return Forecasts(error[first:], held)


def _quantile(score: Floats) -> float:
    n = len(score)
    rank = min(int(np.ceil((n + 1) * 0.9)), n)
    return float(np.partition(score, rank - 1)[rank - 1])


def _power_figures(said: Forecasts, still_w: Floats) -> Callable[[Int64s], Floats]:
    absolute, held = np.abs(said.error_w).mean(0), said.held.mean(0)

    def figures(rows: Int64s) -> Floats:
        mae = absolute[rows].mean(0)
        return np.concatenate([mae, mae / still_w[rows].mean(0), held[rows].mean(0)])

    return figures


def _job_figures(said: Joules) -> Callable[[Int64s], Floats]:
    relative = [np.abs(np.expm1(each)) for each in said[:3]]

    def figures(rows: Int64s) -> Floats:
        medians = [np.median(each[:, rows], axis=1).mean() for each in relative]
        return np.array([*medians, np.abs(said.energy[:, rows]).mean(), said.held[:, rows].mean()])

    return figures


def _judged_jobs(learned: learner.Learned, energies: Energies, parts: Split) -> Mapping[str, Joules]:
    """What the twin, the naive ones and the oracles say of the jobs to test whose energy is known."""
    check, test = (each[energies.is_told[each]] for each in (parts.check, parts.test))
    which = np.concatenate([check, test])
    data = learner.job_data(energies, which)
    said = learner.believed(learned, data)
    share = watts_of(learner.job_output(learned.runtime, learned.watts, data.features)).mean.mean(1)
    log_s = said.mean - share
    runtime = np.log(np.maximum(np.minimum(data.runtime_s, data.walltime_s), 1.0))
    naive = _last_two(energies, which, data)
    limit = np.log(np.maximum(data.walltime_s, 1.0))
    beliefs = {
        TWIN: (log_s, share, said.deviation),
        "oracle of runtimes": (runtime, share, np.ones(len(which))),
        "oracle of watts": (log_s, data.log_share, np.ones(len(which))),
        "last-two": (np.minimum(naive[0], limit), naive[1], np.ones(len(which))),
        "last-two watts, walltime": (limit, naive[1], np.ones(len(which))),
    }
    return {
        name: _scored(seconds - runtime, watts - data.log_share, deviation, energies, check, test)
        for name, (seconds, watts, deviation) in beliefs.items()
    }


def _last_two(energies: Energies, which: Int64s, data: JobData) -> tuple[Floats, Floats]:
    """ln of the mean seconds and ln share of the mean watts of the user's last two; else the walltime, and half."""
    rows, node = energies.rows, energies.node
    last = last_runtimes(rows.jobs, rows.ends, 2)[which]
    known = ~np.isnan(last)
    mean = np.where(known, last, 0.0).sum(1) / np.maximum(known.sum(1), 1)
    with np.errstate(divide="ignore"):
        seconds = np.where(known.any(1), np.log(mean), np.log(np.maximum(data.walltime_s, 1.0)))
    names = JOB_NAMES
    first, second, count = (data.features[:, names.index(f"user_watts_{name}")] for name in ("last", "second", "known"))
    half = np.log((node.idle_w + node.dynamic_w / 2) / node.peak_w)
    return seconds, np.where(count > 0, np.log((np.exp(first) + np.exp(second)) / 2), half)


def _scored(
    runtime: Floats, watts: Floats, deviation: Floats, energies: Energies, check: Int64s, test: Int64s
) -> Joules:
    """The errors of the jobs to test; intervals by the ends before the hour of submission."""
    energy = runtime + watts
    score = np.abs(energy) / deviation
    which = np.concatenate([check, test])
    end_s, submit_s = energies.rows.end_s[which], energies.rows.jobs.submit_s[test]
    order = np.argsort(end_s, kind="stable")
    held = np.zeros(len(test))
    hour = submit_s // _HOUR_S
    for part in np.split(np.arange(len(test)), np.flatnonzero(np.diff(hour)) + 1):
        known = order[: np.searchsorted(end_s[order], submit_s[part[0]], side="right")][-WINDOW:]
        held[part] = score[len(check) + part] <= stretch(score[known]) * _NORMAL
    first = len(check)
    return Joules(energy[first:], watts[first:], runtime[first:], held)
