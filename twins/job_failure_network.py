"""The networks of job failure, and their forward pass in numpy, so that no run imports torch.

Each of E members is an LSTM of two layers that reads the last ends of a user. The job that is asked about, its features
put through a layer, is the last token of the sequence and attends with eight heads to what the LSTM says of each end,
and to itself: of self-attention over a sequence of which the last token is asked about the last row is all that is of
use. A head attends the more to an end the more it has in common with the job, and what it sees there is what the LSTM
says, what is told of the end itself, and what it has in common. That is added to the job's token, layer-normed, and a
perceptron makes of it and of the features the log odds that the job fails. One more member is a logistic regression on
the features (``logistic``).

``tests/test_job_failure.py`` compares this pass with torch's.

Shapes: E members, J jobs, S sequences, K ends, T and C numbers (``job_failure_sequences``), F features, H hidden units,
A heads.

References
----------
Hochreiter and Schmidhuber (1997), Long short-term memory. Vaswani et al. (2017), Attention is all you need.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .features import NAMES, Floats
from .job_failure_sequences import COMMON, LENGTH, TOKEN, Sequences

Singles = npt.NDArray[np.float32]

KIND: Final = "job-failure"
MEMBERS: Final = 3
LAYERS: Final = 2
HEADS: Final = 8
HIDDEN: Final = 32
LAST_HIDDEN: Final = 32
NORM_EPSILON: Final = 1e-5

_OF_A_MEMBER: Final[Mapping[str, tuple[int, ...]]] = {
    "in0": (len(TOKEN), 4 * HIDDEN),
    "past0": (HIDDEN, 4 * HIDDEN),
    "bias0": (1, 4 * HIDDEN),
    "in1": (HIDDEN, 4 * HIDDEN),
    "past1": (HIDDEN, 4 * HIDDEN),
    "bias1": (1, 4 * HIDDEN),
    "job": (len(NAMES), HIDDEN),
    "job_bias": (1, HIDDEN),
    "query": (HIDDEN, HIDDEN),
    "key": (HIDDEN, HIDDEN),
    "value": (HIDDEN, HIDDEN),
    "token_value": (len(TOKEN), HIDDEN),
    "common_key": (len(COMMON), HEADS),
    "common_value": (len(COMMON), HIDDEN),
    "itself": (1, HEADS),
    "out": (HIDDEN, HIDDEN),
    "norm": (1, HIDDEN),
    "norm_bias": (1, HIDDEN),
    "last0": (HIDDEN + len(NAMES), LAST_HIDDEN),
    "last_bias0": (1, LAST_HIDDEN),
    "last1": (LAST_HIDDEN, 1),
    "last_bias1": (1, 1),
}
NETWORKS: Final[Mapping[str, tuple[int, ...]]] = {name: (MEMBERS, *shape) for name, shape in _OF_A_MEMBER.items()}
SHAPES: Final = {**NETWORKS, "linear": (len(NAMES), 1), "linear_bias": (1,)}
"""The tensors by name. The gates of an LSTM are input, forget and output, and then comes what is new."""

_CHUNK: Final = 1024
_HEAD_OF: Final = np.repeat(np.eye(HEADS, dtype=np.float32), HIDDEN // HEADS, axis=0)  # (H, A)


def ready(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The tensors with those by which ``log_odds`` takes a step of both LSTM layers at once.

    ``both`` (4, E, 2 H + 1, 2 H) takes what both layers said and a 1 to the gates of both, ``into`` (4, E, T, H) an end
    to those of the first. The numbers of input, forget and output are halved: sigmoid(x) = tanh(x / 2) / 2 + 1/2.
    """
    past0, past1, between = tensors["past0"], tensors["past1"], tensors["in1"]
    rows = [
        np.concatenate([past0, between], 2),
        np.concatenate([np.zeros_like(past0), past1], 2),
        np.concatenate([tensors["bias0"], tensors["bias1"]], 2),
    ]
    half = np.array([0.5, 0.5, 0.5, 1.0], np.float32)[:, None, None, None]
    both = np.concatenate(rows, 1).reshape(MEMBERS, -1, LAYERS, 4, HIDDEN).transpose(3, 0, 1, 2, 4)
    into = tensors["in0"].reshape(MEMBERS, -1, 4, HIDDEN).transpose(2, 0, 1, 3)
    return {**tensors, "both": half * both.reshape(4, MEMBERS, -1, LAYERS * HIDDEN), "into": half * into}


