"""How close the synthetic profiles come to the machines they stand for, as a table in Markdown.

    python -m benchmarks.calibration [--seeds 24] [--profile NAME ...]

Each figure is the mean over that many synthetic months of 30 days (seeds 1, 2, ...) beside the real
machine's. Figures more than 15 % off are marked with ✗, or (✗) where two standard errors of the mean of
the months reach the real figure. Targets are measured on the real traces
(polaris-nodebug, mira, theta) or published (polaris, cooley, aurora).
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time

import numpy as np

from hpcsim.replay import simulate
from hpcsim.workload.describe import Description, describe
from hpcsim.workload.synthetic import profile_names, synthesise

TOLERANCE = 0.15
EASY_SEEDS = 12

ABOUT = """\
The targets of polaris-nodebug, mira and theta come from the same traces that their profiles were fitted to, and the
chosen values of the profiles were tuned to them: this table shows a fit, it is not a validation. Nothing here tells
how well a profile foretells other months of its machine. tests/test_synthetic.py compares seeds that were not used
for tuning with the same targets; that guards against regressions, no more.

To fit a profile again, with the traces under `$HPCSIM_DATA/traces/swf`, and then to write this page:

    python benchmarks/fit_profiles.py mira -o hpcsim/workload/profiles/mira.yaml
    python -m benchmarks.calibration > docs/calibration.md

The first command replaces what is measured (`sizes`, `limit_ratio`, `day_quantiles`) and keeps what was chosen or
assumed, with its comments. A profile holds summaries only: a band of walltimes has at least 100 jobs (a size class
with fewer has one band), a table of runtimes at most 21 knots and one to 10 jobs, a node count at least 10 jobs, a
walltime at least 5; values have 3 significant digits. A size class without any node count of 10 jobs (polaris-nodebug,
497 nodes and more) has the geometric mean of all. So the medians of small classes are rough.
"""

EASY_ABOUT = """\
For information: the whole real traces and as many synthetic jobs (mean of seeds 1 to {seeds}) under EASY. Real:
`hpcsim run bare --trace FILE`; synthetic: `hpcsim run bare --set profile=NAME --jobs N --seed S`.

The profiles' `patience` (heavy sessions are put off while much work is unfinished) is a device. Its values were chosen
by the mean waits of seeds 1 to 16 and kept because they bring the variation of daily work near the real one; stronger
means met the mean wait of polaris-nodebug too, but only with half the real variation, and were dropped.

