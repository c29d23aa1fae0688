"""How AIMS learns: the same values in torch and numpy, what is remembered, and what choices are paid."""

import importlib
import multiprocessing
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from hpcsim.cli import cli
from hpcsim.errors import RunError
from hpcsim.replay import begin
from hpcsim.results.energy import J_PER_KWH, power_curve
from hpcsim.schedulers.aims import learning
from hpcsim.schedulers.aims.choosing import HELD, best, worth
from hpcsim.schedulers.aims.expert import by_rule
from hpcsim.schedulers.aims.learning import Learner, Recipe
from hpcsim.schedulers.aims.network import State, drawn, values
from hpcsim.schedulers.aims.replay import Outcome, Replay, Step
from hpcsim.schedulers.aims.shape import DEPARTURES, DISCOUNT_S, MODES, OF_ALL, OF_JOB, shapes
from hpcsim.training.ablations import ABLATIONS, settings, without
from hpcsim.training.course import Plan, _Course, train
from hpcsim.training.episodes import Order, _Recorder
from hpcsim.training.rewards import Chosen, Hazard, Paid, discounted, paid

DEFAULT = (0.35, 0.40, 0.25)


def state(rng, jobs):
    legal = rng.random((jobs, len(MODES))) < 0.5
    whole = np.append(rng.random(len(OF_ALL) - 3), DEFAULT).astype(np.float32)
    believed = -rng.random((jobs, len(MODES), 3), np.float32) / 100
    ahead, rests = -rng.random(3, np.float32), np.array([True, False, True])
    return State(rng.random((jobs, len(OF_JOB)), np.float32), whole, believed, ahead, legal, rests)


def tensors(seed=0, spread=20.0):
    found = drawn(np.random.default_rng(seed), shapes())
    return found | {name: found[name] * spread for name in ("advantage", "value.2")}


@pytest.mark.parametrize("dueling", [True, False])
def test_torch_says_of_a_batch_what_numpy_says_of_each_state(dueling):
    rng = np.random.default_rng(1)
    states, mine = [state(rng, jobs) for jobs in (0, 1, 7, 64)], tensors()
    batch = learning.flat(states, kappa=1.0)
    found = learning.values({k: torch.from_numpy(v) for k, v in mine.items()}, batch, dueling=dueling).q_AHO
    alone = [values(mine, each, dueling=dueling)[each.legal_A] for each in states]
    assert found.numpy() == pytest.approx(np.concatenate(alone), abs=1e-4)
    weighed = [worth(values(mine, s, dueling=dueling), s, np.array(DEFAULT), 1.0).mean_A for s in states]
    picked = learning.best_of_each(learning.weighed(found, batch), batch).numpy() - batch.first_B
    assert picked.tolist() == [int(np.argmax(w[s.legal_A])) for w, s in zip(weighed, states, strict=True)]


def step(rng, reward, *, discount=0.0, of_rule=False, jobs=3):
    seen = state(rng, jobs)
    action = int(rng.choice(np.flatnonzero(seen.legal_A)))
    outcome = Outcome(np.asarray(reward, np.float32), discount, state(rng, jobs))
    return Step(seen, action, outcome, outcome, of_rule)


def test_what_surprises_is_learned_from_in_proportion_and_importance_makes_up_for_it():
    rng = np.random.default_rng(0)
    replay = Replay(4, 0.6, np.random.default_rng(1))
    for _ in range(6):  # the first two are forgotten
        replay.add(step(rng, (0, 0, 0)))
    replay.surprised(np.arange(4), np.array([0.0, 1.0, 2.0, 4.0]))
    priority = (np.array([0.0, 1.0, 2.0, 4.0]) + 1e-3) ** 0.6
    places, weights = [], []
    for _ in range(300):
        _, place, weight, _ = replay.sample(32, beta=1.0)
        places += place.tolist()
        weights += list(zip(place.tolist(), weight.tolist(), strict=True))
    share = np.bincount(places, minlength=4) / len(places)
    assert share == pytest.approx(priority / priority.sum(), abs=0.02)
    told = dict(weights)
    assert told[1] / told[3] == pytest.approx(priority[3] / priority[1], rel=1e-5)


