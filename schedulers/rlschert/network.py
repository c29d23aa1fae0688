"""The network of RLSchert in numpy: what each action is worth, as logits of a softmax.

All waiting jobs go through one small network (a kernel), all running ones through another; mean and maximum of each,
with the numbers of the whole, are the context in which every action is judged. So a network knows no size of a machine
or of a queue, and the order of jobs makes no difference.

References
----------
Zhang, Dai, He, Bao and Xie (2020), RLScheduler: an automated HPC batch job scheduler using reinforcement learning
(the kernel).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .shape import RUNNING, WINDOW

Floats32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Tensors = Mapping[str, Floats32]


class State(NamedTuple):
    """What a choice is made from: of J waiting jobs, R running ones and all, and which actions are legal.

    ``legal_A`` has the J starts, then to wait, then the R kills.
    """

    job_JF: Floats32
    running_RF: Floats32
    all_G: Floats32
    legal_A: Bools


def logits(tensors: Tensors, state: State) -> Floats32:
    """How good each of the J + 1 + R actions is, ``(A,)``; -inf for those that are not legal."""
    job_JD = _encoded(tensors, "job", state.job_JF)
    running_RD = _encoded(tensors, "running", state.running_RF)
    pooled = np.concatenate([*_pooled(job_JD), *_pooled(running_RD), state.all_G])
    context = _relu(pooled @ tensors["context.1"] + tensors["context.1.bias"])

    def judged(action: str, each: Floats32) -> Floats32:
        hidden = each + context @ tensors[f"{action}.context"] + tensors[f"{action}.bias"]
        return np.asarray(_relu(hidden) @ tensors[f"{action}.out"])[:, 0]

    found = np.concatenate(
        [
            judged("start", job_JD @ tensors["start.job"]),
            judged("wait", np.zeros((1, 1), np.float32)),
            judged("kill", running_RD @ tensors["kill.running"]),
        ]
    )
    return np.where(state.legal_A, found, -np.inf).astype(np.float32)


def padded(state: State) -> tuple[Floats32, Bools]:
    """The state as a learner has it: all numbers in one row, and the legal ones of all ``ACTIONS``."""
    jobs, running = len(state.job_JF), len(state.running_RF)
    job = np.zeros((WINDOW, state.job_JF.shape[1]), np.float32)
    job[:jobs] = state.job_JF
    run = np.zeros((RUNNING, state.running_RF.shape[1]), np.float32)
    run[:running] = state.running_RF
    legal = np.zeros(WINDOW + 1 + RUNNING, bool)
    legal[:jobs] = state.legal_A[:jobs]
    legal[WINDOW : WINDOW + 1 + running] = state.legal_A[jobs:]
    return np.concatenate([job.ravel(), run.ravel(), state.all_G]), legal


def _encoded(tensors: Tensors, kind: str, rows: Floats32) -> Floats32:
    hidden = _relu(rows @ tensors[f"{kind}.1"] + tensors[f"{kind}.1.bias"])
    return _relu(hidden @ tensors[f"{kind}.2"] + tensors[f"{kind}.2.bias"])


def _pooled(rows: Floats32) -> tuple[Floats32, Floats32]:
    if not len(rows):
        nothing = np.zeros(rows.shape[1], np.float32)
        return nothing, nothing
    return rows.mean(0), rows.max(0)


def _relu(x: Floats32) -> Floats32:
    return np.maximum(x, 0.0)
