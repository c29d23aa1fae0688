"""What a Cluster does to a Simulation: it carries starts and ends to the machine, and its physics back to the jobs."""

from __future__ import annotations

import copy
from array import array
from collections import deque
from collections.abc import Collection, Mapping
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hpcsim.engine.decisions import Decision, SetCap, SetCooling, SetSpeed, Sleep, Wake
from hpcsim.engine.lifecycle import fail, retime
from hpcsim.engine.sampling import Sampling, telling
from hpcsim.engine.sharing import holder_of
from hpcsim.machine.checkpoint import Checkpointing
from hpcsim.machine.cluster import Cluster, Units
from hpcsim.machine.execution import Execution
from hpcsim.machine.facility import Facility
from hpcsim.machine.failures import FailureProcess
from hpcsim.machine.history import PAGE, History
from hpcsim.machine.places import FREE, Places
from hpcsim.machine.pools import NodePools
from hpcsim.machine.queue_rules import Pool
from hpcsim.machine.recorded import RecordedPlaces
from hpcsim.machine.service import Effects
from hpcsim.machine.telemetry import Telemetry, Watch, WatchedHeat
from hpcsim.seconds import NEVER
from hpcsim.workload.job import Job, Workload

if TYPE_CHECKING:
    from hpcsim.engine.observers import Observers
    from hpcsim.engine.simulation import Simulation

ASLEEP = -(2**62)  # holds, in the books of expected ends, nodes that sleep or wake