def test_a_learner_finds_the_worth_of_what_ends_at_once():
    """Rewards that hang on the state alone, without anything behind them: a regression."""
    rng = np.random.default_rng(2)
    replay = Replay(256, 0.6, np.random.default_rng(3))
    for _ in range(64):
        replay.add(step(rng, -rng.random(3)))
    learner = Learner(tensors(spread=1.0), Recipe(batch=32, rate=2e-3))
    losses = [learner.update([replay], 0.0, 0.0).loss for _ in range(100)]
    assert np.mean(losses[-10:]) < 0.2 * np.mean(losses[:10])
    learner.update([replay], 0.5, 0.0)
    assert [group["lr"] for group in learner.optimizer.param_groups] == [pytest.approx((2e-3 + 3e-5) / 2)]


def test_values_begin_where_what_was_seen_has_them():
    """An hour of everlasting cost r with discount g is worth r / (1 - g); what is believed of states is beside that."""
    rng = np.random.default_rng(8)
    steps = [step(rng, (-1.0, -2.0, 0.5), discount=0.9) for _ in range(300)]
    learner = Learner(tensors(9, spread=1e-6), Recipe())
    learner.begin_at(steps)
    for found in (learner.tensors, learner.target):
        q = learning.values(found, learning.flat([each.state for each in steps], 1.0), dueling=True)
        believed = torch.tensor(np.array([each.state.ahead_O for each in steps]).mean(0))
        value = q.of_state_AHO.mean((0, 1)) - believed
        drift = np.mean([0.9 * each.far.later.ahead_O - each.state.ahead_O for each in steps], 0)
        assert value.detach().numpy() == pytest.approx((np.array([-1.0, -2.0, 0.5]) + drift) / 0.1, rel=0.02)


def test_an_objective_without_weight_teaches_nothing_and_the_target_follows_slowly():
    def taught(reward):
        rng, replay = np.random.default_rng(2), Replay(64, 0.0, np.random.default_rng(3))
        for _ in range(32):
            made = step(rng, (reward, -1.0, -2.0))
            made.state.all_G[-3:] = 0.0, 0.6, 0.4
            replay.add(made)
        learner = Learner(tensors(spread=1.0), Recipe(batch=16))
        before = learner.arrays()
        learner.update([replay], 0.0, 0.0)
        return before, learner

    (before, one), (_, other) = taught(-1.0), taught(-50.0)
    assert all(np.array_equal(value, other.arrays()[name]) for name, value in one.arrays().items())
    assert not np.array_equal(before["value.2"], one.arrays()["value.2"])
    for name, now in one.arrays().items():
        assert one.target[name].numpy() == pytest.approx(before[name] + 0.01 * (now - before[name]), abs=1e-6)


def test_double_learning_lets_one_network_choose_and_the_other_judge():
    rng = np.random.default_rng(4)
    outcomes = [step(rng, (0, 0, 0), discount=1.0).near for _ in range(50)]
    later = learning.flat([each.later for each in outcomes], 1.0)
    both = {}
    for double in (True, False):
        learner = Learner(tensors(5), Recipe(double=double, anchor=False))
        learner.target = {name: torch.from_numpy(value) for name, value in tensors(6).items()}
        both[double] = learner._wanted(outcomes)
        judged = learning.values(learner.target, later, dueling=True).q_AHO
        judge = learning.values(learner.tensors if double else learner.target, later, dueling=True).q_AHO
        chosen = learning.best_of_each(learning.weighed(judge, later), later)
        assert torch.allclose(both[double], judged[chosen])
    by_weights = [(each.mean(1) @ torch.tensor(DEFAULT)).mean() for each in both.values()]
    assert by_weights[0] < by_weights[1]  # the maximum over its own errors is too good


def test_what_a_state_is_worth_is_by_the_action_that_a_run_would_take():
    """Of a hundred actions that are alike one always looks better; a run takes the rule's, unless sure of another."""
    rng = np.random.default_rng(14)
    outcomes = [step(rng, (0, 0, 0), discount=1.0, jobs=40).near for _ in range(20)]
    worth_of = {}
    for anchor, aversion in ((False, 0.0), (True, 1000.0), (True, 1.0)):
        learner = Learner(tensors(5), Recipe(anchor=anchor, aversion=aversion))
        worth_of[aversion] = learner._wanted(outcomes)
        if aversion:
            for each, found in zip(outcomes, worth_of[aversion], strict=True):
                q = values(tensors(5), each.later)
                told = worth(q, each.later, np.array(DEFAULT), 1.0, by_rule(each.later))
                assert found.numpy() == pytest.approx(q[best(told, aversion)], abs=1e-4)
    means = [float((each.mean(1) @ torch.tensor(DEFAULT)).mean()) for each in worth_of.values()]
    assert means[0] > means[2] >= means[1]


