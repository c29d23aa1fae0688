"""What would come of a decision is told by what can be known, and never by what is true."""

from array import array
from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import blocks

import hpcsim
from hpcsim.engine.decisions import Preempt, Start
from hpcsim.engine.fork import believed
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.twins import Prediction
from hpcsim.engine.what_if import ASSUMED_BETA, Backfilling, predicted_runtimes
from hpcsim.errors import BadDecision, SchedulerError
from hpcsim.machine.failures import FailureProcess
from hpcsim.results.energy import power_curve
from hpcsim.results.tables import attempts_table
from hpcsim.schedulers.backfilling import EASY
from hpcsim.workload.job import workload_from_columns

from .test_fork import CASES, left_behind, simulation

HOUR_S = 3600


def workload(rows):
    """Jobs of (submit, runtime, nodes, walltime)."""
    submit, runtime, nodes, walltime = zip(*sorted(rows), strict=True)
    return workload_from_columns(
        t0_utc=1_700_000_000, source="test", name=[f"j{i}" for i in range(len(rows))], submit_s=submit, nodes=nodes,
        walltime_s=walltime, runtime_s=runtime,
    )  # fmt: skip


class Oracle:
    """Knows how long jobs run."""

    name = "oracle"
    api = 1
    answers = "performance"

    def __init__(self, jobs):
        limit = jobs.column("walltime_s") * 11 // 10
        self.runtime_s = np.minimum(jobs.column("runtime_s"), limit)

    def performance(self, jobs, view):
        runtime_s = self.runtime_s[[job.id for job in jobs]].astype(np.float64)
        return Prediction(runtime_s, np.zeros(len(jobs)), np.zeros(len(jobs)))


class Asks(EASY):
    """EASY that asks at second ``at`` what will come of what it has decided."""

    def __init__(self, at, horizon):
        super().__init__(EASY.Options())
        self.at, self.horizon, self.asked = at, horizon, None

    def schedule(self, view):
        decided = list(super().schedule(view))
        if view.now >= self.at and self.asked is None:
            self.asked = view.now, view.what_if(decided, self.horizon)
        return decided


rows = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 400), st.integers(1, 8), st.integers(1, 500)),
    min_size=1,
    max_size=20,
)


def came_true(sim, now, outlook):
    """What really came of it, in the form of the answer."""
    attempts = sim.attempts
    job, taken, end = attempts.job, attempts.taken, attempts.end
    began = (taken >= now) & (attempts.start < outlook.until)
    over = (end > now) & (end < outlook.until) & (taken < outlook.until)
    before = {i for i, each in zip(job.tolist(), taken.tolist(), strict=True) if each < outlook.until}
    waiting = [i for i in range(len(sim.workload)) if i not in before and i not in sim.rejected]
    return (
        dict(zip(job[began].tolist(), attempts.start[began].tolist(), strict=True)),
        dict(zip(job[over].tolist(), end[over].tolist(), strict=True)),
        waiting,
    )


@settings(deadline=None, max_examples=100)
@given(rows, st.integers(51, 300), st.integers(1, 900))
def test_with_exact_predictions_it_is_what_comes_true(jobs, at, horizon):
    jobs = workload(jobs)
    asks = Asks(at, horizon)
    sim = Simulation(jobs, asks, nodes=8, twins={"performance": Oracle(jobs)})
    sim.run()
    if asks.asked is not None:
        now, outlook = asks.asked
        started, ended, waiting = came_true(sim, now, outlook)
        assert dict(outlook.starts) == started
        assert dict(outlook.ends) == ended
        assert [job.id for job in outlook.waiting] == waiting


OFF = {
    "physics": dict.fromkeys(("variation", "heat", "failures", "outages", "maintenance", "queues"), False)
    | {"checkpoint": None}
}


@settings(deadline=None, max_examples=25)
@given(rows, st.integers(51, 300), st.integers(1, 900))
def test_with_exact_predictions_on_a_machine_without_surprises_it_is_what_comes_true(jobs, at, horizon):
    jobs = workload([(s, r, 70 * n, w) for s, r, n, w in jobs])
    asks = Asks(at, horizon)
    sim = simulation("polaris", OFF, asks, jobs)
    sim.twins = {"performance": Oracle(jobs)}
    sim.run()
    if asks.asked is not None:
        now, outlook = asks.asked
        assert (dict(outlook.starts), dict(outlook.ends), [job.id for job in outlook.waiting]) == came_true(
            sim, now, outlook
        )


