"""A scheduler with levers around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from hpcsim.engine.capabilities import CAPABILITIES, declared
from hpcsim.engine.carrying_out import decisions_of
from hpcsim.engine.decisions import Decision
from hpcsim.engine.scheduler import Scheduler
from hpcsim.engine.site import Site
from hpcsim.engine.view import View
from hpcsim.errors import InputError
from hpcsim.levers.cooling import Cooling
from hpcsim.levers.placement import Placement
from hpcsim.levers.power_cap import PowerCap
from hpcsim.levers.sleep_idle import SleepIdle
from hpcsim.levers.speed import Speed
from hpcsim.scenario.load import LoadedScenario

LEVERS: dict[str, Any] = {
    "power_cap": PowerCap, "cooling": Cooling, "sleep_idle": SleepIdle, "speed": Speed, "placement": Placement,
}  # fmt: skip


class Lever(Protocol):
    """One lever: a name, what it needs of a scenario, when it has to be asked, and two methods."""

    name: str
    needs: frozenset[str]
    cites: tuple[str, ...]
    wakes_on: frozenset[str]
    passes_when_idle: bool

    def shown(self, view: View) -> View:
        """What the scheduler is to see instead of ``view``."""
        ...

    def decide(self, view: View, decisions: list[Decision]) -> list[Decision]:
        """What becomes of what was decided in a pass."""
        ...

    def impossible(self, site: Site) -> str | None:
        """What the machine cannot do of what the lever is set to, and what it could; None if it can."""
        ...


class Levered:
    """``scheduler`` with ``levers``, which act in their order. It goes by the scheduler's name."""

    api = 1
    needs: frozenset[str] = frozenset(CAPABILITIES)

    def __init__(self, scheduler: Scheduler, levers: Sequence[Lever]) -> None:
        self.scheduler = scheduler
        self.levers = list(levers)
        self.name = scheduler.name
        self.needs = declared(scheduler).union(*(lever.needs for lever in levers))
        self._when_idle = bool(getattr(scheduler, "passes_when_idle", False))
        self.passes_when_idle = self._when_idle or any(lever.passes_when_idle for lever in levers)
        self.wakes_on = frozenset(getattr(scheduler, "wakes_on", ())).union(*(lever.wakes_on for lever in levers))

    def snapshot_parts(self) -> dict[str, Scheduler | Lever]:
        """What a snapshot keeps the states of, by name: all else follows from them."""
        return {"scheduler": self.scheduler, **{lever.name: lever for lever in self.levers}}

    def schedule(self, view: View) -> Iterator[Decision]:
        seen = view
        for lever in self.levers:
            seen = lever.shown(seen)
        decisions = decisions_of(self.scheduler, seen) if view.queue or self._when_idle else []
        for lever in self.levers:
            decisions = lever.decide(view, decisions)
        yield from decisions


def make_levers(loaded: LoadedScenario) -> list[Lever]:
    """The levers that the scenario sets. Raises InputError for places by rule on a torus."""
    levers, physics = loaded.scenario.levers, loaded.scenario.physics
    if levers is None:
        return []
    if levers.placement is not None and physics is not None and physics.placement in ("torus", "recorded"):
        place = loaded.place("levers", "placement")
        raise InputError(
            f"{place}: levers.placement: with physics.placement {physics.placement} jobs start in blocks, which no "
            "other policy knows; leave it out"
        )
    return [LEVERS[name](getattr(levers, name)) for name in levers.names]


def with_levers(scheduler: Scheduler, levers: Sequence[Lever]) -> Scheduler:
    """The scheduler itself where there are no levers."""
    return Levered(scheduler, levers) if levers else scheduler


def refuse_impossible(loaded: LoadedScenario, levers: Sequence[Lever], site: Site) -> None:
    """Raise InputError, a line for each lever that is set to what the machine cannot do."""
    wrong = []
    for lever in levers:
        told = lever.impossible(site)
        if told is not None:
            wrong.append(f"{loaded.place('levers', lever.name)}: levers.{lever.name}: {told}")
    if wrong:
        raise InputError("\n".join(wrong))
