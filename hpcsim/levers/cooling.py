"""The cooling plant runs in another mode."""

from __future__ import annotations

from hpcsim.engine.decisions import Decision, SetCooling
from hpcsim.engine.plant import Plant
from hpcsim.engine.site import Site
from hpcsim.engine.view import View
from hpcsim.scenario import levers as settings


class Cooling:
    """One mode for good, or the warmest in which hardly any node is slowed down, looked at every 15 minutes.

    What the scheduler itself decides of the plant is left out.

    References
    ----------
    Moore, Chase, Ranganathan and Sharma (2005), Making scheduling "cool": temperature-aware workload placement in data
    centers.
    """

    name = "cooling"
    needs = frozenset({"power", "heat"})
    cites = ("Moore2005",)
    wakes_on: frozenset[str] = frozenset()
    passes_when_idle = True

    def __init__(self, mode: settings.Mode) -> None:
        self._mode = mode
        self._plant = Plant()
        self.needs = frozenset({"power", "heat"} if mode == "auto" else {"power"})

    def impossible(self, site: Site) -> str | None:
        modes = [name for name, _ in site.cluster.spec.cooling.modes]
        return None if self._mode in ("auto", *modes) else f"found {self._mode!r}, expected auto or one of {modes}"

    def shown(self, view: View) -> View:
        return view

    def decide(self, view: View, decisions: list[Decision]) -> list[Decision]:
        kept: list[Decision] = [each for each in decisions if not isinstance(each, SetCooling)]
        if self._mode == "auto":
            return [*self._plant.decide(view), *kept]
        return kept if view.power.cooling_mode == self._mode else [SetCooling(self._mode, "its mode"), *kept]
