"""From a run to weights of the energy twin that can be used: jobs first, then, with what is believed of them, power."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from . import energy_network, network, performance_learner, training
from .energy_cnn_lstm import FEATURES, KIND, WINDOW, read
from .energy_features import JOB_NAMES
from .energy_network import changes, scaled_moments
from .energy_records import Energies, of_run
from .energy_state import EVERY_S, HORIZONS_S, MEDIANS
from .energy_training import (
    H,
    System,
    SystemData,
    SystemStart,
    Taught,
    WattsData,
    train_system,
    train_watts,
)
from .features import NAMES, Bools, Floats, Int64s
from .judging import Evaluation
from .learners import Learner, Made, Recorded
from .loop import ALONE, Course, Plan, digest
from .records import Split, split
from .training import Data, Start, Trained

_DIGITS: Final = 3


class Period(NamedTuple):
    """Seconds to fit with, to check and to test, each later than the last."""

    fit: Int64s
    check: Int64s
    test: Int64s


class JobData(NamedTuple):
    """Jobs: features (J, F), how long they ran and may run, seconds, ln share of the peak drawn, and where it is
    known."""

    features: Floats
    runtime_s: Floats
    walltime_s: Floats
    log_share: Floats
    is_told: Bools


class Beliefs(NamedTuple):
    """What was said of ln joules of J jobs, mean and deviation, (J,); of what they were; of watts and runtime."""

    mean: Floats
    deviation: Floats
    truth: Floats


class Learned(NamedTuple):
    """The networks, in the precision of a file, and how much of what the last says is believed, (H,)."""

    runtime: Trained
    watts: Taught
    system: System
    trust: list[float]


def period(energies: Energies, parts: Split) -> Period:
    """The moments of a run by when they were; what they look ahead to is of the same part."""
    submit_s = energies.rows.jobs.submit_s
    second, third = int(submit_s[parts.check[0]]), int(submit_s[parts.test[0]])
    grid = energies.moments.times()
    ahead = max(HORIZONS_S)
    return Period(
        grid[grid < second - parts.gap_s - ahead],
        grid[(grid >= second) & (grid < third - parts.gap_s - ahead)],
        grid[grid >= third],
    )


def job_data(energies: Energies, which: Int64s) -> JobData:
    """Some jobs, to learn from."""
    return JobData(*energies.rows.data(which), energies.log_share[which], energies.is_told[which])


def system_data(
    energies: Energies, times: Int64s, output: npt.NDArray[np.float32], *, knows_ends: bool = False
) -> SystemData:
    """Some moments, to learn from, with ``output`` (J, M, 29) what is said of all jobs."""
    maps, series = energies.moments.seen(times)
    found, base_w = energies.moments.numbers(times, output, knows_ends=knows_ends)
    return SystemData(maps, series, found, energies.moments.changes(times, base_w))


def job_output(runtime: Trained, watts: Taught, features: Floats) -> npt.NDArray[np.float32]:
    """What the members say of jobs, (J, M, 29)."""
    x = network.scaled(features, watts.center, watts.scale)
    return energy_network.about_jobs(runtime.tensors, watts.fitted.tensors, features, x)


def half(taught: Taught) -> Taught:
    """The same as it is kept in a file: in half precision."""
    tensors = {name: value.astype(np.float16).astype(np.float32) for name, value in taught.fitted.tensors.items()}
    return Taught(taught.fitted._replace(tensors=tensors), _rounded(taught.center), _rounded(taught.scale))


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def believed(learned: Learned, data: JobData) -> Beliefs:
    """What is said of ln joules per node of jobs whose energy is known."""
    output = job_output(learned.runtime, learned.watts, data.features)
    mean, deviation = energy_network.believed(output, data.walltime_s.astype(np.int64))
    truth = np.log(np.maximum(np.minimum(data.runtime_s, data.walltime_s), 1.0)) + data.log_share
    return Beliefs(mean, deviation, truth)


def forecast(system: System, trust: Sequence[float], data: SystemData) -> tuple[Floats, Floats]:
    """Changes of power and their deviations as shares of all dynamic watts, (B, H) both, before calibration."""
    maps, series = scaled_moments(data.maps, data.series)
    taught = system.network
    x = network.scaled(data.numbers, taught.center, taught.scale)[None]
    output = changes(np, taught.fitted.tensors, maps, series, x).astype(np.float64)
    location, deviation = output[..., :H], energy_network.deviation_of(output[..., H:])
    unit = np.array(system.unit)
    played = np.array(system.shares) * data.numbers[:, MEDIANS]
    mean = played + location.mean(0) * unit * np.array(trust)
    return mean, np.sqrt((deviation**2).mean(0) + location.var(0)) * unit


def learn(runs: Sequence[Energies], plan: Plan, course: Course = ALONE) -> tuple[Learned, JobData, list[SystemData]]:
    """Train the networks on the earlier part of some runs; besides the jobs and the moments that were checked by."""
    parts = [split(energies.rows) for energies in runs]
    fitted = _joined([job_data(each, part.fit) for each, part in zip(runs, parts, strict=True)])
    ends = np.concatenate([each.rows.end_s[part.check] for each, part in zip(runs, parts, strict=True)])
    check = _joined([job_data(each, part.check) for each, part in zip(runs, parts, strict=True)])
    check = taken(check, np.argsort(ends, kind="stable"))
    of_runtime, of_watts, of_system = (None, None, None) if course.start is None else _started(course.start)
    runtime = performance_learner.half(
        training.train(_runtimes(fitted), _runtimes(check), plan, _step(course, "runtimes"), of_runtime)
    )
    scales = training.scalers(fitted.features) if of_watts is None else (of_watts.center, of_watts.scale)
    watts = half(train_watts(_watts(fitted), _watts(check), scales, plan, _step(course, "watts"), of_watts))
    periods = [period(each, part) for each, part in zip(runs, parts, strict=True)]
    outputs = [job_output(runtime, watts, each.rows.features) for each in runs]
    data, checking = (
        [system_data(each, times[k], output) for each, times, output in zip(runs, periods, outputs, strict=True)]
        for k in range(2)
    )
    fit_all, check_all = (SystemData(*map(np.concatenate, zip(*each, strict=True))) for each in (data, checking))
    system = halved(train_system(fit_all, check_all, plan, course._replace(start=None), of_system))
    for name in ("runtimes", "watts"):
        if (done := _step(course, name).checkpoint) is not None:
            done.unlink(missing_ok=True)
    return Learned(runtime, watts, system, trusted(system, check_all)), check, checking


def _step(course: Course, name: str) -> Course:
    """The course of one of the networks, with a checkpoint of its own."""
    checkpoint = course.checkpoint
    own = None if checkpoint is None else checkpoint.with_name(f"{checkpoint.name}.{name}")
    return course._replace(checkpoint=own, start=None)


def _runtimes(data: JobData) -> Data:
    """The same jobs, to learn how long they run."""
    return Data(data.features[:, : len(NAMES)], data.runtime_s, data.walltime_s)


def _watts(data: JobData) -> WattsData:
    """Those whose energy is known, to learn what they draw."""
    return WattsData(data.features[data.is_told], data.log_share[data.is_told])


def _started(path: Path) -> tuple[Start, Start, SystemStart]:
    """The networks of a file of weights, to begin with."""
    used, of_jobs, of_runtime = read(path), len(JOB_NAMES), len(NAMES)
    system = Start(used.system, used.center[of_jobs:], used.scale[of_jobs:])
    return (
        Start(used.runtime, used.center[:of_runtime], used.scale[:of_runtime]),
        Start(used.watts, used.center[:of_jobs], used.scale[:of_jobs]),
        SystemStart(system, used.unit.tolist(), used.shares.tolist()),
    )


def halved(system: System) -> System:
    """The network of the machine as it is kept in a file."""
    return System(half(system.network), _rounded(system.unit), system.shares)


def trusted(system: System, check: SystemData) -> list[float]:
    """The tenths of what the network says of each horizon with which moments to check have the least absolute error."""
    none, whole = (forecast(system, [trust] * H, check)[0] for trust in (0.0, 1.0))
    errors = [np.abs(check.changes - none - tenths / 10 * (whole - none)).mean(0) for tenths in range(11)]
    return [float(each) / 10 for each in np.argmin(errors, axis=0)]


def taken(data: JobData, which: Int64s) -> JobData:
    """Some of the jobs, in that order."""
    return JobData(
        data.features[which], data.runtime_s[which], data.walltime_s[which], data.log_share[which], data.is_told[which]
    )


def _joined(parts: Sequence[JobData]) -> JobData:
    return JobData(*map(np.concatenate, zip(*parts, strict=True)))


def job_scores(learned: Learned, check: JobData) -> Floats:
    """How far ln joules of jobs were from what was said, in deviations."""
    said = believed(learned, check)
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
        parts = {
            "runtime": found.runtime.tensors, "watts": found.watts.fitted.tensors,
            "system": found.system.network.fitted.tensors,
        }  # fmt: skip
        tensors = {f"{part}.{name}": value for part, each in parts.items() for name, value in each.items()}
        last = np.concatenate([system_scores(found, each)[-WINDOW // len(checking) :] for each in checking])
        losses = {
            "runtime": found.runtime.losses[found.runtime.best_epoch],
            "watts": found.watts.fitted.losses[found.watts.fitted.best_epoch],
            "system": found.system.network.fitted.losses[found.system.network.fitted.best_epoch],
        }
        about = {
            "kind": KIND,
            "seed": plan.seed,
            "config": {"epochs": plan.epochs, "patience": plan.patience, "batch": plan.batch},
            "data": {"sha256": digest(check), "check_jobs": len(check.runtime_s), "check_moments": len(last)},
            "metrics": {name: [round(each, 4) for each in loss] for name, loss in losses.items()},
            "versions": {"torch": torch.__version__.partition("+")[0], "numpy": np.__version__},
            "features": list(FEATURES),
            "center": [*found.watts.center, *found.system.network.center],
            "scale": [*found.watts.scale, *found.system.network.scale],
            "unit": found.system.unit,
            "shares": found.system.shares,
            "trust": found.trust,
            "job_scores": np.round(job_scores(found, check)[-WINDOW:], _DIGITS).tolist(),
            "system_scores": np.round(last, _DIGITS).tolist(),
        }
        said = (
            f"{len(check.runtime_s):,} jobs and {sum(len(each.changes) for each in checking):,} moments to check; "
            f"losses {', '.join(f'{loss[1]:.3f}' for loss in losses.values())}"
        )
        return Made({name: value.astype(np.float16) for name, value in tensors.items()}, about, said)

    def evaluate(self, records: Energies, seeds: list[int], epochs: int, told: Callable[[str], None]) -> Evaluation:
        from .energy_evaluation import evaluate

        return evaluate(records, split(records.rows), seeds, told, epochs)


LEARNER: Final[Learner] = _Energy()
