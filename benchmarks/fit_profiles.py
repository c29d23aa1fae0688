"""Fit the measured part of a synthetic profile to a real trace.

    python benchmarks/fit_profiles.py mira [-o FILE]

Reads the packaged profile, replaces its ``sizes:`` section, and ``limit_ratio`` and ``day_quantiles`` where they are
measured, and prints the whole file or writes it to FILE. All else, comments included, stays as it was written by hand.
The traces are looked for under ``$HPCSIM_DATA/traces/swf``; cooley and aurora need none: they follow published
quantiles, as the debug jobs of polaris do.

A profile holds summaries only: no walltime band of a size class has fewer than 100 jobs unless the class has, no table
more than 21 knots or a knot to less than 10 jobs, and no value more than 3 significant digits.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from hpcsim.workload.job import Workload
from hpcsim.workload.trace import read_trace

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

BAND_JOBS = 100  # fewest jobs of a walltime band
KNOT_JOBS = 10  # fewest jobs to a knot, and of a node count
WALLTIME_JOBS = 5  # fewest jobs of a walltime
MOST_KNOTS, MOST_BANDS, MOST_WALLTIMES, MOST_NODE_COUNTS = 21, 8, 16, 12
AT_LIMIT = 0.98  # a job at or above this share of its walltime ran into it

TRACES = {
    "mira": "mira_2018-08_2018-12.swf.gz",
    "theta": "theta_2022_production.swf.gz",
    "polaris-nodebug": "polaris_2023-09_2023-12_nodebug.swf.gz",
}
MIRA_BLOCKS = np.array(
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 12288, 16384, 24576, 32768, 49152]
)
# Fewest nodes of each size class: where the machine's queues change, and single counts with many jobs.
POLARIS_CLASSES = (1, 2, 3, 8, 10, 11, 25, 50, 100, 200, 497)
CLASSES = {
    "mira": (1, 257, 512, 1024, 2048, 4096, 8192, 12288, 16385),
    "theta": (128, 129, 256, 257, 384, 512, 640, 802, 1024, 1536, 2048),
    "polaris-nodebug": POLARIS_CLASSES,
    "polaris": POLARIS_CLASSES,
    "cooley": (1, 2, 3, 5, 9, 17, 33, 65, 111),
    "aurora": (1, 2, 3, 5, 9, 17, 33, 65, 129, 257, 513, 1025, 1920),
}
# A day's counts are narrowed by this power: sessions of many jobs widen them again.
DAY_POWER = {"mira": 0.95, "theta": 0.88}


@dataclass(frozen=True, slots=True)
class Jobs:
    """What the tables are made of: nodes, runtime (s) and walltime (s) of J jobs."""

    nodes: Int64s
    runtime_s: Floats
    walltime_s: Floats


def trace_of(profile: str) -> Workload:
    """The real trace behind ``profile``."""
    data = os.environ.get("HPCSIM_DATA")
    if data is None:
        raise SystemExit("HPCSIM_DATA is not set: it names the folder that holds traces/swf")
    return read_trace(Path(data) / "traces" / "swf" / TRACES[profile])


def measured(profile: str) -> Jobs:
    """The jobs of the real trace behind ``profile``, Mira's on its blocks."""
    trace = trace_of(profile)
    nodes, runtime_s, walltime_s = (trace.column(name) for name in ("nodes", "runtime_s", "walltime_s"))
    if profile == "mira":
        asked = nodes
        nodes = MIRA_BLOCKS[np.minimum(np.searchsorted(MIRA_BLOCKS, nodes), len(MIRA_BLOCKS) - 1)]
        nodes = np.where(
            nodes == 512, np.where(asked < 512, 405, 512), nodes
        )  # 31 jobs of 257 to 511 nodes, 405 in the mean
    return Jobs(nodes, runtime_s.astype(float), walltime_s.astype(float))


