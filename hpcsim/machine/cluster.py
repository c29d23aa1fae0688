"""The machine as it is now: which units are free, what runs where and how fast, what it draws, how hot it is.

Nothing here ticks. Between events every power is constant; the cluster says at which second something will happen
by itself (``next_s``) and what follows from it (``happen``), and the engine carries on from there. What units are out
of service or asleep is its ``service``'s, and what the machine draws its ``meter``'s.
"""

from __future__ import annotations

import copy
from array import array
from collections.abc import Callable, Mapping, Sequence
from math import inf

import numpy as np
import numpy.typing as npt

from hpcsim.machine.cooling import SUPPLY_STEP_S
from hpcsim.machine.execution import Execution
from hpcsim.machine.failures import FailureProcess
from hpcsim.machine.heat import Heat
from hpcsim.machine.meter import Meter, grained
from hpcsim.machine.node_classes import NodeClasses
from hpcsim.machine.places import FREE, Places
from hpcsim.machine.power import cap_speed, rate
from hpcsim.machine.service import Effects, Outage, Service
from hpcsim.machine.shares import SHARED, SharedUnit, Shares
from hpcsim.machine.spec import MachineSpec
from hpcsim.seconds import NEVER
from hpcsim.workload.behaviour import Behaviour
from hpcsim.workload.job import Job

Units = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