def test_no_state_is_worth_what_it_would_be_by_holding_nodes_back():
    batch = learning.flat([step(np.random.default_rng(3), (0, 0, 0)).state], 1.0)
    rests = batch.job_A < 0
    q = rests[:, None, None].float().expand(-1, *learning._OUT)  # to rest looks best
    starts, rest = (int(torch.nonzero(each)[0]) for each in (~rests, rests))
    assert learning.lead(q, batch, torch.tensor([starts]), 1.0)[rests].max() == -torch.inf
    assert learning.lead(q, batch, torch.tensor([rest]), 1.0)[rests].min() == 0.0


def test_the_rule_is_imitated_by_a_margin():
    rng = np.random.default_rng(7)
    replay = Replay(64, 0.0, np.random.default_rng(8))
    steps = [step(rng, (0, 0, 0), of_rule=True) for _ in range(40)]
    for each in steps:
        replay.add(each)
    learner = Learner(tensors(spread=1.0), Recipe(batch=40, rate=2e-3))
    for _ in range(80):
        told = learner.update([replay], 0.0, 5.0)
    found = learner.arrays()
    alike = [
        int(np.argmax(worth(values(found, each.state), each.state, np.array(DEFAULT), 1.0).mean_A)) == each.action
        for each in steps
    ]
    assert told.imitation < 0.02
    assert np.mean(alike) > 0.9


# -- what choices are paid ---------------------------------------------------------------------------


def test_rewards_add_up_to_what_the_run_came_to():
    sim = begin("cooley", {"days": 0.3, "seed": 3, "load": 1.2, "physics.failure_rate": 50.0, "physics.queues": False})
    sim.run()
    chosen = [Chosen(second, -1, 1.0) for second in range(0, sim.now, 600)]
    found = paid(sim, chosen, sim.now, Hazard(sim)).total_O
    attempts, site = sim.attempts, sim.site
    job, start, end, taken = (attempts.column(name) for name in ("job", "start", "end", "taken"))
    runtime = np.array([sim.program_of(of)[0] for of in job])
    waited = taken - sim.submit_s[job]
    for row in range(len(job)):
        before = np.flatnonzero(job[:row] == job[row])
        if before.size:
            waited[row] = taken[row] - end[before[-1]]
    nodes = sim.workload.column("nodes")[job]
    assert -found[1] == pytest.approx((waited.astype(float) ** 2 * nodes).sum() / 2 / 3600, rel=1e-6)
    lost = 0.1 * site.throttled_node_s.sum() / 3600  # for nobody has looked at the hazard
    assert -found[2] == pytest.approx(lost)
    curve = power_curve(sim, site)
    all_kwh = curve.joules(curve.facility_w) / J_PER_KWH
    overhead = curve.joules(curve.facility_w) / curve.joules(curve.it_w)
    spec, ran = site.cluster.spec.power, np.maximum(end - start, 1)
    nodes = sim.workload.column("nodes")[job]
    counts = np.isin(attempts.column("state"), (0, 1, 2))
    dynamic = site.joules / (ran * nodes) - spec.idle_w
    usual = (nodes * runtime * (spec.idle_w + dynamic))[counts].sum() / J_PER_KWH
    assert -found[0] == pytest.approx(all_kwh - overhead * usual, rel=1e-6)