It was not shown that users do so. With the days of a real trace in random order (weekdays kept, 24 orders) the mean
wait is 50,700 s (mira), 42,600 s (theta) and 31,600 s (polaris-nodebug); 38, 71 and 4 % of the orders wait no longer
than the real one. The rank correlation of a day's work with the backlog before it differs from that of random orders
by p = 0.28, 0.62 and 0.10. What does differ: on the real machines days with many jobs are hardly those with much work;
in synthetic months they still are, see the last row of each profile. polaris-nodebug still waits about twice as long
as the real trace, and its seeds differ widely.
"""

# What a figure is called in Description.summary or Description.users, and the real machine's value.
MIRA_REPEATS = {"repeats nodes": 0.80, "repeats walltime": 0.69, "repeats both": 0.62}
FIGURES: dict[str, dict[str, float]] = {
    "mira": {
        "jobs/day mean": 176, "jobs/day median": 168, "jobs/day CV": 0.58,
        "gap median, s": 98, "gap CV": 3.6, "share of gaps <= 5 s": 0.18, "share of gaps <= 60 s": 0.44,
        "runtime q1, s": 1_040, "runtime median, s": 3_646, "runtime q3, s": 10_852, "runtime p90, s": 21_628,
        "walltime q1, s": 3_600, "walltime median, s": 7_200, "walltime q3, s": 21_600,
        "share at the limit": 0.20, "share below 0.1 walltime": 0.11, "share of power-of-two nodes": 0.994,
        "correlation ln nodes, ln walltime": 0.27, "correlation ln nodes, ln runtime": 0.16,
        "correlation ln walltime, ln runtime": 0.62,
        "job share of top 1": 0.18, "job share of top 5": 0.38, "job share of top 10": 0.54,
        "job share of top 20": 0.71, "within 60 s of the last": 0.36, "jobs/session mean": 2.6,
        "sessions/day": 69, **MIRA_REPEATS,
    },
    "theta": {
        "jobs/day mean": 65.5, "jobs/day median": 61, "jobs/day CV": 0.62,
        "gap median, s": 156, "gap CV": 2.8, "share of gaps <= 5 s": 0.19, "share of gaps <= 60 s": 0.43,
        "runtime q1, s": 871, "runtime median, s": 3_562, "runtime q3, s": 10_830, "runtime p90, s": 21_629,
        "walltime q1, s": 3_600, "walltime median, s": 10_800, "walltime q3, s": 10_800,
        "share at the limit": 0.345, "share below 0.1 walltime": 0.22, "share of power-of-two nodes": 0.84,
        "correlation ln nodes, ln walltime": 0.39, "correlation ln nodes, ln runtime": 0.19,
        "correlation ln walltime, ln runtime": 0.52,
        "job share of top 1": 0.11, "job share of top 5": 0.40, "job share of top 10": 0.60,
        "job share of top 20": 0.81, **MIRA_REPEATS,
    },
    "polaris-nodebug": {
        "jobs/day mean": 214, "jobs/day median": 159, "jobs/day CV": 1.10,
        "gap median, s": 17, "gap CV": 3.4, "share of gaps <= 5 s": 0.43, "share of gaps <= 60 s": 0.60,
        "runtime q1, s": 37, "runtime median, s": 291, "runtime q3, s": 5_489, "runtime p90, s": 21_708,
        "walltime q1, s": 1_800, "walltime median, s": 4_800, "walltime q3, s": 21_600,
        "share at the limit": 0.155, "share below 0.1 walltime": 0.49, "share of power-of-two nodes": 0.686,
        "correlation ln walltime, ln runtime": 0.55, "job share of top 10": 0.354, **MIRA_REPEATS,
    },
    "polaris": {
        "jobs/day mean": 697, "runtime median, s": 224, "runtime p90, s": 5_307, "runtime p99, s": 86_510,
        "job share of top 10": 0.354, "share in queue debug": 0.414, "share in queue debug-scaling": 0.117,
    },
    "cooley": {
        "jobs/day mean": 262, "runtime q1, s": 63, "runtime median, s": 1_013, "runtime q3, s": 2_913,
        "runtime mean, s": 2_819, "nodes mean": 3.34, "nodes median": 1, "nodes q3": 4,
    },
    "aurora": {
        "jobs/day mean": 1_657, "jobs/day median": 1_289, "runtime median, s": 237, "runtime p90, s": 6_677,
        "runtime p99, s": 22_304, "nodes mean": 60, "nodes median": 1, "nodes q3": 18,
    },
}  # fmt: skip

# Nodes of the class: shares of jobs and node-hours, runtime and walltime medians (s), share at the limit.
SIZES: dict[str, dict[tuple[int, int], tuple[float, ...]]] = {
    "mira": {
        (1, 511): (0.028, 0.00053, 240, 900, 0.12), (512, 512): (0.499, 0.087, 3_650, 6_000, 0.23),
        (513, 1_024): (0.215, 0.091, 3_648, 7_170, 0.18), (1_025, 2_048): (0.162, 0.112, 3_633, 9_000, 0.17),
        (2_049, 4_096): (0.030, 0.051, 2_101, 9_000, 0.18),
        (4_097, 8_192): (0.047, 0.465, 14_456, 28_800, 0.22),
        (8_193, 16_384): (0.014, 0.099, 2_662, 6_600, 0.16),
        (16_385, 49_152): (0.0048, 0.095, 4_474, 7_200, 0.26),
    },
    "polaris-nodebug": {
        (1, 1): (0.262, 0.039, 1_840, 28_800, 0.13), (2, 2): (0.183, 0.011, 89, 1_800, 0.10),
        (3, 9): (0.115, 0.020, 26, 1_800, 0.04), (10, 24): (0.220, 0.083, 463, 7_200, 0.20),
        (25, 99): (0.147, 0.257, 2_876, 21_600, 0.32), (100, 199): (0.062, 0.344, 130, 28_800, 0.11),
        (200, 496): (0.010, 0.243, 682, 21_600, 0.21), (497, 560): (0.0008, 0.0025, 530, 5_400, 0.0),
    },
    "theta": {
        (128, 128): (0.560, 0.073, 2_978, 7_200, 0.33), (129, 256): (0.222, 0.104, 4_392, 10_800, 0.35),
        (257, 511): (0.041, 0.046, 8_998, 21_600, 0.40), (512, 1_023): (0.099, 0.241, 7_872, 14_400, 0.33),
        (1_024, 2_047): (0.064, 0.357, 4_841, 14_400, 0.41),
        (2_048, 4_392): (0.014, 0.178, 7_370, 21_600, 0.39),
    },
}  # fmt: skip

# Walltime (minutes): share of jobs, the most frequent ones.
WALLTIMES: dict[str, dict[int, float]] = {
    "mira": {360: 0.174, 60: 0.164, 30: 0.098, 100: 0.060, 110: 0.056, 120: 0.047, 150: 0.042, 720: 0.040},
    "polaris-nodebug": {30: 0.206, 60: 0.138, 180: 0.094, 360: 0.085, 5: 0.065, 4320: 0.059, 120: 0.056},
    "theta": {180: 0.305, 60: 0.148, 360: 0.105, 30: 0.100, 40: 0.074, 120: 0.058, 540: 0.022, 1440: 0.021},
}

# Jobs of each local hour relative to the mean, from midnight on.
HOURS = {
    "mira": "0.66 .55 .62 .51 .56 .66 .94 1.23 1.39 1.29 1.32 1.18"
    " 1.31 1.27 1.48 1.35 1.29 1.13 .94 .88 .96 1.0 .75 .71",
    "theta": "1.03 .75 .75 .67 .63 .50 .49 .55 .78 1.10 1.47 1.55"
    " 1.34 1.34 1.20 1.44 1.36 1.24 1.10 1.05 .96 .82 .83 1.05",
    "polaris-nodebug": ".65 .54 .54 .43 .37 .45 .56 .45 .73 1.15 1.02 1.09"
    " .93 1.23 1.04 1.73 .99 2.86 1.54 1.32 .99 1.0 1.49 .90",
}  # fmt: skip


# Jobs of the whole real trace; mean and median wait and 90 % of waits (s) and utilisation under EASY;
# then the variation of a day's work (nodes times runtime) and its correlation with the day's jobs.
EASY: dict[str, tuple[int, tuple[float, ...]]] = {
    "mira": (22_508, (45_614, 26_637, 108_270, 0.860, 0.65, 0.34)),
    "theta": (23_911, (44_027, 10_187, 137_706, 0.755, 0.92, 0.34)),
    "polaris-nodebug": (26_266, (14_343, 0, 38_336, 0.750, 1.30, 0.04)),
}
_EASY_NAMES = (
    "mean wait, s", "median wait, s", "90 % of waits below, s", "utilisation", "CV of a day's work",
    "correlation of a day's jobs and work",
)  # fmt: skip


def month(profile: str, seed: int) -> dict[str, float]:
    """Every figure of one synthetic month under the names that the report uses."""
    workload = synthesise(profile, seed=seed, days=30)
    found = describe(workload)
    figures = found.summary | found.users
    figures["runtime mean, s"] = float(workload.column("runtime_s").mean())
    queues = workload.table.column("queue").combine_chunks()
    counts = np.bincount(queues.indices.to_numpy(), minlength=len(queues.dictionary))
    for queue, count in zip(queues.dictionary.to_pylist(), counts, strict=True):
        figures[f"share in queue {queue}"] = count / len(workload)
    minutes = workload.column("walltime_s") // 60
    for wanted in WALLTIMES.get(profile, {}):
        figures[f"walltime {wanted} min"] = float((minutes == wanted).mean())
    for hour, weight in enumerate(found.hour_weights):
        figures[f"hour {hour}"] = float(weight)
    return figures | _size_figures(found)


def _size_figures(found: Description) -> dict[str, float]:
    figures = {}
    for row in found.sizes:
        shares = (row.job_share, row.node_hour_share)
        values = (*shares, row.runtime_median_s, row.walltime_median_s, row.at_limit_share)
        for title, value in zip(_COLUMNS, values, strict=True):
            figures[f"{_class_name(row.nodes)}: {title}"] = value
    return figures


_COLUMNS = ("share of jobs", "share of node-hours", "runtime median, s", "walltime median, s", "at the limit")


def _class_name(nodes: tuple[int, int]) -> str:
    return f"{nodes[0]:,} nodes" if nodes[0] == nodes[1] else f"{nodes[0]:,}-{nodes[1]:,} nodes"


def targets(profile: str) -> dict[str, float]:
    """The real machine's figures under the names that ``month`` uses."""
    wanted = dict(FIGURES[profile])
    for nodes, values in SIZES.get(profile, {}).items():
        wanted |= {f"{_class_name(nodes)}: {name}": v for name, v in zip(_COLUMNS, values, strict=True)}
    wanted |= {f"walltime {minutes} min": share for minutes, share in WALLTIMES.get(profile, {}).items()}
    wanted |= {f"hour {hour}": float(w) for hour, w in enumerate(HOURS.get(profile, "").split())}
    return wanted


