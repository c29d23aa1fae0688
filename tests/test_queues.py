"""Queue rules: what the centres published, files that say nonsense, and the laws of limits in a run."""

from collections import Counter
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.errors import InputError
from hpcsim.machine.queues import Admission, Admitted, Limits, Period, Pool, Queue, QueueRules, Refused
from hpcsim.strict_yaml import dump_yaml
from hpcsim.workload.job import Job, Workload
from hpcsim.workload.synthetic import profile_names, synthesise
from hpcsim.workload.trace import read_trace

NODES = {"polaris": 560, "aurora": 10_624, "mira": 49_152, "theta": 4_392, "cooley": 126}


def job(number: int, nodes: int = 1, minutes: int = 60, queue: str = "", user: str = "u", project: str = "p") -> Job:
    return Job(number, str(number), number, nodes, 60 * minutes, user, project, queue)


def utc(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())


def written(tmp_path: Path, queues: dict[str, Any], default: list[str] | None = None) -> QueueRules:
    """Rules of one period, through a file."""
    path = tmp_path / "rules.yaml"
    period = {"from": "2024-01-01", "default": default or list(queues)[:1], "queues": queues}
    path.write_text(dump_yaml({"periods": [period]}))
    return QueueRules.read(path)


def outcome(machine: str, day: str, queue: str, nodes: int, hours: float) -> str:
    found = Admission(QueueRules.named(machine), utc(day)).submit(job(0, nodes, round(60 * hours), queue), 0)
    return found.queue if isinstance(found, Admitted) else found.rule


# -- the published rules ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "queue", "nodes", "hours", "expected"),
    [
        # until April 2023
        ("2023-04-30", "prod", 24, 6, "small"),
        ("2023-04-30", "prod", 24, 7, "small: 6 h at most"),
        ("2023-04-30", "prod", 49, 12, "medium"),
        ("2023-04-30", "prod", 50, 24, "large"),
        # since then
        ("2023-05-01", "prod", 24, 3, "small"),
        ("2023-05-01", "prod", 24, 6, "small: 3 h at most"),
        ("2023-05-01", "prod", 25, 6, "medium"),
        ("2023-05-01", "prod", 99, 6, "medium"),
        ("2023-05-01", "prod", 100, 24, "large"),
        ("2023-05-01", "prod", 496, 24, "large"),
        ("2023-05-01", "prod", 497, 1, "prod: 496 nodes at most"),
        ("2023-05-01", "prod", 9, 1, "prod: 10 nodes at least"),
        ("2023-05-01", "small", 25, 1, "small: 24 nodes at most"),
        ("2023-05-01", "large", 100, 24.5, "large: 24 h at most"),
        ("2023-05-01", "debug", 3, 1, "debug: 2 nodes at most"),
        ("2023-05-01", "debug", 2, 1.5, "debug: 1 h at most"),
        ("2023-05-01", "debug", 2, 0.05, "debug: 5 min at least"),
        ("2023-05-01", "preemptable", 10, 72, "preemptable"),
        ("2023-05-01", "demand", 56, 1, "demand"),
        ("2023-05-01", "backfill-medium", 60, 6, "backfill-medium"),
        # 216 nodes for six weeks
        ("2023-10-02", "prod", 217, 6, "large"),
        ("2023-10-03", "prod", 217, 6, "prod: 216 nodes at most"),
        ("2023-11-17", "prod", 217, 6, "prod: 216 nodes at most"),
        ("2023-11-17", "prod", 216, 6, "large"),
        ("2023-11-18", "prod", 217, 6, "large"),
        # capacity; before, its jobs are routed like those that name no queue
        ("2026-01-31", "capacity", 2, 70, "preemptable"),
        ("2026-02-01", "capacity", 2, 24, "capacity"),
        ("2026-02-01", "capacity", 2, 25, "capacity: 24 h at most"),
        ("2026-02-17", "capacity", 4, 168, "capacity"),
        # a job that names no queue goes where it fits
        ("2024-01-01", "", 2, 1, "debug"),
        ("2024-01-01", "", 9, 1, "debug-scaling"),
        ("2024-01-01", "", 9, 70, "preemptable"),
        ("2024-01-01", "", 9, 73, "preemptable: 72 h at most"),
        ("2024-01-01", "", 300, 20, "large"),
        ("2024-01-01", "R1123900", 600, 20, "prod: 496 nodes at most"),
    ],
)
def test_polaris(day: str, queue: str, nodes: int, hours: float, expected: str) -> None:
    assert outcome("polaris", day, queue, nodes, hours) == expected


