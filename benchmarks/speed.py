"""How fast whole runs are: jobs per CPU second and peak memory, each beside a bare SimPy loop of as many events.

Every figure is of a whole process (start, reading without the cache, simulating, writing; no plots) under EASY, the
median of several runs. The bare loop does nothing but let SimPy deliver two events for each job, an arrival and an
end, in this process between the runs; machines differ, the ratio hardly does. Real traces are taken from the
folder that HPCSIM_DATA names.
"""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import simpy

REPEATS_OF_LONG_TRACE = 14


def bare_simpy_s(jobs: int) -> float:
    """CPU seconds for SimPy to deliver an arrival and an end for each of ``jobs`` jobs, a few hundred pending."""
    env = simpy.Environment()
    left = jobs

    def end(_event: simpy.Event) -> None:
        pass

    def arrive(_event: simpy.Event) -> None:
        nonlocal left
        simpy.Timeout(env, 100 + left % 200).callbacks.append(end)
        left -= 1
        if left:
            simpy.Timeout(env, 1).callbacks.append(arrive)

    began = time.process_time()
    simpy.Timeout(env, 1).callbacks.append(arrive)
    env.run()
    return time.process_time() - began


def whole_process(command: list[str]) -> tuple[float, float]:
    """CPU seconds and peak MiB of a command."""
    with tempfile.TemporaryDirectory() as cache:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "HPCSIM_CACHE": cache})
        _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def repeated(trace: Path, copies: int, target: Path) -> Path:
    """``trace`` several times back to back, as another SWF file."""
    with gzip.open(trace, "rt") as file:
        lines = file.readlines()
    header = [line for line in lines if line.startswith(";") and "MaxJobs" not in line and "MaxRecords" not in line]
    rows = [line.split() for line in lines if not line.startswith(";")]
    span = max(int(row[1]) + int(row[3]) for row in rows)
    with gzip.open(target, "wt", compresslevel=1) as file:
        file.writelines(header)
        for copy in range(copies):
            for row in rows:
                number, submit = copy * len(rows) + int(row[0]), copy * span + int(row[1])
                file.write(" ".join([str(number), str(submit), *row[2:]]) + "\n")
    return target


def cases(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Name and arguments of each run."""
    data = os.environ.get("HPCSIM_DATA")
    if data is None:
        print("HPCSIM_DATA names no folder of real traces: only synthetic jobs are timed")
    else:
        traces, oracles = Path(data) / "traces" / "swf", Path(data) / "oracles"
        long = repeated(oracles / "kth.swf.gz", REPEATS_OF_LONG_TRACE, folder / "kth-repeated.swf.gz")
        for name, trace in (
            ("KTH-SP2 1996", oracles / "kth.swf.gz"),
            ("Theta 2022", traces / "theta_2022_production.swf.gz"),
            ("CEA-Curie 2012", traces / "CEA-Curie-2011-2.1-cln.swf.gz"),
            (f"KTH-SP2, {REPEATS_OF_LONG_TRACE} times", long),
        ):
            yield name, ["bare", "--trace", str(trace)]
    yield (
        "polaris-nodebug, synthetic",
        ["polaris", "--set", "profile=polaris-nodebug", "--set", "physics=null", "--jobs", "26266"],
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=3, help="runs of each case; the median is shown (default 3)")
    runs = arguments.parse_args().runs
    print(f"{'trace':28} {'jobs':>8} {'CPU s':>7} {'jobs/CPU s':>11} {'bare SimPy s':>13} {'ratio':>6} {'MiB':>6}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, scenario in cases(folder):
            cpu, bare, memory = [], [], []
            for _ in range(runs):
                out = Path(tempfile.mkdtemp(dir=folder))
                command = [sys.executable, "-m", "hpcsim", "run", *scenario, "--no-plots", "--out", str(out)]
                cpu_s, mib = whole_process([*command, "--scheduler", "easy"])
                jobs = jobs_in(out)
                cpu.append(cpu_s)
                memory.append(mib)
                bare.append(bare_simpy_s(jobs))
            ratio = statistics.median(a / b for a, b in zip(cpu, bare, strict=True))
            cpu_s, bare_s = statistics.median(cpu), statistics.median(bare)
            print(
                f"{name:28} {jobs:8,} {cpu_s:7.2f} {jobs / cpu_s:11,.0f} {bare_s:13.3f} {ratio:6.1f} {max(memory):6.0f}"
            )


def jobs_in(run: Path) -> int:
    """The number of jobs of a run directory."""
    import pyarrow.parquet as pq

    rows: int = pq.read_metadata(run / "jobs.parquet").num_rows
    return rows


if __name__ == "__main__":
    main()