def test_where_nobody_waits_the_energy_and_the_heat_are_those_that_come_true():
    jobs = workload([(0, 3000 + 500 * i, 40, 9000) for i in range(10)])
    off = {"physics": OFF["physics"] | {"heat": True}}
    sim = simulation("polaris", off, workload=jobs)
    sim.twins = {"performance": Oracle(jobs)}
    sim.run(1000)
    outlook = sim._view.what_if([], 8000)
    sim.run(9000)
    curve = power_curve(sim, sim.site)
    ahead = curve.time_s >= 1000
    first = max(bisect_left(curve.time_s.tolist(), 1001) - 1, 0)
    watts, seconds = curve.facility_w[first:], np.append(1000, curve.time_s[first + 1 :])
    assert outlook.energy_j == pytest.approx(np.dot(np.diff(seconds, append=9000), watts), rel=1e-12)
    assert outlook.peak_w == pytest.approx(watts.max(), rel=1e-12)
    assert ahead.any()
    assert outlook.hottest_c == pytest.approx(sim.site.cluster.heat.hottest_c(9000)[0], abs=1e-6)


def scramble(sim, seed):
    """Give a simulation other truths about all that has not happened yet."""
    rng = np.random.default_rng(seed)
    count = len(sim.state)
    sim._runtime = array("q", rng.permutation(np.array(sim._runtime)))
    sim._outcome = bytes(rng.permutation(np.frombuffer(sim._outcome, np.int8)))
    sim.arrivals.stop()
    sim.agenda.ends = {
        job_id: (sim.now + int(rng.integers(1, 10**6)), generation, row)
        for job_id, (_, generation, row) in sim.agenda.ends.items()
    }
    site = sim.site
    if site is None:
        return
    cluster = site.cluster
    site._work_s = array("q", rng.permutation(np.array(site._work_s)))
    site._elapsed_s, site._outcome = site._work_s, sim._outcome
    cluster._beta_J = array("d", rng.random(count))
    cluster._felt_J = array("d", rng.random(count))
    cluster._class_U = 1.0 + rng.random(cluster.spec.units)
    dynamic_w_J, gpu_w_J = array("d", 900 * rng.random(count)), array("d", 200 * rng.random(count))
    for job_id, execution in cluster.executions.items():
        dynamic_w_J[job_id], gpu_w_J[job_id] = cluster._dynamic_w_J[job_id], cluster._gpu_w_J[job_id]
        execution.work_s *= 1.0 + rng.random()
        execution.stretch, execution.rate = 1.0 + rng.random(), 0.5
    cluster._dynamic_w_J, cluster._gpu_w_J = dynamic_w_J, gpu_w_J
    shape = {"units": cluster.spec.units, "units_per_rack": cluster.spec.units_per_rack}
    service = cluster.service
    service.failures = FailureProcess(cluster.spec.failures, **shape, seed=seed, start=sim.now)
    service._outages = [outage for outage in service._outages if outage.cause == "maintenance"]
    service._due = [
        each._replace(time=each.time + int(rng.integers(1, 10**5))) if each.kind == "repaired" else each
        for each in service._due
    ]
    service.interrupts = [each._replace(until_s=max(each.until_s, sim.now) + 7) for each in service.interrupts]


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(CASES)), st.integers(1, 10**6), st.floats(0.1, 0.9), st.booleans())
def test_nothing_in_the_answer_hangs_on_what_nobody_can_know(case, seed, part, starts):
    name, overrides = CASES[case]
    parent = simulation(name, overrides | {"seed": seed % 100})
    submit = parent.workload.column("submit_s")
    parent.run(parent.start + max(1, round(part * (int(submit[-1]) - parent.start))))
    other = parent.fork()
    scramble(other, seed)

    def decisions(sim):
        view, room = sim._view, sim._view.room()
        if not starts:
            return [Preempt(each.job) for each in list(view.running.values())[:1] if "sharing" not in case]
        return [Start(job) for job in view.queue if room.take(job)]

    for each in (parent, other):
        each.needs = frozenset({"preemption"})
    answers = [each._view.what_if(decisions(each), 12 * HOUR_S) for each in (parent, other)]
    assert answers[0] == answers[1]
    assert answers[0].ends or not parent.running


@settings(deadline=None, max_examples=12)
@given(st.sampled_from(sorted(CASES)), st.integers(1, 1000), st.floats(0, 1))
def test_asking_changes_nothing_but_the_schedulers_random_numbers(case, seed, part):
    name, overrides = CASES[case]
    asked, whole = (simulation(name, overrides | {"seed": seed}) for _ in "ab")
    end = int(asked.workload.column("submit_s")[-1])
    asked.run(asked.start + 1 + round(part * (end - asked.start)))
    asked._view.what_if([], 6 * HOUR_S)
    asked.run()
    whole.run()
    assert left_behind(asked)[:-1] == left_behind(whole)[:-1]
    assert asked.scheduler_rng.bit_generator.state != whole.scheduler_rng.bit_generator.state


