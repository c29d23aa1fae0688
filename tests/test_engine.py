"""Laws of the engine: what each decision does, what it refuses, and what every simulation keeps."""

import inspect
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.engine.capabilities import CAPABILITIES
from hpcsim.engine.decisions import Hold, Kill, Preempt, Start
from hpcsim.engine.simulation import Simulation
from hpcsim.errors import BadDecision, SchedulerError
from hpcsim.results.check import check
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.schedulers.backfilling import EASY, FCFS, Conservative, Hybrid
from hpcsim.schedulers.flux import Flux
from hpcsim.schedulers.nsga2 import NSGA2
from hpcsim.schedulers.tetris import Tetris
from hpcsim.workload.job import FAILED, Job, workload_from_columns


def workload(*jobs, **columns):
    """Jobs as (submit, runtime, nodes[, walltime])."""
    submit, runtime, nodes, walltime = zip(*[(*job, job[1])[:4] for job in jobs], strict=True)
    return workload_from_columns(
        t0_utc=0, source="test", name=[f"j{i}" for i in range(len(jobs))], submit_s=submit,
        nodes=nodes, walltime_s=walltime, runtime_s=runtime, **columns,
    )  # fmt: skip


def fcfs():
    return FCFS(FCFS.Options())


class Plan:
    """A scheduler from a function of the view."""

    name = "plan"
    api = 1
    needs = frozenset(CAPABILITIES)

    def __init__(self, decide):
        self.decide = decide

    def schedule(self, view):
        yield from self.decide(view)


def tables(simulation):
    jobs = jobs_table(simulation, np.ones(len(simulation.workload), bool))
    return jobs, attempts_table(simulation), timeline_table(simulation)


def run(jobs, scheduler, nodes=10, *, until=None, **options):
    simulation = Simulation(jobs, scheduler, nodes=nodes, **options)
    simulation.run(until)
    made = tables(simulation)
    check(simulation, *made)
    return [table.to_pylist() for table in made]


def test_a_job_ends_and_another_starts_in_the_same_second():
    jobs, _, timeline = run(workload((0, 5, 10), (1, 5, 10)), fcfs())
    assert [(job["start_s"], job["end_s"]) for job in jobs] == [(0, 5), (5, 10)]
    assert [tuple(row.values()) for row in timeline] == [
        (0, 0, 1, 10), (1, 1, 1, 10), (5, 0, 1, 10), (10, 0, 0, 0)
    ]  # fmt: skip


def test_one_pass_sees_all_ends_and_arrivals_of_its_second():
    seen = []

    def decide(view):
        seen.append((view.now, [job.name for job in view.queue], view.free_nodes))
        yield from (Start(job) for job in view.queue if job.nodes <= view.free_nodes)

    run(workload((0, 5, 4), (5, 1, 1), (5, 1, 1)), Plan(decide))
    assert seen == [(0, ["j0"], 10), (5, ["j1", "j2"], 10)]


def test_what_a_pass_decides_does_not_show_in_its_view():
    def decide(view):
        for job in view.queue:
            yield Start(job)
            assert view.free_nodes == 10
            assert len(view.queue) == 2
            assert not view.running

    run(workload((0, 5, 4), (0, 1, 1)), Plan(decide))


def test_a_preempted_job_starts_over_and_keeps_its_place_in_the_queue():
    def decide(view):
        for running in view.running.values():
            if view.now == 3:
                yield Preempt(running.job)
        if view.now == 3:
            yield from (Start(job) for job in view.queue)  # the newcomer takes the nodes that this frees
        else:
            yield from (Start(job) for job in list(view.queue)[:1] if job.nodes <= view.free_nodes)

    jobs, attempts, timeline = run(workload((0, 10, 10), (3, 4, 10), (4, 1, 10)), Plan(decide))
    assert [(job["start_s"], job["end_s"], job["attempts"]) for job in jobs] == [
        (7, 17, 2),
        (3, 7, 1),
        (17, 18, 1),
    ]
    assert [(a["job_id"], a["attempt"], a["start_s"], a["end_s"], a["state"]) for a in attempts] == [
        ("j0", 1, 0, 3, "preempted"), ("j1", 1, 3, 7, "completed"),
        ("j0", 2, 7, 17, "completed"), ("j2", 1, 17, 18, "completed"),
    ]  # fmt: skip
    assert [row["queue"] for row in timeline] == [0, 1, 2, 1, 0, 0]


