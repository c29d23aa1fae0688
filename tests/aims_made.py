"""Workloads and states for tests of AIMS."""

import numpy as np

from hpcsim.schedulers.aims.network import State
from hpcsim.schedulers.aims.shape import (
    MODES,
    OBJECTIVES,
    OF_ALL,
    OF_JOB,
)
from hpcsim.workload.job import workload_from_columns


def workload(jobs):
    submit, runtime, nodes = zip(*jobs, strict=True)
    return workload_from_columns(
        t0_utc=0, source="test", name=[f"j{i}" for i in range(len(jobs))], submit_s=submit, nodes=nodes,
        walltime_s=runtime, runtime_s=runtime,
    )  # fmt: skip


def state(rng, jobs, *, rests=(True, True, True), legal=0.6):
    return State(
        rng.random((jobs, len(OF_JOB)), np.float32), rng.random(len(OF_ALL), np.float32),
        -rng.random((jobs, len(MODES), len(OBJECTIVES)), np.float32) / 100, -rng.random(len(OBJECTIVES), np.float32),
        rng.random((jobs, len(MODES))) < legal, np.array(rests),
    )  # fmt: skip
