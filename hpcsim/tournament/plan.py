"""From a tournament file to its cells; all that can be found wrong before a cell runs is found here."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hpcsim.errors import HpcsimError, InputError
from hpcsim.plugin.loader import Plugins
from hpcsim.replay import Source, made, source_of
from hpcsim.results.figures import FIGURES, FIGURES_OF_MACHINE, FIGURES_OF_WORKFLOW
from hpcsim.scenario.build import DEFAULT_DAYS
from hpcsim.scenario.layers import Layer, did_you_mean, shown, text_layers
from hpcsim.scenario.load import LoadedScenario, checked
from hpcsim.scenario.models import Window
from hpcsim.strict_yaml import Place, Steps, YamlText
from hpcsim.tournament.grid import AS_IS, SATURATED, SATURATION, Entrant, Grid, Windows
from hpcsim.tournament.identity import identity, key
from hpcsim.tournament.windows import ALL, DAY_S, Extent, Placed, by_pattern, listed, sequence, sequences
from hpcsim.workload.job import Int64s
from hpcsim.workload.synthetic import T0_UTC, mean_jobs_per_day, synthesise

OF_PARTS = {"energy_split_kwh", "jobs_by_state", "recorded_places"}
"""Figures that are mappings; a part of one is a metric: ``energy_split_kwh.idle``."""


_SAME = "; windows are the same for all scenarios of a tournament: scenarios of other times go into one of their own"


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a tournament: where it stands in the grid, and the whole scenario that it runs.

    ``key`` names its directory and hangs on the scenario alone. ``jobs`` is about how many it has.
    """

    scenario: str
    window: str
    scheduler: str
    seed: int
    load: str
    key: str
    identity: dict[str, Any]
    content: dict[str, Any]
    jobs: int

    def __str__(self) -> str:
        return f"{self.scenario} {self.window} load {self.load} seed {self.seed} {self.scheduler}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The cells of a tournament in the order of its tables, and what was asked of it."""

    grid: Grid
    cells: tuple[Cell, ...]
    windows: dict[str, tuple[Placed, ...]]
    plugin_files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Field:
    """A scenario of the tournament with what cuts windows from it: under the scheduler of each entrant."""

    name: str
    place: Place
    loaded: tuple[LoadedScenario, ...]
    extent: Extent
    placed: tuple[Placed, ...] = ()

    @property
    def first(self) -> LoadedScenario:
        return self.loaded[0]


def plan(grid: Grid, plugins: Plugins, *, plugin_files: Sequence[Path] = (), data: Path | None = None) -> Plan:
    """The cells of a tournament, checked.

    ``data`` is the folder that traces are looked for in. Raises ``InputError``, a line for each thing that is wrong.
    """
    wrong = [f"{grid.place('metrics', n)}: {said}" for n, said in _unknown_metrics(grid, plugins)]
    fields: list[_Field] = []
    for number, entry in enumerate(grid.tournament.scenarios):
        try:
            field = _field(grid, number, entry, plugins, data)
            if field.name in (other.name for other in fields):
                raise InputError(f"{field.place}: scenarios: {field.name} a second time; give one another name")
            fields.append(field)
        except InputError as error:
            wrong += str(error).splitlines()
    placed: list[_Field] = []
    for field in fields:
        try:
            placed.append(replace(field, placed=tuple(_windows(grid, field))))
        except InputError as error:
            part = "protocol" if str(error).startswith("protocol") else "windows"
            # the remedies that it names would move the windows of the others too
            alone = len(fields) == 1 or part != "windows" or field.extent.source not in str(error)
            wrong.append(f"{_place(grid, str(error), part)}: {error}{'' if alone else _SAME}")
    if wrong:
        raise InputError("\n".join(dict.fromkeys(wrong)))
    cells = [cell for field in placed for cell in _cells(grid, field, plugins)]
    windows = {field.name: field.placed for field in placed}
    return Plan(grid, tuple(cells), windows, tuple(os.path.abspath(file) for file in plugin_files))


