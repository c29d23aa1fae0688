"""The figures of a run: how long jobs waited, how full the machine was, how much it got done.

Source of the formulas: Feitelson (2001), Metrics for parallel job scheduling and their convergence; fairness
after Jain, Chiu and Hawe (1984). docs/results.md lists every key with its formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]

STARVED_AFTER_S = 72 * 3600


def summarise(
    jobs: pa.Table,
    timeline: pa.Table,
    *,
    nodes: int,
    measured_from: int | None,
    measured_to: int | None,
    nodes_each: npt.NDArray[Any] | None = None,
    nominal_s: npt.NDArray[Any] | None = None,
) -> dict[str, Any]:
    """The summary of a run, from its tables.

    Metrics of jobs are over the measured jobs that were not rejected. The interval for utilisation and throughput
    is ``[measured_from, measured_to)``, where that is ``None`` from the first submission to the last end.
    A metric of nothing is ``None``. ``nodes_each`` are the nodes that each job counts for, where they are not the
    column: of one that shares a node, its part. ``nominal_s`` is how long each takes on an undisturbed node at full
    clock, where that is not how long it ran: throughput counts it, as slowing a job down gets no more done.
    """
    measured = jobs.column("measured").to_numpy()
    state = _text(jobs, "state")
    counted = measured & (state != "rejected") & (state != "unsubmitted")
    submit_s, end_s, runtime_s = (_numbers(jobs, name) for name in ("submit_s", "end_s", "runtime_s"))
    if nodes_each is None:
        nodes_each = _numbers(jobs, "nodes")
    ended = counted & ~np.isnan(end_s)
    wait = _numbers(jobs, "wait_s")[counted]
    wait = wait[~np.isnan(wait)]
    slowdown = _numbers(jobs, "bounded_slowdown")[ended]
    turnaround = (end_s - submit_s)[ended]
    node_seconds = runtime_s * nodes_each
    work = node_seconds if nominal_s is None else nominal_s * nodes_each

    begin = measured_from if measured_from is not None else _whole(submit_s[counted], np.min)
    finish = measured_to if measured_to is not None else _whole(end_s[~np.isnan(end_s)], np.max)
    hours = None if begin is None or finish is None or finish <= begin else (finish - begin) / 3600
    completed = state == "completed"
    in_time = completed & (end_s >= (begin or 0)) & (end_s <= (finish or 0))
    names, counts = np.unique(state[measured].astype(str), return_counts=True)
    return {
        "jobs": int(counted.sum()),
        "jobs_by_state": dict(zip(names.tolist(), counts.tolist(), strict=True)),
        "node_hours": float(node_seconds[ended].sum() / 3600),
        "mean_wait_s": _mean(wait),
        **{f"{name}_wait_s": _quantile(wait, q) for name, q in _QUANTILES.items()},
        "max_wait_s": _quantile(wait, 1.0),
        "jobs_waiting_over_72h": int(np.sum(wait > STARVED_AFTER_S)),
        "mean_turnaround_s": _mean(turnaround),
        "mean_bounded_slowdown": _mean(slowdown),
        **{f"{name}_bounded_slowdown": _quantile(slowdown, q) for name, q in _QUANTILES.items()},
        "node_hour_weighted_bounded_slowdown": _mean(slowdown, weights=node_seconds[ended]),
        "variability": _variation(slowdown),
        "fairness_jain": _jain(_text(jobs, "user")[ended], slowdown),
        "utilisation": None if hours is None else busy_share(timeline, nodes, begin or 0, finish or 0),
        "throughput_jobs_per_h": None if hours is None else int(in_time.sum()) / hours,
        "throughput_node_h_per_h": None if hours is None else float(work[in_time].sum()) / 3600 / hours,
        "makespan_s": int(end_s[ended].max() - submit_s[counted].min()) if ended.any() else None,
        **_seed_definitions(turnaround, int(np.sum(completed & counted)), hours),
    }


def _seed_definitions(turnaround: Floats, completed: int, hours: float | None) -> Mapping[str, float | None]:
    """The four figures that AIMS was announced with, by their own definitions.

    What needs a power model or a fault twin is ``None`` in a run that has none.
    """
    return {
        "seed_energy_per_job_kwh": None,
        "seed_fault_prediction_accuracy": None,
        "seed_jobs_per_hour": None if hours is None else completed / hours,
        "seed_std_completion_time_s": float(turnaround.std()) if turnaround.size else None,
    }


def busy_share(timeline: pa.Table, nodes: int, begin: int, finish: int) -> float:
    """Busy node-seconds of ``[begin, finish)`` over all node-seconds of it."""
    time = timeline.column("time_s").to_numpy()
    edges = np.clip(np.append(time, max(finish, int(time[-1]))), begin, finish)
    return float(np.dot(np.diff(edges), timeline.column("busy_nodes").to_numpy())) / (nodes * (finish - begin))


_QUANTILES = {"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def _text(table: pa.Table, column: str) -> npt.NDArray[np.object_]:
    array = table.column(column).combine_chunks()
    names = np.array(array.dictionary.to_pylist(), object)
    texts: npt.NDArray[np.object_] = names[array.indices.to_numpy()]
    return texts


def _numbers(table: pa.Table, column: str) -> Floats:
    """A column with NaN where nothing is known."""
    values: Floats = table.column(column).to_numpy().astype(np.float64)
    return values


def _whole(values: Floats, which: Callable[[Floats], np.float64]) -> int | None:
    return int(which(values)) if values.size else None


def _mean(values: Floats, weights: Floats | None = None) -> float | None:
    if not values.size or (weights is not None and not weights.any()):
        return None
    return float(np.average(values, weights=weights))


def _quantile(values: Floats, q: float) -> float | None:
    return float(np.quantile(values, q)) if values.size else None


def _variation(values: Floats) -> float | None:
    """Standard deviation over mean."""
    return float(values.std() / values.mean()) if values.size else None


def _jain(users: npt.NDArray[np.object_], values: Floats) -> float | None:
    """Jain's index of the users' means: 1 if all are equal, 1/users if one has everything, None if none is known."""
    if not values.size or not any(users):
        return None
    _, user = np.unique(users.astype(str), return_inverse=True)
    means = np.bincount(user, values) / np.bincount(user)
    return float(means.sum() ** 2 / (means.size * np.square(means).sum()))
