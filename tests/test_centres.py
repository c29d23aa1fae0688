"""Laws of what the centres run: cobalt, pbs and slurm."""

from __future__ import annotations

import importlib.util
import re
import sys
from math import log
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.engine.availability import Releases
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.queue_rules import Period, Queue
from hpcsim.machine.queues import Admission, Limits, QueueRules
from hpcsim.plugin import Job, Start
from hpcsim.results.check import check
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.schedulers.backfilling import EASY, Conservative, Hybrid
from hpcsim.schedulers.centres import Eligible
from hpcsim.schedulers.centres_cobalt import Cobalt
from hpcsim.schedulers.centres_pbs import PBS
from hpcsim.schedulers.centres_slurm import FairShare, Slurm
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import workload_from_columns
from hpcsim.workload.trace import read_trace

HOUR = 3600
FIFO = {"wfp_factor": 0.0, "accruing": None}  # PBS in the order of submission
BY_WAIT = {"queue_priority": {"": "fifo"}}  # PBS by eligible time alone
BY_AGE = {"size_weight": 0, "fair_share_weight": 0, "max_age": 10**9, "bf_interval": 0, "bf_resolution": 1}
ALL = {"bf_max_job_test": 10**6, "bf_window": 10**9}


def made(kind, **options):
    return kind(kind.Options(**options))


def job(number=0, nodes=1, walltime=HOUR, submit=0, queue="", project=""):
    return Job(number, f"j{number}", submit, nodes, walltime, "", project, queue)


def seen(now, nodes, priority="production"):
    return SimpleNamespace(now=now, nodes=nodes, priority=lambda job: priority, running={})


def workload(*rows, **more):
    """Jobs as (submit, runtime, nodes) or with a walltime as well; more columns by name."""
    submit, runtime, nodes, walltime = zip(*((*row, row[1])[:4] for row in rows), strict=True)
    return workload_from_columns(
        t0_utc=0, source="test", name=[f"j{i}" for i in range(len(rows))], submit_s=submit, nodes=nodes,
        walltime_s=walltime, runtime_s=runtime, **more,
    )  # fmt: skip


def finished(jobs, scheduler, nodes, **options):
    simulation = Simulation(jobs, scheduler, nodes=nodes, **options)
    simulation.run()
    everything = np.ones(len(jobs), bool)
    check(simulation, jobs_table(simulation, everything), attempts_table(simulation), timeline_table(simulation))
    return simulation


def starts(simulation):
    start = np.full(len(simulation.workload), -1)
    start[np.array(simulation.attempts.job)] = np.array(simulation.attempts.start)
    return start.tolist()


def centre(*queues):
    return QueueRules("made", (Period(0, {each.name: each for each in queues}, (queues[0].name,)),))


generated = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 100), st.integers(1, 16)), min_size=1, max_size=30
).map(sorted)


# -- values by hand ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("priority", "asked", "waited", "score"),
    [
        ("production", (100, 6 * HOUR, 560), 2 * HOUR, 53.296),
        ("production", (100, 12 * HOUR, 560), 2 * HOUR, 51.287),
        ("production", (100, 1 * HOUR, 560), 2 * HOUR, 53.296),
        ("production", (100, 24 * HOUR, 560), 2 * HOUR, 51.287),
        ("debug", (1, HOUR, 560), 2 * HOUR, 55.0),
        ("fifo", (1, HOUR, 560), 2 * HOUR, 4.0),
        ("backfill", (10, HOUR, 560), 84_600, 1.0),
        ("backfill", (10, HOUR, 560), 1000 * 84_600, 50.0),
    ],
)
def test_the_formula_of_pbs_by_hand(priority, asked, waited, score):
    nodes, walltime, machine = asked
    scheduler = made(PBS, project_priority={"incite": 25.0})
    facts = np.array([scheduler._describe(job(0, nodes, walltime, project="incite"), seen(0, machine, priority))])
    assert scheduler.score(facts, np.array([waited]))[0] == pytest.approx(score, abs=5e-4)


