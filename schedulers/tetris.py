"""Packing by several resources at once: tetris."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hpcsim import plugin
from hpcsim.plugin import Decision, Job, Room, Start, View

from .fair_share import FairShare
from .orders import still_waiting, urgent_first
from .packing import Guard, Load

Floats = npt.NDArray[np.float64]
ResourceName = Literal["nodes", "memory", "gpus", "power"]
_EVER = 2**62  # longer than any walltime


def alignment(demand_JR: Floats, available_R: Floats, capacity_R: Floats) -> Floats:
    """How well each of J jobs fills what is available of R resources, all as shares of the machine's capacity."""
    aligned: Floats = (demand_JR / capacity_R) @ (available_R / capacity_R)
    return aligned


def work(duration_J: Floats, demand_JR: Floats, capacity_R: Floats) -> Floats:
    """Seconds of the whole machine that each of J jobs takes, summed over R resources."""
    taken: Floats = duration_J * (demand_JR / capacity_R).sum(axis=1)
    return taken


def combined(alignment_J: Floats, work_J: Floats, weight: float) -> Floats:
    """Alignment less ``weight`` times work, in units in which both are alike on average; the highest goes first."""
    scores: Floats = alignment_J - weight * alignment_J.mean() / work_J.mean() * work_J
    return scores


