"""Step series: against brute force, one second or one step at a time, and the published figures of PJM."""

from __future__ import annotations

import gzip
import math
import time
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.errors import InputError
from hpcsim.machine.series import (
    JOULES_PER_MWH,
    REPEAT_S,
    StepSeries,
    default_carbon,
    default_price,
    read_carbon,
    read_price,
)

HOUR = 3600
T0 = 1_704_067_200  # 2024-01-01
OLD_HEADER = (
    "Datetime (UTC),Country,Zone Name,Zone Id,Carbon Intensity gCO₂eq/kWh (direct),Carbon Intensity gCO₂eq/kWh (LCA),"
    "Low Carbon Percentage,Renewable Percentage,Data Source,Data Estimated,Data Estimation Method"
)
NEW_HEADER = (
    "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (direct),"
    "Carbon intensity gCO₂eq/kWh (Life cycle),Carbon-free energy percentage (CFE%),Renewable energy percentage (RE%),"
    "Data source,Data estimated,Data estimation method"
)


def _value(series: StepSeries, t: float) -> float:
    """What the docstring says, by search: shift by 52 weeks until the series covers the time, else hold."""
    times = series.times_s.tolist()
    if series.end_s - times[0] >= REPEAT_S:
        while t < times[0]:
            t += REPEAT_S
        while t >= series.end_s:
            t -= REPEAT_S
    return float(series.values[max(bisect_right(times, t) - 1, 0)])


def _long_series(seed: int, years: float = 1.3) -> StepSeries:
    """An irregular series of more than a year, in few steps."""
    rng = np.random.default_rng(seed)
    times = -5_000_000 + np.unique(rng.integers(0, int(years * REPEAT_S), 60))
    return StepSeries(times, rng.normal(30, 50, len(times)), end_s=int(times[0]) + int(years * REPEAT_S) + 7)


def _short_series(seed: int) -> StepSeries:
    rng = np.random.default_rng(seed)
    times = np.unique(rng.integers(-300, 300, 30))
    return StepSeries(times, rng.normal(30, 50, len(times)))


@pytest.mark.parametrize("make", [_long_series, _short_series])
@given(seed=st.integers(0, 20), t=st.integers(-4 * REPEAT_S, 4 * REPEAT_S))
def test_a_value_is_the_one_that_search_finds(make, seed: int, t: int) -> None:
    series = make(seed)
    near = t % 700 - 350
    for when in (t, near, series.start_s, series.start_s - 1, series.end_s, series.end_s - 1, t + 0.5):
        assert series.at(when) == _value(series, when)
    assert series.at(np.array([t, near])).tolist() == [_value(series, t), _value(series, near)]


def test_integral_is_the_sum_of_seconds() -> None:
    for seed in range(10):
        series = _short_series(seed)
        seconds = np.array([_value(series, t) for t in range(-500, 500)])
        for t0, t1 in ((-500, 500), (-500, -400), (-3, 4), (17, 17), (310, 480)):
            expected = math.fsum(seconds[t0 + 500 : t1 + 500])
            assert series.integral(t0, t1) == pytest.approx(expected, rel=1e-12, abs=1e-9)
            assert series.integral(t1, t0) == -series.integral(t0, t1)


def _piecewise(series: StepSeries, t0: float, t1: float) -> float:
    """The integral, step by step along ``next_boundary``."""
    parts = []
    while t0 < t1:
        boundary = series.next_boundary(t0)
        until = t1 if boundary is None else min(boundary, t1)
        parts.append(_value(series, (t0 + until) / 2) * (until - t0))
        t0 = until
    return math.fsum(parts)


@pytest.mark.parametrize("years", [1.0, 1.3, 2.5])
def test_integral_over_repeated_years_is_the_sum_of_steps(years: float) -> None:
    rng = np.random.default_rng(7)
    for seed in range(5):
        series = _long_series(seed, years)
        assert series.repeats
        t0 = rng.uniform(-3 * REPEAT_S, 2 * REPEAT_S, 20)
        t1 = t0 + rng.exponential([REPEAT_S, 1e4] * 10)
        got = series.integral(t0, t1)
        for begin, end, value in zip(t0, t1, got, strict=True):
            assert value == pytest.approx(_piecewise(series, begin, end), rel=1e-9, abs=1e-9 * (end - begin))


