"""Features of jobs: the same in training and in a run, and made only of what was known when a job was submitted."""

import numpy as np
import pytest

from hpcsim.engine.simulation import Simulation
from hpcsim.engine.twins import Prediction
from hpcsim.results.tables import jobs_table
from hpcsim.schedulers.backfilling import EASY
from hpcsim.twins import features
from hpcsim.twins.features import Columns, Ends, History, codes, of_trace
from hpcsim.twins.records import of_run, split
from hpcsim.workload.job import workload_from_columns

NODES = 16


class Noting:
    """Notes the features of every job in the first pass that it waits in, as a learned twin would have them."""

    name = "noting"
    api = 1
    answers = "performance"

    def __init__(self):
        self.history, self.seen = History(), {}

    def performance(self, jobs, view):
        new = [job for job in jobs if job.id not in self.seen]
        if new:
            rows = self.history.features(new, view.utc_s - view.now, view.nodes)
            self.seen.update(zip((job.id for job in new), rows, strict=True))
        return Prediction(*(np.ones(len(jobs)) for _ in range(3)))

    def ended(self, end):
        self.history.add(end)


class Asking:
    name = "asking"
    api = 1

    def __init__(self):
        self.easy = EASY(EASY.Options())

    def schedule(self, view):
        view.twins.performance(view.queue)
        yield from self.easy.schedule(view)


def some_jobs(count=400, seed=3, users=True, span_s=40_000):
    rng = np.random.default_rng(seed)
    walltime = rng.choice([600, 3600, 7200], count)
    return workload_from_columns(
        t0_utc=1_704_088_800,
        source="drawn",
        name=[str(i) for i in range(count)],
        submit_s=np.sort(rng.integers(0, span_s, count) // 50 * 50),  # many in the same second
        nodes=rng.integers(1, NODES + 1, count),
        walltime_s=walltime,
        runtime_s=(walltime * rng.uniform(0.01, 1.2, count)).astype(int) // 50 * 50 + 1,
        outcome=rng.choice([0, 1], count),
        user=rng.choice(["ann", "bob", "eve", ""], count) if users else None,
        project=rng.choice(["p", "q", ""], count),
        queue=rng.choice(["prod", "debug", ""], count),
    )


def run(workload):
    twin = Noting()
    simulation = Simulation(workload, Asking(), nodes=NODES, twins={"performance": twin})
    simulation.run()
    return twin, jobs_table(simulation, np.ones(len(workload), bool))


@pytest.mark.parametrize("users", [True, False])
def test_what_a_run_asks_about_is_what_training_was_taught_to_the_last_bit(users):
    workload = some_jobs(users=users)
    twin, table = run(workload)
    taught = of_run(table, workload.t0_utc, NODES).features
    assert len(twin.seen) == len(workload)
    asked = np.array([twin.seen[i] for i in range(len(workload))])
    assert np.array_equal(asked, taught)


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
def test_no_feature_hangs_on_what_has_not_happened_by_the_submission(second):
    jobs = columns()
    ends, other = ends_of(jobs), ends_of(jobs, seed=7)
    known = ends.end_s <= second
    later = np.maximum(other.end_s, second + 1)
    changed = Ends(
        ends.job,
        np.where(known, ends.end_s, later),
        np.where(known, ends.runtime_s, other.runtime_s),
        np.where(known, ends.failed, other.failed),
        np.where(known, ends.counted, other.counted),
    )
    before = jobs.submit_s <= second
    assert not known.all()
    assert np.array_equal(of_trace(jobs, ends)[before], of_trace(jobs, changed)[before])
    assert not np.array_equal(of_trace(jobs, ends)[~before], of_trace(jobs, changed)[~before])


def test_features_are_those_that_a_plain_loop_over_the_last_ends_of_a_user_finds():
    jobs = columns()
    ends = ends_of(jobs)
    table = of_trace(jobs, ends)
    at = {name: i for i, name in enumerate(features.NAMES)}
    for i in range(0, 300, 7):
        known = [
            (ends.end_s[j], j)
            for j in range(300)
            if jobs.user[i] >= 0
            and jobs.user[j] == jobs.user[i]
            and ends.counted[j]
            and ends.end_s[j] <= jobs.submit_s[i]
        ]
        assert table[i, at["user_log_count"]] == pytest.approx(np.log1p(len(known)))
        last = [ends.runtime_s[j] / jobs.walltime_s[i] for _, j in sorted(known)[::-1][: features.LAST]]
        relative = np.minimum(np.log(last), 0) if last else np.zeros(1)
        assert table[i, at["user_last"]] == pytest.approx(relative[0])
        assert table[i, at["user_mean"]] == pytest.approx(relative.mean())
        assert table[i, at["user_deviation"]] == pytest.approx(relative.std())


def test_killed_jobs_and_those_that_lost_a_node_tell_nothing():
    jobs = columns()
    ends = ends_of(jobs)
    told = np.flatnonzero(ends.counted)
    only = Ends(told, ends.end_s[told], ends.runtime_s[told], ends.failed[told], ends.counted[told])
    assert np.array_equal(of_trace(jobs, ends), of_trace(jobs, only))


def test_unnamed_users_are_not_one_user():
    assert codes(["", "b", "a", ""]).tolist() == [-1, 2, 1, -1]
    jobs = columns(user=np.full(300, -1))
    table = of_trace(jobs, ends_of(jobs))
    assert not table[:, features.NAMES.index("user_log_count")].any()


def test_parts_of_a_split_follow_each_other_and_none_knows_the_end_of_a_job_of_the_next():
    workload = some_jobs(span_s=4_000_000)
    _, table = run(workload)
    rows = of_run(table, workload.t0_utc, NODES)
    parts = split(rows)
    submit, end = rows.jobs.submit_s, rows.end_s
    assert end[parts.fit].max() < submit[parts.check].min()
    assert end[parts.check].max() < submit[parts.test].min()
    assert submit[parts.check].min() - submit[parts.fit].max() >= parts.gap_s > 0


def test_no_jobs_have_no_features():
    empty = np.zeros(0, int)
    none = Columns(*(empty,) * 8, np.zeros(0, bool), 0, 8)
    assert of_trace(none, Ends(empty, empty, empty, empty > 0, empty > 0)).shape == (0, len(features.NAMES))