def test_a_killed_job_ends_at_once_and_its_old_end_does_nothing():
    def decide(view):
        if view.now == 4:
            yield from (Kill(running.job) for running in view.running.values())
        yield from (Start(job) for job in view.queue if view.now != 4)
        if view.now == 4:
            yield Hold(20)

    jobs, *_ = run(workload((0, 10, 10), (4, 1, 10)), Plan(decide))
    assert [(job["state"], job["start_s"], job["end_s"]) for job in jobs] == [
        ("killed", 0, 4), ("completed", 20, 21)
    ]  # fmt: skip


def test_the_clock_stops_at_the_last_end_and_not_at_one_that_was_overtaken():
    def decide(view):
        yield from (Start(job) for job in view.queue)
        yield from (Kill(running.job) for running in view.running.values() if view.now == 5)

    simulation = Simulation(workload((0, 100, 1), (5, 20, 1)), Plan(decide), nodes=10)
    simulation.run()
    assert simulation.now == 25


def test_a_hold_asks_for_a_pass_later():
    jobs, *_ = run(workload((0, 5, 1)), Plan(lambda view: [Start(*view.queue)] if view.now >= 90 else [Hold(90)]))
    assert jobs[0]["start_s"] == 90


def test_a_job_waits_for_the_jobs_it_names():
    jobs, *_ = run(workload((0, 10, 1), (1, 5, 1), (2, 1, 1), after=[None, [2], [0]]), fcfs())
    assert [job["start_s"] for job in jobs] == [0, 11, 10]


def test_a_rejected_job_counts_as_ended_for_those_that_name_it():
    jobs, *_ = run(workload((0, 10, 11), (1, 5, 1), after=[None, [0]]), fcfs())
    assert (jobs[0]["state"], jobs[0]["rejected_by"], jobs[0]["start_s"]) == (
        "rejected",
        "larger than the machine",
        None,
    )
    assert jobs[1]["start_s"] == 1


def test_jobs_that_wait_for_each_other_are_an_error():
    with pytest.raises(SchedulerError, match="wait for jobs that never end: j0, j1"):
        run(workload((0, 10, 1), (1, 5, 1), after=[[1], [0]]), fcfs())


def test_killing_a_job_frees_its_followers_in_the_same_second():
    def decide(view):
        yield from (Kill(running.job) for running in view.running.values() if view.now == 3)
        yield from (Start(job) for job in view.queue)
        if view.now == 0:
            yield Hold(3)

    class Always(Plan):
        passes_when_idle = True

    jobs, *_ = run(workload((0, 10, 1), (1, 5, 1), after=[None, [0]]), Always(decide))
    assert jobs[1]["start_s"] == 3


@pytest.mark.parametrize(
    ("overrun", "runtime", "state"),
    [("trace", 105, "completed"), ("kill", 100, "timeout")],
)
def test_overrun(overrun, runtime, state):
    jobs, *_ = run(workload((0, 105, 1, 100)), fcfs(), overrun=overrun)
    assert (jobs[0]["runtime_s"], jobs[0]["state"]) == (runtime, state)


def test_even_an_overrun_as_recorded_ends_at_a_tenth_more_than_the_walltime():
    jobs, *_ = run(workload((0, 500, 1, 100)), fcfs(), overrun="trace")
    assert (jobs[0]["runtime_s"], jobs[0]["state"]) == (110, "timeout")