def _place(grid: Grid, said: str, part: str) -> Place:
    """The place of the key that a complaint begins with, ``windows.2.end: ...``; else that of ``part``."""
    steps = [int(step) if step.isdigit() else step for step in said.split(":")[0].split(".")]
    return grid.place(*steps) if steps[0] == part else grid.place(part)


def _unknown_metrics(grid: Grid, plugins: Plugins) -> Iterator[tuple[int, str]]:
    own = [name for figure in (*FIGURES, *FIGURES_OF_MACHINE, *FIGURES_OF_WORKFLOW) for name in figure.names]
    known = [*(name for name in own if name not in OF_PARTS), *plugins.offers["metrics"]]
    for number, metric in enumerate(grid.tournament.metrics):
        whole, dot, _ = metric.partition(".")
        if metric in known or (dot and whole in OF_PARTS):
            continue
        if metric in OF_PARTS:
            yield number, f"metrics: {metric} is no number; name a part of it, such as {metric}.PART"
            continue
        guess = did_you_mean(metric, known) or " `hpcsim metrics` lists them."
        yield number, f"metrics: no figure and no metric is called {metric!r}.{guess}"


def _field(grid: Grid, number: int, entry: Any, plugins: Plugins, data: Path | None) -> _Field:
    """A scenario under every entrant, and what there is of its jobs."""
    layers, place = _scenario_layers(grid, number, entry, data), grid.place("scenarios", number)
    if data is not None:
        layers = [_in_folder(layer, data) for layer in layers]
    wrong: list[str] = []
    loaded: list[LoadedScenario] = []
    for at, entrant in enumerate(grid.tournament.schedulers):
        unknown = f"no scheduler named {entrant.name!r}"
        try:
            one = checked(
                [*layers, _entrant_layer(grid, at, entrant)],
                schedulers=plugins.schedulers, twins=plugins.twins, parts=plugins.offers,
            )  # fmt: skip
            loaded.append(one)
        except InputError as error:
            wrong += [
                (line if grid.text.value_places[()].origin in line else f"{place}: {line}")
                + (" That of a plug-in's file: --plugin FILE." if unknown in line else "")
                for line in str(error).splitlines()
            ]
    if wrong:
        raise InputError("\n".join(dict.fromkeys(wrong)))
    trace = loaded[0].scenario.trace
    if trace is not None and not os.path.exists(trace):
        looked = "--data DIR is the folder in which traces are looked for" if data is None else f"nor is it in {data}"
        raise InputError(f"{place}: {trace}: there is no such file; {looked}")
    extent, source = _extent(grid, place, loaded[0], plugins)
    for one, entrant in zip(loaded, grid.tournament.schedulers, strict=True):
        try:
            _try(one, plugins, source)
        except HpcsimError as error:
            wrong += [f"{place}: {one.scenario.name} under {entrant.shown}: {line}" for line in str(error).splitlines()]
    if wrong:
        raise InputError("\n".join(dict.fromkeys(wrong)))
    return _Field(loaded[0].scenario.name, place, tuple(loaded), extent)


def _scenario_layers(grid: Grid, number: int, entry: Any, data: Path | None) -> list[Layer]:
    path: Steps = ("scenarios", number)
    if isinstance(entry, str):
        place = grid.place(*path)
        text = YamlText({"base": entry}, {}, {(): place, ("base",): place})
    elif isinstance(entry, dict):
        text = YamlText(entry, _below(grid.text.key_places, path), _below(grid.text.value_places, path))
        trace = entry.get("trace")
        if data is not None and isinstance(trace, str) and (data / trace).is_file():
            text = replace(text, data={**entry, "trace": str((data / trace).absolute())})
    else:
        raise InputError(f"{grid.place(*path)}: scenarios.{number}: Input should be a file, a name or a scenario")
    try:
        return text_layers(text, grid.folder)
    except InputError as error:
        raise InputError(str(error).replace(": base: ", f": scenarios.{number}: ", 1)) from None


