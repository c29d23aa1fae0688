"""A rule over the same actions, by which training begins: what an experienced operator would do with these twins.

It starts jobs of the smallest predicted area first, keeps nodes for the first that does not fit, starts each in the
mode that is believed to cost least by the weights of the objectives, and lets idle nodes sleep after the break-even
time.
"""

from __future__ import annotations

import numpy as np

from .network import State
from .shape import MODES, OBJECTIVES, OF_JOB

_AREA, _FITS = (OF_JOB.index(name) for name in ("area", "fits"))


def by_rule(state: State) -> int:
    """The action that the rule takes in ``state``."""
    jobs, modes = len(state.job_JF), len(MODES)
    open_J = state.legal_JM.any(1)
    if not open_J.any():
        return jobs * modes + int(state.legal_R.argmax())
    place = int(np.where(open_J, state.job_JF[:, _AREA], np.inf).argmin())
    if not state.job_JF[place, _FITS]:
        return place * modes
    worth_M = state.believed_JMO[place] @ state.all_G[-len(OBJECTIVES) :]
    return place * modes + int(np.where(state.legal_JM[place], worth_M, -np.inf).argmax())
