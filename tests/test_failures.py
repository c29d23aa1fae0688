"""Failures, outages, maintenance and checkpoints: exact laws, and figures within wide bands of the real Mira's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from hpcsim.machine import failures
from hpcsim.machine.checkpoint import Checkpointing, daly_s, young_s
from hpcsim.machine.failures import Failure, FailureProcess, block_of
from hpcsim.machine.outages import Downtime, maintenance_windows, recorded_outages, whole_system_outages
from hpcsim.machine.spec import FailureSpec
from hpcsim.workload.alcf import Outage

HOUR_S, DAY_S = 3_600, 86_400
YEAR_S = 365 * DAY_S
MIRA = FailureSpec(
    mean_gap_h=53.8,
    weibull_shape=0.75,
    repair_median_h=2.9,
    repair_sigma=1.31,
    recurrence=0.27,
    blast=((1, 0.705), (2, 0.195), (4, 0.05), (8, 0.03), (16, 0.02)),
)
Temperatures = Callable[[], np.ndarray] | None


def mira(seed: int = 1, spec: FailureSpec = MIRA, start: int = 0) -> FailureProcess:
    return FailureProcess(spec, units=96, units_per_rack=2, seed=seed, start=start)


def taken(
    process: FailureProcess, until: int, temperature: Temperatures = None
) -> Iterator[tuple[int, Failure | None]]:
    while process.next_time < until:
        yield process.next_time, process.take(temperature)


def failed(process: FailureProcess, until: int, temperature: Temperatures = None) -> list[Failure]:
    return [failure for _, failure in taken(process, until, temperature) if failure]


def at(*, all_units_c: float, units: int = 96) -> Callable[[], np.ndarray]:
    return lambda: np.full(units, all_units_c)


# -- the process ----------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [-5_000, 0, 10**9])
def test_times_are_whole_and_in_order_and_units_exist(start: int) -> None:
    process = mira(start=start)
    rows = list(taken(process, start + YEAR_S, at(all_units_c=80.0)))
    times = [time for time, _ in rows]
    assert times == sorted(times)
    assert times[0] >= start
    for time, failure in rows:
        if failure:
            assert failure.time == time
            assert all(type(number) is int for number in (failure.time, failure.repair_s, failure.precursor_s))
            assert failure.repair_s >= 1
            assert 0 <= failure.precursor_s <= failures.LONGEST_LEAD_S
            assert list(failure.units) == list(range(failure.units[0], failure.units[-1] + 1))
            assert failure.units[0] >= 0
            assert failure.units[-1] < 96
            assert failure.units[0] % len(failure.units) == 0  # Mira's blocks all divide the machine


@pytest.mark.parametrize("per_rack", [1, 2, 5, 14, 40])
@pytest.mark.parametrize("size", [1, 2, 4, 5, 9, 14, 33, 50])
def test_a_block_holds_its_place_and_stays_within_the_racks_it_needs(per_rack: int, size: int) -> None:
    for place in range(33):
        block = block_of(place, size, 33, per_rack)
        assert place in block
        assert block == tuple(range(block[0], block[0] + min(size, 33)))
        assert block[0] >= 0
        assert block[-1] < 33
        ends_short = (33 - 1) // per_rack == place // per_rack  # the machine's last rack may be short
        if size <= per_rack and not ends_short:
            assert {unit // per_rack for unit in block} == {place // per_rack}


def test_the_same_seed_gives_the_same_failures_and_another_one_others() -> None:
    once, again, other = (failed(mira(seed), YEAR_S) for seed in (4, 4, 5))
    assert once == again
    assert once != other


@pytest.mark.parametrize("seed", range(5))
def test_a_machine_that_starts_later_fails_as_much_later(seed: int) -> None:
    """Also where a failure from before the start, at a second below 0 for one of the two, repeats."""
    often = replace(MIRA, mean_gap_h=5.0)
    early, late = (failed(mira(seed, often, start), start + 40 * DAY_S) for start in (0, YEAR_S))
    assert [each._replace(time=each.time + YEAR_S) for each in early] == late


def test_a_deep_copy_goes_on_identically() -> None:
    hot = at(all_units_c=75.0)
    process = mira()
    failed(process, YEAR_S // 2, hot)
    twin = copy.deepcopy(process)
    ahead = list(taken(twin, YEAR_S, hot))
    assert list(taken(process, YEAR_S, hot)) == ahead
    assert len(ahead) > 100


def test_looking_at_precursors_changes_nothing() -> None:
    looked_at, left_alone = mira(), mira()
    rng = np.random.default_rng(1)
    seen = []
    while looked_at.next_time < YEAR_S // 2:
        now = looked_at.next_time
        looked_at.precursors(now - 5)
        looked_at.corrected_errors(np.arange(96), now - HOUR_S, now, rng)
        seen.append(looked_at.take(None))
    assert seen == [failure for _, failure in taken(left_alone, YEAR_S // 2)]


# -- Mira's figures -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def five_years() -> list[list[Failure]]:
    return [failed(mira(seed), 5 * YEAR_S) for seed in range(1, 9)]


def test_gaps_are_miras(five_years: list[list[Failure]]) -> None:
    gaps_h = [np.diff([each.time for each in one]) / HOUR_S for one in five_years]
    assert np.mean([gap.mean() for gap in gaps_h]) == pytest.approx(53.8, rel=0.07)
    assert 1.2 < np.mean([gap.std() / gap.mean() for gap in gaps_h]) < 1.7
    assert 70 < np.mean([gap.sum() / (gap > 6).sum() for gap in gaps_h]) < 85  # merged within 6 h


def test_repairs_are_lognormal(five_years: list[list[Failure]]) -> None:
    logs = np.log([each.repair_s / HOUR_S for one in five_years for each in one])
    assert np.exp(np.median(logs)) == pytest.approx(2.9, rel=0.06)
    assert logs.std() == pytest.approx(1.31, rel=0.04)
    assert np.mean(((logs - logs.mean()) / logs.std()) ** 3) == pytest.approx(0, abs=0.15)  # no skew in the logarithm


def test_places_recur_as_miras_do(five_years: list[list[Failure]]) -> None:
    single = np.mean([len(each.units) == 1 for one in five_years for each in one])
    assert 0.65 < single < 0.75
    again = mentions = 0
    for one in five_years:
        last: dict[int, int] = {}
        for failure in one:
            for unit in failure.units:
                mentions += 1
                again += failure.time - last.get(unit, -YEAR_S) <= 7 * DAY_S
                last[unit] = failure.time
    assert 0.22 < again / mentions < 0.33


@pytest.mark.parametrize(("shape", "recurrence", "delay_d"), [(1.0, 0.0, 3.0), (0.6, 0.5, 0.5), (0.8, 0.3, 10.0)])
def test_the_mean_gap_counts_repeats_and_holds_from_the_first_day_on(
    shape: float, recurrence: float, delay_d: float
) -> None:
    spec = replace(MIRA, weibull_shape=shape, recurrence=recurrence, recurrence_delay_d=delay_d, mean_gap_h=20.0)
    month_s = 30 * DAY_S
    counts = [len(failed(mira(seed, spec), month_s)) for seed in range(150)]
    error = np.std(counts) / np.sqrt(len(counts))
    assert error < 2
    assert np.mean(counts) == pytest.approx(month_s / HOUR_S / 20.0, abs=4 * error)


def test_the_first_gap_is_one_that_has_long_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "LONGEST_LEAD_S", 1)  # the process begins right at the start
    spec = replace(MIRA, weibull_shape=0.5, recurrence=0.0, recurrence_delay_d=0.0, mean_gap_h=100.0)
    counts = [len(failed(mira(seed, spec), 100 * HOUR_S)) for seed in range(1_000)]
    error = np.std(counts) / np.sqrt(len(counts))
    assert error < 0.07
    assert np.mean(counts) == pytest.approx(1.0, abs=4 * error)


def test_gaps_are_weibull_where_nothing_repeats() -> None:
    spec = replace(MIRA, recurrence=0.0, weibull_shape=0.7, mean_gap_h=5.0)
    gaps_s = np.diff([each.time for each in failed(mira(3, spec), 4 * YEAR_S)])
    scale_s = 5 * HOUR_S / 1.26582350605728  # gamma(1 + 1 / 0.7)
    for quantile in (0.1, 0.5, 0.9):
        share = np.mean(gaps_s <= scale_s * (-np.log1p(-quantile)) ** (1 / 0.7))
        assert share == pytest.approx(quantile, abs=4 * np.sqrt(quantile * (1 - quantile) / len(gaps_s)))


def test_some_places_are_more_prone_than_others() -> None:
    def top_tenth(spread: float) -> float:
        spec = replace(MIRA, spatial_spread=spread, blast=((1, 1.0),), recurrence=0.0, mean_gap_h=5.0)
        counts = np.bincount([each.units[0] for each in failed(mira(2, spec), 3 * YEAR_S)], minlength=96)
        return float(np.sort(counts)[-10:].sum() / counts.sum())

    assert top_tenth(0.0) < 0.15 < 0.2 < top_tenth(0.5) < 0.35


def test_a_repaired_unit_is_less_prone_than_it_was() -> None:
    process = mira(spec=replace(MIRA, blast=((1, 1.0),), recurrence=0.0))
    first = failed(process, 40 * DAY_S)[-1]
    back = first.time + first.repair_s
    unit = first.units[0]
    assert process._weight_U(back)[unit] == pytest.approx(process._proneness_U[unit])
    assert process._weight_U(back + failures.WEAR_S)[unit] == pytest.approx(2 * process._proneness_U[unit])


# -- heat -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("q10", [1.2, 2.0])
def test_heat_takes_no_failure_away_and_a_cool_machine_knows_none(q10: float) -> None:
    spec = replace(MIRA, q10=q10)
    cool, mild, hot = (failed(mira(2, spec), 3 * YEAR_S, t) for t in (None, at(all_units_c=50), at(all_units_c=90)))
    assert cool == mild
    hot_times = {each.time for each in hot}
    assert all(each.time in hot_times for each in cool)  # places may differ: a unit repaired is less worn


@pytest.mark.parametrize(("unit_c", "q10"), [(65.0, 1.5), (80.0, 1.3), (130.0, 1.2)])
def test_a_machine_that_is_hot_everywhere_fails_that_much_more_often(unit_c: float, q10: float) -> None:
    factor = q10 ** ((min(unit_c, failures.HOTTEST_C) - 50) / 10)
    spec = replace(MIRA, q10=q10, mean_gap_h=10.0)
    span = 2 * YEAR_S
    more = sum(
        len(failed(mira(seed, spec), span, at(all_units_c=unit_c))) - len(failed(mira(seed, spec), span))
        for seed in range(3)
    )
    assert more == pytest.approx((factor - 1) * 3 * span / (10 * HOUR_S), rel=0.08)


def test_only_the_hot_half_of_a_machine_fails_more_often() -> None:
    units = 6_000
    temperature = np.where(np.arange(units) < units // 2, 70.0, 40.0)
    spec = FailureSpec(1.0, 0.8, 3.0, 1.0, recurrence=0.2, q10=1.5)
    process = FailureProcess(spec, units=units, units_per_rack=60, seed=1, start=0)
    reference = 1_500
    rows = failed(process, reference * HOUR_S, lambda: temperature)
    in_hot = sum(each.units[0] < units // 2 for each in rows)
    assert in_hot == pytest.approx(1.5**2 * reference / 2, rel=0.12)
    assert len(rows) - in_hot == pytest.approx(reference / 2, rel=0.12)


def test_temperature_is_asked_for_only_where_it_matters() -> None:
    def unused() -> np.ndarray:
        raise AssertionError("asked for a temperature that cannot matter")

    assert failed(mira(spec=replace(MIRA, q10=1.0)), YEAR_S, unused)


# -- telemetry ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watched() -> tuple[list[tuple[int, Failure | None]], dict[int, dict[int, float]]]:
    """A year of candidates, and the precursors at every second hour and at each candidate's time."""
    process = mira(7)
    rows, shown = [], {}
    for hour in range(0, 365 * 24, 2):
        now = hour * HOUR_S
        while process.next_time < now:
            time = process.next_time
            shown[time] = dict(zip(*(part.tolist() for part in process.precursors(time)), strict=True))
            rows.append((time, process.take(None)))
        shown[now] = dict(zip(*(part.tolist() for part in process.precursors(now)), strict=True))
    return rows, shown


