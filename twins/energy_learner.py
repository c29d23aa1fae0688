"""From a run to weights of the energy twin that can be used: jobs first, then, with what is believed of them, power."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from . import energy_network, network
from .energy_cnn_lstm import FEATURES, KIND, WINDOW, read
from .energy_features import JOB_NAMES
from .energy_network import changes, scaled_moments
from .energy_records import Energies, of_run
from .energy_state import EVERY_S, HORIZONS_S
from .energy_training import H, JobData, Start, SystemData, Taught, train_jobs, train_system
from .features import Floats, Int64s
from .judging import Evaluation
from .learners import Learner, Made, Recorded
from .loop import ALONE, Course, Plan, digest
from .records import Split, split

_DIGITS: Final = 3


class Period(NamedTuple):
    """Seconds to fit with, to check and to test, each later than the last."""

    fit: Int64s
    check: Int64s
    test: Int64s


class Beliefs(NamedTuple):
    """What was said of ln joules of J jobs, mean and deviation, (J,); of what they were; of watts and runtime."""

    mean: Floats
    deviation: Floats
    truth: Floats


class Learned(NamedTuple):
    """Both networks, in the precision of a file, and how much of a change that the second says is believed, (H,)."""

    jobs: Taught
    system: Taught
    trust: list[float]


def period(energies: Energies, parts: Split) -> Period:
    """The moments of a run by when they were; what they look ahead to is of the same part."""
    submit_s = energies.rows.jobs.submit_s
    second, third = int(submit_s[parts.check[0]]), int(submit_s[parts.test[0]])
    times, grid = energies.moments.times(2 * EVERY_S), energies.moments.times()
    ahead = max(HORIZONS_S)
    return Period(
        times[times < second - parts.gap_s - ahead],
        grid[(grid >= second) & (grid < third - parts.gap_s - ahead)],
        grid[grid >= third],
    )


def job_data(energies: Energies, which: Int64s) -> JobData:
    """Some jobs, to learn from."""
    rows = energies.rows.data(which)
    return JobData(*rows, energies.log_share[which], energies.is_told[which])


def system_data(
    energies: Energies, times: Int64s, output: npt.NDArray[np.float32], *, knows_ends: bool = False
) -> SystemData:
    """Some moments, to learn from, with ``output`` (J, M, 11) what is said of all jobs."""
    maps, series = energies.moments.seen(times)
    found, base_w = energies.moments.numbers(times, output, knows_ends=knows_ends)
    return SystemData(maps, series, found, energies.moments.changes(times, base_w))


def job_output(jobs: Taught, features: Floats) -> npt.NDArray[np.float32]:
    """What the members say of jobs, (J, M, 11)."""
    return energy_network.about_jobs(jobs.fitted.tensors, network.scaled(features, jobs.center, jobs.scale))


def half(taught: Taught) -> Taught:
    """The same as it is kept in a file: in half precision."""
    tensors = {name: value.astype(np.float16).astype(np.float32) for name, value in taught.fitted.tensors.items()}
    center, scale, unit = ([float(f"{value:.6g}") for value in each] for each in taught[1:])
    return Taught(taught.fitted._replace(tensors=tensors), center, scale, unit)


def believed(jobs: Taught, data: JobData) -> Beliefs:
    """What is said of ln joules per node of jobs whose energy is known."""
    mean, deviation = energy_network.believed(job_output(jobs, data.features), data.walltime_s.astype(np.int64))
    truth = np.log(np.maximum(np.minimum(data.runtime_s, data.walltime_s), 1.0)) + data.log_share
    return Beliefs(mean, deviation, truth)


def forecast(system: Taught, trust: Sequence[float], data: SystemData) -> tuple[Floats, Floats]:
    """Changes of power and their deviations as shares of all dynamic watts, (B, H) both, before calibration."""
    maps, series = scaled_moments(data.maps, data.series)
    x = network.scaled(data.numbers, system.center, system.scale)[None]
    output = changes(np, system.fitted.tensors, maps, series, x).astype(np.float64)
    location, deviation = output[..., :H], energy_network.deviation_of(output[..., H:])
    unit = np.array(system.unit)
    return location.mean(0) * unit * np.array(trust), np.sqrt((deviation**2).mean(0) + location.var(0)) * unit


def learn(runs: Sequence[Energies], plan: Plan, course: Course = ALONE) -> tuple[Learned, JobData, list[SystemData]]:
    """Train both networks on the earlier part of some runs; besides the jobs and the moments that were checked by."""
    parts = [split(energies.rows) for energies in runs]
    fitted = _joined([job_data(each, part.fit) for each, part in zip(runs, parts, strict=True)])
    ends = np.concatenate([each.rows.end_s[part.check] for each, part in zip(runs, parts, strict=True)])
    check = _joined([job_data(each, part.check) for each, part in zip(runs, parts, strict=True)])
    check = taken(check, np.argsort(ends, kind="stable"))
    of_jobs, of_system = (None, None) if course.start is None else _started(course.start)
    checkpoint = course.checkpoint
    first = None if checkpoint is None else checkpoint.with_name(f"{checkpoint.name}.jobs")
    jobs = half(train_jobs(fitted, check, plan, course._replace(checkpoint=first), of_jobs))
    periods = [period(each, part) for each, part in zip(runs, parts, strict=True)]
    outputs = [job_output(jobs, each.rows.features) for each in runs]
    data, checking = (
        [system_data(each, times[k], output) for each, times, output in zip(runs, periods, outputs, strict=True)]
        for k in range(2)
    )
    fit_all, check_all = (SystemData(*map(np.concatenate, zip(*each, strict=True))) for each in (data, checking))
    system = half(train_system(fit_all, check_all, plan, course, of_system))
    if first is not None:
        first.unlink(missing_ok=True)
    return Learned(jobs, system, trusted(system, check_all)), check, checking


def _started(path: Path) -> tuple[Start, Start]:
    """Both networks of a file of weights, to begin with."""
    used, first = read(path), len(JOB_NAMES)
    return (
        Start(used.jobs, used.center[:first], used.scale[:first], []),
        Start(used.system, used.center[first:], used.scale[first:], used.unit.tolist()),
    )


def trusted(system: Taught, check: SystemData) -> list[float]:
    """The tenths of what is said of each horizon with which moments to check have the least absolute error."""
    location, _ = forecast(system, [1.0] * H, check)
    errors = [np.abs(check.changes - tenths / 10 * location).mean(0) for tenths in range(11)]
    return [float(each) / 10 for each in np.argmin(errors, axis=0)]


def taken(data: JobData, which: Int64s) -> JobData:
    """Some of the jobs, in that order."""
    return JobData(
        data.features[which], data.runtime_s[which], data.walltime_s[which], data.log_share[which], data.is_told[which]
    )


def _joined(parts: Sequence[JobData]) -> JobData:
    return JobData(*map(np.concatenate, zip(*parts, strict=True)))


def job_scores(jobs: Taught, check: JobData) -> Floats:
    """How far ln joules of jobs were from what was said, in deviations."""
    said = believed(jobs, check)
    return (np.abs(said.truth - said.mean) / said.deviation)[check.is_told]


def system_scores(learned: Learned, data: SystemData) -> Floats:
    """How far changes of power were from what was said, in deviations, (B, H)."""
    location, deviation = forecast(learned.system, learned.trust, data)
    scores: Floats = np.abs(data.changes - location) / deviation
    return scores


class _Energy:
    """See ``learners.Learner``."""

    settings: Mapping[str, Any] = {"physics.telemetry.interval": f"{EVERY_S // 60}m"}

    def records(self, run: Recorded) -> Energies:
        return of_run(run)

    def train(self, runs: Sequence[Energies], plan: Plan, course: Course) -> Made:
        import torch

        found, check, checking = learn(runs, plan, course)
        tensors = {f"job.{name}": value for name, value in found.jobs.fitted.tensors.items()}
        tensors |= {f"system.{name}": value for name, value in found.system.fitted.tensors.items()}
        last = np.concatenate([system_scores(found, each)[-WINDOW // len(checking) :] for each in checking])
        networks = {"jobs": found.jobs.fitted, "system": found.system.fitted}
        losses = {name: each.losses[each.best_epoch] for name, each in networks.items()}
        about = {
            "kind": KIND,
            "seed": plan.seed,
            "config": {"epochs": plan.epochs, "patience": plan.patience, "batch": plan.batch},
            "data": {"sha256": digest(check), "check_jobs": len(check.runtime_s), "check_moments": len(last)},
            "metrics": {name: [round(each, 4) for each in loss] for name, loss in losses.items()},
            "versions": {"torch": torch.__version__.partition("+")[0], "numpy": np.__version__},
            "features": list(FEATURES),
            "center": [*found.jobs.center, *found.system.center],
            "scale": [*found.jobs.scale, *found.system.scale],
            "unit": found.system.unit,
            "trust": found.trust,
            "job_scores": np.round(job_scores(found.jobs, check)[-WINDOW:], _DIGITS).tolist(),
            "system_scores": np.round(last, _DIGITS).tolist(),
        }
        said = (
            f"{len(check.runtime_s):,} jobs and {sum(len(each.changes) for each in checking):,} moments to check; "
            f"losses {losses['jobs'][1]:.3f} and {losses['system'][1]:.3f}"
        )
        return Made({name: value.astype(np.float16) for name, value in tensors.items()}, about, said)

    def evaluate(self, records: Energies, seeds: list[int], epochs: int, told: Callable[[str], None]) -> Evaluation:
        from .energy_evaluation import evaluate

        return evaluate(records, split(records.rows), seeds, told, epochs)


LEARNER: Final[Learner] = _Energy()
