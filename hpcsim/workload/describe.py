"""What a workload looks like: the summary, cycles, size classes, walltimes and users of a job trace.

Hours and weekdays are local, so many hours from UTC all year, a Monday first. Only jobs with a recorded start have a
wait; only jobs of a named user count for the users. Everything is numbers: printing and plotting are elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.errors import InputError
from hpcsim.workload.job import Int64s, Workload

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

ARGONNE_UTC_H = -6.0  # Chicago's standard time
DAY_S = 86_400
SESSION_GAP_S = 1_200
SLOWDOWN_FLOOR_S = 600  # the tau of the bounded slowdown here; runs have one of 10 s
AT_LIMIT = 0.98  # a job at or above this share of its walltime ran into it

# First node count of each class, for machines of up to so many nodes; the centres' own queue borders.
CLASSES = {
    560: (1, 2, 3, 10, 25, 100, 200, 497),
    4_392: (1, 9, 128, 129, 257, 512, 1_024, 2_048),
    49_152: (1, 512, 513, 1_025, 2_049, 4_097, 8_193, 16_385),
}


@dataclass(frozen=True, slots=True)
class SizeRow:
    """One class of job sizes. Shares are of all jobs and of all node-hours; waits are of known starts."""

    nodes: tuple[int, int]
    job_share: float
    node_hour_share: float
    runtime_median_s: float
    walltime_median_s: float
    at_limit_share: float
    wait_median_s: float | None
    wait_mean_s: float | None


@dataclass(frozen=True, slots=True)
class Description:
    """The tables of a workload.

    ``summary`` and ``users`` map a quantity, unit in its name, to its value. ``hour_weights`` (24) and
    ``weekday_weights`` (7) have mean 1. ``walltimes`` lists (seconds, share of jobs), most frequent first.
    ``runtime_quantiles_s`` and ``walltime_quantiles_s`` are quantiles 0, 0.001, ... 1; ``ratio_counts``
    counts jobs by runtime/walltime in 60 bins of 0.02 from 0 to 1.2, the last one open. Hours and weekdays are those of
    clocks ``utc_offset_h`` hours ahead of UTC.
    """

    source: str
    jobs: int
    machine_nodes: int
    summary: dict[str, float]
    hour_weights: Floats
    weekday_weights: Floats
    sizes: tuple[SizeRow, ...]
    walltimes: tuple[tuple[int, float], ...]
    users: dict[str, float]
    runtime_quantiles_s: Floats
    walltime_quantiles_s: Floats
    ratio_counts: Int64s
    utc_offset_h: float

    @property
    def clock(self) -> str:
        """Such as ``UTC-6``."""
        return f"UTC{self.utc_offset_h:+g}" if self.utc_offset_h else "UTC"


def describe(workload: Workload, machine_nodes: int | None = None, utc_offset_h: float = ARGONNE_UTC_H) -> Description:
    """The tables of ``workload``; the machine's size is the trace's, or the largest job's, unless given."""
    if len(workload) == 0:
        raise InputError(f"{workload.source}: a workload without jobs cannot be described")
    submit_s, nodes = workload.column("submit_s"), workload.column("nodes")
    runtime_s, walltime_s = workload.column("runtime_s"), workload.column("walltime_s")
    start_s = workload.column("recorded_start_s")
    size = machine_nodes or workload.machine_nodes or int(nodes.max())
    ratio = runtime_s / np.maximum(walltime_s, 1)
    wait_s = np.where(start_s >= 0, start_s - submit_s, -1)
    local_s = submit_s + workload.t0_utc + round(utc_offset_h * 3600)
    steps = np.linspace(0, 1, 1001)
    summary = _arrivals(submit_s, local_s // DAY_S) | _lengths(runtime_s, walltime_s, ratio)
    summary |= _sizes_and_lengths(nodes, runtime_s, walltime_s)
    summary |= _waits(start_s, wait_s, runtime_s, nodes, size)
    return Description(
        source=workload.source,
        jobs=len(workload),
        machine_nodes=size,
        summary=summary,
        hour_weights=_cycle(local_s // 3600 % 24, 24),
        weekday_weights=_weekdays(local_s // DAY_S),
        sizes=_size_rows(nodes, runtime_s, walltime_s, ratio, wait_s, size),
        walltimes=_walltimes(walltime_s),
        users=_users(workload, submit_s, nodes, walltime_s),
        runtime_quantiles_s=np.quantile(runtime_s, steps),
        walltime_quantiles_s=np.quantile(walltime_s, steps),
        ratio_counts=np.bincount(np.minimum(ratio * 50, 59).astype(np.int64), minlength=60),
        utc_offset_h=utc_offset_h,
    )


def size_classes(machine_nodes: int) -> list[tuple[int, int]]:
    """Smallest and largest node count of each class, for a machine of so many nodes.

    Machines the size of Polaris, Theta (4,360 to 4,392 nodes) and Mira have the classes of their queues,
    all others powers of two.
    """
    known = 4_392 if 4_360 <= machine_nodes <= 4_392 else machine_nodes
    firsts = CLASSES.get(known) or tuple(2**k for k in range(machine_nodes.bit_length()))
    return list(zip(firsts, [first - 1 for first in firsts[1:]] + [machine_nodes], strict=True))


def _arrivals(submit_s: Int64s, local_day: Int64s) -> dict[str, float]:
    """Jobs per whole local day, and the gaps between jobs."""
    daily = np.bincount(local_day - local_day[0])
    # the first and the last day are only partly in the trace
    daily = daily[1:-1] if len(daily) > 2 else daily
    gap_s = np.diff(submit_s)
    found = {
        "jobs/day mean": float(daily.mean()),
        "jobs/day median": float(np.median(daily)),
        "jobs/day sd": float(daily.std()),
        "jobs/day max": float(daily.max()),
        "jobs/day CV": float(daily.std() / daily.mean()) if daily.any() else 0.0,
    }
    if len(gap_s) and gap_s.any():
        logs = np.log(gap_s[gap_s > 0])
        spread = float(logs.std())
        found |= {
            "gap mean, s": float(gap_s.mean()),
            "gap median, s": float(np.median(gap_s)),
            "gap CV": float(gap_s.std() / gap_s.mean()),
            "share of gaps <= 5 s": float((gap_s <= 5).mean()),
            "share of gaps <= 60 s": float((gap_s <= 60).mean()),
        }
        if spread:  # the logarithm of a Weibull variate has sd pi / (sqrt(6) shape)
            found["gap Weibull shape"] = float(np.pi / np.sqrt(6) / spread)
    return found


def _lengths(runtime_s: Int64s, walltime_s: Int64s, ratio: Floats) -> dict[str, float]:
    logs = np.log(np.maximum(runtime_s, 1))
    found = {f"runtime {name}, s": float(np.quantile(runtime_s, q)) for name, q in _QUANTILES.items()}
    found |= {"runtime mean of ln": float(logs.mean()), "runtime sd of ln": float(logs.std())}
    found |= {f"walltime {name}, s": float(np.quantile(walltime_s, q)) for name, q in list(_QUANTILES.items())[:3]}
    found |= {
        "share at the limit": float((ratio >= AT_LIMIT).mean()),
        "share below 0.1 walltime": float((ratio < 0.1).mean()),
    }
    part = ratio[ratio < AT_LIMIT] / AT_LIMIT
    if len(part) and part.var():
        mean, common = part.mean(), part.mean() * (1 - part.mean()) / part.var() - 1
        found |= {"ratio beta a": float(mean * common), "ratio beta b": float((1 - mean) * common)}
    return found


_QUANTILES = {"q1": 0.25, "median": 0.5, "q3": 0.75, "p90": 0.9, "p99": 0.99}


def _sizes_and_lengths(nodes: Int64s, runtime_s: Int64s, walltime_s: Int64s) -> dict[str, float]:
    found = {
        "nodes mean": float(nodes.mean()),
        "nodes median": float(np.median(nodes)),
        "nodes q3": float(np.quantile(nodes, 0.75)),
        "share of power-of-two nodes": float((nodes & (nodes - 1) == 0).mean()),
    }
    logs = {
        "nodes": np.log(np.maximum(nodes, 1)),
        "walltime": np.log(np.maximum(walltime_s, 1)),
        "runtime": np.log(np.maximum(runtime_s, 1)),
    }
    for one, other in (("nodes", "walltime"), ("nodes", "runtime"), ("walltime", "runtime")):
        if logs[one].std() and logs[other].std():
            found[f"correlation ln {one}, ln {other}"] = float(np.corrcoef(logs[one], logs[other])[0, 1])
    return found


def _waits(start_s: Int64s, wait_s: Int64s, runtime_s: Int64s, nodes: Int64s, machine_nodes: int) -> dict[str, float]:
    known = start_s >= 0
    if not known.any():
        return {}
    start, wait, run = start_s[known], wait_s[known], runtime_s[known]
    slowdown = np.maximum((wait + run) / np.maximum(run, SLOWDOWN_FLOOR_S), 1)
    # the machine fills and empties at the ends of a trace: only the starts from 2 % to 98 % are looked at
    first, last = np.quantile(start, [0.02, 0.98])
    inside = np.clip(np.minimum(start + run, last) - np.maximum(start, first), 0, None)
    found = {
        "wait mean, s": float(wait.mean()),
        "wait median, s": float(np.median(wait)),
        "wait p90, s": float(np.quantile(wait, 0.9)),
        "wait p99, s": float(np.quantile(wait, 0.99)),
        "share of waits < 60 s": float((wait < 60).mean()),
        f"bounded slowdown ({SLOWDOWN_FLOOR_S} s) mean": float(slowdown.mean()),
        f"bounded slowdown ({SLOWDOWN_FLOOR_S} s) median": float(np.median(slowdown)),
    }
    if last > first:
        found["utilisation"] = float((inside * nodes[known]).sum() / (last - first) / machine_nodes)
    return found


def _cycle(phase: Int64s, count: int) -> Floats:
    counts = np.bincount(phase, minlength=count).astype(np.float64)
    return counts * (count / len(phase))


def _weekdays(local_day: Int64s) -> Floats:
    """Jobs of each weekday relative to the mean of all seven; a trace rarely is a whole number of weeks."""
    daily = np.bincount(local_day - local_day[0])
    # 1970-01-01 was a Thursday
    weekday = (np.arange(len(daily)) + local_day[0] + 3) % 7
    mean: Floats = np.bincount(weekday, daily, minlength=7) / np.maximum(np.bincount(weekday, minlength=7), 1)
    mean /= mean.mean()
    return mean


def _size_rows(
    nodes: Int64s, runtime_s: Int64s, walltime_s: Int64s, ratio: Floats, wait_s: Int64s, machine_nodes: int
) -> tuple[SizeRow, ...]:
    work = (nodes * runtime_s).astype(float)
    rows = []
    for first, last in size_classes(max(machine_nodes, int(nodes.max()))):
        here = (nodes >= first) & (nodes <= last)
        if not here.any():
            continue
        wait = wait_s[here & (wait_s >= 0)]
        rows.append(
            SizeRow(
                nodes=(first, last),
                job_share=float(here.mean()),
                node_hour_share=float(work[here].sum() / max(work.sum(), 1)),
                runtime_median_s=float(np.median(runtime_s[here])),
                walltime_median_s=float(np.median(walltime_s[here])),
                at_limit_share=float((ratio[here] >= AT_LIMIT).mean()),
                wait_median_s=float(np.median(wait)) if len(wait) else None,
                wait_mean_s=float(wait.mean()) if len(wait) else None,
            )
        )
    return tuple(rows)


def _walltimes(walltime_s: Int64s, most: int = 13) -> tuple[tuple[int, float], ...]:
    values, counts = np.unique(walltime_s, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return tuple((int(values[i]), float(counts[i] / len(walltime_s))) for i in order)


def _users(workload: Workload, submit_s: Int64s, nodes: Int64s, walltime_s: Int64s) -> dict[str, float]:
    """How jobs spread over users, and how a user's job resembles the same user's job before it."""
    column: Any = workload.table.column("user").combine_chunks()
    unnamed = np.array([name in ("", "-1") for name in column.dictionary.to_pylist()], bool)
    codes = column.indices.to_numpy()
    named = np.flatnonzero(~unnamed[codes])
    if len(named) < 2:
        return {}
    counts = np.bincount(codes[named])
    counts = np.sort(counts[counts > 0])[::-1]
    users = len(counts)
    found = {"users": float(users), "median jobs/user": float(np.median(counts))}
    found |= {f"job share of top {top}": float(counts[:top].sum() / counts.sum()) for top in (1, 5, 10, 20)}
    if users > 2:
        found["Zipf slope of top 50"] = _slope(counts[:50])
    rank = np.arange(1, users + 1)
    found["Gini"] = float((users + 1 - 2 * (counts * rank).sum() / counts.sum()) / users)

    order = named[np.argsort(codes[named], kind="stable")]
    before, after = order[:-1], order[1:]
    follows = codes[before] == codes[after]
    before, after = before[follows], after[follows]
    if not len(after):
        return found
    same_nodes = nodes[before] == nodes[after]
    same_walltime = walltime_s[before] == walltime_s[after]
    gap_s = submit_s[after] - submit_s[before]
    found |= {
        "repeats nodes": float(same_nodes.mean()),
        "repeats walltime": float(same_walltime.mean()),
        "repeats both": float((same_nodes & same_walltime).mean()),
        "within 60 s of the last": float((gap_s <= 60).mean()),
    }
    return found | _sessions(follows, gap_s, len(named), int(submit_s[-1] - submit_s[0]))


def _sessions(follows: Bools, gap_s: Int64s, jobs: int, span_s: int) -> dict[str, float]:
    """Sizes of sessions: jobs of one user with gaps of at most 20 minutes between them."""
    begins = np.append(True, ~follows)
    begins[1:][follows] = gap_s > SESSION_GAP_S
    sizes = np.diff(np.append(np.flatnonzero(begins), jobs))
    return {
        "jobs/session mean": float(sizes.mean()),
        "jobs/session median": float(np.median(sizes)),
        "jobs/session p95": float(np.quantile(sizes, 0.95)),
        "sessions/day": len(sizes) * DAY_S / max(span_s, 1),
    }


def _slope(counts: npt.NDArray[Any]) -> float:
    """The slope of ln(count) over ln(rank), by least squares."""
    return float(np.polyfit(np.log(np.arange(1, len(counts) + 1)), np.log(counts), 1)[0])
