"""What the choices of a finished episode were worth, by what the simulator knows of it afterwards.

A choice is paid for what it did, so that little noise of what others did stands in the way:

- *energy*: a job that starts is paid at once for the energy that it will have taken beyond what it takes at full speed
  without a failure, which no schedule changes; what jobs do not draw (idle nodes, cooling), as it is drawn;
- *performance*: for each job that waits its nodes times the hours that it has waited so far, as long as it waits: over
  an episode half its nodes times the square of its waiting. What has waited long counts more, so nobody is left behind;
  and most is gained by who starts the job that has waited most by what it runs, as it keeps nodes for least (van
  Mieghem 1995);
- *reliability*: node-hours that failures are expected to cost, by the true hazard of the job's nodes when it starts,
  beyond those at the hazard of all nodes in the mean of the episode, and a tenth of those throttled. Real failures are
  so rare that one could not learn from them; and who were paid for all of a job's risk would put off large jobs.

Over an episode they add up to what the run's summary says, but for these constants and, for failures, on average. Each
is divided by what it comes to in an hour under a rule.

References
----------
van Mieghem (1995), Dynamic scheduling with convex delay costs: the generalized c-mu rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.engine.attempts import KILLED, NODE_FAILED, PREEMPTED
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.engine.truth import Truth
from hpcsim.results.energy import J_PER_KWH, power_curve
from hpcsim.schedulers.aims.shape import DISCOUNT_S

Floats = npt.NDArray[np.float64]

_THROTTLED: Final = 0.1
_LOOKED_S, _AHEAD_S = 900, 6 * 3600  # how often, and how far ahead, the hazard is looked at


class Chosen(NamedTuple):
    """A choice: when, of which job (-1: none), and at which clock."""

    now: int
    job_id: int
    speed: float


class Paid(NamedTuple):
    """Rewards of N choices: ``at_once_NO`` with them, ``until_next_NO`` spread over the time until the next one.

    ``usual_loss_h`` are the node-hours that failures cost all jobs at the mean hazard, also those that did not start.
    """

    at_once_NO: Floats
    until_next_NO: Floats
    usual_loss_h: float = 0.0

    @property
    def total_O(self) -> Floats:
        """All of the episode."""
        return np.asarray((self.at_once_NO + self.until_next_NO).sum(0))


class Hazard:
    """How likely hardware takes each unit in a second, by the truth, as it was every 15 minutes of a simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self._truth = Truth(simulation)
        site = simulation.site
        self._units = np.arange(0 if site is None else site.cluster.spec.units)
        self._time: list[int] = []
        self._rate: list[npt.NDArray[np.float32]] = []

    @property
    def mean(self) -> float:
        """The rate of one unit, in the mean of all and of all that is known."""
        return float(np.mean([rates.mean() for rates in self._rate])) if self._rate else 0.0

    def look(self, now: int) -> None:
        """Note the rates of now, if those known are old."""
        if len(self._units) and (not self._time or now - self._time[-1] >= _LOOKED_S):
            self._time.append(now)
            odds = self._truth.hazard(self._units, _AHEAD_S)
            self._rate.append((-np.log1p(-np.minimum(odds, 0.999)) / _AHEAD_S).astype(np.float32))

    def of(self, units: npt.NDArray[np.int64], second: int) -> float:
        """The rate at which any of these units fails, as known last before ``second``."""
        at = int(np.searchsorted(self._time, second, side="right")) - 1
        return float(self._rate[max(at, 0)][units].sum()) if self._time else 0.0