@pytest.mark.parametrize("days", [3, 364, 365, 500, 900])
def test_boundaries_are_where_the_value_changes_and_nowhere_else(days: int) -> None:
    rng = np.random.default_rng(days)
    begins = np.concatenate(([0], np.unique(rng.integers(1, days - 1, 40))))
    series = StepSeries(86_400 * begins + 1000, rng.random(len(begins)), end_s=86_400 * days + 1000)
    scanned = range(-1000, 1500)
    changes = [
        86_400 * day + 1000
        for day in scanned
        if _value(series, 86_400 * day + 1000) != _value(series, 86_400 * day + 999)
    ]
    t0, t1 = 86_400 * scanned[0], 86_400 * scanned[-1] + 2000
    assert series.boundaries(t0, t1).tolist() == changes
    met, t = [], series.next_boundary(t0)
    while t is not None and t < t1:
        met.append(t)
        t = series.next_boundary(t)
    assert met == changes
    assert series.repeats == (days >= 364)
    for boundary in changes[::7]:
        assert series.next_boundary(boundary - 1) == series.next_boundary(boundary - 0.5) == boundary
        assert series.boundaries(boundary - 1, boundary + 1).tolist() == [boundary]
        assert series.boundaries(boundary, boundary + 1).tolist() == []
    assert _short_series(0).next_boundary(10**9) is None


@given(st.integers(0, 1000), st.booleans())
def test_weighting_splits_power_at_every_boundary(seed: int, long: bool) -> None:
    rng = np.random.default_rng(seed)
    series = _long_series(seed) if long else _short_series(seed)
    span = 2 * REPEAT_S if long else 900
    points = np.sort(rng.integers(-span, span, 25)).tolist()
    watts = rng.uniform(0, 1e6, 24)
    expected = []
    for begin, end, watt in zip(points[:-1], points[1:], watts, strict=True):
        cuts = [begin, *series.boundaries(begin, end).tolist(), end]
        expected += [watt * _value(series, a) * (b - a) for a, b in pairwise(cuts) if b > a]
    got = series.weighted(points[:-1], watts, points[-1])
    assert got == pytest.approx(math.fsum(expected), rel=1e-11, abs=1e-11 * math.fsum(map(abs, expected)))


def test_weighting_of_an_hour_by_hand() -> None:
    price = StepSeries([0, HOUR, 2 * HOUR], [20.0, 80.0, -10.0])
    # 2 MW for the last 600 s of the first hour and the first 1,200 s of the second, then 1 MW to the third's half
    cost = price.weighted([3000, 4800], [2e6, 1e6], 9000) / JOULES_PER_MWH
    assert cost == pytest.approx(2 * (600 * 20 + 1200 * 80) / 3600 + 1 * (2400 * 80 + 1800 * -10) / 3600, rel=1e-14)
    assert price.weighted([], [], 9000) == 0.0
    with pytest.raises(ValueError, match="ascending times"):
        price.weighted([10, 5], [1, 1], 20)
    with pytest.raises(ValueError, match="ascending times"):
        price.weighted([10, 15], [1], 20)


