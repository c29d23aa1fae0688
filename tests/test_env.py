"""The Gymnasium environment: the engine's schedules, valid actions, honest observations, a learner that learns."""

import csv
import gzip
import inspect
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils import seeding
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import blocks

import hpcsim
import hpcsim.env
from hpcsim.env.observation import FEATURES, FITS, NODES, POSSIBLE_IN, USED_BY_USER, WAITED, WALLTIME, scaled
from hpcsim.errors import InputError
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.schedulers.backfilling import EASY
from hpcsim.schedulers.orders import KEYS
from hpcsim.workload.job import workload_from_columns
from hpcsim.workload.trace import read_trace, write_trace

DOCS = (Path(__file__).parents[1] / "docs" / "environment.md").read_text()
FIRST, ANY_TRACE, LEARNER = blocks("docs/environment.md", "python")


def made(scenario=None, overrides=(), **options):
    """The bare environment."""
    where = {} if scenario is None else {"scenario": scenario}
    return gymnasium.make("hpcsim/Cluster-v0", **where, overrides=overrides, **options).unwrapped


@pytest.fixture
def traced(tmp_path):
    """Makes an environment of jobs given as (submit, runtime, nodes[, walltime[, user]])."""

    def make(*jobs, nodes=10, **options):
        submit, runtime, size, walltime, user = zip(
            *[(*job, *(job[1], "1")[len(job) - 3 :])[:5] for job in jobs], strict=True
        )
        names = [str(i + 1) for i in range(len(jobs))]
        workload = workload_from_columns(
            t0_utc=0, source="test", name=names, submit_s=submit, nodes=size, walltime_s=walltime, runtime_s=runtime,
            user=user, machine_nodes=nodes,
        )  # fmt: skip
        write_trace(workload, tmp_path / "jobs.swf")
        return made("bare", {"trace": str(tmp_path / "jobs.swf")}, **({"jobs": len(jobs)} | options))

    return make


def episode(env, choose=lambda env, info: 0, **reset):
    """One episode; the rewards and the last info."""
    _, info = env.reset(**reset)
    rewards, over = [], False
    while not over:
        _, reward, over, truncated, info = env.step(choose(env, info))
        assert not truncated
        rewards.append(reward)
    return rewards, info


def at_random(seed):
    rng = np.random.default_rng(seed)
    return lambda env, info: rng.choice(np.flatnonzero(info["action_mask"]))


def by(order):
    """Chooses as a scheduler with that order of the queue does."""

    def choose(env, info):
        assert len(env.shown) == info["waiting"]
        now = env.simulation.now
        return min(range(len(env.shown)), key=lambda row: (KEYS[order](env.shown[row], now), row))

    return choose


def starts(env):
    table = attempts_table(env.simulation)
    return dict(zip(table.column("job_id").to_pylist(), table.column("start_s").to_pylist(), strict=True))


# -- the same schedules ---------------------------------------------------------------------------


@pytest.mark.parametrize("unfitting", ["reserve", "head"])
@pytest.mark.parametrize(("policy", "backfill"), [("fcfs", None), ("easy", "fcfs")])
@pytest.mark.parametrize("trace", ["lublin256", "sdsc5k", "syn-ties"])
def test_to_choose_the_first_job_is_fcfs_and_with_backfilling_easy(data, trace, policy, backfill, unfitting):
    file = data / "oracles" / f"{trace}.swf.gz"
    env = made("bare", {"trace": str(file)}, jobs=len(read_trace(file)), window=3, unfitting=unfitting,
               backfill=backfill)  # fmt: skip
    episode(env)
    with gzip.open(data / "oracles" / f"{trace}-{policy}.starts.csv.gz", "rt") as known:
        assert starts(env) == {row["job"]: int(row["start"]) for row in csv.DictReader(known)}


@pytest.mark.parametrize("order", ["sjf", "wfp3", "laf"])
def test_to_choose_by_an_order_with_backfilling_is_easy_in_that_order(order):
    jobs = {"profile": "polaris-nodebug", "jobs": 1500, "machine.nodes": 300}
    env = made(None, jobs, jobs=1500, window=1500, unfitting="head", backfill=order)
    episode(env, by(order))
    run = hpcsim.simulate("bare", jobs | {"scheduler": {"name": "easy", "order": order}})
    assert attempts_table(env.simulation).drop(["why"]) == run.tables["attempts"].drop(["why"])


