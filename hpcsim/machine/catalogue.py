"""The catalogue of machines: YAML files in which every value says its unit, its mark and its source.

A file gives each value as ``key: {value: 490, unit: W, mark: assumed, source: "..."}`` where the mark is
*published* (somebody's figure), *derived* (computed from published figures) or *assumed* (ours). Only ``name`` is
plain text. What a file does not say is as in ``catalog/common.yaml``. Plug-ins add files of the same form: ``others``
of the functions below maps their names to the files, and is ``Plugins.machines``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, NamedTuple

from hpcsim.errors import InputError
from hpcsim.machine.physical import Unphysical, build_spec
from hpcsim.machine.shape import cut, did_you_mean, dotted, sections_of, shown
from hpcsim.machine.spec import MachineSpec
from hpcsim.strict_yaml import Place, Steps, YamlText, read_mapping

__all__ = [
    "Fact",
    "MachineFile",
    "Unphysical",
    "build_spec",
    "load_machine",
    "machine_data",
    "machine_facts",
    "machine_names",
    "read_machine",
]

MARKS: Final = ("published", "derived", "assumed")

_PARTS: Final = ("value", "unit", "mark", "source")
_COMMON: Final = "common"


class Fact(NamedTuple):
    """One value of a machine: where it belongs (``power.idle_w``) and where it comes from."""

    key: str
    value: Any
    unit: str
    mark: str
    source: str


@dataclass(frozen=True, slots=True)
class MachineFile:
    """What is known of a machine: its name, its facts in the order of ``MachineSpec``, and where they stand.

    ``places`` has the keys of the machine's own file, by path such as ("power", "idle_w"), and () for the whole.
    """

    name: str
    facts: tuple[Fact, ...]
    places: Mapping[Steps, Place]

    @property
    def data(self) -> dict[str, Any]:
        """The plain values, nested as ``build_spec`` takes them; the caller's own copy."""
        data: dict[str, Any] = {"name": self.name}
        for fact in self.facts:
            *above, key = fact.key.split(".")
            level = data
            for step in above:
                level = level.setdefault(step, {})
            level[key] = _copied(fact.value)
        return data


def machine_names(others: Mapping[str, Path] | None = None) -> list[str]:
    """The names of the catalogue, in alphabetical order."""
    packaged = {item.name[:-5] for item in _folder().iterdir() if item.name.endswith(".yaml")} - {_COMMON}
    return sorted(packaged | set(others or {}))


def machine_data(name: str, others: Mapping[str, Path] | None = None) -> dict[str, Any]:
    """The plain values of a machine, nested as ``build_spec`` takes them, common ones included."""
    return read_machine(name, others).data


def machine_facts(name: str, others: Mapping[str, Path] | None = None) -> list[Fact]:
    """Every value of a machine with its unit, mark and source, in the order of ``MachineSpec``."""
    return list(read_machine(name, others).facts)


def load_machine(name_or_path: str | Path, others: Mapping[str, Path] | None = None) -> MachineSpec:
    """The machine of that name in the catalogue, or of a YAML file of the same form.

    Raises ``InputError``; what is wrong inside a file is told with its line and column.
    """
    read = read_machine(name_or_path, others)
    try:
        return build_spec(read.data)
    except Unphysical as error:
        raise Unphysical(error.wrong, read.places) from None


def read_machine(name_or_path: str | Path, others: Mapping[str, Path] | None = None) -> MachineFile:
    """The facts of a machine by name or file; whether they make a machine is for ``build_spec`` to say."""
    others = others or {}
    name = os.fspath(name_or_path)
    if isinstance(name_or_path, str) and name in machine_names():
        return _packaged(name)
    if isinstance(name_or_path, str) and name in others:
        return _file(others[name])
    path = Path(name_or_path).expanduser()
    if path.exists() or path.suffix in (".yaml", ".yml") or os.sep in name:
        return _file(path)
    raise InputError(f"no machine named {name!r} and no such file.{did_you_mean(name, machine_names(others))}")


def _folder() -> Path:
    return Path(str(resources.files("hpcsim.machine"))) / "catalog"


@cache
def _packaged(name: str) -> MachineFile:
    return _file(_folder() / f"{name}.yaml")


@cache
def _common() -> dict[Steps, Fact]:
    return _facts(read_mapping(_folder() / f"{_COMMON}.yaml"))


def _file(path: Path) -> MachineFile:
    common = _common()
    text = read_mapping(path)
    own = _facts(text)
    name = text.data.get("name")
    if not isinstance(name, str) or not name.strip():
        found = f" (got {shown(name)})" if "name" in text.data else ""
        raise InputError(f"{text.key_places.get(('name',), path)}: name: should be the machine's name{found}")
    order = {steps: place for place, steps in enumerate(_all_keys())}
    together = {**common, **own}
    facts = tuple(together[steps] for steps in sorted(together, key=lambda steps: order.get(steps, len(order))))
    return MachineFile(name, facts, {**text.key_places, (): text.value_places[()]})


def _all_keys() -> Iterator[Steps]:
    """The paths of all values in the order of ``MachineSpec``: those of the machine itself, then its sections."""
    sections = sections_of(MachineSpec)
    for field in fields(MachineSpec):
        if field.name not in sections:
            yield (field.name,)
    for name, section in sections.items():
        for field in fields(section):
            yield name, field.name


def _facts(text: YamlText) -> dict[Steps, Fact]:
    """The facts of a file by path; ``InputError`` tells every one that is not of the form."""
    sections = sections_of(MachineSpec)
    found: dict[Steps, Fact] = {}
    wrong: list[tuple[Place, str]] = []
    for key, value in text.data.items():
        if key == "name":
            continue
        inside = [((key, inner), part) for inner, part in value.items()] if _is_section(key, value, sections) else None
        for path, part in inside if inside is not None else [((key,), value)]:
            complaint = _complaint(part)
            if complaint is None:
                found[path] = Fact(".".join(map(str, path)), *[part[name] for name in _PARTS])
            else:
                wrong.append((text.key_places[path], f"{dotted(path)}: {complaint}"))
    if wrong:
        raise InputError("\n".join(f"{place}: {told}" for place, told in sorted(wrong)))
    return found


def _is_section(key: object, value: object, sections: Mapping[str, type]) -> bool:
    """Also where the section's name is misspelt: then its facts are read, and ``build_spec`` guesses the name."""
    return isinstance(value, dict) and (key in sections or not set(value) & set(_PARTS))


def _complaint(part: object) -> str | None:
    """What keeps ``part`` from being a fact."""
    form = "a fact is {value, unit, mark, source}"
    if not isinstance(part, dict):
        return f"{form} (got {shown(part)})"
    for name in part:
        if name not in _PARTS:
            return f"{cut(str(name))}: no such key.{did_you_mean(name, _PARTS)}"
    for name in _PARTS:
        if name not in part:
            return f"{name} is missing; {form}"
    for name in ("unit", "source"):
        if not isinstance(part[name], str) or not part[name].strip():
            return f"{name} should be text; quote it where it is a number (got {shown(part[name])})"
    if part["mark"] not in MARKS:
        return f"mark should be one of {', '.join(MARKS)} (got {shown(part['mark'])})"
    return None


def _copied(value: Any) -> Any:
    return [_copied(part) for part in value] if isinstance(value, list) else value