def test_precursors_precede_their_failure_and_rise(
    watched: tuple[list[tuple[int, Failure | None]], dict[int, dict[int, float]]],
) -> None:
    rows, shown = watched
    warned = [failure for _, failure in rows if failure and failure.precursor_s]
    assert len(warned) > 60
    for failure in warned:
        instants = sorted(now for now in shown if failure.time - failure.precursor_s < now <= failure.time)
        assert instants[-1] == failure.time
        places = [u for u in failure.units if shown[failure.time].get(u) == 1.0]
        assert places
        if instants[0] >= 0:
            rising = [max(shown[now].get(place, 0.0) for place in places) for now in instants]
            assert min(rising) > 0
            for now, strength in zip(instants, rising, strict=True):
                assert strength >= (now - failure.time + failure.precursor_s) / failure.precursor_s - 1e-12


def test_false_alarms_are_seen_rising_as_failures_are(
    watched: tuple[list[tuple[int, Failure | None]], dict[int, dict[int, float]]],
) -> None:
    rows, shown = watched
    earlier = []
    for time, failure in rows:
        places = [unit for unit, strength in shown[time].items() if strength == 1.0]
        if failure is None and places:
            before = shown[(time - 1) // (2 * HOUR_S) * (2 * HOUR_S)]
            earlier.append(0 < before.get(places[0], 0.0) < 1)
    assert len(earlier) > 40
    assert np.mean(earlier) > 0.8


def test_strengths_are_in_0_to_1_and_units_ascend(
    watched: tuple[list[tuple[int, Failure | None]], dict[int, dict[int, float]]],
) -> None:
    for precursors in watched[1].values():
        assert list(precursors) == sorted(precursors)
        assert all(0 < strength <= 1 for strength in precursors.values())


def test_lead_times_and_the_shares_without_warning_and_of_false_alarms() -> None:
    spec = replace(MIRA, recurrence=0.0, mean_gap_h=5.0)
    process = mira(3, spec)
    rows, shown = [], 0
    while process.next_time < 3 * YEAR_S:
        now = process.next_time
        signs = int((process.precursors(now).strength == 1.0).sum())
        failure = process.take(None)
        rows.append(failure)
        shown += signs if failure is None or failure.precursor_s else 0
    true = [failure for failure in rows if failure]
    leads = [failure.precursor_s for failure in true if failure.precursor_s]
    assert len(leads) / len(true) == pytest.approx(1 - failures.UNWARNED, abs=0.03)
    assert np.median(leads) == pytest.approx(6 * HOUR_S, rel=0.05)
    assert (shown - len(leads)) / shown == pytest.approx(failures.FALSE_ALARMS, abs=0.03)


class Expectation:
    """In the place of a generator: the Poisson mean itself."""

    @staticmethod
    def poisson(mean: np.ndarray) -> np.ndarray:
        return mean


def test_corrected_errors_are_the_integral_of_base_and_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "ERRORS_PER_H", 0.0)
    process = mira(5)
    every, rng = np.arange(96), Expectation()
    while True:  # to a candidate whose precursor stands alone and follows another's within the day
        last, now = process.next_time, (process.take(None), process.next_time)[1]
        if 2 * HOUR_S < now - last < DAY_S and len(process.precursors(now).units):
            break
    whole = process.corrected_errors(every, last, now, rng)
    step = 1.0
    middles = np.arange(last, now) + step / 2
    quadrature = np.zeros(96)
    for middle in middles:
        units, strength = process.precursors(float(middle))
        quadrature[units] += strength * step
    assert whole.sum() > 0
    np.testing.assert_allclose(whole, failures.SURGE_PER_H / HOUR_S * quadrature, rtol=1e-3)
    cuts = np.linspace(last - 3 * DAY_S, now, 8).astype(int)  # also over precursors that have ended
    pieces = sum(process.corrected_errors(every, a, b, rng) for a, b in pairwise(cuts.tolist()))
    np.testing.assert_allclose(pieces, process.corrected_errors(every, int(cuts[0]), int(cuts[-1]), rng), rtol=1e-9)
    some = np.array([3, 90, 17])
    np.testing.assert_array_equal(process.corrected_errors(some, last, now, rng), whole[some])


