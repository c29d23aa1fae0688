"""What a scheduler sees of power, heat and the grid, when it is called for them, and what nobody sees."""

from __future__ import annotations

import copy
import math
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from levers_pulled import (
    COOLEY,
    DAY,
    HOUR,
    IDLE_W,
    STEPS,
    T0,
    Plan,
    levels,
    simulation,
    starts,
    summary_of,
    supply_at_start,
    workload,
)
from pages import blocks

import hpcsim
from hpcsim.engine.decisions import Hold, Sleep, Wake
from hpcsim.engine.operations import Power, Signal
from hpcsim.engine.simulation import Simulation
from hpcsim.errors import SchedulerError
from hpcsim.machine import power
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.series import StepSeries
from hpcsim.machine.solar import SolarPlant, clear_sky_share, hourly_w
from hpcsim.results.tables import attempts_table
from hpcsim.workload.behaviour import draw_behaviour

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
    monkeypatch.setattr("hpcsim.engine.agenda._MOST_IDLE_EVENTS", 500)
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
