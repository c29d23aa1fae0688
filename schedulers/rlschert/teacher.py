"""The rule that RLSchert begins by imitating: the shortest job that fits, and kills of those underestimated."""

from __future__ import annotations

from typing import Final

import numpy as np

from .network import State
from .shape import OF_JOB, OF_RUNNING

_LENGTH: Final = OF_JOB.index("length")
_INITIAL, _ELAPSED, _REMAINING, _DRIFT = (
    OF_RUNNING.index(name) for name in ("initial", "elapsed", "remaining", "drift")
)
_DOUBLED: Final = 0.25  # of the number ``drift``: the prediction has doubled


def by_rule(state: State) -> int:
    """The action that the rule takes.

    A job is killed while it has not run for as long as was first predicted, if it was predicted to be shorter than the
    median of the window, has since been predicted to run more than twice as long, and has more than that median to go.
    """
    jobs = len(state.job_JF)
    starts = np.flatnonzero(state.legal_A[:jobs])
    kills = np.flatnonzero(state.legal_A[jobs + 1 :])
    if kills.size:
        row = state.running_RF[kills]
        as_long = np.expm1(row[:, _ELAPSED] * 5.0) <= np.exp(row[:, _INITIAL] * 5.0)
        wrong = as_long & (row[:, _DRIFT] > _DOUBLED) & (row[:, _INITIAL] < 0.0) & (row[:, _REMAINING] > 0.0)
        if wrong.any() and not starts.size:
            return jobs + 1 + int(kills[wrong.argmax()])
    if starts.size:
        return int(starts[state.job_JF[starts, _LENGTH].argmin()])
    return jobs
