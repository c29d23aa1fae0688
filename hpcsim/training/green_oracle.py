"""A ceiling for GreenDRL: a greedy plan that knows all jobs, how long they run, what they draw, and the sun to come.

Jobs that cannot be put off get the earliest place. Then the deferrable ones, those of most energy first, each get the
start within their slack that adds the least to what the grid gives. The plan is carried out by the simulator, with
the same sleeping nodes, so that its figures are of the same books. It is a ceiling in kind, not a proof: a plan that
looks at all jobs together could be better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from hpcsim.engine.decisions import Decision, Hold, SetCooling, Start
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.sleeping import Sleeping
from hpcsim.engine.view import View
from hpcsim.schedulers.greendrl.deferring import Deferring

Floats = npt.NDArray[np.float64]

BIN_S: Final = 300
_LONGEST_S: Final = 4 * 86_400  # for which a plan goes on after the run that it is made from


class Planned:
    """Starts every job in its planned second, or as soon after it as there are nodes; cools as little as it can."""

    name = "planned"
    api = 1
    needs = frozenset({"sleep", "power"})
    passes_when_idle = True

    def __init__(self, start_s: Mapping[int, int]) -> None:
        self._start_s = start_s
        self._sleeping = Sleeping()

    def schedule(self, view: View) -> Iterator[Decision]:
        """Start what is due."""
        modes = view.power.cooling_modes
        warmest = max(modes, key=lambda name: modes[name])
        if view.power.cooling_mode != warmest:
            yield SetCooling(warmest)
        seen = self._sleeping.shown(view)
        room = seen.room()
        due = sorted(view.queue, key=lambda job: (self._start_s[job.id], job.id))
        later = [job for job in due if self._start_s[job.id] > view.now]
        starts: list[Decision] = [Start(job, "as planned") for job in due[: len(due) - len(later)] if room.take(job)]
        yield from self._sleeping.decide(view, starts, view.power.break_even_s, {job.id for job in later})
        if later:
            yield Hold(self._start_s[later[0].id], "to start as planned")


def greedy_plan(finished: Simulation, deferring: Deferring) -> dict[int, int]:
    """The planned start of each job, by its id, in seconds, made of a run of the same jobs that is over.

    Of that run it takes what nobody knows beforehand: runtimes, and the joules of each job.
    """
    site = finished.site
    if site is None or site.facility.solar is None:
        raise ValueError("a plan by the sun needs a scenario with physics and a solar plant")
    begin = finished.start // BIN_S * BIN_S
    bins = (finished.now + _LONGEST_S - begin) // BIN_S
    edges_s = begin + BIN_S * np.arange(bins + 1)
    sun_w = site.facility.solar.power.integral(edges_s[:-1], edges_s[1:]) / BIN_S
    warmest_k = max(change_k for _, change_k in site.cluster.spec.cooling.modes)
    name = next(name for name, change_k in site.cluster.spec.cooling.modes if change_k == warmest_k)
    site.facility.set_cooling(name, finished.start - 1)
    factor = 1.0 + float(site.facility.overhead_T(np.array([finished.start]))[0])
    power, nodes = site.cluster.spec.power, finished.nodes
    drawn_w = np.full(bins, factor * (power.fixed_w + nodes * power.sleep_w))
    free = np.full(bins, nodes)
    attempts = finished.attempts
    row_of = dict(zip(attempts.column("job").tolist(), range(len(attempts)), strict=True))
    ran_s = attempts.column("end") - attempts.column("start")
    plan: dict[int, int] = {}
    waiting = []
    for job in finished.workload.jobs():
        row = row_of.get(job.id)
        if row is None:
            raise ValueError(f"job {job.name} never ran")
        seconds = max(int(ran_s[row]), 1)
        job_w = factor * (float(site.joules[row]) / seconds - job.nodes * power.sleep_w)
        first = max(0, -(-(job.submit - begin) // BIN_S))
        last = max(first, (deferring.latest_s(job) - begin) // BIN_S)
        rank = -job_w * seconds if last > first else job.submit
        waiting.append((last > first, rank, job, seconds, job_w, first, last))
    for is_deferrable, _, job, seconds, job_w, first, last in sorted(waiting, key=lambda each: (*each[:2], each[2].id)):
        length = -(-seconds // BIN_S)
        at = _cheapest(free, drawn_w, sun_w, job.nodes, job_w, length, first, last) if is_deferrable else None
        if at is None:
            at = _earliest(free, job.nodes, length, first)
        free[at : at + length] -= job.nodes
        drawn_w[at : at + length] += job_w
        plan[job.id] = job.submit if at == first else int(edges_s[at])
    return plan


def _cheapest(
    free: npt.NDArray[np.int64], drawn_w: Floats, sun_w: Floats, nodes: int, job_w: float, length: int, first: int,
    last: int,
) -> int | None:  # fmt: skip
    """The bin from ``first`` to ``last`` from which a job takes the least from the grid; None if it fits from none."""
    span = slice(first, min(last + length, len(free)))
    over_w = drawn_w[span] - sun_w[span]
    added = np.maximum(over_w + job_w, 0.0) - np.maximum(over_w, 0.0)
    full = free[span] < nodes
    cost, blocked = (np.concatenate([[0.0], np.cumsum(each)]) for each in (added, full))
    starts = len(added) - length + 1
    if starts < 1:
        return None
    cost, blocked = cost[length:] - cost[:starts], blocked[length:] - blocked[:starts]
    if (blocked > 0).all():
        return None
    return first + int(np.where(blocked > 0, np.inf, cost).argmin())


def _earliest(free: npt.NDArray[np.int64], nodes: int, length: int, first: int) -> int:
    """The first bin from ``first`` on from which ``nodes`` are free for so many bins; the last one if there is none."""
    blocked = np.concatenate([[0], np.cumsum(free[first:] < nodes)])
    fits = np.flatnonzero(blocked[length:] == blocked[: len(blocked) - length])
    return first + int(fits[0]) if len(fits) else len(free) - length