def test_corrected_errors_of_a_week_do_not_depend_on_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "ERRORS_PER_H", 0.0)
    process = mira(6)
    begin = since = process.next_time
    live = np.zeros(96)
    while since < begin + 6 * DAY_S:
        process.take(None)
        live += process.corrected_errors(np.arange(96), since, process.next_time, Expectation())
        since = process.next_time
    assert live.sum() > 0
    np.testing.assert_allclose(process.corrected_errors(np.arange(96), begin, since, Expectation()), live, rtol=1e-9)


def test_corrected_errors_are_counts_and_prone_units_have_more() -> None:
    process = mira(5, replace(MIRA, spatial_spread=1.0))
    counts = process.corrected_errors(np.arange(96), -1_000 * HOUR_S, process.next_time, np.random.default_rng(2))
    assert counts.dtype == np.int64
    assert (counts >= 0).all()
    assert np.corrcoef(np.log1p(counts), np.log(process._proneness_U))[0, 1] > 0.4


# -- outages and maintenance ----------------------------------------------------------------------


def test_whole_system_outages_are_as_often_and_as_long_as_the_facts_say() -> None:
    spec = replace(MIRA, outage_mean_gap_d=20.0, outage_median_h=3.0, outage_sigma=0.7)
    outages = whole_system_outages(spec, 1_000, 1_000 + 200 * YEAR_S, seed=1)
    begins, ends = np.array(outages).T
    assert (begins[1:] > ends[:-1]).all()
    up_d = (begins[1:] - ends[:-1]) / DAY_S
    assert up_d.mean() == pytest.approx(20, rel=0.06)
    assert up_d.std() / up_d.mean() == pytest.approx(1, abs=0.06)  # exponential
    logs = np.log((ends - begins) / HOUR_S)
    assert np.exp(logs.mean()) == pytest.approx(3, rel=0.05)
    assert logs.std() == pytest.approx(0.7, rel=0.05)
    shorter = whole_system_outages(spec, 1_000, YEAR_S, seed=1)
    assert shorter == outages[: len(shorter)]
    assert whole_system_outages(MIRA, 0, YEAR_S, seed=1) == []


