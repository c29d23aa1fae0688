"""Writes the report of a year of 390,000 jobs on 50,000 nodes, and prints what that cost: CPU seconds, MiB, bytes.

``python tests/large_run.py FILE`` makes the tables up at random and simulates only a few jobs for the rest.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

import hpcsim
from hpcsim.results.page import write_report
from hpcsim.results.run import Run

JOBS, NODES, YEAR_S = 390_000, 50_000, 365 * 86_400


def large_run() -> Run:
    small = hpcsim.simulate("polaris", {"jobs": 300})
    random = np.random.default_rng(1)
    submit = np.sort(random.integers(0, YEAR_S, JOBS))
    wait = np.where(random.random(JOBS) < 0.4, 0, random.exponential(20_000, JOBS).astype(np.int64))
    runtime = random.lognormal(7, 2, JOBS).astype(np.int64) + 1
    start, end = submit + wait, submit + wait + runtime
    nodes = np.minimum(2 ** random.integers(0, 16, JOBS) + random.integers(0, 3, JOBS), NODES)
    job_id = pa.array([f"{number}.aurora" for number in range(1, JOBS + 1)])
    nothing = pa.nulls(JOBS, pa.string()).dictionary_encode()

    def one_of(names: list[str]) -> pa.Array:
        return pa.DictionaryArray.from_arrays(random.integers(0, len(names), JOBS).astype(np.int32), pa.array(names))

    why = one_of(["first in the queue", "backfilled: ends before the head can start", "urgent"])
    state = one_of(["completed", "completed", "failed", "timeout"])
    jobs = pa.table(
        {
            "job_id": job_id, "user": one_of([f"user{n:04}" for n in range(900)]),
            "project": one_of([f"project{n:04}" for n in range(300)]), "queue": one_of(["small", "medium", "large"]),
            "routed_to": nothing, "after": pa.nulls(JOBS, pa.string()), "submit_s": submit,
            "eligible_s": submit + np.where(random.random(JOBS) < 0.2, wait // 2, 0), "held_by": nothing,
            "start_s": start, "end_s": end, "attempts": np.ones(JOBS, np.int32), "nodes": nodes,
            "walltime_s": random.choice([1800, 3600, 21_600, 86_400], JOBS), "runtime_s": runtime, "state": state,
            "rejected_by": nothing, "wait_s": wait, "measured": np.ones(JOBS, bool),
            "bounded_slowdown": np.maximum(1, (end - submit) / np.maximum(runtime, 10)),
            "energy_j": nodes * runtime * 600.0 * random.random(JOBS),
        }
    )  # fmt: skip
    order = pa.array(np.argsort(start, kind="stable"))
    attempts = pa.table({"job_id": job_id.take(order), "start_s": pa.array(start).take(order), "why": why.take(order)})
    second = np.unique(np.concatenate([submit, start, end]))
    busy = random.integers(NODES // 2, NODES + 1, second.size)
    timeline = pa.table({"time_s": second, "queue": busy // 40, "running": busy // 50, "busy_nodes": busy})
    watts = 4e7 + 600.0 * busy
    power = pa.table({"time_s": second, "it_w": watts, "facility_w": 1.3 * watts, "solar_w": np.zeros(second.size)})
    tables = {**small.tables, "jobs": jobs, "attempts": attempts, "timeline": timeline, "power": power}
    manifest = {**small.manifest, "machine": {"name": "Large", "nodes": NODES}}
    return Run(tables, small.summary, manifest, small.scenario_yaml, {})


if __name__ == "__main__":
    file = Path(sys.argv[1])
    made = large_run()
    began = time.process_time()
    write_report(file, [made])
    cost = {"cpu_s": time.process_time() - began, "bytes": file.stat().st_size}
    print(json.dumps(cost | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