def test_who_starts_nothing_is_not_spared_the_waiting():
    """Until a second in which many wait: also those that have not started then, nor six hours later."""
    held = {"days": 0.5, "seed": 3, "load": 3.0, "physics.queues": False}
    sim = begin("cooley", held)
    until_s = sim.start + 6 * 3600
    sim.run(until_s + 3600)
    wait = len(sim.queue.jobs)
    assert wait > 5
    all_of_it = paid(sim, [Chosen(sim.start, -1, 1.0), Chosen(until_s, -1, 1.0)], until_s, Steady(1e-6, 1e-6))
    found, runs = all_of_it.total_O, np.array([sim.program_of(of)[0] for of in range(len(sim.workload))], float)
    nodes = sim.workload.column("nodes")
    at_stake = np.minimum(runs, np.inf if sim.site.checkpointing is None else sim.site.checkpointing.interval_s) / 2
    assert all_of_it.usual_loss_h == pytest.approx(np.sum(-np.expm1(-1e-6 * nodes * runs) * nodes * at_stake) / 3600)
    job, taken, end = (sim.attempts.column(name).tolist() for name in ("job", "taken", "end"))
    squares, last = 0.0, {}
    for of, begins, ends in [*zip(job, taken, end, strict=True), *((each.id, sim.now, -1) for each in sim.queue.jobs)]:
        since = last.get(of, int(sim.submit_s[of]))
        waited_s = max(min(begins, until_s) - since, 0)
        squares += waited_s**2 * int(nodes[of])
        last[of] = ends
    assert -found[1] == pytest.approx(squares / 2 / 3600, rel=1e-9)


class Steady:
    """A hazard of so much a second on every unit, for ever, and what it is in the mean of a longer time."""

    def __init__(self, rate, mean):
        self.rate, self.mean = rate, mean

    def of(self, units, second):
        return self.rate * len(units)


def test_a_start_is_paid_what_its_failures_cost_on_average_and_what_its_clock_saves():
    sim = begin("cooley", {"days": 0.1, "seed": 3, "physics.queues": False, "physics.failure_rate": 1e-6})
    sim.run()
    attempts, site = sim.attempts, sim.site
    job, taken = attempts.column("job").tolist(), attempts.column("taken").tolist()
    one = {k: Chosen(second, of, 0.6) for k, (second, of) in enumerate(zip(taken, job, strict=True))}
    order = sorted(one, key=lambda k: (one[k].now, k))
    nodes, runs = sim.workload.column("nodes")[job], np.array([sim.program_of(of)[0] for of in job], float)
    found = paid(sim, [one[k] for k in order], sim.now, Steady(1e-6, 4e-7))
    assert found.usual_loss_h == pytest.approx(np.sum(-np.expm1(-4e-7 * nodes * runs) * nodes * runs / 2 / 3600))
    found = found.at_once_NO[np.argsort(order)]
    ran = np.maximum(attempts.column("end") - attempts.column("start"), 1)
    rest = -0.1 * site.throttled_node_s / 3600
    mine, usual = (-np.expm1(-r * nodes * s) * nodes * s / 2 / 3600 for r, s in ((1e-6, ran), (4e-7, runs)))
    assert found[:, 2] == pytest.approx(rest - mine + usual)
    # They ran at the full clock. Who says that it was 0.6 is paid as if the full one took 1 / 0.36 of the watts.
    curve, spec = power_curve(sim, site), site.cluster.spec.power
    overhead = curve.joules(curve.facility_w) / curve.joules(curve.it_w)
    dynamic = np.maximum(site.joules / (ran * nodes) - spec.idle_w, 0) / 0.6**spec.speed_exponent
    beyond = site.joules - nodes * runs * (spec.idle_w + dynamic)
    assert found[:, 0] == pytest.approx(-beyond / J_PER_KWH * overhead)


def test_rewards_are_discounted_by_time_and_end_where_nothing_follows():
    time = np.array([0.0, 0.0, 3600.0, 3600.0, 10_800.0])
    rewards = Paid(np.arange(15.0).reshape(5, 3), np.zeros((5, 3)))
    later, total, discount = discounted(time, rewards, 0.0)
    assert later.tolist() == [2, 2, 4, 4, -1]
    assert discount[:4] == pytest.approx(np.exp(-np.array([3600, 3600, 7200, 7200]) / DISCOUNT_S))
    assert total[0] == pytest.approx(rewards.at_once_NO[:2].sum(0))
    later, total, _ = discounted(time, rewards, 7200.0)
    assert later.tolist() == [4, 4, 4, 4, -1]
    assert total[1] == pytest.approx(
        rewards.at_once_NO[1] + np.exp(-3600 / DISCOUNT_S) * rewards.at_once_NO[2:4].sum(0)
    )


