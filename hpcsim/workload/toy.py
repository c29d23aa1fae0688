"""The toy cluster on which schedulers that learn are compared: 20 slots, a step of a minute, at most a job a step.

In every step a job comes with probability 0.7. It is of one to ten slots and lasts up to 100 steps, which its user
knows: the walltime is the runtime. Of jobs, 80 % are short, 1 to 20 steps, the others 67 to 100; half take 5 to 10
slots, the others 1 or 2, all uniform. Probability, slots and largest sizes are those of RLSchert; how lengths and sizes
are distributed within them is DeepRM's rule, for the jobs that RLSchert was tried on are not published in a form that
could be read. So many jobs offer four times the work that the cluster can do while they come.

References: Wang, Zhang, Qu, Shen, Liu and Li (2021), RLSchert: an HPC job scheduler using deep reinforcement learning
and remaining time prediction; Mao, Alizadeh, Menache and Kandula (2016), Resource management with deep reinforcement
learning.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hpcsim.streams import stream
from hpcsim.workload.job import Workload, workload_from_columns

NAME: Final = "toy"
SLOTS: Final = 20
STEP_S: Final = 60
JOBS_PER_STEP: Final = 0.7
JOBS_PER_DAY: Final = JOBS_PER_STEP * 86_400 / STEP_S

_SHORT: Final = 0.8
_LARGE: Final = 0.5
_SHORT_STEPS, _LONG_STEPS = (1, 20), (67, 100)
_SMALL_SLOTS, _LARGE_SLOTS = (1, 2), (5, 10)


def toy_workload(*, seed: int, jobs: int) -> Workload:
    """So many jobs of the toy cluster."""
    rng = stream(seed, "toy: jobs")
    submit_s = STEP_S * (np.cumsum(rng.geometric(JOBS_PER_STEP, jobs)) - 1)
    short, large = rng.random(jobs) < _SHORT, rng.random(jobs) < _LARGE
    steps = np.where(short, *(rng.integers(low, high + 1, jobs) for low, high in (_SHORT_STEPS, _LONG_STEPS)))
    slots = np.where(large, *(rng.integers(low, high + 1, jobs) for low, high in (_LARGE_SLOTS, _SMALL_SLOTS)))
    return workload_from_columns(
        t0_utc=0,
        source=f"toy cluster, seed {seed}",
        name=[str(number) for number in range(1, jobs + 1)],
        submit_s=submit_s,
        nodes=slots,
        walltime_s=STEP_S * steps,
        runtime_s=STEP_S * steps,
        machine_nodes=SLOTS,
    )
