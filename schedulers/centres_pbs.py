"""The scheduler of Polaris and Aurora: PBS with Argonne's formula for the order of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal
from zlib import crc32

import numpy as np
from pydantic import Field

from hpcsim import plugin
from hpcsim.plugin import Decision, Job, View

from .centres import Eligible, Facts, Floats, Ints, best_first, in_turn
from .orders import urgent_first

Priority = Literal["production", "debug", "backfill", "fifo"]

# Of a project whose award is not known, by the last two digits of the CRC-32 of its name.
_AWARDS = ((30, 25.0), (40, 20.0), (100, 2.0))


class PBS:
    """Jobs by the job sort formula of Argonne's PBS servers, with backfilling around the first blocked ones.

    A job's score is, with all times in seconds::

        base + wfp_factor * eligible**2 / min(max(walltime, 21600), 43200)**3 * project * nodes / machine    production
        base + eligible / fifo_factor                                                                        debug
        min(backfill_max, eligible / backfill_factor)                                                        backfill
        eligible / fifo_factor                                                                               fifo

    by the priority of its queue (the ``priority`` of the queue rules). ``eligible`` is how long it has been in the
    queue while the limits of its project let it gather time. The award of a project (``project``) is 25 for INCITE and
    ALCC, 20 for some ALCC, 2 for discretionary ones. Of a project that the options do not name it is drawn by its name:
    25 for 30 in 100, 20 for 10, 2 for the others. A job without a project has ``unknown_project``.

    With ``backfill_depth`` above 1 the first blocked jobs all hold a reservation, planned anew in every pass.

    References
    ----------
    Argonne Leadership Computing Facility (2023), job_sort_formula of the PBS server of Polaris.
    Altair Engineering (2022), PBS Professional 2022.1 Administrator's Guide: eligible time, backfill depth.
    """

    name = "pbs"
    api = 1
    cites = ("PBS2022", "ALCF2023")

    class Options(plugin.Options):
        backfill_depth: int = Field(
            10, ge=0, description="how many blocked jobs nothing may delay; 0: nothing overtakes the first of them"
        )
        base_score: float = Field(51.0, description="score of a production or debug job that has not waited")
        wfp_factor: float = Field(100_000.0, ge=0, description="weight of the term of production jobs")
        fifo_factor: float = Field(1800.0, gt=0, description="seconds of waiting for a point, debug and fifo queues")
        backfill_factor: float = Field(84_600.0, gt=0, description="seconds of waiting for a point, backfill queues")
        backfill_max: float = Field(50.0, ge=0, description="most points that a job of a backfill queue can gather")
        accruing: int | None = Field(
            10, ge=1, description="jobs of a project that may run or gather eligible time at once; null: all of them"
        )
        project_priority: dict[str, float] = Field(
            {}, description="award of a project by its name: 25 INCITE and ALCC, 20 some ALCC, 2 discretionary"
        )
        unknown_project: float = Field(25.0, ge=0, description="award of jobs whose project is not known")
        queue_priority: dict[str, Priority] = Field(
            {}, description="production, debug, backfill or fifo by a queue's name; else as the queue rules say"
        )

    def __init__(self, options: Options) -> None:
        self.options = options
        self._facts = Facts(self._describe, 5)
        self._eligible = Eligible(options.accruing)

    def schedule(self, view: View) -> Iterator[Decision]:
        room, jobs = view.room(), view.queue
        if not jobs:
            return
        ids_Q, facts_QF = self._facts.of(jobs, view)
        eligible_Q = self._eligible.seconds(jobs, ids_Q, view)
        if room.special:
            yield from urgent_first(view, room)
        if facts_QF[:, 0].min() <= room.reach:
            order = best_first(jobs, self.score(facts_QF, eligible_Q), room.started)
            yield from in_turn(view, room, order, self.options.backfill_depth)
        self._eligible.started(room.started, view.now)

    def score(self, facts_QF: Floats, eligible_Q: Ints) -> Floats:
        """The scores of Q jobs."""
        _, base_Q, wfp_Q, fifo_Q, backfill_Q = facts_QF.T
        score_Q: Floats = (
            base_Q
            + wfp_Q * np.square(eligible_Q, dtype=np.float64)
            + fifo_Q * eligible_Q
            + np.minimum(self.options.backfill_max, backfill_Q * eligible_Q)
        )
        return score_Q

    def _describe(self, job: Job, view: View) -> tuple[float, ...]:
        """What a score is made of: nodes, base, and the points for a squared second, a second, and a bounded second."""
        options = self.options
        priority = options.queue_priority.get(job.queue) or view.priority(job)
        base = options.base_score if priority in ("production", "debug") else 0.0
        wfp = fifo = backfill = 0.0
        if priority == "production":
            clamped_s = min(max(job.walltime, 21_600), 43_200)
            wfp = options.wfp_factor * self.award(job.project) * job.nodes / view.nodes / clamped_s**3
        elif priority == "backfill":
            backfill = 1.0 / options.backfill_factor
        else:
            fifo = 1.0 / options.fifo_factor
        return job.nodes, base, wfp, fifo, backfill

    def award(self, project: str) -> float:
        """The priority of a project."""
        if not project:
            return self.options.unknown_project
        known = self.options.project_priority.get(project)
        if known is not None:
            return known
        place = crc32(project.encode()) % 100
        return next(award for below, award in _AWARDS if place < below)
