"""Power, conversion, sleep, cooling and the sun: against published figures, scipy, quadrature and hand calculation."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from hpcsim.errors import InputError
from hpcsim.machine import cooling, power, solar
from hpcsim.machine.spec import CoolingSpec, PowerSpec, ThermalSpec

AURORA = PowerSpec(idle_w=967, cpu_dyn_w=553, gpu_dyn_w=3265, fixed_w=1_684_000)
POLARIS = PowerSpec(idle_w=490, cpu_dyn_w=210, gpu_dyn_w=1540, fixed_w=30_000)
MIRA = PowerSpec(idle_w=36, cpu_dyn_w=44.3, gpu_dyn_w=0)
THETA = PowerSpec(idle_w=110, cpu_dyn_w=225, gpu_dyn_w=0)
AIR = CoolingSpec(kind="air")
LIQUID = CoolingSpec(kind="dlc")

watts = st.floats(0.1, 1e5)
exponents = st.floats(1.0, 3.0)


def test_published_hpl_power_is_met_within_a_percent() -> None:
    assert 49_152 * power.node_w(MIRA, 1.0, 0.0) == pytest.approx(3_945e3, rel=0.01)
    assert 3_240 * power.node_w(THETA, 1.0, 0.0) == pytest.approx(1_087e3, rel=0.01)
    busy = 9_234 * power.node_w(AURORA, 0.76, 0.76)
    assert busy + (10_624 - 9_234) * AURORA.idle_w + AURORA.fixed_w == pytest.approx(38.7e6, rel=0.01)


def test_arrays_and_numbers_agree() -> None:
    rng = np.random.default_rng(0)
    cpu, gpu, speed = rng.random((3, 50))
    speed = 0.5 + speed / 2
    got = power.node_w(AURORA, cpu, gpu, speed)
    rates = power.rate(cpu, speed)
    best = power.best_speed(AURORA, cpu * 900, gpu * 3000, speed)
    for i in range(50):
        c, g, x = float(cpu[i]), float(gpu[i]), float(speed[i])
        assert got[i] == power.node_w(AURORA, c, g, x) == 967 + (553 * c + 3265 * g) * x**2
        assert rates[i] == power.rate(c, x) == 1 / (1 + c * (1 / x - 1))
        assert best[i] == pytest.approx(power.best_speed(AURORA, c * 900, g * 3000, x), abs=1e-12)


def test_work_takes_as_much_longer_as_beta_says() -> None:
    assert power.rate(0.0, 0.5) == 1.0
    assert power.rate(1.0, 0.5) == 0.5
    assert 1 / power.rate(0.4, 0.8) == pytest.approx(1 + 0.4 * 0.25)


@given(watts, st.floats(0.0, 1.5), exponents)
def test_speed_of_power_draws_the_wanted_power(now_w: float, share: float, exponent: float) -> None:
    spec = replace(POLARIS, speed_exponent=exponent)
    speed = power.speed_of_power(spec, now_w, share * now_w)
    reached = now_w * speed**exponent
    if share >= 1:
        assert speed == 1.0
    elif share <= 0.5**exponent:
        assert speed == pytest.approx(0.5)
    else:
        assert reached == pytest.approx(share * now_w, rel=1e-12)


def test_no_power_needs_no_slowing() -> None:
    assert power.speed_of_power(POLARIS, 0.0, 0.0) == 1.0
    assert power.speed_of_power(POLARIS, 0.0, -5.0) == 1.0
    assert power.speed_of_power(POLARIS, 5.0, -5.0) == 0.5
    assert power.speed_of_power(POLARIS, np.array([0.0, 4.0]), 1.0).tolist() == [1.0, 0.5]


def _energy(spec: PowerSpec, static_w: float, dynamic_w: float, beta: float, speed: float) -> float:
    return (static_w + dynamic_w * speed**spec.speed_exponent) * (1 + beta * (1 / speed - 1))


@given(watts, watts, st.floats(0.0, 1.0), exponents, st.floats(0.05, 0.9))
def test_no_speed_takes_less_energy_than_the_best_one(
    static_w: float, dynamic_w: float, beta: float, exponent: float, least: float
) -> None:
    spec = replace(POLARIS, speed_exponent=exponent, least_speed=least)
    speed = power.best_speed(spec, static_w, dynamic_w, beta)
    assert least <= speed <= 1.0
    grid = np.linspace(least, 1.0, 2001)
    energies = (static_w + dynamic_w * grid**exponent) * (1 + beta * (1 / grid - 1))
    assert _energy(spec, static_w, dynamic_w, beta, speed) <= energies.min() * (1 + 1e-12)


@pytest.mark.parametrize("exponent", [1.0, 1.7, 2.0, 2.5])
@pytest.mark.parametrize("beta", [0.05, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("static_w", [1.0, 200.0, 490.0, 5000.0])
def test_best_speed_is_where_bounded_minimisation_finds_it(exponent: float, beta: float, static_w: float) -> None:
    spec = replace(POLARIS, speed_exponent=exponent, least_speed=0.1)
    found = optimize.minimize_scalar(
        lambda x: _energy(spec, static_w, 1200.0, beta, x), bounds=(0.1, 1.0), method="bounded", options={"xatol": 1e-9}
    )
    assert power.best_speed(spec, static_w, 1200.0, beta) == pytest.approx(found.x, abs=2e-5)


def test_best_speed_of_compute_bound_work_has_a_closed_form() -> None:
    for exponent, static_w in ((1.5, 300.0), (2.0, 490.0), (3.0, 700.0)):
        spec = replace(POLARIS, speed_exponent=exponent)
        expected = (static_w / ((exponent - 1) * 1200.0)) ** (1 / exponent)
        assert 0.5 < expected < 1
        assert power.best_speed(spec, static_w, 1200.0, 1.0) == pytest.approx(expected, rel=1e-13)
    assert power.best_speed(POLARIS, 5000.0, 1200.0, 1.0) == 1.0
    assert power.best_speed(POLARIS, 490.0, 1200.0, 0.0) == 0.5
    assert power.best_speed(replace(POLARIS, speed_exponent=1.0), 490.0, 1200.0, 1.0) == 1.0


@given(st.floats(0.0, 1e8), watts, exponents, st.floats(0.0, 1.2))
def test_a_cap_is_kept_by_the_largest_step_of_speed_or_said_to_be_impossible(
    static_w: float, dynamic_w: float, exponent: float, share: float
) -> None:
    spec = replace(POLARIS, speed_exponent=exponent)
    cap_w = static_w + share * dynamic_w
    factor = power.cap_speed(spec, static_w, dynamic_w, cap_w)
    slack_w = 1e-12 * cap_w
    assert factor * 100 == pytest.approx(round(factor * 100), abs=1e-9)
    if not power.cap_holds(spec, static_w, dynamic_w, cap_w):
        assert factor == spec.least_speed
        assert static_w + dynamic_w * factor**exponent > cap_w
    else:
        assert static_w + dynamic_w * factor**exponent <= cap_w + slack_w
        if factor < 1.0:  # one step more would be too much
            assert static_w + dynamic_w * (factor + 0.01) ** exponent > cap_w - slack_w


def test_cap_below_the_static_power() -> None:
    assert power.cap_speed(POLARIS, 100.0, 50.0, 90.0) == 0.5
    assert not power.cap_holds(POLARIS, 100.0, 50.0, 90.0)
    assert power.cap_speed(POLARIS, 100.0, 50.0, 100.0 + 50.0 / 4) == 0.5
    assert power.cap_holds(POLARIS, 100.0, 50.0, 100.0 + 50.0 / 4)
    assert power.cap_speed(POLARIS, 100.0, 50.0, 150.0) == 1.0


def test_four_nodes_behind_one_rectifier_draw_what_four_times_one_does() -> None:
    shelf_in = (4 * (892 + 13) / 0.98 + 17) / 0.96
    assert 4 * power.wall_w(AURORA, 892.0) == pytest.approx(shelf_in, rel=1e-14)
    # the DC and wall watts of an idle and a full Aurora node, as published for RAPS and in its catalogue
    assert power.wall_w(AURORA, 892.0) == pytest.approx(967, abs=1)
    assert power.wall_w(AURORA, 4484.0) == pytest.approx(4785, abs=1)


@given(st.floats(0.0, 1e4))
def test_conversion_and_its_inverse(dc: float) -> None:
    wall = power.wall_w(AURORA, dc)
    assert power.dc_w(AURORA, wall) == pytest.approx(dc, rel=1e-12, abs=1e-11)
    assert power.dc_w(AURORA, wall) + power.conversion_loss_j(AURORA, wall, 1.0) == pytest.approx(wall, rel=1e-12)


def test_loss_of_a_sum_is_the_sum_of_losses() -> None:
    rng = np.random.default_rng(1)
    seconds = rng.integers(1, 5000, 300).astype(float)
    nodes = rng.integers(1, 500, 300)
    wall = power.node_w(POLARIS, rng.random(300), rng.random(300))
    dc_j = math.fsum(power.dc_w(POLARIS, w) * n * s for w, n, s in zip(wall, nodes, seconds, strict=True))
    wall_j = math.fsum(wall * nodes * seconds)
    loss_j = power.conversion_loss_j(POLARIS, wall_j, math.fsum(nodes * seconds))
    assert dc_j + loss_j == pytest.approx(wall_j, rel=1e-12)
    assert 0.04 * wall_j < loss_j < 0.10 * wall_j


def test_without_load_all_is_lost_and_never_more() -> None:
    no_load = power.wall_w(POLARIS, 0.0)
    assert 15 < no_load < 20
    assert power.dc_w(POLARIS, np.array([0.0, no_load / 2])).tolist() == [0.0, 0.0]
    assert power.conversion_loss_j(POLARIS, 1000.0, 3600.0) == 1000.0
    assert power.dc_w(POLARIS, 0.0) == 0.0
    wall_w = np.linspace(no_load, 2240, 100)
    share = power.dc_w(POLARIS, wall_w) / wall_w
    assert np.all(np.diff(share) > 0)
    assert share[-1] < 0.98 * 0.96
    assert share[-1] == pytest.approx(0.98 * 0.96, abs=0.01)


def _joules_of_sleeping(spec: PowerSpec, gap_s: int) -> float:
    wake_w = spec.idle_w if spec.wake_w is None else spec.wake_w
    asleep_s = gap_s - spec.sleep_s - spec.wake_s
    return spec.idle_w * spec.sleep_s + spec.sleep_w * asleep_s + wake_w * spec.wake_s


@pytest.mark.parametrize("spec", [POLARIS, replace(POLARIS, wake_w=900.0), replace(MIRA, wake_w=60.0, sleep_w=5.0)])
def test_break_even_is_the_first_gap_that_sleeping_does_not_make_dearer(spec: PowerSpec) -> None:
    first = next(
        gap for gap in range(spec.sleep_s + spec.wake_s, 10**6) if _joules_of_sleeping(spec, gap) <= spec.idle_w * gap
    )
    assert math.ceil(power.break_even_s(spec)) == first
    assert power.sleep_cycle_j(spec) == _joules_of_sleeping(spec, spec.sleep_s + spec.wake_s)


def test_a_sleep_that_saves_nothing_never_pays() -> None:
    assert power.break_even_s(replace(MIRA, sleep_w=36.0)) == math.inf


def test_cop_of_chilled_water_units_as_published() -> None:
    published = {15: 2.00, 18: 2.68, 20: 3.19, 22: 3.77, 25: 4.73, 27: 5.44, 30: 6.60, 32: 7.45}
    for supply, cop in published.items():
        assert cooling.crac_cop(float(supply)) == pytest.approx(cop, abs=0.006)
    assert cooling.crac_cop(-30.0) == cooling.crac_cop(0.0)
    assert cooling.overhead(AIR, 20.0, 0.0) == pytest.approx(1 / 3.1940 + 0.03, rel=1e-6)


def _utc(*date: int) -> float:
    return datetime(*date, tzinfo=UTC).timestamp()


def test_temperatures_peak_in_mid_july_at_15_h() -> None:
    thermal = ThermalSpec(supply_c=24, supply_season_k=2, supply_day_k=1, node_k_per_w=0.02, node_j_per_k=17_500)
    hours = _utc(2023, 1, 1) + 3600.0 * np.arange(365 * 24)
    supply = cooling.supply_c(thermal, hours)
    hottest = datetime.fromtimestamp(hours[supply.argmax()], UTC)
    coldest = datetime.fromtimestamp(hours[supply.argmin()], UTC)
    assert (hottest.month, hottest.hour) == (7, 21)
    assert 13 <= hottest.day <= 17
    assert (coldest.month, coldest.hour) == (1, 9)
    assert supply.max() == pytest.approx(27, abs=1e-3)
    assert supply.min() == pytest.approx(21, abs=1e-3)
    assert supply.mean() == pytest.approx(24, abs=2e-3)


def test_liquid_is_cooled_for_free_when_it_is_cold_outside() -> None:
    winter, summer = _utc(2024, 1, 15, 12), _utc(2024, 7, 15, 21)
    assert cooling.wet_bulb_c(LIQUID, summer) == pytest.approx(22, abs=0.01)
    assert cooling.overhead(LIQUID, 24.0, winter) == pytest.approx(1 / 20 + 0.03)
    assert cooling.overhead(LIQUID, 24.0, summer) == pytest.approx(1 / 5 + 0.03)
    hot = replace(LIQUID, wet_bulb_mean_c=20.0)  # 35 degrees at the peak: 10 K above the chiller's rating
    assert cooling.liquid_cop(hot, 24.0, summer) == pytest.approx(4.0, abs=0.002)
    hours = _utc(2024, 1, 1) + 3600.0 * np.arange(366 * 24)
    wet = cooling.wet_bulb_c(LIQUID, hours)
    free = wet < 18.0
    assert 0.6 < free.mean() < 0.95
    assert np.array_equal(cooling.liquid_cop(LIQUID, np.full(len(hours), 24.0), hours) == 20.0, free)


def test_warmer_air_costs_less() -> None:
    changes = [cooling.mode_change_k(AIR, mode) for mode in ("cold", "normal", "warm")]
    modes = [cooling.overhead(AIR, 24.0 + change_k, 1.7e9) for change_k in changes]
    assert modes == sorted(modes, reverse=True)
    assert 0.15 < modes[1] < 0.4
    with pytest.raises(InputError, match="'hot', expected one of normal, cold, warm"):
        cooling.mode_change_k(AIR, "hot")


def _zenith_deg(utc_s: float) -> float:
    declination, hour_angle = solar.sun(np.array(utc_s))
    return float(np.degrees(np.arccos(solar.cos_zenith(declination, hour_angle, solar.LATITUDE_DEG))))


@pytest.mark.parametrize(
    ("date", "declination", "equation_min"),
    [  # from almanacs: declination of the sun in degrees, and what a sundial is ahead of the clock in minutes
        ((2024, 6, 20), 23.44, -1.7),
        ((2024, 12, 21), -23.44, 2.0),
        ((2024, 11, 3), -15.2, 16.4),
        ((2024, 2, 11), -14.1, -14.2),
        ((2013, 3, 20), -0.05, -7.4),
    ],
)
def test_solar_noon_by_hand(date: tuple[int, int, int], declination: float, equation_min: float) -> None:
    noon = _utc(*date, 12) + 87.98 / 15 * 3600 - 60 * equation_min
    assert _zenith_deg(noon) == pytest.approx(41.71 - declination, abs=0.25)
    seconds = noon + np.arange(-1800, 1800, 10)
    highest = seconds[np.argmin([_zenith_deg(second) for second in seconds])]
    assert highest == pytest.approx(noon, abs=40)
    # sunrise and sunset as far from noon as cos h = - tan(latitude) tan(declination) says
    half_day_s = 240 * math.degrees(math.acos(-math.tan(math.radians(41.71)) * math.tan(math.radians(declination))))
    assert _zenith_deg(noon - half_day_s) == pytest.approx(90, abs=0.5)
    assert _zenith_deg(noon + half_day_s) == pytest.approx(90, abs=0.5)


def test_clear_sky_at_the_solstice_by_hand() -> None:
    noon = _utc(2024, 6, 20, 17, 53, 36)
    cosine = math.cos(math.radians(18.27))
    level = 1098 * cosine * math.exp(-0.057 / cosine)
    assert level == pytest.approx(981.8, abs=0.5)
    # the module's normal is 1.73 degrees from the sun; between a beam only and a sky all diffuse
    light = float(solar.tilted_w_m2(np.array(noon), np.array(1.0)))
    assert 0.97 * level < light < level * math.cos(math.radians(1.73)) / cosine
    cell_c = 10 + 13.5 * math.cos(2 * math.pi * 24.8 / 365.2425) + 5 * math.cos(2 * math.pi * 3.107 / 24) + light / 32
    expected = light / 1000 * (1 - 0.0047 * (cell_c - 25)) * 0.86 * 0.96
    assert float(solar.plant_share(np.array(noon), np.array(1.0))) == pytest.approx(expected, rel=2e-3)


def test_diffuse_share_is_continuous_and_falls_with_clearness() -> None:
    clearness = np.linspace(0.0, 1.1, 2000)
    share = solar.diffuse_share(clearness)
    assert share[0] == 1.0
    assert np.all(share >= 0.16)
    assert np.abs(np.diff(share)).max() < 0.01


def test_yield_of_a_year_is_that_of_the_site_and_nights_are_dark() -> None:
    t0 = int(_utc(2024, 1, 1))
    yields = []
    for seed in range(6):
        series = solar.solar_series(1.0, t0, 365, seed)
        yields.append(series.integral(0, 365 * 86_400) / 3.6e6)
        hours = series.values.reshape(365, 24)
        assert np.all(hours[:, 4:10] == 0)  # 22 h to 4 h, UTC-6
        assert np.all(hours[:, 17:19] > 0)
        assert 650 < hours.max() < 850
        assert hours[150:210].sum() > 1.5 * hours[:60].sum()
    assert all(1_150 < kwh < 1_500 for kwh in yields)
    assert len(set(yields)) == 6


def test_clouds_have_the_spread_memory_and_season_that_are_said() -> None:
    t0, hours = int(_utc(2000, 1, 15)), 20 * 8766
    share = solar.clear_sky_share(t0, hours, 11)
    assert 0.25 <= share.min() < 0.3
    assert 0.99 < share.max() <= 1.0
    cover = (np.maximum(1 - share, 1e-16) / 0.75) ** (1 / 3.4)  # a sky almost clear is rounded to a clear one
    logit = np.log(cover / (1 - cover))
    season = np.cos(2 * np.pi * np.arange(hours) / (365.2425 * 24))
    assert np.polyfit(season, logit, 1) == pytest.approx([0.5, 0.75], abs=0.12)
    state = (logit - 0.75 - 0.5 * season) / 2.3
    assert state.std() == pytest.approx(1.0, abs=0.03)
    for lag in (1, 10, 30):
        assert np.corrcoef(state[:-lag], state[lag:])[0, 1] == pytest.approx(math.exp(-lag / 10), abs=0.03)


def test_solar_hours_depend_on_the_seed_and_on_nothing_else() -> None:
    t0 = int(_utc(2022, 3, 7, 5)) + 1234
    short, long = (solar.solar_series(250.0, t0, days, 3) for days in (2, 9))
    assert short.values.tolist() == long.values[:48].tolist()
    assert long.times_s.tolist() == list(range(0, 9 * 86_400, 3600))
    assert long.end_s == 9 * 86_400
    assert solar.solar_series(500.0, t0, 2, 3).values.tolist() == (2 * short.values).tolist()
    assert not np.array_equal(solar.solar_series(250.0, t0, 2, 4).values, short.values)
    # the mean of an hour, against 3,600 samples of it
    clear = solar.clear_sky_share(t0, 48, 3)
    hour = int(short.values.argmax())
    fine = t0 + 3600.0 * hour + np.arange(3600) + 0.5
    assert short.values[hour] == pytest.approx(
        250_000 * solar.plant_share(fine, np.full(3600, clear[hour])).mean(), rel=1e-3
    )
    with pytest.raises(ValueError, match="-1"):
        solar.solar_series(-1.0, t0, 2, 3)
