"""A rule over the same actions, by which training begins: what an experienced operator would do with these twins.

It starts the most urgent job by what the twin of performance says (``believed.urgency``), keeps nodes for it if it does
not fit, and fills up with those that do not delay it, in the same order: if waiting costs nodes times its square, a job
that has waited w and will run r on n nodes is worth n w for the n r that it takes. As r is unsure it counts by its
root. Each starts in the mode that is believed to cost least by the weights of the objectives, and idle nodes sleep
after the break-even time.

References
----------
van Mieghem (1995), Dynamic scheduling with convex delay costs: the generalized c-mu rule. Hansen (1973), Operating
System Principles (highest response ratio next, which the order is where r counts whole).
"""

from __future__ import annotations

import numpy as np

from .network import State
from .shape import MODES, OBJECTIVES, OF_JOB

_URGENCY, _FITS = (OF_JOB.index(name) for name in ("urgency", "fits"))


def by_rule(state: State) -> int:
    """The action that the rule takes in ``state``."""
    jobs, modes = len(state.job_JF), len(MODES)
    open_J = state.legal_JM.any(1)
    if not open_J.any():
        return jobs * modes + int(state.legal_R.argmax())
    place = int(np.where(open_J, state.job_JF[:, _URGENCY], -np.inf).argmax())
    if not state.job_JF[place, _FITS]:
        return place * modes
    worth_M = state.believed_JMO[place] @ state.all_G[-len(OBJECTIVES) :]
    return place * modes + int(np.where(state.legal_JM[place], worth_M, -np.inf).argmax())
