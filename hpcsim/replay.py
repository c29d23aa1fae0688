"""From a scenario to a finished run: the whole way, as one call."""

from __future__ import annotations

import hashlib
import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

import hpcsim
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.twins import reports as reports_of_twins
from hpcsim.errors import InputError, SchedulerError
from hpcsim.plugin.loader import Plugins, load_plugins
from hpcsim.plugin.metric import FinishedRun
from hpcsim.results.check import check as check_laws
from hpcsim.results.citations import cites_of_run
from hpcsim.results.metrics import summarise
from hpcsim.results.plugged import computed
from hpcsim.results.run import OF_SCHEDULERS, Run
from hpcsim.results.shared import nodes_of_jobs
from hpcsim.results.tables import (
    UNFINISHED,
    attempts_table,
    decisions_table,
    interrupts_table,
    jobs_table,
    timeline_table,
)
from hpcsim.scenario import build, parts
from hpcsim.scenario.load import LoadedScenario, load_scenario
from hpcsim.scenario.needs import refuse_lacking
from hpcsim.strict_yaml import dump_yaml, parse_mapping

if TYPE_CHECKING:
    from pydantic import BaseModel

    from hpcsim.levers import Lever
    from hpcsim.machine.readings import Readings
    from hpcsim.machine.spec import MachineSpec
    from hpcsim.results.telemetry import TelemetryFile
    from hpcsim.workload.job import Workload

    Take = Callable[[Readings], None]

Progress = Callable[[Simulation], None]

_LIBRARIES = ("simpy", "numpy", "pyarrow", "pydantic", "pluggy")
_SLICES = 500  # how often progress is told, at most


