"""Strict order and EASY backfilling, pass by pass: as their definitions say, looked up second by second."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.engine.simulation import Simulation
from hpcsim.schedulers.backfilling import EASY, FCFS, Conservative, Hybrid
from hpcsim.schedulers.orders import KEYS, in_order
from hpcsim.workload.job import Job, workload_from_columns

NODES = 8


class Watched:
    """Looks at every pass of a scheduler before it is carried out."""

    api = 1

    def __init__(self, scheduler, look):
        self.name, self.scheduler, self.look = scheduler.name, scheduler, look

    def schedule(self, view):
        decided = list(self.scheduler.schedule(view))
        self.look(view, decided)
        return decided


def allowed(view, *, order="fcfs", behind="fcfs", extra_nodes=True):
    """Who starts: the first of the queue while they fit, then in order all that keep the next from no second."""
    latency = view.launch_latency
    back = [(running.expected_end, running.job.nodes) for running in view.running.values()]
    free, starts = view.free_nodes, []

    def start(job):
        nonlocal free
        free -= job.nodes
        back.append((view.now + latency + job.walltime, job.nodes))
        starts.append(job.id)

    def first_second(head, also=()):
        together = [*back, *also]
        for second in sorted({view.now, *(end for end, _ in together)}):
            left = free - sum(nodes for _, nodes in also)
            if left + sum(nodes for end, nodes in together if end <= second) >= head.nodes:
                return second
        raise AssertionError("the head never fits")

    queue = list(in_order(list(view.queue), order, view.now))
    while queue and queue[0].nodes <= free:
        start(queue.pop(0))
    if queue:
        head = queue[0]
        if behind != order:
            queue[1:] = in_order(sorted(queue[1:], key=lambda job: job.id), behind, view.now)
        for job in queue[1:]:
            if job.nodes > free:
                continue
            end, promised = view.now + latency + job.walltime, first_second(head)
            delayed = first_second(head, [(end, job.nodes)])
            if delayed == promised if extra_nodes else end < promised:
                start(job)
    return starts


row = st.tuples(st.integers(0, 15), st.integers(1, 20), st.integers(1, NODES), st.integers(0, 15))
rows_of_jobs = st.lists(row, min_size=1, max_size=14) | st.lists(row, min_size=40, max_size=50)  # many are a case too


def workload(rows):
    submit, runtime, nodes, more = zip(*sorted(rows), strict=True)
    return workload_from_columns(
        t0_utc=0, source="test", name=[f"j{i}" for i in range(len(rows))], submit_s=submit, nodes=nodes,
        walltime_s=[a + b for a, b in zip(runtime, more, strict=True)], runtime_s=runtime,
    )  # fmt: skip


@settings(deadline=None, max_examples=100)
@given(
    rows_of_jobs,
    st.sampled_from(["fcfs", "sjf", "laf"]),
    st.sampled_from([None, "ljf"]),
    st.booleans(),
    st.integers(0, 2),
)
def test_easy_starts_all_that_do_not_delay_the_first_that_waits_and_nobody_else(rows, order, behind, extra, latency):
    def look(view, decided):
        wanted = allowed(view, order=order, behind=behind or order, extra_nodes=extra)
        assert [start.job.id for start in decided] == wanted

    easy = EASY(EASY.Options(order=order, backfill_order=behind, extra_nodes=extra))
    Simulation(workload(rows), Watched(easy, look), nodes=NODES, launch_latency=latency).run()


@settings(deadline=None, max_examples=50)
@given(rows_of_jobs, st.sampled_from(["fcfs", "sjf", "lcfs"]))
def test_the_first_that_does_not_fit_blocks_all_others(rows, order):
    def look(view, decided):
        free, wanted = view.free_nodes, []
        for job in in_order(list(view.queue), order, view.now):
            free -= job.nodes
            if free < 0:
                break
            wanted.append(job.id)
        assert [start.job.id for start in decided] == wanted

    Simulation(workload(rows), Watched(FCFS(FCFS.Options(order=order)), look), nodes=NODES).run()


def starts(rows, scheduler):
    simulation = Simulation(workload(rows), scheduler, nodes=NODES)
    simulation.run()
    return dict(zip(simulation.attempts.job.tolist(), simulation.attempts.start.tolist(), strict=True))


@settings(deadline=None, max_examples=50)
@given(rows_of_jobs)
def test_hybrid_has_easy_and_conservative_at_its_ends(rows):
    assert starts(rows, Hybrid(Hybrid.Options(depth=1))) == starts(rows, EASY(EASY.Options()))
    conservative = starts(rows, Conservative(Conservative.Options()))
    for depth in (None, len(rows)):
        assert starts(rows, Hybrid(Hybrid.Options(depth=depth))) == conservative


def test_what_holds_where_nothing_is_said():
    assert (FCFS.Options().order, EASY.Options().order, Hybrid.Options().order) == ("fcfs",) * 3
    assert (EASY.Options().backfill_order, EASY.Options().extra_nodes, Hybrid.Options().depth) == (None, True, 64)
    with pytest.raises(ValueError, match="depth"):
        Hybrid.Options(depth=0)


def job(submit, walltime, nodes):
    return Job(0, "j", submit, nodes, walltime, "u", "p", "q")


@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("lcfs", -100), ("sjf", 10_000), ("ljf", -10_000), ("saf", 40_000), ("laf", -40_000), ("sqf", 4),
        ("expansion", -1.1),  # waited 1,000 s
        ("wfp3", -4e-3), ("unicef", -0.05),
        ("f1", 16 + 870 * 2), ("f2", 400 + 25_600 * 2), ("f3", 40_000 + 6_860_000 * 2), ("f4", 20_000 + 530_000 * 2),
    ],
)  # fmt: skip
def test_keys_are_those_of_their_papers(order, key):
    assert KEYS[order](job(submit=100, walltime=10_000, nodes=4), 1100) == pytest.approx(key, rel=1e-12)


def test_what_has_no_logarithm_goes_first():
    assert KEYS["unicef"](job(0, 100, 1), 50) == pytest.approx(-5e8)
    assert KEYS["f1"](job(0, 10, 3), 0) == KEYS["f1"](job(1, 10, 3), 0) == pytest.approx(3)


def test_who_has_equal_keys_stays_in_the_order_of_submission():
    jobs = [job(3, 5, 1), job(4, 2, 2), job(5, 5, 3), job(6, 2, 4)]
    assert [each.submit for each in in_order(jobs, "sjf", 10)] == [4, 6, 3, 5]
    assert [each.submit for each in in_order(jobs[:2], "sjf", 10)] == [4, 3]
    assert [each.submit for each in in_order(jobs, "fcfs", 10)] == [3, 4, 5, 6]
