"""From the physics of a scenario to the cluster of its machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from hpcsim.engine.sampling import sensors_for
from hpcsim.engine.site import Site
from hpcsim.errors import InputError
from hpcsim.machine.catalogue import Unphysical, build_spec, read_machine
from hpcsim.machine.checkpoint import Checkpointing
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.cooling import mode_change_k
from hpcsim.machine.course import interval_s
from hpcsim.machine.facility import Facility
from hpcsim.machine.failures import FailureProcess
from hpcsim.machine.heat import Heat
from hpcsim.machine.node_classes import NodeClass, NodeClasses
from hpcsim.machine.outages import maintenance_windows, recorded_outages, whole_system_outages
from hpcsim.machine.places import Places
from hpcsim.machine.power import cap_holds
from hpcsim.machine.queues import Admission, QueueRules
from hpcsim.machine.readings import Readings
from hpcsim.machine.recorded import RecordedPlaces
from hpcsim.machine.series import read_carbon, read_price
from hpcsim.machine.service import Outage
from hpcsim.machine.shares import Shares, can_share, in_parts
from hpcsim.machine.solar import SolarPlant
from hpcsim.machine.spec import MachineSpec
from hpcsim.machine.telemetry import Telemetry, WatchedHeat
from hpcsim.machine.variation import performance_classes, slowness
from hpcsim.scenario.load import LoadedScenario
from hpcsim.streams import stream
from hpcsim.strict_yaml import Place, Steps
from hpcsim.workload.alcf import read_machine_status
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import Workload

YEAR_S = 365 * 86_400


def machine_spec(loaded: LoadedScenario, machines: Mapping[str, Path]) -> MachineSpec | None:
    """The machine that the scenario's physics needs; None where it has none. Raises InputError with places."""
    physics, machine = loaded.scenario.physics, loaded.scenario.machine
    if physics is None:
        return None
    if machine.model is None:
        raise InputError(
            f"{loaded.place('physics')}: physics: needs machine.model, the machine that it is the physics of"
        )
    try:
        read = read_machine(machine.model, machines)
    except InputError as error:
        if Path(machine.model).is_file():
            raise  # which says where in that file
        raise InputError(f"{loaded.place('machine', 'model')}: machine.model: {error}") from None
    data, places = read.data, dict(read.places)
    resized = machine.nodes is not None and machine.nodes != data.get("nodes")
    if resized:
        data |= {"nodes": machine.nodes, "torus": None, "block_units": None}
        places["nodes",] = loaded.layer.place(("machine", "nodes"))
    try:
        spec = build_spec(data)
    except Unphysical as error:
        raise Unphysical(error.wrong, places) from None
    if physics.failure_rate != 1.0:
        changed = replace(spec.failures, mean_gap_h=spec.failures.mean_gap_h / physics.failure_rate)
        spec = replace(spec, failures=changed)
    if physics.placement in ("torus", "recorded") and spec.torus is None:
        has = "has no torus with blocks" + (f" with {spec.nodes} nodes" if resized else "")
        place = loaded.place("physics", "placement")
        raise InputError(f"{place}: physics.placement: found {physics.placement!r}, but {spec.name} {has}")
    if physics.placement == "coolest" and not physics.heat:
        place = loaded.place("physics", "placement")
        raise InputError(f"{place}: physics.placement: found 'coolest', which needs physics.heat, but that is false")
    if physics.processors == "cores" and not can_share(spec):
        place = loaded.place("physics", "processors")
        raise InputError(
            f"{place}: physics.processors: found 'cores', but {spec.name} allocates no single nodes, to be shared"
        )
    if physics.queues and spec.queues is not None:
        _refuse_useless_queues(loaded, spec, read.places)
    _refuse_useless_classes(loaded, spec)
    return spec


