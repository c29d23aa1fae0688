"""What a scheduler sees: the machine and the queue as they are now, read-only and valid during one pass."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from hpcsim.engine.availability import Profile, Shadow
from hpcsim.engine.by_queue import ProfileByQueue, RoomByQueue
from hpcsim.engine.room import Room, RoomOnSite
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np

    from hpcsim.engine.simulation import Simulation


class Running(NamedTuple):
    """A job on the machine. ``expected_end`` is its start plus its walltime: when it really ends is not known."""

    job: Job
    start: int
    expected_end: int

    def __deepcopy__(self, memo: object) -> Running:
        return self  # nothing in it can change


class View:
    """The state of the simulation at the instant of a scheduling pass.

    Everything is computed when it is asked for. A view is valid only until ``schedule`` has yielded its last
    decision; nothing that is decided during a pass shows in it.
    """

    __slots__ = ("_simulation",)

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    @property
    def now(self) -> int:
        """Simulated time, seconds since the trace's zero."""
        return self._simulation.now

    @property
    def nodes(self) -> int:
        """Nodes of the whole machine."""
        return self._simulation.nodes

    @property
    def free_nodes(self) -> int:
        """Nodes on which any job could start now; those that are exclusive to a queue are not among them."""
        return self._simulation.free_nodes

    @property
    def queue(self) -> Collection[Job]:
        """The jobs that may start, in the order of submission."""
        return self._simulation.queue.values()

    @property
    def urgent(self) -> Collection[Job]:
        """Those of the queue that may stop other jobs for themselves, in the order of submission; mostly none."""
        sim = self._simulation
        if sim.centre is None or not sim.special:
            return ()
        urgent = [job for job in sim.special.values() if job.queue in sim.centre.stops]
        return sorted(urgent, key=lambda job: job.id)

    def preemptable(self, job: Job) -> bool:
        """Whether the running ``job`` may be stopped at any time for jobs of other queues."""
        sim = self._simulation
        return sim.centre is not None and job.id in sim.running and sim.centre.preemptable(sim.running[job.id].job)

    @property
    def running(self) -> Mapping[int, Running]:
        """The running jobs by job id, in the order of their starts."""
        return MappingProxyType(self._simulation.running)

    @property
    def launch_latency(self) -> int:
        """Seconds from the decision to start a job until it runs; its nodes are taken at once."""
        return self._simulation.launch_latency

    @property
    def rng(self) -> np.random.Generator:
        """The scheduler's own random stream, from the scenario's seed."""
        return self._simulation.scheduler_rng

    def room(self) -> Room:
        """The nodes that are free now, to be given away in this pass."""
        sim = self._simulation
        if sim.special:
            return RoomByQueue(sim)
        if sim.site is None:
            return Room(sim.free_nodes)
        return RoomOnSite(sim.site, sim.now + sim.launch_latency)

    def shadow(self, job: Job, room: Room) -> Shadow:
        """When the blocked ``job`` can start at the latest, after what ``room`` has given away in this pass."""
        sim = self._simulation
        if room.special and isinstance(room, RoomByQueue):
            shadow = room.shadow(job)
        else:
            shadow = sim.releases.shadow(job.nodes, room.free, sim.now, room.started, sim.launch_latency)
        if sim.site is not None:
            closes, opens = sim.site.closed
            if closes < shadow.time + sim.launch_latency + job.walltime and shadow.time < opens:
                return Shadow(opens, 0)  # it cannot end before the maintenance: it starts after it
        return shadow

    def profile(self, room: Room | None = None) -> Profile:
        """Free nodes from now on by expected ends, after what ``room`` has given away in this pass, if it is given.

        It is the caller's own copy, to put reservations into.
        """
        sim = self._simulation
        if room is None:
            room = self.room()
        if isinstance(room, RoomByQueue):
            profile: Profile = ProfileByQueue(sim.now, room)
        else:
            profile = Profile(sim.now, sim.free_nodes, sim.releases)
            for job in room.started:
                profile.reserve(sim.now, sim.launch_latency + job.walltime, job.nodes)
        if sim.site is not None:
            profile.close(*sim.site.closed)
        return profile
