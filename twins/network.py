"""The network of the performance ensemble, and its forward pass in numpy, so that no run imports torch.

M members, each a perceptron F -> 128 -> 64 -> 3K + 2P with SiLU: for each of K components of ln X the logit of its
weight, its mean relative to ln walltime, and the log of its deviation. Users repeat themselves, often to the minute,
which no perceptron can say of its inputs exactly: so there are P more components whose means are the runtimes of
certain earlier jobs (``POINTERS``), of which only weight and deviation are learned (after See, Liu and Manning 2017,
Get to the point: summarization with pointer-generator networks). ``tests/test_performance_twin.py`` compares this pass
with torch's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .features import NAMES
from .lognormal import Mixture

Floats = npt.NDArray[np.float64]

KIND: Final = "performance-ensemble"
MEMBERS: Final = 5
HIDDEN: Final = (128, 64)
FREE: Final = 3
POINTERS: Final = (
    "user_shape_last", "user_shape_second", "user_walltime_last", "user_last", "user_second", "shape_last",
)  # fmt: skip
"""The features that are means of components: ln runtimes of earlier jobs, relative to the walltime."""

COMPONENTS: Final = FREE + len(POINTERS)
OUTPUTS: Final = 3 * FREE + 2 * len(POINTERS)
CLIP: Final = 6.0  # standard deviations; beyond it a feature is no other
LEAST_LOG_DEVIATION, MOST_LOG_DEVIATION = -3.5, 1.5
LEAST_OF_POINTERS: Final = -5.0
_MEAN_BOUND: Final = 3.0  # above ln walltime; a higher mean says no more than "until the limit"

SHAPES: Final[Mapping[str, tuple[int, ...]]] = {
    "weight0": (MEMBERS, len(NAMES), HIDDEN[0]),
    "bias0": (MEMBERS, 1, HIDDEN[0]),
    "weight1": (MEMBERS, HIDDEN[0], HIDDEN[1]),
    "bias1": (MEMBERS, 1, HIDDEN[1]),
    "weight2": (MEMBERS, HIDDEN[1], OUTPUTS),
    "bias2": (MEMBERS, 1, OUTPUTS),
}
"""The tensors by name."""

_CHUNK: Final = 4096
_PLACES: Final = [NAMES.index(name) for name in POINTERS]


def scaled(features: Floats, center: Sequence[float], scale: Sequence[float]) -> npt.NDArray[np.float32]:
    """Features as the network takes them, (J, F)."""
    x: Floats = (features - np.asarray(center)) / np.asarray(scale)
    return np.minimum(np.maximum(x, -CLIP), CLIP).astype(np.float32)


def pointed(features: Floats) -> npt.NDArray[np.float32]:
    """The means of the components of J jobs that are runtimes of earlier ones, (J, P)."""
    return features[:, _PLACES].astype(np.float32)


def perceptrons(tensors: Mapping[str, npt.NDArray[Any]], x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What M perceptrons of three layers say of J examples, (J, M, outputs); ``x`` (J, F) are scaled features."""
    parts = []
    for begin in range(0, len(x), _CHUNK):
        hidden = x[None, begin : begin + _CHUNK]
        for layer in range(3):
            hidden = hidden @ tensors[f"weight{layer}"] + tensors[f"bias{layer}"]
            if layer < 2:
                hidden = hidden / (1.0 + np.exp(-np.minimum(np.maximum(hidden, -60.0), 60.0)))
        parts.append(hidden.transpose(1, 0, 2))
    return np.concatenate(parts)


def outputs(
    tensors: Mapping[str, npt.NDArray[Any]], x: npt.NDArray[np.float32], pointed_JP: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """What the members say of J jobs, (J, M, 3 (K + P)): logit, mean and log deviation of each component in turn."""
    raw = perceptrons(tensors, x)
    result = np.empty((*raw.shape[:2], 3 * COMPONENTS), np.float32)
    result[..., : 3 * FREE] = raw[..., : 3 * FREE]
    result[..., 2 : 3 * FREE : 3] = np.clip(raw[..., 2 : 3 * FREE : 3], LEAST_LOG_DEVIATION, MOST_LOG_DEVIATION)
    result[..., 3 * FREE :: 3] = raw[..., 3 * FREE :: 2]
    result[..., 3 * FREE + 1 :: 3] = pointed_JP[:, None]
    result[..., 3 * FREE + 2 :: 3] = np.clip(raw[..., 3 * FREE + 1 :: 2], LEAST_OF_POINTERS, MOST_LOG_DEVIATION)
    return result


def mixture_of(output: npt.NDArray[np.float32], walltime_s: npt.NDArray[np.int64]) -> Mixture:
    """The mixtures that outputs mean."""
    logit, mean, log_deviation = (output[..., k::3].astype(np.float64) for k in range(3))
    weight = np.exp(logit - logit.max(2, keepdims=True))
    weight /= weight.sum(2, keepdims=True)
    limit = np.log(np.maximum(walltime_s, 1).astype(np.float64))
    deviation = np.exp(log_deviation)
    return Mixture(weight, limit[:, None, None] + np.minimum(mean, _MEAN_BOUND), deviation, limit)
