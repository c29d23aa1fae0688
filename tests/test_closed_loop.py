"""Users who wait for a job to end before they submit the next: who follows whom, and when that is in a run."""

import heapq

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.engine.closed_loop import ClosedLoop
from hpcsim.engine.simulation import Simulation
from hpcsim.errors import InputError
from hpcsim.plugin import Start
from hpcsim.results.check import check
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.scenario.load import load_scenario
from hpcsim.schedulers.backfilling import EASY, FCFS
from hpcsim.workload.job import workload_from_columns
from hpcsim.workload.think import thinking

rows = st.lists(
    st.tuples(st.integers(0, 500), st.integers(1, 4), st.integers(1, 90), st.integers(1, 99), st.sampled_from("ab ")),
    min_size=1, max_size=30,
)  # fmt: skip


def workload(some, recorded=None):
    submit, nodes, walltime, runtime, user = zip(*sorted(some), strict=True)
    return workload_from_columns(
        t0_utc=0, source="test", name=[f"j{i}" for i in range(len(some))], submit_s=submit, nodes=nodes,
        walltime_s=walltime, runtime_s=runtime, user=[each.strip() for each in user],
        **({} if recorded is None else {"recorded_start_s": recorded}),
    )  # fmt: skip


def made(some, scheduler=None, think=60, nodes=4):
    jobs = workload([*some, (0, 1, 5, 5, "a")])
    loop = ClosedLoop(thinking(jobs, at_most_s=think, start=0))
    scheduler = FCFS(FCFS.Options()) if scheduler is None else scheduler
    return Simulation(jobs, scheduler, nodes=nodes, overrun="kill", closed_loop=loop)


# -- who follows whom -----------------------------------------------------------------------------


def test_a_job_follows_the_latest_end_of_its_users_if_that_was_short_before():
    jobs = workload(
        [
            (0, 1, 100, 50, "ann"),  # ends at 50
            (10, 1, 100, 20, "ann"),  # began while the first ran: came by itself
            (60, 1, 100, 500, "ann"),  # 10 s after the first, which ended later than the second
            (61, 1, 100, 5, "bob"),  # the first of its user
            (80, 1, 100, 5, "ann"),  # 30 s after the first: the third runs
            (400, 1, 100, 5, "bob"),  # 334 s after: came back by himself
            (401, 1, 100, 5, ""),  # of nobody
        ]
    )
    found = thinking(jobs, at_most_s=60, start=0)
    assert found.follows_J.tolist() == [-1, -1, 0, -1, 0, -1, -1]
    assert found.think_s_J.tolist() == [0, 0, 10, 0, 30, 0, 0]
    assert thinking(jobs, at_most_s=60, start=61).follows_J.tolist() == [-1, -1, -1, -1, 0, -1, -1]


def test_a_job_ended_when_the_trace_says_so():
    rows = [(0, 1, 100, 50, "ann"), (60, 1, 100, 5, "ann"), (160, 1, 100, 5, "ann")]
    found = thinking(workload(rows, recorded=[100, 200, -1]), at_most_s=60, start=0)
    assert (found.follows_J.tolist(), found.think_s_J.tolist()) == ([-1, -1, 0], [0, 0, 10])


@pytest.mark.parametrize(
    ("trace", "said"),
    [
        ({"profile": None, "trace": "traces/swf/polaris_2023-09_2023-12_nodebug.swf.gz"}, "no job has a user"),
        ({"profile": None, "trace": "workflow"}, "jobs wait for others by name"),
    ],
)
def test_users_have_to_be_known(trace, said, data):
    base = "workflows" if trace["trace"] == "workflow" else "bare"
    changes = {"closed_loop": {}} if base == "workflows" else trace | {"trace": str(data / trace["trace"])}
    with pytest.raises(InputError, match=said):
        hpcsim.simulate(base, changes | {"closed_loop": {"think": "20m"}})


# -- in a run -------------------------------------------------------------------------------------


def by_hand(simulation, nodes=4):
    """First come, first served with users who wait: submissions, starts and ends of the jobs, computed anew."""
    jobs = list(simulation.workload.jobs())
    loop = simulation.closed_loop._thinking
    runtime = np.minimum(simulation.workload.column("runtime_s"), [job.walltime for job in jobs]).tolist()
    submitted = {job.id: job.submit for job in jobs if loop.follows_J[job.id] < 0}
    started, ended, free, queue, running = {}, {}, nodes, [], []
    coming = [(second, job_id) for job_id, second in submitted.items()]
    heapq.heapify(coming)
    while coming or running:
        now = min([coming[0][0]] if coming else [], default=10**9)
        now = min(now, running[0][0] if running else 10**9)
        while (running and running[0][0] == now) or (coming and coming[0][0] == now):
            while running and running[0][0] == now:
                _, job_id = heapq.heappop(running)
                ended[job_id], free = now, free + jobs[job_id].nodes
                for other in np.flatnonzero(loop.follows_J == job_id).tolist():
                    submitted[other] = now + int(loop.think_s_J[other])
                    heapq.heappush(coming, (submitted[other], other))
            while coming and coming[0][0] == now:
                heapq.heappush(queue, heapq.heappop(coming))
        while queue and jobs[queue[0][1]].nodes <= free:
            _, job_id = heapq.heappop(queue)
            started[job_id], free = now, free - jobs[job_id].nodes
            heapq.heappush(running, (now + runtime[job_id], job_id))
    return submitted, started, ended