@pytest.mark.parametrize("every_d", [3, 7, 10, 14, 40])
@pytest.mark.parametrize(("weekday", "hour"), [(0, 14.0), (6, 0.0), (3, 13.5)])
def test_maintenance_is_on_its_weekday_and_hour_in_utc(every_d: int, weekday: int, hour: float) -> None:
    t0_utc = 1_704_088_800 + 12_345
    spec = replace(MIRA, maintenance_every_d=every_d, maintenance_weekday=weekday, maintenance_start_utc_h=hour)
    for seed in range(3):
        windows = maintenance_windows(spec, t0_utc, DAY_S, 10 * YEAR_S, seed)
        for begin, end in windows:
            moment = datetime.fromtimestamp(t0_utc + begin, UTC)
            assert moment.weekday() == weekday
            assert moment.hour + moment.minute / 60 == hour
            assert moment.second == 0
            assert end > begin >= DAY_S
        assert all(later[0] > earlier[1] for earlier, later in pairwise(windows))
        assert len(windows) == pytest.approx(10 * 365 / max(7, every_d), abs=2)
        assert windows == maintenance_windows(spec, t0_utc, DAY_S, 10 * YEAR_S, seed)
        shorter = maintenance_windows(spec, t0_utc, DAY_S, 3 * YEAR_S, seed)
        assert shorter == windows[: len(shorter)]
    hours = [(end - begin) / HOUR_S for begin, end in windows]
    assert np.median(hours) == pytest.approx(10.8, rel=0.12)
    assert maintenance_windows(MIRA, t0_utc, 0, YEAR_S, 1) == []


