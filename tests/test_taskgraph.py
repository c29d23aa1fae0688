"""HEFT and CPOP on graphs of tasks, against tabulated schedules and against all schedules that there are."""

from heapq import heapreplace
from itertools import pairwise, permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.engine.availability import Profile
from hpcsim.schedulers.taskgraph import (
    Graph,
    alone,
    cpop,
    critical_path,
    downward_ranks,
    heft,
    least_makespan,
    makespan,
    upward_ranks,
)

# Topcuoglu, Hariri and Wu (2002), figure 2: seconds on three processors, and on the way between two.
REFERENCE = Graph(
    {
        1: (14, 16, 9), 2: (13, 19, 18), 3: (11, 13, 19), 4: (13, 8, 17), 5: (12, 13, 10),
        6: (13, 16, 9), 7: (7, 15, 11), 8: (5, 11, 14), 9: (18, 12, 20), 10: (21, 7, 16),
    },
    {
        (1, 2): 18, (1, 3): 12, (1, 4): 9, (1, 5): 11, (1, 6): 14, (2, 8): 19, (2, 9): 16, (3, 7): 23, (4, 8): 27,
        (4, 9): 23, (5, 9): 13, (6, 8): 15, (7, 10): 17, (8, 10): 11, (9, 10): 13,
    },
)  # fmt: skip
# Here a task fits into a gap before one that was placed earlier.
GAPS = Graph({1: (9, 5), 2: (4, 7), 3: (1, 6), 4: (7, 9), 5: (3, 9)}, {(1, 4): 2})


def one_at_a_time(processors):
    return [Profile(0, 1) for _ in range(processors)]


def test_ranks_and_critical_path_of_the_reference_graph():
    up, down = upward_ranks(REFERENCE), downward_ranks(REFERENCE)
    tasks = range(1, 11)
    assert [round(up[task], 3) for task in tasks] == [
        108.0, 77.0, 80.0, 80.0, 69.0, 63.333, 42.667, 35.667, 44.333, 14.667,
    ]  # fmt: skip
    assert [round(down[task], 3) for task in tasks] == [0, 31, 25, 22, 24, 27, 62.333, 66.667, 63.667, 93.333]
    assert critical_path(REFERENCE) == [1, 2, 9, 10]


def test_heft_places_the_reference_graph_as_tabulated():
    placed = heft(REFERENCE, one_at_a_time(3))
    assert list(placed) == [1, 3, 4, 2, 5, 6, 9, 7, 8, 10]
    assert {task: (f"P{place.processor + 1}", place.start, place.finish) for task, place in placed.items()} == {
        1: ("P3", 0, 9), 3: ("P3", 9, 28), 4: ("P2", 18, 26), 2: ("P1", 27, 40), 5: ("P3", 28, 38),
        6: ("P2", 26, 42), 9: ("P2", 56, 68), 7: ("P3", 38, 49), 8: ("P1", 57, 62), 10: ("P2", 73, 80),
    }  # fmt: skip


def test_figures_of_the_reference_graph():
    placed = heft(REFERENCE, one_at_a_time(3))
    assert makespan(placed) == makespan(heft(REFERENCE, one_at_a_time(3), insertion=False)) == 80
    assert least_makespan(REFERENCE) == 41
    assert alone(REFERENCE) / makespan(placed) == 1.5875
    assert makespan(cpop(REFERENCE, one_at_a_time(3))) == 86


def test_cpop_keeps_the_critical_path_on_the_processor_that_is_the_best_for_all_of_it():
    placed = cpop(REFERENCE, one_at_a_time(3))
    assert {placed[task].processor for task in (1, 2, 9, 10)} == {1}  # 54 s on P2, 66 s and 63 s on the others


def test_insertion_fills_gaps():
    assert [upward_ranks(GAPS)[task] for task in (1, 2, 3, 4, 5)] == [17, 5.5, 3.5, 8, 6]
    placed = heft(GAPS, one_at_a_time(2))
    assert {task: (place.processor, place.start, place.finish) for task, place in placed.items()} == {
        1: (1, 0, 5), 4: (0, 7, 14), 5: (0, 0, 3), 2: (0, 3, 7), 3: (1, 5, 11),
    }  # fmt: skip
    appended = heft(GAPS, one_at_a_time(2), insertion=False)
    assert (makespan(placed), makespan(appended)) == (14, 19)
    assert [(appended[task].start, appended[task].finish) for task in (5, 2, 3)] == [(5, 14), (14, 18), (18, 19)]