@pytest.mark.parametrize(
    ("day", "queue", "nodes", "hours", "expected"),
    [
        ("2025-01-21", "prod", 31, 1, "prod: 32 nodes at least"),
        ("2025-04-23", "prod", 31, 6, "tiny"),
        ("2025-04-23", "prod", 512, 7, "tiny: 6 h at most"),
        ("2025-04-23", "prod", 1024, 12, "small"),
        ("2025-04-23", "prod", 2048, 18, "medium"),
        ("2025-04-23", "prod", 2049, 18, "prod: 2048 nodes at most"),
        ("2025-04-23", "prod-large", 2049, 24, "large"),
        ("2025-08-29", "prod", 1919, 18, "medium"),
        ("2025-08-29", "prod", 1920, 24, "large"),
        ("2025-08-29", "prod", 10_624, 24, "large"),
        ("2025-09-08", "prod", 7_937, 24, "prod: 7936 nodes at most"),
        ("2025-10-12", "prod", 7_501, 24, "prod: 7500 nodes at most"),
        ("2025-10-16", "prod", 8_577, 24, "prod: 8576 nodes at most"),
        ("2025-10-29", "prod", 9_537, 24, "prod: 9536 nodes at most"),
        ("2025-10-30", "prod", 10_624, 24, "large"),
        ("2026-02-16", "debug-scaling", 32, 1, "debug-scaling: 31 nodes at most"),
        ("2026-02-17", "debug-scaling", 256, 1, "debug-scaling"),
        ("2026-02-17", "prod", 255, 1, "prod: 256 nodes at least"),
        ("2026-02-17", "tiny", 16, 6, "capacity"),  # no more: goes where it fits
        ("2026-02-17", "tiny", 300, 6, "small"),
        ("2026-02-17", "capacity", 16, 168, "capacity"),
        ("2026-06-18", "prod", 1_920, 24, "large"),
        ("2026-06-19", "prod", 1_999, 24, "medium: 18 h at most"),
        ("2026-06-19", "prod", 2_000, 24, "large"),
        ("2026-08-01", "visualization", 32, 8, "visualization"),
    ],
)
def test_aurora(day: str, queue: str, nodes: int, hours: float, expected: str) -> None:
    assert outcome("aurora", day, queue, nodes, hours) == expected


@pytest.mark.parametrize(
    ("machine", "queue", "nodes", "hours", "expected"),
    [
        ("mira", "prod", 512, 6, "prod-short"),
        ("mira", "prod", 4_096, 6.5, "prod-long"),
        ("mira", "prod", 4_096, 13, "prod-long: 12 h at most"),
        ("mira", "prod", 8_192, 24, "prod-capability"),
        ("mira", "prod", 49_152, 25, "prod: 24 h at most"),
        ("mira", "prod-long", 512, 6, "prod-long: 361 min at least"),
        ("mira", "prod-capability", 4_096, 6, "prod-capability: 4097 nodes at least"),  # the block of 4,096
        ("mira", "prod-1024-torus", 1_024, 12, "prod-1024-torus"),
        ("theta", "default", 255, 3, "default"),
        ("theta", "default", 255, 4, "default: 3 h at most below 256 nodes"),
        ("theta", "default", 383, 6, "default"),
        ("theta", "default", 384, 9, "default"),
        ("theta", "default", 801, 12, "default"),
        ("theta", "default", 801, 12.5, "default: 12 h at most below 802 nodes"),
        ("theta", "default", 4_100, 24, "default"),
        ("theta", "default", 4_101, 24, "default: 4100 nodes at most"),
        ("theta", "default", 128, 0.4, "default: 30 min at least"),
        ("theta", "backfill", 128, 0.4, "backfill"),
        ("theta", "debug-flat-quad", 8, 1, "debug-flat-quad"),
        ("cooley", "default", 110, 12, "default"),
        ("cooley", "debug", 16, 2, "debug"),
        ("cooley", "pubnet", 4, 1, "default"),
    ],
)
def test_cobalt_machines(machine: str, queue: str, nodes: int, hours: float, expected: str) -> None:
    assert outcome(machine, "2019-06-01", queue, nodes, hours) == expected


