"""What a Simulation has before it: SimPy's clock, and all that is pending on it.

One timeout is pending for each running job, one for the next arrival, one for what the machine does next by itself. One
that something later has overtaken rings all the same, and is not heeded.
"""

from __future__ import annotations

import copy
from bisect import bisect_right, insort
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, cast

import simpy

from hpcsim.engine.clock import AFTER_ENDS, FIRST, Callback, PassEvent, clock_from, schedule
from hpcsim.engine.complaints import bad
from hpcsim.engine.lifecycle import end_by_itself, take_in
from hpcsim.seconds import NEVER

if TYPE_CHECKING:
    from hpcsim.engine.clock import Clock
    from hpcsim.engine.simulation import Simulation

_MOST_IDLE_EVENTS: Final = 100_000  # one for every hour of a decade: who needs more waits for nothing


class Agenda:
    """When what happens next to a simulation that is at second ``now``.

    ``ends`` says of each running job, by id: the second at which it really ends if nothing changes, how many ends had
    become known by then, its row in ``attempts``. ``pass_at`` is when a pass is due, -1 if none is.
    """

    def __init__(self, simulation: Simulation, now: int) -> None:
        self._simulation = simulation
        self.ends: dict[int, tuple[int, int, int]] = {}
        self.pass_at = -1
        self._generation = 0  # of the end that became known last
        self._arrival_after = 0  # the same when the next arrival became known
        self._holds: list[int] = []
        self._site_at = NEVER  # when the machine next does something by itself
        self._idle_events = 0  # of holds and of the machine, since anything last started
        self.new_clock(now)

    def new_clock(self, now: int) -> None:
        """Have a clock on which nothing is pending."""
        self.env: Clock = clock_from(now)
        self._next_pass = PassEvent(self.env, self._pass_is_due)

    # -- arrivals and ends --------------------------------------------------------------------

    def await_arrival(self) -> None:
        """Note when the next job is submitted, if one is."""
        coming = self._simulation.arrivals.coming
        if coming:
            self._arrival_after = self._generation
            delay = coming[-1].submit - self._simulation.now  # negative only for jobs submitted before the start
            simpy.Timeout(self.env, delay if delay > 0 else 0).callbacks.append(self._arrive)

    def _arrive(self, _event: simpy.Event) -> None:
        simulation = self._simulation
        simulation.now = self.env.now
        for job in simulation.arrivals.until(simulation.now):
            take_in(simulation, job)
        self.await_arrival()
        simulation.ask_for_pass()

    def await_end(self, job_id: int, end: int, row: int) -> None:
        """A running job ends at ``end``; what was noted of it before holds no more."""
        self._generation = generation = self._generation + 1
        self.ends[job_id] = (end, generation, row)
        self._await_end(job_id, end, generation)

    def _await_end(self, job_id: int, end: int, generation: int) -> None:
        simpy.Timeout(self.env, end - self._simulation.now, (job_id, generation)).callbacks.append(self._end)

    def _end(self, event: simpy.Event) -> None:
        job_id, generation = cast("tuple[int, int]", event.value)
        if self.ends.get(job_id, (0, 0, 0))[1] == generation:  # else the end was overtaken by a later decision
            simulation = self._simulation
            simulation.now = self.env.now
            end_by_itself(simulation, job_id)
            if simulation.site is not None and not simulation.queue:
                self.await_site()  # else the pass that follows does
            simulation.ask_for_pass()

    # -- passes -------------------------------------------------------------------------------

    def pass_later(self) -> None:
        """Have a pass when all else has happened in this second, or in the next in which passes may be."""
        simulation = self._simulation
        wait = -simulation.now % simulation.pass_interval if simulation.pass_interval else 0
        self.pass_at = simulation.now + wait
        self._next_pass.due_in(wait)

    def pass_again(self) -> None:
        """Have another pass in this second, unless one is due."""
        if self.pass_at < 0:
            self.pass_later()

    def _pass_is_due(self, _event: simpy.Event) -> None:
        self._simulation.now = self.env.now
        self.pass_at = -1
        self._simulation.have_pass()

    def wake_at(self, until: int) -> None:
        """Have a pass at this second, which is still to come."""
        if until not in self._holds:
            insort(self._holds, until)
            self._await_hold(until)

    def _await_hold(self, until: int) -> None:
        simpy.Timeout(self.env, until - self._simulation.now).callbacks.append(self._hold_ends)

    def _hold_ends(self, _event: simpy.Event) -> None:
        self._holds.remove(self.env.now)
        if self._simulation.is_over:
            return  # the run ended with its last job: what nobody waits for does not make it longer
        self._simulation.now = self.env.now
        self._count_idle()
        self._simulation.ask_for_pass()

    def started(self) -> None:
        """A job was started: nobody waits for nothing."""
        self._idle_events = 0

    def _count_idle(self) -> None:
        """Refuse a scheduler that waits for ever: the machine stands idle, no job will come, and time goes on."""
        simulation = self._simulation
        loop = simulation.closed_loop
        if not simulation.running and not simulation.arrivals.coming and not (loop is not None and loop.due_s):
            self._idle_events += 1
            if self._idle_events > _MOST_IDLE_EVENTS:
                raise bad(simulation, f"was called {self._idle_events} times with nothing running and starts nothing")

    # -- the machine and the centre -----------------------------------------------------------

    def await_site(self) -> None:
        """Note when the machine next does something by itself, as long as there are jobs that it could concern."""
        simulation = self._simulation
        site = simulation.site
        if site is None:
            return
        if not (simulation.running or simulation.arrivals.coming) and (
            simulation.is_over or not (self._holds or site.changes)
        ):
            return  # nobody waits, or for nothing that the machine could bring
        at = site.next_s
        if at != self._site_at and at < NEVER:
            self._site_at = at
            self._await_site_at(at)

    def _await_site_at(self, at: int) -> None:
        schedule(self.env, max(0, at - self._simulation.now), AFTER_ENDS, self._site_is_due, at)

    def _site_is_due(self, event: simpy.Event) -> None:
        simulation = self._simulation
        if event.value != self._site_at or simulation.site is None or simulation.is_over:
            return  # overtaken by something earlier, or of no concern to any job any more
        simulation.now = self.env.now
        self._site_at = NEVER
        self._count_idle()
        simulation.site.happen()
        simulation.free_nodes = simulation.site.free_nodes
        self.await_site()
        simulation.ask_for_pass()

    def await_period(self) -> None:
        """Note when other queue rules come into force, as long as there are jobs that they could concern."""
        simulation = self._simulation
        if simulation.centre is None or simulation.is_over:
            return
        begins = simulation.centre.admission.next_period_s
        if begins < NEVER:
            schedule(self.env, begins - simulation.now, FIRST, self._period_begins)

    def _period_begins(self, _event: simpy.Event) -> None:
        simulation = self._simulation
        if simulation.centre is None or simulation.is_over:
            return
        simulation.now = self.env.now
        if simulation.centre.turn():
            self.await_site()
            simulation.ask_for_pass()
        self.await_period()

    def after_ends(self, delay: int, callback: Callback) -> None:
        """Have ``callback`` called after ``delay`` seconds, behind all ends and arrivals of that second."""
        schedule(self.env, delay, AFTER_ENDS, callback)

    # -- forks and snapshots ------------------------------------------------------------------

    def in_fork(self, simulation: Simulation) -> Agenda:
        """The same for a copy of the simulation, on a clock of its own: nothing is pending on it until ``go_on``."""
        twin = copy.copy(self)
        twin._simulation = simulation
        twin.ends, twin._holds = self.ends.copy(), self._holds.copy()
        twin.new_clock(simulation.now)
        return twin

    def forget_site(self) -> None:
        """The machine does something else next than was noted."""
        self._site_at = NEVER

    def go_on(self) -> None:
        """Have on the new clock all that was pending on the old one, in the same order within each second."""
        simulation = self._simulation
        arrival_after = self._arrival_after
        ends = sorted((generation, job_id, end) for job_id, (end, generation, _) in self.ends.items())
        before = bisect_right(ends, (arrival_after, NEVER))
        self._await_ends(ends[:before])
        self.await_arrival()
        self._await_ends(ends[before:])
        self._arrival_after = arrival_after
        for until in self._holds:
            self._await_hold(until)
        if self._site_at < NEVER:
            self._await_site_at(self._site_at)
        self.await_period()
        if simulation.closed_loop is not None:
            simulation.closed_loop.go_on(simulation)
        if self.pass_at >= 0:
            self._next_pass.due_in(self.pass_at - simulation.now)

    def _await_ends(self, ends: Iterable[tuple[int, int, int]]) -> None:
        for generation, job_id, end in ends:
            self._await_end(job_id, end, generation)