def test_an_award_that_is_not_known_is_the_same_for_every_job_of_the_project():
    scheduler = made(PBS)
    awards = [scheduler.award(f"project {i}") for i in range(2000)]
    assert awards == [made(PBS).award(f"project {i}") for i in range(2000)]
    shares = [awards.count(award) / 2000 for award in (25.0, 20.0, 2.0)]
    assert shares == pytest.approx([0.3, 0.1, 0.6], abs=0.03)
    assert scheduler.award("") == 25.0


@pytest.mark.parametrize(
    ("options", "nodes", "score", "least"),
    [
        ({"utility": "wfp"}, 100, 100 / 27, 0.65 * 100 / 27),
        ({"utility": "wfp", "exponent": 2, "threshold": 0.75}, 100, 100 / 9, 0.75 * 100 / 9),
        ({"utility": "unicef"}, 100, 1 / 6, 0.75 / 6),
        ({"utility": "unicef"}, 64, 1 / 3, 0.75 / 3),
        ({"utility": "unicef"}, 1, 1 / 3, 0.75 / 3),
        ({"utility": "unicef", "walltime_in_minutes": True}, 64, 20, 4.5),
        ({"utility": "wfp", "walltime_in_minutes": True}, 100, 60**3 * 100 / 27, 0.65 * 60**3 * 100 / 27),
        ({"utility": "fifo"}, 7, 7200, 7200),
    ],
)
def test_the_utilities_of_cobalt_by_hand(options, nodes, score, least):
    scheduler = made(Cobalt, **options)
    facts = np.array([scheduler._describe(job(0, nodes, 6 * HOUR), seen(0, 560))], float)
    found = scheduler.score(facts, np.array([2.0 * HOUR]))[0]
    assert found == pytest.approx(score)
    assert scheduler.least_instead(found) == pytest.approx(least)


def test_the_priority_of_slurm_by_hand():
    scheduler = made(Slurm, max_age=1000, queue_factor={"big": 0.5})
    facts = np.array([scheduler._describe(job(0, 14, queue="big", project="a"), seen(0, 56))])
    assert scheduler.priority(facts, np.array([100])) == pytest.approx(100 + 10_000 + 250 + 500)
    assert scheduler.priority(facts, np.array([5000])) == pytest.approx(1000 + 10_000 + 250 + 500)


# -- the same starts as schedulers that are known ------------------------------------------------------


@pytest.mark.parametrize("trace", ["sdsc5k", "syn-ties", "syn-exact-ties"])
@pytest.mark.parametrize(
    ("own", "known"),
    [
        ((Cobalt, {"utility": "fifo", "busy_shadow": 0}), (EASY, {})),
        ((Cobalt, {"utility": "wfp", "threshold": 1, "busy_shadow": 0}), (EASY, {"order": "wfp3"})),
        ((PBS, {**FIFO, "backfill_depth": 1}), (EASY, {})),
        ((PBS, {**FIFO, "backfill_depth": 7}), (Hybrid, {"depth": 7})),
        ((Slurm, {**BY_AGE, **ALL}), (Conservative, {})),
    ],
)
def test_every_start_as_under_a_known_scheduler(data, trace, own, known):
    jobs = read_trace(data / "oracles" / f"{trace}.swf.gz").first(1000)
    nodes = jobs.machine_nodes
    (kind, options), (other, of_other) = own, known
    assert starts(finished(jobs, made(kind, **options), nodes)) == starts(
        finished(jobs, made(other, **of_other), nodes)
    )


def test_a_strict_queue_lets_nobody_overtake():
    jobs = workload((0, 100, 6), (1, 100, 8), (2, 10, 2))
    assert starts(finished(jobs, made(PBS, **FIFO, backfill_depth=0), 10)) == [0, 100, 100]
    assert starts(finished(jobs, made(PBS, **FIFO, backfill_depth=1), 10)) == [0, 100, 2]


# -- promises ----------------------------------------------------------------------------------------


