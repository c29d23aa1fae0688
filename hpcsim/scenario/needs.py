"""What a scheduler and twins declare to need, against what the scenario has: told before the run begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpcsim.engine.capabilities import CAPABILITIES, PHYSICS, declared
from hpcsim.errors import InputError
from hpcsim.scenario.load import LoadedScenario
from hpcsim.scenario.models import Scenario
from hpcsim.workload.job import Workload


def capabilities_of(scenario: Scenario, workload: Workload | None = None) -> frozenset[str]:
    """Those of ``CAPABILITIES`` that a scenario has.

    Whether its trace records starts, which clairvoyance needs, is only known with the ``workload``; without it a trace
    is taken to do so.
    """
    physics, twins = scenario.physics, scenario.twins
    records = scenario.trace is not None
    if workload is not None:
        records = bool(np.any(workload.column("recorded_start_s") >= 0))
    has = {
        "sleep": physics is not None,
        "speed": physics is not None,
        "preemption": scenario.preemption,
        "clairvoyance": records,
        "places": physics is not None,
        "power": physics is not None,
        "heat": physics is not None and physics.heat,
        "solar": physics is not None and physics.solar_kw is not None,
        "energy-twin": twins.energy is not None,
        "fault-twin": twins.fault is not None,
        "thermal-twin": twins.thermal is not None,
    }
    return frozenset(name for name in CAPABILITIES if has[name])


def refuse_lacking(
    loaded: LoadedScenario,
    scheduler: Any,
    twins: Mapping[str, Any],
    workload: Workload | None = None,
    levers: Sequence[Any] = (),
) -> None:
    """Raise InputError, a line for each thing that the scheduler, a twin or a lever needs and the scenario lacks."""
    scenario = loaded.scenario
    has = capabilities_of(scenario, workload)
    asking = [(("scheduler",), scheduler), *((("twins", question), twin) for question, twin in twins.items())]
    asking += [(("levers", lever.name), lever) for lever in levers]
    wrong = []
    for path, plugin in asking:
        key = ".".join(path)
        place = loaded.place(*path) if path[0] == "levers" else loaded.place(*path, "name")
        try:
            needs, of_class = declared(plugin), declared(type(plugin)) | frozenset(getattr(plugin, "uses", ()))
        except ValueError as error:
            raise InputError(f"{place}: {key}: {plugin.name}: {error}") from None
        if not needs <= of_class:
            undeclared = ", ".join(sorted(needs - of_class))
            raise InputError(f"{place}: {key}: {plugin.name} needs {undeclared}, but its class does not declare that")
        wrong += [
            f"{place}: {key}: {plugin.name} needs {need}, which {scenario.name} lacks; set {CAPABILITIES[need].key}"
            for need in CAPABILITIES
            if need in needs - has
        ]
    wrong += [
        f"{loaded.place('twins', question, 'name')}: twins.{question}: {twin.name} is told what sensors read, which "
        f"{scenario.name} lacks; set {PHYSICS}"
        for question, twin in twins.items()
        if scenario.physics is None and hasattr(twin, "senses_every_s")
    ]
    if wrong:
        raise InputError("\n".join(wrong))