def test_long_maintenance_windows_that_overlap_are_one() -> None:
    spec = replace(MIRA, maintenance_every_d=7, maintenance_median_h=8 * 24.0, maintenance_sigma=0.01)
    assert len(maintenance_windows(spec, 0, 0, YEAR_S, 1)) == 1


def test_recorded_outages_overlap_as_the_record_says() -> None:
    t0 = 10_000
    record = [
        Outage(t0 + 100, t0 + 200, None),
        Outage(t0 + 150, t0 + 300, None),  # overlaps: one outage of the whole machine from 100 to 300
        Outage(t0 + 50, t0 + 400, 3),  # cut in two by it
        Outage(t0 + 120, t0 + 250, 9),  # lies in it
        Outage(t0 + 500, t0 + 600, 5),
        Outage(t0 + 550, t0 + 700, 7),  # other nodes, of which only 5 are left
        Outage(t0 + 900, t0 + 950, 10),  # all ten there are: the whole machine
        Outage(t0 - 80, t0 - 20, 2),
    ]
    assert recorded_outages(record, t0, 10) == [
        Downtime(-80, -20, 2),
        Downtime(50, 100, 3),
        Downtime(100, 300, 10),
        Downtime(300, 400, 3),
        Downtime(500, 600, 5),
        Downtime(550, 700, 5),
        Downtime(900, 950, 10),
    ]
    assert recorded_outages([], t0, 10) == []


