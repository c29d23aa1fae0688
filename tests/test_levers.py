"""Laws of the levers on power: cooling modes, the cap on the facility, the sun; and what a scheduler sees of them.

Integrals are compared with sums over every second, made here from the attempts and the published formulas alone.
"""

from __future__ import annotations

import copy
import math
from dataclasses import fields, is_dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import blocks

import hpcsim
from hpcsim import simulate
from hpcsim.engine.capabilities import CAPABILITIES
from hpcsim.engine.decisions import Hold, SetCap, SetCooling, SetSpeed, Sleep, Start, Wake
from hpcsim.engine.operations import Power, Signal
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.errors import InputError, SchedulerError
from hpcsim.machine import power
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.facility import Facility
from hpcsim.machine.failures import FailureProcess
from hpcsim.machine.heat import Heat
from hpcsim.machine.series import StepSeries
from hpcsim.machine.solar import SolarPlant, clear_sky_share, hourly_w
from hpcsim.results.energy import energy_summary, ledger_j, power_curve
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


# -- cooling modes --------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [COOLEY, AURORA], ids=["air", "liquid"])
def test_a_cooling_mode_changes_the_facility_from_its_second_on_and_not_the_machine(spec):
    levers = at_seconds({10_000: [SetCooling("warm")], 40_000: [SetCooling("cold")]})
    jobs = workload((0, 90_000, 100), (50_000, 500, 5))
    sim, plain = (simulation(jobs, each, spec=spec) for each in (levers, Plan(starts)))
    sim.run()
    plain.run()
    it_w, facility_w = each_second(sim, ((0, 0.0), (10_000, 4.0), (40_000, -4.0)))
    curve = power_curve(sim, sim.site)
    assert curve.joules(curve.it_w) == pytest.approx(it_w.sum(), rel=1e-12)
    assert curve.joules(curve.facility_w) == pytest.approx(facility_w.sum(), rel=1e-12)
    summary = summary_of(sim)
    assert summary["energy_split_kwh"]["cooling"] == pytest.approx((facility_w - it_w).sum() / 3.6e6, rel=1e-12)
    assert summary["pue"] == pytest.approx(facility_w.sum() / it_w.sum(), rel=1e-12)
    assert summary["energy_it_kwh"] == summary_of(plain)["energy_it_kwh"]
    assert summary["energy_facility_kwh"] != summary_of(plain)["energy_facility_kwh"]


def test_a_mode_of_the_scenario_holds_from_the_first_second():
    jobs = workload((0, 30_000, 100))
    for mode, change_k in COOLEY.cooling.modes:
        sim = simulation(jobs, Plan(starts), cooling_mode=mode)
        sim.run()
        _, facility_w = each_second(sim, ((0, change_k),))
        curve = power_curve(sim, sim.site)
        assert curve.joules(curve.facility_w) == pytest.approx(facility_w.sum(), rel=1e-12)


def test_the_last_mode_of_a_second_holds_and_the_same_again_is_no_change():
    def decide(view):
        yield from starts(view)
        yield from (SetCooling(mode) for mode in ("cold", "warm", "normal", "normal"))

    jobs = workload((0, 30_000, 100))
    sim, plain = (simulation(jobs, Plan(each)) for each in (decide, starts))
    sim.run()
    plain.run()
    assert summary_of(sim) == summary_of(plain)


def test_a_warmer_supply_warms_the_nodes_by_as_much():
    hot = []

    def decide(view):
        yield from starts(view)
        hot.append(view.node_c)
        if view.now == 0:
            yield SetCooling("warm")

    simulation(workload((0, 30_000, 1), (21_000, 5, 1)), Plan(decide), heat=True).run()
    # in racks that are idle all the time; the weather is the same, and all time constants are long over
    assert hot[1][60:] - hot[0][60:] == pytest.approx(np.full(66, 4.0), abs=0.01)


def supply_at_start():
    return Facility(COOLEY, T0).supply_c(0)


# -- the cap --------------------------------------------------------------------------------------


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


