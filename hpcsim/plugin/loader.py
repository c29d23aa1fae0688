"""Finds plug-ins, asks each what it offers, and keeps a broken one from harming the others.

Installed plug-ins are modules named by entry points of the group ``hpcsim``; a plug-in under work is a file
given by ``--plugin``. pluggy's own entry-point loader stops at the first broken plug-in and has no defined
order, so each plug-in gets a plug-in manager of its own here: what it registered counts only if all of it was
right.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from hpcsim.errors import InputError
from hpcsim.plugin import hooks
from hpcsim.plugin.kinds import KINDS, Refused


@dataclass(slots=True)
class Plugin:
    """A plug-in that was found: where it comes from and what it offers, or why it could not be loaded.

    An installed one has the name of its entry point and a ``value``, the module; one under work has the name of its
    file and the ``file`` itself with its ``sha256``. ``offers`` has the names of what it registered, by kind.
    """

    name: str
    version: str | None = None
    distribution: str | None = None
    value: str | None = None
    file: str | None = None
    sha256: str | None = None
    offers: dict[str, list[str]] = field(default_factory=dict)
    error: str | None = None

    @property
    def origin(self) -> str:
        """Where it comes from, in words: ``hpcsim 0.1.0 (hpcsim.schedulers)``, or the file."""
        if self.file is not None:
            return self.file
        return f"{self.distribution} {self.version} ({self.value})" if self.distribution else str(self.value)

    def as_data(self) -> dict[str, Any]:
        """All that is known of it, as plain data without what is not known."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(slots=True)
class Plugins:
    """The plug-ins that were found, in the order of loading, and what those that are right offer.

    ``offers[kind][name]`` is a class, or the file of a machine; the kinds are the ``many`` of ``kinds.KINDS``.
    """

    found: list[Plugin] = field(default_factory=list)
    offers: dict[str, dict[str, Any]] = field(default_factory=lambda: {kind.many: {} for kind in KINDS})

    @property
    def schedulers(self) -> Mapping[str, type]:
        """The classes of schedulers by name."""
        return self.offers["schedulers"]

    @property
    def twins(self) -> Mapping[str, type]:
        """The classes of digital twins by name."""
        return self.offers["twins"]

    @property
    def machines(self) -> Mapping[str, Path]:
        """The files of machines by name, without those of the packaged catalogue."""
        return self.offers["machines"]

    @property
    def errors(self) -> dict[str, str]:
        """What was wrong with each plug-in that could not be loaded, by its origin."""
        return {plugin.origin: plugin.error for plugin in self.found if plugin.error is not None}

    def provider(self, kind: str, name: str) -> Plugin | None:
        """The plug-in that offers the thing of that kind and name."""
        return next((plugin for plugin in self.found if name in plugin.offers.get(kind, ())), None)


def load_plugins(files: Sequence[Path] = (), *, strict: bool = False) -> Plugins:
    """Load all installed plug-ins and the plug-in ``files``.

    An installed plug-in that is broken is noted in ``errors`` and the rest work; with ``strict``, or with
    ``HPCSIM_STRICT_PLUGINS=1`` in the environment, it raises ``InputError``. A broken file always does: it
    was asked for. ``HPCSIM_PLUGINS=a,b`` loads, besides hpcsim's own, only the installed plug-ins whose entry point
    or distribution has one of these names.
    """
    strict = strict or os.environ.get("HPCSIM_STRICT_PLUGINS", "") not in ("", "0")
    plugins = Plugins()
    for entry in _wanted(sorted(entry_points(group=hooks.PROJECT), key=_order)):
        version, distribution = (entry.dist.version, entry.dist.name) if entry.dist else (None, None)
        plugin = Plugin(entry.name, version, distribution, value=entry.value)
        plugins.found.append(plugin)
        try:
            _add(plugins, plugin, entry.load())
        except (Exception, SystemExit) as error:  # whatever a plug-in does while it is imported
            plugin.error = str(error) if isinstance(error, Refused) else _told(error) + _where(error)
            if strict:
                raise InputError(f"plug-in {plugin.origin}: {plugin.error}") from error
    for file in files:
        try:
            module, sha256 = _module_of(file)
            plugin = Plugin(file.stem, file=os.fspath(file), sha256=sha256)
            if not _add(plugins, plugin, module):
                raise Refused(_NOTHING)
            plugins.found.append(plugin)
        except Refused as error:
            raise InputError(f"{file}: {error}") from error
        except (Exception, SystemExit) as error:
            raise InputError(f"{_line_in(file, error)}: {_told(error)}") from error
    return plugins