def polaris() -> Jobs:
    """The jobs of polaris-nodebug, fewer of them long, and 53 % debug jobs after the published quantiles."""
    rng = np.random.default_rng(1)
    known = measured("polaris-nodebug")
    keep = np.ones(len(known.nodes), bool)
    # thinned so that 90 % of all runtimes lie below 5,307 s and 99 % below 86,510 s
    for above_s, share in ((4_000, 0.86), (86_000, 0.72)):
        long = np.argsort(known.runtime_s, kind="stable")
        long = np.sort(long[(known.runtime_s[long] > above_s) & keep[long]])
        keep[long[np.diff(np.floor(np.arange(len(long) + 1) * share)) == 0]] = False
    count = int(keep.sum() * 0.53 / 0.47)
    nodes = _drawn({1: 0.64, 2: 0.26, 4: 0.05, 8: 0.03, 10: 0.02}, count, rng)
    runtime_s = _lognormal({0: 4, 0.1: 15, 0.25: 50, 0.5: 218, 0.75: 900, 0.9: 2400, 1: 3550}, count, rng)
    slack: dict[float, float] = {0: 1.05, 0.25: 2, 0.5: 5, 0.75: 12, 1: 60}
    debug = _requested(nodes, runtime_s, np.full(count, 60), [5, 10, 15, 20, 30, 60], slack, 0.2, rng)
    return Jobs(
        np.r_[known.nodes[keep], debug.nodes],
        np.r_[known.runtime_s[keep], debug.runtime_s],
        np.r_[known.walltime_s[keep], debug.walltime_s],
    )


def cooley() -> Jobs:
    """60,000 jobs after the published quantiles of Cooley."""
    rng = np.random.default_rng(1)
    count = 60_000
    shares = {
        1: 0.60, 2: 0.10, 3: 0.04, 4: 0.08, 5: 0.02, 6: 0.025, 8: 0.05, 10: 0.02, 12: 0.015, 16: 0.025,
        20: 0.006, 32: 0.008, 64: 0.0025, 110: 0.001, 125: 0.0005,
    }  # fmt: skip
    quantiles: dict[float, float] = {0: 2, 0.05: 10, 0.25: 63, 0.5: 1280, 0.75: 2850, 0.9: 6500, 0.97: 18000, 1: 42000}
    menu = [5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 360, 480, 600, 720]
    nodes, runtime_s = _drawn(shares, count, rng), _lognormal(quantiles, count, rng)
    slack: dict[float, float] = {0: 1.05, 0.25: 1.5, 0.5: 3, 0.75: 10, 1: 60}
    return _requested(nodes, runtime_s, np.full(count, 720), menu, slack, 0.09, rng)


def aurora() -> Jobs:
    """120,000 jobs after the published quantiles of Aurora."""
    rng = np.random.default_rng(1)
    count = 120_000
    shares = {
        1: 0.55, 2: 0.07, 4: 0.045, 8: 0.045, 16: 0.035, 18: 0.02, 24: 0.015, 32: 0.045, 64: 0.05, 128: 0.043,
        256: 0.043, 512: 0.025, 600: 0.002, 1024: 0.0055, 1500: 0.001, 1920: 0.0015, 2048: 0.002, 4096: 0.001,
        8192: 0.0003, 10368: 0.0001,
    }  # fmt: skip
    quantiles: dict[float, float] = {
        0: 4, 0.05: 25, 0.25: 125, 0.5: 186, 0.75: 1550, 0.9: 7500, 0.98: 12500, 0.99: 18500, 0.999: 60000, 1: 300000,
    }  # fmt: skip
    menu = [5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 360, 480, 600, 720, 1080, 1440, 2880, 4320, 10080]
    nodes, runtime_s = _drawn(shares, count, rng), _lognormal(quantiles, count, rng)
    steps = [(16, 10_080), (512, 360), (1024, 720), (1919, 1080), (10_624, 1440)]
    limit_min = np.array([limit for _, limit in steps])[np.searchsorted([most for most, _ in steps], nodes)]
    # runs too long for their size trade places with short ones of small jobs
    long = np.flatnonzero(runtime_s > limit_min * 60 * 0.9)
    short = rng.choice(np.flatnonzero((nodes <= 16) & (runtime_s < 600)), len(long), replace=False)
    runtime_s[long], runtime_s[short] = runtime_s[short].copy(), runtime_s[long].copy()
    slack: dict[float, float] = {0: 1.05, 0.25: 1.6, 0.5: 3.5, 0.75: 10, 1: 60}
    return _requested(nodes, runtime_s, limit_min, menu, slack, 0.12, rng)


