"""How long jobs are believed to run: said once when a job is first seen, and again every ten minutes while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Job, View

Floats = npt.NDArray[np.float64]

LEAST_S: Final = 1.0
AGAIN_S: Final = 600
"""How long what was said of a running job holds."""


class Course(NamedTuple):
    """What is believed of R running jobs, in the order of their starts; all in seconds but the nodes.

    ``initial_R`` is how long a job was believed to run before it began, ``total_R`` what is believed now.
    """

    jobs: list[Job]
    nodes_R: Floats
    elapsed_R: Floats
    initial_R: Floats
    total_R: Floats


NOTHING_RUNS: Final = Course([], *(np.zeros(0) for _ in range(4)))


class Predicted:
    """What the performance twin has said of jobs."""

    def __init__(self) -> None:
        self._first: dict[int, tuple[float, float]] = {}
        self._now: dict[int, tuple[int, float]] = {}

    def waiting(self, jobs: Sequence[Job], view: View) -> Floats:
        """Runtime in seconds and its relative deviation, of each of J jobs: ``(J, 2)``."""
        first = self._first
        new = [job for job in jobs if job.id not in first]
        if new:
            said = view.twins.performance(new)
            limit_J = np.maximum([job.walltime for job in new], LEAST_S)
            runtime_J = np.clip(said.mean, LEAST_S, limit_J)
            doubt_J = np.hypot(said.aleatoric, said.epistemic) / runtime_J
            told_J2 = np.stack([runtime_J, doubt_J], 1).tolist()
            first.update((job.id, told) for job, told in zip(new, told_J2, strict=True))
        return np.array([first[job.id] for job in jobs], np.float64).reshape(-1, 2)

    def running(self, view: View) -> Course:
        """What is believed of all jobs that run."""
        now, running = view.now, list(view.running.values())
        jobs = [each.job for each in running]
        first, last = self._first, self._now
        self._now = known = {
            job.id: last.get(job.id) or (start, first.get(job.id, (float(job.walltime), 0.0))[0])
            for job, start, _ in running
        }
        if running and min(said_s for said_s, _ in known.values()) + AGAIN_S <= now:
            old = [job for job in jobs if known[job.id][0] + AGAIN_S // 2 <= now]  # so that few questions are asked
            total_O = view.twins.performance(old).mean.tolist()
            known.update((job.id, (now, total)) for job, total in zip(old, total_O, strict=True))
        start_R = np.array([each.start for each in running], np.float64)
        limit_R = np.maximum(np.array([each.expected_end for each in running], np.float64) - start_R, LEAST_S)
        elapsed_R = np.maximum(now - start_R, 0.0)
        total_R = np.array([known[job.id][1] for job in jobs], np.float64)
        # one that has outlived its prediction is believed to run as long again
        total_R = np.where(total_R > elapsed_R, total_R, 2.0 * elapsed_R)
        total_R = np.maximum(np.minimum(total_R, limit_R), elapsed_R + LEAST_S)
        initial_R = np.array([self._first.get(job.id, (job.walltime, 0.0))[0] for job in jobs], np.float64)
        nodes_R = np.array([job.nodes for job in jobs], np.float64)
        return Course(jobs, nodes_R, elapsed_R, np.maximum(initial_R, LEAST_S), total_R)

    def stopped(self, job: Job, total_s: float) -> None:
        """A running job goes back into the queue: what is believed of it now is what is known of it from now on."""
        self._first[job.id] = (total_s, self._first.get(job.id, (0.0, 0.0))[1])
        self._now.pop(job.id, None)

    def __deepcopy__(self, memo: object) -> Predicted:
        twin = Predicted()
        twin._first, twin._now = self._first.copy(), self._now.copy()
        return twin
