"""A cap on what the facility draws, always or at times."""

from __future__ import annotations

from math import inf

from hpcsim.engine.decisions import Decision, Hold, SetCap, Start
from hpcsim.engine.site import Site
from hpcsim.engine.view import View
from hpcsim.levers.when import When
from hpcsim.machine.power import cap_holds
from hpcsim.machine.spec import PowerSpec
from hpcsim.scenario import levers as settings


class PowerCap:
    """The facility draws at most so many kilowatts, or what a share of the machine's full load comes to.

    Jobs slow down to keep it. As the slowest clock may not be enough for that, a job that could break the cap with all
    at that clock, if each drew the most that its nodes can, waits, and so do all that the scheduler would start after
    it; one that could not keep it even alone starts when no other runs. The scenario's own cap holds besides.

    References
    ----------
    Etinski, Corbalan, Labarta and Valero (2012), Understanding the future of energy-performance trade-off via DVFS in
    HPC environments.
    """

    name = "power_cap"
    needs = frozenset({"power"})
    cites = ("Etinski2012",)
    passes_when_idle = True

    def __init__(self, options: settings.PowerCap) -> None:
        self._cap_w = None if options.kw is None else 1000.0 * options.kw
        self._share = options.share
        self._when = When(options.when)
        self._own_w: float | None = None  # the scenario's cap
        self.wakes_on = self._when.wakes_on | ({"supply"} if self._share is not None else set())

    def impossible(self, site: Site) -> str | None:
        spec, facility = site.cluster.spec, site.facility
        idle_w, full_w = _bounds_w(site.cluster.spec.nodes, spec.power)
        if self._share is not None:
            if self._share * full_w >= idle_w:
                return None
            return f"found the share {self._share}, expected at least the {idle_w / full_w:.3f} that idle nodes draw"
        drawn = 1.0 + facility.worst_overhead(0)
        if self._cap_w is None or cap_holds(spec.power, idle_w, 0.0, self._cap_w / drawn):
            return None
        return (
            f"found {self._cap_w / 1000.0:g} kW, expected at least the {idle_w * drawn / 1000.0:.1f} kW that idle "
            "nodes and their cooling draw in the worst weather of a year"
        )

    def shown(self, view: View) -> View:
        return view

    def decide(self, view: View, decisions: list[Decision]) -> list[Decision]:
        power = view.power
        if self._own_w is None:
            self._own_w = power.cap_w
        cap_w = self._own_w
        if self._when.holds(view):
            wanted_w = self._cap_w
            if self._share is not None:
                wanted_w = self._share * _bounds_w(view.nodes, power.node)[1] * (1.0 + power.overhead)
            cap_w = min(cap_w, inf if wanted_w is None else wanted_w)
        if cap_w < inf:
            decisions = self._within(view, cap_w / (1.0 + power.overhead), decisions)
        if cap_w != power.cap_w:
            decisions = [SetCap(None if cap_w == inf else cap_w, "while it holds"), *decisions]
        at = self._when.next_s(view)
        if at is not None:
            decisions.append(Hold(at, "when the cap changes"))
        return decisions

    def _within(self, view: View, it_cap_w: float, decisions: list[Decision]) -> list[Decision]:
        """The decisions but for the starts from the first on that could break the cap at the slowest clock."""
        if not any(isinstance(each, Start) for each in decisions):
            return decisions
        node = view.power.node
        slowest = node.least_speed**node.speed_exponent
        left_w = it_cap_w - _bounds_w(view.nodes, node)[0]
        left_w -= sum(view.peak_w(each.job) * slowest for each in view.running.values())
        alone, kept, is_full = not view.running, [], False
        for each in decisions:
            if isinstance(each, Start):
                peak_w = view.peak_w(each.job) * slowest
                is_full = is_full or (peak_w > left_w and not alone)
                if is_full:
                    continue
                left_w, alone = left_w - peak_w, False
            kept.append(each)
        return kept


def _bounds_w(nodes: int, node: PowerSpec) -> tuple[float, float]:
    """What the machine draws with all nodes idle, and with all at full load."""
    idle_w = nodes * node.idle_w + node.fixed_w
    return idle_w, idle_w + nodes * (node.cpu_dyn_w + node.gpu_dyn_w)