class Promising:
    """A scheduler around another whose order is that of submission; it notes what each head was first promised."""

    api = 1

    def __init__(self, inner):
        self.inner, self.name = inner, inner.name
        self.promised = {}

    def schedule(self, view):
        decided = list(self.inner.schedule(view))
        room = view.room()
        going = {each.job.id for each in decided if isinstance(each, Start) and room.take(each.job)}
        head = next((each for each in view.queue if each.id not in going), None)
        if head is not None:
            self.promised.setdefault(head.id, view.shadow(head, room).time)
        yield from decided


@settings(max_examples=60, deadline=None)
@given(jobs=generated)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Cobalt, {"utility": "fifo", "busy_shadow": 0}),
        (PBS, {**FIFO, "backfill_depth": 1}),
        (PBS, {**FIFO, "backfill_depth": 3}),
        (Slurm, {**BY_AGE, **ALL}),
    ],
)
def test_with_exact_walltimes_the_head_starts_no_later_than_it_was_first_promised(jobs, kind, options):
    scheduler = Promising(made(kind, **options))
    began = starts(finished(workload(*jobs), scheduler, 16))
    assert all(began[number] <= second for number, second in scheduler.promised.items())


@settings(max_examples=100, deadline=None)
@given(
    ends=st.lists(st.tuples(st.integers(0, 900), st.integers(1, 8)), min_size=1, max_size=12),
    nodes=st.integers(1, 20),
    free=st.integers(0, 20),
    busy=st.sampled_from([0, 1, 300]),
)
def test_a_busy_shadow_is_that_of_jobs_that_go_on_so_long(ends, nodes, free, busy):
    now = 200
    nodes = min(nodes, free + sum(released for _, released in ends))
    rows = sorted((end, number, released) for number, (end, released) in enumerate(ends))
    later = sorted((max(end, now + busy), number, released) for end, number, released in rows)
    assert Releases(rows).shadow(nodes, free, now, busy=busy) == Releases(later).shadow(nodes, free, now)


class Asking(Cobalt):
    """Cobalt that remembers what its heads were promised."""

    def __init__(self):
        super().__init__(Cobalt.Options(utility="fifo", busy_shadow=0))  # else a promise moves on with the clock
        self.promised = {}

    def schedule(self, view):
        def shadow(job, room, busy):
            found = view.shadow(job, room, busy)
            self.promised.setdefault(job.id, found.time)
            return found

        class Through:
            def __getattr__(_, name):
                return shadow if name == "shadow" else getattr(view, name)

        return super().schedule(Through())


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 5000), st.integers(1, 4000), st.sampled_from([1, 1, 2, 4, 8, 16, 32, 96])), max_size=25
    ).filter(bool).map(sorted)
)  # fmt: skip
def test_on_a_torus_the_drained_block_is_there_when_it_was_promised(rows):
    jobs = workload(*((submit, runtime, 512 * midplanes) for submit, runtime, midplanes in rows))
    cluster = Cluster(load_machine("mira"), draw_behaviour(jobs, 1), policy="torus", start=0)
    scheduler = Asking()
    site = Site(cluster, jobs, overrun="kill", requeues=True, checkpointing=None)
    began = starts(finished(jobs, scheduler, 49_152, site=site))
    assert all(began[number] <= second for number, second in scheduler.promised.items())


# -- cobalt ------------------------------------------------------------------------------------------


def test_a_job_near_the_best_starts_in_its_place_although_it_delays_it():
    """At second 500 jobs 1 and 2 have scores of 5.4 and 1.6; job 2 would end after job 0."""
    jobs = workload((0, 1000, 6), (10, 900, 10), (11, 1200, 4), (500, 10, 10))
    near = {"utility": "wfp", "exponent": 1}
    assert starts(finished(jobs, made(Cobalt, **near, threshold=0.25), 10))[1:3] == [1710, 500]
    assert starts(finished(jobs, made(Cobalt, **near, threshold=0.35), 10))[1:3] == [1010, 1910]


