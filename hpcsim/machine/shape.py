"""Reads plain data into the fields of dataclasses: the right keys with values of the right type.

Nothing is converted that is not the same value: ``560.0`` and ``"560"`` are no whole numbers, ``true`` is none
either. Everything that is wrong is noted, each with its path in the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from numbers import Integral, Real
from types import NoneType
from typing import Any, Final, get_args, get_origin, get_type_hints

from hpcsim.strict_yaml import Steps

Wrong = list[tuple[Steps, str]]
"""What is wrong: the path of a value, and what is wrong with it."""

_UNREAD: Final = object()
_LONGEST_SHOWN = 60  # characters of a wrong value
_NAMES: Final[dict[type, str]] = {int: "a whole number", float: "a number", str: "text"}


def read_section(
    section: type, data: object, path: Steps, wrong: Wrong, derived: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The values of the dataclass ``section`` by field name, nested dataclasses as dictionaries, lists as tuples.

    Left-out keys have their defaults. Values that could not be read, and keys that are missing, are noted in
    ``wrong`` and left out. ``derived`` says of fields that are no keys what they follow from.
    """
    if not isinstance(data, Mapping):
        wrong.append((path, f"should be a mapping of keys and values (got {shown(data)})"))
        return {}
    derived = derived or {}
    hints = _hints(section)
    keys = {field.name: field.default for field in fields(section) if field.name not in derived}
    for key in data:
        if key not in keys:
            wrong.append(((*path, key), derived.get(key) or f"no such key.{did_you_mean(key, keys)}"))
    values: dict[str, Any] = {}
    for key, default in keys.items():
        if key in data:
            value = _read(hints[key], data[key], (*path, key), wrong)
            if value is not _UNREAD:
                values[key] = value
        elif default is MISSING:
            wrong.append(((*path, key), "missing, and it has no default"))
        else:
            values[key] = default
    return values


def sections_of(section: type) -> dict[str, type]:
    """The fields of a dataclass that are dataclasses themselves."""
    return {key: hint for key, hint in _hints(section).items() if isinstance(hint, type) and is_dataclass(hint)}


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A sentence, with a space before it, that guesses which of ``known`` was meant, or else lists them."""
    names = list(known)
    close = get_close_matches(str(name), names, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(names) or 'none'}."


def shown(value: object) -> str:
    """A wrong value, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more than 4300 digits
        text = f"a value of type {type(value).__name__}"
    return cut(text)


def cut(text: str) -> str:
    """What somebody wrote, no longer than a message can bear."""
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def dotted(path: Iterable[object]) -> str:
    """A path of keys as it is told of, each cut where it is long."""
    return ".".join(cut(str(key)) for key in path)


@cache
def _hints(section: type) -> dict[str, Any]:
    return get_type_hints(section)


def _read(hint: Any, value: object, path: Steps, wrong: Wrong) -> Any:
    """``value`` as the type ``hint`` wants it, or ``_UNREAD`` when it is not of that type."""
    options = [part for part in get_args(hint) if part is not NoneType]
    if get_origin(hint) is tuple:
        return _read_list(hint, value, path, wrong)
    if NoneType in get_args(hint):
        return None if value is None else _read(options[0], value, path, wrong)
    if isinstance(hint, type) and is_dataclass(hint):
        return read_section(hint, value, path, wrong)
    if hint is str and isinstance(value, str) and value.strip():
        return value
    truth = isinstance(value, bool)  # to Python a kind of whole number
    if hint is int and isinstance(value, Integral) and not truth:
        return int(value)
    if hint is float and isinstance(value, Real) and not truth:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
        wrong.append((path, f"should be a finite number (got {shown(value)})"))
        return _UNREAD
    wrong.append((path, f"should be {_NAMES[hint]} (got {shown(value)})"))
    return _UNREAD


def _read_list(hint: Any, value: object, path: Steps, wrong: Wrong) -> Any:
    inner = get_args(hint)
    any_length = inner[-1] is Ellipsis
    if not isinstance(value, list | tuple) or not value or (not any_length and len(value) != len(inner)):
        wanted = "a list that is not empty" if any_length else f"a list of {len(inner)}"
        wrong.append((path, f"should be {wanted} (got {shown(value)})"))
        return _UNREAD
    hints = inner[:1] * len(value) if any_length else inner
    parts = [_read(hint, part, (*path, at), wrong) for at, (hint, part) in enumerate(zip(hints, value, strict=True))]
    return _UNREAD if any(part is _UNREAD for part in parts) else tuple(parts)
