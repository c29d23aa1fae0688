"""The hooks that a plug-in may implement: called once, when plug-ins are loaded, never during a run."""

from __future__ import annotations

import os
from typing import Any, Protocol, TypeVar

import pluggy

from hpcsim.engine.scheduler import Scheduler
from hpcsim.engine.twins import Twin
from hpcsim.plugin.metric import Metric
from hpcsim.workload.reader import Reader

PROJECT = "hpcsim"  # pluggy's project name, and the entry-point group of plug-ins

hookspec: pluggy.HookspecMarker = pluggy.HookspecMarker(PROJECT)
hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker(PROJECT)


Offered = TypeVar("Offered", contravariant=True)


class Register(Protocol[Offered]):
    """What a hook is handed: call it once for each class that the plug-in offers."""

    def __call__(self, offered: type[Offered], /) -> None: ...


class RegisterFile(Protocol):
    """What a hook is handed: call it once for each file that the plug-in offers."""

    def __call__(self, path: str | os.PathLike[str], /) -> None: ...


@hookspec
def hpcsim_schedulers(register: Register[Scheduler]) -> None:
    """Offer scheduler classes: ``register(ShortestFirst)``."""


@hookspec
def hpcsim_twins(register: Register[Twin]) -> None:
    """Offer classes of digital twins: ``register(LastTwo)``."""


@hookspec
def hpcsim_machines(register: RegisterFile) -> None:
    """Offer machines, YAML files of the catalogue's form: ``register(Path(__file__).with_name("mine.yaml"))``.

    The file's name without its ending is the machine's name in scenarios.
    """


@hookspec
def hpcsim_metrics(register: Register[Metric]) -> None:
    """Offer metric classes, figures that are computed of every finished run: ``register(WaitOfLargeJobs)``."""


@hookspec
def hpcsim_workloads(register: Register[Reader]) -> None:
    """Offer workload readers, classes that read a format of traces: ``register(Sacct)``."""


@hookspec
def hpcsim_observers(register: Register[Any]) -> None:
    """Offer observer classes, which a scenario may ask to be told what happens: ``register(QueueDepth)``."""