def _refuse_useless_classes(loaded: LoadedScenario, spec: MachineSpec) -> None:
    """Raise InputError for node classes that are not all of the machine, or stand beside what does not go with them."""
    scenario, physics = loaded.scenario, loaded.scenario.physics
    classes, place = scenario.machine.classes, loaded.place("machine", "classes")
    if classes is None or physics is None:
        if scenario.machine.transfer_gb_s is not None:
            place = loaded.place("machine", "transfer_gb_s")
            raise InputError(f"{place}: machine.transfer_gb_s: data move between machine.classes, but there are none")
        return
    nodes = spec.units * spec.unit_nodes
    found = sum(each.nodes for each in classes)
    if found != nodes:
        raise InputError(f"{place}: machine.classes: found {found} nodes in all, but {spec.name} has {nodes}")
    names = [each.name for each in classes]
    if len(set(names)) < len(names):
        raise InputError(f"{place}: machine.classes: found the names {', '.join(names)}, which should differ")
    odd = next((each for each in classes if each.nodes % spec.unit_nodes), None)
    if odd is not None:
        raise InputError(
            f"{place}: machine.classes: found {odd.nodes} nodes in {odd.name}, but {spec.name} gives away "
            f"{spec.unit_nodes} at a time"
        )
    if physics.placement != "packed":
        raise InputError(
            f"{loaded.place('physics', 'placement')}: physics.placement: found {physics.placement!r}, but with "
            "machine.classes jobs get the first free nodes of a class; leave it out"
        )
    if physics.processors == "cores":
        raise InputError(
            f"{loaded.place('physics', 'processors')}: physics.processors: found 'cores', but jobs share no nodes of "
            "machine.classes"
        )


def _refuse_useless_queues(loaded: LoadedScenario, spec: MachineSpec, places: Mapping[Steps, Place]) -> None:
    """Raise InputError if there are no such queue rules, or some queue of them could never run a job here."""
    if spec.queues not in QueueRules.names():
        known = ", ".join(QueueRules.names())
        place = places.get(("queues",), spec.name)
        raise InputError(f"{place}: queues: found {spec.queues!r}, expected one of {known}")
    try:
        QueueRules.named(spec.queues).check_against(spec.nodes)
    except InputError as error:
        place = loaded.place("machine", "nodes" if loaded.scenario.machine.nodes is not None else "model")
        raise InputError(
            f"{place}: the queues of {spec.queues} do not fit a machine of {spec.nodes} nodes; physics.queues: false "
            f"leaves them out\n{error}"
        ) from None


def in_places(workload: Workload, spec: MachineSpec, processors: str = "nodes") -> Workload:
    """The workload with every job's nodes rounded up to what it really takes; larger jobs are left as they are.

    Jobs that share a node get all of their part told; with ``processors`` "cores", nodes of the workload are cores.
    """
    workload = in_parts(workload, spec, processors_are_cores=processors == "cores")
    places = Places(spec, "packed")
    nodes = workload.column("nodes")
    asked, which = np.unique(nodes, return_inverse=True)
    taken = np.array([places.size(int(count)) or int(count) for count in asked], np.int64)
    return workload.with_nodes(taken[which])


