"""What a run left, as the energy twin learns from it: jobs with what they drew, and moments of the whole machine.

A moment is told of as the scheduler would see it at the beginning of a pass: jobs that start in that second wait still,
those that end in it are gone, and the latest sample is of an earlier second (``Moments.at``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import UNIT_STATES, InputError, MachineSpec, Readings

from . import records
from .energy_features import OVERRUNS, Node, of_trace
from .energy_network import as_jobs
from .energy_state import HORIZONS_S, MAP, MOST_WAITING, SAMPLES, Moment, Racks, Sample, numbers, sample
from .features import Bools, Floats, Int64s
from .learners import Recorded

GRID_S: Final = 900  # between moments to learn from and to judge by
_LONGEST_S: Final = max(HORIZONS_S)
_DAY_S: Final = 86_400


class Energies(NamedTuple):
    """The jobs of a run with their energy features; the logarithm of the share of the peak that each drew, and whether
    that is known, (J,); the machine; what there is to make moments of."""

    rows: records.Records
    log_share: Floats
    is_told: Bools
    node: Node
    moments: Moments


class Moments:
    """The course of a run, to tell of any second of it what was known.

    Parameters
    ----------
    attempts : job, first and last second and joules of each attempt, (A,) each.
    power : seconds and watts from then on.
    away : when units went out of service, until when, how many nodes, and whether for maintenance.
    """

    def __init__(
        self,
        rows: records.Records,
        eligible_s: Int64s,
        attempts: tuple[Int64s, Int64s, Int64s, Floats],
        power: tuple[Int64s, Floats],
        away: tuple[Int64s, Int64s, Int64s, Bools],
        samples: list[Sample],
        spec: MachineSpec,
    ) -> None:
        self._rows, self._eligible_s = rows, eligible_s
        ends, walltime_s = rows.ends, rows.jobs.walltime_s[rows.ends.job]
        met = np.flatnonzero(ends.counted & (ends.runtime_s >= walltime_s))
        met = met[np.argsort(ends.end_s[met], kind="stable")]
        self._overrun_s, self._overruns = ends.end_s[met], ends.runtime_s[met] / walltime_s[met]
        self._job, self._start_s, self._end_s, energy_j = attempts
        self._power_s, self._power_w = power
        self._away = away
        self._samples = samples
        self._sample_s = np.array([each.time_s for each in samples], np.int64)
        self._series = np.stack([each.system for each in samples])
        self._node, self._fixed_w = Node.of(spec), spec.power.fixed_w
        nodes = rows.jobs.nodes[self._job]
        seconds = np.maximum(self._end_s - self._start_s, 1)
        self._added_w = energy_j / seconds - nodes * self._node.idle_w
        self._first_s = np.full(len(eligible_s), np.iinfo(np.int64).max)
        np.minimum.at(self._first_s, self._job, self._start_s)

    def times(self) -> Int64s:
        """Seconds to tell of, each one second after a sample."""
        submit_s = self._rows.jobs.submit_s
        first = max(int(submit_s[0]), int(self._sample_s[0])) + _DAY_S
        last = min(int(submit_s[-1]), int(self._power_s[-1]), int(self._sample_s[-1])) - _LONGEST_S
        grid = np.arange(-(-first // GRID_S) * GRID_S + 1, last, GRID_S)
        if grid.size < SAMPLES:
            raise InputError("the run is too short to learn its power from; give more days")
        return grid

    def watts(self, time_s: Int64s) -> Floats:
        """What the machine drew from these seconds on."""
        place = np.searchsorted(self._power_s, time_s, side="right") - 1
        found: Floats = self._power_w[np.maximum(place, 0)]
        return found

    def before(self, time_s: int) -> float:
        """What it drew in a second before jobs were started in it."""
        started = self._start_s == time_s
        return float(self.watts(np.array([time_s]))[0] - self._added_w[started].sum())

    def changes(self, time_s: Int64s, base_w: Floats) -> Floats:
        """By how much power is other than T watts at each horizon after T seconds, (T, H), as shares of all dynamic
        watts."""
        then = np.stack([self.watts(time_s + horizon_s) for horizon_s in HORIZONS_S], axis=1)
        return (then - base_w[:, None]) / (self._node.dynamic_w * self._node.nodes)

    def seen(self, time_s: Int64s) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """The latest map, and the last samples, the oldest first, before each of T seconds."""
        place = np.searchsorted(self._sample_s, time_s) - 1
        series = self._series[np.maximum(place[:, None] - np.arange(SAMPLES)[::-1], 0)]
        return np.stack([self._samples[each].map for each in place]).reshape(-1, *MAP), series

    def at(self, time_s: int, output: npt.NDArray[np.float32], *, knows_ends: bool = False) -> Moment:
        """What was known in a second, with ``output`` (J, M, 29) what the networks say of all jobs.

        An oracle ``knows_ends`` of the jobs that run.
        """
        jobs = self._rows.jobs
        runs = np.flatnonzero((self._start_s < time_s) & (self._end_s > time_s))
        runs = runs[np.argsort(self._job[runs], kind="stable")]
        job = self._job[runs]
        waits = np.flatnonzero((self._eligible_s <= time_s) & (self._first_s >= time_s) & (jobs.submit_s <= time_s))
        first = waits[:MOST_WAITING]
        away_s, back_s, away_nodes, is_planned = self._away
        down = int(away_nodes[(away_s <= time_s) & (back_s > time_s)].sum())
        planned = (back_s > time_s) & is_planned
        maintenance_s = float(np.maximum(away_s[planned].min(initial=2**62) - time_s, 0)) if planned.any() else np.inf
        latest = self._samples[int(np.searchsorted(self._sample_s, time_s)) - 1]
        known = np.minimum(np.searchsorted(latest.jobs, job), max(len(latest.jobs) - 1, 0))
        measured_w = np.full(len(job), np.nan)
        if latest.jobs.size:
            measured_w = np.where(latest.jobs[known] == job, latest.node_w[known], np.nan)
        return Moment(
            utc_s=time_s + jobs.utc_of_zero,
            it_w=self.before(time_s),
            free=self._node.nodes - down - int(jobs.nodes[job].sum()),
            down=down,
            running=as_jobs(
                jobs.nodes[job], jobs.walltime_s[job], output[job], self._node,
                time_s - self._start_s[runs], measured_w,
            ),
            waiting=as_jobs(jobs.nodes[first], jobs.walltime_s[first], output[first], self._node),
            waiting_count=len(waits),
            freed=int(jobs.nodes[self._job[self._end_s == time_s]].sum()),
            arrived=jobs.submit_s[first] == time_s,
            maintenance_s=maintenance_s,
            sample_age_s=float(time_s - latest.time_s),
            overruns=self._known_overruns(time_s),
            certain=(self._end_s[runs] - time_s).astype(np.float64) if knows_ends else None,
        )  # fmt: skip

    def _known_overruns(self, time_s: int) -> Floats:
        until = int(np.searchsorted(self._overrun_s, time_s, side="right"))
        return np.sort(self._overruns[max(until - OVERRUNS, 0) : until])

    def numbers(
        self, time_s: Int64s, output: npt.NDArray[np.float32], *, knows_ends: bool = False
    ) -> tuple[Floats, Floats]:
        """The numbers of T seconds, (T, S), and the watts from which changes are counted, (T,)."""
        moments = (self.at(int(each), output, knows_ends=knows_ends) for each in time_s)
        found, base_w = zip(*(numbers(moment, self._node, self._fixed_w) for moment in moments), strict=True)
        return np.stack(found), np.array(base_w)


def of_run(run: Recorded) -> Energies:
    """The records of a run, which must have had physics and telemetry of all units."""
    spec = run.machine
    if spec is None or run.telemetry is None:
        raise InputError("energy is learned from runs with machine.model, physics and physics.telemetry")
    jobs = run.tables["jobs"]
    order = np.argsort(jobs.column("submit_s").to_numpy(), kind="stable")
    row_of = {name: row for row, name in enumerate(jobs.take(order).column("job_id").to_pylist())}
    return of_tables(run, samples_of(_read(run.telemetry(), row_of, spec.units), spec), spec)


def of_tables(run: Recorded, samples: list[Sample], spec: MachineSpec) -> Energies:
    """The records of a run whose sensors said ``samples``."""
    node = Node.of(spec)
    submitted = run.tables["jobs"].column("submit_s").to_numpy()
    tables = {**run.tables, "jobs": run.tables["jobs"].take(np.argsort(submitted, kind="stable"))}  # as those of rows
    rows = records.of_run(tables["jobs"], run.manifest["t0_utc"], run.manifest["machine"]["nodes"])
    row_of = {name: row for row, name in enumerate(tables["jobs"].column("job_id").to_pylist())}

    def whole(table: str, name: str, missing: int = 2**62) -> Int64s:
        values: Int64s = tables[table].column(name).fill_null(missing).to_numpy().astype(np.int64)
        return values

    attempts = tables["attempts"]
    job = np.array([row_of[name] for name in attempts.column("job_id").to_pylist()], np.int64)
    energy_j = attempts.column("energy_j").to_numpy()
    causes = np.array(tables["interrupts"].column("cause").to_pylist(), dtype=str)
    last_j = np.zeros(len(row_of))
    last_j[job] = energy_j  # of those of one job the last attempt comes last
    tells = rows.ends.counted & (last_j[rows.ends.job] > 0) & (rows.ends.runtime_s > 0)
    told = rows.ends.job[tells]
    node_s = (rows.jobs.nodes[told] * rows.ends.runtime_s[tells]).astype(np.float64)
    log_share, is_told = np.zeros(len(row_of)), np.zeros(len(row_of), bool)
    log_share[told], is_told[told] = node.log_share(last_j[told], node_s, np.ones(len(told))), True
    features = of_trace(rows.jobs, rows.features, rows.ends, np.flatnonzero(tells), log_share[told], node)
    rows = rows._replace(features=features)
    moments = Moments(
        rows,
        whole("jobs", "eligible_s"),
        (job, whole("attempts", "start_s"), whole("attempts", "end_s"), energy_j),
        (whole("power", "time_s"), tables["power"].column("it_w").to_numpy()),
        (whole("interrupts", "time_s"), whole("interrupts", "until_s"), whole("interrupts", "nodes"),
         causes == "maintenance"),
        samples,
        spec,
    )  # fmt: skip
    return Energies(rows, log_share, is_told, node, moments)


def samples_of(readings: Iterable[Readings], spec: MachineSpec) -> list[Sample]:
    """The samples of readings, each of all units."""
    racks, node, found = Racks.of(spec), Node.of(spec), []
    before = None
    for each in readings:
        before = sample(each, before, racks, node)
        found.append(before._replace(job_U=before.job_U[:0]))  # what was needed of it for the next one is used up
    return found


def _read(table: Any, row_of: dict[str, int], units: int) -> Iterator[Readings]:
    """The readings of a file of telemetry, a sample at a time."""
    if not table.num_rows or table.num_rows % units:
        raise InputError("physics.telemetry: should be of all units; leave units out")
    names = ("time_s", "unit", "state", "job_id", "node_c", "node_w")
    table = table.select(list(names)).unify_dictionaries().combine_chunks()
    state, job = (table.column(name).chunk(0) for name in ("state", "job_id"))
    place = np.array([UNIT_STATES.index(name) for name in state.dictionary.to_pylist()], np.int8)
    rows = np.array([*(row_of[name] for name in job.dictionary.to_pylist()), -1], np.int64)
    state_R, job_R = place[state.indices.to_numpy()], rows[job.indices.fill_null(len(rows) - 1).to_numpy()]
    time_s, unit = table.column("time_s").to_numpy(), table.column("unit").to_numpy().astype(np.int64)
    node_c = None if table.column("node_c").null_count else table.column("node_c").to_numpy()
    node_w = table.column("node_w").to_numpy()
    for begin in range(0, table.num_rows, units):
        part = slice(begin, begin + units)
        yield Readings(
            time_s[part], unit[part], state_R[part], job_R[part],
            None if node_c is None else node_c[part].astype(np.float64), None, node_w[part].astype(np.float64),
            np.zeros(0), None, None,
        )  # fmt: skip
