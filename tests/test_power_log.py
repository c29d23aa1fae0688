"""What units draw and have drawn: the log says it whenever it is asked, in whatever order."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.machine.power_log import PowerLog

UNITS, BLOCK = 6, 3
some_units = st.lists(st.integers(0, UNITS - 1), min_size=1, max_size=UNITS, unique=True)
steps = st.lists(st.tuples(st.integers(0, 9), some_units, st.sampled_from([10.0, 40.0, 90.0])), max_size=8)


def watts_of(story, second):
    """Of a node of each unit, as a list of what held from when on says."""
    watts = np.full(UNITS, 10.0)
    for when, units, node_w in story:
        if when <= second:
            watts[units] = node_w
    return watts


@given(steps, st.booleans(), st.booleans(), st.booleans())
def test_the_log_says_what_is_drawn_was_drawn_and_at_the_most(given_steps, gpus_first, asks_always, restarts):
    log, now, story, most_w = PowerLog(
        np.full(UNITS, 10.0), np.full(UNITS, 1.0), n=BLOCK, begin_s=0, supply_c=20.0
    ), 0, [], np.full(UNITS, 10.0)  # fmt: skip
    begins = 0
    for i, (gap_s, units, node_w) in enumerate(given_steps):
        now += gap_s
        if restarts and i == 4:
            log.restart(now, 25.0)
            begins, most_w = now, watts_of(story, now)
        was = watts_of(story, now)
        for unit in units:
            log.add(now, np.array([unit]), node_w, node_w / 10, was[unit], was[unit] / 10)
        story.append((now, units, node_w))
        most_w = np.maximum(most_w, watts_of(story, now))
        if asks_always:
            assert log.gpu_w_N.tolist() == (watts_of(story, now) / 10).tolist()
    expected = watts_of(story, now)
    asked = ["gpu_w_N", "node_w_N"] if gpus_first else ["node_w_N", "gpu_w_N"]
    for name in asked:
        assert getattr(log, name) == pytest.approx(expected / (10 if name == "gpu_w_N" else 1))
    assert log.most_w()[0].tolist() == most_w.tolist()
    assert log.most_w()[1] == pytest.approx(most_w / 10)
    twin = copy.deepcopy(log)
    twin.add(now, np.arange(UNITS), 500.0, 50.0, 0.0, 0.0)
    for block in range(UNITS // BLOCK):
        pieces = log.pieces(block, now + 5)
        ends_s = begins + np.cumsum(pieces.spans_s)
        assert ends_s[-1] == now + 5
        for end_s, node_w, gpu_w in zip(ends_s, pieces.node_w, pieces.gpu_w, strict=True):
            drawn = watts_of(story, end_s - 1)[block * BLOCK : (block + 1) * BLOCK]
            assert node_w == pytest.approx(drawn)
            assert gpu_w == pytest.approx(drawn / 10)
    assert twin.most_w()[0].tolist() == [500.0] * UNITS