def test_a_period_begins_at_midnight_utc() -> None:
    admission = Admission(QueueRules.named("polaris"), utc("2023-04-30"))
    assert admission.submit(job(0, 20, 240, "prod"), 86_399) == Admitted("small", True)
    assert admission.submit(job(1, 20, 240, "prod"), 86_400) == Refused("small: 3 h at most")


def test_before_the_first_period_the_day_of_earlier_as_of_holds() -> None:
    assert outcome("aurora", "2024-01-01", "prod", 1_920, 24) == "large"  # as of 2026-02-01
    assert outcome("polaris", "1970-01-01", "prod", 24, 6) == "small: 3 h at most"  # a trace without a date
    assert outcome("cooley", "1970-01-01", "debug", 16, 2) == "debug"


def test_special_queues() -> None:
    polaris = QueueRules.named("polaris").at(utc("2024-07-01"))
    assert polaris.stops == {"demand": {"preemptable"}}
    assert [name for name, queue in polaris.queues.items() if queue.preemptable] == ["preemptable"]
    assert polaris.pools == {"debug": Pool(exclusive=8, shared=16)}
    admission = Admission(QueueRules.named("polaris"), utc("2024-07-01"))
    assert (admission.pooled, admission.preempting) == (("debug",), ("demand",))
    admission.submit(job(0, 10, queue="prod"), 0)
    assert admission.queue_of(job(0)).priority == "production"
    theta = Admission(QueueRules.named("theta"), utc("2019-01-01"))
    theta.submit(job(0, 14, 60, "default"), 0)
    assert theta.queue_of(job(0)).allocation == 128


def test_names_of_queues_that_are_not_there_are_counted() -> None:
    admission = Admission(QueueRules.named("polaris"), utc("2024-07-01"))
    for number, queue in enumerate(["R.pm", "", "prod", "R.pm", "capacity"]):
        admission.submit(job(number, 10, queue=queue, user=str(number)), 0)
    assert admission.rerouted == {"R.pm": 2, "capacity": 1}


def test_cooley_counts_node_hours_of_a_user() -> None:
    admission = Admission(QueueRules.named("cooley"), utc("2019-01-01"))
    assert admission.submit(job(0, 100, 720), 0) == Admitted("default", True)  # 1,200 of 1,320 node-hours
    assert admission.submit(job(1, 10, 720), 0) == Admitted("default", True)
    refused = Refused("default: 1320 node-hours in jobs of a user at most")
    assert admission.submit(job(2, 1, 1), 0) == refused
    assert admission.submit(job(3, 100, 720, user="v"), 0) == Admitted("default", True)
    admission.ended(job(1, 10, 720))
    assert admission.submit(job(4, 10, 720), 0) == Admitted("default", True)


# -- the profiles and a real trace keep to the rules ----------------------------------------------------


