"""What sensors read of racks, as windows to learn from: how warm a rack is, what it draws, and how warm it becomes.

A window begins with a sample of a rack. Of each node it has the readings at some later samples, as long as the node
did not change its job, state or power in between. What its neighbours do in the meantime is not looked at: nobody who
asks knows it either.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import InputError, MachineSpec

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LEADS_S: Final = (60, 120, 300, 600, 1200, 2400, 3600, 5400)
"""How long after the beginning of a window its nodes are looked at again, where the sampling allows it."""

STEADY_W: Final = 0.08  # share of its power; what reads so much more or less draws something else
_RECENT_S: Final = 300  # half of the windows begin so soon after a change in their rack
_FEWEST: Final = 20  # windows


class GpuTelemetry(NamedTuple):
    """S samples of the GPUs of U units: their temperature, and how busy the CPUs and GPUs of the unit are."""

    gpu_c: Float32s
    cpu_util: Float32s
    gpu_util: Float32s
    machine: MachineSpec


class Telemetry(NamedTuple):
    """S samples of U units at ``time_s``: their nodes' temperature and power, and the supply.

    ``kept`` (S, U) says whether a unit had the same job, state and power in the sample before. ``gpus`` is None on a
    machine without.
    """

    time_s: Int64s
    node_c: Float32s
    node_w: Float32s
    kept: Bools
    supply_c: Float32s
    units_per_rack: int
    gpus: GpuTelemetry | None = None


class Windows(NamedTuple):
    """N windows of racks of n units, with L later looks at ``leads_s``; temperatures in kelvins above the supply.

    ``watts`` (N, n) are the mean of what was read for as long as a node drew the same, up to the last look that counts.

    ``there`` (N, n) is 0 for what a short rack lacks, ``holds`` (N, n, L) whether a look counts.
    """

    start_s: Int64s
    units: Int64s
    there: Float32s
    above_k: Float32s
    watts: Float32s
    later_k: Float32s
    holds: Bools
    leads_s: Int64s

    def take(self, which: Any) -> Windows:
        """Some of the windows."""
        parts: list[Any] = [part[which] for part in self[:-1]]
        return Windows._make([*parts, self.leads_s])

    def digest(self) -> str:
        """SHA-256 of all of it."""
        found = hashlib.sha256()
        for part in self:
            found.update(np.ascontiguousarray(part).tobytes())
        return found.hexdigest()


def of_run(telemetry: Any, temperature: Any, machine: MachineSpec, until_s: int) -> Telemetry:
    """The samples before ``until_s`` of a run on a machine, from its Arrow tables of telemetry and temperatures.

    InputError where there are no temperatures, or only those of some units.
    """
    if telemetry["node_c"].null_count:
        raise InputError("the thermal twin learns from temperatures: set physics.heat to true")
    unit = np.asarray(telemetry["unit"])
    units = int(unit.max()) + 1
    samples = len(unit) // units
    if len(unit) % units or not np.array_equal(unit[:units], np.arange(units)):
        raise InputError("the thermal twin learns from telemetry of all units: leave physics.telemetry.units away")
    time_s = np.asarray(telemetry["time_s"])[::units]
    samples = int(np.searchsorted(time_s, until_s))
    telemetry = telemetry.slice(0, samples * units)

    def column(name: str) -> Float32s:
        return np.ascontiguousarray(np.asarray(telemetry[name], np.float32).reshape(-1, units))

    node_w = column("node_w")
    kept = np.zeros(node_w.shape, bool)
    kept[1:] = np.abs(np.diff(node_w, axis=0)) < STEADY_W * node_w[:-1]
    for name in ("state", "job_id"):
        codes = np.asarray(telemetry[name].unify_dictionaries().combine_chunks().indices.fill_null(-1))
        codes = codes.reshape(-1, units)
        kept[1:] &= codes[1:] == codes[:-1]
    known_s = np.asarray(temperature["time_s"])
    known = np.maximum(np.searchsorted(known_s, time_s[:samples], side="right") - 1, 0)
    supply_c = np.asarray(temperature["supply_c"], np.float32)[known]
    gpus = None
    if not telemetry["gpu_c"].null_count:
        gpus = GpuTelemetry(column("gpu_c"), column("cpu_util"), column("gpu_util"), machine)
    return Telemetry(time_s[:samples], column("node_c"), node_w, kept, supply_c, machine.units_per_rack, gpus)


def windows(seen: Telemetry, first: int, last: int, count: int, rng: np.random.Generator) -> Windows:
    """At most ``count`` windows within samples ``first`` to ``last`` (without it), drawn at random, ascending in time.

    Half of them begin where something in the rack has changed lately. InputError where there are hardly any.
    """
    samples, units = seen.node_w.shape
    n = seen.units_per_rack
    racks = -(-units // n)
    every_s = int(seen.time_s[1] - seen.time_s[0]) if samples > 1 else 1
    leads = np.unique([max(1, round(lead / every_s)) for lead in LEADS_S])
    begin, end = max(first, 1), last - int(leads[-1])
    if (end - begin) * racks < _FEWEST:
        raise InputError(f"{last - first} samples of {racks} racks are too few for the thermal twin to learn from")
    breaks = np.cumsum(~seen.kept[first:last], axis=0, dtype=np.int32)
    moved = np.add.reduceat(breaks, np.arange(0, units, n), axis=1)  # how often something of a rack has changed
    back = -(-_RECENT_S // every_s)
    at = np.arange(begin, end)
    lately = moved[at - first] > moved[np.maximum(at - back, first) - first]
    recent, some = np.flatnonzero(lately), rng.permutation(lately.size)
    half = count // 2
    drawn = np.concatenate([recent[rng.permutation(recent.size)[:half]], some[:half]])
    sample, rack = np.divmod(np.unique(drawn), racks)
    sample += begin
    unit = rack[:, None] * n + np.arange(n)
    there = unit < units
    unit = np.minimum(unit, units - 1)

    def later(lead: int) -> Int64s:
        return sample[:, None] + lead

    supply_c = seen.supply_c[sample]
    later_k = [seen.node_c[later(lead), unit] - supply_c[:, None] for lead in leads]
    holds = np.stack([
        there
        & (breaks[later(lead) - first, unit] == breaks[later(0) - first, unit])
        & (seen.supply_c[later(lead)] == supply_c[:, None])
        for lead in leads
    ], -1)  # fmt: skip
    until = np.where(holds, leads, 0).max(-1)
    drawn_w = np.zeros((last - first + 1, units))
    np.cumsum(seen.node_w[first:last], axis=0, out=drawn_w[1:])
    sum_w = drawn_w[later(1) + until - first, unit] - drawn_w[later(0) - first, unit]
    return Windows(
        seen.time_s[sample],
        unit,
        there.astype(np.float32),
        seen.node_c[later(0), unit] - supply_c[:, None],
        (sum_w / (until + 1)).astype(np.float32),
        np.stack(later_k, -1),
        holds,
        leads * every_s,
    )