def paid(simulation: Simulation, chosen: Sequence[Chosen], until_s: int, hazard: Hazard) -> Paid:
    """Rewards of the choices until second ``until_s``, all negative.

    They are kWh, node-hours waited times seconds, and node-hours lost. The ``simulation`` went on after it, so that
    most of what had started then has ended. Of what runs still, energy and losses are those so far.
    """
    time_N = np.array([each.now for each in chosen], float)
    until_N = np.append(time_N[1:], max(float(until_s), time_N[-1]))
    at_once, until_next, usual_loss_h = np.zeros((len(chosen), 3)), np.zeros((len(chosen), 3)), 0.0
    attempts = simulation.attempts
    begun = np.flatnonzero(attempts.column("taken") <= until_s)
    job, taken = attempts.column("job")[begun], attempts.column("taken")[begun]
    waiting = _waiting(simulation)
    until_next[:, 1] = -(waiting(until_N) - waiting(time_N))
    site = simulation.site
    if site is not None:
        place = {(each.now, each.job_id): number for number, each in enumerate(chosen)}
        before = np.maximum(np.searchsorted(time_N, taken, side="right") - 1, 0).tolist()
        made = list(zip(taken.tolist(), job.tolist(), before, strict=True))
        row = np.array([place.get((when, of), other) for when, of, other in made], int)
        speed = np.array([chosen[place[when, of]].speed if (when, of) in place else 1.0 for when, of, _ in made])
        beyond, drawn, overhead = _energies(simulation, site, begun, speed)
        np.add.at(at_once[:, 0], row, -beyond * (1.0 + overhead))
        until_next[:, 0] = -(drawn(until_N) - drawn(time_N))
        units = [site.units[k] for k in begun.tolist()]
        rate = np.array([hazard.of(of, second) for of, second in zip(units, taken.tolist(), strict=True)])
        lost = expected_loss_s(simulation, site, begun, rate)
        usual = expected_loss_s(
            simulation, site, begun, hazard.mean * np.array([len(of) for of in units]), slowed=False
        )
        usual_loss_h = _usual_loss_h(simulation, site, hazard.mean)
        np.add.at(at_once[:, 2], row, -(lost - usual + _THROTTLED * site.throttled_node_s[begun]) / 3600.0)
    return Paid(at_once, until_next, usual_loss_h)


def discounted(
    time_N: Floats, rewards: Paid, ahead_s: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], Floats]:
    """Of each choice: the first choice that is later, and by ``ahead_s`` at least, the reward until it, its discount.

    It is -1 for the last choices, which have none so far ahead.
    """
    since = time_N - time_N[0]
    gap = np.diff(time_N, append=time_N[-1])
    share = np.where(gap > 0, -np.expm1(-gap / DISCOUNT_S) * DISCOUNT_S / np.maximum(gap, 1e-9), 1.0)
    reward = rewards.at_once_NO + rewards.until_next_NO * share[:, None]
    weight = np.exp(-since / DISCOUNT_S)
    total = np.concatenate([np.zeros((1, 3)), np.cumsum(reward * weight[:, None], 0)])
    later = np.searchsorted(time_N, np.maximum(time_N + ahead_s, np.nextafter(time_N, np.inf)))
    known = later < len(time_N)
    there = np.where(known, later, 0)
    sums = (total[there] - total[:-1]) / weight[:, None]
    return np.where(known, later, -1), sums.astype(np.float32), np.exp(-(time_N[there] - time_N) / DISCOUNT_S)


def _waiting(simulation: Simulation) -> _Integral:
    """The integral over time of the node-hours that those who wait have waited, also jobs that have not started yet."""
    submit_s, end = simulation.submit_s, simulation.attempts.column("end").tolist()
    job, taken = (simulation.attempts.column(name) for name in ("job", "taken"))
    waits = [each.id for each in (*simulation.queue.jobs, *simulation.held.values())]
    job = np.append(job, np.array(waits, int))
    taken = np.append(taken, np.full(len(waits), simulation.now))
    began = np.array([simulation.eligible.get(of, int(submit_s[of])) for of in job.tolist()], float)
    stopped: dict[int, int] = {}
    for row, of in enumerate(job.tolist()):
        began[row] = stopped.get(of, began[row])  # it waited again after it was stopped
        if row < len(end):
            stopped[of] = end[row]
    nodes = simulation.workload.column("nodes")[job]
    return _Integral(began, taken.astype(float), np.zeros(len(job)), nodes / 3600.0)


class _Integral:
    """The integral of a sum of rates, each from one second to another, that rise by so much every second."""

    def __init__(self, begin: Floats, end: Floats, rate: Floats, rise: Floats) -> None:
        time = np.concatenate([begin, end])
        order = np.argsort(time, kind="stable")
        self._time = time[order]
        gap = np.diff(self._time)
        self._rise = np.cumsum(np.concatenate([rise, -rise])[order])
        jumps = np.cumsum(np.concatenate([rate, -rate - rise * (end - begin)])[order])
        self._rate = jumps + np.append(0.0, np.cumsum(self._rise[:-1] * gap))
        self._sum = np.append(0.0, np.cumsum((self._rate[:-1] + 0.5 * self._rise[:-1] * gap) * gap))

    def __call__(self, second: Floats) -> Floats:
        """From the beginning until each second."""
        if not len(self._time):
            return np.zeros_like(second)
        at = np.searchsorted(self._time, second, side="right") - 1
        inside = np.maximum(at, 0)
        since = second - self._time[inside]
        found = self._sum[inside] + (self._rate[inside] + 0.5 * self._rise[inside] * since) * since
        return np.asarray(np.where(at < 0, 0.0, found))


