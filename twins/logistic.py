"""The member of a twin that is no network: a logistic regression on the features that its networks have.

Where failures are few it is hard to beat, for it is held back firmly: how firmly is chosen by examples to check. Its
log odds are then stretched and moved until they hold for these (``platt``), so that they can be averaged with what
networks say.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from . import platt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_STRENGTHS: Final = tuple(10.0**power for power in range(-5, 2))
"""Of regularisation (scikit-learn's C), of which the best for the examples to check is taken."""


class Linear(NamedTuple):
    """Log odds are x @ weights + bias, of N examples with scaled features x (N, F)."""

    weights: Floats
    bias: float


def fitted(x: Singles, failed: Bools, x_check: Singles, failed_check: Bools) -> Linear:
    """The regression on some examples that ranks those to check best, by the area under precision over recall."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score

    if failed.all() or not failed.any():  # nothing to tell apart
        return Linear(np.zeros(x.shape[1]), 0.0)
    best, best_area = Linear(np.zeros(x.shape[1]), 0.0), -1.0
    for strength in _STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=500).fit(x, failed)
        area = average_precision_score(failed_check, model.decision_function(x_check)) if failed_check.any() else 0.0
        if area > best_area:
            best, best_area = Linear(model.coef_[0].astype(np.float64), float(model.intercept_[0])), float(area)
    slope, shift = platt.fitted(x_check @ best.weights + best.bias, failed_check)
    return Linear(slope * best.weights, slope * best.bias + shift)
