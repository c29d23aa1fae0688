"""What is known of the whole machine at a moment, as numbers: what sensors read, what runs and waits, what time it is.

``sample`` makes of one reading of all units the values of the system, the map of its racks and the watts of its jobs.
The map has the racks side by side in the order of their numbers, each from its first unit to its last; it is averaged
over areas to 4 rows and 16 columns, whatever shape the machine has, and spread where it has fewer.

``numbers`` looks ahead: jobs that run end by what is believed of their runtimes, at the latest at their walltimes, and
the nodes that they leave go to those that wait, by the rule of EASY (Lifka 1995), which draw what is believed of them.
For training and in a run the same lines do both.

Shapes: U units, C channels, R jobs that run, Q that wait, H horizons. Watts are shares of what all busy nodes draw at
most above idle, nodes shares of all.

References: Lifka (1995), The ANL/IBM SP scheduling system.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import UNIT_STATES, MachineSpec, Readings

from . import lognormal
from .energy_features import Node
from .features import Floats, Int64s

HORIZONS_S: Final = (900, 1800, 3600)
"""For which the network is trained; between them it is interpolated."""

EVERY_S: Final = 300
"""From one sample to the next."""

SAMPLES: Final = 15
MAP: Final = (2, 4, 16)
CHANNELS: Final = ("power", "busy", "down", "temperature", "hottest", "changed")
"""Of a sample of the system; ``changed`` is the share of units that have another job than in the sample before."""

_AHEAD: Final = (
    "ended_w", "ended_nodes", "ended_deviation_w", "limited_w", "limited_nodes", "followed_w", "started_w",
    "started_nodes", "net_w", "limited_net_w",
)  # fmt: skip
_NOW: Final = (
    "power", "free", "down", "dynamic", "running", "waiting", "waiting_nodes", "waiting_w", "largest_nodes",
    "largest_w", "head_nodes", "head_wait", "extra", "startable_w", "startable_nodes", "until_maintenance",
    "since_sample", "hour_sin", "hour_cos", "weekday_sin", "weekday_cos",
)  # fmt: skip

STATE_NAMES: Final = (*_NOW, *(f"{name}_{horizon}" for horizon in HORIZONS_S for name in _AHEAD))
"""The numbers of a moment in their order."""

MOST_WAITING: Final = 50  # jobs of the queue that are looked at
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


class Jobs(NamedTuple):
    """Jobs that run, in any order, or wait, in the order of the queue: how large, how long, and what is believed.

    ``share`` is the logarithm of the share of the peak that one node draws, measured or believed; of those that run
    ``elapsed_s`` is how long, ``mixture`` what was believed of their runtimes, and ``follows`` how often jobs of their
    users follow one another.
    """

    nodes: Int64s
    walltime_s: Int64s
    share: Floats
    elapsed_s: Floats
    mixture: lognormal.Mixture
    follows: Floats


class Moment(NamedTuple):
    """What is known in one second: watts of the machine, nodes that are free and down, jobs, the latest sample.

    ``is_fresh``: a job has ended or was submitted in this second, so that a scheduling pass is still to come.
    ``maintenance_s`` is how long it is until the next maintenance, infinite where none is announced; ``certain`` (R,)
    seconds that the jobs that run are known to have left, where an oracle knows, else None.
    """

    utc_s: int
    it_w: float
    free: int
    down: int
    running: Jobs
    waiting: Jobs
    waiting_count: int
    is_fresh: bool
    maintenance_s: float
    sample_age_s: float
    certain: Floats | None = None


def ending(running: Jobs, horizon_s: float, certain: Floats | None) -> Floats:
    """The probability of each of R jobs to end within the horizon, given how long it has run."""
    if certain is not None:
        return (certain <= horizon_s).astype(np.float64)
    if not running.nodes.size:
        return np.zeros(0)
    elapsed = np.maximum(running.elapsed_s, 1.0)
    times = np.log(np.stack([elapsed, elapsed + horizon_s], axis=1))
    gone, then = lognormal.below(running.mixture, times).T
    then = np.where(running.elapsed_s + horizon_s >= running.walltime_s, 1.0, then)
    chance: Floats = np.clip((then - gone) / np.maximum(1.0 - gone, 1e-6), 0.0, 1.0)
    return chance


def numbers(moment: Moment, node: Node, fixed_w: float) -> tuple[Floats, float]:
    """The numbers of a moment, (S,), and the watts from which its forecasts are changes.

    These are what the machine draws; before a scheduling pass also what EASY would start in it.
    """
    all_w = node.dynamic_w * node.nodes
    run, wait = moment.running, moment.waiting
    run_w, wait_w = (
        each.nodes * np.maximum(np.exp(each.share) * node.peak_w - node.idle_w, 0.0) / all_w for each in (run, wait)
    )
    left_s = np.maximum(run.walltime_s - run.elapsed_s, 1.0)
    head_s, extra = _shadow(moment, left_s)
    queue = list(zip(wait.nodes.tolist(), wait.walltime_s.tolist(), wait_w.tolist(), strict=True))
    queue = [each for each in queue if each[1] <= moment.maintenance_s]
    startable = _filled(moment.free, queue, head_s, extra)
    base_w = moment.it_w + (startable[0] * all_w if moment.is_fresh else 0.0)
    ahead = []
    for horizon_s in HORIZONS_S:
        chance = ending(run, horizon_s, moment.certain)
        limited = left_s <= horizon_s
        ended_w, freed = float(chance @ run_w), float(chance @ run.nodes)
        open_chance = chance * (1.0 - run.follows)
        open_w, open_nodes = float(open_chance @ run_w), float(open_chance @ run.nodes)
        limited_w = float(limited @ run_w)
        started = _filled(moment.free + open_nodes, queue, head_s, extra)
        surely = _filled(moment.free + float(limited @ run.nodes), queue, head_s, extra)
        ahead += [
            ended_w, freed / node.nodes, float(np.sqrt((chance * (1 - chance)) @ run_w**2)), limited_w,
            float(limited @ run.nodes) / node.nodes, ended_w - open_w, started[0], started[1] / node.nodes,
            started[0] - startable[0] - open_w, surely[0] - startable[0] - limited_w,
        ]  # fmt: skip
    week = (moment.utc_s - _MONDAY_UTC) % (7 * _DAY_S)
    hour, weekday = week % _DAY_S / _DAY_S * 2 * np.pi, week / (7 * _DAY_S) * 2 * np.pi
    waiting_nodes = float(wait.nodes.sum())
    now = (
        (base_w - fixed_w - node.idle_w * node.nodes) / all_w, moment.free / node.nodes, moment.down / node.nodes,
        run_w.sum(), np.log1p(len(run.nodes)), np.log1p(moment.waiting_count), np.log1p(waiting_nodes / node.nodes),
        wait_w.sum() / max(waiting_nodes / node.nodes, 1e-9), run.nodes.max(initial=0) / node.nodes,
        run_w.max(initial=0.0), (wait.nodes[0] if wait.nodes.size else 0) / node.nodes,
        np.log1p(min(head_s, _DAY_S)), min(extra, node.nodes) / node.nodes, startable[0], startable[1] / node.nodes,
        np.log1p(min(moment.maintenance_s, _DAY_S)), min(moment.sample_age_s, 4.0 * EVERY_S) / EVERY_S,
        np.sin(hour), np.cos(hour), np.sin(weekday), np.cos(weekday),
    )  # fmt: skip
    return np.array([*now, *ahead], np.float64), base_w


def _shadow(moment: Moment, left_s: Floats) -> tuple[float, float]:
    """In how many seconds the first job of the queue can start by the walltimes, and what is free besides then."""
    wait, run = moment.waiting, moment.running
    head = float(wait.nodes[0]) if wait.nodes.size else 0.0
    if head <= moment.free:
        return 0.0, moment.free - head
    order = np.argsort(left_s, kind="stable")
    free = moment.free + np.cumsum(run.nodes[order])
    place = int(np.searchsorted(free, head))
    if place == len(free):
        return float(_DAY_S), 0.0
    return float(left_s[order[place]]), float(free[place] - head)


def _filled(free: float, queue: list[tuple[int, int, float]], head_s: float, extra: float) -> tuple[float, float]:
    """Watts and nodes of those of a queue of (nodes, walltime, watts) that EASY would start on so many nodes."""
    watts, begun, is_blocked = 0.0, 0.0, False
    for nodes, walltime_s, node_w in queue:
        if nodes > free:
            is_blocked = True
        elif not is_blocked or walltime_s <= head_s or nodes <= extra:
            free -= nodes
            watts += node_w
            begun += nodes
            if is_blocked and walltime_s > head_s:
                extra -= nodes
        if free < 1:
            break
    return watts, begun