def _below(places: dict[Steps, Place], path: Steps) -> dict[Steps, Place]:
    return {steps[len(path) :]: place for steps, place in places.items() if steps[: len(path)] == path}


def _in_folder(layer: Layer, data: Path) -> Layer:
    """The layer with the trace that is not where it is said to be, but in ``data`` under the same name."""
    trace = layer.data.get("trace")
    if isinstance(trace, str) and not Path(trace).is_file() and (data / Path(trace).name).is_file():
        found = str((data / Path(trace).name).absolute())
        return Layer({**layer.data, "trace": found}, layer.key_places, layer.value_places)
    return layer


def _entrant_layer(grid: Grid, number: int, entrant: Entrant) -> Layer:
    """What an entrant puts over a scenario, with the places of its values in the tournament file."""
    path: Steps = ("schedulers", number)
    content: dict[str, Any] = {"scheduler": {"name": entrant.name, **entrant.options}}
    keys, values = _below(grid.text.key_places, path), _below(grid.text.value_places, path)
    for part in ("levers", "twins"):
        if getattr(entrant, part) is not None:
            content[part] = getattr(entrant, part)
    here = grid.place(*path)
    places = {(): here, ("scheduler",): here, ("scheduler", "name"): values.get(("name",), here)}

    def under(steps: Steps) -> Steps:
        return steps if steps[0] in ("levers", "twins") else ("scheduler", *steps)

    return Layer(
        content,
        {under(steps): place for steps, place in keys.items() if steps},
        places | {under(steps): place for steps, place in values.items() if steps},
    )


def _extent(grid: Grid, place: Place, loaded: LoadedScenario, plugins: Plugins) -> tuple[Extent, Source]:
    """What windows can be cut from; and the jobs, but of a profile only one: it is drawn when its cells run."""
    scenario = loaded.scenario
    cut = grid.windows is not None or grid.tournament.protocol.name != "windows"
    for name in ("window", "jobs") if cut else ():
        if getattr(scenario, name) is not None:
            raise InputError(
                f"{place}: {scenario.name} says which jobs are run ({name}, {loaded.place(name)}), and so does the "
                f"tournament; leave {name} out (null)"
            )
    for name in ("load", "shake"):
        asked = grid.tournament.loads != [AS_IS] if name == "load" else grid.tournament.shake is not None
        if asked and getattr(scenario, name) is not None:
            raise InputError(f"{place}: {scenario.name} has a {name} of its own, and so has the tournament")
    drawn = scenario.trace is None and scenario.profile is not None
    if drawn:
        loaded = replace(loaded, scenario=scenario.model_copy(update={"jobs": 1, "days": None}))
    try:
        source = source_of(loaded, plugins)
        if drawn:
            per_day = mean_jobs_per_day(str(scenario.profile))
            return Extent(f"the profile {scenario.profile}", T0_UTC, None, False, per_day), source
    except InputError as error:
        raise InputError("\n".join(f"{place}: {line}" for line in str(error).splitlines())) from None
    workload = source[0]
    if not len(workload):
        raise InputError(f"{place}: {workload.source}: has no jobs")
    records = bool((workload.column("recorded_start_s") >= 0).any())
    return Extent(workload.source, workload.t0_utc, workload.column("submit_s"), records, 0.0), source


def _try(loaded: LoadedScenario, plugins: Plugins, source: Source) -> None:
    """Make the simulation of a job, so that what an entrant needs and a scenario lacks is found before any cell."""
    one: dict[str, Any] = {"jobs": 1, "window": None, "load": None, "shake": None, "until": None}
    made(replace(loaded, scenario=loaded.scenario.model_copy(update=one)), plugins, source=source)


