"""From a scenario to a simulation: its jobs, the part of them that is run, and the machine they run on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcsim.engine.closed_loop import ClosedLoop
from hpcsim.engine.scheduler import Scheduler
from hpcsim.engine.simulation import Simulation
from hpcsim.errors import InputError, SchedulerError, TwinError
from hpcsim.machine.spec import MachineSpec
from hpcsim.scenario.load import LoadedScenario
from hpcsim.scenario.needs import capabilities_of
from hpcsim.workload.arrivals import Pace, Rhythm, offered_load, paced, shaken
from hpcsim.workload.job import Workload
from hpcsim.workload.records import PluggedReader
from hpcsim.workload.synthetic import synthesise
from hpcsim.workload.think import Thinking, thinking
from hpcsim.workload.trace import read_trace

if TYPE_CHECKING:
    from hpcsim.machine.readings import Readings

DEFAULT_DAYS = 30.0


@dataclass(frozen=True, slots=True)
class Cut:
    """The jobs of a run and its clock: seconds since the trace's zero, ``None`` where nothing limits it.

    Only jobs submitted in ``[measured_from, measured_to)`` count in metrics. ``running`` maps the jobs that are
    on the machine at ``start`` to their recorded starts. ``load`` is what the jobs offered before they were scaled to
    the scenario's load; None where they were not. ``thinking`` says which jobs follow others; None: none does.
    """

    workload: Workload
    start: int
    measured_from: int | None
    measured_to: int | None
    running: dict[int, int]
    load: float | None = None
    thinking: Thinking | None = None


def load_workload(loaded: LoadedScenario, readers: Sequence[PluggedReader] = ()) -> Workload:
    """The jobs that the scenario names: its trace, or else so many days or jobs of its profile.

    ``readers`` are those of plug-ins, of which the scenario may have chosen one.
    """
    scenario = loaded.scenario
    if scenario.trace is not None:
        chosen = scenario.trace_format
        return read_trace(
            scenario.trace,
            strict=scenario.strict,
            reservations=scenario.reservations,
            readers=readers,
            form=None if chosen is None else chosen.name,
        )
    if scenario.profile is None:
        raise InputError(
            f"{loaded.place()}: scenario {scenario.name} names no jobs: give a trace (--trace FILE) or a profile"
        )
    days = None if scenario.jobs is not None else scenario.days or DEFAULT_DAYS  # a number of jobs goes before
    try:
        return synthesise(scenario.profile, seed=scenario.seed, jobs=scenario.jobs, days=days)
    except InputError as error:
        raise InputError(f"{loaded.place('profile')}: {error}") from None


def machine_nodes(loaded: LoadedScenario, workload: Workload) -> int:
    """The size of a machine without physics: the scenario's, else the trace's own."""
    for key in ("classes", "transfer_gb_s"):
        if getattr(loaded.scenario.machine, key) is not None:
            place = loaded.place("machine", key)
            raise InputError(f"{place}: machine.{key}: needs machine.model and physics, to know which nodes a job has")
    nodes = loaded.scenario.machine.nodes or workload.machine_nodes
    if nodes is None:
        raise InputError(
            f"scenario {loaded.scenario.name}: machine.nodes: how many nodes the machine has is said neither there nor "
            f"in {workload.source}; write it there, or add --set machine.nodes=N"
        )
    return nodes


def jobs_and_machine(
    loaded: LoadedScenario, readers: Sequence[PluggedReader], machines: Mapping[str, Path]
) -> tuple[Workload, MachineSpec | None, int]:
    """The scenario's jobs as its machine takes them, the machine itself where there is physics, and its nodes.

    ``readers`` and ``machines`` (files by name) are those of plug-ins.
    """
    workload = load_workload(loaded, readers)
    if loaded.scenario.physics is not None:
        from hpcsim.scenario import physics  # scipy and the machine floor, only where they are needed

        spec = physics.machine_spec(loaded, machines)
        if spec is not None:
            workload = physics.in_places(workload, spec, loaded.scenario.physics.processors)
            return workload, spec, spec.units * spec.unit_nodes
    return workload, None, machine_nodes(loaded, workload)


def cut(loaded: LoadedScenario, workload: Workload, nodes: int) -> Cut:
    """The jobs of the scenario's window, and those that were there when it began if it starts warm; at its load."""
    scenario = loaded.scenario
    window = scenario.window
    submit = workload.column("submit_s")
    rhythm = None if scenario.load is None else Rhythm(submit)
    if window is None:
        if scenario.jobs is not None:
            workload = workload.first(scenario.jobs)
        submit = workload.column("submit_s")
        span = (int(submit[0]), int(submit[-1]) + 1) if len(submit) else (0, 0)
        return _changed(loaded, Cut(workload, span[0], None, None, {}), span[1], nodes, rhythm)
    zero = workload.t0_utc
    start = window.start.seconds(zero) if window.start else int(submit[0])
    end = window.end.seconds(zero) if window.end else int(submit[-1]) + 1
    measured: tuple[int, int | None] = start + window.warm_up, end - window.cool_down
    if not start + window.warm_up < end - window.cool_down:
        raise InputError(
            f"{loaded.place('window')}: window: nothing is left to measure between {measured[0]} and {measured[1]} s "
            f"(start + warm_up, end - cool_down); the trace runs from {submit[0]} to {submit[-1]} s"
        )
    inside = (submit >= start) & (submit < end)
    if window.jobs is not None:
        inside &= np.cumsum(inside) <= window.jobs
        end, measured = int(submit[inside].max(initial=start)) + 1, (start, None)
    recorded = workload.column("recorded_start_s")
    was_running = np.zeros(len(workload), bool)
    if window.warm_start:
        if np.all(recorded < 0):
            raise InputError(f"{loaded.place('window')}: window.warm_start: {workload.source} records no starts")
        before = (submit < start) & (recorded >= 0)
        was_running = before & (recorded < start) & (recorded + workload.column("runtime_s") > start)
        inside |= was_running | (before & (recorded >= start))
    ids = np.flatnonzero(inside)
    if not ids.size:
        raise InputError(f"{loaded.place('window')}: window: no job is submitted between {start} and {end} s")
    part = workload.take(ids)
    running = {}
    free = nodes
    on_machine = np.flatnonzero(was_running[ids])
    part_nodes = np.where(part.column("cores") > 0, 0, part.column("nodes"))  # shared nodes are seen to when it begins
    for job_id in on_machine[np.argsort(recorded[ids[on_machine]], kind="stable")].tolist():
        # records overlap now and then: who does not fit any more waits at the start
        if part_nodes[job_id] <= free:
            free -= int(part_nodes[job_id])
            running[job_id] = int(recorded[ids[job_id]])
    if scenario.jobs is not None and scenario.jobs < len(part):
        part = part.first(scenario.jobs)
        running = {job_id: began for job_id, began in running.items() if job_id < scenario.jobs}
    return _changed(loaded, Cut(part, start, *measured, running), end, nodes, rhythm)