def refusals(workload: Workload, machine: str) -> Counter[str]:
    """The rules that jobs break by themselves: each is gone before the next one comes."""
    rules = QueueRules.named(machine)
    rules.check_against(NODES[machine])
    admission = Admission(rules, workload.t0_utc, nodes=NODES[machine])
    broken: Counter[str] = Counter()
    for each in workload.jobs():
        found = admission.submit(each, each.submit)
        if isinstance(found, Refused):
            broken[found.rule] += 1
        else:
            assert admission.ended(each) == []
    return broken


@pytest.mark.parametrize("profile", profile_names())
def test_the_synthetic_jobs_keep_to_the_rules(profile: str) -> None:
    workload = synthesise(profile, seed=1, days=10)
    broken = refusals(workload, profile.split("-")[0])
    print(profile, len(workload), dict(broken))
    assert broken.total() < 0.02 * len(workload)


def test_the_real_jobs_of_mira_keep_to_the_rules(data: Path) -> None:
    workload = read_trace(data / "traces/alcf/ANL-ALCF-DJC-MIRA_20200101_20201231.csv.gz", reservations="keep")
    broken = refusals(workload, "mira")
    print(len(workload), dict(broken))
    assert broken.total() < 0.03 * len(workload)


# -- limits in a run ----------------------------------------------------------------------------------


def test_jobs_beyond_a_limit_on_running_jobs_are_held_back_in_order(tmp_path: Path) -> None:
    rules = written(tmp_path, {"q": {"nodes": [1, 9], "walltime_min": [1, 60], "running": {"user": 2}}})
    admission = Admission(rules, utc("2024-01-01"))
    jobs = [job(number) for number in range(5)]
    held = Admitted("q", False, "q: 2 running jobs of a user at most")
    assert [admission.submit(each, 0) for each in jobs] == [Admitted("q", True)] * 2 + [held] * 3
    assert [admission.may_run(each) for each in jobs] == [True, True, False, False, False]
    admission.started(jobs[0])
    assert admission.ended(jobs[0]) == [2]
    admission.started(jobs[1])
    admission.requeued(jobs[1])  # keeps its right to run
    assert admission.may_run(jobs[1])
    assert admission.ended(jobs[3]) == []  # withdrawn while it was held back
    assert admission.ended(jobs[2]) == [4]
    with pytest.raises(ValueError, match="running already"):
        admission.started(jobs[1]) or admission.started(jobs[1])


def test_a_held_back_job_cannot_start(tmp_path: Path) -> None:
    rules = written(tmp_path, {"q": {"nodes": [1, 9], "walltime_min": [1, 60], "running": {"jobs": 1}}})
    admission = Admission(rules, utc("2024-01-01"))
    admission.submit(job(0), 0)
    admission.submit(job(1, user="v"), 0)
    with pytest.raises(ValueError, match="held back"):
        admission.started(job(1))


def test_a_small_job_does_not_overtake_a_larger_one_of_its_queue(tmp_path: Path) -> None:
    rules = written(tmp_path, {"q": {"nodes": [1, 8], "walltime_min": [1, 60], "running": {"nodes": 8}}})
    admission = Admission(rules, utc("2024-01-01"))
    sizes = [6, 8, 1, 1]
    found = [admission.submit(job(n, size, user=str(n)), 0) for n, size in enumerate(sizes)]
    small = Admitted("q", False, "q: a larger job ahead of it is held back")
    assert found == [Admitted("q", True), Admitted("q", False, "q: 8 nodes in running jobs at most"), small, small]
    assert admission.ended(job(0, 6, user="0")) == [1]
    assert admission.ended(job(1, 8, user="1")) == [2, 3]

    queue = {"nodes": [1, 8], "walltime_min": [1, 60], "running": {"user": 1, "nodes": 8}}
    admission = Admission(written(tmp_path, {"q": queue}), utc("2024-01-01"))
    jobs = [job(0, 6, user="a"), job(1, 8, user="b"), job(2, 1, user="a")]
    assert [admission.submit(each, 0).may_run for each in jobs] == [True, False, False]
    assert [admission.ended(each) for each in jobs] == [[1], [2], []]