def test_nothing_is_drained_for_longer_than_the_limit():
    jobs = workload((0, 1000, 6), (10, 900, 10), (11, 1200, 4))
    fifo = {"utility": "fifo"}
    assert starts(finished(jobs, made(Cobalt, **fifo, max_drain=988), 10)) == [0, 1211, 11]
    assert starts(finished(jobs, made(Cobalt, **fifo, max_drain=989), 10)) == [0, 1000, 1900]


# -- eligible time -----------------------------------------------------------------------------------


def test_eligible_time_stands_while_the_job_runs():
    clock, one = Eligible(None), [job(0)]
    ids = np.array([0])
    assert clock.seconds(one, ids, seen(1000, 1)) == 0
    assert clock.seconds(one, ids, seen(1050, 1)) == 50
    clock.started(one, 1050)
    assert clock.seconds(one, ids, seen(1080, 1)) == 50
    assert clock.seconds(one, ids, seen(1090, 1)) == 60


def test_eligible_time_is_gathered_only_within_the_limit_of_the_project():
    """Job 1 waits for job 0 of its project to be gone before its clock begins; job 2 is of another project."""
    jobs = workload((0, 100, 10), (0, 100, 10), (0, 100, 10), project=["p", "p", "q"])
    assert starts(finished(jobs, made(PBS, **BY_WAIT, accruing=1), 10)) == [0, 200, 100]
    assert starts(finished(jobs, made(PBS, **BY_WAIT, accruing=2), 10)) == [0, 100, 200]


def test_jobs_of_unknown_projects_have_no_limit():
    jobs = workload(*[(0, 100, 10)] * 4)
    assert starts(finished(jobs, made(PBS, **BY_WAIT, accruing=1), 10)) == [0, 100, 200, 300]


def test_eligible_time_counts_from_when_the_limits_on_running_jobs_let_a_job_into_the_queue():
    rules = centre(Queue("g", (1, 10), (0, 1000), running=Limits(user=1), priority="fifo"))
    jobs = workload((0, 100, 10), (0, 100, 10), (50, 100, 10), user=["u", "u", "v"])
    simulation = finished(jobs, made(PBS), 10, admission=Admission(rules, 0, nodes=10))
    assert starts(simulation) == [0, 200, 100]


@pytest.mark.parametrize(("kind", "options"), [(Cobalt, {}), (Cobalt, {"utility": "fifo"}), (PBS, {})])
def test_jobs_of_backfill_queues_come_after_all_others(kind, options):
    rules = centre(Queue("g", (1, 10), (0, 1000)), Queue("spare", (1, 10), (0, 1000), priority="backfill"))
    jobs = workload((0, 100, 10), (1, 100, 10), (90, 100, 10), queue=["g", "spare", "g"])
    simulation = finished(jobs, made(kind, **options), 10, admission=Admission(rules, 0, nodes=10))
    assert starts(simulation) == [0, 200, 100]


# -- slurm -------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(jobs=generated, half_life=st.integers(10, 10_000))
def test_usage_decays_as_the_closed_form_says(jobs, half_life):
    scheduler = made(Slurm, half_life=half_life)
    users = [f"u{number % 3}" for number in range(len(jobs))]
    simulation = finished(workload(*jobs, user=users), scheduler, 16)
    now = scheduler.usage._now
    for name, account in scheduler.usage.accounts.items():
        known = sum(
            nodes * half_life / log(2) * (2 ** -((now - end) / half_life) - 2 ** -((now - start) / half_life))
            for number, start, end, (_, _, nodes) in zip(
                simulation.attempts.job, simulation.attempts.start, simulation.attempts.end,
                [jobs[number] for number in simulation.attempts.job], strict=True,
            )
            if users[number] == name
        )  # fmt: skip
        assert scheduler.usage.usage_A[account] == pytest.approx(known, rel=1e-6, abs=1e-6)


