"""The network of the fault twin, and its forward pass in numpy, so that no run imports torch.

Two layers of LSTM read the last intervals of a unit; eight heads of attention look from the last of them back on all;
what they find, the last state and what else describes the unit give, by a small perceptron, the rate of failures in
each of ``len(EDGES_H)`` spans of time to come: a piecewise exponential model, so that any horizon can be asked. A
linear part beside it sees all features, so that the network only has to learn what a line does not say (Cheng et al.
2016). The tests compare this pass with torch's.

Beside the network stands a logistic regression on the same features, of failures within ``HORIZON_H`` (``logistic``).
What both say is averaged in logarithms, with a share of 0 to 1 for the regression; when within the horizon a failure
comes, and what is beyond it, the network tells alone.

References
----------
Hochreiter and Schmidhuber (1997), Long short-term memory. Vaswani et al. (2017), Attention is all you need. Friedman
(1982), Piecewise exponential models for survival data with covariates. Cheng et al. (2016), Wide & deep learning for
recommender systems.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from . import fault_signs
from .fault_features import DESCRIBED, INTERVALS, SEQUENCE

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

HIDDEN: Final = 32
HEADS: Final = 8
DENSE: Final = 32
CLIP: Final = 6.0  # standard deviations
EDGES_H: Final = (2.0, 6.0, 12.0, 24.0, 48.0, 96.0)
"""Ends of the spans in which the rate of failures is constant, hours; that of the last goes on."""

HORIZON_H: Final = 24.0
"""Within which the logistic member tells failures."""

FEATURES: Final = SEQUENCE + DESCRIBED
_FLAT: Final = INTERVALS * len(SEQUENCE) + len(DESCRIBED)
NETWORK: Final[Mapping[str, tuple[int, ...]]] = {
    "input0": (4 * HIDDEN, len(SEQUENCE)),
    "state0": (4 * HIDDEN, HIDDEN),
    "bias0": (4 * HIDDEN,),
    "input1": (4 * HIDDEN, HIDDEN),
    "state1": (4 * HIDDEN, HIDDEN),
    "bias1": (4 * HIDDEN,),
    "query": (HIDDEN, HIDDEN),
    "key": (HIDDEN, HIDDEN),
    "value": (HIDDEN, HIDDEN),
    "dense": (DENSE, 2 * HIDDEN + len(DESCRIBED)),
    "dense_bias": (DENSE,),
    "rates": (len(EDGES_H), DENSE),
    "rates_bias": (len(EDGES_H),),
    "wide": (len(EDGES_H), _FLAT),
}
"""The tensors of the network by name; gates in the order input, forget, cell, output."""

SHAPES: Final[Mapping[str, tuple[int, ...]]] = {
    **NETWORK,
    "signs": (fault_signs.SIZE,),
    "linear": (_FLAT,),
    "linear_bias": (1,),
    "linear_share": (1,),
}
"""All tensors; ``signs`` are ``Signs.packed``, ``linear_share`` is the weight of the logistic member."""

_CHUNK: Final = 512  # units whose numbers fit in a cache
_LEAST: Final = 1e-12  # failures expected


def scaled(values: npt.NDArray[Any], center: Floats, scale: Floats) -> Singles:
    """Features as the network takes them."""
    x = (values.astype(np.float32) - center.astype(np.float32)) / scale.astype(np.float32)
    return np.clip(x, -CLIP, CLIP).astype(np.float32)


def log_rates(tensors: Mapping[str, npt.NDArray[Any]], sequence: Singles, slow: Singles) -> Singles:
    """Of U units ln of the failures an hour in each span, (U, len(EDGES_H)); the features are scaled.

    This is what both members say; ``network_log_rates`` is the network alone.
    """
    alone = network_log_rates(tensors, sequence, slow)
    more = log_linear(tensors, flat(sequence, slow)) - log_expected(alone, HORIZON_H)
    return np.asarray(alone + tensors["linear_share"] * more.astype(np.float32)[:, None], np.float32)


def flat(sequence: Singles, slow: Singles) -> Singles:
    """All features of U units in a row each."""
    return np.concatenate([sequence.reshape(len(slow), -1), slow], axis=1)


def log_linear(tensors: Mapping[str, npt.NDArray[Any]], row: Singles) -> Floats:
    """Ln of the failures within ``HORIZON_H`` that the logistic member expects of U units, by ``flat`` features."""
    odds = (row @ tensors["linear"] + tensors["linear_bias"]).astype(np.float64)
    return np.asarray(np.log(np.maximum(np.logaddexp(0.0, odds), _LEAST)))


def network_log_rates(tensors: Mapping[str, npt.NDArray[Any]], sequence: Singles, slow: Singles) -> Singles:
    """What the network says alone: see ``log_rates``."""
    parts = [
        _log_rates(tensors, sequence[begin : begin + _CHUNK], slow[begin : begin + _CHUNK])
        for begin in range(0, len(slow), _CHUNK)
    ]
    return np.concatenate(parts)


def _log_rates(tensors: Mapping[str, npt.NDArray[Any]], sequence: Singles, slow: Singles) -> Singles:
    steps = _lstm(tensors, 1, _lstm(tensors, 0, np.ascontiguousarray(sequence.transpose(1, 2, 0))))
    last, units = steps[-1], len(slow)
    heads = (len(steps), HEADS, HIDDEN // HEADS, units)
    each = tensors["key"] @ steps
    each *= tensors["query"] @ last
    score = each.reshape(heads).sum(2)
    score *= np.float32((HIDDEN // HEADS) ** -0.5)
    weight = np.exp(score - score.max(0))
    weight /= weight.sum(0)
    np.matmul(tensors["value"], steps, out=each)
    each.reshape(heads)[:] *= weight[:, :, None]
    found = each.sum(0)
    joined = np.concatenate([last, found, slow.T])
    hidden = np.maximum(tensors["dense"] @ joined + tensors["dense_bias"][:, None], 0.0)
    rates = tensors["rates"] @ hidden + tensors["rates_bias"][:, None]
    return np.asarray(rates.T + flat(sequence, slow) @ tensors["wide"].T)


def _lstm(tensors: Mapping[str, npt.NDArray[Any]], layer: int, steps: Singles) -> Singles:
    """What a layer says of T intervals of U units, (T, H, U), all gates by one product and one tanh.

    The numbers of input, forget and output are halved for that: sigmoid(x) = tanh(x / 2) / 2 + 1/2.
    """
    into, back, bias = (_gates(tensors[f"{name}{layer}"]) for name in ("input", "state", "bias"))
    told = np.empty((len(steps), HIDDEN, steps.shape[2]), np.float32)
    row, recalled = np.empty((2, 4 * HIDDEN, steps.shape[2]), np.float32)
    opened = row[: 3 * HIDDEN]
    enter, forget, leave, new = row.reshape(4, HIDDEN, -1)
    hidden = cell = np.zeros_like(new)
    for step, hidden_now in zip(steps, told, strict=True):
        np.matmul(into, step, out=row)
        row += bias[:, None]
        row += np.matmul(back, hidden, out=recalled)
        np.tanh(row, out=row)
        opened *= 0.5
        opened += 0.5
        cell = forget * cell + enter * new
        hidden = np.multiply(leave, np.tanh(cell), out=hidden_now)
    return told


def _gates(rows: npt.NDArray[Any]) -> Singles:
    """Rows of input, forget, cell and output as those of input, forget, output, all halved, and cell."""
    enter, forget, cell, leave = np.split(rows, 4)
    return np.concatenate([0.5 * enter, 0.5 * forget, 0.5 * leave, cell]).astype(np.float32)


def spans_h(horizon_h: npt.ArrayLike) -> Floats:
    """Hours of a horizon that lie in each span, (..., len(EDGES_H))."""
    begin = np.array((0.0, *EDGES_H[:-1]))
    end = np.array((*EDGES_H[:-1], np.inf))
    horizon = np.asarray(horizon_h, np.float64)[..., None]
    return np.asarray(np.clip(horizon, begin, end) - begin)


def expected(log_rate: npt.NDArray[Any], horizon_h: float) -> Floats:
    """Expected failures of U units within a horizon, before calibration."""
    return np.asarray(np.exp(np.minimum(log_rate.astype(np.float64), 8.0)) @ spans_h(horizon_h))


def log_expected(log_rate: npt.NDArray[Any], horizon_h: float) -> Floats:
    """Ln of ``expected``."""
    return np.asarray(np.log(np.maximum(expected(log_rate, horizon_h), _LEAST)))


def probability(expected_U: Floats, calibration: tuple[float, float]) -> Floats:
    """The probability of a failure, where ``calibration`` is a and b of ln H' = a + b ln H."""
    level, slope = calibration
    return np.asarray(-np.expm1(-np.exp(level + slope * np.log(np.maximum(expected_U, _LEAST)))))