def test_how_a_program_ends_is_the_traces_own():
    jobs, *_ = run(workload((0, 5, 1), outcome=[FAILED]), fcfs())
    assert jobs[0]["state"] == "failed"


def test_until_stops_with_jobs_running_and_waiting():
    jobs, attempts, timeline = run(workload((0, 10, 10), (1, 1, 10), (9, 1, 1)), fcfs(), until=5)
    assert [(job["state"], job["start_s"], job["end_s"]) for job in jobs] == [
        ("running", 0, None), ("waiting", None, None)
    ]  # fmt: skip
    assert attempts[0]["end_s"] is None
    assert timeline[-1] == {"time_s": 1, "queue": 1, "running": 1, "busy_nodes": 10}


def test_a_run_ends_with_its_last_job_even_if_it_might_go_on_for_longer():
    simulation = Simulation(workload((0, 10, 10), (1, 1, 10)), fcfs(), nodes=10)
    for until, now in ((5, 5), (40, 11), (30, 11), (50, 11)):
        simulation.run(until)
        assert simulation.now == now


def test_passes_only_at_multiples_of_the_interval():
    jobs, *_ = run(workload((0, 10, 10), (1, 7, 10), (61, 1, 1)), fcfs(), pass_interval=60)
    assert [job["start_s"] for job in jobs] == [0, 60, 120]


def test_launching_takes_nodes_before_the_job_runs():
    jobs, _, timeline = run(workload((0, 10, 10), (1, 5, 10)), fcfs(), launch_latency=3)
    assert [(job["start_s"], job["end_s"]) for job in jobs] == [(3, 13), (16, 21)]
    assert [(row["time_s"], row["busy_nodes"]) for row in timeline] == [(0, 10), (1, 10), (13, 10), (21, 0)]


@pytest.mark.parametrize("decision", [Kill, Preempt])
def test_a_job_taken_away_while_it_is_launched_has_not_run(decision):
    def decide(view):
        if view.now == 4:
            yield from (decision(running.job) for running in view.running.values())
            yield Hold(20)
        elif view.now != 1:
            yield from (Start(job) for job in list(view.queue)[:1] if job.nodes <= view.free_nodes)
        else:
            yield Hold(4)

    jobs, attempts, _ = run(workload((0, 10, 10), (1, 1, 10)), Plan(decide), launch_latency=30)
    assert (attempts[0]["start_s"], attempts[0]["end_s"]) == (4, 4)
    assert jobs[0]["runtime_s"] == (0 if decision is Kill else 10)


def test_backfilling_counts_the_launch_latency():
    # the head can be launched at 7: what is launched at 2 for 5 s does not delay it, 6 s would
    for walltime, start in ((5, 2), (6, 14)):
        jobs, *_ = run(workload((0, 6, 6), (1, 5, 10), (1, walltime, 4)), EASY(EASY.Options()), launch_latency=1)
        assert [job["start_s"] for job in jobs] == [1, 8, start]


def test_a_warm_start_continues_what_was_running():
    jobs, _, timeline = run(workload((0, 100, 6), (10, 5, 10), (60, 1, 1)), fcfs(), start=50, running_at_start={0: 20})
    assert [(job["start_s"], job["end_s"]) for job in jobs] == [(20, 120), (120, 125), (125, 126)]
    assert timeline[0] == {"time_s": 50, "queue": 1, "running": 1, "busy_nodes": 6}


def test_a_warm_start_continues_what_was_running_even_if_it_names_a_job_that_runs_on():
    after = [None, [0], [1]]
    jobs, attempts, _ = run(
        workload((0, 100, 2), (10, 90, 2), (60, 1, 1), after=after), fcfs(), start=50, running_at_start={0: 20, 1: 30}
    )
    assert [(job["start_s"], job["end_s"]) for job in jobs] == [(20, 120), (30, 120), (120, 121)]
    assert len(attempts) == 3


