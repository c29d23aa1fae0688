"""The machine as it is now: which units are free, what runs where and how fast, what it draws, how hot it is.

Nothing here ticks. Between events every power is constant; the cluster says at which second something will happen
by itself (``next_s``) and what follows from it (``happen``), and the engine carries on from there. Watts of jobs
are cut to 1/1024 W, so that their sums are exact in floating point and the ledger closes.
"""

from __future__ import annotations

import copy
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.machine.cooling import SUPPLY_STEP_S
from hpcsim.machine.execution import Execution
from hpcsim.machine.failures import FailureProcess
from hpcsim.machine.heat import Heat
from hpcsim.machine.history import History
from hpcsim.machine.node_classes import NodeClasses
from hpcsim.machine.places import FREE, Places
from hpcsim.machine.power import cap_speed, rate
from hpcsim.machine.shares import SHARED, SharedUnit, Shares
from hpcsim.machine.spec import MachineSpec
from hpcsim.seconds import NEVER
from hpcsim.workload.behaviour import Behaviour
from hpcsim.workload.job import Job

Units = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

THERMAL_REPAIR_S = 3600  # a node that shut itself down is back after an hour (assumed)
_GRAIN = 1024.0  # parts of a watt
_STATES = ("busy", "idle", "asleep", "waking", "down")


class Interrupt(NamedTuple):
    """Units (ascending) that went out of service: when, until when, why, and how many jobs that ended.

    Telemetry has shown it since ``precursor_s`` before; 0: it came without warning. ``slept`` are the nodes of it that
    were asleep, or on their way there, and nobody had woken.
    """

    time_s: int
    until_s: int
    units: Units
    cause: str
    jobs: int
    precursor_s: int
    slept: int = 0


class Outage(NamedTuple):
    """So many units that will be out of service from ``start_s`` to ``end_s``; ``cause`` says why."""

    start_s: int
    end_s: int
    units: int
    cause: str


@dataclass(slots=True)
class Effects:
    """What an event did.

    ``failed`` jobs lost a node; ``retimed`` ones run on at another pace. ``down`` lists units that went away as
    (number of the interrupt, second at which they are expected back, units), again when that changes; ``up`` the
    numbers of those that are back. ``roused`` are nodes that an outage took out of their sleep, each time with the
    second at which they were to be awake (``NEVER``: nobody had woken them).
    """

    failed: list[Execution] = field(default_factory=list)
    retimed: list[Execution] = field(default_factory=list)
    down: list[tuple[int, int, Units]] = field(default_factory=list)
    up: list[int] = field(default_factory=list)
    roused: list[tuple[int, int]] = field(default_factory=list)


class Due(NamedTuple):
    time: int
    number: int  # in the order of noting, so that equal times have an order
    kind: str
    units: tuple[int, ...]
    interrupt: int