def make_site(
    loaded: LoadedScenario,
    workload: Workload,
    spec: MachineSpec,
    start: int,
    take_readings: Callable[[Readings], None] | None = None,
    twins: Mapping[str, Any] = MappingProxyType({}),
) -> Site:
    """The machine with all that the scenario's physics switches on, at second ``start``.

    Its telemetry is sampled if there is somebody to take the readings, and for those ``twins`` that want to be told.
    """
    scenario, physics = loaded.scenario, loaded.scenario.physics
    if physics is None:
        raise ValueError("a scenario without physics has no site")
    seed = scenario.seed
    facility = _facility(loaded, workload, spec, start)
    heat = failures = class_U = telemetry = None
    sampled = None if take_readings is None else physics.telemetry
    if physics.heat:
        watched = sampled is not None or any(hasattr(twin, "senses_every_s") for twin in twins.values())
        heat = (WatchedHeat if watched else Heat)(
            spec.thermal,
            units=spec.units,
            units_per_rack=spec.units_per_rack,
            now=start,
            supply_c=facility.supply_c(start),
            node_w=spec.power.idle_w,
            gpu_w=spec.power.gpu_idle_w,
            rng=stream(seed, "heat: resistances"),
        )
        heat.take_down(interval_s(int(workload.column("submit_s").max(initial=start)) - start))
    if physics.failures:
        failures = FailureProcess(
            spec.failures,
            units=spec.units,
            units_per_rack=spec.units_per_rack,
            seed=seed,
            start=start,
            chance=physics.failure_seed,
        )
    if physics.variation:  # half a normal: the best nodes are as fast as nodes get
        class_U = slowness(spec.units, spec.class_spread, stream(seed, "performance classes"))
    classes = None
    if scenario.machine.classes is not None:
        rate = scenario.machine.transfer_gb_s
        classes = NodeClasses(
            [NodeClass(each.name, each.nodes, each.speed) for each in scenario.machine.classes],
            inf if rate is None else 1e9 * rate,
            spec.unit_nodes,
        )
        class_U = classes.slowness_U if class_U is None else class_U * classes.slowness_U
        if workload.shares_nodes:
            raise InputError(f"{workload.source}: jobs share nodes, but no nodes of machine.classes are shared")
    behaviour = draw_behaviour(workload, seed)
    cluster = Cluster(
        spec,
        behaviour,
        policy="torus" if physics.placement == "recorded" else physics.placement,
        start=start,
        heat=heat,
        supply_c=facility.supply_c,
        failures=failures,
        outages=_outages(loaded, workload, spec, start),
        class_U=class_U,
        measured_U=None if class_U is None else performance_classes(class_U, stream(seed, "performance benchmark")),
        communication=spec.communication if physics.variation else 0.0,
        limit_stretches=physics.walltime_scaling == "stretch",
        shares=Shares.of(workload, spec),
        classes=classes,
    )
    if sampled is not None and take_readings is not None:
        if sampled.units is not None and sampled.units > spec.units:
            raise InputError(
                f"{loaded.place('physics', 'telemetry', 'units')}: physics.telemetry.units: found {sampled.units}, but "
                f"{spec.name} has {spec.units} units"
            )
        telemetry = Telemetry(
            cluster,
            behaviour,
            interval_s=sampled.interval,
            units=sampled.units,
            noise=sampled.noise,
            seed=seed,
            start=start,
            take=take_readings,
        )
    return Site(
        cluster,
        workload,
        overrun=scenario.overrun,
        requeues=physics.on_failure == "requeue",
        checkpointing=_checkpointing(loaded, spec),
        facility=facility,
        telemetry=telemetry,
        sensors=sensors_for(twins, cluster, behaviour, seed=seed, start=start),
        recorded=_recorded_places(loaded, workload, cluster) if physics.placement == "recorded" else None,
    )


def make_admission(loaded: LoadedScenario, spec: MachineSpec, t0_utc: int) -> Admission | None:
    """The queue rules that the scenario wants: those of the machine's centre, those of a file, or none.

    Raises InputError with the place in the rules where a queue stands that no node of the machine can serve.
    """
    physics = loaded.scenario.physics
    if physics is None or physics.queues is False or (physics.queues is True and spec.queues is None):
        return None
    rules = QueueRules.read(physics.queues) if isinstance(physics.queues, str) else QueueRules.named(spec.queues or "")
    nodes = spec.units * spec.unit_nodes
    rules.check_against(nodes)
    admission = Admission(rules, t0_utc, nodes=nodes, over_limit="hold")
    if loaded.scenario.machine.classes is not None and (admission.pooled or admission.preempting):
        special = ", ".join(dict.fromkeys((*admission.pooled, *admission.preempting)))
        raise InputError(
            f"{loaded.place('machine', 'classes')}: machine.classes: queues cannot have node pools or stop other jobs "
            f"there, as the queue rules {rules.name} let {special}; set physics.queues to false or to others"
        )
    if physics.placement == "torus" and (admission.pooled or admission.preempting):
        special = ", ".join(dict.fromkeys((*admission.pooled, *admission.preempting)))
        raise InputError(
            f"{loaded.place('physics', 'placement')}: physics.placement: on a torus queues cannot have node pools or "
            f"stop other jobs, as the queue rules {rules.name} let {special}; take another placement or no queues"
        )
    return admission