@pytest.mark.parametrize(
    ("scenario", "overrides"),
    [
        ("polaris", {"physics.queues": False}),
        ("mira", {}),
        ("mira", {"physics.placement": "torus", "physics.queues": False}),
        ("cooley", {}),
    ],
)
def test_the_same_holds_on_machines_with_places_power_and_failures(scenario, overrides):
    env = made(scenario, overrides | {"jobs": 600}, jobs=600, window=8, unfitting="head", backfill="fcfs")
    episode(env, seed=7)
    rng = seeding.np_random(7)[0]
    rng.integers(1)
    easy = env._episodes.begin(0, int(rng.integers(2**63)))
    easy.scheduler = EASY(EASY.Options())
    easy.run()
    assert attempts_table(env.simulation).drop(["why"]) == attempts_table(easy).drop(["why"])
    assert np.array_equal(env.simulation.site.cluster.meter.power_log, easy.site.cluster.meter.power_log)


def test_a_reserved_job_is_not_asked_about_again_but_the_head_is(traced):
    jobs = [(0, 100, 8), (1, 10, 5), (2, 10, 1), (3, 10, 1)]
    for unfitting, seconds in (("reserve", [0, 1, 100, 100]), ("head", [0, 1, 2, 2])):
        env = traced(*jobs, unfitting=unfitting)
        asked = []

        def last(env, info, asked=asked):
            asked.append(info["now_s"])
            return len(env.shown) - 1 if len(asked) > 1 else 0

        episode(env, last)
        assert asked[:4] == seconds


def test_a_job_that_does_not_fit_cannot_be_chosen_where_it_is_masked(traced):
    env = traced((0, 100, 8), (1, 10, 5), (1, 10, 1), (50, 1, 2), unfitting="mask")
    env.reset()
    _, *_, info = env.step(0)
    assert info["now_s"] == 1
    assert np.flatnonzero(info["action_mask"]).tolist() == [1, 128]
    _, *_, info = env.step(1)  # nothing fits before the last job comes
    assert info["now_s"] == 50
    assert [job.name for job in env.shown] == ["2", "4"]


# -- valid actions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "overrides"), [(None, {}), ("polaris", {}), ("mira", {"physics.placement": "torus",
    "physics.queues": False})]
)  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"unfitting": "head", "backfill": "sjf"}, {"unfitting": "mask"},
                                     {"backfill": "fcfs", "may_wait": False}])  # fmt: skip
def test_whatever_valid_actions_are_taken_every_job_ends(scenario, overrides, options):
    env = made(scenario, overrides | {"jobs": 400}, jobs=150, window=12, **options)
    for seed in range(2):
        rewards, info = episode(env, at_random(seed), seed=seed)
        assert env.simulation.is_over
        refused = len(env.simulation.rejected)
        assert sum(rewards) == pytest.approx(-info["mean_bounded_slowdown"] * (1 - refused / 150))


def test_waiting_is_ruled_out_where_nothing_would_ever_happen(traced):
    env = traced((0, 5, 4), (0, 5, 4))
    _, info = env.reset()
    assert np.flatnonzero(info["action_mask"]).tolist() == [0, 1]
    _, *_, info = env.step(0)
    assert np.flatnonzero(info["action_mask"]).tolist() == [0, 128]
    assert (env.action_masks() == info["action_mask"]).all()


def test_who_may_not_wait_has_to_choose(traced):
    _, info = traced((0, 5, 4), (9, 5, 4), may_wait=False).reset()
    assert np.flatnonzero(info["action_mask"]).tolist() == [0]


def test_an_action_that_is_masked_out_changes_nothing(traced):
    env = traced((0, 5, 4), (9, 5, 4))
    before, info = env.reset()
    after, reward, over, _, more = env.step(77)
    assert (before == after).all()
    assert (reward, over, more.pop("invalid_action")) == (0.0, False, True)
    np.testing.assert_equal(more, {key: info[key] for key in more})