@st.composite
def graphs(draw, most=5):
    """Small graphs on two processors; an edge goes from a lower to a higher task."""
    tasks = range(draw(st.integers(1, most)))
    seconds = st.integers(1, 9)
    cost = {task: (draw(seconds), draw(seconds)) for task in tasks}
    edges = [(i, j) for i in tasks for j in tasks if i < j]
    return Graph(cost, {edge: draw(st.integers(0, 9)) for edge in edges if draw(st.booleans())})


def best(graph):
    """The least makespan of all orders on all processors, each task as early as it can be then."""
    shortest = None
    for order in permutations(graph.cost):
        place = {task: at for at, task in enumerate(order)}
        if any(place[before] > place[task] for task in order for before in graph.before[task]):
            continue
        for where in product(range(2), repeat=len(order)):
            free, finish = [0, 0], {}
            on = dict(zip(order, where, strict=True))
            for task in order:
                ready = [finish[i] + (seconds if on[i] != on[task] else 0) for i, seconds in graph.before[task].items()]
                finish[task] = free[on[task]] = max(free[on[task]], *ready, 0) + graph.cost[task][on[task]]
            last = max(finish.values())
            shortest = last if shortest is None else min(shortest, last)
    return shortest


@pytest.mark.parametrize("insertion", [True, False])
@pytest.mark.parametrize("algorithm", [heft, cpop])
@settings(max_examples=40, deadline=None)
@given(graph=graphs())
def test_schedules_are_right_and_never_better_than_the_best(algorithm, insertion, graph):
    placed = algorithm(graph, one_at_a_time(2), insertion=insertion)
    assert placed.keys() == graph.cost.keys()
    for task, place in placed.items():
        assert place.finish - place.start == graph.cost[task][place.processor]
        for before, seconds in graph.before[task].items():
            way = seconds if placed[before].processor != place.processor else 0
            assert place.start >= placed[before].finish + way
        for other, beside in placed.items():
            if other != task and beside.processor == place.processor:
                assert beside.finish <= place.start or place.finish <= beside.start
    assert least_makespan(graph) <= best(graph) <= makespan(placed)


@settings(max_examples=60, deadline=None)
@given(seconds=st.lists(st.integers(1, 50), min_size=1, max_size=20), nodes=st.integers(1, 4))
def test_independent_tasks_on_equal_nodes_are_scheduled_longest_first(seconds, nodes):
    """Graham (1969), Bounds on multiprocessing timing anomalies."""
    placed = heft(Graph({task: (each,) for task, each in enumerate(seconds)}, {}), [Profile(0, nodes)])
    free = [0] * nodes
    for each in sorted(seconds, reverse=True):
        heapreplace(free, free[0] + each)
    assert makespan(placed) == max(free)


@given(graph=graphs(8))
def test_every_task_ranks_higher_than_those_that_follow_it_and_none_higher_than_the_critical_path(graph):
    up, down = upward_ranks(graph), downward_ranks(graph)
    assert all(up[task] > up[follower] for task in graph.cost for follower in graph.after[task])
    path = critical_path(graph)
    length = sum(graph.weight[task] for task in path)
    length += sum(graph.after[task][follower] for task, follower in pairwise(path))
    assert length == pytest.approx(max(up[task] + down[task] for task in graph.cost))


def test_graphs_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"tasks that wait for each other: \[1, 2, 3\]"):
        Graph({1: (1,), 2: (1,), 3: (1,)}, {(1, 2): 0, (2, 1): 0, (2, 3): 0})
    with pytest.raises(ValueError, match="an edge from 1 to 7"):
        Graph({1: (1,)}, {(1, 7): 0})
    with pytest.raises(ValueError, match="task 1 is too large for every processor"):
        Graph({1: (None, None)}, {})
