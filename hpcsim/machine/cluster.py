"""The machine as it is now: which units are free, what runs where and how fast, what it draws, how hot it is.

Nothing here ticks. Between events every power is constant; the cluster says at which second something will happen
by itself (``next_s``) and what follows from it (``happen``), and the engine carries on from there. Watts of jobs
are cut to 1/1024 W, so that their sums are exact in floating point and the ledger closes.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.machine.execution import Execution
from hpcsim.machine.failures import FailureProcess
from hpcsim.machine.heat import Heat
from hpcsim.machine.places import Places
from hpcsim.machine.power import cap_speed
from hpcsim.machine.spec import MachineSpec
from hpcsim.workload.behaviour import Behaviour
from hpcsim.workload.job import Job

Units = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NEVER = 2**62
SUPPLY_STEP_S = 6 * 3600  # the supply temperature follows the seasons in steps of this length
THERMAL_REPAIR_S = 3600  # a node that shut itself down is back after an hour (assumed)
_GRAIN = 1024.0  # parts of a watt
_STATES = ("busy", "idle", "asleep", "waking", "down")


class Interrupt(NamedTuple):
    """Units that went out of service: when, until when, why, and how many jobs that ended."""

    time_s: int
    until_s: int
    units: int
    cause: str
    jobs: int


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
    (number of the interrupt, second at which they are expected back, units), again when that has passed; ``up`` the
    numbers of those that are back.
    """

    failed: list[Execution] = field(default_factory=list)
    retimed: list[Execution] = field(default_factory=list)
    down: list[tuple[int, int, Units]] = field(default_factory=list)
    up: list[int] = field(default_factory=list)


