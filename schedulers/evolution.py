"""NSGA-II: a population that evolves towards the Pareto front, all individuals at once in arrays.

A genome is a row of G numbers: what they mean is the business of who evaluates and varies them.

References
----------
Deb, Pratap, Agarwal and Meyarivan (2002), A fast and elitist multiobjective genetic algorithm: NSGA-II.
Davis (1985), Applying adaptive algorithms to epistatic domains: order crossover.
Holland (1975), Adaptation in natural and artificial systems: inversion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .pareto import Floats, Ints, crowding, hypervolume, ranks

Genomes = npt.NDArray[Any]
Vary = Callable[[Genomes, Genomes, np.random.Generator], Genomes]


class Front(NamedTuple):
    """The non-dominated individuals: their genomes, of shape (P, G), their values, (P, M), and what it cost."""

    genomes_PG: Genomes
    values_PM: Floats
    evaluations: int


def evolve(
    evaluate: Callable[[Genomes], Floats],
    genomes_PG: Genomes,
    vary: Vary,
    evaluations: int,
    rng: np.random.Generator,
    patience: int | None = None,
) -> Front:
    """Let the population ``genomes_PG`` evolve for at most so many evaluations, its own among them.

    ``vary`` makes as many children as it is given parents and mates. With ``patience`` it is over as soon as the
    volume that the front dominates has not grown for so many generations. Of individuals with the same values all but
    one count as dominated by it, so that a front holds different ones.
    """
    size = len(genomes_PG)
    values_PM = evaluate(genomes_PG)
    spent = size
    rank_P = ranks(values_PM, distinct=True)
    crowding_P = crowding(values_PM, rank_P)
    reference_M, unit_M = _box(values_PM)
    volume, idle = 0.0, 0
    while spent < evaluations:
        if patience is not None:
            new_volume = hypervolume(values_PM[rank_P == 0] / unit_M, reference_M / unit_M)
            idle = 0 if new_volume > volume else idle + 1
            volume = new_volume
            if idle >= patience:
                break
        parents = genomes_PG[_tournament(rank_P, crowding_P, rng)]
        mates = genomes_PG[_tournament(rank_P, crowding_P, rng)]
        children = vary(parents, mates, rng)[: evaluations - spent]
        spent += len(children)
        genomes_PG = np.concatenate([genomes_PG, children])
        values_PM = np.concatenate([values_PM, evaluate(children)])
        rank_P = ranks(values_PM, size, distinct=True)
        crowding_P = crowding(values_PM, rank_P)
        kept = np.lexsort((-crowding_P, rank_P))[:size]
        genomes_PG, values_PM = genomes_PG[kept], values_PM[kept]
        rank_P, crowding_P = rank_P[kept], crowding_P[kept]
    return best(genomes_PG, values_PM, spent)


def best(genomes_PG: Genomes, values_PM: Floats, evaluations: int) -> Front:
    """Those that nobody dominates, of individuals with the same values one."""
    first = ranks(values_PM, 1, distinct=True) == 0
    return Front(genomes_PG[first], values_PM[first], evaluations)


def _box(values_PM: Floats) -> tuple[Floats, Floats]:
    """A corner beyond the first population, against which volumes are measured, and the units to measure in."""
    best_M, worst_M = values_PM.min(axis=0), values_PM.max(axis=0)
    range_M = np.where(worst_M > best_M, worst_M - best_M, np.maximum(np.abs(worst_M), 1.0))
    return worst_M + 0.1 * range_M, range_M


def _tournament(rank_P: Ints, crowding_P: Floats, rng: np.random.Generator) -> Ints:
    """The winners of P tournaments of two: of the better front, or else the lonelier one."""
    count = len(rank_P)
    one, other = rng.integers(count, size=(2, count))
    wins = (rank_P[one] < rank_P[other]) | ((rank_P[one] == rank_P[other]) & (crowding_P[one] >= crowding_P[other]))
    winners: Ints = np.where(wins, one, other)
    return winners


# -- genomes that are orders of N things -----------------------------------------------------------


def order_crossover(parents_PN: Ints, mates_PN: Ints, rng: np.random.Generator) -> Ints:
    """Children that keep a random stretch of each parent and have all else in the order of its mate.

    The order of the mate is read, and filled in, from the end of the stretch on and around.
    """
    count, length = parents_PN.shape
    rows = np.arange(count)[:, None]
    first, last = np.sort(rng.integers(length, size=(2, count)), axis=0)[..., None]
    at = np.arange(length)
    keeps_PN = (at >= first) & (at <= last)
    kept_PN = np.zeros_like(keeps_PN)  # by thing
    kept_PN[rows, parents_PN] = keeps_PN
    around_PN = (last + 1 + at) % length  # the places from the end of the stretch on
    things_PN = mates_PN[rows, around_PN]
    others_PN = np.argsort(kept_PN[rows, things_PN], axis=1, kind="stable")  # those that are not kept first
    children_PN = np.empty_like(parents_PN)
    children_PN[rows, around_PN] = things_PN[rows, others_PN]
    return np.where(keeps_PN, parents_PN, children_PN)


def inversion(genomes_PN: Ints, rng: np.random.Generator) -> Ints:
    """The same orders with a random stretch of each turned around."""
    count, length = genomes_PN.shape
    first, last = np.sort(rng.integers(length, size=(2, count)), axis=0)[..., None]
    at = np.arange(length)
    turned_PN = np.where((at >= first) & (at <= last), first + last - at, at)
    return np.take_along_axis(genomes_PN, turned_PN, axis=1)