def _windows(grid: Grid, field: _Field) -> list[Placed]:
    windows, protocol, extent = grid.windows, grid.tournament.protocol, field.extent
    if protocol.name == "rlscheduler":
        jobs = len(extent.submit_s) if extent.submit_s is not None else _profile_jobs(field)
        return [Placed(f"job-{first:07}", {"first": first}, protocol.jobs) for first in sequences(protocol, jobs)]
    if windows is None:
        scenario = field.first.scenario
        jobs = len(extent.submit_s) if extent.submit_s is not None else _profile_jobs(field)
        return [Placed(ALL, None, scenario.jobs or jobs)]
    return by_pattern(windows, extent) if isinstance(windows, Windows) else listed(windows, extent)


def _profile_jobs(field: _Field) -> int:
    days = field.first.scenario.days or DEFAULT_DAYS
    return field.first.scenario.jobs or max(1, round(field.extent.jobs_per_day * days))


def _cells(grid: Grid, field: _Field, plugins: Plugins) -> Iterator[Cell]:
    """The cells of a scenario: by load, window, seed and scheduler."""
    tournament = grid.tournament
    resolved = [loaded.resolved() for loaded in field.loaded]
    idents = [identity(each, plugins, tournament.keep) for each in resolved]
    shake = None if tournament.shake is None else {"shake": tournament.shake.model_dump(mode="json")}
    for load in tournament.loads:
        for window in field.placed:
            for seed in tournament.seeds:
                changes = {"seed": seed, **_section(grid, field, window, seed), **_at(load), **(shake or {})}
                for entrant, content, ident in zip(tournament.schedulers, resolved, idents, strict=True):
                    mine = {**ident, "scenario": _with(ident["scenario"], changes, window, seed)}
                    yield Cell(
                        field.name, window.label, entrant.shown, seed, str(load), key(mine), mine,
                        _with(content, changes, window, seed), window.jobs,
                    )  # fmt: skip


def _with(scenario: dict[str, Any], changes: dict[str, Any], window: Placed, seed: int) -> dict[str, Any]:
    """A cell's scenario. Each window has failures of its own, or all would meet the same at the same hour."""
    physics = scenario["physics"]
    if window.section is not None and physics is not None and physics["failure_seed"] is None:
        chance = zlib.crc32(f"{seed} {window.label}".encode())
        return {**scenario, **changes, "physics": {**physics, "failure_seed": chance}}
    return {**scenario, **changes}


def _at(load: Any) -> dict[str, Any]:
    return {} if load == AS_IS else {"load": SATURATED if load == SATURATION else float(load)}


def _section(grid: Grid, field: _Field, window: Placed, seed: int) -> dict[str, Any]:
    """The keys of a scenario that cut a window out of it."""
    if window.section is None:
        return {}
    scenario, submit_s = field.first.scenario, field.extent.submit_s
    days = _days(grid, field)
    if "first" in window.section:
        if submit_s is None:
            submit_s = _submissions(str(scenario.profile), seed, days)
        section = sequence(submit_s, window.section["first"], window.jobs)
    else:
        section = window.section
    try:
        whole = Window(**section).model_dump(mode="json")
    except ValidationError as error:
        raise InputError(
            f"{grid.place('windows')}: windows: {field.name}: {window.label}: {error.errors()[0]['msg']} "
            f"(got {shown(error.errors()[0]['input'])})"
        ) from None
    return {"window": whole} if field.extent.submit_s is not None else {"window": whole, "days": days}


def _days(grid: Grid, field: _Field) -> float:
    """How many days of a profile are drawn: those of the scenario, or what its last window needs."""
    days = field.first.scenario.days or DEFAULT_DAYS
    if grid.windows is None:
        return days
    ends = [placed.section["end"] for placed in field.placed if placed.section is not None]
    return max(days, float(-(-max(ends) // DAY_S)))


@lru_cache(maxsize=64)
def _submissions(profile: str, seed: int, days: float) -> Int64s:
    return synthesise(profile, seed=seed, days=days).column("submit_s")
