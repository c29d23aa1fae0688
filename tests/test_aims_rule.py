"""What AIMS believes that starts and waiting cost, and the rule that goes by it."""

from itertools import pairwise

import numpy as np
import pytest
from aims_made import state, workload

from hpcsim.engine.simulation import Simulation
from hpcsim.engine.view import View
from hpcsim.replay import begin
from hpcsim.schedulers.aims.aims import Aims
from hpcsim.schedulers.aims.beliefs import COLUMNS, Beliefs
from hpcsim.schedulers.aims.believed import Costs, out_of_turn, until_started, urgency
from hpcsim.schedulers.aims.expert import by_rule
from hpcsim.schedulers.aims.observing import Rhythm
from hpcsim.schedulers.aims.shape import (
    CLOCKS,
    DISCOUNT_S,
    MODES,
    OF_ALL,
    OF_JOB,
)
from hpcsim.schedulers.scales import scaled
from hpcsim.twins.performance import Walltime
from hpcsim.workload.behaviour import draw_behaviour

DAY = {"days": 0.25, "seed": 3, "load": 1.0}


# -- the rule ----------------------------------------------------------------------------------------


def test_the_rule_takes_the_most_urgent_in_the_mode_believed_to_cost_least():
    seen = state(np.random.default_rng(0), 3, legal=1.1)
    urgency, fits = (OF_JOB.index(name) for name in ("urgency", "fits"))
    seen.job_JF[:, fits] = 1.0
    seen.job_JF[:, urgency] = [0.1, 0.3, 0.2]
    seen.all_G[-3:] = 0.5, 0.3, 0.2
    seen.believed_JMO[1] = 0.0
    seen.believed_JMO[1, :, 0] = -0.01
    seen.believed_JMO[1, 2] = 0.0, -0.01, 0.0
    assert divmod(by_rule(seen), len(MODES)) == (1, 2)
    seen.all_G[-3:] = 0.3, 0.5, 0.2
    assert divmod(by_rule(seen), len(MODES)) == (1, 0)
    seen.job_JF[1, fits] = 0.0
    assert divmod(by_rule(seen), len(MODES)) == (1, 0)  # nodes are kept for it
    seen.legal_JM[1] = False
    assert by_rule(seen) // len(MODES) == 2
    seen.job_JF[:, urgency] = 0.0
    assert by_rule(seen) // len(MODES) == 0  # of those alike the first that came


@pytest.mark.parametrize(("power", "first"), [(0.0, "long"), (0.5, "long"), (1.0, "short")])
def test_whose_turn_it_is_hangs_on_how_much_the_runtime_counts(power, first):
    """One job has waited 3000 s and runs 3600, another 1000 and 600: by their roots the first is more urgent."""
    jobs = workload([(0, 3600, 4), (600, 3600, 4), (2600, 600, 4)])
    scheduler = Aims(Aims.Options(policy="rule", runtime_power=power))
    sim = Simulation(jobs, scheduler, nodes=4, twins={"performance": Walltime()})
    sim.run()
    long, short = (sim.attempts.start[sim.attempts.job == job_id][0] for job_id in (1, 2))
    assert (long < short) == (first == "long")


# -- what a start is believed to cost ---------------------------------------------------------------


def test_what_a_start_is_believed_to_cost_is_in_closed_form():
    """Two jobs on polaris, of whose free nodes every fifth is risky: energy, delay and risk by hand."""
    sim = begin("polaris", {"days": 0.2, "seed": 3, "scheduler": {"name": "aims", "policy": "rule"}})
    view, beliefs = View(sim), Beliefs()
    beliefs.believe_risks(np.resize([0.001, 0.002, 0.003, 0.001, 0.5], view.machine.units))
    known = {
        "nodes": np.array([2.0, 10.0]), "runtime_s": np.array([3600.0, 7200.0]), "beta": np.array([0.5, 0.0]),
        "clock": np.array([0.5, 0.6]), "dynamic_w": np.array([1000.0, 400.0]),
    }  # fmt: skip
    hourly = np.array([500.0, 40.0, 5.0])
    costs = Costs(known, view, view.room(), beliefs, hourly, sleeps=True, places=2)
    assert costs.speed_JC == pytest.approx(np.array([[1.0, 0.75, 0.5], [1.0, 0.8, 0.6]]))
    assert costs.runtime_JC == pytest.approx(np.array([[3600, 4200, 5400], [7200, 7200, 7200]]))
    found, spec = costs.while_waiting(0.002, np.array([0.0, 0.25])), view.machine.power
    drawn = [(spec.idle_w + 1000.0) * 3600, (spec.idle_w + 250.0) * 5400 - spec.sleep_w * 1800]
    kwh = 2 * (drawn[1] - drawn[0]) * (1 + view.power.overhead) / 3.6e6
    slowest = MODES.index((2, 0))
    assert found[0, slowest, 0] == pytest.approx(-kwh / 500.0, rel=1e-5)
    assert found[0, slowest, 1] == pytest.approx(-0.002 * 1800 * 2 / view.up_nodes / 40.0, rel=1e-5)
    assert (found[1, :, 1] == -0.25).all()  # what memory limits takes no longer; but it is out of turn
    free = -np.log1p(-beliefs.risk_U[view.free_units(view.room())]) / (6 * 3600)
    assert len(free) > 100
    for place, rate in enumerate((2 * free.mean(), 2 * free[free < free.max()].mean())):
        lost = (1 - np.exp(-rate * 5400)) * 2 * 5400 / 2 / 3600
        lost -= (1 - np.exp(-2 * beliefs.rate_U.mean() * 3600)) * 2 * 3600 / 2 / 3600  # anywhere, at full speed
        assert found[0, MODES.index((2, place)), 2] == pytest.approx(-lost / 5.0, rel=1e-4)