@settings(deadline=None, max_examples=60)
@given(rows, actions, st.floats(0.0, 0.9), st.booleans(), st.booleans(), st.booleans())
def test_the_cap_holds_at_every_instant_unless_the_least_speed_cannot_keep_it_and_the_books_close(
    jobs, deeds, share, heat, failures, sun
):
    sim = simulation(
        workload(*sorted(jobs)), lever_puller(deeds), heat=heat, failures=failures, cap_w=levels(share),
        solar=SolarPlant(60.0, T0, 366, 1) if sun else None,
    )  # fmt: skip
    site, exceeded = sim.site, {}
    hold = site._hold_cap

    def held(now, beside=None):
        hold(now, beside)
        cluster, facility = site.cluster, site.facility
        exceeded[now] = cluster.meter.it_w * (1 + facility.overhead(now)) > facility.cap_w * (1 + 1e-12)
        if exceeded[now]:
            dynamic_w = sum(e.watts - e.nodes * COOLEY.power.idle_w for e in cluster.executions.values())
            slowest = (COOLEY.power.least_speed / cluster.cap) ** 2
            least_w = cluster.meter.it_w - dynamic_w * (1 - slowest)
            assert least_w * (1 + facility.overhead(now)) > facility.cap_w * (1 - 1e-9)
            assert cluster.cap == COOLEY.power.least_speed or not cluster.executions

    site._hold_cap = held
    sim.run()
    curve = power_curve(sim, site)
    above = curve.facility_w > curve.cap_w * (1 + 1e-12)
    attempts = attempts_table(sim)
    begin, end = (np.array(attempts.column(name)) for name in ("start_s", "end_s"))
    busy = ((begin <= curve.time_s[:, None]) & (curve.time_s[:, None] < end)).any(axis=1)
    for time in curve.time_s[above & busy].tolist():
        assert exceeded[max(now for now in exceeded if now <= time)]
    summary = summary_of(sim)
    length = np.diff(curve.time_s, append=curve.end_s)
    assert summary["cap_exceeded_s"] == length[above].sum()
    parts = ledger_j(sim, site, curve)
    parts.pop("of_which_conversion")
    assert sum(parts.values()) == pytest.approx(curve.joules(curve.facility_w), rel=1e-9)
    assert summary["grid_kwh"] + summary["solar_used_kwh"] == pytest.approx(summary["energy_facility_kwh"], rel=1e-9)
    assert sum(site.cluster.meter.node_seconds.values()) == 126 * sim.now


def test_a_job_that_starts_is_throttled_at_once_and_let_go_when_another_ends():
    seen = {}

    def decide(view):
        yield from starts(view)
        seen[view.now] = view.power

    jobs = workload((0, 20_000, 60), (1000, 3000, 60), (1001, 1, 1), (9000, 1, 1))
    sim = simulation(jobs, Plan(decide), cap_w=levels(0.25))
    sim.run()
    assert seen[0].throttle == seen[1000].throttle == 1.0 > seen[1001].throttle
    assert seen[9000].throttle == 1.0
    assert power_curve(sim, sim.site).facility_w.max() <= levels(0.25) * (1 + 1e-12)
    first = attempts_table(sim).to_pylist()[0]
    assert first["end_s"] > 20_000


def test_the_cap_follows_the_weather_though_nothing_else_happens():
    free = simulation(workload((0, 3 * DAY, 126)), Plan(starts))
    free.run()
    w = power_curve(free, free.site).facility_w[:12]  # of the steps of three days
    cap_w = 0.97 * w.max()
    assert w.min() < w.max()
    sim = simulation(workload((0, 3 * DAY, 126)), Plan(starts), cap_w=cap_w)
    sim.run()
    curve = power_curve(sim, sim.site)
    busy = curve.time_s < 3 * DAY
    assert curve.facility_w[busy].max() <= cap_w * (1 + 1e-12)
    assert curve.facility_w[busy].min() > 0.98 * min(cap_w, w.min())  # and slows no more than it has to
    throttles = set(curve.it_w[busy].tolist())
    assert len(throttles) > 2


def test_seconds_and_energy_above_a_cap_that_cannot_be_kept_are_reported_exactly():
    # less than what idle nodes draw with their cooling
    levers = {5000: [SetCap(IDLE_W)], 20_000: [SetCap(0.9 * IDLE_W)], 31_000: [SetCap(None)]}
    jobs = workload((0, 40_000, 100))
    sim = simulation(jobs, at_seconds(levers))
    sim.run()
    spec, behaviour = COOLEY.power, draw_behaviour(jobs, 1)
    full_w = spec.cpu_dyn_w * behaviour.cpu_util_J[0] + spec.gpu_dyn_w * behaviour.gpu_util_J[0]
    it_w, facility_w = each_second(sim)
    above_w = (IDLE_W + 100 * full_w * spec.least_speed**2) * (facility_w / it_w)[5000:31_000] - IDLE_W
    above_w[15_000:] += 0.1 * IDLE_W
    summary = summary_of(sim)
    assert summary["cap_exceeded_s"] == 26_000
    assert summary["cap_exceeded_kwh"] == pytest.approx(above_w.sum() / 3.6e6, rel=1e-6)  # jobs' watts are whole 1/1024
    assert sim.now == math.ceil(31_000 + 35_000 - 26_000 / (1 + behaviour.beta_J[0]))


