"""The network of the fault twin, and its forward pass in numpy, so that no run imports torch.

Two layers of LSTM read the last intervals of a unit; eight heads of attention look from the last of them back on all;
what they find, the last state and what else describes the unit give, by a small perceptron, the rate of failures in
each of ``len(EDGES_H)`` spans of time to come: a piecewise exponential model, so that any horizon can be asked. A
linear part beside it sees all features, so that the network only has to learn what a line does not say (Cheng et al.
2016). The tests compare this pass with torch's.

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

FEATURES: Final = SEQUENCE + DESCRIBED
SHAPES: Final[Mapping[str, tuple[int, ...]]] = {
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
    "wide": (len(EDGES_H), INTERVALS * len(SEQUENCE) + len(DESCRIBED)),
    "signs": (fault_signs.SIZE,),
}
"""The tensors by name; gates in the order input, forget, cell, output. ``signs`` are ``Signs.packed``."""

_CHUNK: Final = 2048


def scaled(values: npt.NDArray[Any], center: Floats, scale: Floats) -> Singles:
    """Features as the network takes them."""
    x = (values.astype(np.float32) - center.astype(np.float32)) / scale.astype(np.float32)
    return np.clip(x, -CLIP, CLIP).astype(np.float32)


def log_rates(tensors: Mapping[str, npt.NDArray[Any]], sequence: Singles, slow: Singles) -> Singles:
    """Of U units ln of the failures an hour in each span, (U, len(EDGES_H)); the features are scaled."""
    parts = [
        _log_rates(tensors, sequence[begin : begin + _CHUNK], slow[begin : begin + _CHUNK])
        for begin in range(0, len(slow), _CHUNK)
    ]
    return np.concatenate(parts)


def _log_rates(tensors: Mapping[str, npt.NDArray[Any]], sequence: Singles, slow: Singles) -> Singles:
    steps = _lstm(tensors, 1, _lstm(tensors, 0, list(sequence.transpose(1, 0, 2))))
    last = steps[-1]
    shape = (len(last), HEADS, HIDDEN // HEADS)
    query = (last @ tensors["query"].T).reshape(shape)
    keys = np.stack([(step @ tensors["key"].T).reshape(shape) for step in steps], axis=2)
    values = np.stack([(step @ tensors["value"].T).reshape(shape) for step in steps], axis=2)
    score = np.einsum("uhd,uhtd->uht", query, keys) / np.float32((HIDDEN // HEADS) ** 0.5)
    weight = np.exp(score - score.max(2, keepdims=True))
    weight /= weight.sum(2, keepdims=True)
    found = np.einsum("uht,uhtd->uhd", weight, values).reshape(len(last), HIDDEN)
    joined = np.concatenate([last, found, slow], axis=1)
    hidden = np.maximum(joined @ tensors["dense"].T + tensors["dense_bias"], 0.0)
    wide = np.concatenate([sequence.reshape(len(slow), -1), slow], axis=1) @ tensors["wide"].T
    return np.asarray(hidden @ tensors["rates"].T + tensors["rates_bias"] + wide, np.float32)


def _lstm(tensors: Mapping[str, npt.NDArray[Any]], layer: int, steps: list[Singles]) -> list[Singles]:
    into, back = tensors[f"input{layer}"].T, tensors[f"state{layer}"].T
    bias = tensors[f"bias{layer}"]
    hidden = cell = np.zeros((len(steps[0]), HIDDEN), np.float32)
    outputs = []
    for step in steps:
        gates = step @ into + hidden @ back + bias
        enter, forget, leave = (_sigmoid(gates[:, k * HIDDEN : (k + 1) * HIDDEN]) for k in (0, 1, 3))
        cell = forget * cell + enter * np.tanh(gates[:, 2 * HIDDEN : 3 * HIDDEN])
        hidden = leave * np.tanh(cell)
        outputs.append(hidden)
    return outputs


def _sigmoid(x: Singles) -> Singles:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)), np.float32)


def spans_h(horizon_h: npt.ArrayLike) -> Floats:
    """Hours of a horizon that lie in each span, (..., len(EDGES_H))."""
    begin = np.array((0.0, *EDGES_H[:-1]))
    end = np.array((*EDGES_H[:-1], np.inf))
    horizon = np.asarray(horizon_h, np.float64)[..., None]
    return np.asarray(np.clip(horizon, begin, end) - begin)


def expected(log_rate: npt.NDArray[Any], horizon_h: float) -> Floats:
    """Expected failures of U units within a horizon, before calibration."""
    return np.asarray(np.exp(np.minimum(log_rate.astype(np.float64), 8.0)) @ spans_h(horizon_h))


def probability(expected_U: Floats, calibration: tuple[float, float]) -> Floats:
    """The probability of a failure, where ``calibration`` is a and b of ln H' = a + b ln H."""
    level, slope = calibration
    return np.asarray(-np.expm1(-np.exp(level + slope * np.log(np.maximum(expected_U, 1e-12)))))