def test_who_starts_out_of_turn_costs_nothing_where_that_is_better_than_the_turn():
    """By the root of what they run the first is next; by what they run the second, which waits less in all."""
    nodes, runs_h, waited_h = 10, np.array([2.0, 0.5, 1.0]), np.array([3000.0, 1400.0, 1000.0])
    for power, whose_turn, other in ((0.5, 0, 1), (1.0, 1, 0)):
        urgent = urgency(waited_h, runs_h, power)
        found = out_of_turn(urgent, nodes * waited_h, nodes * runs_h, np.ones(3, bool), nodes)
        assert urgent.argmax() == whose_turn
        assert found[whose_turn] == 0.0
        assert (found[other] > 0.0) == (power == 1.0)
        assert found[2] > 0.0


def test_who_starts_out_of_turn_costs_what_others_wait_longer_less_what_it_waits_less():
    """Three jobs of the whole machine one after the other: to first order, what the squares of waiting are more by."""
    nodes, runs_h, waited_h = 10, np.array([2.0, 0.5, 1.0]), np.array([3000.0, 2500.0, 1000.0])
    turn = [1, 0, 2]  # by waited / runs

    def half_squares(order):
        begins = np.concatenate([[0.0], np.cumsum(runs_h[order])[:-1]])
        return nodes * ((waited_h[order] + begins) ** 2).sum() / 2

    urgent = urgency(waited_h, runs_h, 1.0)
    found = out_of_turn(urgent, nodes * waited_h, nodes * runs_h, np.ones(3, bool), nodes)
    orders = [[first, *(each for each in turn if each != first)] for first in range(3)]
    assert found == pytest.approx([half_squares(each) - half_squares(turn) for each in orders], rel=2e-3)
    assert found[1] == 0 < found.max()
    alone = out_of_turn(urgent, nodes * waited_h, nodes * runs_h, np.array([True, False, True]), nodes)
    assert alone[0] == 0 < alone[2] < found[2]  # who cannot start now is not made to wait by it


@pytest.mark.parametrize("starts_in_h", [1e-5, 0.3, 9.0, 200.0])
def test_what_waits_is_believed_to_cost_what_it_waits_until_it_starts(starts_in_h):
    nodes, waited = np.array([40.0, 3.0]), np.array([0.0, 70.0])
    hour = np.linspace(0.0, starts_in_h, 400_001)
    rate = (nodes[:, None] * (waited[:, None] + hour)).sum(0)
    summed = np.trapezoid(rate * np.exp(-3600.0 * hour / DISCOUNT_S), hour)
    assert until_started(nodes, waited, np.full(2, starts_in_h)) == pytest.approx(summed, rel=1e-6)
    assert until_started(nodes, waited, np.zeros(2)) == 0.0


