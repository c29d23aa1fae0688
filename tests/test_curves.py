"""Step functions brought down to intervals, beside the same by every second."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.results.curves import by_interval, even_edges, integral, value_at

values = st.one_of(st.just(float("nan")), st.integers(-5, 9).map(float))


@st.composite
def step_functions(draw):
    """Rising whole seconds with a value each, and rising edges around and in them."""
    time = sorted(draw(st.sets(st.integers(0, 40), min_size=1, max_size=12)))
    value = draw(st.lists(values, min_size=len(time), max_size=len(time)))
    edges = sorted(draw(st.sets(st.integers(-5, 60), min_size=2, max_size=9)))
    return np.array(time), np.array(value), np.array(edges)


def each_second(time, value, begin, end):
    """What holds in each second from ``begin`` to ``end``, by going through the rows."""
    held = np.full(end - begin, np.nan)
    for row, second in enumerate(time):
        held[max(second - begin, 0) :] = value[row] if second < end else held[max(second - begin, 0) :]
    return held


@given(step_functions())
def test_mean_least_and_most_are_those_of_the_seconds(step):
    time, value, edges = step
    for row, (begin, end) in enumerate(pairwise(edges)):
        seconds = each_second(time, value, begin, end)
        known = seconds[~np.isnan(seconds)]
        found = [column[row] for column in by_interval(time, value, edges)]
        if known.size:
            assert found == pytest.approx([known.mean(), known.min(), known.max()])
        else:
            assert np.isnan(found).all()


@given(step_functions())
def test_the_integral_is_the_sum_over_the_seconds(step):
    time, value, edges = step
    begin = min(time[0], edges[0])
    expected = [np.nansum(each_second(time, value, begin, end)) if end > begin else 0 for end in edges]
    assert integral(time, value, edges) == pytest.approx(expected)


@given(step_functions())
def test_the_value_at_a_second_is_what_holds_then(step):
    time, value, edges = step
    begin = min(time[0], edges[0])
    expected = [each_second(time, value, begin, second + 1)[-1] for second in edges]
    assert value_at(time, value, edges) == pytest.approx(expected, nan_ok=True)


def test_a_mean_between_whole_seconds_is_weighted_by_time():
    mean, least, most = by_interval(np.array([0, 10]), np.array([4.0, 8.0]), np.array([7.5, 12.5]))
    assert (mean[0], least[0], most[0]) == (6.0, 4.0, 8.0)


def test_a_peak_of_one_second_is_seen_in_a_year():
    time = np.array([0, 20_000_000, 20_000_001])
    mean, least, most = by_interval(time, np.array([1, 900, 1]), even_edges(0, 31_536_000, 500))
    assert (most.max(), least.min(), (most > 1).sum()) == (900, 1, 1)
    assert mean.max() < 1.1


def test_of_rows_of_the_same_second_the_last_holds_and_all_are_seen():
    time, value = np.array([0, 5, 5]), np.array([2, 7, 4])
    assert np.ravel(by_interval(time, value, np.array([0, 10]))).tolist() == [3, 2, 7]
    assert np.ravel(by_interval(time, value, np.array([5, 10]))).tolist() == [4, 4, 7]


def test_intervals_are_whole_seconds_at_least():
    assert even_edges(3, 3, 600).tolist() == [3, 4]
    assert even_edges(0, 4, 600).tolist() == [0, 1, 2, 3, 4]
    assert even_edges(0, 1000, 4).tolist() == [0, 250, 500, 750, 1000]


@pytest.mark.parametrize(("time", "edges"), [([], [0, 1]), ([0], [1]), ([0], [1, 1]), ([0], [2, 1])])
def test_no_rows_and_edges_that_do_not_rise_are_refused(time, edges):
    with pytest.raises(ValueError, match="found"):
        by_interval(np.array(time), np.array(time), np.array(edges))
