"""What the learner sees: a row of eight numbers in [0, 1] for each of the first jobs of the queue.

Everything is taken from the view of a scheduling pass and from jobs that have ended: what a scheduler may know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hpcsim.env.episodes import users_of
from hpcsim.schedulers.scales import scaled
from hpcsim.workload.job import Job, Workload

if TYPE_CHECKING:
    from hpcsim.engine.room import Room
    from hpcsim.engine.view import View

FEATURES = ("waited", "walltime", "nodes", "fits", "possible_in", "used_by_user", "free", "waiting")
WAITED, WALLTIME, NODES, FITS, POSSIBLE_IN, USED_BY_USER, FREE, WAITING = range(len(FEATURES))

UNKNOWN_USE = 0.5

Floats32 = npt.NDArray[np.float32]


class Observer:
    """Makes the observations of episodes whose jobs are part of ``pool``, ``window`` jobs each.

    What does not change while a job waits is computed once, for all J jobs of the pool.
    """

    def __init__(self, pool: Workload, machine_nodes: int, window: int) -> None:
        self._window = window
        self._machine_nodes = machine_nodes
        self._submit_J = pool.column("submit_s")
        self._nodes_J = pool.column("nodes")
        self._walltime_J = pool.column("walltime_s")
        self._user_J, self._users = users_of(pool)
        self._fixed_JF = np.zeros((len(pool), len(FEATURES)), np.float32)
        self._fixed_JF[:, WALLTIME] = scaled(self._walltime_J)
        self._fixed_JF[:, NODES] = np.minimum(np.log1p(self._nodes_J) / np.log1p(machine_nodes), 1.0)
        self.begin(0)

    def begin(self, first: int) -> None:
        """A new episode: job 0 of its simulation is number ``first`` of the pool, and no job has ended."""
        self._first = first
        self._used_U = np.full(self._users, UNKNOWN_USE, np.float32)
        self._sums: dict[int, tuple[float, int]] = {}

    def ended(self, job_id: int, runtime_s: int) -> None:
        """Learn how long a job has run, now that it has ended."""
        row = self._first + job_id
        user = int(self._user_J[row])
        total, count = self._sums.get(user, (0.0, 0))
        total, count = total + min(1.0, runtime_s / int(self._walltime_J[row])), count + 1
        self._sums[user] = total, count
        self._used_U[user] = total / count

    def observe(self, view: View, room: Room, jobs: Sequence[Job], fits_W: npt.NDArray[np.bool_]) -> Floats32:
        """The observation of ``jobs``, the first of the queue: window * 8 values, rows of zeros where there is none."""
        count = len(jobs)
        table_WF = np.zeros((self._window, len(FEATURES)), np.float32)
        if count:
            ids = np.fromiter([job.id for job in jobs], np.intp, count)
            ids += self._first
            table_JF = table_WF[:count]
            self._fixed_JF.take(ids, axis=0, out=table_JF, mode="clip")
            table_JF[:, WAITED] = scaled(view.now - self._submit_J[ids])
            table_JF[:, FITS] = fits_W
            if not fits_W.all():
                table_JF[:, POSSIBLE_IN] = self._possible_in(view, room, self._nodes_J[ids])
                table_JF[fits_W, POSSIBLE_IN] = 0.0
            table_JF[:, USED_BY_USER] = self._used_U[self._user_J[ids]]
            table_JF[:, FREE] = view.free_nodes / self._machine_nodes
            table_JF[:, WAITING] = min(len(view.queue) / self._window, 1.0)
        return table_WF.reshape(-1)

    def _possible_in(self, view: View, room: Room, nodes_J: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """In what time so many nodes are free if every running job takes its whole walltime; 1.0 for never."""
        steps = np.array(view.profile(room).steps(), np.int64)
        free = np.maximum.accumulate(steps[:, 1])
        step = np.searchsorted(free, nodes_J)
        never = step == len(free)
        step[never] = 0
        shares = scaled(steps[step, 0] - view.now)
        shares[never] = 1.0
        return shares
