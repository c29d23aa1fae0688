"""What jobs demand of several resources of the machine, and what a pass has left of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Job, Room, View, taken_at

Floats = npt.NDArray[np.float64]

_SLACK = 1e-9  # of a capacity: sums of watts are rounded


class Load:
    """The resources of one pass: ``capacity_R`` of the machine, and what may still be given away: ``left_w``, ``room``.

    ``resources`` are those that are packed, of nodes, memory, gpus and power; those that the machine does not have are
    left out. Power is what jobs draw above idle nodes, at the wall: available is what the machine draws less than it
    may, at most its cap; without a cap as much as all nodes can draw.
    """

    def __init__(self, view: View, room: Room, resources: Sequence[str]) -> None:
        self.room = room
        self.left_w, self.is_capped = inf, False
        self._view = view
        self._node = node = view.node
        self._idle_w = self._cpu_w = self._gpu_w = 0.0
        capacity: dict[str, float] = {"nodes": view.nodes}
        if node is not None:
            capacity |= {"memory": view.nodes * node.memory_gib, "gpus": view.nodes * node.gpus}
            if "power" in resources:
                capacity["power"] = self._look_at_power(view)
        names = [name for name in resources if capacity.get(name, 0.0) > 0.0] or ["nodes"]
        self._names = names
        self._power_w = capacity.get("power", 0.0) if "power" in names else 0.0
        self.capacity_R = np.array([capacity[name] for name in names], np.float64)

    def _look_at_power(self, view: View) -> float:
        power = view.power
        node, nodes = power.node, view.nodes
        idle_w = nodes * node.idle_w + node.fixed_w
        most_w = nodes * (node.cpu_dyn_w + node.gpu_dyn_w)
        capacity_w = min(most_w, power.cap_w / (1.0 + power.overhead) - idle_w)
        if capacity_w <= 0.0:
            return 0.0  # idle nodes alone exceed the cap: no choice of jobs keeps it
        self._idle_w, self._cpu_w, self._gpu_w = node.idle_w, node.cpu_dyn_w, node.gpu_dyn_w
        self.is_capped = power.cap_w < inf
        unused_w = most_w - max(0.0, power.it_w - idle_w)
        self.left_w = min(max(0.0, min(unused_w, power.headroom_w)), capacity_w) + _SLACK * capacity_w
        return capacity_w

    @property
    def drawn_w(self) -> float:
        """What the running jobs draw above idle, of what they may."""
        return max(0.0, self._power_w - self.left_w)

    def runtime_s(self, jobs: Sequence[Job]) -> Floats:
        """Seconds that each of J jobs is believed to run: what a twin says, else as long as it may."""
        twins = self._view.twins
        if "performance" in twins:
            return twins.performance(jobs).mean
        return np.array([float(job.walltime) for job in jobs])

    def watts(self, jobs: Sequence[Job]) -> Floats:
        """What each of J jobs is believed to draw above idle nodes; 0 where power is not packed."""
        if not self._power_w:
            return np.zeros(len(jobs))
        peak_J = np.array([job.nodes * (self._cpu_w + self._gpu_w) for job in jobs])
        nodes_J = np.array([float(job.nodes) for job in jobs])
        node = self._node
        if self.room.shared is not None and node is not None:
            for at, job in enumerate(jobs):
                if job.cores:
                    nodes_J[at] = job.cores / node.cores
                    peak_J[at] = nodes_J[at] * self._cpu_w + job.gpus / max(1, node.gpus) * self._gpu_w
        twins = self._view.twins
        if "energy" in twins:
            mean_J = twins.energy(jobs).mean / np.maximum(1.0, self.runtime_s(jobs))
            peak_J = np.clip(mean_J - nodes_J * self._idle_w, 0.0, peak_J)
        watts_J: Floats = np.minimum(peak_J, self._power_w)  # or a large job could never start
        return watts_J

    def demand(self, jobs: Sequence[Job], watts_J: Floats) -> Floats:
        """What each of J jobs demands of R resources."""
        node = self._node
        nodes_J = np.array([float(job.nodes) for job in jobs])
        columns = {"nodes": nodes_J, "power": watts_J}
        if node is not None:
            columns |= {"memory": nodes_J * node.memory_gib, "gpus": nodes_J * node.gpus}
            if self.room.shared is not None:
                for at, job in enumerate(jobs):
                    if job.cores:
                        nodes_J[at] = job.cores / node.cores
                        columns["memory"][at], columns["gpus"][at] = job.memory_gib, job.gpus
        return np.column_stack([columns[name] for name in self._names])

    def available(self) -> Floats:
        """What is left of R resources."""
        node, free = self._node, float(self.room.free)
        left = {"nodes": free, "power": self.left_w}
        if node is not None:
            left |= {"memory": free * node.memory_gib, "gpus": free * node.gpus}
            if self.room.shared is not None:
                cores, gpus, memory_gib = self.room.shared.spare
                left["nodes"] += cores / node.cores
                left["gpus"] += gpus
                left["memory"] += memory_gib
        return np.array([left[name] for name in self._names])

    def take(self, job: Job, watts: float | None = None) -> bool:
        """Whether ``job``, which draws so many ``watts``, can start now; if so, its nodes and its watts are taken."""
        if watts is None:
            watts = float(self.watts([job])[0])
        if watts > self.left_w or not self.room.take(job):
            return False
        self.left_w -= watts
        return True


class Guard:
    """What the blocked ``head`` of the queue counts on: others end by its ``shadow``, or leave enough for it then."""

    def __init__(self, view: View, load: Load, head: Job) -> None:
        self.head = head
        self._room = load.room
        self._shadow, self._extra = view.shadow(head, load.room)
        self._extra_w = inf
        if load.is_capped:
            self._wait_for_watts(view, load)
        self._longest = self._shadow - view.now - view.launch_latency

    def _wait_for_watts(self, view: View, load: Load) -> None:
        """Move the shadow to when enough watts come back as well, if all running jobs draw as much on a node."""
        wanted_w = float(load.watts([self.head])[0])
        running = sorted(view.running.values(), key=lambda each: each.expected_end)
        a_node_w = load.drawn_w / max(1, sum(each.job.nodes for each in running))
        left_w = load.left_w
        for each in running:
            if left_w >= wanted_w and each.expected_end > self._shadow:
                break
            left_w += each.job.nodes * a_node_w
            if left_w >= wanted_w:
                self._shadow = max(self._shadow, each.expected_end)
        self._extra_w = max(0.0, left_w - wanted_w)

    def lets(
        self, nodes_J: npt.NDArray[np.int64], walltime_J: npt.NDArray[np.int64], other_J: npt.NDArray[np.bool_],
        watts_J: Floats,
    ) -> npt.NDArray[np.bool_]:  # fmt: skip
        """Which of J jobs would not delay the head; of ``other_J``, for which nodes are not all, this is not known."""
        return (walltime_J <= self._longest) | ((other_J | (nodes_J <= self._extra)) & (watts_J <= self._extra_w))

    def takes(self, job: Job) -> int:
        """How many of the nodes that the head counts on ``job`` would have at the shadow."""
        return 0 if job.walltime <= self._longest else taken_at(self._shadow, self._room, self.head, job)

    def leaves(self, nodes: int) -> bool:
        """Whether the head can do without so many of them."""
        return nodes <= self._extra

    def started(self, job: Job, nodes: int, watts: float) -> None:
        """A job that takes so many of them, and draws so many watts, starts."""
        if job.walltime > self._longest:
            self._extra -= nodes
            self._extra_w -= watts