def _wanted(entries: Sequence[EntryPoint]) -> Sequence[EntryPoint]:
    """The entry points that ``HPCSIM_PLUGINS`` names, and hpcsim's own; all where it is not set."""
    names = os.environ.get("HPCSIM_PLUGINS")
    if names is None:
        return entries
    wanted = {name.strip() for name in names.split(",")} - {""}
    known = sorted({name for entry in entries for name in _names(entry)})
    for name in sorted(wanted.difference(known)):
        raise InputError(f"HPCSIM_PLUGINS: no plug-in named {name!r} is installed.{_guess(name, known)}")
    return [entry for entry in entries if _is_own(entry) or wanted.intersection(_names(entry))]


def _names(entry: EntryPoint) -> tuple[str, ...]:
    return (entry.name, entry.dist.name) if entry.dist else (entry.name,)


def _is_own(entry: EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name == hooks.PROJECT


def _order(entry: EntryPoint) -> tuple[bool, str, str]:
    """hpcsim's own first, so that none can take a built-in name; then by distribution and name."""
    return not _is_own(entry), entry.dist.name if entry.dist else "", entry.name


def _add(plugins: Plugins, plugin: Plugin, module: object) -> int:
    """Add what ``module`` registers, all or nothing; returns how much that was."""
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    _check_hooks(manager, module)
    manager.register(module)
    offers: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        handed: list[object] = []
        getattr(manager.hook, kind.hook)(register=handed.append)
        mine: dict[str, Any] = {}
        for offered in handed:
            name, thing = kind.checked(offered)
            if name in plugins.offers[kind.many] or name in mine:
                other = plugins.provider(kind.many, name)
                by = other.origin if other else "itself"
                raise Refused(f"the {kind.one} {name!r} is registered already, by {by}")
            mine[name] = thing
        if mine:
            offers[kind.many] = mine
    for many, mine in offers.items():
        plugins.offers[many] |= mine
        plugin.offers[many] = list(mine)
    return sum(map(len, offers.values()))


def _check_hooks(manager: pluggy.PluginManager, module: object) -> None:
    """Refuse a module with a misspelt hook, which would otherwise never be called, or with none."""
    known = [kind.hook for kind in KINDS]
    marked = [name for name in dir(module) if manager.parse_hookimpl_opts(module, name) is not None]
    for name in marked:
        if name not in known:
            raise Refused(f"there is no hook {name!r}.{_guess(name, known)}")
        if (arguments := [*inspect.signature(getattr(module, name)).parameters]) not in ([], ["register"]):
            raise Refused(f"the hook {name} takes one argument, register; found {name}({', '.join(arguments)})")
    if not marked:
        unmarked = [name for name in dir(module) if name in known]
        raise Refused(f"{unmarked[0]} has no @hookimpl" if unmarked else _NOTHING)


_NOTHING = f"registers nothing; implement a hook such as {KINDS[0].hook}(register) with @hookimpl"


def _guess(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(known) or 'none'}."


def _told(error: BaseException) -> str:
    """An error in one line; where a syntax error stands is told beside it."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _where(error: BaseException) -> str:
    """The last line that ran, or that of a syntax error, as `` (file:line)``."""
    if isinstance(error, SyntaxError):
        return f" ({Path(error.filename).name}:{error.lineno})" if error.filename else ""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _module_of(file: Path) -> tuple[ModuleType, str]:
    """The module in ``file``, under a name that no other module has, and the file's SHA-256."""
    if not file.is_file():
        raise Refused("a directory, expected a Python file" if file.is_dir() else "there is no such file")
    place = os.path.abspath(file)
    name = f"hpcsim_plugin_file_{hashlib.sha256(place.encode()).hexdigest()[:12]}"
    loader = SourceFileLoader(name, place)
    spec = importlib.util.spec_from_loader(name, loader)
    if spec is None:
        raise Refused("cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their module up
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module, hashlib.sha256(file.read_bytes()).hexdigest()


def _line_in(file: Path, error: BaseException) -> str:
    """``file:line`` where an import broke: of a syntax error, else the last line of ``file`` that ran."""
    if isinstance(error, SyntaxError) and error.filename:
        own = os.path.abspath(error.filename) == os.path.abspath(file)
        return f"{file if own else error.filename}:{error.lineno}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == os.path.abspath(file)
    ]
    return f"{file}:{lines[-1]}" if lines else os.fspath(file)