def simulate(
    scenario: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    plugins: str | Path | Sequence[str | Path] = (),
    check: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Run a scenario and return what came of it; nothing is written to disk but telemetry, to a file without a name.

    Parameters
    ----------
    scenario : a file, the name of a packaged scenario (``polaris``) or the content as a mapping.
    overrides : dotted keys and values that replace the scenario's, e.g. ``{"machine.nodes": 24}``.
    plugins : Python files that hold plug-ins, besides the installed ones.
    check : verify the laws of ``hpcsim.results.check`` at the end.
    progress : called a few hundred times with the simulation, for a progress bar.

    Raises
    ------
    InputError : the scenario, its trace or a plug-in file is wrong.
    RunError : the scheduler failed, or a law was broken.
    """
    loaded, found = _loaded(scenario, overrides, plugins)
    return replay(loaded, found, check=check, progress=progress)


def begin(
    scenario: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    plugins: str | Path | Sequence[str | Path] = (),
) -> Simulation:
    """The simulation of a scenario at its first second, for the caller to step; docs/library.md shows how.

    The arguments are those of ``simulate``. What belongs to a run and not to its simulation has no effect: ``until``,
    observers, metrics, telemetry. Raises InputError where the scenario, its trace or a plug-in file is wrong.
    """
    loaded, found = _loaded(scenario, overrides, plugins)
    simulation = made(loaded, found).simulation
    simulation.scenario_yaml = dump_yaml(loaded.resolved())
    return simulation


def resume(path: str | Path, *, plugins: str | Path | Sequence[str | Path] = ()) -> Simulation:
    """The simulation that ``Simulation.save`` wrote to a file, if ``begin`` made it, to go on with to the same bytes.

    The file holds the scenario, but neither the trace that this names nor any plug-in: those have to be there, and a
    print tells whether they are the same. Raises InputError as ``Simulation.restore`` and ``begin`` do.
    """
    from hpcsim.engine.snapshot import scenario_in  # for few runs

    scenario = scenario_in(path)
    if not scenario:
        raise InputError(f"{path}: holds no scenario; make its simulation as it was made, and call restore on that")
    simulation = begin(parse_mapping(scenario, str(path)).data, plugins=plugins)
    simulation.restore(path)
    return simulation


def _loaded(
    scenario: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | Sequence[str],
    plugins: str | Path | Sequence[str | Path],
) -> tuple[LoadedScenario, Plugins]:
    files = [plugins] if isinstance(plugins, (str, Path)) else plugins
    found = load_plugins([Path(file) for file in files])
    try:
        loaded = load_scenario(scenario, overrides, schedulers=found.schedulers, twins=found.twins, parts=found.offers)
    except InputError as error:  # what is missing may be in a plug-in that could not be loaded
        broken = [f"plug-in {origin} is not loaded: {said}" for origin, said in found.errors.items()]
        raise InputError("\n".join([str(error), *broken])) from error
    return loaded, found


class Made(NamedTuple):
    """A simulation, and what it was made of; ``scheduler`` is that of the scenario, inside its ``levers``."""

    simulation: Simulation
    piece: build.Cut
    scheduler: Any
    levers: list[Lever]


Source = tuple["Workload", "MachineSpec | None", int]  # jobs, the machine where there is physics, its nodes


def source_of(loaded: LoadedScenario, plugins: Plugins) -> Source:
    """All jobs of a scenario as its machine takes them, and the machine: what several runs can share."""
    readers = parts.readers_of(plugins.offers["workloads"], loaded)
    return build.jobs_and_machine(loaded, readers, plugins.machines)


def made(
    loaded: LoadedScenario,
    plugins: Plugins,
    readings: Callable[[build.Cut], Take | None] = lambda piece: None,
    source: Source | None = None,
) -> Made:
    """The simulation of a scenario at its first second; ``readings`` says who takes the telemetry of its jobs."""
    workload, spec, nodes = source or source_of(loaded, plugins)
    piece = build.cut(loaded, workload, nodes)
    scheduler = inner = build.make_scheduler(loaded, plugins.schedulers[loaded.scenario.scheduler.name])
    twins = build.make_twins(loaded, plugins.twins)
    levers: list[Lever] = []
    if loaded.scenario.levers is not None:
        from hpcsim.levers import make_levers, refuse_impossible, with_levers  # for few runs

        levers = make_levers(loaded)
    refuse_lacking(loaded, scheduler, twins, piece.workload, levers)
    if levers:
        scheduler = with_levers(scheduler, levers)
    simulation = build.make_simulation(loaded, piece, nodes, scheduler, twins, spec, readings(piece))
    if levers and simulation.site is not None:
        refuse_impossible(loaded, levers, simulation.site)
    return Made(simulation, piece, inner, levers)


def replay(
    loaded: LoadedScenario,
    plugins: Plugins,
    *,
    check: bool = False,
    progress: Progress | None = None,
    source: Source | None = None,
    begun: Progress = lambda simulation: None,
) -> Run:
    """Run a scenario that has been loaded against ``plugins``; see ``simulate``.

    ``source`` is what ``source_of`` made of a scenario with the same jobs and machine. ``begun`` is called with the
    simulation at its first second: another scheduler may take over there.
    """
    clock = _Clock()
    telemetry: TelemetryFile | None = None

    def readings(piece: build.Cut) -> Take | None:
        nonlocal telemetry
        if loaded.scenario.physics is None or loaded.scenario.physics.telemetry is None:
            return None
        from hpcsim.results.telemetry import TelemetryFile  # with the machine floor, for few runs

        telemetry = TelemetryFile.begin()
        return telemetry.writer(piece.workload.table.column("name"))

    simulation, piece, scheduler, levers = made(loaded, plugins, readings, source)
    workload, nodes = piece.workload, simulation.nodes
    begun(simulation)
    observers = parts.make_observers(loaded, plugins.offers["observers"])
    if observers:
        simulation.watch(observers)
    clock.lap("load")

    _run(simulation, _until(loaded, workload.t0_utc, piece.start), progress)
    if telemetry is not None and simulation.site is not None and simulation.site.telemetry is not None:
        simulation.site.telemetry.flush()
        telemetry.close()
    reports = simulation.observers.finish() if simulation.observers is not None else {}
    clock.lap("simulate")

    submit = piece.workload.column("submit_s")
    measured = np.ones(submit.size, bool)
    if piece.measured_from is not None:
        measured &= submit >= piece.measured_from
    if piece.measured_to is not None:
        measured &= submit < piece.measured_to
    jobs, attempts, timeline = (
        jobs_table(simulation, measured),
        attempts_table(simulation),
        timeline_table(simulation),
    )
    if check:
        clock.lap("results")
        check_laws(simulation, jobs, attempts, timeline)
        clock.lap("check")
    measured_to = piece.measured_to
    if not simulation.is_over:  # stopped by ``until``: nothing is known of what comes later
        measured_to = simulation.now if measured_to is None else min(measured_to, simulation.now)
    tables = {"jobs": jobs, "attempts": attempts, "timeline": timeline, "decisions": decisions_table(simulation)}
    tables |= _own_tables(simulation, scheduler)
    energy = _energy(simulation, jobs, tables)
    summary = summarise(
        jobs,
        timeline,
        nodes=nodes,
        measured_from=piece.measured_from,
        measured_to=measured_to,
        nodes_each=nodes_of_jobs(simulation),
        nominal_s=None if simulation.site is None else simulation.workload.column("runtime_s")[: jobs.num_rows],
    )
    summary |= _workflow(simulation, summary["makespan_s"])
    if energy:
        summary |= energy | {"seed_energy_per_job_kwh": energy["energy_kwh_per_job"]}
    over = FinishedRun(
        jobs=jobs,
        attempts=attempts,
        timeline=timeline,
        power=tables.get("power"),
        interrupts=tables.get("interrupts"),
        summary=MappingProxyType(summary.copy()),
        nodes=nodes,
        t0_utc=workload.t0_utc,
        measured_from=piece.measured_from,
        measured_to=measured_to,
    )
    values, wrong = computed(parts.metric_makers(loaded, plugins.offers["metrics"]), over)
    told = simulation.observers.errors if simulation.observers is not None else {}
    summary |= {
        key: said
        for key, said in (
            ("twins", reports_of_twins(simulation.twins, simulation.now)),
            ("metrics", values),
            ("metric_errors", wrong),
            ("observers", reports),
            ("observer_errors", dict(sorted(told.items()))),
        )
        if said
    }
    manifest = {
        "hpcsim": hpcsim.__version__,
        "scenario": loaded.scenario.name,
        "seed": loaded.scenario.seed,
        "scheduler": simulation.scheduler.name,
        "scheduler_options": _changed(loaded.options),
        "levers": [lever.name for lever in levers],
        "needs": sorted(simulation.needs),
        "twins": {question: twin.name for question, twin in simulation.twins.items()},
        "oracles": sorted(question for question, twin in simulation.twins.items() if hasattr(twin, "knows")),
        "t0_utc": workload.t0_utc,
        "machine": {"name": loaded.scenario.machine.name, "nodes": nodes},
        "workload": {
            "source": workload.source,
            "sha256": _sha256(loaded.scenario.trace),
            "format": workload.form,
            "jobs": len(workload),
            "machine_nodes": workload.machine_nodes,
            "cleaning": dict(workload.cleaning),
        },
        "cites": cites_of_run(
            loaded.scenario,
            scheduler,
            levers,
            simulation.twins.values(),
            reads=None if workload.form is None else (workload.form, plugins.offers["workloads"].get(workload.form)),
            metrics={name: plugins.offers["metrics"][name] for name in values},
        ),
        "warm_start_jobs": simulation.found_running,
        "load": None if piece.load is None else {"asked": loaded.scenario.load, "found": piece.load},
        "checked": check,
        "metric_units": {name: plugins.offers["metrics"][name].unit for name in values},
        "plugins": [plugin.as_data() for plugin in plugins.found],
        "versions": {**versions()},
    }
    clock.lap("results")
    return Run(tables, summary, manifest, dump_yaml(loaded.resolved()), clock.timing(simulation), telemetry)


def _changed(options: BaseModel | None) -> dict[str, Any]:
    """The options of a scheduler that are not at their default, as JSON can hold them: infinity is a text."""
    if options is None:
        return {}
    values = options.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    changed: dict[str, Any] = json.loads(json.dumps(values), parse_constant=str)
    return changed


def _own_tables(simulation: Simulation, scheduler: Any) -> dict[str, pa.Table]:
    """The tables that the scheduler has kept of its choices, if it keeps any."""
    if not hasattr(scheduler, "tables"):
        return {}
    try:
        kept = {name: pa.table(columns) for name, columns in scheduler.tables().items() if columns}
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise SchedulerError(f"t={simulation.now}: scheduler {scheduler.name} told no tables: {what}") from error
    if unknown := kept.keys() - set(OF_SCHEDULERS):
        who = f"t={simulation.now}: scheduler {scheduler.name}"
        raise SchedulerError(f"{who} told the table {min(unknown)!r}, expected {' or '.join(OF_SCHEDULERS)}")
    return kept


def _energy(simulation: Simulation, jobs: pa.Table, tables: dict[str, pa.Table]) -> dict[str, Any]:
    """The part of the summary that only a run with physics has; its tables are added to ``tables``."""
    site = simulation.site
    if site is None:
        return {}
    from hpcsim.results.energy import energy_summary, grid_table, power_curve, power_table, temperature_table

    tables["interrupts"] = interrupts_table(site)
    curve = power_curve(simulation, site)
    tables["power"] = power_table(curve)
    tables["grid"] = grid_table(site, curve)
    heat = site.cluster.heat
    if heat is not None and heat.course is not None:
        heat.follow(curve.end_s + 1)
        tables["temperature"] = temperature_table(heat.course, site.cluster.spec.unit_nodes)

    state = np.array(jobs.column("state").to_pylist(), object)
    nominal = simulation.workload.column("runtime_s")[: len(state)] * nodes_of_jobs(simulation)
    return energy_summary(
        simulation,
        site,
        curve,
        work_node_hours=float(nominal[state == "completed"].sum()) / 3600.0,
        ended=int(np.sum(~np.isin(state, ["rejected", *UNFINISHED]))),
    )


def _workflow(simulation: Simulation, makespan_s: int | None) -> dict[str, Any]:
    """The part of the summary that only a run of a workflow has."""
    after = simulation.workload.table.column("after")
    if after.null_count == len(after):
        return {}
    from hpcsim.results.workflow import workflow_summary  # with a scheduler's modules, for few runs

    return workflow_summary(simulation, makespan_s)


def _until(loaded: LoadedScenario, t0_utc: int, start: int) -> int | None:
    if loaded.scenario.until is None:
        return None
    until = loaded.scenario.until.seconds(t0_utc)
    if until <= start:
        raise InputError(f"{loaded.place('until')}: until: found {until} s, but the run begins at {start} s")
    return until


def _run(simulation: Simulation, until: int | None, progress: Progress | None) -> None:
    if progress is not None:
        begin, submit = simulation.start, simulation.workload.column("submit_s")
        last = int(submit[-1]) if until is None else min(until, int(submit[-1]))
        for second in np.unique(np.linspace(begin, last, _SLICES).astype(np.int64))[1:].tolist():
            simulation.run(second)
            progress(simulation)
    simulation.run(until)
    if progress is not None:
        progress(simulation)


class _Clock:
    """CPU seconds of each part of a run."""

    def __init__(self) -> None:
        self._began = datetime.now(UTC)
        self._last = time.process_time()
        self._cpu_s: dict[str, float] = {}

    def lap(self, part: str) -> None:
        now = time.process_time()
        self._cpu_s[part] = round(self._cpu_s.get(part, 0.0) + now - self._last, 4)
        self._last = now

    def timing(self, simulation: Simulation) -> dict[str, Any]:
        passes_s = np.frombuffer(simulation.pass_seconds)
        p50, p99 = np.quantile(passes_s, [0.5, 0.99]).tolist() if passes_s.size else (None, None)
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "began_utc": self._began.isoformat(timespec="seconds"),
            "cpu_s": self._cpu_s,
            "peak_memory_mib": round(peak_kib / (1024 if sys.platform != "darwin" else 1024**2), 1),
            "passes": int(passes_s.size),
            "decision_latency_p50_s": p50,
            "decision_latency_p99_s": p99,
        }


@cache
def versions() -> dict[str, str | None]:
    """The versions of Python and of the libraries that results hang on."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES}}


def _sha256(file: str | None) -> str | None:
    if file is None:
        return None
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