def _changed(loaded: LoadedScenario, piece: Cut, end: int, nodes: int, rhythm: Rhythm | None) -> Cut:
    """The piece, whose jobs come before ``end``, shaken and at the load that the scenario asks for."""
    scenario, workload, start = loaded.scenario, piece.workload, piece.start
    if scenario.shake is not None:
        submit_s, runtime = scenario.shake.submit, scenario.shake.runtime
        try:
            workload = shaken(workload, submit_s=submit_s, runtime=runtime, seed=scenario.seed, start=start, end=end)
        except InputError as error:
            raise InputError(f"{loaded.place('shake')}: shake: {error}") from None
        piece = replace(piece, workload=workload)
    if scenario.closed_loop is not None:
        try:
            thinks = thinking(workload, at_most_s=scenario.closed_loop.think, start=start)
        except InputError as error:
            raise InputError(f"{loaded.place('closed_loop')}: closed_loop: {error}") from None
        piece = replace(piece, thinking=thinks)
    if scenario.load is None or rhythm is None:
        return piece
    place = loaded.place("load")
    try:
        was = offered_load(workload, start=start, end=end, nodes=nodes, overrun=scenario.overrun)
    except InputError as error:
        raise InputError(f"{place}: load: {error}") from None
    length = round((end - start) * was / scenario.load)
    if length < 2:
        raise InputError(
            f"{place}: load: the jobs submitted between {start} and {end} s offer a load of {was:.3g}; "
            f"none is left to scale to {scenario.load:g}"
        )
    pace = Pace(start, end, start + length, rhythm)
    first, last = (
        None if limit is None else int(pace.moved(limit)) for limit in (piece.measured_from, piece.measured_to)
    )
    return Cut(paced(workload, pace), start, first, last, piece.running, was, piece.thinking)