BAD = [
    ("twice", lambda view: [Start(job) for job in view.queue for _ in "ab"], r"started job j0, .* since this very s"),
    ("overbooked", lambda view: [Start(job) for job in view.queue], r"started job j1 on 8 nodes, but only 2 are free"),
    ("unknown", lambda view: [Start(Job(99, "ghost", 0, 1, 1, "", "", ""))], r"started job ghost, .* not a job of"),
    ("future", lambda view: [Start(Job(2, "j2", 9, 1, 1, "", "", ""))], r"started job j2, which is not yet submitted"),
    ("no job", lambda view: [Start(7)], r"started 7, which is no job but of type int"),
    ("kills waiting", lambda view: [Kill(next(iter(view.queue)))], r"killed job j0, which is waiting; only a r"),
    ("preempts waiting", lambda view: [Preempt(next(iter(view.queue)))], r"preempted job j0, which is waiting"),
    ("holds now", lambda view: [Hold(view.now)], r"holds until 0; it must be a whole second later than now, 0"),
    ("holds for half", lambda view: [Hold(0.5)], r"holds until 0.5"),
    ("reason is no text", lambda view: [Start(next(iter(view.queue)), 5)], r"started job j0 with the reason 5"),
    ("never ends", lambda view: iter(lambda: Hold(view.now + 1), None), r"decided \d+ things in one pass"),
    ("no decision", lambda view: ["start"], r"decided 'start'; a decision is"),
    ("a job itself", lambda view: view.queue, r"decided job j0 itself; to start it, yield Start\(job\)"),
    ("place", lambda view: [Start(7)], r"started 7, .* \(.*\.py:\d+\)$"),
]  # fmt: skip


@pytest.mark.parametrize(("decide", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_decision_names_time_plug_in_job_and_rule(decide, message):
    with pytest.raises(BadDecision, match=r"^t=0: scheduler plan " + message):
        run(workload((0, 5, 8), (0, 5, 8), (9, 1, 1)), Plan(decide))


def test_a_forged_job_cannot_shrink():
    def decide(view):
        yield from (Start(job._replace(nodes=1)) for job in view.queue)

    with pytest.raises(BadDecision, match="on 8 nodes, but only 2 are free"):
        run(workload((0, 5, 8), (0, 5, 8)), Plan(decide))


def test_a_bad_decision_is_told_with_the_line_that_yielded_it():
    class Mine:
        name, api = "mine", 1

        def schedule(self, view):
            yield Hold(view.now + 1)
            yield Hold(view.now)
            yield Hold(view.now + 2)

    first = inspect.getsourcelines(Mine.schedule)[1]
    with pytest.raises(BadDecision, match=rf"holds until 7; .* \(.*test_engine\.py:{first + 2}\)$"):
        run(workload((7, 5, 8)), Mine())


def test_an_interrupt_in_a_pass_that_lasts_says_who_was_deciding(monkeypatch):
    times = iter((0.0, 4.0))
    monkeypatch.setattr("hpcsim.engine.simulation.perf_counter", lambda: next(times))

    def decide(view):
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt) as caught:
        run(workload((7, 5, 8)), Plan(decide))
    (note,) = caught.value.__notes__
    assert re.fullmatch(r"t=7: scheduler plan had been deciding for 4 s \(.*test_engine\.py:\d+\)", note)


def test_a_scheduler_that_raises_is_named_with_the_line():
    def decide(view):
        raise RuntimeError("oh")
        yield

    with pytest.raises(SchedulerError, match=r"^t=7: scheduler plan raised RuntimeError: oh \(.*test_engine.py:\d+\)"):
        run(workload((7, 5, 8)), Plan(decide))


@pytest.mark.parametrize(
    ("decide", "says"),
    [
        (lambda view: view.que, r"'View' object has no attribute 'que'\. Did you mean 'queue'\?"),
        (
            lambda view: [next(iter(view.queue)).runtime],
            "how long a job will run nobody knows: there is job.walltime, and view.twins.performance predicts",
        ),
        (lambda view: view.shadow(3, view.room()), "'int' object has no attribute 'nodes'"),
    ],
)
def test_what_was_meant_and_the_line_of_the_plug_in_are_told(decide, says):
    """Also where the error comes out of hpcsim, which it called."""
    with pytest.raises(SchedulerError, match=rf"^t=7: scheduler plan raised .*{says} \(.*test_engine\.py:\d+\)$"):
        run(workload((7, 5, 8)), Plan(decide))


@pytest.mark.parametrize("schedule", [lambda self, view: None, lambda self: ()], ids=["returns nothing", "signature"])
def test_a_method_that_is_none_is_told_with_its_own_place(schedule):
    returned = r"schedule\(\) returned None; it should yield decisions, or return some"
    says = rf"raised TypeError: ({returned}|.* takes 1 positional argument but 2 .*) \(.*test_engine\.py:\d+\)$"
    with pytest.raises(SchedulerError, match=rf"^t=7: scheduler mine {says}"):
        run(workload((7, 5, 8)), type("Mine", (), {"name": "mine", "api": 1, "schedule": schedule})())


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit])
def test_a_scheduler_cannot_end_the_program(error):
    def decide(view):
        raise error(0)
        yield

    with pytest.raises(SchedulerError, match=f"scheduler plan raised {error.__name__}"):
        run(workload((7, 5, 8)), Plan(decide))