def test_the_earliest_goes_first_whoever_submitted_it(tmp_path: Path) -> None:
    rules = written(tmp_path, {"q": {"nodes": [1, 8], "walltime_min": [1, 60], "running": {"project": 1}}})
    admission = Admission(rules, utc("2024-01-01"))
    jobs = [job(n, user=user) for n, user in enumerate("abcb")]
    for each in jobs:
        admission.submit(each, 0)
    assert [admission.ended(each) for each in jobs] == [[1], [2], [3], []]


def test_a_job_held_back_by_two_limits_waits_for_both(tmp_path: Path) -> None:
    limits = {"running": {"user": 1, "project": 1}}
    rules = written(tmp_path, {"q": {"nodes": [1, 8], "walltime_min": [1, 60], **limits}})
    for order in ((0, 1), (1, 0)):
        admission = Admission(rules, utc("2024-01-01"))
        jobs = [job(0, user="a", project="p"), job(1, user="b", project="q"), job(2, user="a", project="q")]
        for each in jobs:
            admission.submit(each, 0)
        assert [admission.ended(jobs[number]) for number in order] == [[], [2]]


def test_jobs_beyond_a_limit_on_waiting_jobs_are_refused_or_held_back(tmp_path: Path) -> None:
    limits = {"running": {"project": 1}, "queued": {"user": 2}, "total": {"jobs": 4}}
    rules = written(tmp_path, {"q": {"nodes": [1, 8], "walltime_min": [1, 60], **limits}})
    admission = Admission(rules, utc("2024-01-01"))
    assert [type(admission.submit(job(n), 0)) for n in range(2)] == [Admitted, Admitted]
    assert admission.submit(job(2), 0) == Refused("q: 2 waiting jobs of a user at most")
    admission.started(job(0))
    assert admission.submit(job(3), 0) == Admitted("q", False, "q: 1 running job of a project at most")
    assert admission.submit(job(4, user="v", project="r"), 0) == Admitted("q", True)
    assert admission.submit(job(5, user="w", project="s"), 0) == Refused("q: 4 jobs at most")

    patient = Admission(rules, utc("2024-01-01"), over_limit="hold")
    users = [job(n, user=str(n), project=str(n)) for n in range(6)]
    held = Admitted("q", False, "q: 4 jobs at most")
    assert [patient.submit(each, 0) for each in users] == [Admitted("q", True)] * 4 + [held] * 2
    assert patient.ended(users[1]) == [4]


def test_unknown_users_and_projects_have_no_limits(tmp_path: Path) -> None:
    limits = {"running": {"user": 1, "project": 1, "user_node_hours": 1}, "total": {"user": 1}}
    rules = written(tmp_path, {"q": {"nodes": [1, 8], "walltime_min": [1, 60], **limits}})
    admission = Admission(rules, utc("2024-01-01"))
    assert {admission.submit(job(n, user="", project=""), 0) for n in range(50)} == {Admitted("q", True)}


def test_jobs_that_could_never_run_are_refused(tmp_path: Path) -> None:
    queues = {
        "own": {"nodes": [1, 8], "walltime_min": [1, 60], "pool": {"exclusive": 4, "shared": 2}},
        "all": {"nodes": [1, 20], "walltime_min": [1, 600], "running": {"nodes": 12, "user_node_hours": 24}},
    }
    admission = Admission(written(tmp_path, queues), utc("2024-01-01"), nodes=14)
    assert admission.submit(job(0, 6, queue="own"), 0) == Admitted("own", True)
    assert admission.submit(job(1, 7, queue="own"), 0) == Refused("own: 6 nodes are open to it")
    assert admission.submit(job(2, 11, queue="all"), 0) == Refused("all: 10 nodes are open to it")
    assert Admission(admission.rules, 0).submit(job(2, 13, queue="all"), 0) == Refused(
        "all: 12 nodes in running jobs at most"
    )
    assert admission.submit(job(3, 10, 180, queue="all"), 0) == Refused(
        "all: 24 node-hours in running jobs of a user at most"
    )


