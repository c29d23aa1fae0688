"""Finds plug-ins, asks each what it offers, and keeps a broken one from harming the others.

Installed plug-ins are modules named by entry points of the group ``hpcsim``; a plug-in under work is a file
given by ``--plugin``. pluggy's own entry-point loader stops at the first broken plug-in and has no defined
order, so each plug-in gets a plug-in manager of its own here: what it registered counts only if all of it was
right.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
from pydantic import BaseModel

from hpcsim.errors import InputError
from hpcsim.machine.catalogue import load_machine, machine_names
from hpcsim.plugin import hooks

API = 1  # the version of the contract between hpcsim and a scheduler class


@dataclass(slots=True)
class Plugins:
    """What the loaded plug-ins offer.

    ``schedulers`` holds the classes by name, ``machines`` the files of machines by name, without those of the
    packaged catalogue. ``origins`` and ``machine_origins`` say for each name where it comes from, ``errors`` says
    for each plug-in that could not be loaded (by the same kind of text) what was wrong.
    """

    schedulers: dict[str, type] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    machines: dict[str, Path] = field(default_factory=dict)
    machine_origins: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def load_plugins(files: Sequence[Path] = (), *, strict: bool = False) -> Plugins:
    """Load all installed plug-ins and the plug-in ``files``.

    An installed plug-in that is broken is noted in ``errors`` and the rest work; with ``strict``, or with
    ``HPCSIM_STRICT_PLUGINS=1`` in the environment, it raises ``InputError``. A broken file always does: it
    was asked for.
    """
    strict = strict or os.environ.get("HPCSIM_STRICT_PLUGINS", "") not in ("", "0")
    plugins = Plugins()
    for entry in sorted(entry_points(group=hooks.PROJECT), key=_order):
        origin = _origin(entry)
        try:
            _add(plugins, entry.load(), origin)
        except (Exception, SystemExit) as error:  # whatever a plug-in does while it is imported
            text = str(error) if isinstance(error, _Refused) else f"{type(error).__name__}: {error}"
            if strict:
                raise InputError(f"plug-in {origin}: {text}") from error
            plugins.errors[origin] = text
    for file in files:
        try:
            if not _add(plugins, _module_of(file), os.fspath(file)):
                raise _Refused(f"registers nothing; implement {_HOOKS} with @hookimpl")
        except _Refused as error:
            raise InputError(f"{file}: {error}") from error
        except (Exception, SystemExit) as error:
            raise InputError(f"{_line_in(file, error)}: {type(error).__name__}: {error}") from error
    return plugins


_HOOKS = "the hook hpcsim_schedulers(register) or hpcsim_machines(register)"


class _Refused(Exception):
    """What a plug-in registers is not what the contract asks for."""


def _order(entry: EntryPoint) -> tuple[bool, str, str]:
    """hpcsim's own first, so that none can take a built-in name; then by distribution and name."""
    distribution = entry.dist.name if entry.dist else ""
    return distribution != hooks.PROJECT, distribution, entry.name


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version} ({entry.value})" if entry.dist else entry.value


def _add(plugins: Plugins, plugin: object, origin: str) -> int:
    """Add what ``plugin`` registers, all or nothing; returns how much that was."""
    offered: list[type[Any]] = []
    offered_files: list[str | os.PathLike[str]] = []
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    try:
        manager.register(plugin)
        manager.check_pending()  # a misspelt hook would otherwise never be called
    except pluggy.PluginValidationError as error:
        raise _Refused(str(error)) from error
    manager.hook.hpcsim_schedulers(register=offered.append)
    manager.hook.hpcsim_machines(register=offered_files.append)
    found: dict[str, type] = {}
    for scheduler in offered:
        name = _checked_name(scheduler)
        if name in plugins.schedulers or name in found:
            other = plugins.origins.get(name, "itself")
            raise _Refused(f"the scheduler {name!r} is registered already, by {other}")
        found[name] = scheduler
    machines: dict[str, Path] = {}
    for file in offered_files:
        path = _checked_machine(file)
        if path.stem in plugins.machines or path.stem in machines:
            other = plugins.machine_origins.get(path.stem, "itself")
            raise _Refused(f"the machine {path.stem!r} is registered already, by {other}")
        machines[path.stem] = path
    plugins.schedulers |= found
    plugins.origins |= dict.fromkeys(found, origin)
    plugins.machines |= machines
    plugins.machine_origins |= dict.fromkeys(machines, origin)
    return len(found) + len(machines)


def _checked_name(scheduler: object) -> str:
    """The name of a scheduler class that keeps the contract."""
    if not isinstance(scheduler, type):
        raise _Refused(f"register() takes a class, not {scheduler!r}")
    label = scheduler.__qualname__
    name = getattr(scheduler, "name", None)
    if not isinstance(name, str) or not name:
        raise _Refused(f"{label}.name should be the scheduler's name as text, found {name!r}")
    api = getattr(scheduler, "api", None)
    if type(api) is not int or api != API:
        raise _Refused(f"{label}.api is {api!r}; this hpcsim speaks api = {API}")
    if not callable(getattr(scheduler, "schedule", None)):
        raise _Refused(f"{label} has no method schedule(self, view)")
    options = getattr(scheduler, "Options", None)
    if options is not None:
        if not (isinstance(options, type) and issubclass(options, BaseModel)):
            raise _Refused(f"{label}.Options should be a pydantic model, found {options!r}")
        if "name" in options.model_fields:
            raise _Refused(f"{label}.Options has a field 'name', but scheduler.name is the scheduler's own name")
    return name


def _checked_machine(file: object) -> Path:
    """The file of a machine that can be built, under a name that is not taken by the packaged catalogue."""
    if not isinstance(file, str | os.PathLike):
        raise _Refused(f"register() takes the path of a YAML file, not {file!r}")
    path = Path(os.fsdecode(file))
    if not path.is_absolute():
        where = 'such as Path(__file__).with_name("mine.yaml")'
        raise _Refused(f"register() takes the whole path of a file, {where}, not {os.fspath(path)!r}")
    if path.stem in machine_names():
        raise _Refused(f"the machine {path.stem!r} is registered already, by hpcsim")
    try:
        load_machine(path)
    except InputError as error:
        raise _Refused(str(error)) from error
    return path


def _module_of(file: Path) -> ModuleType:
    """The module in ``file``, under a name that no other module has."""
    if not file.is_file():
        raise _Refused("a directory, expected a Python file" if file.is_dir() else "there is no such file")
    place = os.path.abspath(file)
    name = f"hpcsim_plugin_file_{hashlib.sha256(place.encode()).hexdigest()[:12]}"
    loader = SourceFileLoader(name, place)
    spec = importlib.util.spec_from_loader(name, loader)
    if spec is None:
        raise _Refused("cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their module up
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _line_in(file: Path, error: BaseException) -> str:
    """``file:line`` where an import broke: of a syntax error, else the last line of ``file`` that ran."""
    if isinstance(error, SyntaxError) and error.filename:
        own = os.path.abspath(error.filename) == os.path.abspath(file)
        return f"{file if own else error.filename}:{error.lineno}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == os.path.abspath(file)
    ]
    return f"{file}:{lines[-1]}" if lines else os.fspath(file)