def test_a_scheduler_that_holds_for_ever_is_stopped():
    with pytest.raises(SchedulerError, match="was called 100001 times with nothing running"):
        run(workload((7, 5, 8)), Plan(lambda view: [Hold(view.now + 1)]))


def test_waiting_for_ever_counts_from_the_last_start_on(monkeypatch):
    monkeypatch.setattr("hpcsim.engine.agenda._MOST_IDLE_EVENTS", 50)

    def decide(view):
        job = next(iter(view.queue))
        yield Start(job) if job.name == "j0" and view.now == 40 else Hold(view.now + 1)

    with pytest.raises(SchedulerError, match=r"^t=92: .* was called 51 times with nothing running"):
        run(workload((7, 1, 8), (8, 5, 8)), Plan(decide))  # 41 is over with the job, the first that counts is 42


def test_half_a_character_in_a_reason_loses_no_run():
    _, attempts, _ = run(workload((7, 5, 8)), Plan(lambda view: [Start(job, "\ud800") for job in view.queue]))
    assert attempts[0]["why"] == "?"


def test_a_scheduler_that_starts_nothing_is_named_with_its_jobs():
    with pytest.raises(SchedulerError, match=r"^t=7: scheduler plan left jobs waiting .*: j0; 10 of 10 nodes are free"):
        run(workload((7, 5, 8)), Plan(lambda view: ()))


# -- laws over generated workloads ----------------------------------------------------------------

NODES = 8

job_tuples = st.tuples(
    st.integers(0, 40),  # submit
    st.integers(1, 30),  # runtime
    st.integers(1, NODES + 1),  # nodes, now and then more than the machine has
    st.integers(1, 30),  # walltime
)


@st.composite
def workloads(draw, exact=False, following=True):
    rows = sorted(draw(st.lists(job_tuples, min_size=1, max_size=25)))
    after = [
        draw(st.none() | st.lists(st.integers(0, i - 1), max_size=2)) if i and following else None
        for i in range(len(rows))
    ]
    return workload(*[(s, r, n, r if exact else w) for s, r, n, w in rows], after=after)


