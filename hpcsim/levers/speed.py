"""Jobs run at another clock: all of them, those that memory limits, or those of the hours in which power is dear."""

from __future__ import annotations

from hpcsim.engine.decisions import Decision, Hold, SetSpeed, Start
from hpcsim.engine.site import Site
from hpcsim.engine.view import View
from hpcsim.levers.when import When
from hpcsim.scenario import levers as settings
from hpcsim.workload.job import Job


class Speed:
    """Jobs that the scheduler starts at full speed start at ``factor``.

    With ``auto`` it is the clock of least energy for a job that draws half of what it could and has the given beta, as
    far as its runtime follows the clock. With ``jobs: memory-bound`` only those are slowed that the energy twin says to
    take less energy at that clock than at full speed.

    References
    ----------
    Hsu and Feng (2005), A power-aware run-time system for high-performance computing.
    Etinski, Corbalan, Labarta and Valero (2012), Understanding the future of energy-performance trade-off via DVFS in
    HPC environments.
    """

    name = "speed"
    needs = frozenset({"speed", "power", "energy-twin"})
    cites = ("HsuFeng2005", "Etinski2012")

    def __init__(self, options: settings.Speed) -> None:
        self._factor: float | None = None if options.factor == "auto" else options.factor
        self._beta = options.beta
        self._memory_bound = options.jobs == "memory-bound"
        self._running = options.running
        self._when = When(options.when)
        self._slowed: set[int] = set()  # running jobs that are as slow as they should be, or need not be
        self.needs = frozenset({"speed"}) | self._when.needs
        if self._factor is None:
            self.needs |= {"power"}
        if self._memory_bound:
            self.needs |= {"energy-twin"}
        self.wakes_on = self._when.wakes_on
        self.passes_when_idle = self._running

    def impossible(self, site: Site) -> str | None:
        least = site.cluster.spec.power.least_speed
        if self._factor is None or least <= self._factor:
            return None
        return f"found the factor {self._factor}, expected one that {site.cluster.spec.name} has: {least} to 1"

    def shown(self, view: View) -> View:
        return view

    def decide(self, view: View, decisions: list[Decision]) -> list[Decision]:
        holds = self._when.holds(view)
        if self._running:
            decisions = [*self._turn(view, holds), *decisions]
            at = self._when.next_s(view)
            if at is not None and (view.running or view.queue):
                decisions.append(Hold(at, "when clocks change"))
        if holds:
            full = [each.job for each in decisions if isinstance(each, Start) and each.speed == 1.0]
            slow, factor = self._to_slow(view, full), self._clock(view)
            decisions = [
                each._replace(speed=factor) if isinstance(each, Start) and each.job.id in slow else each
                for each in decisions
            ]
            if self._running:
                self._slowed |= slow
        return decisions

    def _turn(self, view: View, holds: bool) -> list[Decision]:
        """The running jobs whose clock changes, because ``when`` began or ended to hold."""
        running = view.running
        self._slowed &= running.keys()
        if holds:
            slow = self._to_slow(view, [each.job for i, each in running.items() if i not in self._slowed])
            self._slowed |= slow
            return [SetSpeed(running[i].job, self._clock(view), "while it holds") for i in sorted(slow)]
        fast, self._slowed = self._slowed, set()
        return [SetSpeed(running[i].job, 1.0, "it holds no more") for i in sorted(fast)]

    def _to_slow(self, view: View, jobs: list[Job]) -> set[int]:
        if self._memory_bound and jobs:
            slow_J, full_J = view.twins.energy(jobs, [[self._clock(view)], [1.0]]).mean
            return {job.id for job, less in zip(jobs, slow_J < full_J, strict=True) if less}
        return {job.id for job in jobs}

    def _clock(self, view: View) -> float:
        if self._factor is None:
            node = view.power.node
            self._factor = float(view.power.best_speed((node.cpu_dyn_w + node.gpu_dyn_w) / 2.0, self._beta))
        return self._factor
