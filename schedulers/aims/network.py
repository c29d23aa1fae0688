"""The network of AIMS in numpy: a vector of three values for every action of one state. Training has it in torch.

A network that looks at each job by itself, and at all of them together by mean and maximum, answers the same however
the queue is ordered and however long it is.

References
----------
Wang, Schaul, Hessel, van Hasselt, Lanctot and de Freitas (2016), Dueling network architectures for deep reinforcement
learning. Osband, Blundell, Pritzel and Van Roy (2016), Deep exploration via bootstrapped DQN. Abels, Roijers, Lenaerts,
Nowe and Steckelmacher (2019), Dynamic weights in multi-objective deep reinforcement learning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from .shape import HEADS, MODES, OBJECTIVES, WIDTH

Floats32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Tensors = Mapping[str, Floats32]

_OUT = (HEADS, len(OBJECTIVES))

BELIEVED: Final = 100.0
"""What is believed of a job is about a hundredth of what an hour costs; by so much it is made larger as an input."""


class State(NamedTuple):
    """What a choice is made from: of J jobs and of all, and which of J x M modes and R ways to rest are legal.

    ``believed_JMO`` is what the start of a job in a mode is believed to cost at once in each objective, negative, and
    ``ahead_O`` what all that waits is believed to cost until it has started.
    """

    job_JF: Floats32
    all_G: Floats32
    believed_JMO: Floats32
    ahead_O: Floats32
    legal_JM: Bools
    legal_R: Bools

    @property
    def legal_A(self) -> Bools:
        """All actions in one row: modes of the first job, of the second, ..., ways to rest."""
        return np.concatenate([self.legal_JM.ravel(), self.legal_R])


def values(tensors: Tensors, state: State, *, dueling: bool = True) -> Floats32:
    """What each action is worth, ``q_AHO``: by each of H heads in each of O objectives. A: as ``State.legal_A``.

    What a start is worth is the value of the state, what is believed of the start (0 if it is as good as can be), and
    what has been learned beyond that, 0 in the mean of all that is legal. Of actions that are not legal it
    is 0. Without ``dueling`` the value of the state is left out, so that what is learned has to be whole values.
    """
    return values_of_all(tensors, [state], dueling=dueling)[0]


def values_of_all(tensors: Tensors, states: Sequence[State], *, dueling: bool = True) -> list[Floats32]:
    """The same of each of S states, which together takes less time. Jobs and actions of all states are in one row."""
    each = State._make(zip(*states, strict=True))
    jobs_S = np.array([len(job_JF) for job_JF in each.job_JF])
    state_J = np.arange(len(states)).repeat(jobs_S)
    seen_JD = _encoded(tensors, np.concatenate(each.job_JF))
    whole_SD = _layer(tensors, "all.1", np.array(each.all_G))
    mean_SD = _by_state(np.add, seen_JD, jobs_S) * (1.0 / np.maximum(jobs_S, 1).astype(np.float32))[:, None]
    most_SD = _by_state(np.maximum, seen_JD, jobs_S)  # none is below 0
    context = _layer(tensors, "context.1", np.concatenate([mean_SD, most_SD, whole_SD], 1))
    context = _layer(tensors, "context.2", context)
    legal_JM, legal_SR = np.concatenate(each.legal_JM), np.array(each.legal_R)
    (job, mode), (state_R, rest) = legal_JM.nonzero(), legal_SR.nonzero()
    believed_AO = np.concatenate(each.believed_JMO)[job, mode]
    started_AD = (seen_JD @ tensors["action.job"])[job]
    started_AD += (context @ tensors["action.context"])[state_J[job]]
    started_AD += tensors["action.mode"][mode]
    started_AD += BELIEVED * believed_AO @ tensors["action.believed"]
    rested_AD = (context @ tensors["rest.context"])[state_R]
    rested_AD += tensors["rest.mode"][rest]
    of_start_AX, of_rest_AX = (_relu(of_AD) @ tensors["advantage"] for of_AD in (started_AD, rested_AD))
    if dueling:
        value_SX = _layer(tensors, "value.1", context) @ tensors["value.2"] + tensors["value.2.bias"]
        value_SX.reshape(-1, *_OUT)[:] += np.array(each.ahead_O)[:, None]
        starts_S, rests_S = np.bincount(state_J[job], minlength=len(states)), legal_SR.sum(1)
        sum_SX = _by_state(np.add, of_start_AX, starts_S) + _by_state(np.add, of_rest_AX, rests_S)
        value_SX -= sum_SX * (1.0 / np.maximum(starts_S + rests_S, 1).astype(np.float32))[:, None]
        of_start_AX += value_SX[state_J[job]]
        of_rest_AX += value_SX[state_R]
    of_start_AX.reshape(-1, *_OUT)[:] += believed_AO[:, None]
    actions_S = jobs_S * len(MODES) + legal_SR.shape[1]
    end_S = actions_S.cumsum()
    q_AX = np.zeros((end_S[-1], of_rest_AX.shape[1]), np.float32)
    q_AX[job * len(MODES) + mode + state_J[job] * legal_SR.shape[1]] = of_start_AX
    q_AX[(end_S - legal_SR.shape[1])[state_R] + rest] = of_rest_AX
    return np.split(q_AX.reshape(-1, *_OUT), end_S[:-1])


def _encoded(tensors: Tensors, job_JF: Floats32) -> Floats32:
    """Each job by itself, ``(J, D)``."""
    hidden = job_JF @ tensors["job.1"] + tensors["job.1.bias"]
    hidden -= hidden.sum(1, keepdims=True) * (1.0 / WIDTH)
    deviation_J = np.sqrt(np.einsum("jd,jd->j", hidden, hidden) * (1.0 / WIDTH) + 1e-5)
    hidden *= (1.0 / deviation_J)[:, None]
    return _layer(tensors, "job.2", _relu(hidden * tensors["job.norm"] + tensors["job.norm.bias"]))


def _by_state(ufunc: np.ufunc, rows: Floats32, rows_S: npt.NDArray[np.int64]) -> Floats32:
    """The sum, or the like, of the rows of each state, which has so many, one state's after another's; 0 of none."""
    if len(rows_S) == 1 and len(rows):
        return np.asarray(ufunc.reduce(rows, 0, keepdims=True))
    found = np.zeros((len(rows_S), rows.shape[1]), np.float32)
    some = np.flatnonzero(rows_S)
    if len(some):
        found[some] = ufunc.reduceat(rows, (rows_S.cumsum() - rows_S)[some])
    return found


def _layer(tensors: Tensors, name: str, x: Floats32) -> Floats32:
    return _relu(x @ tensors[name] + tensors[f"{name}.bias"])


def _relu(x: Floats32) -> Floats32:
    """The array itself, with nothing below 0 any more."""
    return np.maximum(x, 0.0, out=x)


def drawn(rng: np.random.Generator, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Floats32]:
    """Tensors to begin with, as He et al. (2015) draw them for rectifiers; advantages begin near 0."""
    found = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            found[name] = np.full(shape, 1.0 if name.endswith("norm") else 0.0, np.float32)
        else:
            spread = 0.01 if name in ("advantage", "value.2") else np.sqrt(2.0 / shape[0])
            if name.endswith(".mode"):
                spread = 0.5
            found[name] = (rng.standard_normal(shape) * spread).astype(np.float32)
    return found