def expected_loss_s(
    simulation: Simulation, site: Site, begun: npt.NDArray[np.int64], rate: Floats, *, slowed: bool = True
) -> Floats:
    """Node-seconds that failures, at this ``rate`` of each, cost attempts on average.

    Half of what is done between two checkpoints is lost. ``slowed``: for as long as it ran, if it ran to its end.
    """
    attempts = simulation.attempts
    job, start, end, state = (attempts.column(name)[begun] for name in ("job", "start", "end", "state"))
    nodes = simulation.workload.column("nodes")[job]
    runs_s = np.array([simulation.program_of(of)[0] for of in job.tolist()], float)
    if slowed:
        whole = (end >= 0) & ~np.isin(state, (KILLED, NODE_FAILED, PREEMPTED))
        runs_s = np.where(whole, np.maximum(end - start, 1), runs_s)
    return _lost_s(site, rate, nodes, runs_s)


def _usual_loss_h(simulation: Simulation, site: Site, unit_rate: float) -> float:
    """Node-hours that failures would cost all jobs of the workload, if all ran, each once."""
    nodes = simulation.workload.column("nodes")
    runs_s = np.array([simulation.program_of(of)[0] for of in range(len(nodes))], float)
    units = np.ceil(nodes / site.cluster.spec.unit_nodes)
    return float(_lost_s(site, unit_rate * units, nodes, runs_s).sum()) / 3600.0


def _lost_s(site: Site, rate: Floats, nodes: npt.NDArray[np.int64], runs_s: Floats) -> Floats:
    checkpoints = site.checkpointing
    at_stake_s = runs_s / 2 if checkpoints is None else np.minimum(runs_s, checkpoints.interval_s) / 2
    return np.asarray(-np.expm1(-rate * runs_s) * nodes * at_stake_s)


def _energies(
    simulation: Simulation, site: Site, begun: npt.NDArray[np.int64], speed: Floats
) -> tuple[Floats, _Curve, float]:
    """kWh of attempts beyond those at full speed; the integral of what is not drawn by jobs; cooling's share."""
    curve = power_curve(simulation, site)
    overhead = curve.joules(curve.facility_w) / curve.joules(curve.it_w) - 1.0
    spec, attempts, now = site.cluster.spec.power, simulation.attempts, simulation.now
    running = dict(simulation.rows_running())
    joules = site.joules
    for job_id, row in running.items():
        execution = site.cluster.executions[job_id]
        execution.settle(now)
        joules[row] = execution.joules
    job, start, end = (attempts.column(name) for name in ("job", "start", "end"))
    ran_s = np.maximum(np.where(end < 0, now, end) - start, 1).astype(float)
    all_jobs = _Integral(start.astype(float), start + ran_s, joules / ran_s, np.zeros(len(job)))
    nodes = simulation.workload.column("nodes")[job].astype(float)
    speeds = np.ones(len(job))
    speeds[begun] = speed
    dynamic_w = np.maximum(joules / (ran_s * nodes) - spec.idle_w, 0.0) / speeds**spec.speed_exponent
    work_s = np.array([simulation.program_of(of)[0] for of in job.tolist()], float)
    still = list(running.values())
    work_s[still] = np.minimum(ran_s, work_s)[still]
    counts = ~np.isin(attempts.column("state"), (KILLED, NODE_FAILED, PREEMPTED))
    usual = np.where(counts, nodes * work_s * (spec.idle_w + dynamic_w), 0.0)
    drawn = _Curve(curve.time_s, curve.facility_w, all_jobs, 1.0 + overhead)
    return ((joules - usual) / J_PER_KWH)[begun], drawn, overhead


class _Curve:
    """kWh that the facility has drawn until a second, less those of jobs with their part of cooling."""

    def __init__(self, time_s: npt.NDArray[np.int64], watts: Floats, jobs: _Integral, factor: float) -> None:
        self._time, self._watts, self._jobs, self._factor = time_s.astype(float), watts, jobs, factor
        self._sum = np.concatenate([[0.0], np.cumsum(watts[:-1] * np.diff(self._time))])

    def __call__(self, second: Floats) -> Floats:
        at = np.maximum(np.searchsorted(self._time, second, side="right") - 1, 0)
        drawn = self._sum[at] + self._watts[at] * (second - self._time[at])
        return np.asarray((drawn - self._factor * self._jobs(second)) / J_PER_KWH)
