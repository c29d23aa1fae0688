"""The twins that ``hpcsim twins`` trains and judges, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol

import numpy.typing as npt

from hpcsim.plugin import MachineSpec

from .judging import Evaluation
from .loop import Course, Plan


class Recorded(NamedTuple):
    """What a finished run left: its Arrow tables (docs/results.md), its manifest, and how to read its telemetry.

    ``machine`` has the published facts of its machine; None where nodes are only counted. ``again`` runs the scenario
    with other keys; ``hazard`` gives the true probability that each of U units fails within so many seconds of each of
    T seconds, (T, U), for judging alone: no twin can ask for it.
    """

    tables: Mapping[str, Any]
    manifest: Mapping[str, Any]
    telemetry: Callable[[], Any] | None = None
    machine: MachineSpec | None = None
    again: Callable[[Mapping[str, Any]], Recorded] | None = None
    hazard: Callable[[Any, int], Any] | None = None


class Made(NamedTuple):
    """Trained weights: tensors by name, what their JSON tells of them, and a sentence on how the training went."""

    tensors: Mapping[str, npt.NDArray[Any]]
    about: Mapping[str, Any]
    said: str


class Learner(Protocol):
    """How one twin is trained: its module offers an object of this form, named ``LEARNER``.

    ``settings`` are keys of a scenario that its data need, set on every scenario that is run for it.
    """

    settings: Mapping[str, Any]

    def records(self, run: Recorded) -> Any:
        """What there is to learn from in a run. InputError where that is too little."""
        ...

    def train(self, runs: Sequence[Any], plan: Plan, course: Course) -> Made:
        """Train on the earlier part of the records of some runs."""
        ...

    def evaluate(self, records: Any, seeds: list[int], epochs: int, told: Callable[[str], None]) -> Evaluation:
        """Train with each seed on the earlier part of the records, and judge beside baselines on the last part."""
        ...


_MODULES: Final = {
    "performance": "performance_learner",
    "energy": "energy_learner",
    "thermal": "thermal_learner",
    "job-failure": "job_failure_learner",
    "fault": "fault_learner",
}

NAMES: Final = tuple(_MODULES)
"""The names of the twins that learn, as ``--twin`` takes them."""


ON_GPU: Final = ("performance", "thermal", "job-failure")
"""Those of them that can be trained on a GPU."""


def learner(name: str) -> Learner:
    """The learner of a twin."""
    found: Learner = import_module(f".{_MODULES[name]}", __package__).LEARNER
    return found
