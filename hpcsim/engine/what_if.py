"""What would come of a decision, as far as anybody can know: the twin of the twin.

It is a fork in which nothing is left of what only the trace and the machine know. A job runs as long as the performance
twin predicts; one that has outlived its prediction runs until its walltime, which is all that is known then. Jobs that
have not started draw what those that ended last drew, react to the clock as ``ASSUMED_BETA`` says, and run alike on all
nodes of a class, however far apart these are. Nodes in repair come back when that is expected. Hardware fails by a
stream of its own, drawn with a seed from the scheduler's; whole-system outages do not happen, and no job is submitted
any more. What is kept is what meters show: what running jobs draw, how warm each node is, and how well each is cooled.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from hpcsim.engine.backfill import backfill
from hpcsim.engine.decisions import Decision, Start
from hpcsim.engine.fork import believed
from hpcsim.engine.twins import Twins
from hpcsim.engine.view import View
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.scheduler import Scheduler
    from hpcsim.engine.simulation import Simulation
    from hpcsim.engine.site import Site

ASSUMED_BETA: Final = 0.5
"""How far the runtime of a job follows the clock, as nobody has measured (assumed: half way)."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What would come of decisions until second ``until``, which is not in it.

    ``starts`` and ``ends`` are the seconds at which jobs, by their ids, would start and end; one that is stopped and
    starts again is in them with the last. ``waiting`` would wait in the end, in the order of submission. Where the
    scenario has power, ``energy_j`` is what the facility would draw until then, ``peak_w`` the most of its power, and
    with heat ``hottest_c`` the highest temperature of a node; else they are None.
    """

    until: int
    starts: Mapping[int, int]
    ends: Mapping[int, int]
    waiting: tuple[Job, ...]
    energy_j: float | None
    peak_w: float | None
    hottest_c: float | None


class Backfilling:
    """The rule of ``easy`` with its default options: who schedules on where nobody else is named."""

    name = "easy"
    api = 1

    def schedule(self, view: View) -> Iterator[Start]:
        """Start jobs in the order of the queue, and behind a blocked one what does not delay it."""
        room = view.room()
        for job in view.urgent if room.special else ():
            if room.take(job):
                yield Start(job)
        begun = {job.id for job in room.started}
        queue = iter([job for job in view.queue if job.id not in begun])
        for head in queue:
            if not room.take(head):
                break
            yield Start(head)
        else:
            return
        if not room.reach:
            return
        shadow, extra = view.shadow(head, room)
        longest = shadow - view.now - view.launch_latency
        yield from backfill(room, head, queue, shadow, extra, longest)


def what_if(
    simulation: Simulation, decisions: Iterable[Decision], horizon_s: int, then: Scheduler | None = None
) -> Outlook:
    """See ``View.what_if``."""
    if isinstance(horizon_s, bool) or not isinstance(horizon_s, int) or horizon_s < 1:
        raise ValueError(f"view.what_if: the horizon should be a whole second, 1 or more, found {horizon_s!r}")
    if simulation.is_belief:
        raise PermissionError("view.what_if cannot be asked in what it answers: name another scheduler with then=")
    until, before = simulation.now + horizon_s, len(simulation.attempts)
    belief = believed(simulation, predicted_runtimes(simulation), ASSUMED_BETA)
    belief.decide(decisions)
    belief.take_over(Backfilling() if then is None else copy.deepcopy(then))
    belief.run(until)
    attempts = belief.attempts
    job, start, end = (attempts.column(name, before).tolist() for name in ("job", "start", "end"))
    ends = {job_id: attempts.row(row)[3] for job_id, row in simulation.rows_running()}
    ends |= dict(zip(job, end, strict=True))
    energy_j = peak_w = hottest_c = None
    if simulation.site is not None and belief.site is not None:
        energy_j, peak_w = _drawn(belief.site, simulation.site.cluster.meter.power_log_rows - 1, simulation.now, until)
        if belief.site.cluster.heat is not None:
            hottest_c = belief.site.cluster.heat.hottest_c(until)[0]
    return Outlook(
        until,
        MappingProxyType(dict(zip(job, start, strict=True))),
        MappingProxyType({job_id: second for job_id, second in ends.items() if second >= 0}),
        tuple(belief.queue.jobs),
        energy_j,
        peak_w,
        hottest_c,
    )


def predicted_runtimes(simulation: Simulation) -> dict[int, int]:
    """How long each job that was submitted and has not ended will run in all, as is believed; whole seconds by ids."""
    jobs = [*simulation.waiting, *(each.job for each in simulation.running.values())]
    asked = Twins(simulation.twins, View(simulation))
    predicted = asked.performance(jobs).mean.tolist() if "performance" in asked else [job.walltime for job in jobs]
    runtime_s = {job.id: max(1, round(each)) for job, each in zip(jobs, predicted, strict=True)}
    for job, start, _ in simulation.running.values():
        ran_s = simulation.now - start
        if simulation.site is not None:
            ran_s = simulation.site.cluster.at_speed_1(job.id, ran_s)
        if runtime_s[job.id] <= ran_s:
            runtime_s[job.id] = max(job.walltime, ran_s + 1)
    return runtime_s


def _drawn(site: Site, row: int, now: int, until: int) -> tuple[float, float]:
    """Joules that the facility draws from ``now``, a row of the power log, to ``until``, and its highest power."""
    log_s, log_w = site.cluster.meter.power_log_since(row)
    time = np.unique(np.concatenate(([now], log_s[log_s > now], site.facility.changes_s(now, until))))
    time = time[time < until]
    it_w = log_w[np.searchsorted(log_s, time, side="right") - 1]
    facility_w = it_w * (1.0 + site.facility.overhead_T(time))
    return float(np.dot(np.diff(time, append=until), facility_w)), float(facility_w.max())