def _requested(
    nodes: Int64s,
    runtime_s: Floats,
    limit_min: Int64s,
    menu: list[int],
    slack: Mapping[float, float],
    at_limit: float,
    rng: np.random.Generator,
) -> Jobs:
    """Jobs with a walltime from ``menu`` (min) of about ``slack`` runtimes; ``at_limit`` of them run into it."""
    choices = np.array(menu)
    needed = np.searchsorted(choices, runtime_s / 60 * _lognormal(slack, len(nodes), rng))
    least = np.searchsorted(choices, runtime_s / 60)
    walltime_min = np.minimum(choices[np.minimum(np.maximum(needed, least), len(menu) - 1)], limit_min)
    runtime_s = np.minimum(runtime_s, walltime_min * 60 * 0.975)
    able = runtime_s >= 240
    ends = able & (rng.random(len(nodes)) < at_limit / able.mean())
    nearest = choices[np.abs(np.log(runtime_s[:, None] / 60 / choices)).argmin(axis=1)]
    walltime_min = np.where(ends, np.minimum(nearest, limit_min), walltime_min)
    return Jobs(nodes, np.where(ends, walltime_min * 60 * 1.003, runtime_s), walltime_min * 60.0)


def _strata(count: int, rng: np.random.Generator) -> Floats:
    middles: Floats = (rng.permutation(count) + 0.5) / count
    return middles


def _lognormal(quantiles: Mapping[float, float], count: int, rng: np.random.Generator) -> Floats:
    """Values with these quantiles, interpolated in their logarithms."""
    logs = np.log(list(quantiles.values()))
    values: Floats = np.exp(np.interp(_strata(count, rng), list(quantiles), logs))
    return values


def _drawn(shares: dict[int, float], count: int, rng: np.random.Generator) -> Int64s:
    cumulated = np.cumsum(list(shares.values()))
    place = np.searchsorted(cumulated / cumulated[-1], _strata(count, rng), side="right")
    return np.array(list(shares))[np.minimum(place, len(shares) - 1)]


SOURCES: dict[str, Callable[[], Jobs]] = {"polaris": polaris, "cooley": cooley, "aurora": aurora}


def sizes_section(profile: str, head: dict[str, Any]) -> str:
    """The ``sizes:`` section of a profile whose hand-written part is ``head``."""
    jobs = SOURCES.get(profile, lambda: measured(profile))()
    ratio = jobs.runtime_s / jobs.walltime_s
    walltime_min = _within_queues(jobs, head["queues"])
    lines = ["sizes:"]
    firsts = (*CLASSES[profile], sys.maxsize)
    for first, after in pairwise(firsts):
        inside = (jobs.nodes >= first) & (jobs.nodes < after)
        if inside.any():
            lines += _class_lines(jobs.nodes[inside], walltime_min[inside], ratio[inside], len(ratio))
    return "\n".join(lines) + "\n"