class _Due(NamedTuple):
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
    class_U : how much slower each unit is than the best; ``communication`` : how much slower a job that communicates
        much is when it lies scattered over the whole machine.
    outages : known to the cluster, in order of their starts; scheduled ones also to schedulers.
    supply_c : the supply temperature at a second, for the steps of the seasons.
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
        communication: float = 0.0,
        cap_w: float = inf,
        limit_stretches: bool = True,
    ) -> None:
        self.spec = spec
        self.places = Places(spec, policy)
        self.heat = heat
        self.failures = failures
        self.cap_w = cap_w
        self.cap = 1.0  # the factor on every job's speed that keeps the IT power below the cap
        self.executions: dict[int, Execution] = {}
        self.interrupts: list[Interrupt] = []
        self.failed_U = np.zeros(spec.units)  # how often each unit was seen to fail: what an operator may know
        self.power_log_s = array("q")  # when the IT power changed
        self.power_log_w = array("d")  # to what
        self.nodes_in = dict.fromkeys(_STATES, 0)
        self.node_seconds = dict.fromkeys(_STATES, 0)
        self._supply_c = supply_c
        self._behaviour = behaviour
        self._class_U = class_U
        self._communication = communication
        self._limit_stretches = limit_stretches
        self._owner_U = np.full(spec.units, -1, np.int64)
        self._jobs_w = 0.0
        self._due: list[_Due] = []
        self._noted = 0
        self._outages_known_of = -1
        self._maintenance: tuple[int, int] | None = None
        self._outages = list(reversed([outage for outage in outages if outage.end_s > start]))
        self._next_supply_s = (start // SUPPLY_STEP_S + 1) * SUPPLY_STEP_S if heat is not None else NEVER
        self._since = start
        self.nodes_in["idle"] = spec.units * spec.unit_nodes
        self._log(start)

    @property
    def maintenance(self) -> tuple[int, int] | None:
        """The next scheduled maintenance, from when to when; None if none is to come."""
        if self._outages_known_of != len(self._outages):
            self._outages_known_of = len(self._outages)
            coming = (o for o in reversed(self._outages) if o.cause == "maintenance")
            self._maintenance = next(((o.start_s, o.end_s) for o in coming), None)
        return self._maintenance

    # -- jobs ---------------------------------------------------------------------------------

    def begin(
        self,
        job: Job,
        row: int,
        now: int,
        *,
        lead_s: int,
        work_s: int,
        limit_s: int,
        speed: float,
        wanted: Units | None,
        own: Units | None = None,
    ) -> Execution:
        """Put ``job`` on units (``wanted``, or those that the placement policy picks) from ``now`` on.

        ``own`` are units of its own queue, which it gets besides and may be none; None where its queue has no pool.
        """
        power, behaviour = self.spec.power, self._behaviour
        self._refuse_speed(speed)
        if own is None:
            units = self.places.take(job.nodes, wanted=wanted, scores_U=self._scores(now))
        else:
            units = self.places.take_beside(own, job.nodes, wanted=wanted, scores_U=self._scores(now))
        stretch = 1.0
        if self._class_U is not None:  # a parallel program goes at the pace of its slowest node
            stretch = float(self._class_U[units].max())
            if units.size > 1 and self._communication:
                felt = float(behaviour.communication_J[job.id])
                stretch *= 1.0 + self._communication * felt * self.places.spread_of(units)
        execution = Execution(
            job_id=job.id,
            row=row,
            units=units,
            nodes=units.size * self.spec.unit_nodes,
            taken=now,
            lead_s=lead_s,
            work_s=work_s,
            limit_s=limit_s,
            limit_stretches=self._limit_stretches,
            beta=float(behaviour.beta_J[job.id]),
            stretch=stretch,
            idle_w=power.idle_w,
            cpu_w=power.cpu_dyn_w * float(behaviour.cpu_util_J[job.id]),
            gpu_w=power.gpu_dyn_w * float(behaviour.gpu_util_J[job.id]),
        )
        execution.chosen, execution.cap = speed, self.cap
        self.executions[job.id] = execution
        self._owner_U[units] = job.id
        self._move(now, execution.nodes, "idle", "busy")
        self._pace(execution)
        self._log(now)
        return execution

    def end(self, execution: Execution, now: int) -> None:
        """Take a job off its units."""
        execution.settle(now)
        del self.executions[execution.job_id]
        units = execution.units
        self._owner_U[units] = -1
        self.places.release(units)
        self._jobs_w -= execution.watts
        up = int(np.count_nonzero(self.places.up_U[units])) * self.spec.unit_nodes
        self._move(now, up, "busy", "idle")
        if up < execution.nodes:
            self._move(now, execution.nodes - up, "busy", "down")
        if self.heat is not None:
            if execution.heat < 1.0:
                self.heat.mark_throttled(units, False)
            self.heat.set_power(now, units, self.spec.power.idle_w, self.spec.power.gpu_idle_w)
        self._log(now)

    def set_speed(self, execution: Execution, speed: float, now: int) -> None:
        """Change the speed that the scheduler chose for a running job."""
        self._refuse_speed(speed)
        execution.settle(now)
        execution.chosen = speed
        self._pace(execution)
        self._log(now)

    def _refuse_speed(self, speed: float) -> None:
        """Raise ValueError for a clock that the machine does not have."""
        least = self.spec.power.least_speed
        if not least <= speed <= 1.0:
            raise ValueError(f"a speed of {speed!r} is none that {self.spec.name} has: {least} to 1")

    def _pace(self, execution: Execution) -> None:
        """Carry out a change of a settled execution's speed: its power and the heat that it makes."""
        power = self.spec.power
        slowness = execution.speed**power.speed_exponent
        node_w = power.idle_w + (execution.cpu_w + execution.gpu_w) * slowness
        self._jobs_w -= execution.watts
        execution.watts = int(execution.nodes * node_w * _GRAIN) / _GRAIN  # down, so that a cap holds
        self._jobs_w += execution.watts
        if self.heat is not None:
            gpu_w = power.gpu_idle_w + execution.gpu_w * slowness / max(1, self.spec.gpus_per_node)
            self.heat.set_power(execution.since, execution.units, node_w, gpu_w)

    # -- power --------------------------------------------------------------------------------

    @property
    def it_w(self) -> float:
        """What all nodes and the fixed loads draw now, at the wall, without cooling."""
        watts = self.watts_in
        return self.spec.power.fixed_w + self._jobs_w + sum(self.nodes_in[state] * watts[state] for state in watts)

    @property
    def watts_in(self) -> dict[str, float]:
        """Watts of one node in each state in which no job runs on it. A node in repair is on (assumed)."""
        power = self.spec.power
        wake_w = power.idle_w if power.wake_w is None else power.wake_w
        return {"idle": power.idle_w, "asleep": power.sleep_w, "waking": wake_w, "down": power.idle_w}

    def _log(self, now: int) -> None:
        if self.power_log_s and self.power_log_s[-1] == now:
            self.power_log_w[-1] = self.it_w
        else:
            self.power_log_s.append(now)
            self.power_log_w.append(self.it_w)

    def set_cap(self, watts: float | None) -> None:
        """Keep the IT power below ``watts`` from now on, or without a limit; ``hold_cap`` carries it out."""
        if watts is not None and not watts > 0:
            raise ValueError(f"a cap of {watts!r} W is none; it is above 0, or None")
        self.cap_w = inf if watts is None else watts

    def hold_cap(self, now: int) -> list[Execution]:
        """Slow all jobs down, or let them go faster, so that the IT power keeps the cap; the jobs that changed pace."""
        if self.cap_w == inf and self.cap == 1.0:
            return []
        exponent = self.spec.power.speed_exponent
        uncapped_w = sum(e.dynamic_w(e.chosen * e.heat, exponent) for e in self.executions.values())
        static_w = self.it_w - self._jobs_w + self.nodes_in["busy"] * self.spec.power.idle_w
        cap = 1.0 if self.cap_w == inf else cap_speed(self.spec.power, static_w, uncapped_w, self.cap_w)
        if cap == self.cap:
            return []
        self.cap = cap
        for execution in self.executions.values():
            execution.settle(now)
            execution.cap = cap
            self._pace(execution)
        self._log(now)
        return list(self.executions.values())

    # -- what happens by itself ---------------------------------------------------------------

    @property
    def next_s(self) -> int:
        """The second at which something happens by itself; ``NEVER`` if nothing does."""
        at = min(self._next_supply_s, self._due[0].time if self._due else NEVER)
        if self._outages:
            at = min(at, self._outages[-1].start_s)
        if self.failures is not None:
            at = min(at, self.failures.next_time)
        if self.heat is not None:
            for crossing in (self.heat.next_crossing(), self.heat.next_shutdown()):
                if crossing is not None:
                    at = min(at, crossing[0])
        return at

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
            outage = self._outages.pop()
            up = np.flatnonzero(self.places.up_U)[-outage.units :]
            self._fail(up, max(outage.end_s, now + 1), outage.end_s, outage.cause, now, effects)
        while self.failures is not None and self.failures.next_time <= now:
            failure = self.failures.take(self._hot_U(now))
            if failure is not None:
                units = np.array(failure.units, np.int64)
                self.failed_U[units] += 1
                usual_s = round(self.spec.failures.repair_median_h * 3600)
                self._fail(units, now + failure.repair_s, now + usual_s, "hardware", now, effects)
        if self.heat is not None:
            self._heat_up(self.heat, now, effects)
        self._log(now)
        return effects

    def _come_back(self, due: _Due, now: int, effects: Effects) -> None:
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
        else:
            self.places.wake(units)
            self._move(now, nodes, "waking", "idle")

    def _fail(self, units: Units, until: int, expected: int, cause: str, now: int, effects: Effects) -> None:
        """Take units out of service; those that are already stay so until their own repair."""
        places = self.places
        units = units[places.up_U[units] & ~places.asleep_U[units]]  # what sleeps does not fail
        if not units.size:
            return
        owners = self._owner_U[units]
        failed = [self.executions[job_id] for job_id in np.unique(owners[owners >= 0]).tolist()]
        failed = [execution for execution in failed if execution not in effects.failed]  # in this second, by another
        idle = int(np.count_nonzero(owners < 0)) * self.spec.unit_nodes
        places.set_down(units)
        self._move(now, idle, "idle", "down")
        number = len(self.interrupts)
        self._note(until, "repaired", units, number)
        self.interrupts.append(Interrupt(now, until, units.size, cause, len(failed)))
        effects.down.append((number, expected, units))
        self._note(expected, "overdue", units, number)
        effects.failed += failed

    def _heat_up(self, heat: Heat, now: int, effects: Effects) -> None:
        if now >= self._next_supply_s and self._supply_c is not None:
            self._next_supply_s = now - now % SUPPLY_STEP_S + SUPPLY_STEP_S
            heat.set_supply(now, self._supply_c(now))
        exponent = self.spec.power.speed_exponent
        while (crossing := heat.next_crossing()) is not None and crossing[0] <= now:
            unit = crossing[1]
            execution = self.executions.get(int(self._owner_U[unit]))
            if execution is None:  # an idle unit can do no less
                heat.mark_throttled(np.array([unit]), True)
                continue
            slower = execution.heat * heat.relief(unit) ** (1.0 / exponent)
            execution.settle(now)
            execution.heat = max(self.spec.power.least_speed, slower)
            execution.hot_nodes += self.spec.unit_nodes
            heat.mark_throttled(np.array([unit]), True)
            self._pace(execution)
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
        going = {unit for due in self._due if due.kind != "repaired" for unit in due.units}
        asleep = [unit for unit in np.flatnonzero(self.places.asleep_U).tolist() if unit not in going]
        if not 0 < count <= len(asleep):
            raise ValueError(f"{nodes} nodes cannot wake: {len(asleep) * self.spec.unit_nodes} are asleep")
        self._move(now, count * self.spec.unit_nodes, "asleep", "waking")
        self._note(now + self.spec.power.wake_s, "awake", np.array(asleep[:count]), -1)
        self._log(now)

    # -- bookkeeping --------------------------------------------------------------------------

    def _note(self, time: int, kind: str, units: Units, interrupt: int) -> None:
        self._noted += 1
        heappush(self._due, _Due(time, self._noted, kind, tuple(units.tolist()), interrupt))

    def _move(self, now: int, nodes: int, source: str, target: str) -> None:
        """Book the node-seconds so far; from now on ``nodes`` nodes are in another state."""
        self.settle(now)
        self.nodes_in[source] -= nodes
        self.nodes_in[target] += nodes

    def settle(self, now: int) -> None:
        """Book the node-seconds up to ``now``."""
        if now > self._since:
            for state, nodes in self.nodes_in.items():
                if nodes:
                    self.node_seconds[state] += nodes * (now - self._since)
            self._since = now

    def _hot_U(self, now: int) -> Callable[[], Floats] | None:
        heat = self.heat
        return None if heat is None else lambda: heat.temperatures(now)[0]

    def _scores(self, now: int) -> Floats | None:
        """What the placement policy goes by: temperatures or failures seen; all alike where there are none."""
        if self.places.policy == "coolest" and self.heat is not None:
            return self.heat.temperatures(now)[0]
        return self.failed_U if self.places.policy in ("coolest", "most-reliable") else None
