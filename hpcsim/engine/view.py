"""What a scheduler sees: the machine and the queue as they are now, read-only and valid during one pass."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, cast

from hpcsim.engine.attempts import REJECTED
from hpcsim.engine.availability import Profile, Releases, Shadow
from hpcsim.engine.by_queue import ProfileByQueue, RoomByQueue
from hpcsim.engine.operations import Node, Power, Signal, power_of, published
from hpcsim.engine.room import Room, RoomOnSite
from hpcsim.engine.torus_room import RoomOnTorus
from hpcsim.engine.twins import Twins
from hpcsim.engine.waiting import place
from hpcsim.errors import InputError
from hpcsim.machine.node_classes import NodeClass
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from array import array
    from collections.abc import Collection, Iterable, Sequence

    import numpy as np
    import numpy.typing as npt

    from hpcsim.engine.awake import AwakeView
    from hpcsim.engine.class_room import RoomByClass
    from hpcsim.engine.decisions import Decision
    from hpcsim.engine.placing import Placing
    from hpcsim.engine.scheduler import Scheduler
    from hpcsim.engine.sharing import RoomToShare
    from hpcsim.engine.simulation import Simulation
    from hpcsim.engine.site import Site
    from hpcsim.engine.what_if import Outlook
    from hpcsim.machine.node_classes import NodeClasses
    from hpcsim.machine.spec import MachineSpec


class Running(NamedTuple):
    """A job on the machine. ``expected_end`` is its start plus its walltime: when it really ends is not known."""

    job: Job
    start: int
    expected_end: int

    def __deepcopy__(self, memo: object) -> Running:
        return self  # nothing in it can change


class Blocked(NamedTuple):
    """A job that waits for the ends of others before it may start: ``waits_for`` are the ids of those still to end."""

    job: Job
    waits_for: tuple[int, ...]


class View:
    """The state of the simulation at the instant of a scheduling pass.

    Everything is computed when it is asked for. A view is valid only until ``schedule`` has yielded its last
    decision; nothing that is decided during a pass shows in it. What a scenario does not model raises InputError
    when it is asked for.
    """

    __slots__ = ("_simulation",)

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    @property
    def now(self) -> int:
        """Simulated time, seconds since the trace's zero."""
        return self._simulation.now

    @property
    def utc_s(self) -> int:
        """Unix time of now, seconds."""
        return self._simulation.workload.t0_utc + self._simulation.now

    @property
    def nodes(self) -> int:
        """Nodes of the whole machine."""
        return self._simulation.nodes

    @property
    def up_nodes(self) -> int:
        """Nodes that are not out of service."""
        site = self._simulation.site
        return self._simulation.nodes if site is None else self._simulation.nodes - site.cluster.meter.nodes_in["down"]

    @property
    def free_nodes(self) -> int:
        """Nodes on which any job could start now; those that are exclusive to a queue are not among them."""
        return self._simulation.free_nodes

    @property
    def queue(self) -> Sequence[Job]:
        """The jobs that may start, in the order of submission."""
        return self._simulation.queue.jobs

    def queue_within(self, nodes: int, walltime: int, any_nodes: int = 0) -> list[Job]:
        """Those of the queue, in its order, that ask for at most ``nodes`` nodes and at most ``walltime`` seconds.

        A job of at most ``any_nodes`` nodes may ask for any walltime. It takes no look at each job of a long queue.
        """
        return self._simulation.queue.within(nodes, walltime, any_nodes)

    @property
    def dependent(self) -> Collection[Job]:
        """The jobs that wait for others to end, which they name in ``after``: those that arrived first come first."""
        return self._simulation.dependencies.blocked.values()

    @property
    def urgent(self) -> Collection[Job]:
        """Those of the queue that may stop other jobs for themselves, in the order of submission; mostly none."""
        sim = self._simulation
        if sim.centre is None or not sim.special:
            return ()
        urgent = [job for job in sim.special.values() if job.queue in sim.centre.stops]
        return sorted(urgent, key=place)

    def preemptable(self, job: Job) -> bool:
        """Whether the running ``job`` may be stopped at any time for jobs of other queues."""
        sim = self._simulation
        return sim.centre is not None and job.id in sim.running and sim.centre.preemptable(sim.running[job.id].job)

    def priority(self, job: Job) -> str:
        """How the centre ranks the waiting ``job`` by its queue: ``production``, ``debug``, ``backfill`` or ``fifo``.

        Every job is of ``production`` where the scenario has no queue rules.
        """
        centre = self._simulation.centre
        return "production" if centre is None else centre.admission.queue_of(job).priority

    @property
    def blocked(self) -> list[Blocked]:
        """The submitted jobs that may not start before others have ended, in the order of submission; mostly none."""
        sim = self._simulation
        return [Blocked(job, tuple(i for i in job.after or () if sim.state[i] > REJECTED)) for job in sim.blocked]

    @property
    def node(self) -> Node | None:
        """What one node has; None on a machine that only counts nodes."""
        site = self._simulation.site
        if site is None:
            return None
        spec = site.cluster.spec
        return Node(spec.cores_per_node, spec.gpus_per_node, spec.memory_gib)

    @property
    def unit_nodes(self) -> int:
        """How many nodes are allocated together: 512 on Blue Gene/Q, else 1."""
        site = self._simulation.site
        return 1 if site is None else site.cluster.spec.unit_nodes

    def peak_w(self, job: Job) -> float:
        """The most watts that ``job`` can draw above its idle nodes, at the wall: what it will draw is not known."""
        spec = self._site("peak_w").cluster.spec
        power = spec.power
        if not job.cores:
            return job.nodes * (power.cpu_dyn_w + power.gpu_dyn_w)
        gpu_share = job.gpus / spec.gpus_per_node if spec.gpus_per_node else 0.0
        return job.cores / spec.cores_per_node * power.cpu_dyn_w + gpu_share * power.gpu_dyn_w

    @property
    def running(self) -> Mapping[int, Running]:
        """The running jobs by job id, in the order of their starts."""
        return MappingProxyType(self._simulation.running)

    @property
    def node_classes(self) -> tuple[NodeClass, ...]:
        """The machine's node classes, the fastest first; one of all nodes where it has none."""
        classes = self._classes
        return (NodeClass("all", self.nodes, 1.0),) if classes is None else classes.classes

    def transfer_s(self, size: int) -> int:
        """The seconds that ``size`` bytes take from one node class to another; 0 where all nodes are of one."""
        return 0 if self._classes is None else self._classes.transfer_s(size)

    def ready_s(self, job: Job, node_class: NodeClass) -> int:
        """When all is in ``node_class`` that ``job`` reads from jobs that have started, by their expected ends.

        That is now at the earliest; what jobs will write that have not started is left out.
        """
        sim, classes = self._simulation, self._classes
        ready_s = sim.now
        if job.after is None:
            return ready_s
        wanted_in = () if classes is None else (classes.index(node_class),)
        for i, size in zip(job.after, job.after_bytes or (0,) * len(job.after), strict=True):
            if i in sim.running:
                end = max(sim.running[i].expected_end, sim.now + 1)
                if classes is not None and sim.site is not None:
                    end = classes.there_s(end, size, classes.among(sim.site.cluster.executions[i].units), wanted_in)
                ready_s = max(ready_s, end)
        return ready_s if classes is None else max(ready_s, classes.ready_s(job, wanted_in))

    @property
    def _classes(self) -> NodeClasses | None:
        site = self._simulation.site
        return None if site is None else site.cluster.classes

    @property
    def launch_latency(self) -> int:
        """Seconds from the decision to start a job until it runs; its nodes are taken at once."""
        return self._simulation.launch_latency

    @property
    def rng(self) -> np.random.Generator:
        """The scheduler's own random stream, from the scenario's seed."""
        return self._simulation.scheduler_rng

    def recorded_start(self, job: Job) -> int | None:
        """The second at which the trace says that ``job`` was started; None where it says nothing.

        At the time nobody could know: PermissionError for all but a scheduler that ``needs`` clairvoyance.
        """
        start = self._record()[job.id]
        return start if start >= 0 else None

    def recorded_place_is_taken(self, job: Job, room: Room) -> bool:
        """Whether ``job`` could not have the place that it really had, after what ``room`` has given away.

        False where the trace names no place, or the machine's placement does not follow the trace. Needs
        clairvoyance as ``recorded_start`` does.
        """
        self._record()
        return isinstance(room, RoomOnTorus) and room.recorded_place_is_taken(job)

    def _record(self) -> array[int]:
        starts = self._simulation.recorded_start_s
        if starts is None:
            raise PermissionError('what the trace recorded is for schedulers that declare needs = {"clairvoyance"}')
        return starts

    @property
    def twins(self) -> Twins:
        """The digital twins that the scenario names, to ask how long jobs would run and the like."""
        return Twins(self._simulation.twins, self)

    def what_if(self, decisions: Iterable[Decision], horizon: int, then: Scheduler | None = None) -> Outlook:
        """What would come of these decisions within ``horizon`` seconds, as far as anybody can know.

        They are carried out, and then another scheduler goes on: ``then`` (a copy of it, which may be the caller
        itself), or else the rule of ``easy``. Nothing of it happens to this simulation. How long jobs run is what the
        performance twin predicts, hardware fails by a stream of random numbers that is drawn anew each time, and nobody
        submits any more (``hpcsim.engine.what_if`` has all of it); so an answer is one that may come true and not the
        one that will. Raises BadDecision for decisions that cannot be carried out, PermissionError inside an answer.
        """
        from hpcsim.engine.what_if import what_if  # for few runs

        return what_if(self._simulation, decisions, horizon, then)

    # -- the machine's places ------------------------------------------------------------------

    @property
    def machine(self) -> MachineSpec | None:
        """The published facts of the machine, units, racks and nodes among them; None where nodes are only counted."""
        site = self._simulation.site
        return None if site is None else site.cluster.spec

    def free_units(self, room: Room, queue: str | None = None) -> npt.NDArray[np.int64]:
        """The units that a job of whole nodes could have at the beginning of this pass, ascending.

        With a ``queue`` only those that are exclusive to it, else those that all jobs may have. Units of jobs that are
        stopped for others, by what ``room`` agreed to, are among them. A job whose queue has nodes of its own takes
        all that it can of these before it takes others.
        """
        return self._site("free_units").free_units(queue, room.stopped)

    @property
    def performance_class(self) -> npt.NDArray[np.int64]:
        """The class of each unit by a benchmark that all have run once: 0, the fastest fifth, to 4, the slowest.

        It tells what ``hpcsim.machine.variation`` says: about how fast a unit is, and not how fast it really is.
        """
        measured_U = self._site("performance_class").cluster.measured_U
        if measured_U is None:
            raise InputError("view.performance_class: all nodes are alike here; set physics.variation to true")
        return measured_U

    @property
    def maintenance(self) -> tuple[int, int] | None:
        """From when to when the next scheduled maintenance is, in which no job runs; None if none is announced."""
        site = self._simulation.site
        return None if site is None else site.cluster.service.maintenance

    # -- what the machine shows its operators, where the scenario has physics -----------------

    @property
    def power(self) -> Power:
        """What machine and facility draw, what they may draw, and the levers on it."""
        return power_of(self._site("power"), self._simulation.now)

    @property
    def asleep_nodes(self) -> int:
        """Nodes that are asleep and can be woken; those on the way there or back are in neither count."""
        return self._site("asleep_nodes").cluster.meter.nodes_in["asleep"]

    @property
    def down_nodes(self) -> int:
        """Nodes that are out of service."""
        return self._site("down_nodes").cluster.meter.nodes_in["down"]

    @property
    def node_c(self) -> npt.NDArray[np.float64]:
        """Temperature of the nodes of each unit, degrees Celsius; a copy that cannot be written to."""
        heat = self._site("node_c").cluster.heat
        if heat is None:
            raise InputError("view.node_c: this scenario models no heat; set physics.heat to true")
        node_c = heat.temperatures(self._simulation.now)[0].copy()
        node_c.setflags(write=False)
        return node_c

    @property
    def gpu_c(self) -> npt.NDArray[np.float64]:
        """Temperature of the hottest GPU of each unit, degrees Celsius; a copy that cannot be written to."""
        cluster = self._site("gpu_c").cluster
        if cluster.heat is None:
            raise InputError("view.gpu_c: this scenario models no heat; set physics.heat to true")
        gpu_c = cluster.heat.temperatures(self._simulation.now)[1]
        if gpu_c is None:
            raise InputError(f"view.gpu_c: {cluster.spec.name} has no GPUs; view.node_c has its nodes")
        gpu_c = gpu_c.copy()
        gpu_c.setflags(write=False)
        return gpu_c

    @property
    def carbon(self) -> Signal:
        """Carbon intensity of the grid, g/kWh, published a day ahead."""
        return published(self._site("carbon").facility.carbon, self._simulation.now)

    @property
    def price(self) -> Signal:
        """Price of the grid's energy, USD/MWh, published a day ahead."""
        return published(self._site("price").facility.price, self._simulation.now)

    @property
    def solar(self) -> Signal:
        """Watts of the site's solar plant; the forecast is a clear sky's, as far as the last day was clear."""
        plant, now = self._site("solar").facility.solar, self._simulation.now
        if plant is None:
            raise InputError("view.solar: this scenario has no solar plant; set physics.solar_kw")
        return Signal(float(plant.power.at(now)), lambda horizon_s: plant.forecast(now, horizon_s))

    def _site(self, wanted: str) -> Site:
        site = self._simulation.site
        if site is None:
            raise InputError(
                f"view.{wanted}: this scenario only counts nodes; give it machine.model and physics to have it"
            )
        return site

    # -- for levers: what would be, and places of choice ---------------------------------------

    def if_awake(self) -> AwakeView:
        """The view as it would be if no node slept."""
        from hpcsim.engine.awake import AwakeView  # which is a view

        self._site("if_awake")
        return AwakeView(self._simulation)

    def placing(self) -> Placing:
        """The free units, to choose from by another policy than the scenario's. Raises ValueError on a torus."""
        from hpcsim.engine.placing import Placing  # for few runs

        return Placing(self._site("placing"), self._simulation.now)

    # -- what fits ----------------------------------------------------------------------------

    def room(self) -> Room:
        """The nodes that are free now, to be given away in this pass."""
        sim = self._simulation
        site = sim.site
        if site is not None and site.cluster.classes is not None:
            from hpcsim.engine.class_room import RoomByClass  # for few runs

            room_by_class = RoomByClass(sim, site, site.cluster.classes)
            sim.chosen = room_by_class.chosen
            return room_by_class
        if sim.special:
            return RoomByQueue(sim)
        if sim.sharing is not None:
            from hpcsim.engine.sharing import RoomToShare  # for few runs

            return RoomToShare(sim, sim.sharing)
        if site is None or site.only_counts(sim.now + sim.launch_latency):
            return Room(sim.free_nodes)
        blocks = site.cluster.places.blocks
        if blocks is not None:
            torus_room = RoomOnTorus(sim, site, blocks)
            sim.chosen = torus_room.chosen
            return torus_room
        return RoomOnSite(site, sim.now + sim.launch_latency)

    def shadow(self, job: Job, room: Room, busy: int = 0) -> Shadow:
        """When the blocked ``job`` can start at the latest, after what ``room`` has given away in this pass.

        No running job is expected to end within the next ``busy`` seconds, as long as it may have run already.
        """
        sim = self._simulation
        if (room.special and isinstance(room, RoomByQueue)) or isinstance(room, RoomOnTorus):
            shadow = room.shadow(job, busy)
        elif room.shared is not None:
            ends = cast("RoomToShare | RoomByQueue", room).ends()
            shadow = Releases(ends).shadow(job.nodes, room.free, sim.now, busy=busy)
        else:
            shadow = sim.releases.shadow(job.nodes, room.free, sim.now, room.started, sim.launch_latency, busy)
        if sim.site is not None:
            closes, opens = sim.site.closed
            if closes < shadow.time + sim.launch_latency + job.walltime and shadow.time < opens:
                if isinstance(room, RoomOnTorus):
                    room.forget_shadow()
                return Shadow(opens, 0)  # it cannot end before the maintenance: it starts after it
        return shadow

    def profile(self, room: Room | None = None, node_class: NodeClass | None = None) -> Profile:
        """Free nodes from now on by expected ends, after what ``room`` has given away in this pass, if it is given.

        With ``node_class`` only those of one of the machine's node classes. It is the caller's own copy, to put
        reservations into.
        """
        sim = self._simulation
        if room is None:
            room = self.room()
        if node_class is not None and self._classes is not None:
            profile: Profile = cast("RoomByClass", room).profile(node_class)
        elif isinstance(room, RoomByQueue):
            profile = ProfileByQueue(sim.now, room)
        elif room.shared is not None:
            profile = Profile(sim.now, room.free, cast("RoomToShare", room).ends())
        else:
            profile = Profile(sim.now, sim.free_nodes, sim.releases)
            for job in room.started:
                profile.reserve(sim.now, sim.launch_latency + job.walltime, job.nodes)
        if sim.site is not None:
            profile.close(*sim.site.closed)
        return profile
