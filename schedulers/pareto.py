"""Of several objectives, all to be as small as possible: which values are better, and which of the best to take.

Values are float64 arrays of shape (P, M): P individuals, M objectives.

References
----------
Deb, Pratap, Agarwal and Meyarivan (2002), A fast and elitist multiobjective genetic algorithm: NSGA-II.
Das (1999), On characterizing the "knee" of the Pareto curve based on normal-boundary intersection.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LITTLE = 1e-6  # of the sum, beside the largest: tells weakly dominated values from those that dominate them


def ranks(values_PM: Floats, enough: int | None = None, *, distinct: bool = False) -> Ints:
    """The front of each of P individuals: 0 if nobody dominates it, 1 if only some of front 0 do, and so on.

    One dominates another if it is nowhere worse and somewhere better; with ``distinct`` also if it is the same and
    comes before. Once ``enough`` have a rank, all others get the next one.
    """
    count = len(values_PM)
    no_worse = np.ones((count, count), bool)  # the row than the column
    for value_P in values_PM.T:
        no_worse &= value_P[:, None] <= value_P
    dominates = no_worse & ~no_worse.T
    if distinct:
        dominates |= np.triu(no_worse & no_worse.T, 1)
    left_P = dominates.sum(axis=0)  # how many dominate it that have no rank yet
    rank_P = np.full(count, -1)
    enough = count if enough is None else min(enough, count)
    front = 0
    while True:
        mine_P = left_P == 0
        rank_P[mine_P] = front
        front += 1
        enough -= int(mine_P.sum())
        if enough <= 0:
            rank_P[rank_P < 0] = front
            return rank_P
        left_P -= dominates[mine_P].sum(axis=0)
        left_P[mine_P] = -1


def crowding(values_PM: Floats, rank_P: Ints) -> Floats:
    """How lonely each of P individuals is within its front.

    That is the sum over the objectives of how far apart its two neighbours are, as a share of the front's range; at the
    ends of a front it is infinite.
    """
    crowding_P = np.zeros(len(values_PM))
    for value_P in values_PM.T:
        order = np.lexsort((value_P, rank_P))
        sorted_P, front_P = value_P[order], rank_P[order]
        begins = np.flatnonzero(np.diff(front_P, prepend=-1))
        ends = np.append(begins[1:], len(order)) - 1
        range_P = np.repeat(sorted_P[ends] - sorted_P[begins], ends - begins + 1)
        gap_P = np.zeros(len(order))
        gap_P[1:-1] = sorted_P[2:] - sorted_P[:-2]
        np.divide(gap_P, range_P, out=gap_P, where=range_P > 0)
        gap_P[begins] = gap_P[ends] = np.inf
        crowding_P[order] += gap_P
    return crowding_P


def hypervolume(values_PM: Floats, reference_M: Floats) -> float:
    """How much of the space below ``reference_M`` P individuals dominate together."""
    inside = values_PM[(values_PM < reference_M).all(axis=1)]
    if not len(inside):
        return 0.0
    if inside.shape[1] == 1:
        return float(reference_M[0] - inside.min())
    inside = inside[inside[:, -1].argsort(kind="stable")]
    if inside.shape[1] == 2:
        lowest_P = np.minimum.accumulate(inside[:, 0])
        heights_P = np.diff(inside[:, 1], append=reference_M[1])
        return float(((reference_M[0] - lowest_P) * heights_P).sum())
    depths_P = np.diff(inside[:, -1], append=reference_M[-1])  # slices along the last objective
    return sum(
        float(depth) * hypervolume(inside[: at + 1, :-1], reference_M[:-1])
        for at, depth in enumerate(depths_P)
        if depth > 0
    )


def knee(front_PM: Floats) -> int:
    """The individual of a front that lies farthest below the plane through the front's ends, in shares of its range.

    The ends are those that lie closest to the axes; of two objectives they are the best of each, and the plane is the
    chord. Where they make no plane that cuts all axes it is the one through the worst value of each objective.
    """
    share_PM = _in_shares(front_PM)
    objectives = share_PM.shape[1]
    away = np.where(np.eye(objectives, dtype=bool), _LITTLE, 1.0)  # from each axis
    ends = [int((share_PM * weight_M).max(axis=1).argmin()) for weight_M in away]
    plane_M: Floats | None = None
    if len({*ends}) == objectives and abs(np.linalg.det(share_PM[ends])) > _LITTLE:
        plane_M = np.asarray(np.linalg.solve(share_PM[ends], np.ones(objectives)), np.float64)
    if plane_M is None or not (plane_M > 0).all():
        plane_M = np.ones(objectives)
    return int((share_PM @ plane_M).argmin())


def closest(front_PM: Floats, weight_M: Sequence[float]) -> int:
    """The individual of a front whose worst weighted objective, in shares of the front's range, is the least."""
    weighted_PM = _in_shares(front_PM) * np.asarray(weight_M)
    return int((weighted_PM.max(axis=1) + _LITTLE * weighted_PM.sum(axis=1)).argmin())


def _in_shares(front_PM: Floats) -> Floats:
    best_M, worst_M = front_PM.min(axis=0), front_PM.max(axis=0)
    shares: Floats = (front_PM - best_M) / np.where(worst_M > best_M, worst_M - best_M, 1.0)
    return shares