def test_the_fair_share_factor_is_a_half_where_usage_is_just_the_share():
    usage = FairShare(1000, {"a": 3.0})
    for number, project in enumerate("abc"):
        usage.number(job(number, project=project))
    usage.usage_A[:] = [60.0, 20.0, 20.0]
    assert usage.factor_A() == pytest.approx(0.5)
    usage.usage_A[:] = [0.0, 10.0, 0.0]
    assert usage.factor_A() == pytest.approx([1.0, 2.0**-5, 1.0])


def test_whose_account_has_used_less_goes_first():
    """By second 250 account a has used 100 s of the machine and b 50 s; a job of each waits, that of a for longer."""
    jobs = workload(
        (0, 100, 10), (0, 50, 10), (140, 100, 10), (160, 100, 10), (170, 100, 10), user=["a", "b", "c", "a", "b"]
    )  # fmt: skip
    assert starts(finished(jobs, made(Slurm), 10)) == [0, 100, 150, 350, 250]
    assert starts(finished(jobs, made(Slurm, shares={"a": 3.0}), 10)) == [0, 100, 150, 250, 350]


def test_backfilling_passes_keep_their_distance():
    jobs = workload((0, 100, 6), (1, 100, 8), (2, 10, 2))
    assert starts(finished(jobs, made(Slurm, bf_interval=0), 10)) == [0, 100, 2]
    assert starts(finished(jobs, made(Slurm, bf_interval=30), 10)) == [0, 100, 30]
    assert starts(finished(jobs, made(Slurm, bf_max_job_test=0), 10)) == [0, 100, 100]


def test_no_place_is_held_beyond_the_window():
    jobs = workload((0, 1000, 6), (10, 900, 10), (11, 1200, 4))
    options = {**BY_AGE, "bf_max_job_test": 100}
    assert starts(finished(jobs, made(Slurm, **options, bf_window=988), 10)) == [0, 1211, 11]
    assert starts(finished(jobs, made(Slurm, **options, bf_window=990), 10)) == [0, 1000, 1900]


def test_planned_times_are_multiples_of_the_resolution():
    """Job 2 ends at 97, before job 1 can start at 100; planned in whole minutes it would not."""
    jobs = workload((0, 100, 6), (1, 100, 8), (2, 95, 4))
    options = BY_AGE | {"bf_max_job_test": 100}
    assert starts(finished(jobs, made(Slurm, **options), 10)) == [0, 100, 2]
    assert starts(finished(jobs, made(Slurm, **options | {"bf_resolution": 60}), 10)) == [0, 100, 200]


# -- all of them ---------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(jobs=generated, at=st.integers(1, 400))
@pytest.mark.parametrize("kind", [Cobalt, PBS, Slurm])
def test_a_fork_goes_on_as_the_run_itself(jobs, at, kind):
    jobs = workload(*jobs, user=[f"u{number % 3}" for number in range(len(jobs))])
    simulation = Simulation(jobs, made(kind), nodes=16)
    simulation.run(at)
    twin = simulation.fork()
    simulation.run()
    twin.run()
    assert starts(twin) == starts(simulation)


@pytest.mark.parametrize("machine", ["POLARIS", "THETA"])
def test_the_centres_own_policy_is_nearer_to_the_record_than_easy(data, machine):
    path = Path(__file__).parents[1] / "benchmarks" / "centre_replay.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = benchmark  # dataclasses look their module up
    spec.loader.exec_module(benchmark)
    machine = getattr(benchmark, machine)
    replay = benchmark.Replay(machine, data, 1)
    own = replay.run(machine.policy, pass_interval_s=machine.pass_interval_s)
    easy = replay.run({"name": "easy"})
    assert benchmark.mean_distance(machine, own) < benchmark.mean_distance(machine, easy)


def test_what_they_cite_is_known():
    entries = (Path(hpcsim.__file__).parent / "results" / "references.bib").read_text()
    for kind in (Cobalt, PBS, Slurm):
        assert all(re.search(rf"^@\w+\{{{key},$", entries, re.M) for key in kind.cites)