@settings(deadline=None, max_examples=12)
@given(st.sampled_from(sorted(CASES)), st.integers(1, 1000))
def test_who_schedules_on_does_what_easy_does(case, seed):
    name, overrides = CASES[case]
    easy = simulation(name, overrides | {"seed": seed, "scheduler": "easy"})
    other = simulation(name, overrides | {"seed": seed}, Backfilling())
    for each in (easy, other):
        each.run()
    columns = ["job_id", "start_s", "end_s", "state"]
    assert attempts_table(easy).select(columns) == attempts_table(other).select(columns)


def test_a_job_that_has_outlived_its_prediction_runs_until_its_walltime():
    jobs = workload([(0, 100, 8, 1000), (5, 10, 8, 20)])

    class Short(Oracle):
        def performance(self, jobs, view):
            return Prediction(np.full(len(jobs), 30.0), np.zeros(len(jobs)), np.zeros(len(jobs)))

    sim = Simulation(jobs, EASY(EASY.Options()), nodes=8, twins={"performance": Short(jobs)})
    sim.run(20)
    assert sim._view.what_if([], 5000).ends == {0: 30, 1: 60}
    sim.run(50)
    assert sim._view.what_if([], 5000).ends == {0: 1000, 1: 1030}


def test_the_caller_may_let_itself_go_on_but_not_ask_itself():
    class Late(EASY):
        """Starts nothing before second 500."""

        def schedule(self, view):
            return super().schedule(view) if view.now >= 500 else ()

    jobs = workload([(0, 100, 8, 100), (5, 10, 8, 20)])
    sim = Simulation(jobs, EASY(EASY.Options()), nodes=8)
    sim.run(10)
    assert sim._view.what_if([], 5000).starts == {1: 100}
    assert sim._view.what_if([], 5000, then=Late(EASY.Options())).starts == {}

    class Recursive(EASY):
        def schedule(self, view):
            view.what_if([], 100, then=self)
            return super().schedule(view)

    with pytest.raises(SchedulerError, match="cannot be asked in what it answers"):
        Simulation(jobs, Recursive(EASY.Options()), nodes=8).run()


def test_decisions_that_cannot_be_carried_out_are_refused_as_ever():
    jobs = workload([(0, 100, 8, 100), (5, 10, 8, 20)])
    sim = Simulation(jobs, EASY(EASY.Options()), nodes=8)
    sim.run(10)
    with pytest.raises(BadDecision, match=r"^t=10: scheduler easy started job j1 on 8 nodes, but only 0 are free"):
        sim._view.what_if([Start(sim.queue.jobs[0])], 100)
    for wrong in (0, -5, 1.5, True):
        with pytest.raises(ValueError, match="the horizon should be a whole second, 1 or more"):
            sim._view.what_if([], wrong)


def belief_of(sim):
    return believed(sim, predicted_runtimes(sim), ASSUMED_BETA)


def test_a_job_that_has_not_begun_is_believed_to_draw_what_those_before_it_drew():
    jobs = workload([(0, 1000, 100, 1000), (1500, 1000, 100, 1000)])
    sim = simulation("polaris", OFF, workload=jobs)
    sim.run(1400)
    drawn_w = float(sim.site.joules[0]) / (100 * 1000)
    idle = sim.fork()
    sim.run(1501)
    job = next(iter(sim.running.values())).job
    believed = belief_of(sim)
    assert believed.site.cluster._beta_J[1] == ASSUMED_BETA
    assert believed.site.cluster._dynamic_w_J[job.id] == sim.site.cluster._dynamic_w_J[job.id]  # what its meter shows
    waiting = belief_of(idle).site.cluster._dynamic_w_J[1]
    assert waiting == pytest.approx(drawn_w - sim.site.cluster.spec.power.idle_w, rel=1e-6)


def test_the_scheduler_in_the_documentation_asks_and_chooses(tmp_path):
    (code,) = (each for each in blocks("docs/plugins.md", "python") if "what_if" in each)
    (tmp_path / "thrifty.py").write_text(code)
    settings = {"jobs": 80, "scheduler": "thrifty", "physics.queues": False}
    run = hpcsim.simulate("polaris", settings, plugins=[tmp_path / "thrifty.py"], check=True)
    easy = hpcsim.simulate("polaris", {"jobs": 80, "physics.queues": False})
    assert run.summary["peak_power_kw"] < easy.summary["peak_power_kw"]
