"""Job failure: the sequences of a user's last ends, the networks, their training, calibration, and a run."""

import copy
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from hpcsim import replay
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.twins import Ended
from hpcsim.engine.view import View
from hpcsim.errors import InputError
from hpcsim.results.tables import jobs_table
from hpcsim.schedulers.backfilling import EASY
from hpcsim.twins import job_failure, job_failure_evaluation, job_failure_learner, job_failure_network, platt, weights
from hpcsim.twins import job_failure_sequences as sequences
from hpcsim.twins import job_failure_training as training
from hpcsim.twins.features import NAMES, Columns, Ends
from hpcsim.twins.job_failure import JobFailure
from hpcsim.twins.job_failure_network import HIDDEN, KIND, MEMBERS, NETWORKS, SHAPES
from hpcsim.twins.job_failure_sequences import COMMON, LENGTH, TOKEN, LastJobs, Sequences
from hpcsim.twins.loop import Course, Plan
from hpcsim.twins.network import scaled
from hpcsim.twins.records import of_run, records
from hpcsim.workload.job import workload_from_columns

torch = pytest.importorskip("torch")
NODES = 16


# -- sequences ----------------------------------------------------------------------------------


def some_jobs(count=300, seed=3, users=True):
    rng = np.random.default_rng(seed)
    walltime = rng.choice([600, 3600, 7200], count)
    return workload_from_columns(
        t0_utc=1_704_088_800,
        source="drawn",
        name=[str(i) for i in range(count)],
        submit_s=np.sort(rng.integers(0, 30_000, count) // 50 * 50),  # many in the same second
        nodes=rng.integers(1, NODES + 1, count),
        walltime_s=walltime,
        runtime_s=(walltime * rng.uniform(0.01, 1.2, count)).astype(int) // 50 * 50 + 1,
        outcome=rng.choice([0, 1], count),
        user=rng.choice(["ann", "bob", "eve", ""], count) if users else None,
        project=rng.choice(["p", "q", ""], count),
        queue=rng.choice(["prod", "debug", ""], count),
    )


class Asked(JobFailure):
    """Answers as if it was asked how long jobs run."""

    name = "job-failure"
    api = 1
    answers = "performance"

    def performance(self, jobs, view):
        return self.job_failure(jobs, view)


class Noting(Asked):
    """Notes the sequences of every job in the first pass that it waits in."""

    def __init__(self):
        self.last, self.seen = LastJobs(), {}

    def performance(self, jobs, view):
        new = [job for job in jobs if job.id not in self.seen]
        if new:
            self.seen |= {job.id: expanded(self.last.sequences(new), i) for i, job in enumerate(new)}
        return job_failure.Prediction(*(np.ones(len(jobs)) for _ in range(3)))

    def ended(self, end):
        self.last.add(end)


class Scheduler:
    name = "asking"
    api = 1

    def __init__(self):
        self.easy = EASY(EASY.Options())

    def schedule(self, view):
        view.twins.performance(view.queue)
        yield from self.easy.schedule(view)


def expanded(known, job):
    of = known.of[job]
    return known.tokens[of], known.length[of], known.common[job]


@pytest.mark.parametrize("users", [True, False])
def test_what_a_run_asks_about_is_what_training_was_taught_to_the_last_bit(users):
    workload, twin = some_jobs(users=users), Noting()
    simulation = Simulation(workload, Scheduler(), nodes=NODES, twins={"performance": twin})
    simulation.run()
    rows = of_run(jobs_table(simulation, np.ones(len(workload), bool)), workload.t0_utc, NODES)
    taught = sequences.of_trace(rows.jobs, rows.ends)
    assert len(twin.seen) == len(workload)
    assert not users or taught.length.max() == LENGTH
    for job in range(len(workload)):
        for asked, learned in zip(twin.seen[job], expanded(taught, job), strict=True):
            assert np.array_equal(asked, learned)


def columns(**changed):
    rng = np.random.default_rng(5)
    count = 300
    given = {
        "submit_s": np.sort(rng.integers(0, 50_000, count)), "nodes": rng.integers(1, 5, count),
        "walltime_s": rng.choice([600, 3600], count), "cores": np.zeros(count, int), "gpus": np.zeros(count, int),
        "user": rng.integers(-1, 4, count), "project": rng.integers(-1, 2, count), "queue": rng.integers(0, 2, count),
        "has_after": np.zeros(count, bool), "utc_of_zero": 0, "machine_nodes": 8,
    }  # fmt: skip
    return Columns(**{**given, **changed})


def ends_of(jobs, seed=6):
    rng = np.random.default_rng(seed)
    count = len(jobs.submit_s)
    runtime = rng.integers(1, 4000, count)
    end = jobs.submit_s + rng.integers(0, 3000, count) + runtime
    return Ends(np.arange(count), end, runtime, rng.random(count) < 0.3, rng.random(count) < 0.9)


@pytest.mark.parametrize("second", [5_000, 20_000, 40_000])
def test_no_sequence_hangs_on_what_has_not_happened_by_the_submission(second):
    jobs = columns()
    ends, other = ends_of(jobs), ends_of(jobs, seed=7)
    known = ends.end_s <= second
    changed = Ends(
        ends.job,
        np.where(known, ends.end_s, np.maximum(other.end_s, second + 1)),
        *(np.where(known, *both) for both in zip(
            (ends.runtime_s, ends.failed, ends.counted), (other.runtime_s, other.failed, other.counted), strict=True
        )),
    )  # fmt: skip
    first, second_ = sequences.of_trace(jobs, ends), sequences.of_trace(jobs, changed)
    before = np.flatnonzero(jobs.submit_s <= second)
    same = [all(map(np.array_equal, expanded(first, i), expanded(second_, i))) for i in range(300)]
    assert all(same[i] for i in before)
    assert not all(same)


def test_a_sequence_is_what_a_plain_loop_over_the_ends_of_a_user_finds_the_oldest_first():
    jobs = columns()
    ends = ends_of(jobs)
    taught = sequences.of_trace(jobs, ends)
    for i in range(0, 300, 7):
        of_shape = (jobs.nodes[i], jobs.walltime_s[i])
        known = sorted(
            (ends.end_s[j], j)
            for j in range(300)
            if ends.counted[j]
            and ends.end_s[j] <= jobs.submit_s[i]
            and (jobs.user[j] == jobs.user[i] if jobs.user[i] >= 0 else (jobs.nodes[j], jobs.walltime_s[j]) == of_shape)
        )[-LENGTH:]
        tokens, length, common = expanded(taught, i)
        which = [j for _, j in known]
        assert length == len(known)
        assert np.array_equal(tokens[:length, TOKEN.index("failed")], ends.failed[which])
        assert np.array_equal(common[:length, COMMON.index("same_nodes")], jobs.nodes[which] == jobs.nodes[i])
        assert np.array_equal(common[:length, COMMON.index("same_queue")], jobs.queue[which] == jobs.queue[i])
        age = np.log1p(jobs.submit_s[i] - ends.end_s[which]) / 8
        assert common[:length, COMMON.index("log_age")] == pytest.approx(age, rel=1e-5)
        assert not tokens[length:].any()
        assert not common[length:].any()


def test_jobs_of_a_user_between_two_ends_share_one_sequence():
    jobs = columns(user=np.zeros(300, int), submit_s=np.sort(np.arange(300) // 100 * 20_000))
    assert len(sequences.of_trace(jobs, ends_of(jobs)).tokens) == 3


# -- the networks -------------------------------------------------------------------------------


def toy(jobs, seed):
    """Jobs that fail, nine in ten times, if that end of the user's failed which was alike."""
    rng = np.random.default_rng(seed)
    tokens = np.zeros((jobs, LENGTH, len(TOKEN)), np.float32)
    common = np.zeros((jobs, LENGTH, len(COMMON)), np.float32)
    length = rng.integers(1, LENGTH + 1, jobs)
    bad = (rng.random((jobs, LENGTH)) < 0.4) & (np.arange(LENGTH) < length[:, None])
    tokens[..., TOKEN.index("failed")] = bad
    each, alike = np.arange(jobs), rng.integers(0, length)
    for name in ("same_nodes", "same_walltime", "same_both"):
        common[each, alike, COMMON.index(name)] = 1
    failed = bad[each, alike] ^ (rng.random(jobs) < 0.1)
    return training.Data(
        rng.normal(size=(jobs, len(NAMES))), Sequences(each, tokens, length, common), failed, np.zeros((jobs, 2), bool)
    )


PLAN = Plan(seed=1, epochs=8, batch=32)


@pytest.fixture(scope="module")
def trained():
    return training.train(toy(1000, 1), toy(500, 4), toy(300, 2), PLAN)


def test_numpy_computes_what_torch_was_trained_as(trained):
    later = toy(200, 5)
    rng = np.random.default_rng(1)
    tensors = {
        name: (value + rng.normal(0, 0.2, value.shape)).astype(np.float32) for name, value in trained.tensors.items()
    }
    x = scaled(later.features, trained.center, trained.scale)
    known = later.known
    with torch.no_grad():
        said = training.forward(
            torch,
            training._begin(torch, 0.0) | {name: torch.from_numpy(tensors[name]) for name in NETWORKS},
            *(torch.from_numpy(a).expand(MEMBERS, *a.shape) for a in (x, known.tokens, known.length, known.common)),
        )
    odds = job_failure_network.log_odds(job_failure_network.ready(tensors), x, known)
    assert np.abs(odds[:, :MEMBERS] - said[..., 0].numpy().T).max() < 1e-4
    assert odds[:, MEMBERS] == pytest.approx(x @ tensors["linear"][:, 0] + tensors["linear_bias"][0], abs=1e-4)


def test_training_learns_whose_jobs_fail_now(trained):
    later = toy(1000, 9)
    odds = job_failure_learner.log_odds(job_failure_learner.half(trained), later).mean(1)
    area = job_failure_evaluation.figures(job_failure_network.probability(odds), later.failed)[1]
    assert area > 0.8  # nine in ten are as the one alike


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(tmp_path):
    class Killed(Exception):
        pass

    def die(epoch, fitted, checked):
        if epoch == 1:
            raise Killed

    parts, plan, checkpoint = (toy(200, 1), toy(100, 4), toy(100, 2)), Plan(seed=1, epochs=3, batch=64), tmp_path / "c"
    whole = training.train(*parts, plan)
    with pytest.raises(Killed):
        training.train(*parts, plan, Course(checkpoint, told=die))
    went_on = training.train(*parts, plan, Course(checkpoint, resume=True))
    assert all(np.array_equal(went_on.tensors[name], whole.tensors[name]) for name in SHAPES)


def test_drawn_failures_are_of_about_the_wanted_share_and_repeat_among_a_users_jobs_of_one_size():
    jobs = columns()
    shares, alike, others = [], [], []
    for seed in range(60):
        failed = training.drawn_failures(jobs, 0.3, np.random.default_rng(seed))
        shares.append(failed.mean())
        group = jobs.user * 10 + jobs.nodes
        mean = failed.mean()
        same = [failed[group == each].mean() - mean for each in np.unique(group)]
        shuffled = np.random.default_rng(seed).permutation(failed)
        alike.append(np.var(same))
        others.append(np.var([shuffled[group == each].mean() - mean for each in np.unique(group)]))
    assert np.median(shares) == pytest.approx(0.3, abs=0.07)
    assert np.mean(alike) > 2 * np.mean(others)


def test_drawn_copies_know_nothing_of_who_really_failed():
    jobs = columns()
    ends = ends_of(jobs)
    fit = np.arange(200)
    others = ends.failed.copy()
    others[:200], others[200:] = np.sort(others[:200]), ~others[200:]  # as many of those to fit
    other = replace(ends, failed=others)
    first, second = (training.drawn(records(jobs, e), fit, np.random.default_rng(3)) for e in (ends, other))
    assert all(map(np.array_equal, first.arrays, second.arrays))


# -- calibration and figures --------------------------------------------------------------------


def test_the_scaling_is_the_likeliest_one_as_a_general_minimiser_finds_it():
    rng = np.random.default_rng(2)
    odds = rng.normal(0, 2, 400)
    happened = rng.random(400) < 1 / (1 + np.exp(-(0.5 * odds - 1)))

    def loss(at):
        z = at[0] * odds + at[1]
        return np.logaddexp(0, np.where(happened, -z, z)).sum() + 0.5 * (4 * (at[0] - 1) ** 2 + 0.25 * at[1] ** 2)

    assert platt.fitted(odds, happened) == pytest.approx(minimize(loss, [1.0, 0.0], tol=1e-12).x, abs=1e-4)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_scaling_of_outcomes_that_are_all_the_same_is_finite(share):
    scaling = platt.fitted(np.linspace(-5, 5, 50), np.full(50, share > 0))
    assert np.isfinite(scaling).all()
    assert platt.fitted(np.zeros(0), np.zeros(0, bool)) == (1.0, 0.0)


def test_figures_and_the_reliability_of_probabilities_that_hold_and_of_those_that_do_not():
    rng = np.random.default_rng(1)
    said = rng.random(20_000)
    failed = rng.random(20_000) < said
    promised, happened = job_failure_evaluation.reliability(said, failed)
    assert promised == pytest.approx(happened, abs=0.03)
    _, _, brier, error = job_failure_evaluation.figures(said, failed)
    assert brier == pytest.approx(1 / 6, abs=0.005)  # the mean of p (1 - p) for p even between 0 and 1
    assert error < 0.02
    assert job_failure_evaluation.figures(said, rng.random(20_000) < 0.5)[3] == pytest.approx(0.25, abs=0.01)
    assert job_failure_evaluation.figures(np.full(9, 0.3), np.arange(9) < 3)[0] == pytest.approx(1 / 3)


# -- files of weights ---------------------------------------------------------------------------


@pytest.fixture
def kept(trained, tmp_path):
    taught = job_failure_learner.Lesson(toy(1000, 1), toy(500, 4), toy(300, 2), 0)
    made = job_failure_learner.made(trained, taught, PLAN)
    return weights.save(tmp_path, "toy.job-failure", made.tensors, made.about)


def test_weights_are_read_as_they_were_written(kept, trained):
    used = job_failure.read(kept)
    half = job_failure_learner.half(trained)
    assert all(np.array_equal(used.tensors[name], half.tensors[name]) for name in SHAPES)
    assert used.odds == pytest.approx(job_failure_learner.log_odds(half, toy(300, 2)).mean(1), abs=1e-4)
    assert used.failed == toy(300, 2).failed.tolist()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kind": "performance-ensemble"}, "kind should be 'job-failure'"),
        ({"sequence": {}}, "other sequences"),
        ({"odds": [1.0]}, "lists of equal length"),
        ({"odds": [1e9], "failed": [1]}, "odds should be numbers"),
        ({"odds": [1.0], "failed": [[]]}, "failed 0 or 1"),
    ],
)
def test_weights_that_are_not_sound_are_refused(kept, change, complaint):
    kept.write_text(json.dumps(json.loads(kept.read_text()) | change))
    with pytest.raises(InputError, match=complaint):
        JobFailure(str(kept))


def test_the_weights_that_come_with_hpcsim_are_sound_and_say_what_made_them():
    assert {"general", "mira", "polaris"} <= set(weights.shipped(KIND))
    for machine in weights.shipped(KIND):
        path = weights.path(machine, KIND)
        assert job_failure.read(path).odds
        assert json.loads(path.read_text())["command"].startswith("hpcsim twins train ")
    assert sum(path.stat().st_size for path in weights.TRAINED.glob(f"*.{KIND}.*")) < 1_500_000


# -- in a run -----------------------------------------------------------------------------------


@pytest.fixture
def asked(kept):
    simulation = replay.begin("polaris", {"jobs": 300})
    return JobFailure(str(kept)), list(simulation.workload.jobs()), View(simulation)


def test_jobs_are_predicted_once_many_in_one_call_and_again_after_1_2_4_ends_of_their_user(asked, monkeypatch):
    twin, jobs, view = asked
    calls = []
    forward = job_failure_network.log_odds
    monkeypatch.setattr(
        job_failure_network, "log_odds", lambda tensors, x, known: calls.append(len(x)) or forward(tensors, x, known)
    )
    mine = [job._replace(id=i, user="ann") for i, job in enumerate(jobs[:50])]
    for _ in range(3):
        twin.job_failure(mine, view)
    assert calls == [50]
    for n in range(8):
        twin.ended(Ended(mine[0]._replace(id=1000 + n), 60, "completed", 5, None))
        twin.job_failure(mine, view)
    twin.ended(Ended(mine[0]._replace(id=2000, user="bob"), 60, "completed", 5, None))
    twin.job_failure(mine, view)
    assert calls == [50] + [50] * 4  # after 1, 2, 4 and 8


def test_answers_are_probabilities_whose_variance_is_that_of_failing_or_not(asked):
    twin, jobs, view = asked
    answer = twin.job_failure(jobs, view)
    assert ((answer.mean > 0) & (answer.mean < 1)).all()
    assert (answer.epistemic > 0).all()
    # the mean of the members' odds is near to the mean of their probabilities
    whole = answer.aleatoric**2 + answer.epistemic**2
    assert whole == pytest.approx(answer.mean * (1 - answer.mean), abs=0.05)


def test_probabilities_follow_what_happens_to_jobs_that_were_asked_about(asked):
    twin, jobs, view = asked
    before = copy.deepcopy(twin)
    strangers = [job._replace(id=5_000 + i, user=f"u{i}", project="") for i, job in enumerate(jobs[:200])]
    twin.job_failure(strangers, view)
    for job in strangers:
        twin.ended(Ended(job, 60, "failed", 0, None))
    stranger = [jobs[0]._replace(id=9_999, user="nobody", project="", nodes=77, queue="q")]
    assert twin.job_failure(stranger, view).mean[0] > before.job_failure(stranger, view).mean[0] + 0.1


def test_a_copy_goes_its_own_way_and_a_pickled_one_answers_the_same(asked):
    twin, jobs, view = asked
    first = twin.job_failure(jobs[:20], view).mean
    other, again = copy.deepcopy(twin), pickle.loads(pickle.dumps(twin))
    for n in range(60):
        other.ended(Ended(jobs[0]._replace(id=1000 + n, user=jobs[1].user), 5, "failed", 0, None))
    other.job_failure(jobs[:20], view)
    assert np.array_equal(twin.job_failure(jobs[:20], view).mean, first)
    assert np.array_equal(again.job_failure(jobs[:20], view).mean, first)
    assert HIDDEN % job_failure_network.HEADS == 0