def test_recorded_outages_without_an_end_end_at_the_next_one_or_after_the_median() -> None:
    record = [Outage(0, None, None), Outage(5_000, None, 4), Outage(5_000, 5_100, 2), Outage(90_000, None, None)]
    found = recorded_outages(record, 0, 10, median_repair_h=2.0)
    assert found == [
        Downtime(0, 5_000, 10),
        Downtime(5_000, 5_100, 2),
        Downtime(5_000, 12_200, 4),
        Downtime(90_000, 97_200, 10),
    ]


def test_recorded_nodes_take_their_whole_units_down() -> None:
    record = [Outage(0, 10, 1), Outage(20, 30, 513), Outage(40, 50, 49_152), Outage(60, 70, 99_999)]
    assert [each.units for each in recorded_outages(record, 0, 96, unit_nodes=512)] == [1, 2, 96, 96]


# -- checkpoints ----------------------------------------------------------------------------------


def test_young_and_daly_intervals() -> None:
    assert young_s(180, 3_600) == pytest.approx(1_138.42, abs=0.01)
    assert daly_s(180, 3_600) / 60 == pytest.approx(17.03, abs=0.01)
    assert daly_s(8_000, 3_600) == 3_600
    assert daly_s(7_200, 3_600) == 3_600
    assert Checkpointing.daly(180, 3_600) == Checkpointing(1_022, 180)
    assert Checkpointing.young(180, 3_600) == Checkpointing(1_138, 180)


def test_dalys_interval_is_close_to_the_best_for_exponential_failures() -> None:
    cost, mtbf = 180.0, 3_600.0

    def expected_wall_for_work(interval: np.ndarray | float) -> np.ndarray | float:
        return np.expm1((interval + cost) / mtbf) / interval  # Daly's exact model, without restart time

    intervals = np.arange(100.0, 3_600.0)
    best = expected_wall_for_work(intervals).min()
    assert expected_wall_for_work(daly_s(cost, mtbf)) <= best * 1.0005
    assert expected_wall_for_work(young_s(cost, mtbf)) > expected_wall_for_work(daly_s(cost, mtbf))


@pytest.mark.parametrize(("interval", "cost"), [(1, 0), (1, 1), (7, 3), (10, 0), (3, 20)])
def test_work_and_elapsed_time_are_inverse_and_agree_with_a_second_by_second_count(interval: int, cost: int) -> None:
    checkpoints = Checkpointing(interval, cost)
    work = saved = 0
    for elapsed in range(200):
        assert checkpoints.work_done(elapsed) == work
        assert checkpoints.saved(elapsed) == saved <= work
        computes = elapsed % (interval + cost) < interval
        work += computes
        if (elapsed + 1) % (interval + cost) == 0:
            saved = work
    for work in range(100):
        elapsed = checkpoints.elapsed_for(work)
        assert checkpoints.work_done(elapsed) == work
        assert elapsed == 0 or checkpoints.work_done(elapsed - 1) == work - 1


def test_the_slowdown_is_that_of_a_long_run() -> None:
    checkpoints = Checkpointing(600, 30)
    assert checkpoints.slowdown == pytest.approx(checkpoints.elapsed_for(10**9) / 10**9, rel=1e-6)