def test_without_a_cap_nothing_is_exceeded():
    sim = simulation(workload((0, 1000, 126)), Plan(starts))
    sim.run()
    summary = summary_of(sim)
    assert (summary["cap_exceeded_s"], summary["cap_exceeded_kwh"]) == (0, 0.0)


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        (["cap_kw: 30"], r":6:11: physics\.cap_kw: found 30\.0, expected at least the 3\d\.\d kW that idle nodes"),
        (["cooling_mode: hot"], r":6:17: physics\.cooling_mode: .*'hot', expected one of normal, cold, warm"),
        (["solar_kw: -3"], r":6:13: physics\.solar_kw: .*greater than 0"),
        (["cap_kw: 0"], r":6:11: physics\.cap_kw: .*greater than 0"),
    ],
)
def test_what_cannot_be_is_refused_before_the_run_with_its_place(tmp_path, lines, wrong):
    file = tmp_path / "s.yaml"
    head = ["base: cooley", "name: s", "jobs: 5", "machine: {model: cooley}", "physics:"]
    file.write_text("\n".join(head + [f"  {line}" for line in lines]))
    with pytest.raises(InputError, match=rf"s\.yaml{wrong}"):
        hpcsim.simulate(file)


def test_a_cap_is_refused_exactly_below_what_idle_nodes_draw_in_the_worst_weather():
    year = np.arange(0, 366 * DAY, 21_600)
    coldest = COOLEY.thermal.supply_c + min(
        COOLEY.thermal.supply_season_k * np.cos(2 * np.pi * (T0 + t + 10_800 - 963_662_400) / 31_556_952)
        + COOLEY.thermal.supply_day_k * np.cos(2 * np.pi * (T0 + t + 10_800 - 75_600) / DAY)
        for t in year.tolist()
    )
    for mode, change_k in COOLEY.cooling.modes:
        supply = coldest + change_k
        expected = 1 / (0.0068 * supply**2 + 0.0008 * supply + 0.458) + 0.03
        assert Facility(COOLEY, T0, cooling_mode=mode).worst_overhead(0) == pytest.approx(expected, rel=1e-5)
    run = {"jobs": 3, "machine.model": "cooley", "physics": STEPS}
    zero = hpcsim.simulate("cooley", run).manifest["t0_utc"]
    least_kw = IDLE_W * (1 + Facility(COOLEY, zero).worst_overhead(0)) / 1000
    kept = hpcsim.simulate("cooley", run | {"physics.cap_kw": least_kw * (1 + 1e-9)}, check=True)
    assert kept.summary["cap_exceeded_s"] > 0  # idle nodes keep it, busy ones do not, even at the least speed
    with pytest.raises(InputError, match="cap_kw"):
        hpcsim.simulate("cooley", run | {"physics.cap_kw": least_kw * (1 - 1e-9)})


@pytest.mark.parametrize(
    ("deed", "message"),
    [
        (SetCooling("hot"), r"found the cooling mode 'hot', expected one of normal, cold, warm"),
        (SetCooling(3), r"found the cooling mode 3"),
        (SetCap(0), r"a cap of 0 W is none"),
        (SetCap("9"), r"a cap of '9' W is none"),
        (SetCap(math.nan), r"a cap of nan W is none"),
    ],
)
def test_a_lever_that_the_facility_does_not_have_voids_the_run(deed, message):
    sim = simulation(workload((0, 10, 1)), Plan(lambda view: [deed]))
    with pytest.raises(SchedulerError, match=rf"^t=0: scheduler plan decided .*but {message}"):
        sim.run()


# -- the sun, the grid ----------------------------------------------------------------------------


