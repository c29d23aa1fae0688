"""The hooks that a plug-in may implement: called once, when plug-ins are loaded, never during a run."""

from __future__ import annotations

import os
from typing import Any, Protocol

import pluggy

PROJECT = "hpcsim"  # pluggy's project name, and the entry-point group of plug-ins

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Register(Protocol):
    """What a hook is handed: call it once for each class that the plug-in offers."""

    def __call__(self, offered: type[Any], /) -> None: ...


class RegisterFile(Protocol):
    """What a hook is handed: call it once for each file that the plug-in offers."""

    def __call__(self, path: str | os.PathLike[str], /) -> None: ...


@hookspec
def hpcsim_schedulers(register: Register) -> None:
    """Offer scheduler classes: ``register(ShortestFirst)``."""


@hookspec
def hpcsim_machines(register: RegisterFile) -> None:
    """Offer machines, YAML files of the catalogue's form: ``register(Path(__file__).with_name("mine.yaml"))``.

    The file's name without its ending is the machine's name in scenarios.
    """


@hookspec
def hpcsim_metrics(register: Register) -> None:
    """Offer metric classes, figures that are computed of every finished run: ``register(WaitOfLargeJobs)``."""


@hookspec
def hpcsim_workloads(register: Register) -> None:
    """Offer workload readers, classes that read a format of traces: ``register(Sacct)``."""


@hookspec
def hpcsim_observers(register: Register) -> None:
    """Offer observer classes, which a scenario may ask to be told what happens: ``register(QueueDepth)``."""
