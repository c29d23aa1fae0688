"""The kinds of things that plug-ins offer: of each, its hook, and what a registered thing must be.

A new kind is a row of ``KINDS``, a hook of the same name in ``hooks`` and its heading in ``docs/plugins.md``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from hpcsim.engine.capabilities import OF_TWINS, declared
from hpcsim.engine.observers import HOOKS, Observer
from hpcsim.engine.twins import QUESTIONS
from hpcsim.errors import InputError
from hpcsim.machine.catalogue import load_machine, machine_names
from hpcsim.machine.readings import LONGEST_INTERVAL_S
from hpcsim.workload.reader import BUILT_IN as FORMATS

API: Final = 1  # the version of the contract between hpcsim and the classes of plug-ins


class Refused(Exception):
    """What a plug-in registers is not what the contract asks for; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of thing that plug-ins offer.

    ``many`` is its name in ``Plugins.offers`` and in the hook, ``hpcsim_MANY(register)``; ``one`` is its name in
    messages. ``checked`` takes what a plug-in has handed to ``register``, whatever that is, and returns its name and
    the thing to keep; it raises ``Refused``.
    """

    one: str
    many: str
    checked: Callable[[object], tuple[str, Any]]

    @property
    def hook(self) -> str:
        """The name of its hook."""
        return f"hpcsim_{self.many}"


def checked_class(offered: object, one: str, method: str) -> tuple[str, type]:
    """The name of a class that a plug-in registers, and the class.

    It has a ``name``, ``api = 1``, the method whose signature is ``method`` and, if it likes, ``cites``, a tuple of
    texts, and ``Options``: a pydantic model without a field ``name``, because scenarios write
    ``ONE: {name: NAME, option: value}``.
    """
    if not isinstance(offered, type):
        what = f"an object of {type(offered).__qualname__}" if hasattr(offered, "name") else repr(offered)
        raise Refused(f"register() takes a class, not {what}")
    label = offered.__qualname__
    name = getattr(offered, "name", None)
    if not isinstance(name, str) or not name:
        raise Refused(f"{label}.name should be the {one}'s name as text, found {name!r}")
    api = getattr(offered, "api", None)
    if type(api) is not int or api != API:
        raise Refused(f"{label}.api is {api!r}; this hpcsim speaks api = {API}")
    if not callable(getattr(offered, method.partition("(")[0], None)):
        raise Refused(f"{label} has no method {method}")
    cites = getattr(offered, "cites", ())
    if not isinstance(cites, tuple | list) or not all(isinstance(each, str) for each in cites):
        raise Refused(f"{label}.cites should be a tuple of keys or BibTeX entries, found {cites!r}")
    options = getattr(offered, "Options", None)
    if options is not None:
        if not (isinstance(options, type) and issubclass(options, BaseModel)):
            raise Refused(f"{label}.Options should be a pydantic model, found {options!r}")
        if "name" in options.model_fields:
            raise Refused(f"{label}.Options has a field 'name', but {one}.name is the {one}'s own name")
    return name, offered


def _needs(offered: type) -> frozenset[str]:
    try:
        return declared(offered)
    except ValueError as error:
        raise Refused(f"{offered.__qualname__}: {error}") from None


def _scheduler(offered: object) -> tuple[str, type]:
    name, scheduler = checked_class(offered, "scheduler", "schedule(self, view)")
    _needs(scheduler)
    return name, scheduler


_ANSWERS: Final = {
    "performance": "performance(self, jobs, view)",
    "energy": "energy(self, jobs, speeds, view)",
    "fault": "fault(self, units, horizon_s, view)",
    "thermal": "thermal(self, units, watts, horizon_s, view)",
}


def _twin(offered: object) -> tuple[str, type]:
    answers = getattr(offered, "answers", None)
    if isinstance(offered, type) and answers not in QUESTIONS:
        raise Refused(f"{offered.__qualname__}.answers should be one of {', '.join(QUESTIONS)}, found {answers!r}")
    name, twin = checked_class(offered, "twin", _ANSWERS.get(str(answers), ""))
    for need in sorted(_needs(twin) - {*OF_TWINS}):
        raise Refused(f"{twin.__qualname__} needs {need!r}, but a twin can only need {', '.join(OF_TWINS)}")
    _hears(twin)
    return name, twin


def _hears(twin: type) -> None:
    """Refuse a twin that says how often it wants to be told what sensors read, or takes that, but not both."""
    every_s, label = getattr(twin, "senses_every_s", None), twin.__qualname__
    if callable(getattr(twin, "sensed", None)) != (every_s is not None):
        raise Refused(f"{label} should have both senses_every_s (seconds) and sensed(self, readings), or neither")
    if every_s is not None and (type(every_s) is not int or not 1 <= every_s <= LONGEST_INTERVAL_S):
        raise Refused(f"{label}.senses_every_s should be 1 to {LONGEST_INTERVAL_S} seconds, found {every_s!r}")


def _machine(offered: object) -> tuple[str, Path]:
    """The file of a machine that can be built, under a name that is not taken by the packaged catalogue."""
    if not isinstance(offered, str | os.PathLike):
        raise Refused(f"register() takes the path of a YAML file, not {offered!r}")
    path = Path(os.fsdecode(offered))
    if not path.is_absolute():
        where = 'such as Path(__file__).with_name("mine.yaml")'
        raise Refused(f"register() takes the whole path of a file, {where}, not {os.fspath(path)!r}")
    if path.stem in machine_names():
        raise Refused(f"the machine {path.stem!r} is registered already, by hpcsim")
    try:
        load_machine(path)
    except InputError as error:
        raise Refused(str(error)) from error
    return path.stem, path


def _metric(offered: object) -> tuple[str, type]:
    """A metric, which every run computes: so its options, if it has any, need defaults."""
    name, metric = checked_class(offered, "metric", "compute(self, run)")
    if not isinstance(getattr(metric, "unit", None), str):
        unit = getattr(metric, "unit", None)
        raise Refused(f"{metric.__qualname__}.unit should be text, empty for a number without one, found {unit!r}")
    if not (metric.__doc__ or "").strip():
        raise Refused(f"{metric.__qualname__} has no docstring; its first line says what the metric is")
    return _without_dot(name, "metric"), _with_defaults(metric, "every run computes it")


def _reader(offered: object) -> tuple[str, type]:
    name, reader = checked_class(offered, "workload reader", "read(self, path)")
    if not callable(getattr(reader, "matches", None)):
        raise Refused(f"{reader.__qualname__} has no method matches(self, path, head)")
    if name in FORMATS:
        raise Refused(f"the workload reader {name!r} is registered already, by hpcsim")
    return name, _with_defaults(reader, "it is asked whether it matches any trace")


def _observer(offered: object) -> tuple[str, type]:
    if isinstance(offered, type) and not any(_overrides(offered, hook) for hook in HOOKS):
        raise Refused(f"{offered.__qualname__} has none of the methods of an observer: {', '.join(HOOKS)}")
    name, observer = checked_class(offered, "observer", "__init__(self)")
    return _without_dot(name, "observer"), observer


def _overrides(observer: type, hook: str) -> bool:
    return getattr(observer, hook, None) not in (None, getattr(Observer, hook))


def _without_dot(name: str, one: str) -> str:
    """A name that can be part of a dotted key, such as ``observers.NAME.every``."""
    if "." in name:
        raise Refused(f"the {one} {name!r}: a name without '.', since scenarios write it as a key")
    return name


def _with_defaults(offered: type, because: str) -> type:
    options: type[BaseModel] | None = getattr(offered, "Options", None)
    needed = [name for name, info in options.model_fields.items() if info.is_required()] if options else []
    if needed:
        raise Refused(f"{offered.__qualname__}.Options needs a default for {', '.join(needed)}: {because}")
    return offered


KINDS: Final = (
    Kind("scheduler", "schedulers", _scheduler),
    Kind("twin", "twins", _twin),
    Kind("machine", "machines", _machine),
    Kind("metric", "metrics", _metric),
    Kind("workload reader", "workloads", _reader),
    Kind("observer", "observers", _observer),
)