def _facility(loaded: LoadedScenario, workload: Workload, spec: MachineSpec, start: int) -> Facility:
    """The cooling plant, the cap and what feeds the machine, each as the scenario says it."""
    physics, zero = loaded.scenario.physics, workload.t0_utc
    if physics is None:
        raise ValueError("a scenario without physics has no facility")
    if physics.cooling_mode is not None:
        try:
            mode_change_k(spec.cooling, physics.cooling_mode)
        except InputError as error:
            raise InputError(f"{loaded.place('physics', 'cooling_mode')}: physics.cooling_mode: {error}") from None
    solar = None
    if physics.solar_kw is not None:  # a year at the least: a longer run has the same again
        days = (int(workload.column("submit_s")[-1]) + YEAR_S) // 86_400
        solar = SolarPlant(physics.solar_kw, zero, days, loaded.scenario.seed)
    facility = Facility(
        spec,
        zero,
        cooling_mode=physics.cooling_mode,
        cap_w=inf if physics.cap_kw is None else 1000.0 * physics.cap_kw,
        carbon=None if physics.carbon is None else read_carbon(physics.carbon, zero),
        price=None if physics.price is None else read_price(physics.price, zero),
        solar=solar,
    )
    idle_w = spec.units * spec.unit_nodes * spec.power.idle_w + spec.power.fixed_w
    drawn = 1.0 + facility.worst_overhead(start)
    if not cap_holds(spec.power, idle_w, 0.0, facility.cap_w / drawn):
        raise InputError(
            f"{loaded.place('physics', 'cap_kw')}: physics.cap_kw: found {physics.cap_kw}, expected at least the "
            f"{idle_w * drawn / 1000.0:.1f} kW that idle nodes and their cooling draw in the worst weather of a year"
        )
    return facility


def _recorded_places(loaded: LoadedScenario, workload: Workload, cluster: Cluster) -> RecordedPlaces:
    """The blocks that the jobs of the trace really had. Raises InputError if it names none of this machine."""
    blocks, spec = cluster.places.blocks, cluster.spec
    if blocks is not None:
        recorded = RecordedPlaces(workload, blocks.table, spec.unit_nodes)
        if recorded.jobs:
            return recorded
    raise InputError(
        f"{loaded.place('physics', 'placement')}: physics.placement: found 'recorded', but {workload.source} names no "
        f"block of {spec.name} in which a job ran"
    )


def _outages(loaded: LoadedScenario, workload: Workload, spec: MachineSpec, start: int) -> list[Outage]:
    """What will put units out of service besides failing hardware, in order of the starts."""
    physics, seed = loaded.scenario.physics, loaded.scenario.seed
    if physics is None:
        return []
    seed = seed if physics.failure_seed is None else physics.failure_seed
    if physics.recorded_outages is not None:
        if not workload.t0_utc:
            raise InputError(
                f"{loaded.place('physics', 'recorded_outages')}: physics.recorded_outages: outages have dates, but "
                f"second 0 of {workload.source} has none (t0_utc 0)"
            )
        recorded = recorded_outages(
            read_machine_status(physics.recorded_outages),
            workload.t0_utc,
            spec.units,
            unit_nodes=spec.unit_nodes,
            median_repair_h=spec.failures.outage_median_h,
        )
        return [Outage(o.start_s, o.end_s, o.units, "recorded") for o in recorded]
    # as far as jobs can be: the queue of an overloaded machine may last a year beyond the last submission
    end = int(workload.column("submit_s")[-1]) + YEAR_S
    outages = []
    if physics.outages:
        outages += [Outage(*w, spec.units, "outage") for w in whole_system_outages(spec.failures, start, end, seed)]
    if physics.maintenance:
        windows = maintenance_windows(spec.failures, workload.t0_utc, start, end, seed)
        outages += [Outage(*window, spec.units, "maintenance") for window in windows]
    return sorted(outages)


def _checkpointing(loaded: LoadedScenario, spec: MachineSpec) -> Checkpointing | None:
    physics = loaded.scenario.physics
    if physics is None or physics.checkpoint is None:
        return None
    cost, interval = physics.checkpoint.cost, physics.checkpoint.interval
    mtbf_s = 10 * spec.failures.mean_gap_h * 3600  # of a job on a tenth of the machine
    if interval == "young":
        return Checkpointing.young(cost, mtbf_s)
    if interval == "daly":
        return Checkpointing.daly(cost, mtbf_s)
    return Checkpointing(max(1, interval), cost)
