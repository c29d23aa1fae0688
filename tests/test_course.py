"""How warm a machine was over time, and what was around it: ``temperature.parquet`` and ``grid.parquet``."""

import numpy as np
import pytest

import hpcsim
from hpcsim.machine.course import ENOUGH, INTERVALS_S, interval_s
from hpcsim.machine.heat import Heat

WARM = {"jobs": 1500, "physics.failures": False, "physics.outages": False}


@pytest.fixture(scope="module", params=["polaris", "mira"])
def sensed(request):
    """A run, with exact sensors on all units at the seconds of its course."""
    settings = WARM | {"physics.telemetry.noise": False}
    plain = hpcsim.simulate(request.param, WARM)
    every_s = int(np.diff(plain.temperature.time_s)[0])
    return plain, hpcsim.simulate(request.param, settings | {"physics.telemetry.interval": every_s})


def test_the_course_is_what_exact_sensors_of_all_units_say(sensed):
    plain, run = sensed
    course = plain.temperature.set_index("time_s")
    units = run.telemetry.astype({"node_c": float, "gpu_c": float}).groupby("time_s")  # they were rounded to float32
    at = [*units.groups]
    assert len(at) > 50
    assert np.allclose(course.loc[at, "hottest_c"], units["node_c"].max(), rtol=0, atol=1e-5)
    assert np.allclose(course.loc[at, "mean_c"], units["node_c"].mean(), rtol=0, atol=1e-5)
    if "hottest_gpu_c" in course:
        assert np.allclose(course.loc[at, "hottest_gpu_c"], units["gpu_c"].max(), rtol=0, atol=1e-5)
    assert course["hottest_c"].max() <= plain.summary["hottest_node_c"] + 1e-9


def test_throttled_nodes_add_up_to_the_throttled_node_hours():
    run = hpcsim.simulate("polaris", {"jobs": 6000})
    course = run.temperature
    every_s = np.diff(course.time_s)[0]
    assert run.summary["throttled_node_hours"] > 10
    assert course.throttled_nodes.sum() * every_s / 3600 == pytest.approx(run.summary["throttled_node_hours"], rel=0.1)


def test_a_machine_whose_course_is_taken_down_does_the_same_as_one_that_is_not(monkeypatch):
    followed = hpcsim.simulate("polaris", {"jobs": 2000})
    monkeypatch.setattr(Heat, "take_down", lambda *_: None)
    alone = hpcsim.simulate("polaris", {"jobs": 2000})
    assert "temperature" not in alone.tables
    for table in alone.tables:
        assert followed.tables[table].equals(alone.tables[table])
    assert followed.summary == alone.summary


def test_the_course_is_regular_from_the_first_second_to_the_last_end():
    run = hpcsim.simulate("theta", {"jobs": 800})
    seconds, jobs = run.temperature.time_s, run.jobs
    assert seconds[0] == run.power.time_s[0]
    assert set(np.diff(seconds)) <= {*INTERVALS_S}
    assert len(set(np.diff(seconds))) == 1
    assert 0 <= max(jobs.end_s.max(), jobs.submit_s.max()) - seconds.iloc[-1] < np.diff(seconds)[0]


@pytest.mark.parametrize("span_s", [0, 600 * ENOUGH, 600 * ENOUGH + 1, 86400 * 365, 10**9])
def test_the_interval_is_the_shortest_that_gives_no_more_than_enough(span_s):
    chosen = interval_s(span_s)
    assert span_s <= ENOUGH * chosen or chosen == max(INTERVALS_S)
    assert all(span_s > ENOUGH * shorter for shorter in INTERVALS_S if shorter < chosen)


def test_a_run_without_heat_has_no_temperatures_and_one_without_physics_no_grid():
    cold = hpcsim.simulate("polaris", {"jobs": 50, "physics.heat": False})
    assert "temperature" not in cold.tables
    with pytest.raises(AttributeError, match="without heat has no temperature"):
        _ = cold.temperature
    bare = hpcsim.simulate("bare", {"jobs": 50, "profile": "polaris"})
    with pytest.raises(AttributeError, match="without physics has no grid"):
        _ = bare.grid


def test_the_grid_gives_the_cost_and_the_carbon_of_the_summary():
    run = hpcsim.simulate("polaris", {"jobs": 1000, "physics.cap_kw": 900, "physics.solar_kw": 300})
    power, grid, end_s = run.power, run.grid, run.jobs.end_s.max()
    at = np.union1d(power.time_s, grid.time_s)
    drawn = power.iloc[np.searchsorted(power.time_s, at, side="right") - 1]
    around = grid.iloc[np.searchsorted(grid.time_s, at, side="right") - 1]
    bought_w = np.maximum(drawn.facility_w.to_numpy() - drawn.solar_w.to_numpy(), 0.0)
    kwh = bought_w * np.diff(np.append(at, end_s)) / 3.6e6
    assert (around.cap_w == 900_000).all()
    assert kwh @ around.price_usd_per_kwh.to_numpy() == pytest.approx(run.summary["cost_usd"], rel=1e-9)
    assert kwh @ around.carbon_g_per_kwh.to_numpy() / 1000 == pytest.approx(run.summary["carbon_kg"], rel=1e-9)


def test_a_cap_that_a_lever_sets_is_in_the_grid():
    run = hpcsim.simulate(
        "polaris", {"jobs": 300, "levers.power_cap.kw": 500, "levers.power_cap.when.hours_utc": [8, 20]}
    )
    caps = run.decisions[run.decisions.decision == "set_cap"]
    assert len(caps) > 2
    grid = run.grid
    at = grid.iloc[np.searchsorted(grid.time_s, caps.time_s, side="right") - 1]
    assert [*at.cap_w.fillna(0)] == [*caps.value.fillna(0)]
