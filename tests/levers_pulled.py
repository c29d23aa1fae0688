"""A machine with a facility whose levers are pulled at certain seconds, for several tests."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from hpcsim.engine.capabilities import CAPABILITIES
from hpcsim.engine.decisions import Hold, SetCap, SetCooling, SetSpeed, Sleep, Start, Wake
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.facility import Facility
from hpcsim.machine.failures import FailureProcess
from hpcsim.machine.heat import Heat
from hpcsim.results.energy import energy_summary, power_curve
from hpcsim.results.tables import attempts_table
from hpcsim.schedulers.backfilling import EASY
from hpcsim.streams import stream
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import workload_from_columns

HOUR, DAY = 3600, 86_400
T0 = 1_720_000_000  # 3 July 2024
COOLEY = load_machine("cooley")
AURORA = load_machine("aurora")
IDLE_W = 126 * COOLEY.power.idle_w + COOLEY.power.fixed_w
STEPS = {"variation": False, "failures": False, "outages": False, "maintenance": False, "queues": False}


def workload(*jobs, t0_utc=T0):
    """Jobs as (submit, runtime, nodes)."""
    submit, runtime, nodes = zip(*jobs, strict=True)
    return workload_from_columns(
        t0_utc=t0_utc, source="test", name=[f"j{i}" for i in range(len(jobs))], submit_s=submit, nodes=nodes,
        walltime_s=runtime, runtime_s=runtime,
    )  # fmt: skip


def simulation(jobs, scheduler, *, spec=COOLEY, heat=False, failures=False, start=0, **surroundings):
    """The jobs on a machine, by default Cooley's 126 nodes."""
    facility = Facility(spec, jobs.t0_utc, **surroundings)
    warm = Heat(
        spec.thermal, units=spec.units, units_per_rack=spec.units_per_rack, now=start,
        supply_c=facility.supply_c(start), node_w=spec.power.idle_w, gpu_w=spec.power.gpu_idle_w, rng=stream(1, "r"),
    ) if heat else None  # fmt: skip
    process = FailureProcess(spec.failures, units=spec.units, units_per_rack=spec.units_per_rack, seed=3, start=start)
    cluster = Cluster(
        spec, draw_behaviour(jobs, 1), policy="packed", start=start, heat=warm, supply_c=facility.supply_c,
        failures=process if failures else None,
    )  # fmt: skip
    site = Site(cluster, jobs, overrun="trace", requeues=True, checkpointing=None, facility=facility)
    return Simulation(jobs, scheduler, nodes=spec.units * spec.unit_nodes, start=start, site=site)


class Plan:
    name = "plan"
    api = 1
    needs = frozenset(CAPABILITIES)

    def __init__(self, decide, **attributes):
        self.decide = decide
        vars(self).update(attributes)

    def schedule(self, view):
        yield from self.decide(view)


def starts(view):
    room = view.room()
    return [Start(job) for job in view.queue if room.take(job)]


def at_seconds(deeds):
    """A plan that starts what fits, and carries out deeds at seconds at which nothing else happens."""

    def decide(view):
        yield from starts(view)
        yield from (Hold(second) for second in deeds if second > view.now == 0)
        yield from deeds.get(view.now, ())

    return Plan(decide, passes_when_idle=True)


def easy():
    return EASY(EASY.Options())


def summary_of(sim):
    return energy_summary(sim, sim.site, power_curve(sim, sim.site), work_node_hours=1.0, ended=1)


def each_second(sim, modes=((0, 0.0),)):
    """IT and facility watts in each second of a run, from its attempts and the published formulas of cooling."""
    spec, end = sim.site.cluster.spec, sim.now
    it_w = np.full(end, spec.nodes * spec.power.idle_w + spec.power.fixed_w)
    for row in attempts_table(sim).to_pylist():
        span = slice(row["start_s"], row["end_s"])
        it_w[span] += row["energy_j"] / (row["end_s"] - row["start_s"]) - row["nodes"] * spec.power.idle_w
    second = np.arange(end)
    utc = T0 + (second // 21_600 * 21_600 + 10_800.0)
    year = np.cos(2 * np.pi * (utc - 963_662_400) / 31_556_952)
    day = np.cos(2 * np.pi * (utc - 75_600) / 86_400)
    thermal, plant = spec.thermal, spec.cooling
    supply = thermal.supply_c + thermal.supply_season_k * year + thermal.supply_day_k * day
    for since, change_k in modes:
        supply[since:] += change_k
    for (_, change_k), (until, _) in pairwise(modes):
        supply[until:] -= change_k
    if plant.kind == "air":
        cop = 0.0068 * supply**2 + 0.0008 * supply + 0.458
    else:
        wet = plant.wet_bulb_mean_c + plant.wet_bulb_season_k * year + plant.wet_bulb_day_k * day
        cop = np.where(wet < supply - plant.free_below_k, plant.free_cop, 5.0 - 0.1 * np.maximum(wet - 25.0, 0.0))
    return it_w, it_w * (1 + 1 / cop + plant.fixed_fraction)


def supply_at_start():
    return Facility(COOLEY, T0).supply_c(0)


def levels(share):
    """A cap between what the machine draws idle and busy."""
    worst = 1 + Facility(COOLEY, T0).worst_overhead(0)
    return worst * (IDLE_W + share * 126 * (COOLEY.power.cpu_dyn_w + COOLEY.power.gpu_dyn_w))


rows = st.lists(
    st.tuples(st.integers(0, 150_000), st.integers(1, 90_000), st.integers(1, 126)), min_size=1, max_size=12
)
actions = st.lists(
    st.one_of(
        st.sampled_from(["cold", "normal", "warm"]).map(SetCooling),
        st.one_of(st.none(), st.floats(-0.1, 0.8).map(levels)).map(SetCap),
        st.integers(1, 40).map(Sleep),
        st.integers(1, 40).map(Wake),
        st.floats(0.5, 1.0).map(lambda speed: SetSpeed(None, speed)),
    ),
    max_size=25,
)


def lever_puller(deeds):
    """A plan that starts what fits and carries out a deed in every pass, where it can be."""
    deeds = iter(deeds)

    def decide(view):
        yield Hold(view.now + 7000)
        deed = next(deeds, None)
        room = view.room()
        if view.asleep_nodes and (isinstance(deed, Wake) or not view.running):
            yield Wake(view.asleep_nodes)
        if isinstance(deed, SetSpeed):
            if view.running:
                yield SetSpeed(next(iter(view.running.values())).job, deed.speed)
        elif isinstance(deed, Sleep):
            if view.free_nodes >= deed.nodes:
                yield deed
                room.free -= deed.nodes
        elif isinstance(deed, SetCap | SetCooling):
            yield deed
        yield from (Start(job) for job in view.queue if room.take(job))

    return Plan(decide)