# -- the course --------------------------------------------------------------------------------------

SMALL = Plan(
    ("cooley",), seed=2, days=0.06, shown=2, imitated=4, rounds=2, at_once=1, updates=3, check_every=1, checked=1,
    held=2, confirmed=2, ahead_s=600, overrides=(("physics.queues", False),), recipe=Recipe(batch=16),
)  # fmt: skip


@pytest.fixture(scope="module")
def whole():
    return train(SMALL, workers=1)


def test_a_training_that_was_stopped_goes_on_to_the_same_network(tmp_path, whole):
    assert whole.usual_O[1] == pytest.approx(0.1 * 126 * 3600)  # hardly anything waits: no less than this is usual
    kept = tmp_path / "kept.checkpoint"

    class Stopped(Exception):
        pass

    def stop(done):
        raise Stopped

    with pytest.raises(Stopped):
        train(SMALL, workers=1, checkpoint=kept, told=stop)
    resumed = train(SMALL, workers=1, checkpoint=kept, resume=True)
    assert [each[:4] for each in resumed.rounds] == [each[:4] for each in whole.rounds]
    assert all((resumed.tensors[name] == value).all() for name, value in whole.tensors.items())


def kill_workers():
    """Kill all; how many they were."""
    alive = multiprocessing.active_children()
    for worker in alive:
        worker.kill()
    return len(alive)


def test_a_worker_that_is_killed_is_replaced_and_changes_nothing(whole):
    killed = []
    again = train(SMALL, workers=1, told=lambda done: killed.append(kill_workers()))
    assert killed == [1] * SMALL.rounds
    assert all((again.tensors[name] == value).all() for name, value in whole.tensors.items())


def test_a_training_whose_workers_are_killed_again_and_again_says_what_to_do_next(tmp_path):
    kept, is_over = tmp_path / "kept.checkpoint", threading.Event()

    def kill_all():
        while not is_over.wait(0.05):
            kill_workers()

    killing = threading.Thread(target=kill_all, daemon=True)
    try:
        with pytest.raises(RunError, match=rf"killed by signal 9.*each of the 2 times.*--resume goes on from {kept}"):
            train(SMALL, workers=1, checkpoint=kept, told=lambda done: killing.start())
    finally:
        is_over.set()


@pytest.mark.parametrize(("signals", "code"), [((), 130), ((15,), 143)])
def test_ctrl_c_in_a_training_says_from_where_it_goes_on(tmp_path, monkeypatch, capsys, signals, code):
    def stopped(plan, *, checkpoint, **rest):
        checkpoint.touch()
        raise KeyboardInterrupt(*signals)

    monkeypatch.setattr("hpcsim.training.course.train", stopped)
    assert cli.main(["train", "aims", "cooley", "-o", str(tmp_path)], standalone_mode=False) == code
    assert f"--resume goes on from {tmp_path / 'cooley.checkpoint'}" in capsys.readouterr().err


def test_an_explorer_holds_nodes_back_by_chance_alone():
    rng, free, bound = np.random.default_rng(2), set(), set()
    for seed in range(20):
        seen, found = state(rng, 6), tensors(seed, spread=1.0)
        found["advantage"][:] = np.abs(found["advantage"])
        found["rest.mode"][:] += 100.0  # to rest looks best by far
        starts = by_rule(seen) < 6 * len(MODES)
        for anchor, held in ((True, bound), (False, free)):
            order = Order("cooley", {}, "explorer", seed, DEFAULT, (1.0, 1.0, 1.0), anchor=anchor)
            action, _ = _Recorder(order, found, None, None)._choose(seen)
            held.add((starts, action >= 6 * len(MODES)))
    assert bound == {(True, False)}
    assert free == {(True, True)}


