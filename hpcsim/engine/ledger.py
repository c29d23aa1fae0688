"""Every node-second and every job-second booked once."""

from __future__ import annotations


class Ledger:
    """Integrates the number of busy nodes over time, and how long jobs stay, from submission to end.

    It is told of each change when it happens, so it is a second set of books beside the attempts: the sum of
    nodes times duration over all attempts must come to the same, and so must how long the tables say that jobs
    stay (``--check``).
    """

    __slots__ = ("_jobs_s", "_since", "busy_node_seconds", "busy_nodes", "jobs")

    def __init__(self, now: int) -> None:
        self.busy_nodes: int = 0
        self.busy_node_seconds: int = 0
        self.jobs: int = 0  # submitted, and neither ended nor rejected
        self._since = now
        self._jobs_s = 0  # the seconds at which jobs left, less those at which they came

    def change(self, now: int, nodes: int) -> None:
        """``nodes`` more (or, negative, fewer) are busy from ``now`` on."""
        self.busy_node_seconds += self.busy_nodes * (now - self._since)
        self._since = now
        self.busy_nodes += nodes

    def came(self, now: int) -> None:
        """A job has been submitted, or was on the machine at the first second."""
        self.jobs += 1
        self._jobs_s -= now

    def left(self, now: int) -> None:
        """A job has ended for good, or was rejected."""
        self.jobs -= 1
        self._jobs_s += now

    def job_seconds(self, now: int) -> int:
        """How long all jobs have stayed up to ``now``, together."""
        return self._jobs_s + self.jobs * now

    def settle(self, now: int) -> None:
        """Book everything up to ``now``."""
        self.change(now, 0)
