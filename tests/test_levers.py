"""Laws of the levers on power: cooling modes, the cap on the facility, the sun; and of copies of all that.

Integrals are compared with sums over every second, made from the attempts and the published formulas alone.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from levers_pulled import (
    AURORA,
    COOLEY,
    DAY,
    HOUR,
    IDLE_W,
    STEPS,
    T0,
    Plan,
    actions,
    at_seconds,
    each_second,
    easy,
    levels,
    lever_puller,
    rows,
    simulation,
    starts,
    summary_of,
    workload,
)

import hpcsim
from hpcsim import simulate
from hpcsim.engine.decisions import SetCap, SetCooling
from hpcsim.engine.site import Site
from hpcsim.errors import InputError, SchedulerError
from hpcsim.machine.facility import Facility
from hpcsim.machine.series import StepSeries
from hpcsim.machine.solar import SolarPlant
from hpcsim.results.energy import ledger_j, power_curve
from hpcsim.results.tables import attempts_table
from hpcsim.workload.behaviour import draw_behaviour

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


# -- the cap --------------------------------------------------------------------------------------


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
