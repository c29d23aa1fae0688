"""When how many nodes get free: the same as a look at every second."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.engine.availability import Profile, Releases
from hpcsim.workload.job import Job

NOW, LATER = 10, 500  # a second after which nothing changes any more


def job(job_id: int, nodes: int, walltime: int) -> Job:
    return Job(job_id, f"j{job_id}", 0, nodes, walltime, "u", "p", "q")


ends = st.lists(st.tuples(st.integers(5, 60), st.integers(1, 5)), max_size=12)
starting = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 40)), max_size=4)


@given(ends, st.integers(0, 6), st.integers(1, 30), starting, st.integers(0, 3), st.integers(0, 9))
def test_the_shadow_is_the_first_second_with_enough_nodes(running, free, nodes, given_starts, latency, busy):
    """Who should have ended ends at once, and nobody within ``busy`` seconds."""
    releases = Releases()
    for job_id, (end, released) in enumerate(running):
        releases.add(end, job_id, released)
    jobs = [job(90 + i, *each) for i, each in enumerate(given_starts)]
    back = [*running, *((NOW + latency + each.walltime, each.nodes) for each in jobs)]
    if free + sum(released for _, released in back) < nodes:
        with pytest.raises(ValueError, match=f"a job of {nodes} nodes never fits: only "):
            releases.shadow(nodes, free, NOW, jobs, latency, busy)
        return

    def free_at(second: int) -> int:
        return free + sum(released for end, released in back if max(end, NOW + busy) <= second)

    found = releases.shadow(nodes, free, NOW, jobs, latency, busy)
    if free >= nodes:  # something else keeps it from starting
        assert found.time == NOW
        assert found.extra == (free if busy else free_at(NOW)) - nodes
    else:
        assert found.time == next(second for second in range(NOW, LATER) if free_at(second) >= nodes)
        assert found.extra == free_at(found.time) - nodes
    assert list(releases) == sorted((end, i, released) for i, (end, released) in enumerate(running))


def test_releases_forget_what_they_are_told_to_and_a_copy_does_not() -> None:
    releases = Releases()
    for each in ((30, 1, 4), (20, 2, 1), (20, 1, 4), (20, 1, 5)):
        releases.add(*each)
    twin = copy.copy(releases)
    releases.remove(20, 1, 5)
    releases.remove(20, 2, 1)
    assert list(releases) == [(20, 1, 4), (30, 1, 4)]
    assert list(twin) == [(20, 1, 4), (20, 1, 5), (20, 2, 1), (30, 1, 4)]


def test_the_first_second_of_all_is_one_like_others() -> None:
    assert Profile(0, 3).earliest(2, 5) == 0
    assert Releases([(0, 1, 2), (4, 2, 1)]).shadow(3, 1, 0) == (0, 0)


class Seconds:
    """The free nodes in every second by themselves."""

    def __init__(self, free: int, running: list[tuple[int, int]]) -> None:
        self.free = {
            second: free + sum(nodes for end, nodes in running if max(end, NOW + 1) <= second)
            for second in range(NOW, LATER)
        }

    def during(self, start: int, duration: int) -> list[int]:
        return [self.free[second] for second in range(start, min(start + duration, LATER))]

    def earliest(self, nodes: int, duration: int, not_before: int = NOW) -> int | None:
        seconds = range(max(NOW, not_before), LATER - 50)
        return next((each for each in seconds if min(self.during(each, duration)) >= nodes), None)


asked = st.lists(st.tuples(st.integers(1, 8), st.integers(1, 30), st.integers(0, 70) | st.none()), max_size=8)


@given(st.integers(0, 6), ends, asked, st.integers(0, 90), st.integers(0, 40))
def test_a_profile_is_what_is_free_in_every_second(free, running, wishes, closed_from, closed_for):
    running = sorted(running)
    profile = Profile(NOW, free, [(end, i, nodes) for i, (end, nodes) in enumerate(running)])
    plain = Seconds(free, running)
    profile.close(closed_from, closed_from + closed_for)
    for second in range(max(NOW, closed_from), closed_from + closed_for):
        plain.free[second] = 0
    for nodes, duration, not_before in wishes:
        expected = plain.earliest(nodes, duration, NOW if not_before is None else not_before)
        if expected is None:
            with pytest.raises(ValueError, match=r"never fits: only .* nodes in the end"):
                profile.earliest(nodes, duration, not_before=not_before)
            continue
        start = profile.earliest(nodes, duration, not_before=not_before)
        assert start == expected
        if not_before is None:
            assert profile.earliest(nodes, duration, since=start) == start  # what is looked for cannot be before
        assert profile.least(start, duration) == min(plain.during(start, duration))
        profile.reserve(start, duration, nodes)
        for second in range(start, start + duration):
            plain.free[second] -= nodes
        assert profile.earliest(nodes, duration, since=start if not_before is None else -1) == plain.earliest(
            nodes, duration, start if not_before is None else NOW
        )
    assert [profile.at(second) for second in range(NOW, LATER)] == [*plain.free.values()]
    steps = profile.steps()
    assert steps[0][0] == NOW
    assert [second for second, _ in steps] == sorted({second for second, _ in steps})
    assert all(profile.at(second) == nodes for second, nodes in steps)