class Tetris:
    """Pack jobs by all that they demand at once, and let those go first that have little left to do.

    Of the jobs that fit, the one with the highest score starts: its alignment, the inner product of what it demands at
    its peak and of what is available, less its work, seconds times demand, in units that make both alike on average
    over the jobs that fit; then the next. Demands are shares of the machine in nodes, memory, GPUs and power. A job of
    whole nodes demands all of their memory and GPUs. What a job will draw is not known: it is what the energy twin says
    if the scenario names one, else the most that its nodes can draw. Nothing is started beyond what is available, under
    a cap neither watts. How long a job lasts is what the performance twin says. On a machine that only counts nodes
    there is one resource, and the largest job that fits goes before others of as much work.

    Only the groups that have used the least so far are considered, and jobs that hold back others go first once most of
    these have ended. A packer has no reservations, and large jobs may starve; with ``reservation: easy`` the job that
    has waited longest starts first, or, while it is blocked, is delayed by none, as under EASY.

    References
    ----------
    Grandl, Ananthanarayanan, Kandula, Rao and Akella (2014), Multi-resource packing for cluster schedulers.
    """

    name = "tetris"
    api = 1
    cites = ("Grandl2014",)

    class Options(plugin.Options):
        resources: tuple[ResourceName, ...] = Field(
            ("nodes", "memory", "gpus", "power"),
            min_length=1,
            description="what is packed; nodes alone on a machine that only counts nodes",
        )
        work_weight: float = Field(
            1.0, ge=0, description="how much little work counts beside good alignment; 0: only alignment counts"
        )
        fairness: float = Field(
            0.25, ge=0, lt=1, description="share of the groups with waiting jobs, those that used the most, left out"
        )
        group: Literal["project", "user"] = Field("project", description="who shares the machine fairly")
        barrier: float = Field(
            0.9, ge=0, le=1, description="jobs go first once so large a share of those that a job waits for has ended"
        )
        reservation: Literal["none", "easy"] = Field(
            "none", description="whether the job that has waited longest is protected from starving"
        )

    def __init__(self, options: Options) -> None:
        self.resources = options.resources
        self.work_weight = options.work_weight
        self.barrier = options.barrier
        self.reserves = options.reservation == "easy"
        self.shares = FairShare(options.group, options.fairness) if options.fairness else None
        self.passes_when_idle = self.shares is not None  # to see when jobs end

    def schedule(self, view: View) -> Iterator[Decision]:
        room = view.room()
        if self.shares is not None:
            self.shares.charge(view)
        if view.queue:
            yield from self._pack(view, room)
        if self.shares is not None:
            self.shares.started(room.started)

    def _pack(self, view: View, room: Room) -> Iterator[Decision]:
        if room.special:
            yield from urgent_first(view, room)
        if not room.reach:
            return
        load = Load(view, room, self.resources)
        guard = None
        if self.reserves:
            for head in still_waiting(view, room) if room.started else view.queue:
                if not load.take(head):
                    guard = Guard(view, load, head)
                    break
                yield Start(head, "has waited longest")
            if guard is None or not room.reach:
                return
        jobs = self._candidates(view, room, guard)
        if jobs:
            yield from self._best_first(view, load, guard, jobs)

    def _candidates(self, view: View, room: Room, guard: Guard | None) -> Sequence[Job]:
        """The waiting jobs that could fit, of the groups that may."""
        longest = _EVER if view.maintenance is None else view.maintenance[0] - view.now - view.launch_latency
        jobs: Sequence[Job] = view.queue_within(room.reach, longest)
        out = {job.id for job in room.started}
        if guard is not None:
            out.add(guard.head.id)
        if out:
            jobs = [job for job in jobs if job.id not in out]
        if self.shares is not None and jobs:
            waiting = still_waiting(view, room) if out else view.queue
            jobs = self.shares.of_the_poorest(jobs, waiting)
        return jobs

    def _best_first(self, view: View, load: Load, guard: Guard | None, jobs: Sequence[Job]) -> Iterator[Start]:
        """Start the best that fits, again and again."""
        room = load.room
        nodes_J = np.array([job.nodes for job in jobs])
        walltime_J = np.array([job.walltime for job in jobs])
        special_J = np.array([job.id in room.special for job in jobs])
        other_J = special_J | np.array([bool(job.cores) for job in jobs])  # who does not need free nodes
        watts_J = load.watts(jobs)
        share_JR = load.demand(jobs, watts_J) / load.capacity_R
        work_J = load.runtime_s(jobs) * share_JR.sum(axis=1)
        first_J = self._holds_back_others(view, jobs)
        open_J = np.ones(len(jobs), bool)
        while True:
            fits_J = open_J & (nodes_J <= np.where(other_J, room.reach, room.free)) & (watts_J <= load.left_w)
            if guard is not None:
                fits_J &= guard.lets(nodes_J, walltime_J, other_J, watts_J)
                for special in np.flatnonzero(fits_J & special_J).tolist():  # few
                    fits_J[special] = guard.leaves(guard.takes(jobs[special]))
            fitting = np.flatnonzero(fits_J)
            if first_J is not None and first_J[fitting].any():
                fitting = fitting[first_J[fitting]]
            if not fitting.size:
                return
            best = fitting[0]
            if fitting.size > 1:
                aligned = share_JR[fitting] @ (load.available() / load.capacity_R)
                best = fitting[combined(aligned, work_J[fitting], self.work_weight).argmax()]
            job = jobs[best]
            open_J[best] = False
            watts = float(watts_J[best])
            taken = 0 if guard is None else guard.takes(job)
            if (guard is None or guard.leaves(taken)) and load.take(job, watts):
                if guard is not None:
                    guard.started(job, taken, watts)
                why = (
                    "others wait for it"
                    if first_J is not None and first_J[best]
                    else f"best of {fitting.size} that fit"
                )
                yield Start(job, f"packed: {why}")
                if not room.reach:
                    return
            elif not other_J[best]:  # nor will others of its size that last as long
                open_J &= other_J | (nodes_J != job.nodes) | (walltime_J < job.walltime)

    def _holds_back_others(self, view: View, jobs: Sequence[Job]) -> npt.NDArray[np.bool_] | None:
        """Which of J jobs others wait for that wait for few besides; None if there are none."""
        first: set[int] = set()
        for blocked, waits_for in view.blocked:
            if len(waits_for) <= (1.0 - self.barrier) * len(blocked.after or ()) + 1e-9:
                first.update(waits_for)
        return np.array([job.id in first for job in jobs]) if first else None