@settings(deadline=None, max_examples=15)
@given(st.floats(1.0, 200.0), st.integers(0, 5), st.integers(0, 30_000), st.booleans())
def test_solar_energy_is_that_of_every_second(kw, seed, offset, warm):
    def decide(view):
        yield from starts(view)
        if view.now == offset and warm:
            yield SetCooling("warm")

    jobs = workload((offset, 60_000, 90), (offset + 20_000, 30_000, 30), (offset + 20_000, 99_999, 1))
    plant = SolarPlant(kw, T0, 366, seed)
    hour = np.arange(366 * 24)
    carbon = StepSeries(3600 * hour - 1800, 300 + 100 * np.sin(hour))
    price = StepSeries(900 * np.arange(2000), 30 + 50 * np.cos(np.arange(2000)))
    sim = simulation(jobs, Plan(decide), solar=plant, carbon=carbon, price=price)
    sim.run()
    _, facility_w = each_second(sim, ((0, 0.0), (offset, 4.0 if warm else 0.0)))
    second = np.arange(sim.now)
    solar_w = plant.power.values[second // 3600]
    used_w = np.minimum(facility_w, solar_w)
    summary = summary_of(sim)
    assert summary["solar_kwh"] == pytest.approx(solar_w.sum() / 3.6e6, rel=1e-9)
    assert summary["solar_used_kwh"] == pytest.approx(used_w.sum() / 3.6e6, rel=1e-9)
    assert summary["grid_kwh"] == pytest.approx((facility_w - used_w).sum() / 3.6e6, rel=1e-9)
    grams = (facility_w - used_w) * carbon.values[(second + 1800) // 3600]
    assert summary["carbon_kg"] == pytest.approx(grams.sum() / 3.6e9, rel=1e-9)
    dollars = (facility_w - used_w) * price.values[second // 900]
    assert summary["cost_usd"] == pytest.approx(dollars.sum() / 3.6e9, rel=1e-9)


def test_without_a_plant_all_comes_from_the_grid():
    sim = simulation(workload((0, 50_000, 90)), Plan(starts))
    sim.run()
    summary = summary_of(sim)
    assert (summary["solar_kwh"], summary["solar_used_kwh"]) == (0.0, 0.0)
    assert summary["grid_kwh"] == pytest.approx(summary["energy_facility_kwh"], rel=1e-12)


def test_a_scenario_has_what_it_says_of_mode_cap_and_sun(tmp_path):
    settings = {"jobs": 300, "machine.model": "cooley", "physics": {"outages": False, "maintenance": False}}
    plain = hpcsim.simulate("cooley", settings, check=True).summary
    sunny_run = hpcsim.simulate("cooley", settings | {"physics.solar_kw": 20}, check=True)
    sunny = sunny_run.summary
    assert sunny["solar_kwh"] > sunny["solar_used_kwh"] * (1 - 1e-12) > 0
    assert sunny["grid_kwh"] == pytest.approx(plain["grid_kwh"] - sunny["solar_used_kwh"], rel=1e-9)
    assert sunny["carbon_kg"] < plain["carbon_kg"]
    power = sunny_run.power  # its integrals are the energies of the summary
    spans_s = np.diff(power["time_s"], append=power["time_s"].iloc[-1])
    assert power["time_s"].is_monotonic_increasing
    assert power["facility_w"].max() == pytest.approx(1000 * sunny["peak_power_kw"])
    end_s = max(sunny_run.jobs["end_s"].max(), sunny_run.jobs["submit_s"].max())
    spans_s[-1] = end_s - power["time_s"].iloc[-1]
    for column, key in (("it_w", "energy_it_kwh"), ("facility_w", "energy_facility_kwh"), ("solar_w", "solar_kwh")):
        assert np.dot(spans_s, power[column]) / 3.6e6 == pytest.approx(sunny[key], rel=1e-9)
    assert sunny["energy_facility_kwh"] == pytest.approx(plain["energy_facility_kwh"], rel=1e-12)
    warm = hpcsim.simulate("cooley", settings | {"physics.cooling_mode": "warm"}, check=True).summary
    assert warm["pue"] < plain["pue"]
    assert warm["hottest_node_c"] == pytest.approx(plain["hottest_node_c"] + 4, abs=1.5)
    capped = hpcsim.simulate("cooley", settings | {"physics.cap_kw": 55}, check=True).summary
    assert capped["peak_power_kw"] <= 55 * (1 + 1e-12) < plain["peak_power_kw"]
    (tmp_path / "carbon.csv").write_text("Datetime (UTC),Price (USD/MWh)\n2024-01-01 00:00:00,1\n")
    with pytest.raises(InputError, match=r"carbon\.csv"):  # before the run, not after it
        hpcsim.simulate("cooley", settings | {"physics.carbon": str(tmp_path / "carbon.csv")})


# -- what a scheduler sees ------------------------------------------------------------------------


def looked_at(jobs, look, **options):
    """What ``look`` returns for the view of each pass, by second."""
    seen = {}

    def decide(view):
        seen[view.now] = look(view)
        yield from starts(view)

    simulation(jobs, Plan(decide), **options).run()
    return seen


def test_the_view_tells_what_machine_and_facility_draw_and_may_draw():
    jobs = workload((0, 5000, 10), (100, 5, 1))
    cap_w = levels(0.6)
    seen = looked_at(jobs, lambda view: view.power, cap_w=cap_w)
    supply_c = supply_at_start()
    overhead = 1 / (0.0068 * supply_c**2 + 0.0008 * supply_c + 0.458) + 0.03
    behaviour, spec = draw_behaviour(jobs, 1), COOLEY.power
    job_w = 10 * float(spec.cpu_dyn_w * behaviour.cpu_util_J[0] + spec.gpu_dyn_w * behaviour.gpu_util_J[0])
    for now, it_w in ((0, IDLE_W), (100, IDLE_W + job_w)):
        at = seen[now]
        assert at.it_w == pytest.approx(it_w, abs=0.001)
        assert at.overhead == pytest.approx(overhead, rel=1e-12)
        assert at.facility_w == at.it_w * (1 + at.overhead)
        assert at.cap_w == cap_w
        assert at.headroom_w * (1 + at.overhead) == pytest.approx(cap_w - at.facility_w)
        assert (at.throttle, at.cooling_mode, dict(at.cooling_modes)) == (1.0, "normal", dict(COOLEY.cooling.modes))
        assert at.supply_c == supply_c
        assert at.node is COOLEY.power
    assert looked_at(jobs, lambda view: view.power.headroom_w)[0] == math.inf


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 120), st.floats(0.02, 0.6))
def test_a_job_within_the_headroom_slows_nobody_and_one_beyond_it_does(nodes, share):
    jobs = workload((0, 100, nodes), (50, 1, 1))
    seen = looked_at(jobs, lambda view: view.power, cap_w=levels(share))
    behaviour, spec = draw_behaviour(jobs, 1), COOLEY.power
    job_w = nodes * float(spec.cpu_dyn_w * behaviour.cpu_util_J[0] + spec.gpu_dyn_w * behaviour.gpu_util_J[0])
    assert (seen[50].throttle == 1.0) == (job_w <= seen[0].headroom_w)


def test_the_view_tells_how_sleep_and_speed_pay():
    seen = looked_at(workload((0, 10, 1)), lambda view: view.power)[0]
    assert seen.break_even_s == power.break_even_s(COOLEY.power)
    for dynamic_w, beta in ((300.0, 0.2), (300.0, 1.0), (400.0, 0.6)):
        speed = seen.best_speed(dynamic_w, beta)
        grid = np.linspace(seen.node.least_speed, 1.0, 5001)
        joules = (seen.node.idle_w + dynamic_w * grid**2) * (1 + beta * (1 / grid - 1))
        assert speed == pytest.approx(grid[joules.argmin()], abs=2e-4)


def test_the_view_counts_nodes_that_sleep_or_are_down():
    def decide(view):
        if view.now == 0:
            yield Sleep(20)
        if view.now == 5000:
            yield Wake(view.asleep_nodes)
        yield from starts(view)

    counts = {}

    def counted(view):
        counts[view.now] = (view.free_nodes, view.asleep_nodes, view.down_nodes)
        yield from decide(view)

    jobs = workload((0, 9000, 6), (60, 1, 1), (1000, 1, 1), (5000, 1, 1), (5100, 1, 1), (5460, 1, 1))
    simulation(jobs, Plan(counted)).run()
    assert counts == {
        0: (126, 0, 0), 60: (100, 0, 0), 1000: (100, 20, 0), 5000: (100, 20, 0), 5100: (100, 0, 0), 5460: (120, 0, 0),
    }  # fmt: skip
    down = looked_at(
        workload(*((t, 1, 1) for t in range(0, 200 * DAY, HOUR))), lambda view: view.down_nodes, failures=True
    )
    assert {0, 1} <= set(down.values())


def test_the_view_shows_the_temperatures_that_the_nodes_have_and_nobody_can_change_them():
    temperatures = looked_at(workload((0, 9000, 40), (8000, 1, 1)), lambda view: view.node_c, heat=True)
    before, after = temperatures[0], temperatures[8000]
    assert before.shape == (126,)
    warmer = np.sort(after - before)
    assert (warmer[:21] < 5).all()
    assert (warmer[-40:] > 5).all()
    with pytest.raises(ValueError, match="read-only"):
        after[0] = 20.0


def test_the_view_shows_the_temperatures_of_gpus_where_there_are_some():
    def look(view):
        return view.gpu_c, view._simulation.site.cluster.heat.temperatures(view.now)[1]

    shown = looked_at(workload((0, 9000, 40), (8000, 1, 1)), look, heat=True)
    assert all(np.array_equal(gpu_c, really_c) for gpu_c, really_c in shown.values())
    assert (np.sort(shown[8000][0] - shown[0][0])[-40:] > 5).all()
    with pytest.raises(ValueError, match="read-only"):
        shown[0][0][0] = 20.0
    for spec, heat, said in ((load_machine("theta"), True, "Theta has no GPUs"), (COOLEY, False, "models no heat")):
        with pytest.raises(SchedulerError, match=f"view.gpu_c: .*{said}"):
            looked_at(workload((0, 10, 1)), look, spec=spec, heat=heat)


def test_prices_and_carbon_are_known_a_day_ahead_and_no_further():
    hour = np.arange(400 * 24)
    carbon = StepSeries(3600 * hour, 300 + hour % 57)
    price = StepSeries(3600 * hour, 20 + hour % 91)
    jobs = workload((5000, 10, 1), (90_000, 10, 1))
    for name, series in (("carbon", carbon), ("price", price)):
        seen = looked_at(
            jobs, lambda view, name=name: (getattr(view, name).now, getattr(view, name).forecast(DAY)),
            carbon=carbon, price=price, start=5000,
        )  # fmt: skip
        for now, (value, ahead) in seen.items():
            assert value == series.at(now)
            assert (ahead.start_s, ahead.end_s) == (now, now + DAY)
            seconds = np.arange(now, now + DAY, 97)
            assert ahead.at(seconds).tolist() == series.at(seconds).tolist()
            assert ahead.integral(now, now + DAY) == pytest.approx(series.integral(now, now + DAY))
            assert ahead.at(now + 2 * DAY) == series.at(now + DAY - 1)  # nothing beyond it leaks
        for horizon, message in ((DAY + 1, "published for 86400 s ahead"), (0, "expected 1 or more")):
            with pytest.raises(SchedulerError, match=message):
                looked_at(
                    jobs, lambda view, name=name, horizon=horizon: getattr(view, name).forecast(horizon), start=5000
                )


def test_the_forecast_of_the_sun_knows_the_past_alone():
    now = 40 * DAY + 15 * HOUR + 600
    plant = SolarPlant(100.0, T0, 366, 4)
    known = plant.forecast(now, 3 * DAY)
    other = copy.copy(plant)
    changed = plant.power.values.copy()
    changed[now // HOUR + 1 :] *= 0.1
    other.power = StepSeries(plant.power.times_s, changed, end_s=plant.power.end_s)
    assert other.forecast(now, 3 * DAY).values == pytest.approx(known.values, rel=1e-9)
    # yesterday's share of a clear sky, hour by hour
    hours = np.arange(366 * 24)
    clear = hourly_w(100.0, T0, hours, np.ones(len(hours)))
    second = np.arange(now - DAY, now) // HOUR
    share = plant.power.values[second].sum() / clear.values[second].sum()
    assert 0.1 < share < 1.0
    assert known.start_s == now
    assert known.end_s == now + 3 * DAY
    for t in range(now, now + 3 * DAY, 1111):
        assert known.at(t) == pytest.approx(share * clear.values[t // HOUR], rel=1e-12)
    # under a clear sky it is right
    other.power = clear
    assert other.forecast(now, DAY).values == pytest.approx(clear.part(now, now + DAY).values, rel=1e-12)
    assert plant.forecast(0, DAY).values == pytest.approx(clear.part(0, DAY).values, rel=1e-12)
    assert clear_sky_share(T0, 3, 1).max() <= 1.0


def test_the_sun_shows_in_the_view():
    plant = SolarPlant(100.0, T0, 366, 4)
    seen = looked_at(
        workload((0, 10, 1), (30_000, 10, 1)), lambda view: (view.solar.now, view.solar.forecast(DAY)), solar=plant
    )
    assert seen[30_000][0] == plant.power.at(30_000) > 0
    assert seen[30_000][1].values.tolist() == plant.forecast(30_000, DAY).values.tolist()


@pytest.mark.parametrize("wanted", ["power", "node_c", "carbon", "price", "solar", "asleep_nodes", "down_nodes"])
def test_what_a_scenario_does_not_model_is_refused_by_name(wanted):
    jobs = workload((0, 10, 1))
    with pytest.raises(SchedulerError, match=rf"view\.{wanted}: this scenario only counts nodes; .*machine\.model"):
        Simulation(jobs, Plan(lambda view: [getattr(view, wanted)]), nodes=4).run()
    lacking = {"node_c": r"physics\.heat", "solar": r"physics\.solar_kw"}
    if wanted in lacking:
        with pytest.raises(SchedulerError, match=lacking[wanted]):
            looked_at(jobs, lambda view: getattr(view, wanted))


def reachable(value, seen):
    """All plain values that can be had from one without a name that begins with an underscore."""
    if id(value) in seen:
        return
    seen[id(value)] = value
    if isinstance(value, np.ndarray):
        assert not value.flags.writeable
    elif is_dataclass(value):
        for field in fields(value):
            reachable(getattr(value, field.name), seen)
    elif isinstance(value, Signal | StepSeries):
        for name in dir(value):
            if not name.startswith("_"):
                reachable(getattr(value, name), seen)
    elif callable(value):
        assert value.__qualname__.split(".")[0] in ("Signal", "StepSeries", "Power"), value
    elif hasattr(value, "items"):
        for key, each in value.items():
            reachable(key, seen)
            reachable(each, seen)
    elif isinstance(value, tuple):
        for each in value:
            reachable(each, seen)
    else:
        assert value is None or isinstance(value, str | int | float), type(value)


def test_no_hidden_truth_of_a_job_can_be_reached():
    jobs = workload((0, 4321, 7), (100, 6543, 11), (200, 10, 1))
    found = {}

    def look(view):
        for name in ("power", "node_c", "carbon", "price", "solar", "asleep_nodes", "down_nodes"):
            value = getattr(view, name)
            reachable(value, found)
            if isinstance(value, Signal):
                reachable(value.forecast(DAY), found)

    looked_at(jobs, look, heat=True, failures=True, cap_w=levels(0.5), solar=SolarPlant(9.0, T0, 366, 1))
    behaviour = draw_behaviour(jobs, 1)
    truths = {
        float(x) for column in ("cpu_util_J", "gpu_util_J", "beta_J", "communication_J")
        for x in getattr(behaviour, column)
    }  # fmt: skip
    plain = {float(x) for x in found.values() if isinstance(x, int | float)}
    for each in found.values():
        if isinstance(each, np.ndarray):
            plain |= set(each.ravel().tolist())
    assert len(plain) > 100
    assert not plain & truths
    assert not plain & {4321.0, 6543.0}
    assert any(isinstance(x, Power) for x in found.values())


@pytest.mark.parametrize("heat", [False, True])
def test_looking_changes_nothing(heat):
    rng = np.random.default_rng(5)
    submit = np.sort(rng.integers(0, 4 * DAY, 150)).tolist()
    jobs = workload(
        *zip(submit, rng.integers(60, 30_000, 150).tolist(), rng.integers(1, 60, 150).tolist(), strict=True)
    )

    def look(view):
        _ = view.power, view.price.forecast(DAY), view.solar.forecast(DAY), view.node_c if heat else None
        yield from starts(view)

    tables = []
    for decide in (starts, look):
        sun = SolarPlant(9.0, T0, 366, 1)
        sim = simulation(jobs, Plan(decide), heat=heat, failures=True, cap_w=levels(0.4), solar=sun)
        sim.run()
        tables.append(attempts_table(sim))
    assert tables[0] == tables[1]


# -- when it is called ----------------------------------------------------------------------------


def passes(jobs, **attributes):
    at = []

    def decide(view):
        at.append(view.now)
        yield from starts(view)

    sim = simulation(jobs, Plan(decide, **attributes), solar=SolarPlant(9.0, T0, 366, 1))
    sim.run()
    return at, sim.now


def test_the_scheduler_is_called_at_the_boundaries_that_it_wakes_on_and_at_no_others():
    jobs = workload((100, 50_000, 126), (200, 1000, 1))
    quiet, _ = passes(jobs)
    assert quiet == [100, 200, 50_100]
    hours = [t for t in range(HOUR, 51_100, HOUR) if t < 50_100]
    for signal, boundaries in (
        ("price", [t - T0 % HOUR for t in range(HOUR, 60_000, HOUR)]),  # the hours of the day, not of the run
        ("carbon", [t - T0 % HOUR for t in range(HOUR, 60_000, HOUR)]),
        ("solar", hours),
        ("supply", [21_600, 43_200]),
    ):
        at, _ = passes(jobs, wakes_on={signal})
        assert at == sorted({*quiet, *(t for t in boundaries if 100 < t < 50_100)})
    both, _ = passes(jobs, wakes_on=("solar", "supply"))
    assert both == sorted({*quiet, *hours})
    idle, end = passes(workload((100, 8000, 126)), wakes_on=["solar"], passes_when_idle=True)
    assert idle == [100, 3600, 7200, 8100]
    assert end == 8100


def test_a_scheduler_may_wait_for_a_cheap_hour_with_nothing_else_to_come():
    hour = np.arange(500)
    price = StepSeries(HOUR * hour, np.where(hour == 30, 5.0, 50.0))

    def decide(view):
        if view.price.now < 10:
            yield from starts(view)

    sim = simulation(workload((0, 100, 1)), Plan(decide, wakes_on={"price"}), price=price)
    sim.run()
    assert attempts_table(sim).to_pylist()[0]["start_s"] == 30 * HOUR


def test_one_that_waits_for_ever_is_refused(monkeypatch):
    monkeypatch.setattr("hpcsim.engine.simulation._MOST_IDLE_EVENTS", 500)
    sim = simulation(workload((0, 100, 1)), Plan(lambda view: [], wakes_on={"price"}))
    with pytest.raises(SchedulerError, match="501 times with nothing running and starts nothing"):
        sim.run()


@pytest.mark.parametrize("wakes_on", ["price", {"prise"}, [3], [["price"]], 5])
def test_a_wish_that_cannot_be_met_is_refused(wakes_on):
    for make in (simulation, lambda jobs, scheduler: Simulation(jobs, scheduler, nodes=4)):
        with pytest.raises(
            SchedulerError, match=r"plan: wakes_on should be a set of carbon, price, solar, supply \(got"
        ):
            make(workload((0, 1, 1)), Plan(starts, wakes_on=wakes_on))


def test_a_hold_that_nobody_waits_for_does_not_make_the_run_longer():
    sim = simulation(workload((0, 100, 1)), Plan(lambda view: [*starts(view), Hold(5000)]))
    sim.run()
    assert sim.now == 100
    assert summary_of(sim)["energy_it_kwh"] * 3.6e6 < 101 * (IDLE_W + 610)


def test_the_scheduler_of_the_documentation_runs_and_cools_less_when_power_is_dear(tmp_path):
    (code,) = blocks("docs/power.md", "python")
    file = tmp_path / "thrifty.py"
    file.write_text(code)
    settings = {"jobs": 400, "machine.model": "cooley"} | {f"physics.{name}": value for name, value in STEPS.items()}
    thrifty = hpcsim.simulate("cooley", settings | {"scheduler": "thrifty"}, plugins=file, check=True)
    fcfs = hpcsim.simulate("cooley", settings | {"scheduler": "fcfs"})
    assert thrifty.summary["pue"] < fcfs.summary["pue"]
    assert set(thrifty.jobs["state"]) == set(fcfs.jobs["state"])
    assert thrifty.timing["passes"] > fcfs.timing["passes"]


# -- copies ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(rows, actions, st.floats(0.1, 0.9), st.integers(0, 200_000), st.booleans())
def test_a_fork_goes_on_as_its_parent_does(jobs, deeds, share, at, heat):
    class Puller:
        name, api, wakes_on = "puller", 1, ("price", "supply")
        needs = frozenset({"sleep", "speed", "power"})

        def __init__(self):
            self.left = list(deeds)

        def schedule(self, view):
            yield from lever_puller([self.left.pop(0)] if self.left else []).decide(view)

    whole, parent = (simulation(workload(*sorted(jobs)), Puller(), heat=heat, cap_w=levels(share)) for _ in range(2))
    whole.run()
    at = min(at, whole.now - 1)
    parent.run(at)
    fork = parent.fork()
    assert fork.site.cluster._supply_c.__self__ is fork.site.facility is not parent.site.facility
    expected = summary_of(whole)
    for each in (fork, parent):
        each.run()
        assert attempts_table(each) == attempts_table(whole)
        summary = summary_of(each)
        assert summary.pop("energy_split_kwh") == expected["energy_split_kwh"]
        for key in summary:  # the last bits of temperatures hang on when they were asked for
            assert summary[key] == expected[key] or summary[key] == pytest.approx(expected[key], rel=1e-12)


def test_without_a_cap_or_wishes_the_facility_makes_no_event(monkeypatch):
    happened = []
    monkeypatch.setattr(Site, "happen", lambda self: happened.append(self._simulation.now))
    sim = simulation(workload((0, 5 * DAY, 126), (HOUR, 5, 1)), easy())
    sim.run()
    assert happened == []


def test_a_lower_clock_gets_no_more_done():
    """Throughput counts work, not the longer time that it takes."""
    still = {"physics.queues": False, "physics.failure_rate": 1e-9, "physics.variation": False}
    quiet = {"days": 0.5, "seed": 3, "load": 0.5, **still}
    full, slow = (simulate("cooley", quiet | {"levers": levers}) for levers in ({}, {"speed": {"factor": 0.5}}))
    hours = [run.summary["node_hours"] for run in (full, slow)]
    assert hours[1] > 1.2 * hours[0]
    for run in (full, slow):
        jobs = run.jobs
        done = jobs[jobs.state == "completed"]
        nominal = full.jobs.set_index("job_id").runtime_s.reindex(done.job_id).to_numpy()
        work = (done.nodes.to_numpy() * nominal).sum() / 3600
        span = (jobs.end_s.max() - jobs.submit_s.min()) / 3600
        assert run.summary["throughput_node_h_per_h"] == pytest.approx(work / span, rel=0.01)
