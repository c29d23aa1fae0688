"""From the physics of a scenario to the cluster of its machine."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from pathlib import Path

import numpy as np

from hpcsim.engine.site import Site
from hpcsim.errors import InputError
from hpcsim.machine.catalogue import build_spec, read_machine
from hpcsim.machine.checkpoint import Checkpointing
from hpcsim.machine.cluster import Cluster, Outage
from hpcsim.machine.cooling import supply_c
from hpcsim.machine.failures import FailureProcess
from hpcsim.machine.heat import Heat
from hpcsim.machine.outages import maintenance_windows, recorded_outages, whole_system_outages
from hpcsim.machine.places import Places
from hpcsim.machine.queues import Admission, QueueRules
from hpcsim.machine.spec import MachineSpec
from hpcsim.scenario.load import LoadedScenario
from hpcsim.streams import stream
from hpcsim.workload.alcf import read_machine_status
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import Workload

YEAR_S = 365 * 86_400


def machine_spec(loaded: LoadedScenario, machines: Mapping[str, Path]) -> MachineSpec | None:
    """The machine that the scenario's physics needs; None where it has none. Raises InputError with places."""
    if loaded.scenario.physics is None:
        return None
    machine = loaded.scenario.machine
    if machine.model is None:
        raise InputError(
            f"{loaded.place('physics')}: physics: needs machine.model, the machine that it is the physics of"
        )
    data = read_machine(machine.model, machines).data
    if machine.nodes is not None and machine.nodes != data["nodes"]:
        data |= {"nodes": machine.nodes, "torus": None, "block_units": None}
    return build_spec(data)


def in_places(workload: Workload, spec: MachineSpec) -> Workload:
    """The workload with every job's nodes rounded up to what it really takes; larger jobs are left as they are."""
    places = Places(spec, "packed")
    nodes = workload.column("nodes")
    asked, which = np.unique(nodes, return_inverse=True)
    taken = np.array([places.size(int(count)) or int(count) for count in asked], np.int64)
    return workload.with_nodes(taken[which])


def make_site(loaded: LoadedScenario, workload: Workload, spec: MachineSpec, start: int) -> Site:
    """The machine with all that the scenario's physics switches on, at second ``start``."""
    scenario, physics = loaded.scenario, loaded.scenario.physics
    if physics is None:
        raise ValueError("a scenario without physics has no site")
    seed, zero = scenario.seed, workload.t0_utc

    def supply(now: int) -> float:
        return float(supply_c(spec.thermal, float(zero + now)))

    heat = failures = class_U = None
    if physics.heat:
        heat = Heat(
            spec.thermal,
            units=spec.units,
            units_per_rack=spec.units_per_rack,
            now=start,
            supply_c=supply(start),
            node_w=spec.power.idle_w,
            gpu_w=spec.power.gpu_idle_w,
            rng=stream(seed, "heat: resistances"),
        )
    if physics.failures:
        failures = FailureProcess(
            spec.failures, units=spec.units, units_per_rack=spec.units_per_rack, seed=seed, start=start
        )
    if physics.variation:  # half a normal: the best nodes are as fast as nodes get
        class_U = 1.0 + np.abs(stream(seed, "performance classes").normal(0.0, spec.class_spread, spec.units))
    cluster = Cluster(
        spec,
        draw_behaviour(workload, seed),
        policy=physics.placement,
        start=start,
        heat=heat,
        supply_c=supply,
        failures=failures,
        outages=_outages(loaded, workload, spec, start),
        class_U=class_U,
        communication=spec.communication if physics.variation else 0.0,
        cap_w=inf if physics.cap_kw is None else 1000.0 * physics.cap_kw,
        limit_stretches=physics.walltime_scaling == "stretch",
    )
    return Site(
        cluster,
        workload,
        overrun=scenario.overrun,
        requeues=physics.on_failure == "requeue",
        checkpointing=_checkpointing(loaded, spec),
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
    if physics.placement == "torus" and (admission.pooled or admission.preempting):
        special = ", ".join(dict.fromkeys((*admission.pooled, *admission.preempting)))
        raise InputError(
            f"{loaded.place('physics', 'placement')}: physics.placement: on a torus queues cannot have node pools or "
            f"stop other jobs, as the queue rules {rules.name} let {special}; take another placement or no queues"
        )
    return admission


def _outages(loaded: LoadedScenario, workload: Workload, spec: MachineSpec, start: int) -> list[Outage]:
    """What will put units out of service besides failing hardware, in order of the starts."""
    physics, seed = loaded.scenario.physics, loaded.scenario.seed
    if physics is None:
        return []
    if physics.recorded_outages is not None:
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