def table(profile: str, seeds: int) -> tuple[list[str], int, int]:
    """The Markdown lines of one profile, how many figures it has and how many are beyond the tolerance."""
    wanted = targets(profile)
    months = [month(profile, seed) for seed in range(1, seeds + 1)]
    lines = [f"## {profile}", "", "| figure | real | synthetic | sd of a month | relative error |  |",
             "|---|---:|---:|---:|---:|---|"]  # fmt: skip
    beyond = 0
    for name, real in wanted.items():
        values = np.array([one[name] for one in months if name in one])
        mean = float(values.mean()) if len(values) else float("nan")
        off = (mean - real) / real if real else mean - real
        noise = 2 * values.std() / np.sqrt(max(len(values), 1))
        mark = "" if abs(off) <= TOLERANCE else "(✗)" if abs(mean - real) <= noise else "✗"
        beyond += bool(mark)
        lines.append(f"| {name} | {real:,.4g} | {mean:,.4g} | {values.std():,.2g} | {off:+.1%} | {mark} |")
    return [*lines, ""], len(wanted), beyond


def under_easy(profiles: list[str]) -> list[str]:
    """The Markdown lines of the waits under EASY, of the profiles that have a real trace."""
    lines = ["## Under EASY", "", EASY_ABOUT.format(seeds=EASY_SEEDS),
             "| profile | figure | real | synthetic | sd of a seed |", "|---|---|---:|---:|---:|"]  # fmt: skip
    for profile in (name for name in EASY if name in profiles):
        jobs, real = EASY[profile]
        runs = np.array([_easy(profile, jobs, seed) for seed in range(1, EASY_SEEDS + 1)])
        for name, wanted, values in zip(_EASY_NAMES, real, runs.T, strict=True):
            lines.append(f"| {profile} | {name} | {wanted:,.5g} | {values.mean():,.5g} | {values.std():,.2g} |")
    return [*lines, ""]