def test_a_job_on_the_machine_at_the_start_counts(tmp_path: Path) -> None:
    rules = written(tmp_path, {"q": {"nodes": [1, 8], "walltime_min": [1, 60], "running": {"user": 1}}})
    admission = Admission(rules, utc("2024-01-01"))
    assert admission.found_running(job(0, 4_000), 0) == "q"  # whatever the rules are
    assert admission.submit(job(1), 0) == Admitted("q", False, "q: 1 running job of a user at most")
    assert admission.ended(job(0, 4_000)) == [1]


few = st.one_of(st.none(), st.integers(1, 3))
limits_of = st.builds(Limits, user=few, project=few, jobs=few, nodes=st.one_of(st.none(), st.integers(4, 9)))


class Reference:
    """The same laws, by looking at all jobs each time."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def broken(self, jobs: list[Job], one_more: list[Job]) -> set[str]:
        said = set()
        both = [*jobs, *one_more]
        for key, count in (
            ("user", max(Counter(each.user for each in both).values(), default=0)),
            ("project", max(Counter(each.project for each in both).values(), default=0)),
            ("jobs", len(both)),
            ("nodes", sum(each.nodes for each in both)),
        ):
            limit = getattr(self.limits, key)
            if limit is not None and count > limit:
                said.add(key)
        return said


@settings(max_examples=120, deadline=None)
@given(running=limits_of, total=limits_of, hold=st.booleans(), draws=st.data())
def test_limits_hold_and_nobody_waits_without_a_reason(
    running: Limits, total: Limits, hold: bool, draws: st.DataObject
) -> None:
    queue = Queue("q", (1, 4), (60, 3600), running=running, total=total)
    rules = QueueRules("made", (Period(0, {"q": queue}, ("q",)),))
    admission = Admission(rules, 0, over_limit="hold" if hold else "refuse")
    on_running = [Reference(running), Reference(total)] if hold else [Reference(running)]
    whom = {"start": ["free"], "end": ["free", "running"], "requeue": ["running"], "withdraw": ["held"]}
    state: dict[int, str] = {}  # held, free or running
    jobs: dict[int, Job] = {}

    def those(*states: str) -> list[Job]:
        return [jobs[number] for number in sorted(state) if state[number] in states]

    for number in range(30):
        fork = deepcopy(admission)
        action = draws.draw(
            st.sampled_from(["submit", "submit", "submit", "start", "end", "end", "requeue", "withdraw"])
        )
        if action == "submit":
            new = job(
                number,
                draws.draw(st.integers(1, 4)),
                user=draws.draw(st.sampled_from("ab")),
                project=draws.draw(st.sampled_from("pq")),
            )
            found = admission.submit(new, number)
            assert found == fork.submit(new, number)
            if isinstance(found, Refused):
                broken = set() if hold else Reference(total).broken(those("held", "free", "running"), [new])
                assert broken or Reference(running).broken([], [new])
            else:
                jobs[number] = new
                state[number] = "free" if found.may_run else "held"
                if not hold:
                    assert not Reference(total).broken(those("held", "free", "running"), [])
        elif candidates := those(*whom[action]):
            one = draws.draw(st.sampled_from(candidates))
            if action == "start":
                admission.started(one)
                state[one.id] = "running"
            elif action == "requeue":
                admission.requeued(one)
                state[one.id] = "free"
            else:
                freed = admission.ended(one)
                assert freed == fork.ended(one)
                del state[one.id]
                assert all(state[each] == "held" for each in freed)
                state |= dict.fromkeys(freed, "free")
        active, held = those("free", "running"), those("held")
        assert [admission.may_run(each) for each in held] == [False] * len(held)
        assert not any(each.broken(active, []) for each in on_running)
        # Some earliest one of the held back is held back by the limits, and the others by it or by limits.
        blocked = {each.id: set().union(*(law.broken(active, [each]) for law in on_running)) for each in held}
        behind_the_queue = any(said & {"jobs", "nodes"} for said in blocked.values())
        lines: dict[tuple[str, str], int] = {}
        for each in held:
            first = lines.setdefault((each.user, each.project), each.id)
            assert blocked[first] or behind_the_queue
        for each in active:  # nobody overtook within a line
            assert state[each.id] == "running" or each.id < lines.get((each.user, each.project), 10**9)
    for each in [*those("held", "free", "running")]:
        admission.ended(each)
    assert admission.submit(job(99), 99) == Admitted("q", True)


# -- files that say nonsense --------------------------------------------------------------------------

NONSENSE = """\
earlier_as_of: 2023-13-01
periods:
  - from: 2023-05-01
    default: [prodd]
    queues:
      prod: {nodes: [10, 496], walltime_min: [5, 1440], routes: [small, medum]}
      small: {nodes: [24, 10], walltime_min: [5, 180], runing: {user: 1}}
      loop: {nodes: [1, 2], walltime_min: [1, 2], routes: [back]}
      back: {nodes: [2, 2], walltime_min: [1, 2], routes: [loop], running: {user: 1}}
      medium: {nodes: [25, 99]}
      demand: {nodes: [1, 56], walltime_min: [5, 60], may_preempt: [medium], priority: higgh}
      debug: {nodes: [9, 10], walltime_min: [5, 60], pool: {exclusive: 8}, running: {user: 0, nodes: 8}}
      steps: {nodes: [1, 10], walltime_min: [30, 60], steps: {1: 20, 5: 60}, allocation: 11, preemptable: yes}
  - from: 2023-05-01
    close: [nobody]
    quues: {}