def _within_queues(jobs: Jobs, queues: list[dict[str, Any]]) -> Int64s:
    """Walltimes in minutes, those beyond the limits for their node count (reservations) cut to them."""
    least = np.full(len(jobs.nodes), np.iinfo(np.int64).max)
    most = np.zeros(len(jobs.nodes), np.int64)
    for queue in queues:
        inside = (jobs.nodes >= queue["nodes"][0]) & (jobs.nodes <= queue["nodes"][1])
        least[inside] = np.minimum(least[inside], queue["walltime_min"][0])
        most[inside] = np.maximum(most[inside], queue["walltime_min"][1])
    return np.clip((jobs.walltime_s // 60).astype(np.int64), least, most)


def _class_lines(nodes: Int64s, walltime_min: Int64s, ratio: Floats, all_jobs: int) -> list[str]:
    """The YAML lines of one size class."""
    sizes, size_jobs, kept_nodes = _merged(nodes, MOST_NODE_COUNTS, KNOT_JOBS)
    walltimes, walltime_jobs, kept_min = _merged(walltime_min, MOST_WALLTIMES, WALLTIME_JOBS)
    lines = [
        _wrapped("  - nodes: ", dict(zip(sizes, size_jobs / all_jobs, strict=True))),
        _wrapped("    walltime_min: ", dict(zip(walltimes, walltime_jobs / len(nodes), strict=True))),
        "    runtime:",
    ]
    # relative to what a job with these walltimes and the class's mean nodes asks for
    work = np.minimum(ratio, 1.1) * walltime_min * nodes / kept_nodes.mean()
    above = 0
    for up_to in _bands(walltimes, walltime_jobs, kept_min, ratio):
        band = (kept_min > above) & (kept_min <= up_to)
        ends = ratio[band] >= AT_LIMIT
        at_limit = float(ends.mean())
        mean = (work[band].sum() / kept_min[band].sum() - at_limit) / max(1 - at_limit, 1e-9)
        start = f"      - {{up_to_min: {up_to}, at_limit: {_short(at_limit)}, ratio: "
        lines.append(_wrapped(start, _knots(ratio[band][~ends], mean), "}"))
        above = up_to
    return lines


def _merged(values: Int64s, most: int, fewest_jobs: int) -> tuple[list[int], Int64s, Int64s]:
    """Values kept, the jobs of each, and each job's value; those not kept go to the nearest of these.

    Three quarters are the most frequent values, the others those that bring the rest nearest. Where no value is
    frequent, the geometric mean of all stands for them.
    """
    found, jobs = np.unique(values, return_counts=True)
    apart = np.abs(np.log(found[:, None] / found))
    able = np.flatnonzero(jobs >= fewest_jobs)
    places = able[np.argsort(-jobs[able], kind="stable")][: most * 3 // 4].tolist()
    while 0 < len(places) < min(most, len(able)):
        left = np.minimum(apart[:, places].min(axis=1)[:, None], apart[:, able])
        places.append(int(able[(left * jobs[:, None]).sum(axis=0).argmin()]))
    kept = np.unique(found[places]) if places else np.rint(np.exp(np.log(values).mean(keepdims=True))).astype(np.int64)
    nearest = np.abs(np.log(found[:, None] / kept)).argmin(axis=1)[np.searchsorted(found, values)]
    return kept.tolist(), np.bincount(nearest, minlength=len(kept)), kept[nearest]


def _bands(walltimes: list[int], walltime_jobs: Int64s, kept_min: Int64s, ratio: Floats) -> list[int]:
    """Upper ends (min) of bands of walltimes, alike in the mean of jobs and node-hours; common ones are alone."""
    used = np.minimum(ratio, 1.1) * kept_min
    work = np.array([used[kept_min == walltime].sum() for walltime in walltimes])
    bands = int(np.clip(walltime_jobs.sum() // BAND_JOBS, 1, MOST_BANDS))
    mixed = (np.cumsum(walltime_jobs) / walltime_jobs.sum() + np.cumsum(work) / work.sum()) / 2
    common = np.append(walltime_jobs, 0) >= max(BAND_JOBS, walltime_jobs.sum() / MOST_BANDS)
    ends: list[int] = []
    open_jobs = 0
    for number, walltime in enumerate(walltimes):
        open_jobs += int(walltime_jobs[number])
        full = mixed[number] >= (len(ends) + 0.5) / bands
        if open_jobs >= BAND_JOBS and (full or common[number] or common[number + 1]):
            ends.append(walltime)
            open_jobs = 0
    return [*ends[:-1], walltimes[-1]] if open_jobs or not ends else ends


def _knots(ratio: Floats, mean: float) -> dict[float, float]:
    """Probabilities and quantiles of runtime / walltime; each is the geometric mean of the jobs around it.

    The piece with the largest error is split where it is largest; long runs weigh more. At last the longer runs
    are scaled to the ``mean`` that holds the node-hours of the band.
    """
    if len(ratio) < 2 * KNOT_JOBS:
        return {0.5: float(ratio.mean()) if len(ratio) else 0.5}
    ratio = np.sort(ratio)
    place = (np.arange(len(ratio)) + 0.5) / len(ratio)
    weight = 1 + ratio / ratio.mean()
    window = max(KNOT_JOBS, len(ratio) // 100)
    smooth = np.convolve(np.log(ratio), np.full(window, 1 / window), "valid")
    spacing = KNOT_JOBS / len(ratio)
    at = np.array([0.0, 1.0])
    while len(at) < min(MOST_KNOTS, len(ratio) // KNOT_JOBS):
        logs = np.interp(at, place[window // 2 :][: len(smooth)], smooth)
        error = weight * (np.interp(place, at, logs) - np.log(ratio)) ** 2
        of_piece = np.bincount(np.searchsorted(at, place) - 1, error)
        apart = np.abs(place[:, None] - at).min(axis=1)
        able = np.where(apart >= spacing, error * of_piece[np.searchsorted(at, place) - 1], 0)
        if not able.any():
            break
        at = np.unique(np.append(at, place[able.argmax()].round(3)))
    values = np.exp(np.interp(at, place[window // 2 :][: len(smooth)], smooth))
    least, most = 0.2, 5.0
    for _ in range(30):
        factor = np.sqrt(least * most)
        scaled = np.maximum.accumulate(np.minimum(values * factor**at**4, 0.979))
        if np.exp(np.interp(place, at, np.log(scaled))).mean() < mean:
            least = factor
        else:
            most = factor
    return dict(zip(at.tolist(), scaled.tolist(), strict=True))


def limit_ratio(trace: Workload) -> dict[float, float]:
    """Quantiles of runtime / walltime of the jobs at their limit."""
    ratio = trace.column("runtime_s") / trace.column("walltime_s")
    at = [0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 1]
    return dict(zip(at, np.quantile(np.clip(ratio[ratio >= AT_LIMIT], None, 1.1), at).round(4).tolist(), strict=True))


def day_quantiles(trace: Workload, power: float) -> dict[float, float]:
    """Quantiles of a day's jobs relative to the mean of its weekday, to the ``power``."""
    local_day = (trace.column("submit_s") + trace.t0_utc - 6 * 3600) // 86_400
    jobs = np.bincount(local_day - local_day[0])[1:-1].astype(float)
    weekday = (local_day[0] + 1 + np.arange(len(jobs))) % 7
    relative = jobs / np.array([jobs[weekday == day].mean() for day in range(7)])[weekday]
    relative = (relative / relative.mean()) ** power
    at = [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1]
    return dict(zip(at, np.quantile(relative / relative.mean(), at).tolist(), strict=True))


def _short(value: float) -> str:
    """``value`` with 3 significant digits and without an exponent, which YAML would take for text."""
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")


def _wrapped(start: str, table: dict[Any, float], end: str = "") -> str:
    """``start`` and the table on lines of 118 characters at most."""
    cells = ", ".join(f"{key:g}:~{_short(value)}" for key, value in table.items())
    lines = textwrap.wrap(f"{start}{{{cells}}}{end}", 118, subsequent_indent=" " * 10, drop_whitespace=True)
    indent = start[: len(start) - len(start.lstrip())]
    return "\n".join([indent + lines[0].lstrip(), *lines[1:]]).replace("~", " ")


def fitted(profile: str) -> str:
    """The text of a profile with its measured part fitted anew."""
    text = (resources.files("hpcsim.workload") / "profiles" / f"{profile}.yaml").read_text(encoding="utf-8")
    head = text[: text.index("\nsizes:") + 1]
    lines = {}
    if profile.startswith("polaris") or profile in TRACES:
        trace = trace_of("polaris-nodebug" if profile == "polaris" else profile)
        lines["limit_ratio"] = limit_ratio(trace)
        if profile in DAY_POWER:
            lines["day_quantiles"] = day_quantiles(trace, DAY_POWER[profile])
    for key, table in lines.items():
        head = re.sub(rf"^{key}: \{{[^}}]*\}}", _wrapped(f"{key}: ", table), head, flags=re.MULTILINE)
    return head + sizes_section(profile, yaml.safe_load(head))


def main() -> None:
    """Print or write the fitted profile."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("profile", choices=sorted(CLASSES))
    parser.add_argument("-o", dest="file", type=Path, help="write the profile there instead of printing it")
    chosen = parser.parse_args()
    text = fitted(chosen.profile)
    if chosen.file:
        chosen.file.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
