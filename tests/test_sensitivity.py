"""What is learned of a lower clock's effect, and whether the world has changed: against closed forms and scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from hpcsim.twins.drift import LAST, drift
from hpcsim.twins.sensitivity import Sensitivity


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_a_group_is_learned_to_within_what_is_still_believed_possible(beta):
    rng = np.random.default_rng(1)
    sensitivity = Sensitivity()
    for _ in range(4000):
        speed, noise = rng.choice([0.6, 0.7, 0.8]), rng.normal(0, 0.5)
        sensitivity.learn("ann", speed, math.log1p(beta * (1 / speed - 1)) + noise, 0.5)
        sensitivity.learn("bob", 1.0, rng.normal(0, 0.5), 0.5)
    mean, deviation = sensitivity.believed("ann")
    assert deviation < 0.03
    assert abs(mean - beta) < 4 * deviation


def test_with_almost_no_noise_one_end_says_it_all():
    sensitivity = Sensitivity()
    for _ in range(5):
        sensitivity.learn("ann", 1.0, 0.0, 0.001)
        sensitivity.learn("ann", 0.5, math.log1p(0.3), 0.001)
    assert sensitivity.believed("ann").mean == pytest.approx(0.3, abs=0.01)


def test_expectations_that_are_off_for_all_are_not_taken_for_what_a_clock_does():
    rng = np.random.default_rng(3)
    sensitivity = Sensitivity()
    for _ in range(4000):
        speed = rng.choice([0.6, 1.0])
        sensitivity.learn("ann", speed, math.log1p(0.5 * (1 / speed - 1)) - 0.4 + rng.normal(0, 0.5), 0.5)
    assert sensitivity.believed("ann").mean == pytest.approx(0.5, abs=0.1)


def test_full_speed_says_nothing_of_a_clock_and_strangers_are_less_sure():
    sensitivity = Sensitivity()
    before = sensitivity.believed("ann")
    sensitivity.learn("ann", 1.0, 3.0, 0.1)
    assert sensitivity.believed("ann") == before
    copied = sensitivity.copy()
    copied.learn("ann", 0.5, 0.7, 0.1)
    assert sensitivity.believed("ann") == before
    assert copied.believed("bob").deviation > copied.believed("ann").deviation


@pytest.mark.parametrize("power", [1.0, 1.3, 3.0])
def test_drift_is_the_two_sample_test_of_scipy(power):
    rng = np.random.default_rng(2)
    reference, last = rng.random(1000), rng.random(600) ** power
    found = drift(last.tolist(), reference.tolist())
    known = stats.ks_2samp(last[-LAST:], reference, method="asymp")
    assert found.distance == pytest.approx(known.statistic)
    assert found.chance == pytest.approx(known.pvalue, rel=0.5, abs=1e-12)


def test_nothing_seen_is_no_drift():
    assert drift([], [0.5]) == (0.0, 1.0)
