"""What becomes of jobs: the states they end in, and a row for each time one was put on the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpcsim.machine.history import PAGE, History
from hpcsim.workload.job import OUTCOMES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# What has become of a job; the first three are how its program ended (OUTCOMES).
STATES = (*OUTCOMES, "killed", "node_failed", "rejected", "preempted", "running", "not yet submitted")
KILLED, NODE_FAILED, REJECTED, PREEMPTED, RUNNING, FUTURE = range(len(OUTCOMES), len(STATES))


class Attempts(History):
    """One row for each time a job was put on the machine. Each column is a copy, made when it is asked for."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(job="q", taken="q", start="q", end="q", state="b", why="O")

    def begin(self, job_id: int, taken: int, start: int, why: str) -> int:
        """Add a row; its number is returned."""
        if not self._room:
            self._make_room()
        self._room -= 1
        row = self._rows
        self._rows = row + 1
        jobs, takens, starts, ends, states, reasons = self._last
        jobs.append(job_id)
        takens.append(taken)
        starts.append(start)
        ends.append(-1)
        states.append(RUNNING)
        reasons.append(why)
        return row

    def finish(self, row: int, now: int, state: int) -> None:
        """The attempt of a row has ended; ``state`` says how."""
        number, at = row // PAGE, row % PAGE
        if number not in self._own:
            self._take_over(number)
        _, _, starts, ends, states, _ = self._pages[number]
        ends[at] = now
        if starts[at] > now:  # ended while it was being launched
            starts[at] = now
        states[at] = state

    @property
    def job(self) -> npt.NDArray[np.int64]:
        """Ids of the jobs."""
        return self.column("job")

    @property
    def taken(self) -> npt.NDArray[np.int64]:
        """From when on the nodes were the job's own."""
        return self.column("taken")

    @property
    def start(self) -> npt.NDArray[np.int64]:
        """When it ran."""
        return self.column("start")

    @property
    def end(self) -> npt.NDArray[np.int64]:
        """When it ended; -1 while it runs."""
        return self.column("end")

    @property
    def state(self) -> npt.NDArray[np.int8]:
        """How it ended, as places in ``STATES``."""
        return self.column("state")

    @property
    def why(self) -> list[Any]:
        """Why the scheduler started it."""
        return self.objects("why")
