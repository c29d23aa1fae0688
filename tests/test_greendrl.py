"""GreenDRL, rebuilt: who may wait and until when, what a load target lets go, its slots as an environment, a plan."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import hpcsim
from hpcsim.cli import _exit_code, cli
from hpcsim.plugin import SetCooling
from hpcsim.replay import begin
from hpcsim.results.energy import J_PER_KWH, power_curve
from hpcsim.schedulers.greendrl import network, trained
from hpcsim.schedulers.greendrl.deferring import Deferring
from hpcsim.schedulers.greendrl.observing import FEATURES
from hpcsim.training.green_days import CALM, Year
from hpcsim.training.green_oracle import _cheapest, _earliest, greedy_plan
from hpcsim.training.green_rule import by_rule
from hpcsim.workload.job import Job

HOUR_S, SLOT_S = 3600, 900
HOLD, COLDEST, NORMAL, WARMEST = 0, 0, 1, 2
FULL = network.LEVELS - 1


@pytest.fixture(scope="module")
def year():
    return Year("cooley", 5, 1.5, CALM | {"days": 40})


def simulation(tmp_path, jobs, choose=(HOLD, NORMAL), **settings):
    """Cooley with jobs given as (submit, runtime, nodes, walltime), all deferrable, under one choice for all slots."""
    file = tmp_path / "jobs.swf"
    lines = ["; UnixStartTime: 1704088800", "; MaxNodes: 126", "; MaxProcs: 126"]
    for number, (submit, runtime, nodes, walltime) in enumerate(jobs, 1):
        lines.append(f"{number} {submit} 0 {runtime} {nodes} -1 -1 {nodes} {walltime} -1 1 1 1 1 1 1 -1 -1")
    file.write_text("\n".join(lines) + "\n")
    scenario = {"base": "cooley", "name": "green", "trace": str(file), "profile": None, "days": None}
    overrides = CALM | {"scheduler.name": "greendrl", "scheduler.deferrable": 1.0} | settings
    made = begin(scenario, overrides)
    made.scheduler.choose = lambda numbers_F: choose
    return made


def starts(made):
    attempts = made.attempts
    return dict(zip(attempts.column("job").tolist(), attempts.column("start").tolist(), strict=True))


# -- who may wait ---------------------------------------------------------------------------------


def job(number, submit=0, walltime=HOUR_S):
    return Job(number, f"{number}.cooley", submit, 1, walltime, "user", "project", "queue")


def test_the_drawn_share_of_jobs_may_wait_and_by_no_more_than_kappa_walltimes():
    waits = np.array([Deferring(0.3, 12 * HOUR_S, None, 1).latest_s(job(k)) for k in range(4000)])
    assert set(waits.tolist()) == {0, 12 * HOUR_S}
    assert abs((waits > 0).mean() - 0.3) < 4 * np.sqrt(0.21 / 4000)
    short = Deferring(1.0, 12 * HOUR_S, 3.0, 1)
    assert short.latest_s(job(1, submit=50)) == 50 + 3 * HOUR_S
    assert short.latest_s(job(2, walltime=24 * HOUR_S)) == 12 * HOUR_S
    assert Deferring(1.0, 0, None, 1).latest_s(job(3, submit=7)) == 7


def test_another_seed_draws_other_jobs():
    one, other = ([Deferring(0.5, HOUR_S, None, seed).latest_s(job(k)) > 0 for k in range(200)] for seed in (1, 2))
    assert 60 < np.sum(np.array(one) != other) < 140


def test_a_span_without_jobs_begins_with_the_next_one(year):
    whole = year.begin(0, 5.0, 1.0, {"scheduler.name": "easy", "window": None, "load": None})
    submit_s = whole.workload.column("submit_s")
    widest = int(np.diff(submit_s).argmax())
    quiet_s, next_s = int(submit_s[widest]) + 1, int(submit_s[widest + 1])
    assert year.with_jobs(quiet_s, 1e-5, 0.5) == next_s
    assert year.with_jobs(quiet_s, 20.0, 0.5) == quiet_s


# -- a slot ---------------------------------------------------------------------------------------


def test_what_is_held_back_starts_by_its_latest_start_and_no_node_wakes_for_it_before(tmp_path):
    made = simulation(tmp_path, [(100, 600, 8, 900), (200, 600, 4, 900)], **{"scheduler.slack": 4 * HOUR_S})
    made.run(3 * HOUR_S)
    assert not made.running
    assert made.site.cluster.meter.nodes_in["asleep"] == 126
    made.run()
    wake_s = made.site.cluster.spec.power.wake_s
    for number, submit in enumerate((100, 200)):
        latest_s = submit + 4 * HOUR_S
        assert latest_s - SLOT_S <= starts(made)[number] - wake_s <= latest_s


@pytest.mark.parametrize(("level", "started"), [(0, 0), (2, 2), (4, 4), (FULL, 8)])
def test_a_load_level_lets_go_that_part_of_the_nodes_that_could_start(tmp_path, level, started):
    made = simulation(tmp_path, [(0, 5000, 1, 6000)] * 8, (level, NORMAL))
    made.run(SLOT_S - 1)
    assert len(made.running) == started


def test_the_most_urgent_go_first(tmp_path):
    made = simulation(
        tmp_path, [(0, 5000, 1, 8000), (0, 5000, 1, 2000), (0, 5000, 1, 4000)], (3, NORMAL), **{"scheduler.kappa": 2.0}
    )
    made.run(SLOT_S - 1)
    assert set(made.running) == {1, 2}  # 3/8 of three nodes take two jobs


def test_a_job_that_needs_the_whole_machine_is_let_go_in_time_to_drain_it(tmp_path):
    jobs = [(0, 3 * HOUR_S, 100, 3 * HOUR_S), (10, 600, 126, 900)]
    made = simulation(tmp_path, jobs, (4, NORMAL), **{"scheduler.slack": 2 * HOUR_S})
    made.run()
    assert starts(made)[1] <= 4 * HOUR_S


def test_too_warm_a_machine_is_cooled_whatever_is_chosen(tmp_path):
    made = simulation(tmp_path, [(0, 100, 1, 200), (5, 100, 1, 200)], (FULL, WARMEST), **{"physics.heat": True})
    scheduler = made.scheduler
    view = made.advance()
    scheduler.margin_k = lambda view: 30.0
    assert [each.mode for each in scheduler.schedule(view) if isinstance(each, SetCooling)] == ["warm"]
    scheduler.margin_k = lambda view: 1.0
    assert [each.mode for each in scheduler.schedule(view) if isinstance(each, SetCooling)] == ["cold"]


@pytest.mark.parametrize("choose", [(HOLD, NORMAL), (FULL, NORMAL)])
def test_without_slack_it_is_easy_with_sleeping_nodes_to_the_second(year, choose):
    ours = year.begin(0, 1.0, 0.7, {"scheduler.name": "greendrl", "scheduler.slack": 0})
    ours.scheduler.choose = lambda numbers_F: choose
    easy = year.begin(0, 1.0, 0.7, {"scheduler.name": "easy", "levers.sleep_idle": "auto"})
    ours.run()
    easy.run()
    assert starts(ours) == starts(easy)


def test_features_are_as_many_as_named_and_a_missing_signal_is_told(year):
    made = year.begin(0, 0.2, 0.5, {"scheduler.name": "greendrl"})
    seen = []
    made.scheduler.choose = lambda numbers_F: (seen.append(numbers_F), (FULL, NORMAL))[1]
    made.run()
    assert {each.shape for each in seen} == {(len(FEATURES),)}
    assert np.isfinite(seen).all()
    assert not np.array_equal(seen[0], seen[-1])


# -- the network ----------------------------------------------------------------------------------


def test_the_network_in_numpy_chooses_what_the_one_in_torch_does():
    pytest.importorskip("stable_baselines3", reason="GreenDRL is trained with stable-baselines3")
    from hpcsim.training.green_slots import GreenSlots
    from hpcsim.training.greendrl import Plan, exported, learner_of

    learner = learner_of(Plan(rollout=8, batch=8), [GreenSlots([])])
    tensors = exported(learner)
    for numbers_F in np.random.default_rng(1).uniform(-2, 2, (50, len(FEATURES))).astype(np.float32):
        wanted, _ = learner.predict(numbers_F, deterministic=True)
        assert network.choose(tensors, numbers_F) == tuple(wanted)


def test_the_weights_that_ship_take_less_from_the_grid_than_no_slack_does():
    year = Year("cooley", 3100, 1.5)
    grid_kwh = {}
    for slack in (0, 12 * HOUR_S):
        made = year.begin(120 * 86_400, 1.0, 0.5, {"scheduler.name": "greendrl", "scheduler.slack": slack})
        made.run()
        curve = power_curve(made, made.site)
        grid_kwh[slack] = curve.joules(curve.grid_w) / J_PER_KWH
    assert grid_kwh[12 * HOUR_S] < 0.97 * grid_kwh[0]
    assert {value.dtype for value in trained.read("general").values()} == {np.dtype(np.float32)}


# -- slots as an environment, and how it is paid --------------------------------------------------


def test_an_episode_adds_up_to_the_energy_of_the_run_and_easy_is_worth_about_nothing(year):
    pytest.importorskip("gymnasium", reason="an environment of Gymnasium")
    from hpcsim.training.green_slots import EASY, GreenSlots, Span, brown_j

    span = Span(year, 10 * 86_400, 0.5, 0.5, "solar")
    easy = span.begin(EASY)
    easy.run()
    curve = power_curve(easy, easy.site)
    edges_s = np.arange(easy.start // SLOT_S, easy.now // SLOT_S + 2) * SLOT_S
    assert brown_j(easy, "solar", edges_s).sum() == pytest.approx(curve.joules(curve.grid_w), rel=1e-9)

    total = {}
    usual = curve.joules(curve.grid_w) / (1000.0 * year.peak_kw * SLOT_S)
    for choose in ((FULL, NORMAL), (FULL, WARMEST)):
        playing = GreenSlots([span])
        playing.reset(seed=1)
        rewards, is_over = [], False
        while not is_over:
            _, reward, is_over, is_cut, _ = playing.step(np.array(choose))
            assert not is_cut
            rewards.append(reward)
        total[choose] = sum(rewards)
    assert abs(total[FULL, NORMAL]) < 0.03 * usual
    assert total[FULL, WARMEST] > total[FULL, NORMAL] + 0.03 * usual


def test_the_same_plan_trains_the_same_network():
    pytest.importorskip("stable_baselines3", reason="GreenDRL is trained with stable-baselines3")
    from hpcsim.training.greendrl import Plan, train

    plan = Plan(machines=("theta",), signals=("solar",), days=0.25, spans=1, watched=1, shown=1, imitated=20, steps=16,
                watch_every=1, rollout=16, batch=16, epochs=2)  # fmt: skip
    one, other = train(plan), train(plan)
    assert one.seen == other.seen
    assert [each.steps for each in one.seen] == [0, 16]
    assert all(np.array_equal(one.tensors[name], other.tensors[name]) for name in network.shapes())


def test_the_command_trains_by_the_plan_and_says_how_it_was_called(tmp_path, monkeypatch):
    pytest.importorskip("stable_baselines3", reason="GreenDRL is trained with stable-baselines3")
    from hpcsim.training import greendrl as training

    asked = []

    def noted(directory, name, plan, command, told):
        asked.append((plan, command))
        told(training.Seen(5, 1.25))
        return directory / f"{name}.json"

    monkeypatch.setattr(training, "train_into", noted)
    shipped = training.Plan().machines
    done = CliRunner().invoke(cli, ["train", "greendrl", *shipped, "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert f"{tmp_path / 'mira.json'}" in done.output
    assert "5 of 24,000 slots: reward +1.250 on days not learned from" in done.output
    assert asked[0][0] == training.Plan()  # which the weights that ship were trained by
    changes = "--seed 3 --load 0.5 --load 0.7 --signal price --sun 2 --rate 0.001 --steps 2000 --days 1"
    changes += " --set scheduler.kappa=4 --set physics.heat=true"
    CliRunner().invoke(cli, ["train", "greendrl", "theta", "cooley", "-o", str(tmp_path), *changes.split()])
    plan, command = asked[1]
    assert plan.machines == ("theta", "cooley") * 4
    assert (plan.seed, plan.loads, plan.signals, plan.sun, plan.days) == (3, (0.5, 0.7), ("price",), 2.0, 1.0)
    assert (plan.options, plan.overrides) == ((("kappa", 4),), (("physics.heat", True),))
    assert (plan.steps, plan.watch_every) == (2000, 1)  # it is watched before it is over
    CliRunner().invoke(cli, [*command.split()[1:], "-o", str(tmp_path)])
    assert asked[2] == asked[1]


def test_a_trained_network_is_written_with_its_plan_and_plays(tmp_path):
    pytest.importorskip("stable_baselines3", reason="GreenDRL is trained with stable-baselines3")
    from hpcsim.training.greendrl import Plan, train_into

    plan = Plan(machines=("theta",), signals=("solar",), days=0.25, spans=1, watched=1, shown=1, imitated=20, steps=0,
                rollout=16, batch=16, options=(("slack", 7200),), overrides=(("physics.heat", True),))  # fmt: skip
    path = train_into(tmp_path, "mine", plan, "as asked")
    told = json.loads(path.read_text())
    assert (told["command"], told["steps"]) == ("as asked", 0)
    assert told["plan"]["overrides"] == [["physics.heat", True]]
    run = hpcsim.simulate("theta", {"jobs": 5, "scheduler": {"name": "greendrl", "weights": str(path)}})
    assert run.summary["jobs"] == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], "no scenario named 'nosuch'"),
        (["bare"], "scenario bare: found no jobs, expected a profile"),
        (["cooley", "--set", "trace=x.swf"], "scenario cooley: found a trace, expected a profile"),
        (["cooley", "--set", "physics=null"], "physics"),
        (["cooley", "--set", "scheduler.slak=1"], "greendrl has no such option. Did you mean 'slack'?"),
        (["cooley", "--set", "scheduler.name=easy"], "a training of greendrl decides this by itself"),
        (["cooley", "--set", "window.start=5"], "a training of greendrl decides this by itself"),
        (["cooley", "--set", "slack"], "--set slack: expected key=value"),
        (["cooley", "--name", "a/b"], "--name: should be the name of a file"),
        (["cooley", "--name", "there"], "there.json: exists; remove it"),
        (["cooley", "--signal", "wind"], "'wind' is not one of 'solar', 'carbon', 'price'"),
        (["cooley", "--load", "0"], "0.0 is not in the range 0<x<=10"),
        ([], "Missing argument 'SCENARIO...'"),
    ],
)
def test_a_training_is_refused_before_it_begins(tmp_path, arguments, said, capsys):
    pytest.importorskip("stable_baselines3", reason="GreenDRL is trained with stable-baselines3")
    (tmp_path / "there.json").write_text("{}")
    assert _exit_code(["train", "greendrl", *arguments, "-o", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


def test_the_rule_runs_what_the_sun_carries_and_lets_go_when_too_much_is_held():
    place = {name: number for number, name in enumerate(FEATURES)}
    numbers_F = np.zeros(len(FEATURES), np.float32)
    numbers_F[[place["sun"], place["startable"]]] = 1.0  # as many nodes could start as the machine has
    assert by_rule(numbers_F) == (0, WARMEST)
    numbers_F[place["surplus"]] = 0.5
    assert by_rule(numbers_F) == (FULL // 2, WARMEST)
    numbers_F[place["surplus"]], numbers_F[place["held work, slack 3"]] = 0.0, 1.9
    assert by_rule(numbers_F) == (FULL, WARMEST)


# -- the plan that knows all ----------------------------------------------------------------------


def test_the_cheapest_place_is_that_of_all_places():
    rng = np.random.default_rng(3)
    for _ in range(200):
        free, drawn_w, sun_w = rng.integers(0, 6, 40), rng.uniform(0, 100, 40), rng.uniform(0, 150, 40)
        nodes, length, first = int(rng.integers(1, 4)), int(rng.integers(1, 6)), int(rng.integers(0, 20))
        last = first + int(rng.integers(0, 12))
        cost = {}
        for at in range(first, last + 1):
            span = slice(at, at + length)
            if (free[span] >= nodes).all():
                without, with_it = (np.maximum(drawn_w[span] + w - sun_w[span], 0).sum() for w in (0.0, 30.0))
                cost[at] = with_it - without
        found = _cheapest(free, drawn_w, sun_w, nodes, 30.0, length, first, last)
        assert (found is None) == (not cost)
        if found is not None:
            assert cost[found] == pytest.approx(min(cost.values()))
        fits = [at for at in range(first, 41 - length) if (free[at : at + length] >= nodes).all()]
        if fits:
            assert _earliest(free, nodes, length, first) == fits[0]


def test_a_plan_keeps_every_slack_where_there_is_room(year):
    easy = year.begin(20 * 86_400, 0.5, 0.3, {"scheduler.name": "easy"})
    easy.run()
    deferring = Deferring(0.5, 6 * HOUR_S, None, 1)
    plan = greedy_plan(easy, deferring)
    for each in easy.workload.jobs():
        assert each.submit <= plan[each.id]
        if deferring.latest_s(each) > each.submit:
            assert plan[each.id] <= deferring.latest_s(each)
