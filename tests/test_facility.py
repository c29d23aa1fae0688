"""What stands around a machine: asked second by second, and asked for a whole course, it says the same."""

from __future__ import annotations

import copy
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.errors import InputError
from hpcsim.machine import cooling
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.facility import NEVER, Facility
from hpcsim.machine.series import StepSeries

T0, QUARTER = 1_720_000_000, 21_600  # 3 July 2024; steps of the weather
COOLEY = load_machine("cooley")
moves = st.lists(
    st.tuples(st.integers(1, 30_000), st.sampled_from(["normal", "cold", "warm", 5e4, 9e4, None])), max_size=8
)


def expected_overhead(now: int, change_k: float) -> float:
    middle_utc = T0 + (now // QUARTER) * QUARTER + QUARTER / 2
    supply_c = float(cooling.supply_c(COOLEY.thermal, middle_utc)) + change_k
    return float(cooling.overhead(COOLEY.cooling, supply_c, middle_utc))


@given(moves, st.integers(0, 50_000), st.integers(1, 200_000))
def test_the_log_says_what_held_in_every_second(given_moves, first, span):
    facility = Facility(COOLEY, T0)
    changes_k = dict(COOLEY.cooling.modes)
    now, mode, cap_w = 0, "normal", inf
    story = [(0, mode, cap_w)]
    for gap_s, lever in given_moves:
        now += gap_s
        if isinstance(lever, str):
            facility.set_cooling(lever, now)
            mode = lever
        else:
            facility.set_cap(lever, now)
            cap_w = inf if lever is None else lever
        story.append((now, mode, cap_w))
        assert (facility.cooling_mode, facility.cap_w) == (mode, cap_w)
        assert facility.overhead(now) == pytest.approx(expected_overhead(now, changes_k[mode]), rel=1e-12)
        assert facility.it_cap_w(now) == pytest.approx(cap_w / (1 + facility.overhead(now)), rel=1e-12)
    held = {begin: (mode, cap) for begin, mode, cap in story}
    asked_s = np.unique([0, *held, first, first + span, *(begin - 1 for begin in held if begin)])
    of_s = [held[max(begin for begin in held if begin <= second)] for second in asked_s.tolist()]
    wanted = [
        expected_overhead(second, changes_k[mode]) for second, (mode, _) in zip(asked_s.tolist(), of_s, strict=True)
    ]
    assert facility.overhead_T(asked_s) == pytest.approx(np.array(wanted), rel=1e-12)
    assert facility.cap_w_T(asked_s).tolist() == [cap for _, cap in of_s]

    pairs = list(pairwise(story))
    modes_s = [after[0] for before, after in pairs if after[1] != before[1]]
    caps_s = [after[0] for before, after in pairs if after[2] != before[2]]
    weather_s = [second for second in range(0, first + span, QUARTER) if second > first]
    within = [second for second in modes_s + caps_s if first <= second < first + span]
    assert sorted(facility.changes_s(first, first + span).tolist()) == sorted(weather_s + within)
    assert facility.caps_s(first, first + span).tolist() == [s for s in caps_s if first <= s < first + span]
    assert facility.changes_s(first, first).size == 0


def test_the_next_change_of_each_signal():
    steps = StepSeries(np.array([0, 100, 700]), np.array([1.0, 2.0, 3.0]))
    facility = Facility(COOLEY, T0, carbon=steps, price=StepSeries(np.array([0]), np.array([9.0])))
    assert [facility.next_change_s("supply", now) for now in (0, 1, QUARTER - 1, QUARTER)] == [
        QUARTER, QUARTER, QUARTER, 2 * QUARTER
    ]  # fmt: skip
    assert [facility.next_change_s("carbon", now) for now in (0, 99, 100, 700)] == [100, 100, 700, NEVER]
    assert facility.changes_s(-9, 9).tolist() == [0]  # the weather's: nobody has moved a lever
    assert facility.next_change_s("price", 0) == facility.next_change_s("solar", 0) == NEVER


def test_a_copy_has_levers_and_a_log_of_its_own():
    facility = Facility(COOLEY, T0, cap_w=7e4)
    facility.set_cooling("cold", 10)
    twin = copy.deepcopy(facility)
    twin.set_cooling("warm", 20)
    twin.set_cap(None, 30)
    assert (facility.cooling_mode, facility.cap_w) == ("cold", 7e4)
    assert facility.changes_s(5, 100).tolist() == [10]
    assert twin.changes_s(5, 100).tolist() == [10, 20, 30]
    assert facility.cap_w_T(np.array([0, 50])).tolist() == [7e4, 7e4]
    assert twin.cap_w_T(np.array([29, 30])).tolist() == [7e4, inf]


def test_the_worst_overhead_is_that_of_the_warmest_quarter_of_the_year_to_come():
    facility = Facility(COOLEY, T0)
    every = [expected_overhead(second, 0.0) for second in range(5, 5 + cooling.YEAR_S, QUARTER)]
    assert facility.worst_overhead(5) == pytest.approx(max(every), rel=1e-12)
    assert max(every) > 1.0001 * min(every)


@pytest.mark.parametrize("watts", [0, -1.0, "much", [3]])
def test_what_is_no_cap_is_refused_and_changes_nothing(watts):
    facility = Facility(COOLEY, T0, cap_w=7e4)
    with pytest.raises(ValueError, match=r"^a cap of .* W is none; it is above 0, or None$"):
        facility.set_cap(watts, 10)
    assert facility.cap_w == 7e4
    assert facility.caps_s(-NEVER, NEVER).tolist() == [-NEVER]
    facility.set_cap(0.5, 11)  # little, but one
    assert facility.cap_w == 0.5


def test_an_unknown_cooling_mode_is_refused_by_name():
    with pytest.raises(InputError, match="found the cooling mode 'hot', expected one of normal, cold, warm"):
        Facility(COOLEY, T0, cooling_mode="hot")
    with pytest.raises(ValueError, match="found the cooling mode 'hot'"):
        Facility(COOLEY, T0).set_cooling("hot", 1)
    assert Facility(COOLEY, T0, cooling_mode="warm").supply_c(0) == Facility(COOLEY, T0).supply_c(0) + 4.0