def make_scheduler(loaded: LoadedScenario, kind: type) -> Scheduler:
    """The scheduler that the scenario names, with its validated options.

    Of what it ``uses`` it is told, by its ``needs``, what the scenario has.
    """
    name = loaded.scenario.scheduler.name
    try:
        scheduler: Any = kind() if loaded.options is None else kind(loaded.options)
    except InputError as error:
        raise InputError(f"scheduler {name}: {error}") from error
    except Exception as error:
        hint = ""
        if loaded.options is None and isinstance(error, TypeError) and "positional argument" in str(error):
            hint = "; it has no class Options, and without one __init__ is handed nothing"
        raise SchedulerError(f"scheduler {name} could not be made: {type(error).__name__}: {error}{hint}") from error
    uses: Any = getattr(scheduler, "uses", frozenset())
    if uses:
        scheduler.needs = frozenset(getattr(scheduler, "needs", ())) | (uses & capabilities_of(loaded.scenario))
    made: Scheduler = scheduler
    return made


def make_twins(loaded: LoadedScenario, kinds: Mapping[str, type]) -> dict[str, Any]:
    """The twin that the scenario names for each question, with its validated options; ``kinds``: class by name."""
    made = {}
    for question, named in loaded.scenario.twins:
        if named is None:
            continue
        kind, options = kinds[named.name], loaded.twin_options.get(question)
        try:
            made[question] = kind() if options is None else kind(options)
        except InputError as error:
            raise InputError(f"twin {named.name}: {error}") from error
        except Exception as error:
            raise TwinError(f"twin {named.name} could not be made: {type(error).__name__}: {error}") from error
    return made


def make_simulation(
    loaded: LoadedScenario,
    piece: Cut,
    nodes: int,
    scheduler: Scheduler,
    twins: Mapping[str, Any],
    spec: MachineSpec | None = None,
    take_readings: Callable[[Readings], None] | None = None,
) -> Simulation:
    """The simulation of ``piece`` on a machine of ``nodes`` nodes, with the physics of ``spec`` if there is one.

    ``twins`` are those of ``make_twins``.

    ``take_readings`` is given the telemetry; without it none is sampled.
    """
    site = admission = None
    if spec is not None:
        from hpcsim.scenario import physics  # scipy and the machine floor, which a run that counts nodes can do without

        site = physics.make_site(loaded, piece.workload, spec, piece.start, take_readings, twins)
        admission = physics.make_admission(loaded, spec, piece.workload.t0_utc)
    scenario = loaded.scenario
    return Simulation(
        piece.workload,
        scheduler,
        nodes=nodes,
        start=piece.start,
        running_at_start=piece.running,
        overrun=scenario.overrun,
        pass_interval=scenario.pass_interval,
        launch_latency=scenario.launch_latency,
        seed=scenario.seed,
        twins=twins,
        site=site,
        admission=admission,
        closed_loop=None if piece.thinking is None else ClosedLoop(piece.thinking),
    )