class Cluster:
    """The state of a machine of ``spec``, and the physics that changes it.

    Parameters
    ----------
    heat, failures : None where the scenario has none.
    class_U : how much slower each unit is than the best, which nobody is told; ``measured_U`` : its performance class,
        which a benchmark told.
    communication : how much slower a job that communicates much is when it lies scattered over the whole machine.
    outages : known to the cluster, in order of their starts; scheduled ones also to schedulers.
    supply_c : the supply temperature at a second, for the steps of the seasons.
    shares : the nodes that jobs share; None where all take whole nodes.
    classes : the node classes, whose speeds ``class_U`` has to contain; None where all nodes are of one.
    """

    def __init__(
        self,
        spec: MachineSpec,
        behaviour: Behaviour,
        *,
        policy: str,
        start: int,
        heat: Heat | None = None,
        supply_c: Callable[[int], float] | None = None,
        failures: FailureProcess | None = None,
        outages: Sequence[Outage] = (),
        class_U: Floats | None = None,
        measured_U: Units | None = None,
        communication: float = 0.0,
        limit_stretches: bool = True,
        shares: Shares | None = None,
        classes: NodeClasses | None = None,
    ) -> None:
        self.spec = spec
        self.places: Places = Places(spec, policy)
        self.shares = shares
        self.classes = classes
        self.heat = heat
        self.failures = failures
        self.cap: float = 1.0  # the factor on every job's speed that keeps the IT power below the cap
        self.executions: dict[int, Execution] = {}
        self.interrupts: list[Interrupt] = []
        self.failed_U: Floats = np.zeros(spec.units)  # how often each unit was seen to fail: what an operator may know
        self._power_log = History(time_s="q", it_w="d")  # up to the last change, which may be of this second
        self._logged_s, self._logged_w = start, 0.0
        self.nodes_in: dict[str, int] = dict.fromkeys(_STATES, 0)
        self.node_seconds: dict[str, int] = dict.fromkeys(_STATES, 0)
        self._supply_c = supply_c
        self._unit_nodes = spec.unit_nodes
        power = spec.power
        cpu_w_J, gpu_w_J = power.cpu_dyn_w * behaviour.cpu_util_J, power.gpu_dyn_w * behaviour.gpu_util_J
        dynamic_w_J = cpu_w_J + gpu_w_J
        if shares is not None:
            dynamic_w_J = cpu_w_J * shares.core_share_J + gpu_w_J * shares.gpu_share_J
            gpu_w_J = np.where(shares.gpu_share_J > 0, gpu_w_J, 0.0)
        self._dynamic_w_J = array("d", dynamic_w_J.tobytes())
        self._gpu_w_J = array("d", (gpu_w_J / max(1, spec.gpus_per_node)).tobytes())
        self._beta_J = array("d", behaviour.beta_J.tobytes())
        self._felt_J = array("d", (communication * behaviour.communication_J).tobytes()) if communication else None
        self._class_U = class_U
        self.measured_U = measured_U
        self._limit_stretches = limit_stretches
        # Of one node in each state in which no job runs on it. A node in repair is on (assumed).
        wake_w = power.idle_w if power.wake_w is None else power.wake_w
        watts = {"busy": 0.0, "idle": power.idle_w, "asleep": power.sleep_w, "waking": wake_w, "down": power.idle_w}
        self._idle_w, self._gpu_idle_w = power.idle_w, power.gpu_idle_w
        self._scored = policy in ("coolest", "most-reliable")
        self._state_w = {state: _grained(each) for state, each in watts.items()}
        self._jobs_w = 0.0
        self._due: list[Due] = []
        self._noted = 0
        self.shut: list[tuple[int, int]] = []  # from when to when the whole machine was out of service, or will be
        self._outages = list(reversed([outage for outage in outages if outage.end_s > start]))
        self._next_supply_s = (start // SUPPLY_STEP_S + 1) * SUPPLY_STEP_S if heat is not None else NEVER
        self.nodes_in = dict.fromkeys(_STATES, 0)
        self.node_seconds = dict.fromkeys(_STATES, 0)  # up to the second last settled
        self._since_s = dict.fromkeys(_STATES, 0)  # minus the sum of the seconds at which the nodes in a state came
        self.it_w: float = _grained(power.fixed_w)
        nodes = spec.units * spec.unit_nodes
        self.nodes_in["idle"] = nodes
        self._since_s["idle"] = -nodes * start
        self.it_w += nodes * self._state_w["idle"]
        self._plan()
        self._log(start)

    def __deepcopy__(self, memo: dict[int, object]) -> Cluster:
        """An independent copy; what never changes is shared."""
        twin = copy.copy(self)
        for name in ("places", "heat", "failures", "classes", "_supply_c", "_power_log"):
            setattr(twin, name, copy.deepcopy(getattr(self, name), memo))
        for name in ("interrupts", "failed_U", "nodes_in", "node_seconds", "_since_s", "_due", "_outages", "shut"):
            setattr(twin, name, getattr(self, name).copy())
        twin.executions = {job_id: copy.copy(execution) for job_id, execution in self.executions.items()}
        twin.shares = None if self.shares is None else self.shares.with_jobs(twin.executions)
        return twin

    def believe(
        self,
        now: int,
        left_s: Mapping[int, float],
        back_s: Mapping[int, int],
        failures: FailureProcess | None,
        dynamic_w: float,
        beta: float,
    ) -> None:
        """Go on from ``now`` by what can be known, in the place of what is true.

        ``left_s`` is the work that running jobs have left, seconds at full speed, ``back_s`` when the units of each
        interrupt are back, ``dynamic_w`` what a job that has not begun draws above idle on one node, and ``beta`` how
        far the runtimes of all follow the clock. Nodes of a class are alike, wherever a job lies; of the outages only
        scheduled maintenance is known.
        """
        jobs, power = len(self._beta_J), self.spec.power
        full_w = power.cpu_dyn_w + power.gpu_dyn_w
        gpu_w = dynamic_w * power.gpu_dyn_w / full_w / max(1, self.spec.gpus_per_node) if full_w else 0.0
        dynamic_w_J, gpu_w_J = array("d", [dynamic_w]) * jobs, array("d", [gpu_w]) * jobs
        if self.shares is not None:
            dynamic_w_J = array("d", (dynamic_w * self.shares.largest_J).tobytes())
        self._beta_J = array("d", [beta]) * jobs
        self._class_U = None if self.classes is None else self.classes.slowness_U
        self._felt_J = None
        for job_id, execution in self.executions.items():
            dynamic_w_J[job_id], gpu_w_J[job_id] = self._dynamic_w_J[job_id], self._gpu_w_J[job_id]
            execution.settle(now)
            execution.stretch, execution.work_s = 1.0, left_s[job_id]
            if self.classes is not None:
                execution.stretch = self.classes.slowness(execution.units)
            execution.turn(beta, limit_stretches=self._limit_stretches)
        self._dynamic_w_J, self._gpu_w_J = dynamic_w_J, gpu_w_J
        self.failures = failures
        self._outages = [outage for outage in self._outages if outage.cause == "maintenance"]
        due = [each for each in self._due if each.kind != "overdue"]
        self._due = [each._replace(time=back_s[each.interrupt]) if each.kind == "repaired" else each for each in due]
        heapify(self._due)
        for number, back in back_s.items():
            self.interrupts[number] = self.interrupts[number]._replace(until_s=back)
        if self.heat is not None:
            self.heat.forget_hottest(now)
        self._plan()

    # -- jobs ---------------------------------------------------------------------------------

    def begin(
        self,
        job: Job,
        row: int,
        now: int,
        lead_s: int,
        work_s: int,
        limit_s: int,
        extra_s: int,
        speed: float,
        wanted: Units | None,
        own: Units | None = None,
    ) -> Execution:
        """Put ``job`` on units (``wanted``, or those that the placement policy picks) from ``now`` on.

        Before it runs it is prepared for ``lead_s``, or until what it reads is there. It has ``work_s`` seconds of
        work to do at full speed, and ends after ``limit_s`` of them at the latest, which is ``extra_s`` beyond what
        is left of its walltime. ``own`` are units of its own queue, which it gets besides and may be none; None where
        its queue has no pool.
        """
        if speed != 1.0:
            self._refuse_speed(speed)
        job_id = job.id
        scores_U = self._scores(now) if self._scored else None
        shared = None
        if self.shares is not None and job.cores:
            idle = self._idle_w, self._gpu_idle_w
            shared = self.shares.place(job, self.places, wanted, scores_U, idle)
            units = shared.units
        elif own is None:
            units = self.places.take(job.nodes, holder=job_id, wanted=wanted, scores_U=scores_U)
        else:
            units = self.places.take_beside(own, job.nodes, holder=job_id, wanted=wanted, scores_U=scores_U)
        nodes = units.size * self._unit_nodes
        if self.classes is not None:
            lead_s = max(lead_s, self.classes.ready_s(job, self.classes.among(units)) - now)
            limit_s, extra_s = self.classes.limit_s(limit_s, extra_s, units)
        stretch = 1.0 if self._class_U is None else self._stretch(self._class_U, job_id, units)
        execution = Execution(job_id, row, units, nodes, now, lead_s, work_s, limit_s, extra_s, stretch)
        if self.places.blocks is not None:
            execution.block = self.places.block_of(units)
        self.executions[job_id] = execution
        if shared is None or not shared.members:
            self._move(now, nodes, "idle", "busy")
        if speed != 1.0 or self.cap != 1.0:
            execution.chosen, execution.cap = speed, self.cap
            execution.turn(self._beta_J[job_id], limit_stretches=self._limit_stretches)
        if shared is None:
            self._draw(execution, self._idle_w, self._gpu_idle_w)
        else:
            execution.shared, execution.share = shared, float(self._sharing().largest_J[job_id])
            shared.members[job_id] = execution
            self._change_shared(shared, now)
        self._log(now)
        return execution

    def undisturbed_j(self, job_id: int, nodes: int, work_s: float, limit_s: float, speed: float) -> float:
        """Joules that a job would take on nodes of its own, none of which is slower or hotter than usual."""
        seconds = min(work_s / rate(self._beta_J[job_id], speed), limit_s / (speed if self._limit_stretches else 1.0))
        watts: float = self._idle_w + self._dynamic_w_J[job_id] * speed**self.spec.power.speed_exponent
        return nodes * watts * seconds

    # -- the truth, for who owns the simulation: no scheduler is told -----------------------------

    def programs(self, job_J: Units) -> tuple[Floats, Floats]:
        """What each of J jobs draws above idle on one node at full speed, in watts; how far it follows the clock."""
        return np.array(self._dynamic_w_J)[job_J], np.array(self._beta_J)[job_J]

    def stretches(self, job_J: Units, units_J: Units) -> tuple[Floats, Floats]:
        """How much longer than undisturbed each of J jobs takes on so many units: at the least, and at the most.

        At the least on the fastest units, side by side; at the most on the slowest, scattered over the machine.
        """
        class_U = np.ones(self.spec.units) if self._class_U is None else np.sort(self._class_U)
        felt_J = 0.0 if self._felt_J is None else np.array(self._felt_J)[job_J]
        return class_U[units_J - 1], class_U[-1] * (1.0 + felt_J * np.ones(len(job_J)))

    @property
    def limit_stretches(self) -> bool:
        """Whether the walltime of a job is longer at a lower clock."""
        return self._limit_stretches

    @property
    def outages(self) -> list[Outage]:
        """The outages that are still to come, in order of their starts."""
        return self._outages[::-1]

    def at_speed_1(self, job_id: int, seconds: int) -> int:
        """How long a job would run on nodes of speed 1 that has run so many ``seconds`` where it is, rounded down."""
        if self.classes is None or seconds < 0:
            return seconds
        return int(seconds / self.classes.slowness(self.executions[job_id].units))

    def _stretch(self, class_U: Floats, job_id: int, units: Units) -> float:
        """How much longer than undisturbed a job takes: a parallel program goes at the pace of its slowest node."""
        stretch = float(np.maximum.reduce(class_U[units]))
        if self._felt_J is not None and units.size > 1:
            stretch *= 1.0 + self._felt_J[job_id] * self.places.spread_of(units)
        return stretch

    def end(self, execution: Execution, now: int) -> None:
        """Take a job off its units."""
        execution.settle(now)
        del self.executions[execution.job_id]
        if self.classes is not None:
            self.classes.ended(execution.job_id, execution.units, now)
        if execution.shared is not None:
            self._leave_shared(execution, execution.shared, now)
            return
        units, nodes = execution.units, execution.nodes
        down = self.places.release(units)
        self._jobs_w -= execution.watts
        self.it_w -= execution.watts
        self._move(now, nodes, "busy", "idle")
        if down:
            self._move(now, self._unit_nodes * down, "idle", "down")
        if self.heat is not None:
            self.heat.set_power(now, units, self._idle_w, self._gpu_idle_w, execution.node_w, execution.node_gpu_w)
            if execution.heat < 1.0:
                self.heat.mark_throttled(units, False)
        self._log(now)

    def set_speed(self, execution: Execution, speed: float, now: int) -> None:
        """Change the speed that the scheduler chose for a running job."""
        self._refuse_speed(speed)
        execution.settle(now)
        execution.chosen = speed
        self._turn(execution)
        self._log(now)

    def _refuse_speed(self, speed: float) -> None:
        """Raise ValueError for a clock that the machine does not have."""
        least = self.spec.power.least_speed
        if not least <= speed <= 1.0:
            raise ValueError(f"a speed of {speed!r} is none that {self.spec.name} has: {least} to 1")

    def _turn(self, execution: Execution) -> None:
        """Have a settled execution go at the speed that it now may."""
        execution.turn(self._beta_J[execution.job_id], limit_stretches=self._limit_stretches)
        if execution.shared is not None:
            self._draw_shared(execution.shared, execution.since)
            return
        self._jobs_w -= execution.watts
        self.it_w -= execution.watts
        self._draw(execution, execution.node_w, execution.node_gpu_w)

    def _draw(self, execution: Execution, node_was_w: float, gpu_was_w: float) -> None:
        """Book what an execution draws at its speed, where nothing of it is booked, and the heat that it makes."""
        dynamic_w, gpu_w = self._dynamic_w_J[execution.job_id], self._gpu_w_J[execution.job_id]
        if execution.speed != 1.0:
            slowness = execution.speed**self.spec.power.speed_exponent
            dynamic_w *= slowness
            gpu_w *= slowness
        execution.node_w = node_w = self._idle_w + dynamic_w
        execution.node_gpu_w = gpu_w = self._gpu_idle_w + gpu_w
        execution.watts = watts = _grained(execution.nodes * node_w)
        self._jobs_w += watts
        self.it_w += watts
        if self.heat is not None:
            self.heat.set_power(execution.since, execution.units, node_w, gpu_w, node_was_w, gpu_was_w)

    # -- nodes that jobs share ----------------------------------------------------------------

    def _draw_shared(self, unit: SharedUnit, now: int) -> None:
        """Book what the jobs on a shared node draw, the idle watts that none of them bears, and the heat."""
        shares, exponent = self._sharing(), self.spec.power.speed_exponent
        shares.settle(now)
        left_w = _grained(self._idle_w) if unit.members else 0.0
        borne = max(1.0, sum(execution.share for execution in unit.members.values()))
        node_w, gpu_w, jobs_w = self._idle_w, self._gpu_idle_w, 0.0
        for job_id, execution in unit.members.items():
            execution.settle(now)
            slowness = execution.speed**exponent
            dynamic_w = self._dynamic_w_J[job_id] * slowness
            node_w += dynamic_w
            gpu_w = max(gpu_w, self._gpu_idle_w + self._gpu_w_J[job_id] * slowness)
            idle_w = min(left_w, _grained(self._idle_w * execution.share / borne))
            left_w -= idle_w
            before_w, execution.watts = execution.watts, idle_w + _grained(dynamic_w)
            jobs_w += execution.watts - before_w
        self._jobs_w += jobs_w
        self.it_w += jobs_w + left_w - unit.unshared_w
        shares.unshared_w += left_w - unit.unshared_w
        unit.unshared_w = left_w
        if self.heat is not None:
            self.heat.set_power(now, unit.units, node_w, gpu_w, unit.node_w, unit.node_gpu_w)
        unit.node_w, unit.node_gpu_w = node_w, gpu_w

    def _change_shared(self, unit: SharedUnit, now: int) -> None:
        """Somebody has come to a shared node or left it: its throttle is lifted, for heat to see what is needed now."""
        if unit.is_hot and self.heat is not None:
            unit.is_hot = False
            self.heat.follow(now)
            self.heat.mark_throttled(unit.units, False)
            for job_id, execution in unit.members.items():
                execution.settle(now)
                if execution.heat < 1.0:
                    execution.heat, execution.hot_nodes = 1.0, 0
                    execution.turn(self._beta_J[job_id], limit_stretches=self._limit_stretches)
                    self._sharing().retimed.append(execution)
        self._draw_shared(unit, now)

    def _throttle_shared(self, unit: SharedUnit, factor: float, now: int) -> list[Execution]:
        """Slow all jobs of a shared node alike; these."""
        unit.is_hot = True
        for job_id, execution in unit.members.items():
            execution.settle(now)
            execution.heat = max(self.spec.power.least_speed, execution.heat * factor)
            execution.hot_nodes = self._unit_nodes
            execution.turn(self._beta_J[job_id], limit_stretches=self._limit_stretches)
        self._draw_shared(unit, now)
        return list(unit.members.values())

    def _leave_shared(self, execution: Execution, unit: SharedUnit, now: int) -> None:
        self._jobs_w -= execution.watts
        self.it_w -= execution.watts
        self._sharing().leave(execution.job_id)
        self._change_shared(unit, now)
        if not unit.members:
            self.places.release(unit.units)
            self._move(now, self._unit_nodes, "busy", "idle")
            if not self.places.up_U[unit.number]:
                self._move(now, self._unit_nodes, "idle", "down")
        self._log(now)

    def _sharing(self) -> Shares:
        """The shared nodes. Raises ValueError on a machine where all jobs take whole nodes."""
        if self.shares is None:
            raise ValueError(f"no job shares a node of {self.spec.name}")
        return self.shares

    # -- power --------------------------------------------------------------------------------

    @property
    def watts_in(self) -> dict[str, float]:
        """Watts of one node in each state in which no job runs on it. A node in repair is on (assumed)."""
        return {state: watts for state, watts in self._state_w.items() if state != "busy"}

    def _log(self, now: int) -> None:
        """Note what the machine draws from ``now`` on."""
        if self._logged_s != now:
            times_s, it_w = self._power_log.to_append()
            times_s.append(self._logged_s)
            it_w.append(self._logged_w)
            self._logged_s = now
        self._logged_w = self.it_w

    @property
    def power_log(self) -> tuple[npt.NDArray[np.int64], Floats]:
        """The seconds at which the IT power changed, and to how many watts."""
        return self.power_log_since(0)

    def power_log_since(self, row: int) -> tuple[npt.NDArray[np.int64], Floats]:
        """The same from a row on, the last at most."""
        log = self._power_log
        return np.append(log.column("time_s", row), self._logged_s), np.append(log.column("it_w", row), self._logged_w)

    @property
    def power_log_rows(self) -> int:
        """How many rows it has so far."""
        return len(self._power_log) + 1

    def hold_cap(self, now: int, cap_w: float) -> list[Execution]:
        """Slow all jobs alike, or let them go faster, so that the IT power keeps a cap; the jobs that changed pace."""
        exponent = self.spec.power.speed_exponent
        uncapped_w = sum(
            e.nodes * self._dynamic_w_J[e.job_id] * (e.chosen * e.heat) ** exponent for e in self.executions.values()
        )
        static_w = self.it_w - self._jobs_w + self.nodes_in["busy"] * self.spec.power.idle_w
        if self.shares is not None:
            static_w -= self.shares.unshared_w
        cap = 1.0 if cap_w == inf else cap_speed(self.spec.power, static_w, uncapped_w, cap_w)
        if cap == self.cap:
            return []
        self.cap = cap
        for execution in self.executions.values():
            execution.settle(now)
            execution.cap = cap
            self._turn(execution)
        self._log(now)
        return list(self.executions.values())

    # -- what happens by itself ---------------------------------------------------------------

    @property
    def next_s(self) -> int:
        """The second at which something happens by itself; ``NEVER`` if nothing does."""
        if self.heat is None:
            return self._planned_s
        heat_s = self.heat.next_s
        return heat_s if heat_s < self._planned_s else self._planned_s

    def _plan(self) -> None:
        """Look up what happens next of all that was known in advance."""
        at = self._next_supply_s
        if self._due:
            at = min(at, self._due[0].time)
        if self._outages:
            at = min(at, self._outages[-1].start_s)
        if self.failures is not None:
            at = min(at, self.failures.next_time)
        self._planned_s = at
        coming = (o for o in reversed(self._outages) if o.cause == "maintenance")
        self.maintenance: tuple[int, int] | None = next(((o.start_s, o.end_s) for o in coming), None)

    @property
    def recovers(self) -> bool:
        """Whether nodes that are away will be back by themselves."""
        return any(due.kind != "overdue" for due in self._due)

    def happen(self, now: int) -> Effects:
        """Let happen what is due at ``now``."""
        effects = Effects()
        while self._due and self._due[0].time <= now:
            self._come_back(heappop(self._due), now, effects)
        while self._outages and self._outages[-1].start_s <= now:
            self._shut(self._outages.pop(), now, effects)
        while self.failures is not None and self.failures.next_time <= now:
            failure = self.failures.take(self._hot_U(now))
            if failure is not None:
                units = np.array(failure.units, np.int64)
                self.failed_U[units] += 1
                usual_s = round(self.spec.failures.repair_median_h * 3600)
                self._fail(units, now + failure.repair_s, now + usual_s, "hardware", now, effects, failure.precursor_s)
        if self.heat is not None:
            self._heat_up(self.heat, now, effects)
        self._plan()
        self._log(now)
        return effects

    def _come_back(self, due: Due, now: int, effects: Effects) -> None:
        units = np.array(due.units, np.int64)
        nodes = units.size * self.spec.unit_nodes
        if due.kind == "repaired":
            self.places.set_up(units)
            self._move(now, nodes, "down", "idle")
            effects.up.append(due.interrupt)
        elif due.kind == "overdue":
            # what has taken long takes longer still: it is expected to last once more as long as so far
            interrupt = self.interrupts[due.interrupt]
            if interrupt.until_s > now:
                expected = now + (now - interrupt.time_s)
                effects.down.append((due.interrupt, expected, units))
                self._note(expected, "overdue", units, due.interrupt)
        elif due.kind == "asleep":
            self._move(now, nodes, "waking", "asleep")
            if self.heat is not None:
                power = self.spec.power
                self.heat.set_power(now, units, power.sleep_w, 0.0, power.idle_w, power.gpu_idle_w)
        else:
            self.places.wake(units)
            self._move(now, nodes, "waking", "idle")

    def _shut(self, outage: Outage, now: int, effects: Effects) -> None:
        """Take the last units that are up out of service, those that sleep like all others.

        If that is the whole machine, nothing on it is in service before its end: repairs that end sooner wait for it.
        """
        until = max(outage.end_s, now + 1)
        if outage.units >= self.spec.units:
            self.shut.append((now, until))
            early = {due.interrupt: due.units for due in self._due if due.kind == "repaired" and due.time < until}
            self._due = [due for due in self._due if due.interrupt not in early]
            heapify(self._due)
            for number, units in early.items():
                self.interrupts[number] = self.interrupts[number]._replace(until_s=until)
                self._expect(number, until, until, np.array(units, np.int64), effects)
        up = np.flatnonzero(self.places.up_U)[-outage.units :]
        slept = self._rouse(up[self.places.asleep_U[up]], now, effects)
        self._fail(up, until, outage.end_s, outage.cause, now, effects, slept=slept)

    def _rouse(self, units: Units, now: int, effects: Effects) -> int:
        """Have units that sleep, or are on their way there or back, idle at once; how many nodes nobody had woken."""
        if not units.size:
            return 0
        unit_nodes, power, between = self.spec.unit_nodes, self.spec.power, 0
        kept, waking = [], 0
        for due in self._due:
            left = due.units
            if due.kind in ("asleep", "awake"):
                left = tuple(np.setdiff1d(due.units, units, assume_unique=True).tolist())
                gone = len(due.units) - len(left)
                between += gone
                if due.kind == "awake" and gone:
                    waking += gone
                    effects.roused.append((due.time, gone * unit_nodes))
            if left:
                kept.append(due._replace(units=left))
        lying = np.setdiff1d(units, self.units_between, assume_unique=True)
        self._due = kept
        heapify(kept)
        slept = (units.size - waking) * unit_nodes
        if slept:
            effects.roused.append((NEVER, slept))
        self._move(now, lying.size * unit_nodes, "asleep", "idle")
        self._move(now, between * unit_nodes, "waking", "idle")
        if self.heat is not None and lying.size:
            self.heat.set_power(now, lying, power.idle_w, power.gpu_idle_w, power.sleep_w, 0.0)
        self.places.wake(units)
        return slept

    def _fail(
        self, units: Units, until: int, expected: int, cause: str, now: int, effects: Effects, precursor_s: int = 0,
        *, slept: int = 0,
    ) -> None:  # fmt: skip
        """Take units out of service; those that are stay so until their own repair, and those that sleep go on."""
        places = self.places
        units = units[places.up_U[units] & ~places.asleep_U[units]]  # what sleeps does not break
        if not units.size:
            return
        holders = places.holder_U[units]
        already = {execution.job_id for execution in effects.failed}  # by another failure in this second
        hit = [job_id for job_id in np.unique(holders[holders != FREE]).tolist() if job_id not in already]
        if hit and hit[0] == SHARED and self.shares is not None:
            hit[:1] = [job_id for job_id in self.shares.holding(units) if job_id not in already]
        failed = [self.executions[job_id] for job_id in hit]
        idle = int(np.count_nonzero(holders == FREE)) * self.spec.unit_nodes
        places.set_down(units)
        self._move(now, idle, "idle", "down")
        number = len(self.interrupts)
        self.interrupts.append(Interrupt(now, until, units, cause, len(failed), precursor_s, slept))
        self._expect(number, until, expected, units, effects)
        effects.failed += failed

    def _expect(self, number: int, until: int, expected: int, units: Units, effects: Effects) -> None:
        """Note when the units of an interrupt will be back, and when they are expected to be."""
        self._note(until, "repaired", units, number)
        effects.down.append((number, expected, units))
        self._note(expected, "overdue", units, number)

    def _heat_up(self, heat: Heat, now: int, effects: Effects) -> None:
        if now >= self._next_supply_s and self._supply_c is not None:
            self._next_supply_s = now - now % SUPPLY_STEP_S + SUPPLY_STEP_S
            heat.set_supply(now, self._supply_c(now))
        exponent = self.spec.power.speed_exponent
        while (crossing := heat.next_crossing()) is not None and crossing[0] <= now:
            unit = crossing[1]
            factor = heat.throttle(now, unit)
            if self.shares is not None and unit in self.shares.units:
                effects.retimed += self._throttle_shared(self.shares.units[unit], factor ** (1.0 / exponent), now)
                continue
            execution = self.executions.get(int(self.places.holder_U[unit]))
            if execution is None:  # an idle unit can do no less
                continue
            execution.settle(now)
            execution.heat = max(self.spec.power.least_speed, execution.heat * factor ** (1.0 / exponent))
            execution.hot_nodes += self.spec.unit_nodes
            self._turn(execution)
            effects.retimed.append(execution)
        if (shutdown := heat.next_shutdown()) is not None and shutdown[0] <= now:
            hot = heat.shutdowns(now)
            back = now + THERMAL_REPAIR_S
            self._fail(hot, back, back, "heat", now, effects)

    # -- sleep --------------------------------------------------------------------------------

    def sleep(self, nodes: int, now: int) -> None:
        """Send ``nodes`` free nodes to sleep: away at once, and drawing less after ``sleep_s``."""
        open_units = np.flatnonzero(self.places.open_U)
        count = -(-nodes // self.spec.unit_nodes)
        if not 0 < count <= open_units.size:
            raise ValueError(f"{nodes} nodes cannot go to sleep: {self.places.free_nodes} are free")
        units = open_units[-count:]
        self.places.sleep(units)
        self._move(now, count * self.spec.unit_nodes, "idle", "waking")
        self._note(now + self.spec.power.sleep_s, "asleep", units, -1)
        self._log(now)

    def wake(self, nodes: int, now: int) -> None:
        """Wake ``nodes`` sleeping nodes; they are there after ``wake_s``."""
        count = -(-nodes // self.spec.unit_nodes)
        going = set(self.units_between)
        asleep = [unit for unit in np.flatnonzero(self.places.asleep_U).tolist() if unit not in going]
        if not 0 < count <= len(asleep):
            raise ValueError(f"{nodes} nodes cannot wake: {len(asleep) * self.spec.unit_nodes} are asleep")
        self._move(now, count * self.spec.unit_nodes, "asleep", "waking")
        units = np.array(asleep[:count])
        self._note(now + self.spec.power.wake_s, "awake", units, -1)
        if self.heat is not None:  # a node that wakes warms up as an idle one (assumed)
            power = self.spec.power
            self.heat.set_power(now, units, power.idle_w, power.gpu_idle_w, power.sleep_w, 0.0)
        self._log(now)

    @property
    def units_between(self) -> list[int]:
        """The units that are on their way to sleep or back."""
        return [unit for due in self._due if due.kind in ("asleep", "awake") for unit in due.units]

    # -- bookkeeping --------------------------------------------------------------------------

    def _note(self, time: int, kind: str, units: Units, interrupt: int) -> None:
        self._noted += 1
        heappush(self._due, Due(time, self._noted, kind, tuple(units.tolist()), interrupt))
        self._planned_s = min(self._planned_s, time)

    def _move(self, now: int, nodes: int, source: str, target: str) -> None:
        """From now on ``nodes`` nodes are in another state. Node-seconds are what left less what came, exactly."""
        nodes_in, since_s, state_w, node_s = self.nodes_in, self._since_s, self._state_w, nodes * now
        nodes_in[source] -= nodes
        nodes_in[target] += nodes
        since_s[source] += node_s
        since_s[target] -= node_s
        self.it_w += nodes * (state_w[target] - state_w[source])

    def settle(self, now: int) -> None:
        """Book the node-seconds up to ``now``."""
        for state, nodes in self.nodes_in.items():
            self.node_seconds[state] = self._since_s[state] + nodes * now

    def _hot_U(self, now: int) -> Callable[[], Floats] | None:
        heat = self.heat
        return None if heat is None else lambda: heat.temperatures(now)[0]

    def _scores(self, now: int) -> Floats:
        """What a placement policy goes by: temperatures or failures seen; all alike where there are none."""
        if self.places.policy == "coolest" and self.heat is not None:
            return self.heat.temperatures(now)[0]
        return self.failed_U


def _grained(watts: float) -> float:
    """Cut to the grain, down, so that a cap holds."""
    return int(watts * _GRAIN) / _GRAIN