class Site:
    """The cluster of a simulation, with what the scenario says about failed jobs.

    ``requeues``: a job that loses a node goes back into the queue, with the work that its last checkpoint
    (``checkpointing``) saved; else it is lost. ``facility`` is what stands around the machine; by default a plant in
    its first mode, without a cap. With ``recorded`` a job gets the place that it really had, if that is free and its
    scheduler names none. For each attempt (its row in ``Attempts``) the site keeps the units, the joules, the
    node-seconds under the thermal throttle and those of work that were lost. ``telemetry`` is sampled while the
    simulation runs, and so are ``sensors``, for the twin of the simulation that answers the question.
    """

    def __init__(
        self,
        cluster: Cluster,
        workload: Workload,
        *,
        overrun: str,
        requeues: bool,
        checkpointing: Checkpointing | None,
        facility: Facility | None = None,
        telemetry: Telemetry | None = None,
        sensors: Mapping[str, Telemetry] = MappingProxyType({}),
        recorded: RecordedPlaces | None = None,
    ) -> None:
        self.cluster = cluster
        self.facility: Facility = Facility(cluster.spec, workload.t0_utc) if facility is None else facility
        self.telemetry = telemetry
        self.sensors: dict[str, Telemetry] = dict(sensors)
        self.recorded = recorded
        self._wakes_on: Collection[str] = ()
        self._asleep_nodes = 0
        self._waking: deque[tuple[int, int]] = deque()  # when so many nodes are awake again
        self._outside_s = NEVER  # when something around the machine next changes that matters
        self.requeues = requeues
        self.checkpointing = checkpointing
        walltime, work = workload.column("walltime_s"), workload.column("runtime_s")
        self._limit_s = array("q", (walltime if overrun == "kill" else walltime * 11 // 10).tobytes())
        self._longest_s = int(walltime.max(initial=0))
        self._work_s = array("q", work.tobytes())  # without checkpoints
        elapsed = work if checkpointing is None else checkpointing.elapsed_for(work)
        self._elapsed_s = array("q", elapsed.tobytes())  # of a job that begins anew, with its checkpoints
        self._outcome = workload.column("outcome").tobytes()
        self._saved: dict[int, int] = {}  # job -> seconds of work that its checkpoints keep
        self._out: dict[int, tuple[int, int, Units]] = {}  # interrupt -> (expected repair, general nodes, units)
        self.pools: NodePools | None = None  # where the queue rules have any: then not all nodes are general
        self._books = History(units="O", joules="d", throttled_node_s="q", lost_node_s="q")

    def attach(self, simulation: Simulation) -> None:
        """Let it act on ``simulation``, which has just begun or been forked."""
        self._simulation = simulation
        simulation.free_nodes = self.free_nodes
        if "speed" in simulation.needs:
            self._longest_s = NEVER  # a slow job lasts longer than its walltime
        for question, each in self.sensors.items():
            each.take = telling(simulation, simulation.twins[question])
        self._sample()

    def _sample(self) -> None:
        """Have all sensors read from now on."""
        watched = [*(() if self.telemetry is None else (self.telemetry,)), *self.sensors.values()]
        if watched:
            Sampling(self._simulation, watched)

    def go_on(self) -> None:
        """Go on after the state was replaced: only twins are told what sensors read, for they decide what happens."""
        self.telemetry = None
        if isinstance(self.cluster.heat, WatchedHeat):
            self.cluster.heat.sensed = []
        for each in self.sensors.values():
            each.stay_told()
        self._sample()

    def sense_as(self, other: Site) -> None:
        """Have the twins of its simulation, which was forked from that of ``other``, told as those of that one."""
        watches: dict[int, Watch] = {}
        for question, each in other.sensors.items():
            twin = self._simulation.twins[question]
            self.sensors[question] = each.on_copy(self.cluster, telling(self._simulation, twin), watches)
        self._sample()

    def wake_on(self, signals: Collection[str]) -> None:
        """Ask for a scheduling pass whenever one of these changes: what ``Facility.next_change_s`` knows."""
        self._wakes_on = signals
        self._look_outside(self._simulation.now)

    def __deepcopy__(self, memo: dict[int, object]) -> Site:
        """A copy that belongs to no simulation until it is attached to one; what never changes is shared.

        It has no telemetry, and no sensors until ``sense_as``: readings are of what happens and not of what might.
        """
        twin = copy.copy(self)
        for name in ("cluster", "facility", "recorded", "pools", "_books"):
            setattr(twin, name, copy.deepcopy(getattr(self, name), memo))
        for name in ("_waking", "_saved", "_out"):
            setattr(twin, name, getattr(self, name).copy())
        twin.telemetry = None
        twin.sensors = {}
        return twin

    def believe(self, now: int, runtime_s: Mapping[int, int], failures_seed: int, beta: float) -> None:
        """Go on by what can be known: a job that has not ended runs for ``runtime_s`` in all, at full speed.

        Hardware fails, if it does, by a stream of its own. Jobs that have not begun are believed to draw what those
        that ended last drew on average; before any has ended, half of what they could draw at the most. For the rest
        see ``Cluster.believe``.
        """
        self._work_s, self._elapsed_s = self._work_s[:], self._elapsed_s[:]
        checkpointing = self.checkpointing
        for job_id, seconds in runtime_s.items():
            work_s = seconds if checkpointing is None else max(1, checkpointing.work_done(seconds))
            self._work_s[job_id], self._elapsed_s[job_id] = work_s, seconds
        self._saved.clear()
        running = self._simulation.running
        left_s = {
            job_id: float(runtime_s[job_id] - max(0, self.cluster.at_speed_1(job_id, now - start)))
            for job_id, (_, start, _) in running.items()
        }
        back_s = {number: max(expected, now + 1) for number, (expected, _, _) in self._out.items()}
        spec, failures = self.cluster.spec, self.cluster.service.failures
        if failures is not None:
            shape = {"units": spec.units, "units_per_rack": spec.units_per_rack}
            failures = FailureProcess(spec.failures, **shape, seed=failures_seed, start=now)
        self.cluster.believe(now, left_s, back_s, failures, self._usual_dynamic_w(), beta)

    def _usual_dynamic_w(self) -> float:
        """Watts above idle on one node of the attempts that ended last."""
        attempts, power = self._simulation.attempts, self.cluster.spec.power
        first = max(0, len(attempts) - PAGE)
        taken, end, joules = (attempts.column("taken", first), attempts.column("end", first),
                              self._books.column("joules", first))  # fmt: skip
        nodes = np.array([units.size for units in self._books.objects("units", first)]) * self.cluster.spec.unit_nodes
        if self.cluster.shares is not None:
            nodes = nodes * self.cluster.shares.largest_J[attempts.column("job", first)]
        node_s = float((nodes * (end - taken))[end >= 0].sum())
        if not node_s:
            return 0.5 * (power.cpu_dyn_w + power.gpu_dyn_w)
        return max(0.0, float(joules[end >= 0].sum()) / node_s - power.idle_w)

    @property
    def free_nodes(self) -> int:
        """Nodes on which any job could start now."""
        return self.cluster.places.free_nodes

    @property
    def sleeping_nodes(self) -> int:
        """Nodes that were sent to sleep, and that nobody has woken and no outage has taken."""
        return self._asleep_nodes

    @property
    def waking_nodes(self) -> int:
        """Nodes that have been woken and are not there yet."""
        return sum(nodes for _, nodes in self._waking)

    @property
    def next_s(self) -> int:
        """The second at which the machine next does something by itself, or what is around it changes."""
        at = self.cluster.next_s
        return at if at < self._outside_s else self._outside_s

    @property
    def changes(self) -> bool:
        """Whether the machine will by itself become able to run what it cannot run now."""
        return self.cluster.service.recovers or self.cluster.service.maintenance is not None or bool(self._wakes_on)

    def only_counts(self, start_s: int) -> bool:
        """Whether any job that starts at ``start_s`` needs nothing but enough free nodes."""
        cluster = self.cluster
        maintenance = cluster.service.maintenance
        return cluster.places.blocks is None and (maintenance is None or start_s + self._longest_s <= maintenance[0])

    @property
    def torus(self) -> Places | None:
        """The places, where a job needs a free block of them and not just enough free nodes."""
        return self.cluster.places if self.cluster.places.blocks is not None else None

    @property
    def closed(self) -> tuple[int, int]:
        """From when to when the next scheduled maintenance is; (0, 0) if none is known."""
        return self.cluster.service.maintenance or (0, 0)

    @property
    def closes_s(self) -> int:
        """When the next scheduled maintenance begins, by when all jobs must have ended; -1 if none is known."""
        maintenance = self.cluster.service.maintenance
        return -1 if maintenance is None else maintenance[0]

    @property
    def largest_job(self) -> int:
        """Nodes of the largest job that has a place on the machine while it is empty."""
        spec = self.cluster.spec
        return (spec.units if spec.block_units is None else max(spec.block_units)) * spec.unit_nodes

    def free_units(self, queue: str | None, stopped: Collection[int]) -> Units:
        """The units that a job could have once ``stopped`` jobs are: general ones, or those exclusive to a queue."""
        places = self.cluster.places
        free_U = (places.holder_U == FREE) & places.up_U & ~places.asleep_U
        if stopped:
            free_U |= np.isin(places.holder_U, list(stopped)) & places.up_U
        if self.pools is not None:
            free_U &= self.pools.belongs_U(queue)
        elif queue is not None:
            free_U[:] = False
        units: Units = np.flatnonzero(free_U)
        return units

    def fits(self, job: Job) -> bool:
        """Whether there is a place for ``job`` now."""
        shares = self.cluster.shares
        if shares is not None and job.cores and (shares.too_large(job) or shares.fits(job)):
            return not shares.too_large(job)
        return self.cluster.places.fits(job.nodes)

    # -- the books: a row for each attempt, as in ``Attempts``; each of these is a copy ---------

    @property
    def units(self) -> list[Units]:
        """The units that each attempt had."""
        return self._books.objects("units")

    @property
    def joules(self) -> npt.NDArray[np.float64]:
        """What its nodes drew, booked when it ended."""
        return self._books.column("joules")

    def joules_of(self, row: int) -> float:
        """The same of one attempt."""
        joules: float = self._books.row(row)[1]
        return joules

    @property
    def throttled_node_s(self) -> npt.NDArray[np.int64]:
        """Node-seconds under the thermal throttle."""
        return self._books.column("throttled_node_s")

    @property
    def lost_node_s(self) -> npt.NDArray[np.int64]:
        """Node-seconds of work that were lost."""
        return self._books.column("lost_node_s")

    # -- one job ------------------------------------------------------------------------------

    def begin(self, job: Job, start: int, taken: int, speed: float, wanted: tuple[int, ...] | None) -> tuple[int, int]:
        """Put ``job`` on the machine at ``taken``, to run from ``start`` (or to have run since, if that is earlier).

        Its end and its latest end by its limit are returned. Raises ValueError where it has no such place.
        """
        job_id = job.id
        work_s, limit_s = self.ahead_of(job_id)
        if start < taken:  # it has been running
            gone = taken - start
            work_s, limit_s, start = max(0, work_s - gone), max(0, limit_s - gone), taken
        units = None if wanted is None else np.array(wanted, np.int64)
        blocks = self.cluster.places.blocks
        if units is None and self.recorded is not None and blocks is not None:
            units = self.recorded.free(job_id, blocks)
        own = None
        if self.pools is not None and not job.cores:
            own, units = self.pools.choose(job, units)
        execution = self.cluster.begin(
            job,
            len(self._books),
            taken,
            start - taken,
            work_s,
            limit_s,
            self._limit_s[job_id] - job.walltime,
            speed,
            units,
            own,
        )
        if self.recorded is not None:
            self.recorded.count(job.id, execution.units)
        if self.pools is not None and not job.cores:
            self.pools.begin(job, execution.units, own)
        units_of, joules, throttled_node_s, lost_node_s = self._books.to_append()
        units_of.append(execution.units)
        joules.append(0.0)
        throttled_node_s.append(0)
        lost_node_s.append(0)
        if execution.shared is not None:
            self._retime_neighbours(beside=execution)
        self._hold_cap(taken, beside=execution)
        return execution.end, execution.expected_end

    def ahead_of(self, job_id: int) -> tuple[int, int]:
        """Seconds of work that a job has ahead of it if it starts now, and those that it may run."""
        work_s = self._left_s(job_id) if job_id in self._saved else self._elapsed_s[job_id]
        return work_s, self._limit_s[job_id]

    def _left_s(self, job_id: int) -> int:
        """Seconds that a job will take from its last checkpoint on, those for more checkpoints included."""
        work_s = self._work_s[job_id] - self._saved.get(job_id, 0)
        return work_s if self.checkpointing is None else self.checkpointing.elapsed_for(work_s)

    def how_it_ends(self, job_id: int, timeout: int) -> int:
        """The state in which the running job ends now by itself: ``timeout``, or how its program ends."""
        return timeout if self.cluster.executions[job_id].times_out else self._outcome[job_id]

    def end(self, job_id: int, *, work_is_lost: bool) -> float:
        """Take a job off the machine now; ``work_is_lost`` if it did not end by itself.

        Its slow seconds are returned: the integral of 1 - speed over the time that it ran.
        """
        execution, now = self.cluster.executions[job_id], self._simulation.now
        self.cluster.end(execution, now)
        if execution.shared is not None:
            execution.throttled_node_s = round(execution.share * execution.throttled_node_s)
            self._retime_neighbours()
            if self.pools is not None and not execution.shared.members:
                self.pools.end(holder_of(execution.shared.number), execution.units)
        elif self.pools is not None:
            self.pools.end(job_id, execution.units)
        (_, joules, throttled_node_s, _), at = self._books.to_change(execution.row)
        joules[at] = execution.joules
        throttled_node_s[at] = execution.throttled_node_s
        if work_is_lost:
            self._lose(execution)
        self._hold_cap(now)
        return execution.slow_s

    def _lose(self, execution: Execution) -> None:
        """Book what an attempt that did not come to its end has lost, and keep what its checkpoints saved."""
        job_id = execution.job_id
        if self.cluster.classes is not None:
            self.cluster.classes.forget(job_id)
        done = max(0, int(self._left_s(job_id) - execution.work_s))
        saved = 0 if self.checkpointing is None else self.checkpointing.saved(done)
        lost_s = execution.nodes * (done - saved)
        (*_, lost_node_s), at = self._books.to_change(execution.row)
        lost_node_s[at] = lost_s if execution.shared is None else round(execution.share * lost_s)
        if saved:
            self._saved[job_id] = self._saved.get(job_id, 0) + saved

    # -- the machine --------------------------------------------------------------------------

    def decide(self, decision: Decision) -> None:
        """Carry out a decision about the machine or a running job's clock. Raises ValueError if it cannot be."""
        now, cluster = self._simulation.now, self.cluster
        if isinstance(decision, SetSpeed):
            execution = cluster.executions.get(decision.job.id)
            if execution is None:
                raise ValueError(f"job {decision.job.name} is not running")
            cluster.set_speed(execution, decision.speed, now)
            self._retime(execution)
        elif isinstance(decision, Sleep):
            cluster.service.sleep(decision.nodes, now)
            self._expect_asleep(decision.nodes)
        elif isinstance(decision, Wake):
            cluster.service.wake(decision.nodes, now)
            self._expect_asleep(-decision.nodes)
            back = now + cluster.spec.power.wake_s, self._in_units(decision.nodes)
            self._waking.append(back)
            self._simulation.releases.add(back[0], ASLEEP, back[1])
        elif isinstance(decision, SetCap):
            self.facility.set_cap(decision.watts, now)
            self._look_outside(now)
        elif isinstance(decision, SetCooling):
            self.facility.set_cooling(decision.mode, now)
            if cluster.heat is not None:
                cluster.heat.set_supply(now, self.facility.supply_c(now))
        self._hold_cap(now)

    def happen(self) -> None:
        """Let happen what the machine does by itself now, or what the weather does to its cap."""
        now = self._simulation.now
        self.follow(self.cluster.happen(now))
        while self._waking and self._waking[0][0] <= now:
            due_s, nodes = self._waking.popleft()
            self._simulation.releases.remove(due_s, ASLEEP, nodes)
        if now >= self._outside_s:
            self._look_outside(now)
        self._hold_cap(now)

    def _expect_asleep(self, more: int) -> None:
        """Book that so many more nodes are asleep, or fewer: they do not come back by themselves."""
        releases, before = self._simulation.releases, self._asleep_nodes
        self._asleep_nodes = after = before + (self._in_units(more) if more > 0 else -self._in_units(-more))
        if before:
            releases.remove(NEVER, ASLEEP, before)
        if after:
            releases.add(NEVER, ASLEEP, after)

    def _sleep_no_more(self, due_s: int, nodes: int) -> None:
        """Book that an outage took nodes that slept, or were to be awake at ``due_s``."""
        if due_s == NEVER:
            self._expect_asleep(-nodes)
            return
        releases = self._simulation.releases
        coming = sum(each for at, each in self._waking if at == due_s)
        for at, each in self._waking:
            if at == due_s:
                releases.remove(at, ASLEEP, each)
        others = [each for each in self._waking if each[0] != due_s]
        if coming > nodes:
            releases.add(due_s, ASLEEP, coming - nodes)
            others.append((due_s, coming - nodes))
        self._waking = deque(sorted(others))

    def _in_units(self, nodes: int) -> int:
        """The nodes of so many whole units that have ``nodes``."""
        unit_nodes = self.cluster.spec.unit_nodes
        return -(-nodes // unit_nodes) * unit_nodes

    def _look_outside(self, now: int) -> None:
        """Note when something around the machine next changes that a cap or the scheduler has to follow."""
        signals = {*self._wakes_on, "supply"} if self.facility.cap_w < inf else self._wakes_on
        self._outside_s = min((self.facility.next_change_s(signal, now) for signal in signals), default=NEVER)

    def follow(self, effects: Effects) -> None:
        """Tell the jobs and the books of expected ends what has happened to the machine."""
        simulation = self._simulation
        if simulation.observers is not None:
            self._tell(effects, simulation.observers)
        for execution in effects.failed:
            fail(simulation, execution.job_id, comes_back=self.requeues)
        for due_s, nodes in effects.roused:
            self._sleep_no_more(due_s, nodes)
        for number, expected, units in effects.down:
            if number in self._out:
                self._expect_no_more(number)
            self._expect(number, expected, units)
        for number in effects.up:
            self._expect_no_more(number)
        for execution in effects.retimed:
            if execution.job_id in self.cluster.executions:  # else it lost a node in the same second
                self._retime(execution)

    def _tell(self, effects: Effects, observers: Observers) -> None:
        """Tell those who watch of the units that went away or came back."""
        now, interrupts = self._simulation.now, self.cluster.service.interrupts
        for number in effects.up:
            observers.tell("repaired", tuple(interrupts[number].units.tolist()), now)
        for number, _, units in effects.down:
            if number not in self._out:  # else they have been away and are only expected back later
                observers.tell("failed", tuple(units.tolist()), now, interrupts[number].cause)

    def _expect(self, number: int, expected: int, units: Units) -> None:
        """Book when the units that an interrupt took are expected back."""
        nodes = units.size * self.cluster.spec.unit_nodes
        if self.pools is not None:
            nodes = self.pools.note(-1 - number, units)
        self._out[number] = expected, nodes, units
        self._simulation.releases.add(expected, -1 - number, nodes)

    def back_s_U(self, now: int) -> Units:
        """When each unit that is out of service is expected back; a far second for all others."""
        back_s_U = np.full(self.cluster.spec.units, NEVER)
        for expected, _, units in self._out.values():
            back_s_U[units] = max(expected, now + 1)
        return back_s_U

    def _expect_no_more(self, number: int) -> None:
        expected, nodes, _ = self._out.pop(number)
        self._simulation.releases.remove(expected, -1 - number, nodes)
        if self.pools is not None:
            self.pools.forget(-1 - number)

    def move_pools(self, pools: Mapping[str, Pool]) -> None:
        """Let other node pools be in force, and correct the books of what comes back when."""
        simulation = self._simulation
        if self.pools is not None and self.pools.turn_to(pools):
            if simulation.sharing is not None:
                simulation.sharing.move(simulation)
            for job_id, (job, _, expected_end) in simulation.running.items():
                if job.cores:
                    continue
                simulation.releases.remove(expected_end, job_id, self.pools.coming_back(job_id, job.nodes))
                nodes = self.pools.note(job_id, self.cluster.executions[job_id].units)
                simulation.releases.add(expected_end, job_id, nodes)
            for number, (expected, _, units) in [*self._out.items()]:
                self._expect_no_more(number)
                self._expect(number, expected, units)
        simulation.free_nodes = self.free_nodes

    def _retime_neighbours(self, beside: Execution | None = None) -> None:
        """Tell the simulation of jobs whose pace has changed because somebody came to their node or left it."""
        shares = self.cluster.shares
        if shares is not None and shares.retimed:
            retimed, shares.retimed = shares.retimed, []
            for execution in retimed:
                if execution is not beside:
                    self._retime(execution)

    def _retime(self, execution: Execution) -> None:
        retime(self._simulation, execution.job_id, execution.end, execution.expected_end)

    def _hold_cap(self, now: int, beside: Execution | None = None) -> None:
        if self.facility.cap_w == inf and self.cluster.cap == 1.0:
            return
        for execution in self.cluster.hold_cap(now, self.facility.it_cap_w(now)):
            if execution is not beside:  # whose end is not known to the simulation yet
                self._retime(execution)