def test_an_action_that_there_is_not_is_refused(traced):
    env = traced((0, 5, 4))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.reset()
    with pytest.raises(gymnasium.error.InvalidAction, match="found action 129, expected 0 to 128"):
        env.step(129)
    env.step(0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


# -- episodes -------------------------------------------------------------------------------------


def rollout(env, **reset):
    observation, info = env.reset(**reset)
    seen, choose, over = [observation], at_random(5), False
    while not over:
        observation, reward, over, _, info = env.step(choose(env, info))
        seen.append(np.append(observation, [reward, info["now_s"]]))
    return [each.tolist() for each in seen]


@pytest.mark.parametrize("scenario", [None, "cooley"])
def test_a_seed_repeats_an_episode_and_another_does_not(scenario):
    env, other = (made(scenario, {"jobs": 500}, jobs=60, window=16) for _ in range(2))
    first = rollout(env, seed=3)
    assert rollout(other, seed=3) == first == rollout(env, seed=3)
    assert rollout(env) != first  # the next of the same stream
    assert rollout(env, seed=4) != first


def test_an_episode_begins_with_the_job_that_was_asked_for():
    env = made(None, {"jobs": 500}, jobs=60)
    _, info = env.reset(options={"start": 440})
    assert info["start"] == 440
    assert env.shown[0].name == "441.polaris"
    with pytest.raises(InputError, match="start: found 441, expected a number below 441"):
        env.reset(options={"start": 441})
    with pytest.raises(InputError, match="options: found 'begin', expected one of 'start'"):
        env.reset(options={"begin": 1})


def test_the_scenarios_scheduler_warms_the_machine_up():
    jobs = {"jobs": 800, "machine.nodes": 300, "scheduler": {"name": "easy", "order": "sjf"}}
    env = made(None, jobs, jobs=300, warm_up=500, window=800)
    _, info = env.reset()
    easy = hpcsim.simulate("bare", jobs | {"profile": "polaris-nodebug", "until": info["now_s"]})
    assert {job.name for job in env.shown} == set(easy.jobs.query("state == 'waiting'").job_id) | {env.shown[-1].name}
    began = set(starts(env))
    while info["action_mask"].any() and env._view is not None:
        *_, info = env.step(0)
    table = jobs_table(env.simulation, np.ones(800, bool)).to_pandas()
    counted = table[~table.job_id.isin(began)]
    assert info["mean_bounded_slowdown"] == pytest.approx(counted.bounded_slowdown.mean())


def test_nothing_is_read_before_the_first_episode():
    env = made("bare", {"trace": "/nowhere/to/be/found.swf"})
    with pytest.raises(InputError, match=r"found\.swf: there is no such file"):
        env.reset()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "jobs: found 0, expected a whole number of at least 1"),
        ({"window": 2.5}, "window: found 2.5, expected a whole number of at least 1"),
        ({"unfitting": "drop"}, "unfitting: found 'drop', expected one of 'reserve', 'head', 'mask'"),
        ({"backfill": "none"}, "backfill: found 'none', expected one of None, 'fcfs'"),
        ({"backfill": "fcfs", "unfitting": "mask"}, "no job is waited for where unfitting is 'mask'"),
        ({"reward": "fame"}, "reward: found 'fame', expected one of bounded-slowdown, wait, utilisation, energy"),
        ({"reward": "energy", "dense": True}, "energy is known at the end of an episode only"),
        ({"reward": "energy"}, "this scenario only counts nodes; give it physics"),
        ({"jobs": 900}, "an episode of 900 jobs cannot be cut out of synthetic polaris-nodebug, seed 1: it has 500"),
        ({"overrides": {"jobs": 500, "until": 5}}, "until: an episode ends with its last job, leave it out"),
        ({"overrides": {"jobs": 500, "levers": {"speed": 0.9}}}, "levers: they are around a scheduler"),
    ],
)
def test_what_cannot_be_is_refused_with_what_would_be_right(options, message):
    with pytest.raises(InputError, match=message):
        made(**{"overrides": {"jobs": 500}} | options).reset()


# -- rewards --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(("reward", "unit"), [("bounded-slowdown", 1.0), ("wait", 3600.0)])
def test_rewards_of_jobs_sum_to_the_metric_of_the_tables(reward, unit, dense):
    env = made(None, {"jobs": 200, "machine.nodes": 300}, jobs=200, reward=reward, dense=dense)
    rewards, info = episode(env, at_random(1))
    table = jobs_table(env.simulation, np.ones(200, bool)).to_pandas()
    column = {"bounded-slowdown": "bounded_slowdown", "wait": "wait_s"}[reward]
    assert sum(rewards) == pytest.approx(-table[column].sum() / 200 / unit)  # one is larger than the machine
    assert info["mean_wait_s"] == pytest.approx(table.wait_s.mean())
    assert any(rewards[:-1]) is dense