@settings(deadline=None, max_examples=150)
@example([(5, 1, 1, 1, "a"), (5, 1, 1, 1, " ")], 30)  # one that follows stands behind the last that comes by itself
@given(rows, st.sampled_from([0, 30, 300]))
def test_first_come_first_served_is_as_computed_by_hand(some, think):
    simulation = made(some, think=think)
    simulation.run()
    submitted, started, ended = by_hand(simulation)
    jobs = jobs_table(simulation, np.ones(len(simulation.workload), bool))
    check(simulation, jobs, attempts_table(simulation), timeline_table(simulation))
    for name, expected in (("submit_s", submitted), ("start_s", started), ("end_s", ended)):
        assert dict(enumerate(jobs.column(name).to_pylist())) == expected
    assert timeline_table(simulation).column("queue").to_pylist()[-1] == 0
    assert simulation.submitted == len(jobs)


@settings(deadline=None, max_examples=60)
@given(rows, st.sampled_from([30, 300]), st.integers(0, 900))
def test_a_fork_and_a_restored_simulation_go_on_as_the_first(tmp_path_factory, some, think, at):
    def easy():
        return EASY(EASY.Options())

    whole = made(some, easy(), think)
    whole.run()
    parent = made(some, easy(), think)
    parent.run(at)
    file = tmp_path_factory.mktemp("snapshots") / "s"
    parent.save(file)
    again = made(some, easy(), think)
    again.restore(file)
    fork = parent.fork()
    for each in (fork, again, parent):
        each.run()
        assert attempts_table(each) == attempts_table(whole)
        assert each.submit_s.tolist() == whole.submit_s.tolist()


@settings(deadline=None, max_examples=60)
@example([(0, 1, 1, 60, "a"), (66, 1, 1, 1, "b"), (70, 1, 1, 1, "a")], 30)  # the last comes at 11, before the second
@given(rows, st.integers(1, 900))
def test_a_stopped_run_tells_who_has_not_submitted_yet(some, at):
    whole, part = made(some), made(some)
    whole.run()
    part.run(at)
    jobs = jobs_table(part, np.ones(len(part.workload), bool))
    check(part, jobs, attempts_table(part), timeline_table(part))
    submitted = whole.submit_s < at
    states = jobs.column("state").to_pylist()
    assert {job_id for job_id, state in enumerate(states) if state != "unsubmitted"} == set(
        np.flatnonzero(submitted).tolist()
    )
    assert part.submitted == submitted.sum()
    waiting = sum(state == "waiting" for state in states)
    assert timeline_table(part).column("queue").to_pylist()[-1] == waiting == len(part.waiting)


class Slow:
    """First come, first served; asks what would happen, and starts nothing for a while."""

    name, api = "slow", 1

    def __init__(self, until=0):
        self.until = until
        self.asked = []

    def schedule(self, view):
        self.asked.append(view.what_if([], 1000))
        room = view.room()
        for job in view.queue:
            if view.now < self.until or not room.take(job):
                break
            yield Start(job)


def test_in_what_if_nobody_submits_what_he_has_not_submitted():
    simulation = made([(0, 4, 50, 50, "b"), (60, 4, 50, 50, "b"), (61, 4, 50, 50, "c")], Slow())
    simulation.run()
    assert simulation.closed_loop.jobs == {2}
    assert all(2 not in each.ends for each in simulation.scheduler.asked[:2])
    assert len(simulation.attempts) == 4


def test_the_slower_the_machine_the_later_its_users_submit():
    shared = {"profile": "cooley", "jobs": 400, "machine.nodes": 60, "closed_loop": {"think": "1h"}}
    small, large = (hpcsim.simulate("bare", shared | {"machine.nodes": nodes}, check=True) for nodes in (40, 126))
    opened = hpcsim.simulate("bare", shared | {"machine.nodes": 40, "closed_loop": None}, check=True)
    came = [run.jobs["submit_s"].to_numpy() for run in (small, large)]
    assert np.mean(came[0]) > np.mean(came[1])
    assert small.summary["mean_wait_s"] < opened.summary["mean_wait_s"]
    assert small.jobs["measured"].all()


def test_the_measured_jobs_are_the_same_whoever_decides():
    window = {"window": {"start": "1d", "end": "5d", "warm_up": "1d", "cool_down": "1d", "warm_start": False}}
    given = {"profile": "cooley", "days": 6, "machine.nodes": 126, "closed_loop": {}} | window
    runs = [hpcsim.simulate("bare", given | {"scheduler": name}) for name in ("fcfs", "easy")]
    counted = [run.jobs.loc[run.jobs["measured"], "job_id"].tolist() for run in runs]
    assert counted[0] == counted[1] != []


def test_it_is_a_key_of_a_scenario(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("base: bare\nname: s\nprofile: cooley\njobs: 50\nclosed_loop: {think: 30m}\n")
    assert load_scenario(file).scenario.closed_loop.think == 1800


def test_what_users_submit_in_one_second_is_one_pass_also_in_a_fork():
    sim = made([(0, 1, 100, 50, "ann"), (60, 1, 100, 5, "ann"), (60, 1, 100, 5, "ann")])
    sim.run(55)
    fork, before = sim.fork(), len(sim.pass_seconds)
    sim.run()
    fork.run()
    assert len(sim.attempts) == len(fork.attempts) == 4
    assert len(sim.pass_seconds) - before == len(fork.pass_seconds) == 1