def test_what_waits_is_less_by_what_was_started():
    """Along a pass what is believed of the queue is less by a job that starts in turn, and as it was if none may."""
    sim = begin("cooley", DAY | {"load": 3.0, "scheduler": {"name": "aims", "policy": "random", "patience": 0}})
    seen, waits = [], OF_ALL.index("queued_work")

    def choose(state, now):
        jobs = sim.scheduler.seen.jobs
        action = int(np.flatnonzero(state.legal_A)[0])
        seen.append((now, state, jobs, action))
        return action

    sim.scheduler.chooser = choose
    sim.run()
    starts = OF_ALL.index("started")
    pairs = [(one, other) for one, other in pairwise(seen) if one[0] == other[0] and one[2] == other[2]]
    started = [one[1].all_G[starts] < other[1].all_G[starts] for one, other in pairs]
    free = [not one[1].all_G[OF_ALL.index("reserved")] for one, _ in pairs]
    in_turn = [
        starts and one[1].believed_JMO[one[3] // len(MODES), 0, 1] == 0
        for (one, _), starts in zip(pairs, free, strict=True)
    ]
    differs = [float(other[1].ahead_O[1] - one[1].ahead_O[1]) for one, other in pairs]
    assert all(each == 0.0 for each, starts in zip(differs, started, strict=True) if not starts)
    gained = [each for each, starts, now in zip(differs, started, in_turn, strict=True) if starts and now]
    assert min(gained) >= 0.0
    assert np.mean(np.array(gained) > 0.0) > 0.5  # the others have come just now
    assert {True, False} == set(started)
    assert all(
        one[1].all_G[waits] > other[1].all_G[waits] for (one, other), is_so in zip(pairs, started, strict=True) if is_so
    )
    assert all(not state.ahead_O[[0, 2]].any() and state.ahead_O[1] <= 0.0 for _, state, *_ in seen)


def test_what_starts_in_a_pass_is_seen_by_the_next_choice_of_it():
    """A slower start gives its nodes back later, and the state of the next choice says so."""
    back = [OF_ALL.index(f"back_in_{share}") for share in (10, 25, 50, 75, 90)]
    slowest, started = len(CLOCKS) - 1, OF_ALL.index("started")

    def after_a_start(mode, at=None):
        """When something was first started that could be slowed, and the next choice of that pass; in that mode."""
        sim = begin("cooley", DAY | {"load": 3.0, "scheduler": {"name": "aims", "policy": "rule", "places": False}})
        seen = []

        def choose(state, now):
            place, _ = divmod(by_rule(state), len(MODES))
            is_job = place < len(state.job_JF)
            can = bool(is_job and state.legal_JM[place, slowest])
            seen.append((now, state, can))
            return place * len(MODES) + (mode if can and now == at else 0) if is_job else by_rule(state)

        sim.scheduler.chooser = choose
        sim.run()
        for (now, first, can), (then, after, _) in pairwise(seen):
            if now == then and can and after.all_G[started] > first.all_G[started] and at in (None, now):
                return now, after.all_G[back]
        raise AssertionError("nothing could be slowed before another choice")

    at, full = after_a_start(0)
    _, slow = after_a_start(slowest, at)
    assert (slow >= full).all()
    assert (slow > full).any()


def test_energies_at_two_clocks_tell_the_clock_of_least_energy():
    """By the oracle of energy the watts and the best clock of each program are exact."""
    said = {"twins": {"energy": "energy-oracle", "performance": "walltime"}}
    sim = begin("cooley", DAY | said | {"scheduler": {"name": "aims", "policy": "rule"}})
    sim.run(3600)
    beliefs, jobs, view = Beliefs(), list(sim.workload.jobs(0, 20)), View(sim)
    known = dict(zip(COLUMNS, beliefs.of(jobs, view).T, strict=True))
    truth, spec = draw_behaviour(sim.workload, 3), view.machine.power
    assert (known["beta"] == 0.55).all()
    for k in range(20):

        def joules(speed, k=k):
            full_w = spec.cpu_dyn_w * truth.cpu_util_J[k] + spec.gpu_dyn_w * truth.gpu_util_J[k]
            return (spec.idle_w + full_w * speed**spec.speed_exponent) * (1 + truth.beta_J[k] * (1 / speed - 1))

        share = 1 - known["saved_when_slow"][k]
        assert 0.3 < share <= 1.0
        assert joules(known["clock"][k]) <= joules(1.0) * 1.05


def test_a_delay_costs_more_on_a_busy_machine():
    calm, busy = Rhythm(), Rhythm()
    for hour in range(48):
        found = [each.congested(0.01, load, 0.01, hour * 3600) for each, load in ((calm, 0.2), (busy, 0.85))]
    assert found == pytest.approx([2 * 0.01 / 0.8, 2 * 0.01 / 0.15], rel=0.1)


def test_times_are_on_the_scale_that_is_told():
    assert scaled(np.array([0.0, 60.0, 3600.0, 30 * 86400.0, 1e9])) == pytest.approx([0, 0.156, 0.472, 1, 1], abs=1e-3)
