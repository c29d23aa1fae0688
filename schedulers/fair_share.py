"""Who has used how much of the machine: node-seconds by project or user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Literal

from hpcsim.plugin import Job, View


class FairShare:
    """Node-seconds that each group has used so far, and which groups are the furthest below an equal share.

    It has to be told of every pass, in which jobs start or have ended. ``fairness`` in [0, 1) is the share of the
    groups that is left out, those that have used the most; one is always left.
    """

    def __init__(self, group: Literal["project", "user"], fairness: float) -> None:
        self.used_node_s: dict[str, float] = {}
        self._by_user = group == "user"
        self._fairness = fairness
        self._held: list[tuple[str, float]] = []  # by the jobs that have been running since the last pass
        self._last = 0
        self._node_cores = 1

    def group(self, job: Job) -> str:
        """The user or the project of ``job``."""
        return job.user if self._by_user else job.project

    def charge(self, view: View) -> None:
        """Charge what has run since the last pass."""
        passed_s, self._last = view.now - self._last, view.now
        for group, nodes in self._held:
            self.used_node_s[group] = self.used_node_s.get(group, 0.0) + nodes * passed_s
        self._node_cores = 1 if view.node is None else view.node.cores
        self._held = [(self.group(job), self._nodes(job)) for job, _, _ in view.running.values()]

    def started(self, jobs: Iterable[Job]) -> None:
        """Jobs start in this pass."""
        self._held += [(self.group(job), self._nodes(job)) for job in jobs]

    def of_the_poorest(self, jobs: Sequence[Job], waiting: Iterable[Job]) -> Sequence[Job]:
        """Those of ``jobs`` whose group is one of the furthest below an equal share, of the groups of ``waiting`` jobs.

        Of groups that have used as much, the one whose job has waited longer comes first.
        """
        by_user = self._by_user
        groups = dict.fromkeys([job.user for job in waiting] if by_user else [job.project for job in waiting])
        count = ceil((1.0 - self._fairness) * len(groups) - 1e-9)
        if count == len(groups):
            return jobs
        poorest = set(sorted(groups, key=lambda group: self.used_node_s.get(group, 0.0))[:count])
        return [job for job in jobs if self.group(job) in poorest]

    def _nodes(self, job: Job) -> float:
        return job.cores / self._node_cores if job.cores else job.nodes
