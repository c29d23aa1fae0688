"""A rule over the same actions, by which training begins: what an experienced operator would do with these twins.

It starts jobs as they came, keeps nodes for the first that does not fit, and fills up with those that do not delay it,
most slowed down first. Each starts in the mode that is believed to cost least by the weights of the objectives, and
idle nodes sleep after the break-even time.
"""

from __future__ import annotations

import numpy as np

from .network import State
from .shape import MODES, OBJECTIVES, OF_ALL, OF_JOB

_CAME, _SLOWDOWN, _FITS = (OF_JOB.index(name) for name in ("rank_by_submission", "slowdown", "fits"))
_RESERVED = OF_ALL.index("reserved")


def by_rule(state: State) -> int:
    """The action that the rule takes in ``state``."""
    jobs, modes = len(state.job_JF), len(MODES)
    open_J = state.legal_JM.any(1)
    if not open_J.any():
        return jobs * modes + int(state.legal_R.argmax())
    turn_J = -state.job_JF[:, _SLOWDOWN] if state.all_G[_RESERVED] else state.job_JF[:, _CAME]
    place = int(np.where(open_J, turn_J, np.inf).argmin())
    if not state.job_JF[place, _FITS]:
        return place * modes
    worth_M = state.believed_JMO[place] @ state.all_G[-len(OBJECTIVES) :]
    return place * modes + int(np.where(state.legal_JM[place], worth_M, -np.inf).argmax())
