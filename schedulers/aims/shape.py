"""What an AIMS network sees and says: names and numbers of its inputs and outputs, the same for training and for runs.

All inputs are fixed functions of what a scheduler knows, about within -1 and 1, so a network needs no scalers.
"""

from __future__ import annotations

from typing import Final

OBJECTIVES: Final = ("energy", "performance", "reliability")
"""What is weighed against each other, in the order of every vector of three."""

CLOCKS: Final = ("at the full clock", "halfway to its clock of least energy", "at its clock of least energy")
"""Clocks that a job can be started at: the last is what the twin of energy says of the job."""

PLACES: Final = ("as the scenario places", "safest nodes")
"""Who chooses the nodes of a job: the scenario's policy, or the twin of faults."""

MODES: Final = tuple((clock, place) for place in range(len(PLACES)) for clock in range(len(CLOCKS)))
"""How a job can be started: indices into ``CLOCKS`` and ``PLACES``; the first is what every scenario can do."""

REST: Final = ("idle nodes sleep after the break-even time", "idle nodes sleep at once", "idle nodes stay awake")
"""How a pass can end: nothing more is started, and what becomes of nodes that are idle."""

DEPARTURES: Final = ("job", "mode", "hold", "rest")
"""How a choice can differ from the rule's: another job, the same one in another mode, none although the rule has one,
and other ways to rest."""

OF_JOB: Final = (
    "nodes", "walltime", "waited", "runtime", "runtime_doubt", "runtime_epistemic", "area", "rank_by_area",
    "rank_by_submission", "energy", "energy_doubt", "saved_when_slow", "fails", "fails_epistemic", "fits",
    "free_in", "beyond_shadow", "urgency", "node_faults", "warmth", "may_outlast", "first",
)  # fmt: skip
"""Numbers about each job that can be chosen."""

OF_ALL: Final = (
    "idle", "asleep", "down", "waiting", "queued_work", "candidates", "back_in_10", "back_in_25", "back_in_50",
    "back_in_75", "back_in_90", "power", "overhead", "hottest", "hour_sin", "hour_cos", "day_sin", "day_cos",
    "arriving", "arriving_work", "oldest", "reserved", "shadow_in", "extra", "started", "faults_lately",
    "weight_energy", "weight_performance", "weight_reliability",
)  # fmt: skip
"""Numbers about machine, queue and hour, and the weights of the objectives."""

DOUBT: Final = tuple(OF_JOB.index(name) for name in ("energy_doubt", "runtime_doubt", "fails_epistemic"))
"""Where in ``OF_JOB`` the relative uncertainty of the twin behind each objective stands."""

VISIBLE: Final = 64
"""Jobs that can be chosen in a pass, at most."""

DISCOUNT_S: Final = 6 * 3600.0
"""Something in six hours counts 1/e of the same now."""

HEADS: Final = 5
"""Members of the ensemble of last layers, whose disagreement says how unsure a value is."""

WIDTH: Final = 128
CONTEXT: Final = 256
HIDDEN: Final = 64
"""Hidden units: of the encoders of jobs and of the whole, of their joint context, and behind each action."""


def shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of a network by name, as (inputs, outputs); biases have one number for each output."""
    jobs, whole, modes, rest, outputs = len(OF_JOB), len(OF_ALL), len(MODES), len(REST), HEADS * len(OBJECTIVES)
    return {
        "job.1": (jobs, WIDTH), "job.1.bias": (WIDTH,), "job.norm": (WIDTH,), "job.norm.bias": (WIDTH,),
        "job.2": (WIDTH, WIDTH), "job.2.bias": (WIDTH,),
        "all.1": (whole, WIDTH), "all.1.bias": (WIDTH,),
        "context.1": (3 * WIDTH, CONTEXT), "context.1.bias": (CONTEXT,),
        "context.2": (CONTEXT, CONTEXT), "context.2.bias": (CONTEXT,),
        "action.job": (WIDTH, HIDDEN), "action.context": (CONTEXT, HIDDEN), "action.mode": (modes, HIDDEN),
        "action.believed": (len(OBJECTIVES), HIDDEN),
        "advantage": (HIDDEN, outputs),
        "rest.context": (CONTEXT, HIDDEN), "rest.mode": (rest, HIDDEN),
        "value.1": (CONTEXT, WIDTH), "value.1.bias": (WIDTH,), "value.2": (WIDTH, outputs), "value.2.bias": (outputs,),
    }  # fmt: skip
