"""The true hazard against what many machines really did: as often as it says, whatever has come about before."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.failures import FailureProcess
from hpcsim.machine.hazard import hazard

HOUR_S, DAY_S = 3600, 86_400
MIRA = load_machine("mira")
SINGLE = replace(MIRA.failures, blast=((1, 1.0),), mean_gap_h=20.0)


def process(spec, seed, units=MIRA.units):
    return FailureProcess(spec, units=units, units_per_rack=MIRA.units_per_rack, seed=seed, start=0)


def watched(spec, seeds, days, step_s, horizon_s, units=MIRA.units, celsius=None):
    """Of many machines: what is said at each step, what comes, and what could be seen: 1 a sign, 2 a repair."""
    said, came, seen = [], [], []
    temperature_c_U = None if celsius is None else np.full(units, celsius)
    for seed in range(seeds):
        failing, taken = process(spec, seed, units), []
        for now in range(0, days * DAY_S, step_s):
            while failing.next_time < now:
                taken.append(failing.take(None if celsius is None else lambda: temperature_c_U))
            said.append(hazard(failing, now, horizon_s, temperature_c_U))
            state = np.zeros(units, np.int8)
            for each in failing.failed:
                if now - each.repaired_s < DAY_S:
                    state[list(each.units)] = 2
            state[failing.precursors(now).units] = 1
            seen.append(state)
            came.append(np.zeros(units, bool))
        end = days * DAY_S + horizon_s
        while failing.next_time <= end:
            taken.append(failing.take(None if celsius is None else lambda: temperature_c_U))
        for failure in filter(None, taken):
            first = max(0, -(-(failure.time - horizon_s) // step_s))
            for number in range(first, min(-(-failure.time // step_s), days * DAY_S // step_s)):
                came[seed * len(range(0, days * DAY_S, step_s)) + number][list(failure.units)] = True
    return np.array(said), np.array(came), np.array(seen)


@pytest.mark.parametrize("horizon_s", [6 * HOUR_S, 24 * HOUR_S])
def test_units_fail_as_often_as_is_said_with_a_sign_after_a_repair_and_else(horizon_s):
    said, came, seen = watched(SINGLE, 30, 100, 2 * DAY_S, horizon_s)
    for state in range(3):
        which = seen == state
        expected, deviation = said[which].sum(), np.sqrt((said[which] * (1 - said[which])).sum())
        assert expected > 20
        assert abs(came[which].sum() - expected) < 3.5 * deviation + 0.03 * expected


def test_failures_that_take_neighbours_are_expected_at_each_of_them():
    spec = replace(SINGLE, blast=((1, 0.5), (4, 0.3), (16, 0.2)))
    said, came, _ = watched(spec, 30, 100, 2 * DAY_S, DAY_S)
    deviation = np.sqrt(came.sum() * 16 * 0.2 * 16 / 5)  # of events that come in blocks of up to 16
    assert abs(came.sum() - said.sum()) < 3.5 * deviation


def test_a_hot_machine_is_expected_to_fail_more_often():
    hot_c = SINGLE.hot_above_c + 20.0
    cool, _, _ = watched(SINGLE, 4, 40, 4 * DAY_S, DAY_S)
    said, came, _ = watched(SINGLE, 20, 100, 2 * DAY_S, DAY_S, celsius=hot_c)
    assert said.mean() / cool.mean() == pytest.approx(SINGLE.q10**2, rel=0.15)
    assert abs(came.sum() - said.sum()) < 4 * np.sqrt(said.sum())


def test_it_is_a_probability_and_grows_with_the_horizon():
    failing = process(MIRA.failures, 3)
    for _ in range(40):
        failing.take(None)
    now = failing.next_time
    said = [hazard(failing, now, horizon_s) for horizon_s in (1, HOUR_S, DAY_S, 10 * DAY_S)]
    assert all((each >= 0).all() and (each <= 1).all() for each in said)
    assert all((later >= earlier - 1e-9).all() for earlier, later in pairwise(said))


def test_to_ask_changes_nothing():
    one, other = process(MIRA.failures, 5), process(MIRA.failures, 5)
    for _ in range(60):
        hazard(one, one.next_time, DAY_S)
        assert one.take(None) == other.take(None)
