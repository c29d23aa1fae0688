"""What is known of the whole machine at a moment, as numbers: what sensors read, what runs and waits, what time it is.

``sample`` makes of one reading of all units the values of the system, the map of its racks and the watts of its jobs.
The map has the racks side by side in the order of their numbers, each from its first unit to its last; it is averaged
over areas to 4 rows and 16 columns, whatever shape the machine has, and spread where it has fewer.

``numbers`` looks ahead by playing the next hour many times (``energy_ahead``). For training and in a run the same lines
do both.

Shapes: U units, C channels, R jobs that run, Q that wait, H horizons. Watts are shares of what all busy nodes draw at
most above idle, nodes shares of all.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import UNIT_STATES, MachineSpec, Readings

from .energy_ahead import Hour, Jobs, played
from .energy_features import Node
from .features import Bools, Floats, Int64s

HORIZONS_S: Final = (900, 1800, 3600)
"""For which the network is trained; between them it is interpolated."""

EVERY_S: Final = 300
"""From one sample to the next."""

SAMPLES: Final = 15
MAP: Final = (2, 4, 16)
CHANNELS: Final = ("power", "busy", "down", "temperature", "hottest", "changed")
"""Of a sample of the system; ``changed`` is the share of units that have another job than in the sample before."""

_AHEAD: Final = ("median_w", "mean_w", "deviation_w", "low_w", "high_w")
"""Of the changes of power in all draws of the hour to come; low and high are the first and the last tenth."""

_NOW: Final = (
    "power", "free", "down", "dynamic", "running", "waiting", "waiting_nodes", "waiting_w", "largest_nodes",
    "largest_w", "head_nodes", "startable_w", "until_maintenance", "since_sample", "hour_sin", "hour_cos",
    "weekday_sin", "weekday_cos",
)  # fmt: skip

STATE_NAMES: Final = (*_NOW, *(f"{name}_{horizon}" for horizon in HORIZONS_S for name in _AHEAD))
"""The numbers of a moment in their order."""

MEDIANS: Final = [STATE_NAMES.index(f"median_w_{horizon}") for horizon in HORIZONS_S]
"""Where among them the medians of the draws are."""

MOST_WAITING: Final = 1000  # jobs of the queue that are looked at; backfilling finds small ones far behind the head
_COLD_C, _SPAN_K = 40.0, 20.0  # about the middle and the spread of nodes' temperatures
_DAY_S: Final = 86_400
_MONDAY_UTC: Final = 4 * _DAY_S
_BUSY, _DOWN = UNIT_STATES.index("busy"), UNIT_STATES.index("down")


class Racks(NamedTuple):
    """How the units of a machine are averaged to the cells of its map: weights (cells, U)."""

    weight: npt.NDArray[np.float32]

    @classmethod
    def of(cls, spec: MachineSpec) -> Racks:
        """Those of a machine; the last rack may have fewer units."""
        _, rows, columns = MAP
        unit = np.arange(spec.units)
        rack, place = unit // spec.units_per_rack, unit % spec.units_per_rack
        across, along = _overlap(rack, spec.racks, columns), _overlap(place, spec.units_per_rack, rows)
        weight = (along[:, None, :] * across[None, :, :]).reshape(rows * columns, -1)
        return cls((weight / np.maximum(weight.sum(1, keepdims=True), 1e-9)).astype(np.float32))


def _overlap(place: Int64s, places: int, cells: int) -> Floats:
    """How much of each of ``cells`` equal parts of a line is taken by each of its ``places``, (cells, U)."""
    begin, end = place / places, (place + 1) / places
    edge = np.arange(cells + 1)[:, None] / cells
    overlap: Floats = np.maximum(np.minimum(end, edge[1:]) - np.maximum(begin, edge[:-1]), 0.0)
    return overlap


class Sample(NamedTuple):
    """One reading: when, (C,) values, the map, the jobs (ids, ascending) that have units of their own and what one
    node of each drew, watts; and the job of each unit, (U,)."""

    time_s: int
    system: npt.NDArray[np.float32]
    map: npt.NDArray[np.float32]
    jobs: Int64s
    node_w: Floats
    job_U: Int64s


def sample(readings: Readings, before: Sample | None, racks: Racks, node: Node) -> Sample:
    """What one reading of all units says."""
    job_U, power = readings.job, (readings.node_w - node.idle_w) / node.dynamic_w
    warmth = np.zeros(len(power)) if readings.node_c is None else (readings.node_c - _COLD_C) / _SPAN_K
    jobs, code = np.unique(job_U, return_inverse=True)
    node_w = np.bincount(code, readings.node_w) / np.bincount(code)
    own = jobs >= 0
    changed = 0.0 if before is None else float(np.mean(before.job_U != job_U))
    system = (
        power.mean(), np.mean(readings.state == _BUSY), np.mean(readings.state == _DOWN), warmth.mean(), warmth.max(),
        changed,
    )  # fmt: skip
    cells = racks.weight @ np.stack([power, warmth], axis=1).astype(np.float32)
    return Sample(
        int(readings.time_s[0]), np.array(system, np.float32), cells.T.reshape(MAP), jobs[own], node_w[own], job_U
    )


class Moment(NamedTuple):
    """What is known in one second: watts of the machine, nodes that are free and down, jobs, the latest sample.

    ``freed`` nodes became free in this second, ``arrived`` (Q,) are jobs that came in it: the pass is still to come.
    ``maintenance_s`` is how long it is until the next maintenance, infinite where none is announced; ``overruns`` are
    of the last jobs that met their walltimes how many walltimes they ran, ascending; ``certain`` (R,) seconds that the
    jobs that run are known to have left, where an oracle knows, else None.
    """

    utc_s: int
    it_w: float
    free: int
    down: int
    running: Jobs
    waiting: Jobs
    waiting_count: int
    freed: int
    arrived: Bools
    maintenance_s: float
    sample_age_s: float
    overruns: Floats
    certain: Floats | None = None


def numbers(moment: Moment, node: Node, fixed_w: float) -> tuple[Floats, float]:
    """The numbers of a moment, (S,), and the watts from which its forecasts are changes.

    These are what the machine draws; before a scheduling pass also what EASY would start in it.
    """
    all_w = node.dynamic_w * node.nodes
    run, wait = moment.running, moment.waiting
    run_w, wait_w = (
        each.nodes * np.maximum(np.exp(each.share) * node.peak_w - node.idle_w, 0.0) / all_w for each in (run, wait)
    )
    coming = Hour(
        moment.free, moment.freed, moment.arrived, run, wait, run_w, wait_w, moment.maintenance_s, moment.overruns,
        moment.certain,
    )  # fmt: skip
    draws = played(coming, HORIZONS_S)
    at_once = float(draws[0, 0])  # the same in all draws
    base_w = moment.it_w + at_once * all_w
    changes = draws[:, 1:] - at_once
    low, median, high = np.quantile(changes, [0.1, 0.5, 0.9], axis=0)
    ahead = np.stack([median, changes.mean(0), changes.std(0), low, high], axis=1).reshape(-1)
    week = (moment.utc_s - _MONDAY_UTC) % (7 * _DAY_S)
    hour, weekday = week % _DAY_S / _DAY_S * 2 * np.pi, week / (7 * _DAY_S) * 2 * np.pi
    waiting_nodes = float(wait.nodes.sum())
    now = (
        (base_w - fixed_w - node.idle_w * node.nodes) / all_w, moment.free / node.nodes, moment.down / node.nodes,
        run_w.sum(), np.log1p(len(run.nodes)), np.log1p(moment.waiting_count), np.log1p(waiting_nodes / node.nodes),
        wait_w.sum() / max(waiting_nodes / node.nodes, 1e-9), run.nodes.max(initial=0) / node.nodes,
        run_w.max(initial=0.0), (wait.nodes[0] if wait.nodes.size else 0) / node.nodes, at_once,
        np.log1p(min(moment.maintenance_s, _DAY_S)), min(moment.sample_age_s, 4.0 * EVERY_S) / EVERY_S,
        np.sin(hour), np.cos(hour), np.sin(weekday), np.cos(weekday),
    )  # fmt: skip
    return np.concatenate([now, ahead]), base_w