@pytest.mark.parametrize(
    ("cheaper_by", "kept"),
    [
        ({"mode": 0.1, "rest": 0.2, "job": -0.1, "hold": 0.0}, {"mode", "rest"}),
        ({"mode": 0.1, "rest": 0.2, "job": 0.3, "hold": 0.4}, {"job", "mode", "hold", "rest"}),
        ({"mode": -0.1, "rest": -0.2, "job": -0.3, "hold": -0.4}, set()),
    ],
)
def test_a_network_may_depart_from_the_rule_in_what_made_episodes_cheaper(cheaper_by, kept):
    plan = SMALL._replace(held=4, confirmed=4)

    def ratios(tensors, aversion_D, first, of_rule):
        gain = sum(cheaper_by[kind] for kind, each in zip(DEPARTURES, aversion_D, strict=True) if each < HELD)
        return np.full((4, 3), -gain) + np.array([[-0.01], [0.01], [0.0], [0.0]])

    with ThreadPoolExecutor(1) as pool:
        course = _Course(plan, pool)
        course.best = 0.8, (0.8,) * 3, {}
        course._play = lambda orders, tensors, keep: []
        course._ratios = ratios
        course.hold()
    held_to = {kind for kind, each in zip(DEPARTURES, course.aversion_D, strict=True) if each == HELD}
    assert held_to == set(DEPARTURES) - kept
    assert course.best[0] == pytest.approx(np.exp(-sum(cheaper_by[kind] for kind in kept)))


@pytest.mark.parametrize(
    ("at_first", "on_others", "kept"),
    [
        ([-0.5, 0.4, -0.3, 0.2], [-0.3, -0.3, -0.3, -0.3], False),  # not by one standard error: nothing is to confirm
        ([-0.5, -0.1, -0.3, -0.2], [-0.5, 0.4, -0.3, 0.2], False),
        ([-0.5, -0.1, -0.3, -0.2], [-0.2, -0.3, -0.2, -0.3], True),
    ],
)
def test_only_what_other_episodes_confirm_is_kept(at_first, on_others, kept):
    with ThreadPoolExecutor(1) as pool:
        course = _Course(SMALL._replace(held=4, confirmed=4), pool)
        course._play = lambda orders, tensors, keep: []
        course._ratios = lambda tensors, aversion_D, first, of_rule: np.outer(
            at_first if first % 1000 == 0 else on_others, np.ones(3)
        )
        course.hold()
    assert (set(course.aversion_D) != {HELD}) == kept
    assert course.best[0] == pytest.approx(np.exp(np.mean(on_others)) if kept else 1.0)


def test_what_is_learned_beyond_beliefs_is_held_small():
    """Rewards that say nothing of actions teach less the more is doubted."""
    rng = np.random.default_rng(9)
    replay = Replay(64, 0.0, np.random.default_rng(8))
    steps = [step(rng, -rng.random(3)) for _ in range(48)]
    for each in steps:
        replay.add(each)
    batch = learning.flat([each.state for each in steps], 1.0)
    learned = {}
    for doubt in (0.0, 5.0):
        learner = Learner(tensors(spread=1.0), Recipe(batch=48, rate=2e-3, doubt=doubt))
        for _ in range(60):
            learner.update([replay], 0.0, 0.0)
        learned[doubt] = float(
            learning.values(learner.tensors, batch, dueling=True).learned_AHO.square().mean().detach()
        )
    assert learned[5.0] < 0.2 * learned[0.0]


def test_every_ablation_is_another_plan_and_the_scenario_of_a_run_goes_with_it():
    assert all(without(SMALL, name) != SMALL for name in ABLATIONS)
    assert settings("twins")["twins.performance"] == "walltime"
    assert settings("energy-and-reliability")["scheduler.objectives"] == [0.0, 1.0, 0.0]
    assert settings("double") == {}


def test_an_option_as_it_is_anyhow_is_worth_nothing_and_another_one_something(monkeypatch, capsys):
    """The same months are played with it and without, so that only the option makes a difference."""
    options = importlib.import_module("benchmarks.aims_options")
    asked = ["aims_options", "cooley", "runtime_power=0.5", "sleep=false", "--episodes", "2", "--days", "0.4"]
    monkeypatch.setattr("sys.argv", asked)
    options.main()
    _, _, alike, awake = capsys.readouterr().out.splitlines()
    assert alike.count("+0.000 ± 0.000") == 4
    weighed, energy, *_ = re.findall(r"([+-][0-9.]+) ±", awake)
    assert float(energy) > 0.01  # nodes that idle draw more than those that sleep
    assert float(weighed) != 0.0