def _easy(profile: str, jobs: int, seed: int) -> list[float]:
    """The figures of ``EASY`` of one synthetic workload."""
    summary = simulate("bare", {"profile": profile, "jobs": jobs, "seed": seed}).summary
    workload = synthesise(profile, seed=seed, jobs=jobs)
    day = workload.column("submit_s") // 86_400
    daily_jobs = np.bincount(day)[:-1]
    daily_work = np.bincount(day, workload.column("nodes") * workload.column("runtime_s"))[:-1]
    waits = [summary[key] for key in ("mean_wait_s", "median_wait_s", "p90_wait_s", "utilisation")]
    variation = daily_work.std() / daily_work.mean()
    return [*waits, float(variation), float(np.corrcoef(daily_jobs, daily_work)[0, 1])]


def main() -> None:
    """Print the tables of all profiles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=24, help="synthetic months per profile (default 24)")
    parser.add_argument("--profile", nargs="*", default=profile_names(), help="only these profiles")
    chosen = parser.parse_args()
    began = time.process_time()
    lines, verdict = [], []
    for profile in chosen.profile:
        text, figures, beyond = table(profile, chosen.seeds)
        lines += text
        verdict.append(f"| {profile} | {figures} | {beyond} |")
    print("# Calibration of the synthetic profiles\n")
    command = " ".join(["python -m benchmarks.calibration", *sys.argv[1:]])
    print(f"{datetime.date.today()}, `{command}`\n")
    print(" ".join((__doc__ or "").split("\n\n")[-1].split()) + "\n")
    print(ABOUT)
    print("| profile | figures | beyond 15 % |\n|---|---:|---:|\n" + "\n".join(verdict) + "\n")
    print("\n".join(under_easy(chosen.profile) + lines))
    print(f"{time.process_time() - began:.0f} CPU seconds in all.")


if __name__ == "__main__":
    main()
