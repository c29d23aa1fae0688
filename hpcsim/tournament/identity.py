"""What a cell hangs on: its scenario, the bytes of every file that this names, and the versions of all that computes.

Two cells with the same identity leave the same bytes, wherever and whenever they run. So the digest of the identity is
the name of the cell's directory, and a cell that is there already need not be run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from hpcsim.plugin.loader import Plugins
from hpcsim.replay import versions
from hpcsim.scenario.layers import FILES, MODEL

_ABOVE = ("cli", "env", "testing", "tournament", "scaffold", "scenarios")  # what no run hangs on
_PLUGGED = ("scheduler", "twins", "observers", "metrics", "trace_format")


def identity(scenario: Mapping[str, Any], plugins: Plugins, keep: str) -> dict[str, Any]:
    """The identity of the cell that runs this resolved scenario and keeps that much of it."""
    return {"scenario": _by_content(scenario), "keep": keep, "made_by": made_by(plugins)}


def key(of: Mapping[str, Any]) -> str:
    """The name of a cell's directory, from its identity."""
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:20]


def made_by(plugins: Plugins) -> dict[str, Any]:
    """The versions of what computes a run in this process, and the plug-ins; files of these by their bytes."""
    own = [
        {
            name: value
            for name, value in plugin.as_data().items()
            if name in ("name", "version", "distribution", "sha256")
        }
        for plugin in plugins.found
        if plugin.error is None
    ]
    return {"hpcsim": _source(), "versions": versions(), "plugins": own}


@cache
def _source() -> str:
    """A digest of hpcsim's own modules and data that runs hang on: the version alone stays while code changes."""
    root = Path(str(files("hpcsim")))
    digest = hashlib.sha256()
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name not in _ABOVE):
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".yaml") and path.is_file():
                digest.update(f"{path.relative_to(root)}\0{_digest(path)}\n".encode())
    for path in sorted(root.glob("*.py")):
        digest.update(f"{path.name}\0{_digest(path)}\n".encode())
    return digest.hexdigest()[:20]


def _by_content(scenario: Mapping[str, Any]) -> dict[str, Any]:
    """The scenario with the digest of each file in the place of its name."""
    found = dict(scenario)
    for steps in (*FILES, MODEL):
        found = _replaced(found, steps)
    for part in _PLUGGED:
        found[part] = _options_by_content(found[part])
    return found


def _replaced(data: Any, steps: tuple[str | int, ...]) -> Any:
    step, *rest = steps
    if not isinstance(data, Mapping) or data.get(str(step)) is None:
        return data
    value = data[str(step)]
    return {**data, str(step): _replaced(value, tuple(rest)) if rest else _options_by_content(value)}


def _options_by_content(value: Any) -> Any:
    """A value with the digest of each file that a text in it names; the weights of a learned scheduler, say."""
    if isinstance(value, Mapping):
        return {name: _options_by_content(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_options_by_content(part) for part in value]
    if isinstance(value, str) and "/" in value and Path(value).is_file():
        return {"sha256": _digest_of_data(value)}
    return value


@cache
def _digest_of_data(path: str) -> str:
    return _digest(Path(path))


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
