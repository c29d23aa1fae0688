"""When AIMS asks whom: twins about jobs that can be chosen, the network also later about what the rule has chosen."""

from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
from aims_made import state

from hpcsim import simulate
from hpcsim.engine.view import View
from hpcsim.replay import begin
from hpcsim.schedulers.aims.beliefs import COLUMNS, WARMED_S, Beliefs
from hpcsim.schedulers.aims.network import drawn, values, values_of_all
from hpcsim.schedulers.aims.shape import MODES, VISIBLE, shapes

DAY = {"days": 0.25, "seed": 3, "load": 1.0}


@pytest.mark.parametrize("dueling", [True, False])
def test_states_together_are_worth_what_each_is_by_itself(dueling):
    rng = np.random.default_rng(5)
    tensors = drawn(rng, shapes())
    tensors["advantage"] = tensors["advantage"] * 50
    rests = [(True, True, True), (False, False, False), (True, False, False), (False, True, True)]
    states = [state(rng, jobs, rests=rests[jobs % 4]) for jobs in (3, 0, 64, 1, 2, 0, 17)]
    states.append(states[0]._replace(legal_JM=np.zeros((3, len(MODES)), bool)))
    for seen, found in zip(states, values_of_all(tensors, states, dueling=dueling), strict=True):
        alone = values(tensors, seen, dueling=dueling)
        assert found.shape == alone.shape == (len(seen.legal_A), *alone.shape[1:])
        assert found == pytest.approx(alone, abs=1e-5)
        assert not found[~seen.legal_A].any()


def test_what_a_network_says_of_choices_that_are_the_rules_is_the_same_whenever_it_is_asked(monkeypatch):
    """An aversion of a thousand deviations leaves the rule all choices, one of just below takes the other way there."""

    def choices(aversion):
        told = {"scheduler": {"name": "aims", "aversion": aversion}}
        return simulate("polaris", DAY | told).tables["choices"].to_pandas()

    at_once = choices(999.9)
    monkeypatch.setattr("hpcsim.schedulers.aims.journal._MOST_KEPT", 100)
    for later in (choices(1000.0), choices(1e6)):
        plain = ["time_s", "choice", "job_id", "action", "chosen"]
        pd.testing.assert_frame_equal(
            at_once[plain][at_once.chosen], later[plain][later.chosen], check_index_type=False
        )
        assert later.worth.to_numpy() == pytest.approx(at_once.worth.to_numpy(), abs=1e-4)
    assert len(at_once) > 1000


def test_a_network_that_is_held_to_the_rule_decides_as_the_rule_alone():
    held, alone = (
        simulate("polaris", DAY | {"scheduler": {"name": "aims", **options}}).attempts
        for options in ({"aversion": 1000.0}, {"policy": "rule"})
    )
    pd.testing.assert_frame_equal(held, alone)


def test_twins_are_asked_how_long_all_run_but_nothing_else_of_those_that_cannot_be_chosen():
    sim = begin("polaris", {"seed": 3, "jobs": 200, "days": None, "scheduler": {"name": "aims", "policy": "rule"}})
    asked = defaultdict(list)
    for question in ("performance", "energy", "job_failure"):
        twin = sim.twins["fault" if question == "job_failure" else question]
        ask = getattr(twin, question)

        def noted(jobs, *others, ask=ask, seen=asked[question]):
            seen.append({job.id for job in jobs})
            return ask(jobs, *others)

        setattr(twin, question, noted)
    view, beliefs = View(sim), Beliefs()
    jobs = list(sim.workload.jobs(0, 200))
    assert len(beliefs.of_runtimes(jobs, view)) == 200
    assert [len(each) for each in asked["performance"]] == [200]
    assert not asked["energy"]
    known = beliefs.of(jobs[:VISIBLE], view)
    assert [len(each) for each in asked["energy"]] == [len(each) for each in asked["job_failure"]] == [VISIBLE]
    assert (known[:, COLUMNS.index("energy_kwh")] > 0).all()
    beliefs.of(jobs[: VISIBLE + 3], view)
    assert [len(each) for each in asked["energy"]] == [VISIBLE, 3]
    assert len(asked["performance"]) == 1


def test_in_a_crowd_most_that_wait_are_not_asked_about_yet_but_how_long_they_run():
    sim = begin("polaris", {"days": 3, "seed": 11, "load": 8.0, "scheduler": "aims", "physics.queues": False})
    sim.run(10 * 3600)
    beliefs = sim.scheduler._beliefs
    assert len(sim.queue) > 10 * VISIBLE
    assert len(beliefs._row) - beliefs._is_whole.sum() > len(sim.queue) / 2


def test_how_warm_a_job_would_make_a_node_is_what_the_twin_of_heat_says_of_its_watts():
    sim = begin("polaris", DAY | {"scheduler": {"name": "aims", "policy": "rule"}})
    sim.run(4 * 3600)
    view, beliefs, jobs = View(sim), Beliefs(), list(sim.workload.jobs(0, 60))
    known = dict(zip(COLUMNS, beliefs.of(jobs, view).T, strict=True))
    watts = known["energy_kwh"] * 3.6e6 / (known["runtime_s"] * known["nodes"])
    usual = int(np.argsort(view.node_c)[view.machine.units // 2])
    spec = view.machine.power  # two twins say how long and how much, so their watts may be more than a node can draw
    watts = np.clip(watts, spec.idle_w, spec.idle_w + spec.cpu_dyn_w + spec.gpu_dyn_w)
    said = view.twins.thermal(np.full(len(jobs), usual), watts, WARMED_S).mean
    assert np.ptp(said) > 3.0
    assert known["warmth_k"] == pytest.approx(said - view.machine.thermal.cpu_throttle_c, abs=0.3)


def test_forks_and_snapshots_change_no_bit_of_what_is_told(tmp_path):
    """Choices wait for the network when a run is copied or saved: it, its copy and what was restored tell the same."""
    scenario = DAY | {"scheduler": {"name": "aims", "aversion": 1000.0}}
    alone = begin("polaris", scenario)
    alone.run()
    sim, restored = begin("polaris", scenario), begin("polaris", scenario)
    for hour in (1, 2, 4):
        sim.run(hour * 3600)
        asked = sim.scheduler._journal._choices
        fork = sim.fork()
        assert sim.scheduler._journal._choices == asked
    waiting = len(sim.scheduler._journal._kept)
    assert waiting % 128 > 0
    sim.save(tmp_path / "snapshot")
    restored.restore(tmp_path / "snapshot")
    assert [len(each.scheduler._journal._kept) for each in (sim, fork, restored)] == [waiting] * 3
    for each in (sim, fork, restored):
        each.run()
        told, whole = each.scheduler.tables()["choices"], alone.scheduler.tables()["choices"]
        assert told.keys() == whole.keys()
        for name in whole:
            assert list(told[name]) == list(whole[name])
