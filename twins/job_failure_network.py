"""The network of job failure, and its forward pass in numpy, so that no run imports torch.

An LSTM of two layers reads the last ends of a user. The job that is asked about, its features put through a layer, is
the last token of the sequence and attends to all that the LSTM says of the ends and to itself with eight heads: of
self-attention over the sequence just the last row is of use. A head attends the more to an end the more it has in common
with the job. Of what comes out, layer-normed, five perceptrons each say the log odds that the job fails.

``tests/test_job_failure.py`` compares this pass with torch's.

Shapes: J jobs, S sequences, K ends, T and M numbers (``job_failure_sequences``), F features, H hidden units, A heads, D
units of a head, E members.

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

LAYERS: Final = 2
HEADS: Final = 8
MEMBERS: Final = 5
HIDDEN: Final = 128
MEMBER_HIDDEN: Final = 32
NORM_EPSILON: Final = 1e-5

_CHUNK: Final = 2048


def shapes(hidden: int = HIDDEN) -> dict[str, tuple[int, ...]]:
    """The tensors by name, with ``hidden`` units."""
    found: dict[str, tuple[int, ...]] = {}
    for layer in range(LAYERS):
        taken = len(TOKEN) if layer == 0 else hidden
        found[f"lstm_in{layer}"] = (taken, 4 * hidden)
        found[f"lstm_past{layer}"] = (hidden, 4 * hidden)
        found[f"lstm_bias{layer}"] = (4 * hidden,)
    found |= {"job": (len(NAMES), hidden), "job_bias": (hidden,)}
    found |= {name: (hidden, hidden) for name in ("query", "key", "value", "out")}
    found |= {"common": (len(COMMON), HEADS), "itself": (HEADS,), "common_value": (len(COMMON), hidden)}
    found |= {"norm": (hidden,), "norm_bias": (hidden,)}
    found |= {"member0": (MEMBERS, hidden + len(NAMES), MEMBER_HIDDEN), "member_bias0": (MEMBERS, 1, MEMBER_HIDDEN)}
    found |= {"member1": (MEMBERS, MEMBER_HIDDEN, 1), "member_bias1": (MEMBERS, 1, 1)}
    return found


def log_odds(tensors: Mapping[str, npt.NDArray[Any]], x: Singles, known: Sequences) -> Singles:
    """What the members say of J jobs with features ``x`` (J, F), (J, E)."""
    told = _lstm(tensors, known.tokens)
    key, value = told @ tensors["key"], told @ tensors["value"]
    parts = [
        _of_jobs(tensors, x[part], key, value, known.of[part], known.length, known.common[part])
        for part in (slice(begin, begin + _CHUNK) for begin in range(0, len(x), _CHUNK))
    ]
    return np.concatenate(parts) if parts else np.zeros((0, MEMBERS), np.float32)


def _lstm(tensors: Mapping[str, npt.NDArray[Any]], tokens: Singles) -> Singles:
    """What the second layer says after each end of S sequences, (S, K, H)."""
    parts = []
    for begin in range(0, len(tokens), _CHUNK):
        rows = tokens[begin : begin + _CHUNK].transpose(1, 0, 2)  # step by step
        for layer in range(LAYERS):
            rows = _layer(rows, *(tensors[f"lstm_{name}{layer}"] for name in ("in", "past", "bias")))
        parts.append(rows.transpose(1, 0, 2))
    return np.concatenate(parts) if parts else np.zeros((0, LENGTH, tensors["key"].shape[0]), np.float32)


def _layer(rows: Singles, taken: Singles, past: Singles, bias: Singles) -> Singles:
    """One layer over K steps of S sequences, (K, S, H); gates are input, forget, output and then what is new."""
    hidden = past.shape[0]
    gates_KS = rows @ taken + bias
    out = np.empty((*rows.shape[:2], hidden), np.float32)
    h = cell = np.zeros((rows.shape[1], hidden), np.float32)
    for step, gates in enumerate(gates_KS):
        gates += h @ past
        opened = _sigmoid(gates[:, : 3 * hidden])
        cell = opened[:, hidden : 2 * hidden] * cell + opened[:, :hidden] * np.tanh(gates[:, 3 * hidden :])
        h = opened[:, 2 * hidden :] * np.tanh(cell)
        out[step] = h
    return out


def _of_jobs(
    tensors: Mapping[str, npt.NDArray[Any]], x: Singles, key: Singles, value: Singles,
    of: npt.NDArray[np.int64], length: npt.NDArray[np.int64], common: Singles,
) -> Singles:  # fmt: skip
    jobs, hidden = len(x), key.shape[-1]
    split = (jobs, -1, HEADS, hidden // HEADS)
    job = _silu(x @ tensors["job"] + tensors["job_bias"])
    query = (job @ tensors["query"]).reshape(split).transpose(0, 2, 3, 1)  # (J, A, D, 1)
    score = np.empty((jobs, HEADS, LENGTH + 1), np.float32)
    score[..., :-1] = (key[of].reshape(split).transpose(0, 2, 1, 3) @ query)[..., 0]
    score[..., -1:] = (job @ tensors["key"]).reshape(split).transpose(0, 2, 1, 3)[..., 0, None, :] @ query
    score *= (hidden // HEADS) ** -0.5
    score[..., :-1] += (common @ tensors["common"]).transpose(0, 2, 1)
    score[..., -1] += tensors["itself"]
    score[..., :-1][np.broadcast_to(np.arange(LENGTH) >= length[of][:, None, None], score[..., :-1].shape)] = -np.inf
    score -= score.max(2, keepdims=True)
    share = np.exp(score)
    share /= share.sum(2, keepdims=True)
    seen = share[:, :, None, :-1] @ value[of].reshape(split).transpose(0, 2, 1, 3)
    shared = (share[..., :-1] @ common)  # (J, A, M)
    seen = seen[:, :, 0] + np.einsum("jam,mad->jad", shared, tensors["common_value"].reshape(-1, *split[2:]))
    seen += share[..., -1:] * (job @ tensors["value"]).reshape(jobs, *split[2:])
    out = job + seen.reshape(jobs, hidden) @ tensors["out"]
    out -= out.mean(1, keepdims=True)
    out /= np.sqrt((out * out).mean(1, keepdims=True) + NORM_EPSILON)
    both = np.concatenate([out * tensors["norm"] + tensors["norm_bias"], x], axis=1)
    member = _silu(both @ tensors["member0"] + tensors["member_bias0"])
    said: Singles = (member @ tensors["member1"] + tensors["member_bias1"])[..., 0].T
    return np.ascontiguousarray(said)


def probability(log_odds: Floats | Singles) -> Floats:
    """The probability that log odds mean."""
    return _sigmoid(log_odds.astype(np.float64))


def _sigmoid(x: Any) -> Any:
    return 0.5 * np.tanh(0.5 * x) + 0.5


def _silu(x: Any) -> Any:
    return x * _sigmoid(x)
