"""A rule over the same actions, by which training begins: what an experienced operator would do with these twins.

It starts jobs of the smallest predicted area first, keeps nodes for the first that does not fit, slows jobs down that
take less energy then while nobody waits, on the safest nodes, and lets idle nodes sleep after the break-even time.
"""

from __future__ import annotations

import numpy as np

from .network import State
from .shape import MODES, OF_ALL, OF_JOB, SPEEDS

_AREA, _FITS, _SAVED = (OF_JOB.index(name) for name in ("area", "fits", "saved_when_slow"))
_IDLE, _WORK = (OF_ALL.index(name) for name in ("idle", "queued_work"))
_ENOUGH_IDLE = 0.05  # of the nodes: then nobody waits for those that a slowed job keeps longer
_WORTH_IT = 0.05  # of a job's energy


def by_rule(state: State) -> int:
    """The action that the rule takes in ``state``."""
    jobs, modes = len(state.job_JF), len(MODES)
    open_jobs = np.flatnonzero(state.legal_JM.any(1)).tolist()
    if not open_jobs:
        return jobs * modes + int(state.legal_R.argmax())
    place: int = min(open_jobs, key=lambda j: (state.job_JF[j, _AREA], j))
    legal_M = state.legal_JM[place]
    if not state.job_JF[place, _FITS]:
        return place * modes
    slow = state.all_G[_IDLE] > _ENOUGH_IDLE and state.job_JF[place, _SAVED] > _WORTH_IT
    speed = SPEEDS[-1] if slow else 1.0
    for wanted in ((speed, 1), (speed, 0), (1.0, 1)):
        if legal_M[MODES.index(wanted)]:
            return place * modes + MODES.index(wanted)
    return place * modes
