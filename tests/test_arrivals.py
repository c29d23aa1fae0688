"""Other offered loads and shaken input: what changes and what does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcsim
from hpcsim.errors import InputError
from hpcsim.workload.arrivals import Pace, Rhythm, offered_load, paced, shaken
from hpcsim.workload.synthetic import synthesise

HOUR = 3600
MONTH = synthesise("polaris", seed=1, days=28)
SUBMIT = MONTH.column("submit_s")


@pytest.mark.parametrize("load", [0.3, 0.7, 1.2])
def test_the_jobs_of_a_window_offer_the_load_that_is_asked_for(load):
    window = {"start": "7d", "end": "21d", "warm_up": "2d", "cool_down": "1d"}
    asked = {"physics": None, "days": 28, "window": window}
    jobs = {}
    for at in (None, load):
        run = hpcsim.simulate("polaris", {**asked, "load": at}, check=True)
        jobs[at] = run.jobs
    assert run.manifest["load"]["asked"] == load
    pd = jobs[load]
    work = float((pd["nodes"] * pd["runtime_s"])[pd["nodes"] <= 560].sum())
    span = work / (560 * load)  # by the definition of offered load
    assert pd["submit_s"].max() - 7 * 24 * HOUR <= span * 1.001
    assert pd["submit_s"].max() - 7 * 24 * HOUR > span * 0.97
    # the same jobs are measured at every load
    assert list(pd["job_id"][pd["measured"]]) == list(jobs[None]["job_id"][jobs[None]["measured"]])
    assert list(pd["runtime_s"]) == list(jobs[None]["runtime_s"])


def test_the_busy_hours_of_the_day_stay_busy_at_another_load():
    pace = Pace(0, 28 * 24 * HOUR, 14 * 24 * HOUR, Rhythm(SUBMIT))
    before, after = (np.bincount(s // HOUR % 24, minlength=24) / len(s) for s in (SUBMIT, pace.moved(SUBMIT)))
    even = np.bincount(SUBMIT // 2 // HOUR % 24, minlength=24) / len(SUBMIT)  # what a plain factor does
    assert np.corrcoef(before, after)[0, 1] > 0.7
    assert np.corrcoef(before, even)[0, 1] < 0.3


@given(st.lists(st.integers(0, 30 * 86_400), min_size=2, max_size=60), st.floats(0.05, 20))
def test_order_and_bounds_are_kept_at_any_pace(times, factor):
    submit = np.sort(np.array(times, np.int64))
    start, end = int(submit[0]), int(submit[-1]) + 2
    pace = Pace(start, end, start + max(2, round((end - start) * factor)), Rhythm(submit))
    moved = pace.moved(submit)
    assert np.all(np.diff(moved) >= 0)
    assert moved[0] >= start
    assert moved[-1] < pace.new_end
    assert pace.moved(end) == pace.new_end


@given(st.integers(0, 40 * 86_400))
def test_the_clock_of_the_jobs_runs_backwards_to_the_same_second(second):
    rhythm = Rhythm(SUBMIT)
    assert rhythm.time_s(rhythm.passed(second)) == pytest.approx(second, abs=1e-3)


def test_at_its_own_load_a_workload_is_unchanged():
    end = 28 * 24 * HOUR
    assert paced(MONTH, Pace(0, end, end, Rhythm(SUBMIT))).column("submit_s") == pytest.approx(SUBMIT, abs=1)
    load = offered_load(MONTH, start=0, end=end, nodes=560, overrun="trace")
    nodes, ran = MONTH.column("nodes"), np.minimum(MONTH.column("runtime_s"), MONTH.column("walltime_s") * 11 // 10)
    assert load == pytest.approx(float(nodes @ ran) / (560 * end))


def test_shaken_jobs_are_near_where_they_were_and_the_seed_decides():
    of = {"submit_s": 300, "runtime": 0.05, "start": 0, "end": 28 * 24 * HOUR}
    one, again, other = (shaken(MONTH, seed=seed, **of) for seed in (1, 1, 2))
    assert one.table.equals(again.table)
    assert not one.table.equals(other.table)
    row = {name: at for at, name in enumerate(MONTH.table.column("name").to_pylist())}
    was = np.array([row[name] for name in one.table.column("name").to_pylist()])
    assert np.abs(one.column("submit_s") - SUBMIT[was]).max() <= 300
    ran = MONTH.column("runtime_s")[was]
    assert np.all(np.abs(one.column("runtime_s") - ran) <= 0.05 * ran + 1)
    assert sorted(was) == list(range(len(MONTH)))


def test_what_cannot_be_scaled_or_shaken_is_refused():
    with pytest.raises(InputError, match=r"shake: .*wait for others"):
        hpcsim.simulate("workflows", {"shake": {}})
    with pytest.raises(InputError, match="share nodes"):
        hpcsim.simulate("polaris", {"days": 2, "load": 0.5, "physics.processors": "cores"})


def test_a_window_of_so_many_jobs_has_so_many_and_no_margins():
    run = hpcsim.simulate("polaris", {"physics": None, "days": 5, "window": {"start": "1d", "jobs": 200}}, check=True)
    assert run.summary["jobs"] == 200
    assert run.jobs["submit_s"].min() >= 24 * HOUR
    with pytest.raises(InputError, match=r"warm_up: Input should be 0 beside window.jobs"):
        hpcsim.simulate("polaris", {"window": {"jobs": 200, "warm_up": "1h"}})