"""


def test_everything_that_is_wrong_is_said_at_once_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(NONSENSE)
    with pytest.raises(InputError) as error:
        QueueRules.read(path)
    q = "periods.0.queues"
    expected = [  # where it stands, and what is said
        ("2023-13-01", "earlier_as_of: should be a day of the calendar, such as 2023-05-01 (got '2023-13-01')"),
        ("[prodd]", "periods.0.default: there is no queue 'prodd' in this period. Did you mean 'prod'?"),
        ("[small, medum]", f"{q}.prod.routes: there is no queue 'medum' in this period. Did you mean 'medium'?"),
        ("[24, 10]", f"{q}.small.nodes: the least is above the most (got [24, 10])"),
        ("runing", f"{q}.small.runing: no such key. Did you mean 'running'?"),
        ("[back]", f"{q}.loop.routes: leads back to itself"),
        ("{nodes: [2, 2]", f"{q}.back: only routes jobs on: running should be said of the queues behind it"),
        ("[loop]", f"{q}.back.routes: leads back to itself"),
        ("medium: {", f"{q}.medium: missing: walltime_min"),
        ("[medium]", f"{q}.demand.may_preempt: the jobs of medium are not preemptable"),
        ("higgh", f"{q}.demand.priority: no such class. Known: production, debug, backfill, fifo. (got 'higgh')"),
        ("{exclusive: 8}", f"{q}.debug.pool: should say both, exclusive and shared (got {{'exclusive': 8}})"),
        ("0, nodes: 8", f"{q}.debug.running.user: should be a whole number from 1 to 1000000000 (got 0)"),
        ("20, 5: 60", f"{q}.steps.steps.1: 20 min is below the least walltime, 30 min"),
        ("11, preempt", f"{q}.steps.allocation: 11 nodes is more than a job may have, 10"),
        ("yes", f"{q}.steps.preemptable: should be true or false (got 'yes')"),
        ("2023-05-01\n    close", "periods.1.from: should be later than the period before"),
        (
            "[nobody]",
            "periods.1.close: there is no queue 'nobody' in this period. Known: prod, small, loop, back, medium, "
            "demand, debug, steps.",
        ),
        ("quues", "periods.1.quues: no such key. Did you mean 'queues'?"),
    ]
    lines = []
    for fragment, said in expected:
        before = NONSENSE[: NONSENSE.index(fragment)]
        lines.append(f"{path}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}: {said}")
    assert str(error.value).splitlines() == lines


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("periods: []", "1:10: periods: should be a list of periods"),
        ("{}", "periods: should be a list of periods"),
        ("periods: [3]", "periods.0: should be a mapping"),
        ("periods: [{from: 2023-05-01, queues: 3}]", "periods.0.queues: should be a mapping of queues"),
        ("periods: [{from: 2023-05-01, queues: {}}]", "periods.0.default: missing"),
        ("periods: [{from: 20230501, default: [a]}]", "periods.0.from: should be a day"),
        ("periods: [{default: [a]}]", "periods.0.from: should be a day"),
        ("periods: [{from: 2023-05-01, default: [a], queues: {a: 3}}]", "periods.0.queues.a: should be a mapping"),
        ("periods: [{from: 2023-05-01, default: a}]", "periods.0.default: should be a list of queues (got 'a')"),
        ("periods: [{from: 2023-05-01, default: [a], queues: {1: {}}}]", "the name of a queue should be text"),
    ],
)
def test_malformed_files(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        QueueRules.read(path)
    assert said in str(error.value)
    assert str(error.value).startswith(f"{path}:")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("nodes", [1], "should be [least, most] (got [1])"),
        ("nodes", [0, 3], "nodes.0: should be a whole number from 1"),
        ("nodes", [1, True], "nodes.1: should be a whole number from 1"),
        ("walltime_min", [5, 1.5], "walltime_min.1: should be a whole number"),
        ("walltime_min", [5, 10**7], "walltime_min.1: should be a whole number from 0 to 527040"),
        ("steps", {}, "steps: should be a mapping"),
        ("steps", {"a": 3}, "steps.a: should be a whole number"),
        ("steps", {5: 60, 1: 60}, "the numbers of nodes should ascend"),
        ("total", 3, "total: should be a mapping of user, project"),
        ("pool", {"exclusive": 0, "shared": 0}, "pool: 0 nodes is too little for any job, they have 1 at least"),
        ("routes", [], "routes: should be a list of queues"),
        ("priority", ["debug"], "priority: no such class"),
    ],
)
def test_malformed_values(key: str, value: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        written(tmp_path, {"q": {"nodes": [1, 8], "walltime_min": [1, 60]} | {key: value}})
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_queue_that_no_node_can_serve_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "periods:\n"
        "  - from: 2023-05-01\n"
        "    default: [small]\n"
        "    queues:\n"
        "      small: {nodes: [1, 24], walltime_min: [5, 180], pool: {exclusive: 8, shared: 0}}\n"
        "      large: {nodes: [100, 496], walltime_min: [5, 180]}\n"
        "  - from: 2024-05-01\n"
        "    queues:\n"
        "      large: {nodes: [90, 496]}\n"
    )
    rules = QueueRules.read(path)
    rules.check_against(108)
    with pytest.raises(InputError) as error:
        rules.check_against(97)
    assert str(error.value).splitlines() == [
        f"{path}:6:14: large: no node can serve it: its jobs have 100 nodes at least, the machine has 97",
        f"{path}:9:14: large: no node can serve it: its jobs have 90 nodes at least, the machine has 97 "
        "and 8 of them are exclusive to queues",
    ]
    with pytest.raises(InputError, match="small: no node can serve it"):
        rules.check_against(7)  # the exclusive nodes alone are more


def test_unknown_rules_are_refused_with_a_guess() -> None:
    assert QueueRules.names() == ["aurora", "cooley", "mira", "polaris", "theta"]
    with pytest.raises(InputError, match=r"there are no queue rules named 'polarix'\. Did you mean 'polaris'\?"):
        QueueRules.named("polarix")
