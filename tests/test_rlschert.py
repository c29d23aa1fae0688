"""RLSchert: its toy cluster, what it sees and may do, and that training teaches it."""

from __future__ import annotations

import numpy as np
import pytest

import hpcsim
from hpcsim.errors import InputError
from hpcsim.schedulers.rlschert import trained
from hpcsim.schedulers.rlschert.network import State, logits, padded
from hpcsim.schedulers.rlschert.shape import OF_ALL, OF_JOB, OF_RUNNING, shapes
from hpcsim.schedulers.rlschert.teacher import by_rule
from hpcsim.workload.synthetic import synthesise

JOB = {name: place for place, name in enumerate(OF_JOB)}
RUN = {name: place for place, name in enumerate(OF_RUNNING)}


def drawn(seed: int, *, jobs: int, running: int) -> tuple[dict[str, np.ndarray], State]:
    """Tensors and a state of random numbers."""
    rng = np.random.default_rng(seed)
    tensors = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes().items()}
    job, run = (
        rng.normal(0, 1, shape).astype(np.float32) for shape in ((jobs, len(OF_JOB)), (running, len(OF_RUNNING)))
    )
    job[:, 0] = run[:, 0] = 1.0
    whole = rng.normal(0, 1, len(OF_ALL)).astype(np.float32)
    return tensors, State(job, run, whole, rng.random(jobs + 1 + running) < 0.7)


def test_jobs_of_the_toy_cluster_are_as_it_is_described():
    jobs = synthesise("toy", seed=3, jobs=20_000)
    minutes, nodes = jobs.column("runtime_s") / 60, jobs.column("nodes")
    gap = np.diff(jobs.column("submit_s")) / 60
    assert jobs.machine_nodes == 20
    assert gap.min() == 1  # at most one in a step
    assert gap.mean() == pytest.approx(1 / 0.7, rel=0.02)
    assert (jobs.column("walltime_s") == jobs.column("runtime_s")).all()
    assert np.mean(minutes <= 20) == pytest.approx(0.8, abs=0.01)
    assert np.mean(nodes >= 5) == pytest.approx(0.5, abs=0.01)
    assert (minutes.min(), minutes.max(), nodes.min(), nodes.max()) == (1, 100, 1, 10)
    assert not ((minutes > 20) & (minutes < 67)).any()


def test_the_order_of_jobs_makes_no_difference_to_what_each_is_worth():
    tensors, state = drawn(1, jobs=7, running=4)
    order, turned = np.array([3, 0, 6, 2, 5, 1, 4]), np.array([2, 0, 3, 1])
    legal = np.concatenate([state.legal_A[order], state.legal_A[7:8], state.legal_A[8 + turned]])
    other = logits(tensors, State(state.job_JF[order], state.running_RF[turned], state.all_G, legal))
    found = logits(tensors, state)
    assert np.allclose(other[:7], found[order], atol=1e-5)
    assert np.allclose(other[7:], np.concatenate([found[7:8], found[8 + turned]]), atol=1e-5)
    assert np.isinf(found[~state.legal_A]).all()


@pytest.mark.parametrize(("jobs", "running"), [(0, 0), (1, 0), (5, 3), (32, 32)])
def test_a_learner_computes_what_a_run_does(jobs, running):
    torch = pytest.importorskip("torch")
    pytest.importorskip("sb3_contrib")
    from hpcsim.training.rlschert import Kernel

    tensors, state = drawn(2, jobs=jobs, running=running)
    kernel = Kernel()
    kernel.load(tensors)
    row, legal = padded(state)
    found = kernel(torch.from_numpy(row[None]))[0][0].detach().numpy()
    assert legal.sum() == state.legal_A.sum()
    assert np.allclose(found[legal], logits(tensors, state)[state.legal_A], atol=1e-4)
    assert kernel.arrays()["start.out"].tolist() == tensors["start.out"].tolist()


def test_the_rule_starts_the_shortest_that_fits_and_kills_what_was_badly_underestimated():
    jobs, running = np.zeros((3, len(OF_JOB)), np.float32), np.zeros((2, len(OF_RUNNING)), np.float32)
    jobs[:, JOB["length"]] = [0.3, -0.1, -0.4]
    nothing = np.zeros(len(OF_ALL), np.float32)
    assert by_rule(State(jobs, running, nothing, np.array([True, True, False, True, False, False]))) == 1
    running[1, [RUN["initial"], RUN["elapsed"], RUN["remaining"], RUN["drift"]]] = [-0.2, 0.05, 0.3, 0.5]
    waits = np.array([False, False, False, True, True, True])
    assert by_rule(State(jobs, running, nothing, waits)) == 5
    running[1, RUN["drift"]] = 0.2  # not yet twice as long as first predicted
    assert by_rule(State(jobs, running, nothing, waits)) == 3


def test_training_begins_as_the_rule_and_its_score_is_the_slowdown_of_a_run(tmp_path):
    pytest.importorskip("sb3_contrib")
    from hpcsim.training.rlschert import Plan, played_by, train

    plan = Plan(("toy",), jobs=20, episodes=24, checked=6, passes=40, steps=64, at_once=2, steps_between=32)
    done = train(plan)
    assert done.told[0].score == pytest.approx(1.0, abs=0.2)  # 1 is the rule
    assert done.score <= done.told[0].score
    path = trained.write(tmp_path, "mine", done.tensors, {})
    run = hpcsim.simulate("toy", {"scheduler": {"name": "rlschert", "weights": str(path), "patience": 0}})
    halves = trained.read(str(path))
    chosen = played_by(lambda state: int(logits(halves, state).argmax()), "toy", 1)
    assert run.summary["mean_bounded_slowdown"] == pytest.approx(chosen, rel=1e-9)


@pytest.fixture
def eager_to_kill(tmp_path):
    """Weights by which a kill is always best, then to start the job that stands first."""
    tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes().items()}
    for action, worth in (("start", 1.0), ("wait", 0.5), ("kill", 2.0)):
        tensors[f"{action}.bias"][0] = 1.0
        tensors[f"{action}.out"][0, 0] = worth
    return str(trained.write(tmp_path, "killer", tensors, {}))


@pytest.mark.parametrize(("kill", "preemption"), [(True, True), (False, True), (True, False)])
def test_a_job_is_killed_once_at_most_and_only_where_it_may_be(eager_to_kill, kill, preemption):
    options = {"scheduler": {"name": "rlschert", "weights": eager_to_kill, "kill": kill}, "preemption": preemption}
    run = hpcsim.simulate("toy", options, check=True)
    stopped = run.attempts[run.attempts["state"] == "preempted"]
    assert (len(stopped) > 5) == (kill and preemption)
    assert stopped["job_id"].is_unique
    ran_s = stopped["end_s"] - stopped["start_s"]
    runtime_s = run.jobs.set_index("job_id")["runtime_s"].loc[stopped["job_id"]].to_numpy()
    assert (ran_s < 0.5 * runtime_s).all()
    assert (run.jobs["state"] == "completed").all()


def test_nodes_are_kept_for_a_job_that_has_waited_too_long():
    waits = {
        patience: hpcsim.simulate("toy", {"jobs": 200, "scheduler": {"name": "rlschert", "patience": patience}})
        .jobs["wait_s"]
        .max()
        for patience in (0, 3600)
    }
    assert waits[3600] < waits[0]


def test_weights_that_are_not_there_are_told_of():
    with pytest.raises(InputError, match=r"no weights named 'genral'\. Known: general"):
        hpcsim.simulate("toy", {"scheduler": {"name": "rlschert", "weights": "genral"}})