THERMAL_REPAIR_S = 3600  # a node that shut itself down is back after an hour (assumed)


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
        self.cap: float = 1.0  # the factor on every job's speed that keeps the IT power below the cap
        self.executions: dict[int, Execution] = {}
        self.meter: Meter = Meter(spec.power, spec.units * spec.unit_nodes, start)
        self.service: Service = Service(spec, self.places, self.meter, heat, failures, outages, start)
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
        self._idle_w, self._gpu_idle_w = power.idle_w, power.gpu_idle_w
        self._scored = policy in ("coolest", "most-reliable")
        self._next_supply_s = (start // SUPPLY_STEP_S + 1) * SUPPLY_STEP_S if heat is not None else NEVER

    def __deepcopy__(self, memo: dict[int, object]) -> Cluster:
        """An independent copy; what never changes is shared."""
        twin = copy.copy(self)
        for name in ("places", "heat", "meter", "service", "classes", "_supply_c"):
            setattr(twin, name, copy.deepcopy(getattr(self, name), memo))
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
        self.service.believe(back_s, failures)
        if self.heat is not None:
            self.heat.forget_hottest(now)

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
            self.meter.move(now, nodes, "idle", "busy")
        if speed != 1.0 or self.cap != 1.0:
            execution.chosen, execution.cap = speed, self.cap
            execution.turn(self._beta_J[job_id], limit_stretches=self._limit_stretches)
        if shared is None:
            self._draw(execution, self._idle_w, self._gpu_idle_w)
        else:
            execution.shared, execution.share = shared, float(self._sharing().largest_J[job_id])
            shared.members[job_id] = execution
            self._change_shared(shared, now)
        self.meter.log(now)
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
        self.meter.jobs_w -= execution.watts
        self.meter.it_w -= execution.watts
        self.meter.move(now, nodes, "busy", "idle")
        if down:
            self.meter.move(now, self._unit_nodes * down, "idle", "down")
        if self.heat is not None:
            self.heat.set_power(now, units, self._idle_w, self._gpu_idle_w, execution.node_w, execution.node_gpu_w)
            if execution.heat < 1.0:
                self.heat.mark_throttled(units, False)
        self.meter.log(now)

    def set_speed(self, execution: Execution, speed: float, now: int) -> None:
        """Change the speed that the scheduler chose for a running job."""
        self._refuse_speed(speed)
        execution.settle(now)
        execution.chosen = speed
        self._turn(execution)
        self.meter.log(now)

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
        self.meter.jobs_w -= execution.watts
        self.meter.it_w -= execution.watts
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
        execution.watts = watts = grained(execution.nodes * node_w)
        self.meter.jobs_w += watts
        self.meter.it_w += watts
        if self.heat is not None:
            self.heat.set_power(execution.since, execution.units, node_w, gpu_w, node_was_w, gpu_was_w)

    # -- nodes that jobs share ----------------------------------------------------------------

    def _draw_shared(self, unit: SharedUnit, now: int) -> None:
        """Book what the jobs on a shared node draw, the idle watts that none of them bears, and the heat."""
        shares, exponent = self._sharing(), self.spec.power.speed_exponent
        shares.settle(now)
        left_w = grained(self._idle_w) if unit.members else 0.0
        borne = max(1.0, sum(execution.share for execution in unit.members.values()))
        node_w, gpu_w, jobs_w = self._idle_w, self._gpu_idle_w, 0.0
        for job_id, execution in unit.members.items():
            execution.settle(now)
            slowness = execution.speed**exponent
            dynamic_w = self._dynamic_w_J[job_id] * slowness
            node_w += dynamic_w
            gpu_w = max(gpu_w, self._gpu_idle_w + self._gpu_w_J[job_id] * slowness)
            idle_w = min(left_w, grained(self._idle_w * execution.share / borne))
            left_w -= idle_w
            before_w, execution.watts = execution.watts, idle_w + grained(dynamic_w)
            jobs_w += execution.watts - before_w
        self.meter.jobs_w += jobs_w
        self.meter.it_w += jobs_w + left_w - unit.unshared_w
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
        self.meter.jobs_w -= execution.watts
        self.meter.it_w -= execution.watts
        self._sharing().leave(execution.job_id)
        self._change_shared(unit, now)
        if not unit.members:
            self.places.release(unit.units)
            self.meter.move(now, self._unit_nodes, "busy", "idle")
            if not self.places.up_U[unit.number]:
                self.meter.move(now, self._unit_nodes, "idle", "down")
        self.meter.log(now)

    def _sharing(self) -> Shares:
        """The shared nodes. Raises ValueError on a machine where all jobs take whole nodes."""
        if self.shares is None:
            raise ValueError(f"no job shares a node of {self.spec.name}")
        return self.shares

    # -- power --------------------------------------------------------------------------------

    def hold_cap(self, now: int, cap_w: float) -> list[Execution]:
        """Slow all jobs alike, or let them go faster, so that the IT power keeps a cap; the jobs that changed pace."""
        exponent = self.spec.power.speed_exponent
        uncapped_w = sum(
            e.nodes * self._dynamic_w_J[e.job_id] * (e.chosen * e.heat) ** exponent for e in self.executions.values()
        )
        static_w = self.meter.it_w - self.meter.jobs_w + self.meter.nodes_in["busy"] * self.spec.power.idle_w
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
        self.meter.log(now)
        return list(self.executions.values())

    # -- what happens by itself ---------------------------------------------------------------

    @property
    def next_s(self) -> int:
        """The second at which something happens by itself; ``NEVER`` if nothing does."""
        at = self.service.next_s
        return at if self.heat is None else min(at, self._next_supply_s, self.heat.next_s)

    def happen(self, now: int) -> Effects:
        """Let happen what is due at ``now``."""
        effects = Effects()
        self.service.happen(now, effects, self._jobs_on)
        if self.heat is not None:
            self._heat_up(self.heat, now, effects)
        self.meter.log(now)
        return effects

    def _jobs_on(self, units: Units) -> list[Execution]:
        """The jobs that run on any of these units."""
        holders = self.places.holder_U[units]
        hit = np.unique(holders[holders != FREE]).tolist()
        if hit and hit[0] == SHARED and self.shares is not None:
            hit[:1] = self.shares.holding(units)
        return [self.executions[job_id] for job_id in hit]

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
            self.service.fail(hot, back, back, "heat", now, effects, self._jobs_on)

    def _scores(self, now: int) -> Floats:
        """What a placement policy goes by: temperatures or failures seen; all alike where there are none."""
        if self.places.policy == "coolest" and self.heat is not None:
            return self.heat.temperatures(now)[0]
        return self.service.failed_U
