"""One scheduling pass as a network of RLSchert sees it: what can be started or killed, and the numbers about it."""

from __future__ import annotations

from collections.abc import Collection
from math import log1p
from typing import Final

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Decision, Hold, Job, Preempt, Room, Start, View, taken_at
from hpcsim.schedulers.orders import still_waiting, urgent_first

from .network import State
from .predicted import NOTHING_RUNS, Predicted
from .shape import OF_ALL, OF_JOB, OF_RUNNING, RUNNING, WINDOW

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_JOB: Final = {name: place for place, name in enumerate(OF_JOB)}
_RUNNING: Final = {name: place for place, name in enumerate(OF_RUNNING)}
_ALL: Final = {name: place for place, name in enumerate(OF_ALL)}
_HALFWAY: Final = 0.5  # of its predicted runtime: from then on no job is killed
_FAR: Final = 1.5  # no number is further from 0


class Pass:
    """The choices of a pass, one after the other, and the ``decisions`` that come of them.

    ``window`` jobs can be started: half of them the first of the queue, half those predicted to be the shortest among
    the rest. Once the first of the queue has waited for longer than ``patience`` seconds (0: never), it starts, or
    nodes are kept for it by the rule of EASY. ``stopped`` are the ids of the jobs that are killed in this pass,
    ``killed`` those of jobs that cannot be killed again; None: none can be killed at all.
    """

    def __init__(
        self, view: View, predicted: Predicted, *, window: int, patience: int, killed: Collection[int] | None
    ) -> None:
        self._view, self._predicted = view, predicted
        self._room: Room = view.room()
        self.decisions: list[Decision] = list(urgent_first(view, self._room)) if self._room.special else []
        self.stopped: list[int] = []
        self._head: Job | None = None
        self._shadow_s = self._extra = 0
        queue = still_waiting(view, self._room) if self.decisions else view.queue
        if patience and queue and view.now - queue[0].submit > patience:
            self._serve(queue[0])
            queue = still_waiting(view, self._room)
        if killed is None and not any(job.nodes <= self._room.reach for job in queue):
            queue = ()  # there is nothing to choose, and nobody to be asked
        self._run = predicted.running(view) if queue else NOTHING_RUNS
        known_Q2 = predicted.waiting(queue, view)
        self._queued = len(queue)
        self._queued_s = float((known_Q2[:, 0] * [job.nodes for job in queue]).sum()) if queue else 0.0
        seen = _visible(known_Q2[:, 0], window)
        self.jobs: list[Job] = [queue[place] for place in seen]
        self._know_jobs(known_Q2[seen], np.array(seen))
        self._know_running(killed)

    # -- what is chosen -------------------------------------------------------------------------

    @property
    def legal_A(self) -> Bools:
        """Which actions can be chosen: J starts, to wait, R kills."""
        fits_J = self._fits()
        must_start = not self._view.running and not self.decisions and bool(fits_J.any())
        return np.concatenate([fits_J, [not must_start], self._killable_R])

    @property
    def asks(self) -> bool:
        """Whether there is anything to choose besides to wait."""
        return bool(self._fits().any() or self._killable_R.any())

    def choose(self, action: int, why: str) -> bool:
        """Do what the legal ``action`` says; whether the pass goes on."""
        jobs = len(self.jobs)
        if action == jobs:
            return False
        if action > jobs:
            self._kill(action - jobs - 1, why)
        else:
            self._try(action, why)
        return True

    def _try(self, place: int, why: str) -> None:
        job, head = self.jobs[place], self._head
        self._open_J[place] = False
        if head is not None:
            ends_s = self._view.now + self._view.launch_latency + job.walltime
            taken = taken_at(self._shadow_s, self._room, head, job) if ends_s > self._shadow_s else 0
            if taken > self._extra:
                return
        if self._room.take(job):
            if head is not None:
                self._extra -= taken
                why += f"; delays not {head.name}, which has waited longest"
            self.decisions.append(Start(job, why))
            self._ends_soon(job.nodes, self._runtime_J[place])

    def _kill(self, place: int, why: str) -> None:
        self._killable_R[place] = False
        at = self._shown_R[place]
        job = self._run.jobs[at]
        self._predicted.stopped(job, float(self._run.total_R[at]))
        self.decisions.append(Preempt(job, why))
        if not self.stopped:
            self.decisions.append(Hold(self._view.now + 1, "its nodes are free then"))
        self.stopped.append(job.id)

    def _serve(self, first: Job) -> None:
        """Start the job that has waited longest, or keep nodes for it, if it has them at all by the present rules."""
        if self._room.take(first):
            self.decisions.append(Start(first, "has waited longest, for too long"))
            return
        try:
            self._shadow_s, self._extra = self._view.shadow(first, self._room)
        except ValueError:
            return
        self._head = first

    def _fits(self) -> Bools:
        """Which jobs may start now, as far as numbers tell."""
        fits = self._open_J & ((self._nodes_J <= self._room.free) | self._other_J)
        if self._head is not None:
            ends_J = self._view.now + self._view.launch_latency + self._walltime_J
            fits &= (ends_J <= self._shadow_s) | (self._nodes_J <= self._extra) | self._other_J
        return np.asarray(fits, bool)

    # -- what is seen ---------------------------------------------------------------------------

    def state(self) -> State:
        """The numbers as they are by now."""
        fits_J, room, unit_s = self._fits(), self._room, self._unit_s
        total, free = max(self._view.up_nodes, 1), max(room.free, 0)
        job_JF = self._job_JF.copy()
        if len(job_JF):
            column = {name: job_JF[:, place] for name, place in _JOB.items()}
            column["fits"][:] = fits_J
            column["of_free"][:] = np.minimum(self._nodes_J / max(free, 1), 2.0) / 2.0
            missing_J = self._nodes_J - free
            at = np.searchsorted(self._back_nodes, missing_J)
            free_in_J = np.append(self._back_s, np.inf)[at]
            column["free_in"][:] = np.where(missing_J <= 0, 0.0, np.minimum(np.log1p(free_in_J / unit_s) / 5.0, _FAR))
            column["back_before"][:] = self._back_by(self._runtime_J) / total
        all_G = self._all_G.copy()
        quarters = unit_s * np.array([0.25, 0.5, 1.0, 2.0, 4.0])
        all_G[_ALL["back_in_quarter"] : _ALL["back_in_4"] + 1] = (free + self._back_by(quarters)) / total
        all_G[_ALL["free"]] = free / total
        all_G[_ALL["started"]] = log1p(len(self.decisions)) / 5.0
        running_RF = self._running_RF.copy()
        running_RF[:, _RUNNING["could_be_killed"]] = self._killable_R
        return State(job_JF, running_RF, all_G, self.legal_A)

    def _know_jobs(self, known_J2: Floats, place: npt.NDArray[np.int64]) -> None:
        view, jobs = self._view, self.jobs
        self._nodes_J = nodes_J = np.array([job.nodes for job in jobs], np.float64)
        self._walltime_J = np.array([job.walltime for job in jobs], np.float64)
        self._runtime_J = runtime_J = known_J2[:, 0]
        special = self._room.special
        self._other_J = np.array([bool(job.cores) or job.id in special for job in jobs], bool)
        self._open_J = np.array([job is not self._head for job in jobs], bool)
        self._unit_s = unit_s = max(_middle(runtime_J), 1.0) if jobs else 1.0
        self._job_JF = np.zeros((len(jobs), len(OF_JOB)), np.float32)
        self._all_G = all_G = np.zeros(len(OF_ALL), np.float32)
        all_G[_ALL["waiting"]] = log1p(self._queued) / 7.0
        all_G[_ALL["queued_work"]] = min(log1p(self._queued_s / unit_s / view.nodes) / 5.0, _FAR)
        all_G[_ALL["window"]] = len(jobs) / WINDOW
        all_G[_ALL["reserved"]] = self._head is not None
        if not jobs:
            return
        column = {name: self._job_JF[:, at] for name, at in _JOB.items()}
        waited_J = view.now - np.array([job.submit for job in jobs], np.float64)
        area_J = runtime_J * nodes_J
        cost_J = runtime_J * area_J
        column["there"][:] = 1.0
        column["nodes"][:] = np.log1p(nodes_J) / log1p(view.nodes)
        column["share"][:] = nodes_J / view.nodes
        column["runtime"][:] = np.log1p(runtime_J / 10.0) / 12.5
        column["walltime"][:] = _log(self._walltime_J / runtime_J, 5.0)
        column["doubt"][:] = np.minimum(known_J2[:, 1], 2.0) / 2.0
        for name, value_J, over in (("length", runtime_J, 5.0), ("area", area_J, 6.0), ("cost", cost_J, 10.0)):
            column[name][:] = _log(value_J / _middle(value_J), over)
            column[f"rank_by_{name}"][:] = _ranks(value_J)
        column["waited"][:] = np.minimum(np.log1p(waited_J / unit_s) / 5.0, _FAR)
        column["slowdown"][:] = np.minimum(np.log1p(waited_J / runtime_J) / 5.0, _FAR)
        column["first"][:] = place == 0

    def _know_running(self, killed: Collection[int] | None) -> None:
        view, run = self._view, self._run
        left_R = run.total_R - run.elapsed_R
        order = np.argsort(left_R, kind="stable")
        self._back_s, self._back_each = left_R[order], run.nodes_R[order]
        self._back_nodes = np.cumsum(self._back_each)
        self._all_G[_ALL["running"]] = log1p(len(run.jobs)) / 7.0
        shown = np.arange(len(run.jobs))
        if len(shown) > RUNNING:  # those that hold the most
            shown = np.sort(np.argpartition(-left_R * run.nodes_R, RUNNING)[:RUNNING])
        self._shown_R = shown
        self._running_RF = rows = np.zeros((len(shown), len(OF_RUNNING)), np.float32)
        self._killable_R = np.zeros(len(shown), bool)
        if not len(shown):
            return
        nodes_R, elapsed_R, initial_R, total_R = (each[shown] for each in run[1:])
        column = {name: rows[:, at] for name, at in _RUNNING.items()}
        column["there"][:] = 1.0
        column["share"][:] = nodes_R / view.nodes
        column["initial"][:] = _log(initial_R / self._unit_s, 5.0)
        column["elapsed"][:] = np.minimum(np.log1p(elapsed_R / self._unit_s) / 5.0, _FAR)
        column["remaining"][:] = _log(left_R[shown] / self._unit_s, 5.0)
        column["length"][:] = _log(total_R / self._unit_s, 5.0)
        column["progress"][:] = elapsed_R / total_R
        column["drift"][:] = np.clip((total_R - initial_R) / initial_R / 4.0, -_FAR, _FAR)
        longer = self._back_by(np.array([self._unit_s]))[0]
        self._all_G[_ALL["busy_longer"]] = (run.nodes_R.sum() - longer) / max(view.up_nodes, 1)
        if killed is not None and self.jobs:
            once_R = np.array([run.jobs[at].id not in killed for at in shown.tolist()], bool)
            self._killable_R = once_R & (elapsed_R > 0) & (elapsed_R < _HALFWAY * total_R)

    def _back_by(self, seconds: Floats) -> Floats:
        """How many nodes jobs give back within so many seconds, by what is predicted."""
        if not len(self._back_s):
            return np.zeros(len(seconds))
        return np.append(0.0, self._back_nodes)[np.searchsorted(self._back_s, seconds, side="right")]

    def _ends_soon(self, nodes: int, runtime_s: float) -> None:
        """A job has started: it gives back its nodes when it is predicted to end."""
        at = int(np.searchsorted(self._back_s, runtime_s))
        self._back_s = np.insert(self._back_s, at, runtime_s)
        self._back_each = np.insert(self._back_each, at, nodes)
        self._back_nodes = np.cumsum(self._back_each)


def _visible(runtime_Q: Floats, window: int) -> list[int]:
    """Places in the queue of the jobs that can be started."""
    if len(runtime_Q) <= window:
        return list(range(len(runtime_Q)))
    half = window // 2
    rest = np.argsort(runtime_Q[half:], kind="stable")[: window - half] + half
    return [*range(half), *sorted(rest.tolist())]


def _middle(values: Floats) -> float:
    """The median, or the larger of the two in the middle; five times as fast as numpy's."""
    return float(np.partition(values, len(values) // 2)[len(values) // 2])


def _log(ratio: Floats, over: float) -> Floats:
    return np.clip(np.log(ratio) / over, -_FAR, _FAR)


def _ranks(values: Floats) -> Floats:
    """0 for the least to just below 1 for the largest, equals in the order in which they stand."""
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks / len(values)
