"""AIMS: what it sees, how it chooses, and that each of its switches changes a decision."""

import copy

import numpy as np
import pytest
from aims_made import state, workload

from hpcsim import simulate
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.view import View
from hpcsim.errors import InputError
from hpcsim.replay import begin
from hpcsim.results.choices import choice_of, told
from hpcsim.results.tables import attempts_table
from hpcsim.schedulers.aims import trained
from hpcsim.schedulers.aims.aims import Aims
from hpcsim.schedulers.aims.beliefs import COLUMNS
from hpcsim.schedulers.aims.choosing import Worth, aversions, best, weights_of, worth
from hpcsim.schedulers.aims.expert import by_rule
from hpcsim.schedulers.aims.network import drawn, values
from hpcsim.schedulers.aims.objectives import FLOOR, Objectives, projected
from hpcsim.schedulers.aims.placing import risky
from hpcsim.schedulers.aims.shape import (
    CLOCKS,
    DOUBT,
    HEADS,
    MODES,
    OBJECTIVES,
    OF_JOB,
    REST,
    shapes,
)
from hpcsim.twins.performance import Walltime

DAY = {"days": 0.25, "seed": 3, "load": 1.0}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The file of a network that nobody trained."""
    tmp_path = tmp_path_factory.mktemp("weights")
    tensors = drawn(np.random.default_rng(4), shapes())
    tensors["advantage"] = tensors["advantage"] * 50
    return trained.write(
        tmp_path,
        "mine",
        tensors,
        np.array([400.0, 0.01, 0.2]),
        np.array([400.0, 36.0, 2.0]),
        {"dueling": True, "aversion": [0.5] * 4},
    )


@pytest.fixture(scope="module")
def run(weights):
    return simulate("cooley", DAY | {"scheduler": {"name": "aims", "weights": str(weights)}}, check=True)


# -- the network -----------------------------------------------------------------------------------


def test_what_a_job_is_worth_hangs_on_no_order_of_the_queue():
    rng = np.random.default_rng(0)
    tensors, seen = drawn(rng, shapes()), state(np.random.default_rng(1), 9, legal=1.1)
    order = rng.permutation(9)
    turned = seen._replace(
        job_JF=seen.job_JF[order], believed_JMO=seen.believed_JMO[order], legal_JM=seen.legal_JM[order]
    )
    one, other = values(tensors, seen), values(tensors, turned)
    of_jobs = one[:-3].reshape(9, len(MODES), HEADS, 3)
    assert other[:-3].reshape(9, len(MODES), HEADS, 3) == pytest.approx(of_jobs[order], abs=1e-6)
    assert other[-3:] == pytest.approx(one[-3:], abs=1e-6)


def test_beside_what_is_believed_the_mean_of_what_is_legal_is_the_value_of_the_state():
    rng = np.random.default_rng(0)
    tensors, seen = drawn(rng, shapes()), state(rng, 5)
    tensors["action.believed"][:] = 0.0
    plain = seen._replace(believed_JMO=np.zeros_like(seen.believed_JMO))
    beyond = (values(tensors, seen) - values(tensors, plain))[seen.legal_A].mean(1)
    believed_AO = np.append(seen.believed_JMO.reshape(-1, 3), np.zeros((3, 3)), 0)[seen.legal_A]
    assert beyond == pytest.approx(believed_AO, abs=1e-6)
    seen = plain
    q = values(tensors, seen)[seen.legal_A].mean(0)
    with_others = seen._replace(legal_R=np.array([True, False, False]))
    assert values(tensors, with_others)[with_others.legal_A].mean(0) == pytest.approx(q, abs=1e-6)
    assert not np.allclose(values(tensors, seen, dueling=False)[seen.legal_A].mean(0), q, atol=1e-4)


def test_a_state_without_jobs_has_only_ways_to_rest():
    seen = state(np.random.default_rng(0), 0)
    assert values(drawn(np.random.default_rng(0), shapes()), seen).shape == (len(REST), HEADS, len(OBJECTIVES))


# -- choosing --------------------------------------------------------------------------------------


def test_an_objective_counts_less_for_a_job_whose_twin_is_unsure_and_that_changes_the_choice():
    seen = state(np.random.default_rng(0), 2, rests=(False, False, False), legal=1.1)
    seen.job_JF[:, DOUBT] = 0.0
    seen.job_JF[0, DOUBT[0]] = 1.0  # nobody knows what job 0 takes
    weights_AO = weights_of(seen.job_JF, np.array([0.4, 0.4, 0.2]), kappa=1.0)
    assert weights_AO.sum(1) == pytest.approx(1.0)
    assert weights_AO[0, 0] == pytest.approx(0.4 * np.exp(-1) / (0.4 * np.exp(-1) + 0.6))
    assert weights_AO[len(MODES)] == pytest.approx([0.4, 0.4, 0.2])
    q = np.zeros((len(seen.legal_A), HEADS, 3), np.float32)
    q[0, :, 0], q[len(MODES), :, 1] = -1.0, -0.8  # job 0 takes energy, job 1 makes others wait
    others = [a for a in range(len(q)) if a not in (0, len(MODES))]
    q[others] = -9.0
    chosen = [best(worth(q, seen, np.array([0.4, 0.4, 0.2]), kappa), 0.0) for kappa in (0.0, 1.0)]
    assert chosen == [len(MODES), 0]


def test_of_actions_alike_the_surer_one_is_chosen_and_never_one_that_is_not_legal():
    found = Worth(np.array([1.0, 0.98, -np.inf]), np.array([0.2, 0.01, 0.0]), np.zeros((3, 3)))
    assert [best(found, aversion) for aversion in (0.0, 0.5, -0.5)] == [0, 1, 0]
    seen = state(np.random.default_rng(0), 4, legal=0.3)
    q = np.random.default_rng(1).normal(size=(len(seen.legal_A), HEADS, 3)).astype(np.float32)
    assert seen.legal_A[best(worth(q, seen, np.full(3, 1 / 3), 1.0), 0.5)]


def test_the_cooling_plant_is_a_lever_of_its_own():
    """A day of Theta, whose nodes stand the warm mode: less cooling of the same jobs."""
    modes, overhead = {}, {}
    for cooling in (True, False):
        run = simulate("theta", {"days": 0.5, "seed": 3, "scheduler": {"name": "aims", "cooling": cooling}})
        modes[cooling] = [
            row["mode"] for row in run.tables["decisions"].to_pylist() if row["decision"] == "set_cooling"
        ]
        overhead[cooling] = run.summary["pue"]
    assert modes == {True: ["warm"], False: []}
    assert overhead[True] < overhead[False] - 0.05


def test_how_sure_an_action_has_to_be_hangs_on_how_it_departs_from_the_rule():
    seen = state(np.random.default_rng(0), 2)
    modes, aversion_D = len(MODES), np.array([1.0, 2.0, 3.0, 4.0])  # another job, mode, none, another rest
    of_second = aversions(aversion_D, seen, usual=modes + 1)
    assert of_second.tolist() == [1.0] * modes + [2.0] * modes + [3.0] * len(REST)
    assert aversions(aversion_D, seen, usual=2 * modes).tolist() == [1.0] * 2 * modes + [4.0] * len(REST)
    assert aversions(aversion_D, seen, usual=None).tolist() == [1.0] * len(seen.legal_A)
    q = np.zeros((len(seen.legal_A), HEADS, 3), np.float32)
    q[:] = np.arange(HEADS)[None, :, None] - 1.0  # all alike, but for
    q[2 * modes] *= 3.0  # to hold: better on average, by heads that disagree
    seen.legal_JM[:], seen.legal_R[:] = True, True
    found = worth(q, seen, np.full(3, 1 / 3), 0.0, usual=0)
    picked = [best(found, aversions(np.array([9.0, 9.0, hold, 9.0]), seen, 0)) for hold in (0.5, 9.0)]
    assert picked == [2 * modes, 0]


def test_the_weights_decide_between_energy_and_waiting():
    seen = state(np.random.default_rng(0), 1, rests=(True, False, False), legal=1.1)
    q = np.full((len(seen.legal_A), HEADS, 3), -5.0, np.float32)
    q[0], q[1] = (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)
    assert [best(worth(q, seen, np.array(w), 0.0), 0.0) for w in ((0.8, 0.1, 0.1), (0.1, 0.8, 0.1))] == [1, 0]


# -- weights that adapt -----------------------------------------------------------------------------


def test_the_projection_is_the_nearest_point_of_what_is_allowed():
    rng = np.random.default_rng(0)
    grid = np.array([(a, b, 1 - a - b) for a in np.linspace(0.1, 0.8, 141) for b in np.linspace(0.1, 0.8, 141)])
    grid = grid[grid[:, 2] >= FLOOR - 1e-9]
    for raw in rng.dirichlet(np.ones(3), 30):
        found = projected(raw)
        assert found.sum() == pytest.approx(1.0)
        assert found.min() >= FLOOR - 1e-12
        assert np.linalg.norm(found - raw) <= np.linalg.norm(grid - raw, axis=1).min() + 1e-9


def test_the_weight_of_what_does_worse_than_usual_grows_and_that_of_power_and_heat_at_once():
    steady, poor = Objectives(adapt=True), Objectives(adapt=True)
    for hour in range(40):
        steady.follow(hour * 3600, np.ones(3), 0.0, 0.0)
        poor.follow(hour * 3600, np.array([1.0, 3.0, 1.0]), 0.0, 0.0)
    assert steady.weights == pytest.approx([0.35, 0.40, 0.25])
    assert poor.weights[1] > 0.6
    assert poor.weights.min() >= FLOOR - 1e-12
    assert len(poor.course) == 40
    assert poor.course[0] == pytest.approx((0, 0.35, 0.40, 0.25))
    hot = Objectives(adapt=True)
    for hour in range(3):
        hot.follow(hour * 3600, np.ones(3), 0.9, 75.0)
    assert hot.weights[0] > 0.35
    assert hot.weights[2] > 0.25
    fixed = Objectives(adapt=False)
    fixed.follow(0, np.ones(3), 0.0, 0.0)
    fixed.follow(7200, np.array([9.0, 1.0, 1.0]), 1.0, 90.0)
    assert fixed.weights.tolist() == [0.35, 0.40, 0.25]


# -- places ------------------------------------------------------------------------------------------


def test_units_far_more_likely_to_fail_than_most_are_risky():
    risk = np.full(10, 1e-4)
    risk[3], risk[[0, 7]] = 3e-4, 0.5
    assert np.flatnonzero(risky(risk)).tolist() == [0, 7]
    assert not risky(np.full(10, 0.3)).any()
    assert risky(np.zeros(0)).size == 0


def units_of(text):
    ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return np.concatenate([np.arange(each[0], each[-1] + 1) for each in ends])


def test_jobs_are_kept_from_risky_nodes_and_lie_together_while_there_are_others():
    """Polaris: two thirds of the nodes of every other rack are risky, so the safest are spread over racks."""
    sim = begin("polaris", {"days": 0.2, "seed": 3, "load": 0.4, "scheduler": {"name": "aims", "policy": "rule"}})
    machine, scheduler = View(sim).machine, sim.scheduler
    risk = np.full(machine.units, 1e-4)
    unit = np.arange(machine.units)
    bad = unit[(unit // machine.units_per_rack % 2 == 0) & (unit % 3 > 0)]
    risk[bad] = 0.3
    scheduler._beliefs.look_at_machine = lambda view: scheduler._beliefs.believe_risks(risk)
    sim.run()
    attempts = attempts_table(sim).to_pandas()
    of_jobs = [units_of(text) for text in attempts.units[attempts.why.str.endswith("on safe nodes")]]
    assert len(of_jobs) > 10
    assert not np.isin(np.concatenate(of_jobs), bad).any()
    racks = [len(np.unique(units // machine.units_per_rack)) for units in of_jobs]
    least = [-(-len(units) // machine.units_per_rack) for units in of_jobs]
    assert np.mean(racks) < 1.5 * np.mean(least)  # a third of the nodes of half of the racks is hard to fill


# -- in a run ----------------------------------------------------------------------------------------


def test_a_run_keeps_the_laws_and_tells_its_choices(run):
    assert set(run.manifest["twins"].values()) == {"runtime-ensemble", "energy-cnn-lstm", "fault-lstm", "thermal-rc"}
    assert set(run.manifest["needs"]) == {"sleep", "speed", "places", "power", "heat"}
    choices, course = run.tables["choices"].to_pandas(), run.tables["weights"].to_pandas()
    assert course[list(OBJECTIVES)].sum(axis=1).to_numpy() == pytest.approx(1.0)
    of_each = choices.groupby("choice")
    assert (of_each["chosen"].sum() == 1).all()
    assert of_each.size().max() <= 4
    told = choices.action[choices.action.str.startswith("start at")].str.split(",").str[0]
    assert {f"start {clock}" for clock in CLOCKS} > set(told) > {"start at its clock of least energy"}
    assert len(run.attempts) >= len(run.jobs) - 5


def test_what_a_choice_was_made_of_is_in_the_answer_of_explain(run):
    first = run.attempts.iloc[5]
    rows = choice_of(run, first.job_id, int(first.start_s))
    assert rows[0]["chosen"]
    assert rows[0]["job_id"] == first.job_id
    assert rows[0]["action"].startswith("start")
    lines = told(rows, 160)
    assert max(map(len, lines)) <= 160
    assert len(lines) == len(rows) + 2
    for width in (80, 100):
        folded = told(rows, width)
        assert max(map(len, folded)) <= width
        assert {word for row in rows for word in row["action"].split()} <= set(" ".join(folded).split())
    assert choice_of(run, "nobody", 0) == []


def test_it_runs_where_nodes_are_only_counted_and_with_any_lever_off(weights):
    for changes in (
        {"physics": None, "machine": {"nodes": 126}},
        {"scheduler": {"sleep": False, "speed": False, "places": False}},
    ):
        settings = {"name": "aims", "weights": str(weights), **changes.pop("scheduler", {})}
        run = simulate("cooley", DAY | {"scheduler": settings} | changes, check=True)
        decided = set(run.tables["decisions"].column("decision").to_pylist())
        if settings.get("sleep") is False or "physics" in changes:
            assert "sleep" not in decided
        if settings.get("speed") is False:
            assert not run.attempts["why"].str.contains("clock of least energy").any()


def smallest(state, now):
    """Whose turn it is, by one who takes small jobs first for ever."""
    area_J = np.where(state.legal_JM.any(1), state.job_JF[:, OF_JOB.index("area")], np.inf)
    return int(area_J.argmin()) * len(MODES) if np.isfinite(area_J).any() else len(area_J) * len(MODES)


@pytest.mark.parametrize(
    ("patience", "promise", "at_most_s"),
    [(2000, 0, 6000 + 300), (9000, 0, 9000 + 300), (2000, 1.5, 9000 + 300), (2000, 0.5, 6000 + 300), (0, 1, None)],
)
def test_a_job_that_has_waited_too_long_has_nodes_kept_for_it(patience, promise, at_most_s):
    """It may wait ``patience``, or ``promise`` times the 6000 s that it was to wait when it came; small ones 300."""
    small = [(k * 60, 300, 2) for k in range(1, 400)]
    jobs = workload([(0, 6001, 4), (1, 600, 4), *small])
    scheduler = Aims(Aims.Options(policy="rule", patience=patience, promise=promise))
    scheduler.chooser = smallest
    sim = Simulation(jobs, scheduler, nodes=4, twins={"performance": Walltime()})
    sim.run()
    waited_s = sim.attempts.start[sim.attempts.job == 1][0] - 1
    if at_most_s is None:
        assert waited_s > 20_000
    else:
        assert at_most_s - 300 <= waited_s <= at_most_s


def test_all_that_have_waited_too_long_start_before_anybody_is_asked_and_nodes_are_kept_for_the_first_that_cannot():
    """Three of them behind one that has had all eight nodes: two fit, the third is to be next."""
    jobs = workload([(0, 5000, 8), (1, 900, 3), (2, 900, 4), (3, 900, 6), *[(10 + k, 2000, 1) for k in range(8)]])
    scheduler = Aims(Aims.Options(policy="rule", patience=4990, promise=0))
    scheduler.chooser = smallest
    sim = Simulation(jobs, scheduler, nodes=8, twins={"performance": Walltime()})
    sim.run()
    start = [int(sim.attempts.start[sim.attempts.job == job][0]) for job in range(4)]
    assert start[1:] == [5000, 5000, 5900]
    why = {int(job): why for job, why in zip(sim.attempts.job, sim.attempts.why, strict=True)}
    assert [why[job] for job in (1, 2)] == ["has waited for too long"] * 2


def test_how_long_a_job_was_to_wait_is_all_that_was_before_it_on_all_nodes():
    """At 0 one has all four nodes for 6000 s; two come at 1000 and are looked at when it has ended, two with others."""
    for others, first_look_s in ((0, 6000), (8, 1000)):
        jobs = workload([(0, 6000, 4), (1000, 600, 4), (1000, 300, 2), *[(1000, 60, 1)] * others])
        scheduler = Aims(Aims.Options(policy="rule"))
        sim = Simulation(jobs, scheduler, nodes=4, twins={"performance": Walltime()})
        seen_s, learn = [], scheduler._beliefs._learn

        def noted(jobs, view, seen_s=seen_s, learn=learn):
            seen_s.append(view.now)
            learn(jobs, view)

        scheduler._beliefs._learn = noted
        sim.run()
        assert seen_s == [0, first_look_s]
        in_turn_s = scheduler._beliefs._table[:3, COLUMNS.index("in_turn_s")]
        assert in_turn_s.tolist() == [0.0, 5000.0, 5600.0]


def test_where_nothing_can_start_nobody_is_asked_to_choose_and_twins_are_asked_about_several_jobs():
    """A job has the whole machine for an hour, and twenty come meanwhile, a minute after each other."""
    asked, chosen_s = [], []

    class Asked(Walltime):
        def performance(self, jobs, context):
            asked.append(len(jobs))
            return super().performance(jobs, context)

    def by_the_rule(state, now):
        chosen_s.append(now)
        return by_rule(state)

    jobs = workload([(0, 3600, 4), *[(60 * k, 60, 4) for k in range(1, 21)]])
    scheduler = Aims(Aims.Options(policy="rule"))
    scheduler.chooser = by_the_rule
    sim = Simulation(jobs, scheduler, nodes=4, twins={"performance": Asked()})
    sim.run()
    assert sim.attempts.start.tolist() == [0, *range(3600, 3600 + 20 * 60, 60)]
    assert not [second for second in chosen_s if 0 < second < 3600]
    assert asked == [1, 8, 8, 4]


def test_a_fork_goes_on_as_the_simulation_does(weights):
    one = begin("cooley", {"days": 0.1, "seed": 3, "scheduler": {"name": "aims", "weights": str(weights)}})
    one.run(3600)
    other = one.fork()
    one.run()
    other.run()
    assert one.attempts.start.tolist() == other.attempts.start.tolist()


def test_weights_that_are_not_sound_are_refused_before_the_run(weights, tmp_path):
    with pytest.raises(InputError, match="no weights named 'nothing'"):
        Aims(Aims.Options(weights="nothing"))
    mine = tmp_path / "mine.json"
    mine.write_bytes(weights.read_bytes())
    mine.with_suffix(".safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(InputError, match="damaged"):
        Aims(Aims.Options(weights=str(mine)))


def test_twins_that_a_scenario_names_or_leaves_out_are_what_it_has(weights):
    said = {
        "scheduler": {"name": "aims", "weights": str(weights)},
        "twins": {"performance": "last-two", "energy": None},
    }
    run = simulate("cooley", DAY | said)
    assert run.manifest["twins"] == {"performance": "last-two", "fault": "fault-lstm", "thermal": "thermal-rc"}


def test_a_copy_learns_for_itself():
    for policy in ("network", "rule", "random"):
        one = Aims(Aims.Options(policy=policy))
        other = copy.deepcopy(one)
        assert other.objectives is not one.objectives
        assert getattr(other.chooser, "__self__", other) is other


def test_weights_of_objectives_that_are_no_shares_are_refused():
    with pytest.raises(ValueError, match="Weights should add up to 1"):
        Aims.Options(objectives=(0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="less than or equal to 1"):
        Aims.Options(objectives=(1.5, -0.5, 0.0))
