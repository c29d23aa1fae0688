"""What sensors say of every unit at regular seconds: temperature, power, utilisation, corrected errors.

A reading is the exact solution at its second and not a step of an integration: power is constant between events, so
to sample more often makes nothing truer. The sample of a second comes after all else that happens in that second and
shows what is so from then on: a job is on a unit from the second in which it was given its nodes, and in the second in
which it ends it is not.

A machine that is watched does the same as one that is not. All random numbers are from streams of telemetry's own,
and temperatures are asked of a further copy of them, because to ask changes the rounding of all that comes later. So
several may watch at seconds of their own, and none feels another.

Sensors also show what the physics does not have: a fault to come (``FailureProcess.precursors``) makes the temperature
of its node drift away. Constants in capitals are assumed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from hpcsim.machine.cluster import Cluster
from hpcsim.machine.heat import Heat
from hpcsim.machine.readings import LONGEST_INTERVAL_S, STATES, Readings
from hpcsim.machine.shares import Shares
from hpcsim.machine.temperatures import Temperatures
from hpcsim.streams import copied, stream
from hpcsim.workload.behaviour import Behaviour

Floats = npt.NDArray[np.float64]
Units = npt.NDArray[np.int64]

_BUSY, _IDLE, _ASLEEP, _WAKING, _DOWN = range(5)

BATCH_ROWS: Final = 65_536
DRIFT_K: Final = 3.0  # of the node's temperature at the second of the fault; before it goes with the precursor

# Of the noise: its standard deviation, and the step in which sensors tell what they measure.
TEMPERATURE_SIGMA_K, TEMPERATURE_STEP_K = 0.5, 0.25
POWER_SIGMA, POWER_STEP_W = 0.01, 1.0  # the former a share of the value
UTILISATION_SIGMA, UTILISATION_STEP = 0.02, 0.01


class WatchedHeat(Heat):
    """A ``Heat`` with further temperatures that are told the same: those of ``sensed``, for each telemetry its own.

    Nobody watches a copy: its ``sensed`` is empty.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.sensed: list[Temperatures] = []

    def watch(self) -> Temperatures:
        """Temperatures of one's own, to ask from now on."""
        self.sensed.append(copy.deepcopy(self._now))
        return self.sensed[-1]

    def set_power(
        self, now: int, units: Units, node_w: float, gpu_w: float, node_was_w: float, gpu_was_w: float
    ) -> None:
        """See ``Heat``."""
        super().set_power(now, units, node_w, gpu_w, node_was_w, gpu_was_w)
        for temperatures in self.sensed:
            temperatures.set_power(now, units, node_w, gpu_w, node_was_w, gpu_was_w)

    def set_supply(self, now: int, supply_c: float) -> None:
        """See ``Heat``."""
        super().set_supply(now, supply_c)
        for temperatures in self.sensed:
            temperatures.set_supply(now, supply_c)

    def __deepcopy__(self, memo: dict[int, object]) -> WatchedHeat:
        """An independent copy that is not watched."""
        twin = cast(WatchedHeat, super().__deepcopy__(memo))
        twin.sensed = []
        return twin


class Present(NamedTuple):
    """What is so of U units in a second: state, job, watts of one of its nodes, and degrees of a node and of a GPU."""

    state_U: npt.NDArray[np.int8]
    job_U: Units
    node_w_U: Floats
    node_c_U: Floats | None
    gpu_c_U: Floats | None