schedulers = st.sampled_from(
    [
        fcfs,
        lambda: EASY(EASY.Options()),
        lambda: EASY(EASY.Options(order="wfp3", backfill_order="sjf")),
        lambda: EASY(EASY.Options(extra_nodes=False)),
        lambda: Hybrid(Hybrid.Options(depth=2, order="sqf")),
        lambda: Conservative(Conservative.Options()),
        lambda: Flux(Flux.Options(queue_policy="easy", queue_depth=3)),
        lambda: Flux(Flux.Options(queue_policy="hybrid", cost={"decision_s": 0.7, "waiting_s": 0.1})),
        lambda: Flux(
            Flux.Options(
                levels=[{"children": 2, "queue_policy": "easy"}, {"children": 2}],
                partitioning="on-demand",
                ensemble_jobs=2,
                cost={"decision_s": 0.4},
            )
        ),
        lambda: Tetris(Tetris.Options()),
        lambda: Tetris(Tetris.Options(reservation="easy", fairness=0.0)),
        lambda: NSGA2(NSGA2.Options(evaluations=100, interval=5)),
    ]
)


@settings(deadline=None, max_examples=150)
@given(
    workloads(),
    schedulers,
    st.sampled_from(["trace", "kill"]),
    st.sampled_from([0, 7]),
    st.sampled_from([0, 2]),
)
def test_every_simulation_keeps_the_laws(jobs, scheduler, overrun, pass_interval, launch_latency):
    simulation = Simulation(
        jobs,
        scheduler(),
        nodes=NODES,
        overrun=overrun,
        pass_interval=pass_interval,
        launch_latency=launch_latency,
    )
    simulation.run()
    made = tables(simulation)
    check(simulation, *made)
    assert {row["state"] for row in made[0].to_pylist()} <= {"completed", "timeout", "rejected"}


@settings(deadline=None, max_examples=100)
@given(workloads(), schedulers, st.integers(0, 60))
def test_a_fork_goes_on_as_its_parent_does(jobs, scheduler, at):
    parent = Simulation(jobs, scheduler(), nodes=NODES)
    parent.run(at)
    before = [table.to_pylist() for table in tables(parent)]
    fork = parent.fork()
    fork.run()
    assert [table.to_pylist() for table in tables(parent)] == before  # the fork touched nothing of its parent
    parent.run()
    whole = Simulation(jobs, scheduler(), nodes=NODES)
    whole.run()
    assert tables(fork) == tables(parent) == tables(whole)


@settings(deadline=None, max_examples=100)
@given(workloads(exact=True), st.integers(1, 1000))
def test_later_by_so_much_is_the_same_schedule_later(jobs, shift):
    late = workload_from_columns(
        t0_utc=0, source="late", name=jobs.table.column("name").to_pylist(),
        **{name: jobs.column(name) for name in ("nodes", "walltime_s", "runtime_s")},
        submit_s=jobs.column("submit_s") + shift, after=jobs.table.column("after").to_pylist(),
    )  # fmt: skip
    ends = []
    for trace in (jobs, late):
        simulation = Simulation(trace, EASY(EASY.Options()), nodes=NODES)
        simulation.run()
        ends.append(np.array(simulation.attempts.end))
    assert (ends[0] + shift == ends[1]).all()


class WatchedEASY(EASY):
    """Notes what EASY promises to the head of the queue."""

    def __init__(self):
        super().__init__(EASY.Options())
        self.first_promise = {}

    def schedule(self, view):
        decided = list(super().schedule(view))
        room = view.room()
        for decision in decided:
            if decision.why != "first in the queue":
                break
            room.take(decision.job)
        waiting = [job for job in view.queue if job not in room.started]
        if waiting and waiting[0].nodes > room.free:
            self.first_promise.setdefault(waiting[0].id, view.shadow(waiting[0], room).time)
        return decided


@settings(deadline=None, max_examples=150)
@given(workloads(following=False))
def test_easy_never_starts_a_head_later_than_it_first_promised(jobs):
    easy = WatchedEASY()
    simulation = Simulation(jobs, easy, nodes=NODES, overrun="kill")
    simulation.run()
    started = dict(zip(simulation.attempts.job, simulation.attempts.start, strict=True))
    for job_id, promise in easy.first_promise.items():
        assert started[job_id] <= promise