def test_utilisation_is_that_of_the_timeline():
    env = made(None, {"jobs": 200}, jobs=200, reward="utilisation")
    rewards, info = episode(env, at_random(1))
    timeline = timeline_table(env.simulation).to_pandas()
    busy = np.dot(np.diff(timeline.time_s), timeline.busy_nodes[:-1]) / (560 * np.ptp(timeline.time_s))
    assert rewards[-1] == info["utilisation"] == pytest.approx(busy)
    assert not any(rewards[:-1])


def test_energy_is_that_of_the_run():
    options = {"jobs": 100, "physics.failures": False, "physics.outages": False, "physics.maintenance": False,
               "physics.variation": False, "physics.queues": False, "physics.heat": False}  # fmt: skip
    env = made("cooley", options, jobs=100, reward="energy", unfitting="head", backfill="fcfs")
    rewards, _ = episode(env)
    env.simulation.site.cluster.meter.settle(env.simulation.now)
    log_s, log_w = env.simulation.site.cluster.meter.power_log
    it_kwh = np.dot(np.diff(log_s, append=env.simulation.now), log_w) / 3.6e6
    assert 1.0 < -rewards[-1] * 100 / it_kwh < 1.6  # the facility draws what the machine does, and its cooling


# -- observations ---------------------------------------------------------------------------------


def test_each_feature_is_what_it_is_said_to_be(traced):
    env = traced((0, 60, 8, 120, "1"), (5, 30, 2, 60, "2"), (65, 10, 1, 600, "2"), (70, 10, 9, 60, "1"),
                 (70, 900, 10, 900, "3"), window=4)  # fmt: skip
    env.reset()
    env.step(0)
    env.step(0)  # runs from 5 to 35
    observation, *_, info = env.step(0)  # runs from 65 to 75, by its walltime to 665; the first ended at 60
    assert info["now_s"] == 70
    rows = observation.reshape(4, len(FEATURES))
    expected = np.zeros((4, 8))
    expected[:2, WAITED] = 0.0
    expected[:2, WALLTIME] = scaled(np.array([60, 900]))
    expected[:2, NODES] = np.log([10, 11]) / np.log(11)
    expected[:2, FITS] = 1, 0
    expected[:2, POSSIBLE_IN] = 0, scaled(np.array(665 - 70))
    expected[:2, USED_BY_USER] = 60 / 120, 0.5  # nothing is known of user 3
    expected[:2, 6] = 9 / 10
    expected[:2, 7] = 2 / 4
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
    observation, *_ = env.step(4)  # at 75 a job of user 2 has ended, after 10 of 600 s
    rows = observation.reshape(4, len(FEATURES))
    np.testing.assert_allclose(rows[:2, WAITED], scaled(np.array([5, 5])), rtol=1e-6)
    assert rows[1, FITS] == 1.0
    assert env._observer._used_U[env._observer._user_J[1]] == pytest.approx((30 / 60 + 10 / 600) / 2)


job_lists = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 40), st.integers(1, 10)), min_size=2, max_size=12)


def watched(file, jobs, runtimes, second, seed):
    """All that is seen up to ``second`` while jobs are chosen at random; when each of them began and ended."""
    workload = workload_from_columns(
        t0_utc=0, source="test", name=[str(i + 1) for i in range(len(jobs))], submit_s=[job[0] for job in jobs],
        nodes=[job[2] for job in jobs], walltime_s=[200] * len(jobs), runtime_s=runtimes, machine_nodes=10,
    )  # fmt: skip
    write_trace(workload, file)
    env = made("bare", {"trace": str(file)}, jobs=len(jobs), window=6, unfitting="head")
    observation, info = env.reset()
    seen, choose, over = [], at_random(seed), False
    while not over:
        if info["now_s"] <= second:
            seen.append((info["now_s"], observation.tolist(), info["action_mask"].tolist()))
        observation, _, over, _, info = env.step(choose(env, info))
    table = jobs_table(env.simulation, np.ones(len(jobs), bool))
    return seen, table.column("start_s").to_pylist(), table.column("end_s").to_pylist()


@settings(deadline=None, max_examples=40)
@given(job_lists, st.integers(0, 60), st.integers(0, 100))
def test_what_has_not_ended_yet_shows_in_nothing(tmp_path_factory, jobs, second, seed):
    file, jobs, rng = tmp_path_factory.mktemp("two") / "jobs.swf", sorted(jobs), np.random.default_rng(seed)
    seen, start, end = watched(file, jobs, [job[1] for job in jobs], second, seed)
    others = [
        job[1] if end[i] <= second else int(rng.integers(max(1, second + 1 - start[i]), second + 60))
        for i, job in enumerate(jobs)
    ]
    assert watched(file, jobs, others, second, seed)[0] == seen


