"""The scheduler of Mira, Theta and Cooley: Cobalt with its utility functions and draining."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, log2
from typing import Literal

import numpy as np
from pydantic import Field

from hpcsim import plugin
from hpcsim.plugin import Decision, Job, Room, Start, View, backfill

from .centres import Eligible, Facts, Floats
from .orders import urgent_first

_THRESHOLDS = {"wfp": 0.65, "unicef": 0.75, "fifo": 1.0}
_UNICEF_ENOUGH = 4.5
_ANY = 2**62  # longer than any walltime


class Cobalt:
    """Jobs by a utility that grows while they wait; the best one that is blocked has a place drained for it.

    Utilities, of ``queued`` and ``walltime`` in seconds, and the score that a job must exceed to start in place of the
    best one while that is blocked:

    - ``wfp``: (queued / walltime) ** exponent * nodes; 0.65 of the best job's
    - ``unicef``, kind to small jobs: queued / (z * walltime) with z = max(ceil(log2 nodes), 6) - 5; 0.75 of the best
      job's, at most 4.5
    - ``fifo``: queued; none exceeds it

    Then the place that the best job can have the earliest is drained: others start only if they end before that by
    their walltime, or need none of it. On a torus that place is one block, and each job gets the block that blocks the
    fewest others; elsewhere it is a number of nodes. Running jobs are expected to go on for 5 minutes at the least.
    Jobs of queues with priority ``backfill`` come after all others.

    Cobalt looks at the queue every 10 s: ``pass_interval: 10s`` in the scenario.

    References
    ----------
    Tang, Lan, Desai and Buettner (2009), Fault-aware, utility-based job scheduling on Blue Gene/P systems.
    Argonne National Laboratory, Cobalt: bgsched, bg_base_system and the page UtilityFunctions of its wiki.
    """

    name = "cobalt"
    api = 1
    cites = ("Tang2009", "Cobalt")

    class Options(plugin.Options):
        utility: Literal["wfp", "unicef", "fifo"] = Field("wfp", description="how a job's score grows while it waits")
        exponent: float = Field(3.0, gt=0, description="power of the relative wait in wfp; Cobalt's README has 2")
        threshold: float | None = Field(
            None,
            ge=0,
            description="share of the blocked best job's score that others must exceed to start in its place; by "
            "default 0.65 for wfp and 0.75 for unicef; 1: nobody starts so",
        )
        accrual: Literal["queued", "incremental"] = Field(
            "queued",
            description="whether a score follows the time since submission or grows while the job is in the queue",
        )
        walltime_in_minutes: bool = Field(
            False,
            description="whether walltimes enter the utility in minutes beside waits in seconds, as they once did",
        )
        max_drain: int | None = Field(
            None, ge=0, description="seconds for which a place is drained at the most, else nothing is; null: no limit"
        )
        busy_shadow: int = Field(300, ge=0, description="seconds that running jobs are expected to go on at the least")

    def __init__(self, options: Options) -> None:
        self.options = options
        self.power = options.exponent if options.utility == "wfp" else 1.0
        self.threshold = _THRESHOLDS[options.utility] if options.threshold is None else options.threshold
        self._facts = Facts(self._describe, 6)
        self._eligible = Eligible(None) if options.accrual == "incremental" else None

    def schedule(self, view: View) -> Iterator[Decision]:
        room, jobs = view.room(), view.queue
        if not jobs:
            return
        ids_Q, facts_QF = self._facts.of(jobs, view)
        if self._eligible is None:
            waited_Q = view.now - facts_QF[:, 2]
        else:
            waited_Q = self._eligible.seconds(jobs, ids_Q, view).astype(np.float64)
        if room.special:
            yield from urgent_first(view, room)
        if facts_QF[:, 0].min() <= room.reach:
            yield from self._serve(view, room, facts_QF, self.score(facts_QF, waited_Q))
        if self._eligible is not None:
            self._eligible.started(room.started, view.now)

    def score(self, facts_QF: Floats, waited_Q: Floats) -> Floats:
        """The scores of Q jobs that have waited for so many seconds."""
        _, _, _, wall_Q, weight_Q, _ = facts_QF.T
        score_Q: Floats = weight_Q * (waited_Q / wall_Q) ** self.power
        return score_Q

    def least_instead(self, score: float) -> float:
        """What a job must exceed to start while the best one, which has this score, is blocked."""
        least = self.threshold * score
        return min(least, _UNICEF_ENOUGH) if self.options.utility == "unicef" else least

    def _describe(self, job: Job, view: View) -> tuple[float, ...]:
        """Nodes, walltime, submission, what a score is made of, and whether the job comes after all others."""
        utility = self.options.utility
        wall, weight = job.walltime / (60.0 if self.options.walltime_in_minutes else 1.0), 1.0
        if utility == "wfp":
            weight = float(job.nodes)
        elif utility == "unicef":
            weight = 1.0 / (max(ceil(log2(job.nodes)), 6) - 5)
        else:
            wall = 1.0
        return job.nodes, job.walltime, job.submit, wall, weight, view.priority(job) == "backfill"

    def _serve(self, view: View, room: Room, facts_QF: Floats, score_Q: Floats) -> Iterator[Decision]:
        jobs = view.queue
        nodes_Q, walltime_Q, *_, last_Q = facts_QF.T
        order = np.lexsort((-score_Q, last_Q)).tolist()
        started = set(room.started)
        waiting = iter(order)
        for at in waiting:
            if jobs[at] in started:
                continue
            if not room.take(jobs[at]):
                break
            yield Start(jobs[at], "highest score")
        else:
            return
        head, behind = jobs[at], np.array(list(waiting), np.int64)
        least = self.least_instead(float(score_Q[at]))
        near = behind[(score_Q[behind] > least) & (last_Q[behind] == last_Q[at]) & (nodes_Q[behind] <= room.reach)]
        for each in near.tolist():
            if jobs[each] not in started and room.take(jobs[each]):
                yield Start(jobs[each], "score near that of the best job, which is blocked")
        if not room.reach:
            return
        shadow, extra = view.shadow(head, room, self.options.busy_shadow)
        longest = shadow - view.now - view.launch_latency  # that a job may last without delaying the head
        if self.options.max_drain is not None and shadow - view.now > self.options.max_drain:
            room.forget_shadow()
            longest = _ANY  # all that fits may start
        behind = behind[nodes_Q[behind] <= room.reach]
        if not room.special and room.shared is None:  # else other things may let a job start
            behind = behind[(walltime_Q[behind] <= longest) | (nodes_Q[behind] <= extra)]
        started = set(room.started)
        others = [jobs[each] for each in behind.tolist() if jobs[each] not in started]
        yield from backfill(room, head, others, shadow, extra, longest)
