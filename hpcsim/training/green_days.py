"""Days for GreenDRL: a year of synthetic jobs on a machine, of which any span can be simulated at any load.

Days of one year differ in sun, weather and traffic; years (seeds) differ in clouds and jobs. Training, validation and
tests have different years, so no day of one is in another.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

import numpy as np

from hpcsim.engine.simulation import Simulation
from hpcsim.errors import InputError
from hpcsim.plugin.loader import Plugins, load_plugins
from hpcsim.replay import Source, made, source_of
from hpcsim.scenario.load import LoadedScenario, load_scenario
from hpcsim.workload.arrivals import offered_load

YEAR_DAYS: Final = 365
DAY_S: Final = 86_400

CALM: Final[Mapping[str, Any]] = {
    "physics.heat": False,
    "physics.failures": False,
    "physics.outages": False,
    "physics.maintenance": False,
    "physics.variation": False,
    "physics.queues": False,
    "physics.placement": "packed",
}
"""No failures, maintenance or limits of queues, so that what differs between two runs is when jobs start."""


class Year:
    """A year of a packaged scenario's profile, with its clouds, by ``seed``; ``overrides`` are of the scenario.

    ``sun`` is the size of the solar plant: kW of modules for a kW that the machine and its cooling draw at full load;
    0 is none.
    """

    def __init__(self, scenario: str, seed: int, sun: float, overrides: Mapping[str, Any] = CALM) -> None:
        self.scenario, self.seed = scenario, seed
        self._overrides = {"days": YEAR_DAYS, **overrides, "seed": seed}
        self._sun = sun

    def refuse_unfit(self, overrides: Mapping[str, Any]) -> None:
        """Raise InputError where the scenario does not hold with ``overrides``, or has no profile or no physics."""
        loaded = self._load(self._overrides | dict(overrides))
        scenario = loaded.scenario
        if scenario.profile is None or scenario.trace is not None:
            found = "a trace" if scenario.trace is not None else "no jobs"
            raise InputError(f"{loaded.place()}: scenario {scenario.name}: found {found}, expected a profile, of which "
                             "a year can be drawn")  # fmt: skip
        if scenario.physics is None:
            raise InputError(f"{loaded.place()}: scenario {scenario.name}: has no physics, so no energy to be saved")

    def begin(self, start_s: int, days: float, load: float, overrides: Mapping[str, Any]) -> Simulation:
        """The simulation of about ``days`` days of jobs at ``load`` from second ``start_s`` of the year on.

        Within a year some days are busier than others: the span is stretched so that it offers that load.
        """
        window = {"window.start": start_s, "window.end": int(start_s + self._span_s(days, load)), "load": load}
        loaded = self._load(self._overrides | self._plant | window | dict(overrides))
        return made(loaded, self._plugins, source=self._source).simulation

    def with_jobs(self, start_s: int, days: float, load: float) -> int:
        """The second from which to begin such a span so that it has jobs: ``start_s``, or when the next one comes."""
        submit_s = self._source[0].column("submit_s")
        first_s = int(submit_s[np.searchsorted(submit_s, start_s)])
        return start_s if first_s < int(start_s + self._span_s(days, load)) else first_s

    def _span_s(self, days: float, load: float) -> float:
        return days * DAY_S * load / self._natural_load

    @cached_property
    def _plugins(self) -> Plugins:
        return load_plugins()

    @cached_property
    def _source(self) -> Source:
        return source_of(self._load(self._overrides), self._plugins)

    @cached_property
    def peak_kw(self) -> float:
        """What the machine draws with all nodes at full load, and a quarter more for its cooling."""
        spec = self._source[1]
        if spec is None:
            raise ValueError(f"{self.scenario} has no physics")
        power = spec.power
        return 1.25 * (spec.nodes * (power.idle_w + power.cpu_dyn_w + power.gpu_dyn_w) + power.fixed_w) / 1000.0

    @cached_property
    def _natural_load(self) -> float:
        workload, _, nodes = self._source
        end_s = int(workload.column("submit_s")[-1]) + 1
        return offered_load(workload, start=0, end=end_s, nodes=nodes, overrun="trace")

    @property
    def _plant(self) -> dict[str, float]:
        return {"physics.solar_kw": self._sun * self.peak_kw} if self._sun else {}

    def _load(self, overrides: Mapping[str, Any]) -> LoadedScenario:
        found = self._plugins
        return load_scenario(
            self.scenario, overrides, schedulers=found.schedulers, twins=found.twins, parts=found.offers
        )
