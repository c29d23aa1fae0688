"""NSGA-II's parts: against worked values, against pymoo, and against the known fronts of ZDT1 to 3."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pymoo.indicators.hv import HV
from pymoo.indicators.igd import IGD
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.problems.multi.zdt import ZDT1, ZDT2, ZDT3
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from hpcsim.schedulers.evolution import evolve, inversion, order_crossover
from hpcsim.schedulers.pareto import closest, crowding, hypervolume, knee, ranks

WORKED = np.array([(1, 9), (2, 7), (4, 4), (7, 2), (9, 1), (5, 8), (6, 6), (8, 8)], float)
CORNER = np.array([10.0, 10.0])


# -- worked values --------------------------------------------------------------------------------


def test_fronts_crowding_and_hypervolume_of_the_worked_example():
    rank_P = ranks(WORKED)
    assert rank_P.tolist() == [0, 0, 0, 0, 0, 1, 1, 2]
    assert crowding(WORKED, rank_P).tolist() == [np.inf, 1.0, 1.25, 1.0, np.inf, np.inf, np.inf, np.inf]
    assert hypervolume(WORKED[:5], CORNER) == hypervolume(WORKED, CORNER) == 50.0


def test_the_knee_of_the_worked_example_is_its_bend_and_weights_lead_to_its_ends():
    front = WORKED[:5]
    assert front[knee(front)].tolist() == [4, 4]
    assert front[closest(front, (1, 0))].tolist() == [1, 9]
    assert front[closest(front, (0, 1))].tolist() == [9, 1]
    assert front[closest(front, (1, 1))].tolist() == [4, 4]
    assert knee(front[:1]) == closest(front[:1], (1, 1)) == 0


def test_the_knee_of_three_objectives_lies_farthest_below_the_plane_through_the_ends():
    ends = np.eye(3) * 3
    inside = np.array([[1, 1, 0.5], [0.5, 0.5, 0.5], [1, 0, 1.5]])
    assert knee(np.vstack([ends, inside])) == 4


def test_of_individuals_with_the_same_values_one_counts_where_distinct_ones_are_asked_for():
    twice = np.array([(1, 2), (1, 2), (2, 1), (2, 1), (3, 3)], float)
    assert ranks(twice).tolist() == [0, 0, 0, 0, 1]
    assert ranks(twice, distinct=True).tolist() == [0, 1, 0, 1, 2]


# -- pymoo ----------------------------------------------------------------------------------------

few = arrays(float, st.tuples(st.integers(1, 30), st.integers(2, 4)), elements=st.integers(0, 9).map(float))


@given(few)
def test_fronts_are_those_of_pymoo(values_PM):
    fronts = NonDominatedSorting().do(values_PM)
    expected = np.empty(len(values_PM), int)
    for number, front in enumerate(fronts):
        expected[front] = number
    assert ranks(values_PM).tolist() == expected.tolist()


@given(few, st.integers(1, 40))
def test_once_enough_have_their_rank_the_others_get_the_next(values_PM, enough):
    whole, part = ranks(values_PM), ranks(values_PM, enough)
    enough = min(enough, len(whole))
    last = np.sort(whole)[enough - 1]  # the front with which they are enough
    assert part.tolist() == np.minimum(whole, last + 1).tolist()


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_crowding_is_that_of_pymoo(objectives):
    """Which divides it by the number of objectives, and gives a front of one individual 0 instead of infinity."""
    rng = np.random.default_rng(objectives)
    for _ in range(50):
        values_PM = rng.random((int(rng.integers(1, 40)), objectives))
        rank_P = ranks(values_PM)
        mine = crowding(values_PM, rank_P)
        for front in range(rank_P.max() + 1):
            members = values_PM[rank_P == front]
            expected = calc_crowding_distance(members) * objectives if len(members) > 1 else [np.inf]
            assert mine[rank_P == front] == pytest.approx(expected)


@given(few)
def test_the_hypervolume_is_that_of_pymoo(values_PM):
    corner = np.full(values_PM.shape[1], 8.0)
    assert hypervolume(values_PM, corner) == pytest.approx(float(HV(ref_point=corner)(values_PM)))


# -- orders ---------------------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)


@given(st.integers(1, 12), seeds)
def test_a_child_of_order_crossover_keeps_a_stretch_and_has_the_rest_in_the_order_of_the_mate(length, seed):
    rng = np.random.default_rng(seed)
    parents, mates = (rng.permuted(np.tile(np.arange(length), (8, 1)), axis=1) for _ in range(2))
    for parent, mate, child in zip(parents, mates, order_crossover(parents, mates, rng), strict=True):
        assert sorted(child) == list(range(length))
        assert any(
            child.tolist() == crossed(parent.tolist(), mate.tolist(), first, last)
            for first in range(length)
            for last in range(first, length)
        )


def crossed(parent, mate, first, last):
    """Order crossover as it is told, thing by thing."""
    length = len(parent)
    child = [parent[at] if first <= at <= last else None for at in range(length)]
    at = (last + 1) % length
    for thing in mate[last + 1 :] + mate[: last + 1]:
        if thing not in child:
            child[at] = thing
            at = (at + 1) % length
    return child


@given(st.integers(1, 12), seeds)
def test_inversion_turns_one_stretch_around(length, seed):
    rng = np.random.default_rng(seed)
    orders = rng.permuted(np.tile(np.arange(length), (8, 1)), axis=1)
    for before, after in zip(orders.tolist(), inversion(orders, rng).tolist(), strict=True):
        assert any(
            after == before[:first] + before[first : last + 1][::-1] + before[last + 1 :]
            for first in range(length)
            for last in range(first, length)
        )


# -- the whole algorithm --------------------------------------------------------------------------


def real_coded(parents, mates, rng, eta_c=20.0, eta_m=20.0):
    """Simulated binary crossover (p 0.9) and polynomial mutation (p 1/n) on [0, 1]: the published operators."""
    count, length = parents.shape
    spread = rng.random((count, length))
    beta = np.where(spread <= 0.5, 2 * spread, 1 / (2 - 2 * spread)) ** (1 / (eta_c + 1))
    beta = np.where((rng.random((count, 1)) < 0.9) & (rng.random((count, length)) < 0.5), beta, 1.0)
    side = np.where(rng.random((count, length)) < 0.5, 1, -1)
    children = np.clip(0.5 * ((1 + side * beta) * parents + (1 - side * beta) * mates), 0, 1)
    chance = rng.random((count, length))
    below = (2 * chance + (1 - 2 * chance) * (1 - children) ** (eta_m + 1)) ** (1 / (eta_m + 1)) - 1
    above = 1 - (2 - 2 * chance + (2 * chance - 1) * children ** (eta_m + 1)) ** (1 / (eta_m + 1))
    step = np.where(chance < 0.5, below, above)
    return np.clip(children + np.where(rng.random((count, length)) < 1 / length, step, 0), 0, 1)


@pytest.mark.parametrize("problem", [ZDT1(), ZDT2(), ZDT3()], ids=["ZDT1", "ZDT2", "ZDT3"])
def test_the_known_fronts_are_reached(problem):
    """In the 25,000 evaluations of the paper; a front of 100 points cannot be closer than about 0.004 to all.

    Of three searches two have to: one in some loses a piece of ZDT3, and which one hangs on the last bit of a power.
    """
    known, reached = problem.pareto_front(), []
    corner = known.max(axis=0) + 0.1
    for seed in (1, 2, 3):
        rng = np.random.default_rng(seed)
        front = evolve(problem.evaluate, rng.random((100, 30)), real_coded, 25_000, rng)
        assert front.evaluations == 25_000
        is_near = float(IGD(known)(front.values_PM)) < 0.008
        reached.append(is_near and hypervolume(front.values_PM, corner) > 0.99 * hypervolume(known, corner))
    assert sum(reached) >= 2


def test_a_search_without_progress_is_over_after_its_patience():
    def evaluate(genomes):
        return np.ones((len(genomes), 2))

    def vary(parents, mates, rng):
        return parents

    front = evolve(evaluate, np.zeros((10, 1)), vary, 1000, np.random.default_rng(1), patience=3)
    assert front.evaluations == 10 + 3 * 10
    assert len(front.genomes_PG) == 1


@pytest.mark.parametrize("evaluations", [10, 15, 20, 99])
def test_no_more_is_evaluated_than_allowed(evaluations):
    seen = []

    def evaluate(genomes):
        seen.append(len(genomes))
        return genomes[:, :2] ** 2

    rng = np.random.default_rng(1)
    front = evolve(evaluate, rng.random((10, 3)), real_coded, evaluations, rng)
    assert sum(seen) == front.evaluations == evaluations
