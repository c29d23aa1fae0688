"""Idle nodes go to sleep, and wake in time for the jobs that need them."""

from __future__ import annotations

from hpcsim.engine.decisions import Decision
from hpcsim.engine.site import Site
from hpcsim.engine.sleeping import Sleeping
from hpcsim.engine.view import View
from hpcsim.scenario import levers as settings


class SleepIdle:
    """Nodes that have been idle for ``after`` seconds go to sleep, but for a reserve.

    By default ``after`` is the break-even time: who waits so long never takes more than twice the energy of one who
    knew how long each idle time will be. The scheduler sees sleeping nodes as free. What it starts on nodes that are
    awake starts at once; for the rest nodes wake first, and the job starts when the scheduler starts it again then: the
    time to wake later, and the time to sleep as well if the nodes were on their way. For the job that has waited
    longest nodes wake so that they are there when the running jobs are expected to let it start.

    References
    ----------
    Karlin, Manasse, Rudolph and Sleator (1988), Competitive snoopy caching (whether to rent or to buy).
    Irani, Shukla and Gupta (2003), Online strategies for dynamic power management in systems with multiple power-saving
    states.
    """

    name = "sleep_idle"
    needs = frozenset({"sleep", "power"})
    cites = ("Karlin1988", "Irani2003")
    wakes_on: frozenset[str] = frozenset()
    passes_when_idle = True

    def __init__(self, options: settings.SleepIdle) -> None:
        self._after: float | None = None if options.after == "auto" else options.after
        self._reserve = options.reserve
        self._sleeping = Sleeping(options.reserve)

    def impossible(self, site: Site) -> str | None:
        nodes = site.cluster.spec.nodes
        return f"found a reserve of {self._reserve} of {nodes} nodes" if self._reserve > nodes else None

    def shown(self, view: View) -> View:
        return self._sleeping.shown(view)

    def decide(self, view: View, decisions: list[Decision]) -> list[Decision]:
        if self._after is None:
            self._after = view.power.break_even_s
        return self._sleeping.decide(view, decisions, self._after)