def test_a_million_steps_of_power_meet_a_year_of_hours_in_a_third_of_a_second() -> None:
    rng = np.random.default_rng(0)
    series = default_price(T0)
    times = np.sort(rng.integers(0, 8760 * HOUR, 10**6))
    watts = rng.uniform(1e5, 2e6, 10**6)
    took = []
    for _ in range(3):
        begin = time.thread_time()
        got = series.weighted(times, watts, 8760 * HOUR)
        took.append(time.thread_time() - begin)
    assert min(took) < 0.3
    # the same by energy per hour: cut the power curve at every hour instead
    hours = np.arange(0, 8760 * HOUR, HOUR)
    points = np.sort(np.concatenate((times, hours)), kind="stable")
    held = np.concatenate(([0.0], watts))[np.searchsorted(times, points, side="right")]
    energy = held * np.diff(points, append=8760 * HOUR)
    expected = math.fsum(energy * series.values[(points // HOUR) % len(series.values)])
    assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("times", "values", "end", "message"),
    [
        ([], [], None, "not 0"),
        ([1, 2], [1.0], None, "expected as many"),
        ([2, 2], [1.0, 2.0], None, "ascend strictly"),
        ([1, 2], [1.0, math.nan], None, "finite"),
        ([1, 2], [1.0, 2.0], 2, "cannot end at 2 s"),
    ],
)
def test_no_series_of_nonsense(times: list[int], values: list[float], end: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StepSeries(times, values, end_s=end)


def test_a_series_cannot_be_changed() -> None:
    source = np.array([1.0, 2.0])
    series = StepSeries([0, HOUR], source)
    source[0] = 5.0
    assert series.at(0) == 1.0
    with pytest.raises(ValueError, match="read-only"):
        series.values[0] = 3.0
    assert series.end_s == 2 * HOUR
    assert StepSeries([10], [1.0]).end_s == 10 + HOUR


def _written(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _row(stamp: str, direct: str, life_cycle: str) -> str:
    return f"{stamp},USA,PJM Interconnection,US-MIDA-PJM,{direct},{life_cycle},40.1,7.5,eia.gov,false,"


@pytest.mark.parametrize(
    "header", [OLD_HEADER, NEW_HEADER, "\ufeff" + NEW_HEADER.upper(), OLD_HEADER.replace("₂", "2")]
)
@pytest.mark.parametrize("style", ["{} {}", "{}T{}Z", "{} {}+00:00", "{}T{}.000Z"])
def test_carbon_files_old_and_new(tmp_path: Path, header: str, style: str) -> None:
    stamps = [style.format("2024-01-01", f"{hour:02d}:00:00") for hour in range(3)]
    rows = [_row(stamp, f"{300 + i}.5", f"{400 + i}") for i, stamp in enumerate(stamps)]
    path = _written(tmp_path / "pjm.csv", header, *rows)
    direct, life_cycle = (read_carbon(path, T0 - 100, kind) for kind in ("direct", "lca"))
    assert direct.times_s.tolist() == [100, HOUR + 100, 2 * HOUR + 100]
    assert direct.values.tolist() == [300.5, 301.5, 302.5]
    assert life_cycle.values.tolist() == [400, 401, 402]
    assert direct.end_s == 3 * HOUR + 100
    assert direct.missing == 0


def test_prices_may_be_negative_and_packed(tmp_path: Path) -> None:
    text = (
        "Datetime (UTC),Datetime (Local),Price (USD/MWh)\n"
        "2024-01-01 05:00:00+00:00,2024-01-01 00:00:00-05:00,32.12\n"
        "2024-01-01 06:00:00+00:00,2024-01-01 01:00:00-05:00,-4.5\n"
    )
    path = tmp_path / "price.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    series = read_price(path, T0)
    assert series.times_s.tolist() == [5 * HOUR, 6 * HOUR]
    assert series.values.tolist() == [32.12, -4.5]


def test_missing_hours_are_held_and_counted(tmp_path: Path) -> None:
    path = _written(
        tmp_path / "gaps.csv",
        NEW_HEADER,
        _row("2024-01-01 00:00:00", "", "1"),
        _row("2024-01-01 01:00:00", "301", "1"),
        _row("2024-01-01 02:00:00", "", "1"),
        _row("2024-01-01 03:00:00", "303", "1"),
        _row("2024-01-01 07:00:00", "307", "1"),
        _row("2024-01-01 08:00:00", "", "1"),
    )
    series = read_carbon(path, T0)
    assert series.missing == 6  # 0, 2, 4, 5, 6 and 8 h
    assert [series.at(hour * HOUR) for hour in range(9)] == [301, 301, 301, 303, 303, 303, 303, 307, 307]
    assert series.end_s == 9 * HOUR


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["2024-01-01 00:00:00,1", "2024-01-01 01:00:00,x"], r"f\.csv:3: column .*found 'x', expected a number"),
        (["2024-01-01 00:00:00,1", "2024-01-01 00:00:00,2"], r"f\.csv:3: found 2024-01-01 00:00:00 after 2024.*once"),
        (["2024-01-01 02:00:00,1", "", "2024-01-01 01:00:00,2"], r"f\.csv:4: found .* ascending order"),
        (["2024-01-01 02:00:00-05:00,1"], r"f\.csv:2: .*expected a time in UTC: this one is UTC-05:00"),
        (["01/02/2024 02:00,1"], r"f\.csv:2: found '01/02/2024 02:00', expected a time as YYYY-MM-DD"),
        (["2024-02-30 02:00:00,1"], r"f\.csv:2: found '2024-02-30 02:00:00', expected a time"),
        ([",1"], r"f\.csv:2: found '', expected a time"),
        (["2024-01-01 00:00:00,1,2"], r"f\.csv:2: found 3 cells, expected 2"),
        (["2024-01-01 00:00:00,nan"], r"f\.csv:2: column .*'nan'"),
        (["2024-01-01 00:00:00,"], r"f\.csv: found no value in Price"),
        ([], r"f\.csv: found no value in Price"),
    ],
)
def test_bad_files_are_refused_with_their_line(tmp_path: Path, rows: list[str], message: str) -> None:
    path = _written(tmp_path / "f.csv", "Datetime (UTC),Price (USD/MWh)", *rows)
    with pytest.raises(InputError, match=message):
        read_price(path, T0)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = _written(tmp_path / "f.csv", "Datetime (UTC),Price (EUR/MWh)", "2024-01-01 00:00:00,1")
    with pytest.raises(InputError, match=r"f\.csv:1: the column Price \(USD/MWh\) is missing"):
        read_price(path, T0)
    with pytest.raises(InputError, match="there is no such file"):
        read_carbon(tmp_path / "none.csv", T0)
    path = _written(tmp_path / "g.csv", NEW_HEADER, _row("2024-01-01 00:00:00", "-1", "5"))
    with pytest.raises(InputError, match=r"g\.csv:2: found -1.0 in .*expected 0.0 or more"):
        read_carbon(path, T0)
    with pytest.raises(InputError, match="'marginal', expected direct or lca"):
        read_carbon(path, T0, "marginal")  # type: ignore[arg-type]  # what a scenario might say


def test_a_year_of_file_serves_any_year(tmp_path: Path) -> None:
    stamps = np.datetime64("2024-01-01T00", "h") + np.arange(366 * 24)
    rows = (f"{str(stamp).replace('T', ' ')}:00:00,{i}" for i, stamp in enumerate(stamps))
    path = _written(tmp_path / "year.csv", "Datetime (UTC),Price (USD/MWh)", *rows)
    t0 = 1_678_104_000  # Monday 2023-03-06, 12 h
    series = read_price(path, t0)
    assert series.repeats
    assert series.at(0) == (64 - 1) * 24 + 12  # Monday 2024-03-04, 12 h


def test_default_carbon_has_the_figures_of_pjm() -> None:
    for t0 in (T0, 1_365_552_000, 1_735_000_000):
        series = default_carbon(t0)
        values = series.at(HOUR * np.arange(364 * 24))
        assert values.mean() == pytest.approx(321, abs=1)
        assert np.percentile(values, [5, 95]) == pytest.approx([269, 394], abs=1)
        assert (values.min(), values.max()) == pytest.approx((212, 442))
        utc_hour = ((t0 + HOUR * np.arange(364 * 24)) // HOUR) % 24
        days = np.array([values[utc_hour == hour].mean() for hour in range(24)])
        assert (days.argmin(), days.argmax()) == (8, 1)
        assert 0.07 < np.ptp(days) / values.mean() < 0.09
        assert np.abs(np.diff(values)).max() < 30  # no jumps, also where the year repeats


def test_default_price_has_the_figures_of_pjm() -> None:
    series = default_price(T0)
    values = series.values
    assert series.repeats
    assert values.mean() == pytest.approx(36.2, abs=0.1)
    assert np.percentile(values, [50, 95]) == pytest.approx([27.0, 88.7], abs=0.1)
    assert (values.min(), values.max()) == (-41.8, 759.0)
    assert series.start_s == 0  # 2024 began with a Monday, 0 h
    local_hour = (np.arange(364 * 24) - 6) % 24
    day = (np.arange(364 * 24) - 6) // 24 % 7
    assert values[local_hour == 18].mean() > 2 * values[local_hour == 3].mean()
    assert values[day < 5].mean() > 1.2 * values[day >= 5].mean()
    later = default_price(T0 + 86_400 * 100)
    assert later.at(0) == series.at(86_400 * 100)