class Watch:
    """Watches ``cluster`` for sensors that are read in the same seconds: what is so is found out once for all of them.

    The temperature of a cluster whose heat is no ``WatchedHeat`` is unknown.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._resting_w = np.array([cluster.meter.watts_in.get(state, 0.0) for state in STATES])
        self._heat = cluster.heat.watch() if isinstance(cluster.heat, WatchedHeat) else None
        self._seen_s = -1
        self._seen: Present | None = None

    @property
    def feels_nodes(self) -> bool:
        """Whether temperatures of nodes are known."""
        return self._heat is not None

    @property
    def feels_gpus(self) -> bool:
        """Whether those of GPUs are."""
        return self._heat is not None and self._heat.racks.has_gpus

    def on_copy(self, cluster: Cluster) -> Watch:
        """One that watches a copy of the cluster from now on."""
        twin = copy.copy(self)
        twin._cluster, twin._heat = cluster, copy.deepcopy(self._heat)
        twin.stay_told()
        return twin

    def stay_told(self) -> None:
        """Have the temperatures told of what the cluster does, if they are not."""
        heat, own = self._cluster.heat, self._heat
        if own is not None and isinstance(heat, WatchedHeat) and not any(each is own for each in heat.sensed):
            heat.sensed.append(own)

    def at(self, now: int) -> Present:
        """What is so at ``now``, when all that happens in this second has happened; leave the arrays as they are."""
        if self._seen is None or self._seen_s != now:
            node_c_U, gpu_c_U = self._warmth(now)
            self._seen_s, self._seen = now, Present(*self._doing(), node_c_U, gpu_c_U)
        return self._seen

    def _warmth(self, now: int) -> tuple[Floats | None, Floats | None]:
        heat, units = self._heat, self._cluster.spec.units
        if heat is None:
            return None, None
        heat.advance(now)
        warmth = heat.node_c_N[:units], heat.gpu_c_N[:units] if heat.racks.has_gpus else None
        heat.restart_log()  # what is in the log is in the temperatures now
        return warmth

    def _doing(self) -> tuple[npt.NDArray[np.int8], Units, Floats]:
        """Of every unit: its state, its job, and what one of its nodes draws."""
        cluster, places = self._cluster, self._cluster.places
        state_U = np.where(places.up_U, np.int8(_IDLE), np.int8(_DOWN))
        state_U[places.asleep_U] = _ASLEEP
        state_U[cluster.service.units_between] = _WAKING
        node_w_U = self._resting_w[state_U]
        job_U = np.full(state_U.size, -1)
        for execution in cluster.executions.values():
            units = execution.units
            state_U[units] = _BUSY
            job_U[units] = execution.job_id
            node_w_U[units] = execution.watts / execution.nodes
        return state_U, job_U, node_w_U


class Telemetry:
    """The sensors of ``cluster``, read at second ``start`` and every ``interval_s`` after it.

    Parameters
    ----------
    behaviour : of the jobs that run on it.
    units : how many of its units, drawn at random, are sampled; None: all.
    noise : whether sensors err; else readings are exact.
    take : is given the readings, whole samples at a time, as soon as there are ``rows``, by default
        ``BATCH_ROWS`` (or those of one sample, if that is more); no more are kept here.
    name : of its streams of random numbers.
    watch : of the cluster, shared with other telemetry of the same seconds; None: its own.

    Corrected errors are unknown without failures.
    """

    def __init__(
        self,
        cluster: Cluster,
        behaviour: Behaviour,
        *,
        interval_s: int,
        units: int | None,
        noise: bool,
        seed: int,
        start: int,
        take: Callable[[Readings], None],
        rows: int | None = None,
        name: str = "telemetry",
        watch: Watch | None = None,
    ) -> None:
        if not 1 <= interval_s <= LONGEST_INTERVAL_S:
            raise ValueError(f"an interval of {interval_s} s; it should be 1 to {LONGEST_INTERVAL_S}")
        self.next_s: int = start
        self._interval_s = interval_s
        self._cluster = cluster
        self._behaviour = behaviour
        self.take = take
        self._watch = Watch(cluster) if watch is None else watch
        self._units = np.arange(cluster.spec.units)
        if units is not None:
            self._units = np.sort(stream(seed, f"{name}: units").choice(self._units, units, replace=False))
        self._noise = stream(seed, f"{name}: noise") if noise else None
        self._errors = stream(seed, f"{name}: corrected errors")
        self._counted_s = start  # corrected errors are, up to this second
        self._room = max(1, (rows or BATCH_ROWS) // self._units.size) * self._units.size
        self._batch = self._empty_batch()
        self._filled = 0

    def on_copy(self, cluster: Cluster, take: Callable[[Readings], None], watches: dict[int, Watch]) -> Telemetry:
        """The same sensors of a copy of the cluster, from now on; only where no readings are kept here.

        ``watches`` are the copies of watches that are there already, by the id of what they are copies of.
        """
        twin = copy.copy(self)
        twin._cluster, twin.take = cluster, take
        if id(self._watch) not in watches:
            watches[id(self._watch)] = self._watch.on_copy(cluster)
        twin._watch = watches[id(self._watch)]
        twin._batch = self._empty_batch()
        twin._noise = None if self._noise is None else copied(self._noise)
        twin._errors = copied(self._errors)
        return twin

    def stay_told(self) -> None:
        """Have its watch told of what the cluster does, if it is not."""
        self._watch.stay_told()

    def sample(self, now: int) -> None:
        """Read the sensors at ``now``, which is ``next_s``; everything that happens in this second has happened."""
        begin, units, batch = self._filled, self._units, self._batch
        self._filled = end = begin + units.size
        self.next_s = now + self._interval_s
        present = self._watch.at(now)
        batch.time_s[begin:end] = now
        batch.unit[begin:end] = units
        batch.state[begin:end] = present.state_U[units]
        batch.job[begin:end] = present.job_U[units]
        batch.node_w[begin:end] = present.node_w_U[units]
        if self._cluster.shares is not None:
            self._read_shared(self._cluster.shares, begin)
        for celsius, celsius_U in ((batch.node_c, present.node_c_U), (batch.gpu_c, present.gpu_c_U)):
            if celsius is not None and celsius_U is not None:
                celsius[begin:end] = celsius_U[units]
        failures = self._cluster.service.failures
        if failures is not None and batch.corrected_errors is not None:
            # A failure that is due comes late where the next that happens is a scheduling pass. What comes after it is
            # not known yet, and left for the next sample.
            known_s = min(now, failures.next_time)
            if known_s > self._counted_s:
                batch.corrected_errors[begin:end] = failures.corrected_errors(
                    units, self._counted_s, known_s, self._errors
                )
                self._counted_s = known_s
            if batch.node_c is not None:
                signs = failures.precursors(known_s)
                drift_k_U = np.zeros(present.state_U.size)
                drift_k_U[signs.units] = DRIFT_K * signs.strength
                batch.node_c[begin:end] += drift_k_U[units]
        if end == self._room:
            self.flush()

    def flush(self) -> None:
        """Give away what there is of readings."""
        if not self._filled:
            return
        full = Readings._make(None if column is None else column[: self._filled] for column in self._batch)
        self._batch, self._filled = self._empty_batch(), 0
        busy = full.job >= 0
        full.cpu_util[busy] = self._behaviour.cpu_util_J[full.job[busy]]
        if full.gpu_util is not None:
            full.gpu_util[busy] = self._behaviour.gpu_util_J[full.job[busy]]
        if self._noise is not None:
            _add_noise(full, full.state == _BUSY, self._noise)
        self.take(full)

    def _read_shared(self, shares: Shares, begin: int) -> None:
        """Put what jobs do together on shared nodes into the sample that begins at a row: no single job is there."""
        batch, behaviour = self._batch, self._behaviour
        for number, unit in shares.units.items():
            at = int(np.searchsorted(self._units, number))
            if at < self._units.size and self._units[at] == number:
                jobs, row = np.array([*unit.members]), begin + at
                batch.job[row] = -1
                batch.node_w[row] = unit.unshared_w + sum(execution.watts for execution in unit.members.values())
                batch.cpu_util[row] = behaviour.cpu_util_J[jobs] @ shares.core_share_J[jobs]
                if batch.gpu_util is not None:
                    batch.gpu_util[row] = behaviour.gpu_util_J[jobs] @ shares.gpu_share_J[jobs]

    def _empty_batch(self) -> Readings:
        rows, watch = self._room, self._watch
        return Readings(
            time_s=np.zeros(rows, np.int64),
            unit=np.zeros(rows, np.int64),
            state=np.zeros(rows, np.int8),
            job=np.zeros(rows, np.int64),
            node_c=np.zeros(rows) if watch.feels_nodes else None,
            gpu_c=np.zeros(rows) if watch.feels_gpus else None,
            node_w=np.zeros(rows),
            cpu_util=np.zeros(rows),
            gpu_util=np.zeros(rows) if self._cluster.spec.gpus_per_node else None,
            corrected_errors=np.zeros(rows, np.int64) if self._cluster.service.failures is not None else None,
        )


def _add_noise(readings: Readings, busy: npt.NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Let sensors err, and tell what they measure in steps. Programs that do not run are known not to."""
    for celsius in (readings.node_c, readings.gpu_c):
        if celsius is not None:
            celsius += TEMPERATURE_SIGMA_K * rng.standard_normal(celsius.size)
            celsius[:] = np.rint(celsius / TEMPERATURE_STEP_K) * TEMPERATURE_STEP_K
    watts = readings.node_w
    watts *= 1.0 + POWER_SIGMA * rng.standard_normal(watts.size)
    watts[:] = np.rint(watts / POWER_STEP_W) * POWER_STEP_W
    for utilisation in (readings.cpu_util, readings.gpu_util):
        if utilisation is not None:
            measured = utilisation[busy] + UTILISATION_SIGMA * rng.standard_normal(int(np.count_nonzero(busy)))
            utilisation[busy] = np.clip(np.rint(measured / UTILISATION_STEP) * UTILISATION_STEP, 0.0, 1.0)
