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

from collections.abc import Mapping
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
    job_JF = state.job_JF
    jobs = len(job_JF)
    whole = _relu(state.all_G @ tensors["all.1"] + tensors["all.1.bias"])
    if jobs:
        hidden = job_JF @ tensors["job.1"] + tensors["job.1.bias"]
        hidden -= hidden.sum(1, keepdims=True) * (1.0 / WIDTH)
        deviation_J = np.sqrt(np.einsum("jd,jd->j", hidden, hidden) * (1.0 / WIDTH) + 1e-5)
        hidden *= (1.0 / deviation_J)[:, None]
        seen_JD = _relu(hidden * tensors["job.norm"] + tensors["job.norm.bias"])
        seen_JD = _relu(seen_JD @ tensors["job.2"] + tensors["job.2.bias"])
        pooled = [seen_JD.sum(0) * (1.0 / jobs), seen_JD.max(0)]
    else:
        seen_JD = np.zeros((0, WIDTH), np.float32)
        pooled = [np.zeros(WIDTH, np.float32)] * 2
    context = _relu(np.concatenate([*pooled, whole]) @ tensors["context.1"] + tensors["context.1.bias"])
    context = _relu(context @ tensors["context.2"] + tensors["context.2.bias"])
    job, mode = np.nonzero(state.legal_JM)
    rest = np.flatnonzero(state.legal_R)
    of_job_JD = seen_JD @ tensors["action.job"] + context @ tensors["action.context"]
    of_rest_D = context @ tensors["rest.context"]
    believed_AO = state.believed_JMO[job, mode]
    started_AD = of_job_JD[job]
    started_AD += tensors["action.mode"][mode]
    started_AD += BELIEVED * believed_AO @ tensors["action.believed"]
    hidden_AD = np.concatenate([started_AD, of_rest_D + tensors["rest.mode"][rest]])
    advantage_AHO = (_relu(hidden_AD) @ tensors["advantage"]).reshape(-1, *_OUT)
    if dueling:
        value = _relu(context @ tensors["value.1"] + tensors["value.1.bias"]) @ tensors["value.2"]
        value += tensors["value.2.bias"]
        advantage_AHO += value.reshape(_OUT) + state.ahead_O - advantage_AHO.sum(0) * (1.0 / len(advantage_AHO))
    advantage_AHO[: len(job)] += believed_AO[:, None]
    q_AHO = np.zeros((jobs * len(MODES) + len(state.legal_R), *_OUT), np.float32)
    q_AHO[job * len(MODES) + mode] = advantage_AHO[: len(job)]
    q_AHO[jobs * len(MODES) + rest] = advantage_AHO[len(job) :]
    return q_AHO


def _relu(x: Floats32) -> Floats32:
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
