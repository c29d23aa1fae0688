"""Makes a ``MachineSpec`` of plain data, and refuses what is no machine: every law that it breaks is told at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final, NamedTuple

from hpcsim.errors import InputError
from hpcsim.machine.shape import Wrong, dotted, read_section, sections_of, shown
from hpcsim.machine.spec import MachineSpec
from hpcsim.machine.torus import boxes
from hpcsim.strict_yaml import Place, Steps

DERIVED: Final = {
    "racks": "follows from nodes, unit_nodes and units_per_rack; leave it out",
    "units": "follows from nodes and unit_nodes; leave it out",
}
"""What people may take for keys of a machine."""

COOLING_KINDS: Final = ("air", "dlc")

_PROBABILITY_SLACK = 1e-6  # published shares are rounded


class Unphysical(InputError):
    """The data describe no machine. ``wrong`` is all of it: the path of each value, and what is wrong with that.

    With ``places`` (of keys or values, as ``strict_yaml`` gives them) each line of the text begins with the place.
    """

    def __init__(self, wrong: Wrong, places: Mapping[Steps, Place] | None = None) -> None:
        self.wrong = wrong
        lines = []
        for path, message in wrong:
            told = f"{dotted(path)}: {message}" if path else message
            lines.append(f"{_nearest(places, path)}: {told}" if places else told)
        super().__init__("\n".join(lines))


def build_spec(data: Mapping[str, Any]) -> MachineSpec:
    """The machine of nested plain values, keyed as the fields of ``MachineSpec``, with lists where it has tuples.

    ``racks`` is no key: it follows from ``nodes``, ``unit_nodes`` and ``units_per_rack``. Keys with a default may
    be left out. A failure of more units than the machine has takes the whole machine.

    Raises ``Unphysical`` with everything that is wrong.
    """
    wrong: Wrong = []
    values = read_section(MachineSpec, data, (), wrong, DERIVED)
    known = dict(_flat(values, ()))
    for name, bound in _BOUNDS.items():
        path: Steps = tuple(name.split("."))
        value = known.get(path)
        parts = enumerate(value) if isinstance(value, tuple) else ()
        numbers = [((*path, at), part) for at, part in parts] or [(path, value)]
        outside = [(at, number) for at, number in numbers if number is not None and not bound.holds(number)]
        if outside:
            del known[path]  # no law can be asked of it
        wrong += [(at, f"should be {bound} (got {shown(number)})") for at, number in outside]
    for name, law in _LAWS:
        try:
            complaint = law(_Known(known))
        except _Unknown:
            continue  # it is told already what is wrong with that value
        if complaint is not None:
            wrong.append((tuple(name.split(".")), complaint))
    if wrong:
        raise Unphysical(wrong)
    sections = sections_of(MachineSpec)
    units = values["nodes"] // values["unit_nodes"]
    values["racks"] = math.ceil(units / values["units_per_rack"])
    values["failures"]["blast"] = _within(values["failures"]["blast"], units)
    return MachineSpec(**{key: sections[key](**value) if key in sections else value for key, value in values.items()})


def _nearest(places: Mapping[Steps, Place], path: Steps) -> Place:
    """The place of what stands at ``path``, or of the nearest thing around it."""
    while path and path not in places:
        path = path[:-1]
    return places.get(path, Place("machine"))


def _flat(values: Mapping[str, Any], path: Steps) -> Iterator[tuple[Steps, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, (*path, key))
        else:
            yield (*path, key), value


def _within(blast: tuple[tuple[int, float], ...], units: int) -> tuple[tuple[int, float], ...]:
    """The sizes of failures on so many units: what is larger is the whole machine."""
    sizes: dict[int, float] = {}
    for size, probability in blast:
        sizes[min(size, units)] = sizes.get(min(size, units), 0.0) + probability
    return tuple(sizes.items())


# -- bounds of single values ---------------------------------------------------------------------


class _Bound(NamedTuple):
    text: str
    holds: Callable[[float], bool]

    def __str__(self) -> str:
        return self.text


_POSITIVE = _Bound("above 0", lambda x: x > 0)
_NOT_NEGATIVE = _Bound("at least 0", lambda x: x >= 0)
_DYNAMIC = _Bound("at least 0, or peak power lies below idle", lambda x: x >= 0)
_COUNT = _Bound("1 to 100,000,000", lambda x: 1 <= x <= 100_000_000)
_COUNT_OR_NONE = _Bound("0 to 100,000,000", lambda x: 0 <= x <= 100_000_000)
_SPAN = _Bound("above 0 and at most 1,000,000,000", lambda x: 0 < x <= 1e9)
_TEMPERATURE = _Bound("above absolute zero, -273.15 °C", lambda x: x > -273.15)
_EFFICIENCY = _Bound("above 0 and at most 1", lambda x: 0 < x <= 1)
_SHARE = _Bound("at least 0 and below 1", lambda x: 0 <= x < 1)
_SIGMA = _Bound("0 to 5, the standard deviation of a logarithm", lambda x: 0 <= x <= 5)

_BOUNDS: Final = {
    "nodes": _COUNT,
    "unit_nodes": _COUNT,
    "units_per_rack": _COUNT,
    "racks_per_group": _COUNT,
    "cores_per_node": _COUNT,
    "gpus_per_node": _COUNT_OR_NONE,
    "memory_gib": _POSITIVE,
    "torus": _COUNT,
    "block_units": _COUNT,
    "class_spread": _SHARE,
    "communication": _NOT_NEGATIVE,
    "power.idle_w": _POSITIVE,
    "power.cpu_dyn_w": _DYNAMIC,
    "power.gpu_dyn_w": _DYNAMIC,
    "power.gpu_idle_w": _NOT_NEGATIVE,
    "power.fixed_w": _NOT_NEGATIVE,
    "power.speed_exponent": _Bound("above 0 and at most 10", lambda x: 0 < x <= 10),
    "power.least_speed": _EFFICIENCY,
    "power.sleep_w": _NOT_NEGATIVE,
    "power.sleep_s": _COUNT_OR_NONE,
    "power.wake_s": _COUNT_OR_NONE,
    "power.wake_w": _NOT_NEGATIVE,
    "power.node_loss_w": _NOT_NEGATIVE,
    "power.node_efficiency": _EFFICIENCY,
    "power.rectifier_loss_w": _NOT_NEGATIVE,
    "power.rectifier_efficiency": _EFFICIENCY,
    "power.nodes_per_rectifier": _COUNT,
    "thermal.supply_c": _TEMPERATURE,
    "thermal.supply_season_k": _NOT_NEGATIVE,
    "thermal.supply_day_k": _NOT_NEGATIVE,
    "thermal.node_k_per_w": _POSITIVE,
    "thermal.node_j_per_k": _POSITIVE,
    "thermal.gpu_k_per_w": _POSITIVE,
    "thermal.gpu_tau_s": _POSITIVE,
    "thermal.coupling_w_per_k": _NOT_NEGATIVE,
    "thermal.recirculation": _SHARE,
    "thermal.node_spread": _SHARE,
    "thermal.rack_spread": _SHARE,
    "thermal.cpu_throttle_c": _TEMPERATURE,
    "thermal.gpu_throttle_c": _TEMPERATURE,
    "thermal.margin_k": _NOT_NEGATIVE,
    "thermal.node_shutdown_c": _TEMPERATURE,
    "thermal.gpu_shutdown_c": _TEMPERATURE,
    "failures.mean_gap_h": _SPAN,
    "failures.weibull_shape": _Bound("0.1 to 10", lambda x: 0.1 <= x <= 10),
    "failures.repair_median_h": _SPAN,
    "failures.repair_sigma": _SIGMA,
    "failures.recurrence": _SHARE,
    "failures.recurrence_delay_d": _SPAN,
    "failures.q10": _Bound("1 to 10", lambda x: 1 <= x <= 10),
    "failures.hot_above_c": _TEMPERATURE,
    "failures.spatial_spread": _SIGMA,
    "failures.outage_mean_gap_d": _SPAN,
    "failures.outage_median_h": _SPAN,
    "failures.outage_sigma": _SIGMA,
    "failures.maintenance_every_d": _COUNT,
    "failures.maintenance_weekday": _Bound("0 (Monday) to 6 (Sunday)", lambda x: 0 <= x <= 6),
    "failures.maintenance_start_utc_h": _Bound("at least 0 and below 24", lambda x: 0 <= x < 24),
    "failures.maintenance_median_h": _SPAN,
    "failures.maintenance_sigma": _SIGMA,
    "cooling.fixed_fraction": _NOT_NEGATIVE,
    "cooling.chiller_cop": _POSITIVE,
    "cooling.free_cop": _POSITIVE,
    "cooling.free_below_k": _NOT_NEGATIVE,
    "cooling.wet_bulb_mean_c": _TEMPERATURE,
    "cooling.wet_bulb_season_k": _NOT_NEGATIVE,
    "cooling.wet_bulb_day_k": _NOT_NEGATIVE,
}


# -- laws between values -------------------------------------------------------------------------


class _Unknown(Exception):
    """A law asked for a value that could not be read."""


class _Known:
    """The values that could be read, by dotted path."""

    def __init__(self, values: Mapping[Steps, Any]) -> None:
        self._values = values

    def __call__(self, name: str) -> Any:
        try:
            return self._values[tuple(name.split("."))]
        except KeyError:
            raise _Unknown from None

    @property
    def units(self) -> int:
        nodes, unit = self("nodes"), self("unit_nodes")
        if nodes % unit:
            raise _Unknown
        return int(nodes // unit)

    @property
    def warmest_supply_c(self) -> float:
        """Summer, afternoon, and the warmest cooling mode."""
        seasons = self("thermal.supply_season_k") + self("thermal.supply_day_k")
        warmest = max(0.0, *(change for _, change in self("cooling.modes")))
        return float(self("thermal.supply_c") + seasons + warmest)


def _whole_units(of: _Known) -> str | None:
    nodes, unit = of("nodes"), of("unit_nodes")
    return f"should be a multiple of unit_nodes, {unit} (got {nodes})" if nodes % unit else None


def _torus_holds_units(of: _Known) -> str | None:
    torus = of("torus")
    if torus is None or math.prod(torus) == of.units:
        return None
    product = " x ".join(map(str, torus))
    return f"{product} = {math.prod(torus)} places, but {of.units} units of {of('unit_nodes')} nodes; null for no torus"


def _blocks_of_a_torus(of: _Known) -> str | None:
    if (of("torus") is None) == (of("block_units") is None):
        return None
    return "should be given together with torus; null for both where there is none"


def _blocks_fit(of: _Known) -> str | None:
    blocks = of("block_units")
    if blocks is None:
        return None
    if any(later <= earlier for earlier, later in pairwise(blocks)):
        return f"should be in ascending order without repeats (got {shown(list(blocks))})"
    return f"a block of {blocks[-1]} units on a machine of {of.units}" if blocks[-1] > of.units else None


def _blocks_are_boxes(of: _Known) -> str | None:
    torus, blocks = of("torus"), of("block_units")
    if torus is None or blocks is None:
        return None
    for size in blocks if max(blocks) <= of.units else ():
        try:
            boxes(torus, size)
        except InputError as error:
            return str(error)
    return None


def _gpus_draw(key: str) -> Callable[[_Known], str | None]:
    def law(of: _Known) -> str | None:
        given = of(key) not in (None, 0.0)
        return f"a node has no GPUs (got {shown(of(key))})" if given and of("gpus_per_node") == 0 else None

    return law


def _gpus_within_idle(of: _Known) -> str | None:
    together = of("gpus_per_node") * of("power.gpu_idle_w")
    idle = of("power.idle_w")
    if together <= idle:
        return None
    return f"all idle GPUs of a node draw {together:g} W, more than the whole idle node ({idle:g} W)"


def _sleep_below_idle(of: _Known) -> str | None:
    sleep, idle = of("power.sleep_w"), of("power.idle_w")
    return None if sleep <= idle else f"should be at most idle_w, {idle:g} (got {sleep:g})"


def _losses_below_idle(of: _Known) -> str | None:
    nodes = of("power.nodes_per_rectifier")
    behind = nodes * of("power.node_loss_w") / of("power.node_efficiency")
    losses = (behind + of("power.rectifier_loss_w")) / of("power.rectifier_efficiency") / nodes
    idle = of("power.idle_w")
    return None if losses < idle else f"conversion alone draws {losses:g} W a node, an idle node {idle:g} W"


def _throttle_below_shutdown(throttle: str, shutdown: str) -> Callable[[_Known], str | None]:
    def law(of: _Known) -> str | None:
        low, high = of(f"thermal.{throttle}"), of(f"thermal.{shutdown}")
        return None if low < high else f"should be below {shutdown}, {high:g} (got {low:g})"

    return law


def _supply_below_throttle(of: _Known) -> str | None:
    throttle = min(of("thermal.cpu_throttle_c"), of("thermal.gpu_throttle_c")) - of("thermal.margin_k")
    warmest = of.warmest_supply_c
    if warmest < throttle:
        return None
    return f"at its warmest the supply is at {warmest:g} °C, but throttling begins at {throttle:g} °C"


def _idle_node_runs(of: _Known) -> str | None:
    idle = of.warmest_supply_c + of("thermal.node_k_per_w") * of("power.idle_w")
    shutdown = of("thermal.node_shutdown_c")
    return None if idle < shutdown else f"an idle node would be at {idle:g} °C and shut down at {shutdown:g} °C"


def _idle_gpu_runs(of: _Known) -> str | None:
    if of("thermal.gpu_k_per_w") is None:
        return None
    idle = of.warmest_supply_c + of("thermal.gpu_k_per_w") * of("power.gpu_idle_w")
    shutdown = of("thermal.gpu_shutdown_c")
    return None if idle < shutdown else f"an idle GPU would be at {idle:g} °C and shut down at {shutdown:g} °C"


def _gpu_heat_is_whole(of: _Known) -> str | None:
    resistance, tau = of("thermal.gpu_k_per_w"), of("thermal.gpu_tau_s")
    return None if (resistance is None) == (tau is None) else "should be given together with gpu_k_per_w, or neither"


def _blast_is_a_distribution(of: _Known) -> str | None:
    blast = of("failures.blast")
    sizes = [size for size, _ in blast]
    if sizes[0] < 1 or sizes != sorted(set(sizes)):
        return f"the units should be at least 1, in ascending order without repeats (got {shown(sizes)})"
    shares = [share for _, share in blast]
    if not all(0 <= share <= 1 for share in shares):
        return f"the probabilities should be between 0 and 1 (got {shown(shares)})"
    total = math.fsum(shares)
    return None if abs(total - 1) <= _PROBABILITY_SLACK else f"the probabilities should add up to 1 (got {total:g})"


def _maintenance_ends(of: _Known) -> str | None:
    every, median = of("failures.maintenance_every_d"), of("failures.maintenance_median_h")
    if every is None or median < 24 * every:
        return None
    return f"should be less than the {24 * every} h from one maintenance to the next (got {median:g})"


def _cooling_is_known(of: _Known) -> str | None:
    kind = of("cooling.kind")
    return None if kind in COOLING_KINDS else f"should be one of {', '.join(COOLING_KINDS)} (got {shown(kind)})"


def _modes_differ(of: _Known) -> str | None:
    names = [name for name, _ in of("cooling.modes")]
    return None if len(set(names)) == len(names) else f"each mode should have its own name (got {shown(names)})"


# the path that a law is told of, and the law
_LAWS: Final[tuple[tuple[str, Callable[[_Known], str | None]], ...]] = (
    ("nodes", _whole_units),
    ("torus", _torus_holds_units),
    ("block_units", _blocks_of_a_torus),
    ("block_units", _blocks_fit),
    ("block_units", _blocks_are_boxes),
    ("power.gpu_dyn_w", _gpus_draw("power.gpu_dyn_w")),
    ("power.gpu_idle_w", _gpus_draw("power.gpu_idle_w")),
    ("power.gpu_idle_w", _gpus_within_idle),
    ("power.sleep_w", _sleep_below_idle),
    ("power.node_loss_w", _losses_below_idle),
    ("thermal.supply_c", _supply_below_throttle),
    ("thermal.node_k_per_w", _idle_node_runs),
    ("thermal.gpu_k_per_w", _gpus_draw("thermal.gpu_k_per_w")),
    ("thermal.gpu_k_per_w", _idle_gpu_runs),
    ("thermal.gpu_tau_s", _gpu_heat_is_whole),
    ("thermal.cpu_throttle_c", _throttle_below_shutdown("cpu_throttle_c", "node_shutdown_c")),
    ("thermal.gpu_throttle_c", _throttle_below_shutdown("gpu_throttle_c", "gpu_shutdown_c")),
    ("failures.blast", _blast_is_a_distribution),
    ("failures.maintenance_median_h", _maintenance_ends),
    ("cooling.kind", _cooling_is_known),
    ("cooling.modes", _modes_differ),
)
