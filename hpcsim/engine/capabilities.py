"""What a scheduler or a twin may need of a scenario: it declares ``needs = frozenset({"sleep", ...})``.

What is declared is checked before a run, so that nobody learns in simulated March that the scenario has no power; a
decision that needs what was not declared is a ``BadDecision``, so that the list of needs can be believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from hpcsim.engine.decisions import Kill, Preempt, SetCap, SetCooling, SetSpeed, Sleep, Wake


class Capability(NamedTuple):
    """``gives``: what one gets by declaring it. ``key``: what has to stand in a scenario that is to have it."""

    gives: str
    key: str


PHYSICS: Final = "machine.model and physics"
"""What has to stand in a scenario whose nodes are more than counted."""

CAPABILITIES: Final[Mapping[str, Capability]] = MappingProxyType(
    {
        "sleep": Capability("Sleep and Wake", PHYSICS),
        "speed": Capability("SetSpeed, and Start with a speed", PHYSICS),
        "preemption": Capability("Preempt and Kill", "preemption: true"),
        "clairvoyance": Capability(
            "view.recorded_start and view.recorded_place_is_taken, which only the trace knows",
            "trace, a log that records when jobs started",
        ),
        "places": Capability("Start with units", PHYSICS),
        "power": Capability("view.power, view.carbon and view.price; SetCap and SetCooling", PHYSICS),
        "heat": Capability("view.node_c and view.gpu_c", "machine.model and physics.heat: true"),
        "solar": Capability("view.solar", "machine.model and physics.solar_kw"),
        "energy-twin": Capability("view.twins.energy", "twins.energy, the name of a twin"),
        "fault-twin": Capability("view.twins.fault", "twins.fault, the name of a twin"),
        "thermal-twin": Capability("view.twins.thermal", "twins.thermal, the name of a twin"),
    }
)
"""What a scenario may have or lack, by the name that is declared. Everything else every scenario has."""

OF_TWINS: Final = ("power", "heat", "solar")
"""What a twin may need: it decides nothing."""

_DECISIONS: Final[tuple[tuple[type, str], ...]] = (
    (Preempt, "preemption"),
    (Kill, "preemption"),
    (SetSpeed, "speed"),
    (Sleep, "sleep"),
    (Wake, "sleep"),
    (SetCap, "power"),
    (SetCooling, "power"),
)


def needed_for(decision: object) -> str | None:
    """The capability that a decision other than a ``Start`` needs."""
    return next((name for kind, name in _DECISIONS if isinstance(decision, kind)), None)


def declared(plugin: Any) -> frozenset[str]:
    """What a plug-in's class, or an object of it, declares to need. Raises ValueError for what is no set of them.

    An object may need less than its class: one that sets ``self.needs`` by its options.
    """
    needs: Any = getattr(plugin, "needs", frozenset())
    if not isinstance(needs, set | frozenset | tuple | list) or not all(isinstance(name, str) for name in needs):
        raise ValueError(f'needs should be a set such as {{"sleep"}}, found {needs!r}')
    for name in needs:
        if name not in CAPABILITIES:
            close = get_close_matches(name, CAPABILITIES, n=1)
            guess = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"needs {name!r}, which is no capability.{guess} Known: {', '.join(CAPABILITIES)}.")
    return frozenset(needs)
