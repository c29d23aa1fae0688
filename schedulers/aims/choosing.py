"""Which action is best, when values are uncertain: three values by several heads become one number for each action."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from .network import Floats32, State
from .shape import DOUBT, MODES, OBJECTIVES, REST

Floats = npt.NDArray[np.float64]

HELD: Final = 1000.0
"""An aversion to everything with which nothing is done that the rule would not do, where that is the measure."""

_DOUBT: Final = np.array(DOUBT)


class Worth(NamedTuple):
    """Of each of A actions: the mean of the weighed values over the heads, their deviation, and the weights used.

    Where an action is the ``usual`` one, both are by how much each is better than that.
    """

    mean_A: Floats
    deviation_A: Floats
    weights_AO: Floats


def surer(weights_JO: Floats | Floats32, job_JF: Floats32, kappa: float) -> Floats:
    """The weights of the objectives for each job: one whose twin is unsure of the job counts less there.

    An objective of uncertainty u in [0, 1] has exp(-kappa u) of its weight, and all add up to 1 again.
    """
    effective_JO = weights_JO * np.exp(-kappa * job_JF[:, _DOUBT].astype(float))
    effective_JO /= effective_JO.sum(1, keepdims=True)
    return np.asarray(effective_JO)


def weights_of(job_JF: Floats32, weights: Floats, kappa: float) -> Floats:
    """The weights of each action, ``(A, O)``. Ways to rest are about no job, and have the weights as they are."""
    jobs, modes = len(job_JF), len(MODES)
    weights_AO = np.empty((jobs * modes + len(REST), len(OBJECTIVES)))
    weights_AO[: jobs * modes].reshape(jobs, modes, len(OBJECTIVES))[:] = surer(weights[None], job_JF, kappa)[:, None]
    weights_AO[jobs * modes :] = weights
    return weights_AO


def worth(q_AHO: Floats32, state: State, weights: Floats, kappa: float, usual: int | None = None) -> Worth:
    """The values of all actions as numbers by which they can be compared; -inf for those that are not legal.

    With the place of the ``usual`` action the heads are asked how much better each is than that: they agree on it more
    than on what the state is worth.
    """
    weights_AO = weights_of(state.job_JF, weights, kappa)
    scalar_AH = np.einsum("aho,ao->ah", q_AHO, weights_AO)
    if usual is not None:
        scalar_AH -= scalar_AH[usual].copy()
    mean_A = scalar_AH.sum(1) / scalar_AH.shape[1]
    scalar_AH -= mean_A[:, None]
    deviation_A = np.sqrt(np.einsum("ah,ah->a", scalar_AH, scalar_AH) / scalar_AH.shape[1])
    return Worth(np.where(state.legal_A, mean_A, -np.inf), deviation_A, weights_AO)


def aversions(aversion_D: Floats, state: State, usual: int | None) -> Floats:
    """How averse to be to each action, ``(A,)``, by how it departs from the ``usual`` one: ``aversion_D`` says of each.

    Where nothing is usual, nothing departs from it, and all are met with the least.
    """
    jobs = len(state.job_JF)
    if usual is None:
        return np.full(jobs * len(MODES) + len(REST), aversion_D.min())
    job, mode, hold, rest = aversion_D.tolist()
    usual_place = usual // len(MODES)
    starts = usual_place < jobs
    found_A = np.full(jobs * len(MODES) + len(REST), job)
    found_A[jobs * len(MODES) :] = hold if starts else rest
    if starts:
        found_A[usual_place * len(MODES) : (usual_place + 1) * len(MODES)] = mode
    return found_A


def best(found: Worth, aversion: float | Floats) -> int:
    """The action with the highest lower confidence bound, ``aversion`` deviations below the mean; the first of equals.

    It may be one for all or one for each action. A negative one looks for what is uncertain, as exploration does.
    """
    return int(np.argmax(found.mean_A - aversion * found.deviation_A))