def test_the_queue_is_rendered_as_text(traced):
    env = traced((0, 5, 4, 60), (0, 5, 8, 60), render_mode="ansi")
    assert env.render() is None
    env.reset()
    env.step(0)
    assert env.render() == (
        "t=0 s: 6 of 10 nodes are free, 1 jobs run, 1 wait\n"
        "              job   nodes walltime s   waited s\n"
        "   0            2       8         60          0\n"
    )


# -- libraries ------------------------------------------------------------------------------------


def test_it_passes_the_checkers_of_gymnasium_and_of_stable_baselines():
    from stable_baselines3.common.env_checker import check_env as check_for_stable_baselines

    check_env(made(None, {"jobs": 400}))
    check_for_stable_baselines(made(None, {"jobs": 400}))


def test_vectors_of_environments_begin_anew_by_themselves():
    envs = gymnasium.make_vec("hpcsim/Cluster-v0", 3, overrides={"jobs": 100}, jobs=5, window=8)
    envs.reset(seed=1)
    ended = np.zeros(3, int)
    for _ in range(40):
        masks = envs.call("action_masks")
        *_, over, truncated, _ = envs.step(np.array([np.flatnonzero(mask)[0] for mask in masks]))
        assert not truncated.any()
        ended += over
    assert ended.min() >= 3


def waits(pick, env, starts):
    """The mean wait over some episodes, hours."""
    found = []
    for start in starts:
        observation, info = env.reset(options={"start": start})
        over = False
        while not over:
            observation, *_, info = env.step(pick(observation, info["action_mask"]))
            over = "mean_wait_s" in info
        found.append(info["mean_wait_s"] / 3600)
    return np.mean(found)


def by_model(model):
    return lambda observation, mask: int(model.predict(observation, action_masks=mask, deterministic=True)[0])


def test_the_docs_name_every_feature_option_and_reward():
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in DOCS.splitlines() if line.startswith("| ")]
    assert [row[1] for row in rows if row[0].isdigit()] == list(FEATURES)
    minute, hour, day, month = scaled(np.array([60, 3600, 86_400, 30 * 86_400])).round(2)
    assert f"a minute is {minute}, an hour {hour}, a day {day}" in DOCS
    assert month == 1.0
    options = set(inspect.signature(hpcsim.env.ClusterEnv).parameters)
    assert options <= {word for row in rows for word in re.findall(r"\w+", row[0])}
    assert {row[0] for row in rows} >= {"bounded-slowdown", "wait", "utilisation", "energy", "reserve", "head", "mask"}


def test_without_gymnasium_it_says_what_to_install():
    code = "import sys; sys.modules['gymnasium'] = None; import hpcsim.env"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    how = "pip install '.[rl]' in the folder of hpcsim's sources brings it"
    said = result.stderr.splitlines()[-1]
    assert said.endswith(f"hpcsim.env needs Gymnasium, which is not installed: {how}")


def test_the_snippets_of_the_docs_run_and_their_learner_waits_less_than_the_order_of_submission(capsys):
    import torch

    torch.set_num_threads(1)
    exec(ANY_TRACE, {})  # nothing is read before the first reset, so the trace need not be there
    exec(FIRST, {})
    assert re.fullmatch(r"mean bounded slowdown \d+, mean wait \d+ s\n", capsys.readouterr().out)
    learnt = {}
    exec(LEARNER, learnt)
    unseen = {"profile": "theta", "window": {"start": 1_100_000}}
    env = made(None, unseen, jobs=128, window=64, may_wait=False)
    starts = range(0, 1200, 100)
    assert waits(by_model(learnt["model"]), env, starts) < 0.9 * waits(lambda *_: 0, env, starts)


def test_a_learner_finds_out_that_short_jobs_go_first(traced):
    rng = np.random.default_rng(3)
    runtimes = np.where(rng.random(600) < 0.5, 60, 3600).tolist()
    docs = {}
    exec(LEARNER.split("def make()")[0], docs)

    def make():
        return traced(*[(i, runtime, 1) for i, runtime in enumerate(runtimes)], nodes=1, jobs=12, window=4, dense=True)

    model = docs["train"](make, 6144)
    env, starts = make(), range(300, 580, 20)
    chosen = rng.integers(2**32)
    assert waits(by_model(model), env, starts) < 0.8 * waits(
        lambda _, mask: at_random(chosen)(None, {"action_mask": mask}), env, starts
    )
