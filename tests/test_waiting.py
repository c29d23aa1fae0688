"""The queue of a simulation: a sorted list of jobs that knows which of them are small and short."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from hpcsim.engine.waiting import Waiting
from hpcsim.workload.job import Job


def job(job_id: int, nodes: int, walltime: int) -> Job:
    return Job(job_id, f"j{job_id}", 0, nodes, walltime, "u", "p", "q")


moves = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4), st.integers(1, 5)), max_size=60)


@given(moves, st.integers(0, 5), st.integers(0, 6), st.integers(0, 5))
def test_the_queue_is_what_a_look_at_every_job_finds(moves, nodes, walltime, any_nodes):
    waiting, expected = Waiting(), {}
    for job_id, wanted, span in moves:  # the second time a job is named it leaves, in any order
        if job_id in expected:
            assert waiting.pop(job_id) is expected.pop(job_id)
        else:
            expected[job_id] = job(job_id, wanted, span)
            waiting.add(expected[job_id])
    in_order = [expected[job_id] for job_id in sorted(expected)]
    for queue in (waiting, copy.deepcopy(waiting)):
        assert list(queue.jobs) == in_order == [queue.get(job_id) for job_id in queue]
        assert queue.within(nodes, walltime, any_nodes) == [
            each for each in in_order if each.nodes <= nodes and (each.walltime <= walltime or each.nodes <= any_nodes)
        ]
    twin = copy.deepcopy(waiting)
    twin.add(job(99, 1, 1))
    assert 99 not in waiting
    assert waiting.pop(99) is None
