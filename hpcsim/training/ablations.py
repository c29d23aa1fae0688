"""What is taken away from AIMS, one thing at a time, to see what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hpcsim.training.course import Plan

_BLIND: Final = (
    ("twins.performance", "walltime"), ("twins.energy", None), ("twins.fault", None), ("twins.thermal", None),
)  # fmt: skip

ABLATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "twins": "no learned twin is asked: walltimes stand for runtimes, and nothing is known of energy and failures",
        "uncertainty": "what a twin or the ensemble is unsure of counts as much as anything else",
        "adaptive-weights": "the weights of the objectives stay as they begin, also in training",
        "dueling": "the network has no value of the state apart from those of actions",
        "double": "the target network chooses the action that it judges",
        "prioritised-replay": "all remembered steps are as likely to be learned from",
        "performance-and-reliability": "only energy counts",
        "energy-and-reliability": "only performance counts",
        "energy-and-performance": "only reliability counts",
    }
)
"""What can be left out, and what is different then."""

_ONLY: Final = {
    "performance-and-reliability": (1.0, 0.0, 0.0),
    "energy-and-reliability": (0.0, 1.0, 0.0),
    "energy-and-performance": (0.0, 0.0, 1.0),
}


def without(plan: Plan, ablation: str) -> Plan:
    """The plan with one of ``ABLATIONS``; KeyError for what is none."""
    recipe = plan.recipe
    if ablation in _ONLY:
        return plan._replace(weights=_ONLY[ablation], various_weights=False)
    return {
        "twins": plan._replace(overrides=(*plan.overrides, *_BLIND)),
        "uncertainty": plan._replace(uncertainty=False),
        "adaptive-weights": plan._replace(various_weights=False),
        "dueling": plan._replace(recipe=recipe._replace(dueling=False)),
        "double": plan._replace(recipe=recipe._replace(double=False)),
        "prioritised-replay": plan._replace(alpha=0.0),
    }[ablation]


def settings(ablation: str) -> dict[str, object]:
    """The keys of a scenario in which a network that was trained so has to run."""
    if ablation in _ONLY:
        return {"scheduler.objectives": list(_ONLY[ablation]), "scheduler.adapt": False}
    changed: dict[str, dict[str, object]] = {
        "twins": dict(_BLIND),
        "uncertainty": {"scheduler.kappa": 0.0, "scheduler.aversion": 0.0},
        "adaptive-weights": {"scheduler.adapt": False},
    }
    return changed.get(ablation, {})
