"""What becomes of jobs: the states they end in, and a row for each time one was put on the machine."""

from __future__ import annotations

from array import array

from hpcsim.workload.job import OUTCOMES

# What has become of a job; the first three are how its program ended (OUTCOMES).
STATES = (*OUTCOMES, "killed", "node_failed", "rejected", "preempted", "running", "not yet submitted")
KILLED, NODE_FAILED, REJECTED, PREEMPTED, RUNNING, FUTURE = range(len(OUTCOMES), len(STATES))


class Attempts:
    """One row for each time a job was put on the machine, as growing columns."""

    __slots__ = ("end", "job", "start", "state", "taken", "why")

    def __init__(self) -> None:
        self.job = array("q")
        self.taken = array("q")  # from when on its nodes were its own
        self.start = array("q")
        self.end = array("q")  # -1 while it runs
        self.state = array("b")  # an index into STATES
        self.why: list[str] = []

    def __len__(self) -> int:
        return len(self.job)

    def begin(self, job_id: int, taken: int, start: int, why: str) -> int:
        """Add a row; its number is returned."""
        row = len(self.why)
        self.job.append(job_id)
        self.taken.append(taken)
        self.start.append(start)
        self.end.append(-1)
        self.state.append(RUNNING)
        self.why.append(why)
        return row
