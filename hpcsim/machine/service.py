"""Which units are in service: what outages, failures and repairs do to them, and those that sleep or wake.

Nothing here ticks: it is known when the next of it happens (``next_s``), and ``happen`` lets it. Which jobs that ends
is for the cluster to say.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.machine.execution import Execution
from hpcsim.machine.failures import FailureProcess
from hpcsim.machine.heat import Heat
from hpcsim.machine.meter import Meter
from hpcsim.machine.places import FREE, Places
from hpcsim.machine.spec import MachineSpec
from hpcsim.seconds import NEVER

Units = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


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


class Service:
    """The units of a machine of ``spec`` that are out of service or asleep, and what will become of them.

    ``outages`` are known in order of their starts, scheduled ones also to schedulers. ``places`` and ``meter`` are told
    of all that changes, and so is ``heat``, where it is modelled.
    """

    def __init__(
        self, spec: MachineSpec, places: Places, meter: Meter, heat: Heat | None, failures: FailureProcess | None,
        outages: Sequence[Outage], start: int,
    ) -> None:  # fmt: skip
        self._spec, self._places, self._meter, self._heat = spec, places, meter, heat
        self.failures = failures
        self.interrupts: list[Interrupt] = []
        self.failed_U: Floats = np.zeros(spec.units)  # how often each unit was seen to fail: what an operator may know
        self.shut: list[tuple[int, int]] = []  # from when to when the whole machine was out of service, or will be
        self._outages = list(reversed([outage for outage in outages if outage.end_s > start]))
        self._due: list[Due] = []
        self._noted = 0
        self._plan()

    def __deepcopy__(self, memo: dict[int, object]) -> Service:
        twin = copy.copy(self)
        for name in ("_places", "_meter", "_heat", "failures"):
            setattr(twin, name, copy.deepcopy(getattr(self, name), memo))
        for name in ("interrupts", "failed_U", "shut", "_outages", "_due"):
            setattr(twin, name, getattr(self, name).copy())
        return twin

    def believe(self, back_s: Mapping[int, int], failures: FailureProcess | None) -> None:
        """Go on by what can be known: when the units of each interrupt are back, other ``failures``, and maintenance.

        Of the outages only those that are scheduled are known.
        """
        self.failures = failures
        self._outages = [outage for outage in self._outages if outage.cause == "maintenance"]
        due = [each for each in self._due if each.kind != "overdue"]
        self._due = [each._replace(time=back_s[each.interrupt]) if each.kind == "repaired" else each for each in due]
        heapify(self._due)
        for number, back in back_s.items():
            self.interrupts[number] = self.interrupts[number]._replace(until_s=back)
        self._plan()

    @property
    def outages(self) -> list[Outage]:
        """The outages that are still to come, in order of their starts."""
        return self._outages[::-1]

    @property
    def recovers(self) -> bool:
        """Whether nodes that are away will be back by themselves."""
        return any(due.kind != "overdue" for due in self._due)

    # -- what happens by itself ---------------------------------------------------------------

    def _plan(self) -> None:
        """Look up what happens next of all that is known."""
        at = NEVER
        if self._due:
            at = self._due[0].time
        if self._outages:
            at = min(at, self._outages[-1].start_s)
        if self.failures is not None:
            at = min(at, self.failures.next_time)
        self.next_s: int = at
        """The second at which something happens by itself; ``NEVER`` if nothing does."""
        coming = (o for o in reversed(self._outages) if o.cause == "maintenance")
        self.maintenance: tuple[int, int] | None = next(((o.start_s, o.end_s) for o in coming), None)

    def happen(self, now: int, effects: Effects, jobs_on: Callable[[Units], list[Execution]]) -> None:
        """Let happen what is due at ``now``. ``jobs_on`` says who runs on any of some units."""
        while self._due and self._due[0].time <= now:
            self._come_back(heappop(self._due), now, effects)
        while self._outages and self._outages[-1].start_s <= now:
            self._shut(self._outages.pop(), now, effects, jobs_on)
        while self.failures is not None and self.failures.next_time <= now:
            failure = self.failures.take(self._hot_U(now))
            if failure is not None:
                units = np.array(failure.units, np.int64)
                self.failed_U[units] += 1
                usual_s = round(self._spec.failures.repair_median_h * 3600)
                self.fail(
                    units, now + failure.repair_s, now + usual_s, "hardware", now, effects, jobs_on, failure.precursor_s
                )
        self._plan()

    def _come_back(self, due: Due, now: int, effects: Effects) -> None:
        units = np.array(due.units, np.int64)
        nodes = units.size * self._spec.unit_nodes
        if due.kind == "repaired":
            self._places.set_up(units)
            self._meter.move(now, nodes, "down", "idle")
            effects.up.append(due.interrupt)
        elif due.kind == "overdue":
            # what has taken long takes longer still: it is expected to last once more as long as so far
            interrupt = self.interrupts[due.interrupt]
            if interrupt.until_s > now:
                expected = now + (now - interrupt.time_s)
                effects.down.append((due.interrupt, expected, units))
                self._note(expected, "overdue", units, due.interrupt)
        elif due.kind == "asleep":
            self._meter.move(now, nodes, "waking", "asleep")
            if self._heat is not None:
                power = self._spec.power
                self._heat.set_power(now, units, power.sleep_w, 0.0, power.idle_w, power.gpu_idle_w)
        else:
            self._places.wake(units)
            self._meter.move(now, nodes, "waking", "idle")

    def _shut(self, outage: Outage, now: int, effects: Effects, jobs_on: Callable[[Units], list[Execution]]) -> None:
        """Take the last units that are up out of service, those that sleep like all others.

        If that is the whole machine, nothing on it is in service before its end: repairs that end sooner wait for it.
        """
        until = max(outage.end_s, now + 1)
        if outage.units >= self._spec.units:
            self.shut.append((now, until))
            early = {due.interrupt: due.units for due in self._due if due.kind == "repaired" and due.time < until}
            self._due = [due for due in self._due if due.interrupt not in early]
            heapify(self._due)
            for number, units in early.items():
                self.interrupts[number] = self.interrupts[number]._replace(until_s=until)
                self._expect(number, until, until, np.array(units, np.int64), effects)
        up = np.flatnonzero(self._places.up_U)[-outage.units :]
        slept = self._rouse(up[self._places.asleep_U[up]], now, effects)
        self.fail(up, until, outage.end_s, outage.cause, now, effects, jobs_on, slept=slept)

    def _rouse(self, units: Units, now: int, effects: Effects) -> int:
        """Have units that sleep, or are on their way there or back, idle at once; how many nodes nobody had woken."""
        if not units.size:
            return 0
        unit_nodes, power, between = self._spec.unit_nodes, self._spec.power, 0
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
        self._meter.move(now, lying.size * unit_nodes, "asleep", "idle")
        self._meter.move(now, between * unit_nodes, "waking", "idle")
        if self._heat is not None and lying.size:
            self._heat.set_power(now, lying, power.idle_w, power.gpu_idle_w, power.sleep_w, 0.0)
        self._places.wake(units)
        return slept

    def fail(
        self, units: Units, until: int, expected: int, cause: str, now: int, effects: Effects,
        jobs_on: Callable[[Units], list[Execution]], precursor_s: int = 0, *, slept: int = 0,
    ) -> None:  # fmt: skip
        """Take units out of service; those that are stay so until their own repair, and those that sleep go on."""
        places = self._places
        units = units[places.up_U[units] & ~places.asleep_U[units]]  # what sleeps does not break
        if not units.size:
            return
        already = {execution.job_id for execution in effects.failed}  # by another failure in this second
        failed = [execution for execution in jobs_on(units) if execution.job_id not in already]
        idle = int(np.count_nonzero(places.holder_U[units] == FREE)) * self._spec.unit_nodes
        places.set_down(units)
        self._meter.move(now, idle, "idle", "down")
        number = len(self.interrupts)
        self.interrupts.append(Interrupt(now, until, units, cause, len(failed), precursor_s, slept))
        self._expect(number, until, expected, units, effects)
        effects.failed += failed

    def _expect(self, number: int, until: int, expected: int, units: Units, effects: Effects) -> None:
        """Note when the units of an interrupt will be back, and when they are expected to be."""
        self._note(until, "repaired", units, number)
        effects.down.append((number, expected, units))
        self._note(expected, "overdue", units, number)

    # -- sleep --------------------------------------------------------------------------------

    def sleep(self, nodes: int, now: int) -> None:
        """Send ``nodes`` free nodes to sleep: away at once, and drawing less after ``sleep_s``."""
        open_units = np.flatnonzero(self._places.open_U)
        count = -(-nodes // self._spec.unit_nodes)
        if not 0 < count <= open_units.size:
            raise ValueError(f"{nodes} nodes cannot go to sleep: {self._places.free_nodes} are free")
        units = open_units[-count:]
        self._places.sleep(units)
        self._meter.move(now, count * self._spec.unit_nodes, "idle", "waking")
        self._note(now + self._spec.power.sleep_s, "asleep", units, -1)
        self._meter.log(now)

    def wake(self, nodes: int, now: int) -> None:
        """Wake ``nodes`` sleeping nodes; they are there after ``wake_s``."""
        count = -(-nodes // self._spec.unit_nodes)
        going = set(self.units_between)
        asleep = [unit for unit in np.flatnonzero(self._places.asleep_U).tolist() if unit not in going]
        if not 0 < count <= len(asleep):
            raise ValueError(f"{nodes} nodes cannot wake: {len(asleep) * self._spec.unit_nodes} are asleep")
        self._meter.move(now, count * self._spec.unit_nodes, "asleep", "waking")
        units = np.array(asleep[:count])
        self._note(now + self._spec.power.wake_s, "awake", units, -1)
        if self._heat is not None:  # a node that wakes warms up as an idle one (assumed)
            power = self._spec.power
            self._heat.set_power(now, units, power.idle_w, power.gpu_idle_w, power.sleep_w, 0.0)
        self._meter.log(now)

    @property
    def units_between(self) -> list[int]:
        """The units that are on their way to sleep or back."""
        return [unit for due in self._due if due.kind in ("asleep", "awake") for unit in due.units]

    # -- bookkeeping --------------------------------------------------------------------------

    def _note(self, time: int, kind: str, units: Units, interrupt: int) -> None:
        self._noted += 1
        heappush(self._due, Due(time, self._noted, kind, tuple(units.tolist()), interrupt))
        self.next_s = min(self.next_s, time)

    def _hot_U(self, now: int) -> Callable[[], Floats] | None:
        heat = self._heat
        return None if heat is None else lambda: heat.temperatures(now)[0]