def log_odds(tensors: Mapping[str, npt.NDArray[Any]], x: Singles, known: Sequences) -> Singles:
    """What the networks, and last the linear member, say of J jobs with features ``x`` (J, F), (J, E + 1).

    The tensors are those that ``ready`` gives.
    """
    told = _told(tensors, known)
    key = told @ tensors["key"][:, None]
    value = told @ tensors["value"][:, None] + known.tokens @ tensors["token_value"][:, None]
    said = np.empty((len(x), MEMBERS + 1), np.float32)
    said[:, MEMBERS:] = x @ tensors["linear"] + tensors["linear_bias"]
    for begin in range(0, len(x), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        of = known.of[part]
        said[part, :MEMBERS] = _of_jobs(
            tensors, x[part], key[:, of], value[:, of], known.length[of], known.common[part]
        ).T
    return said


def _told(tensors: Mapping[str, npt.NDArray[Any]], known: Sequences) -> Singles:
    """What the second layer says after each end of S sequences, (E, S, K, H); 0 where the longest one is over."""
    told = np.zeros((MEMBERS, *known.tokens.shape[:2], HIDDEN), np.float32)
    for begin in range(0, len(known.tokens), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        ends = int(known.length[part].max())
        rows = np.ascontiguousarray(known.tokens[part, :ends].transpose(1, 0, 2))[:, None, None] @ tensors["into"]
        said = np.ones((*rows.shape[2:4], LAYERS * HIDDEN + 1), np.float32)
        said[..., :-1] = 0.0
        cell = said[..., :-1]
        for step in range(ends + 1):  # the second layer goes one end behind the first
            gates = said @ tensors["both"]
            if step < ends:
                gates[..., :HIDDEN] += rows[step]
            np.tanh(gates, out=gates)
            opened = gates[:3]
            opened *= 0.5
            opened += 0.5
            cell = opened[1] * cell + opened[0] * gates[3]
            if not step:
                cell[..., HIDDEN:] = 0.0  # it has not begun
            np.multiply(opened[2], np.tanh(cell), out=said[..., :-1])
            if step:
                told[:, part, step - 1] = said[..., HIDDEN:-1]
    return told


def _of_jobs(
    tensors: Mapping[str, npt.NDArray[Any]], x: Singles, key: Singles, value: Singles,
    length: npt.NDArray[np.int64], common: Singles,
) -> npt.NDArray[Any]:  # fmt: skip
    """The log odds of some jobs, (E, J), by the keys and values of their users' ends, (E, J, K, H)."""
    job = _silu(x @ tensors["job"] + tensors["job_bias"])
    query = job @ tensors["query"] * np.float32((HIDDEN // HEADS) ** -0.5)
    score = (key * query[:, :, None]) @ _HEAD_OF + common @ tensors["common_key"][:, None]
    score[:, np.arange(LENGTH) >= length[:, None]] = -np.inf
    itself = (job @ tensors["key"] * query) @ _HEAD_OF + tensors["itself"]
    most = np.maximum(score.max(2), itself)
    share, own = np.exp(score - most[:, :, None]), np.exp(itself - most)
    whole = share.sum(2) + own
    seen = ((share @ _HEAD_OF.T) * (value + common @ tensors["common_value"][:, None])).sum(2)
    seen += (own @ _HEAD_OF.T) * (job @ tensors["value"])
    out = job + (seen / (whole @ _HEAD_OF.T)) @ tensors["out"]
    out -= out.mean(2, keepdims=True)
    out /= np.sqrt((out * out).mean(2, keepdims=True) + np.float32(NORM_EPSILON))
    out = out * tensors["norm"] + tensors["norm_bias"]
    both = out @ tensors["last0"][:, :HIDDEN] + x @ tensors["last0"][:, HIDDEN:] + tensors["last_bias0"]
    said: Singles = (_silu(both) @ tensors["last1"] + tensors["last_bias1"])[..., 0]
    return said


def probability(odds: npt.NDArray[Any]) -> Floats:
    """The probability that log odds mean."""
    found: Floats = _sigmoid(odds.astype(np.float64))
    return found


def _sigmoid(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = 0.5 * np.tanh(0.5 * x) + 0.5
    return found


def _silu(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = x * _sigmoid(x)
    return found
