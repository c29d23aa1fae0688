"""YAML as a YAML 1.2 reader reads it, with the place of every key and value, and nothing silently lost.

PyYAML reads YAML 1.1, where ``12:30:00`` is 45000, ``no`` is false, ``010`` is 8 and the second of two equal
keys wins. Here its parser only delivers events; scalars follow the core schema of YAML 1.2 (section 10.3.2
of the specification). Tags, aliases and second documents are refused: with them a small file can name Python
objects or unfold to gigabytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from hpcsim.errors import InputError

LARGEST_FILE_BYTES = 1 << 20
DEEPEST_NESTING = 40
_LONGEST_NUMBER = 400  # characters; Python refuses to read whole numbers of more than 4300 digits

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")
_READABLE = re.compile(r"[\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")

Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands: a file with line and column from 1, or an option of the command line."""

    origin: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.origin}:{self.line}:{self.column}" if self.line else self.origin


@dataclass(frozen=True, slots=True)
class YamlText:
    """Plain data (dict, list, str, int, float, bool, None) and where each key and value of it stands.

    Both maps go from the path of a value, such as ``("machine", "nodes")``, to its place; ``key_places`` has
    the place of the key (not for items of a list), ``value_places`` that of the value and also ``()``.
    """

    data: Any
    key_places: dict[Steps, Place] = field(default_factory=dict)
    value_places: dict[Steps, Place] = field(default_factory=dict)


def read_mapping(path: Path) -> YamlText:
    """The mapping in a YAML file; ``InputError`` with ``file:line:column`` when it is not one."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a directory, expected a YAML file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return parse_mapping(content, os.fspath(path))


def parse_mapping(content: str | bytes, origin: str) -> YamlText:
    """The mapping in a YAML text; ``origin`` names the text in errors. ``InputError`` when it is not one."""
    parsed = _parse(content, origin, placed=True)
    if not isinstance(parsed.data, dict):
        found = "nothing" if parsed.data is None else f"a {_kind(parsed.data)}"
        here = parsed.value_places[()]
        raise InputError(f"{here}: expected keys and values such as 'seed: 1', found {found}")
    return parsed


def parse_value(text: str, origin: str) -> Any:
    """One value as it could stand behind a key: a scalar, or a list or mapping in brackets."""
    return _parse(text, origin, placed=False).data


def scalar(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means in the core schema of YAML 1.2; ``ValueError`` for an endless number."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    readers: tuple[tuple[re.Pattern[str], Callable[[str], int | float]], ...] = (
        (_DECIMAL, int),
        (_OCTAL, lambda digits: int(digits[2:], 8)),
        (_HEXADECIMAL, lambda digits: int(digits[2:], 16)),
        (_FLOAT, float),
        (_INFINITE, lambda sign: float("-inf") if sign[0] == "-" else float("inf")),
        (_NAN, lambda _: float("nan")),
    )
    for pattern, read in readers:
        if pattern.fullmatch(text):
            if len(text) > _LONGEST_NUMBER:
                raise ValueError(f"a number of {len(text)} characters")
            return read(text)
    return text


def dump_yaml(data: object) -> str:
    """Plain data as YAML that this module and a YAML 1.1 reader read back the same; keys keep their order."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would read as something else than text; writes no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


for _tag, _pattern in (("float", _FLOAT), ("int", _OCTAL)):
    _Dumper.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern.pattern})$"), list("-+.0123456789")
    )


def _parse(content: str | bytes, origin: str, *, placed: bool) -> YamlText:
    return _Reader(_checked_text(content, origin), origin, placed=placed).document()


def _checked_text(content: str | bytes, origin: str) -> str:
    """The text, decoded and bounded, of characters that YAML allows."""
    if isinstance(content, bytes):
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            place = _end_of(content[: error.start].decode("utf-8-sig", "replace"), origin)
            raise InputError(f"{place}: byte 0x{content[error.start]:02x} is not UTF-8") from None
    else:
        text = content
    if len(content) > LARGEST_FILE_BYTES:
        raise InputError(f"{origin}: larger than the {LARGEST_FILE_BYTES} bytes that are read")
    match = _READABLE.match(text)
    readable = match.end() if match else 0
    if readable < len(text):
        place = _end_of(text[:readable], origin)
        raise InputError(f"{place}: the character {text[readable]!r} may not stand in YAML")
    return text


def _end_of(before: str, origin: str) -> Place:
    line_start = before.rfind("\n") + 1
    return Place(origin, before.count("\n") + 1, len(before) - line_start + 1)


def _kind(data: object) -> str:
    return {dict: "mapping", list: "list", str: "text", bool: "boolean"}.get(type(data), "number")


class _Reader:
    """Builds plain data from the events of PyYAML's parser."""

    def __init__(self, text: str, origin: str, *, placed: bool) -> None:
        self.origin = origin
        self.placed = placed
        self.events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)
        self.keys: dict[Steps, Place] = {}
        self.values: dict[Steps, Place] = {}

    def document(self) -> YamlText:
        self.next()  # the start of the stream
        event = self.next()
        data: Any = None
        if isinstance(event, yaml.DocumentStartEvent):
            if event.tags or event.version not in (None, (1, 2)):
                self.refuse(event, "a directive; the file is read as YAML 1.2 without any")
            data = self.value(self.next(), ())
            self.next()  # the end of the document
            after = self.next()
            if not isinstance(after, yaml.StreamEndEvent):
                self.refuse(after, "a second document; one file holds one")
        else:
            self.values[()] = Place(self.origin, 1, 1)
        return YamlText(data, self.keys, self.values)

    def next(self) -> yaml.Event:
        try:
            return next(self.events)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            said = ", ".join(part for part in (error.context, error.problem) if part)
            if said.endswith(r"character '\t' that cannot start any token"):
                said = "found a tab; indent with spaces"
            elif mark and error.context_mark and error.context_mark.line < mark.line:
                said += f"; it began in line {error.context_mark.line + 1}"
            raise InputError(f"{self.place(mark)}: {said}") from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:  # an escape beyond Unicode: chr() raises
            raise InputError(f"{self.origin}: not YAML: {error}") from None

    def value(self, event: yaml.Event, path: Steps) -> Any:
        self.values[path] = self.place(event.start_mark)
        return self.plain(event, path)

    def plain(self, event: yaml.Event, path: Steps) -> Any:
        if isinstance(event, yaml.AliasEvent):
            self.refuse(event, f"the alias '*{event.anchor}'; write the value out")
        if not isinstance(event, yaml.NodeEvent):
            self.refuse(event, "no value")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self.refuse(event, f"the tag {tag!r}; only plain values may stand here")
        if event.anchor is not None:
            self.refuse(event, f"the anchor '&{event.anchor}'; there are no aliases here that could use it")
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        if len(path) >= DEEPEST_NESTING:
            self.refuse(event, f"more than {DEEPEST_NESTING} levels of nesting")
        return self.mapping(path) if isinstance(event, yaml.MappingStartEvent) else self.list(path)

    def scalar(self, event: yaml.ScalarEvent) -> str | int | float | bool | None:
        text: str = event.value
        if event.style is not None:
            if re.search("[\0\ud800-\udfff]", text):  # escapes in double quotes can write them
                self.refuse(event, "a character that no file name or output can hold")
            return text
        try:
            return scalar(text)
        except ValueError as error:
            self.refuse(event, str(error))

    def list(self, path: Steps) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            items.append(self.value(event, (*path, len(items))))
        return items

    def mapping(self, path: Steps) -> dict[str | int, Any]:
        data: dict[str | int, Any] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            key = self.plain(event, path)
            if isinstance(key, bool) or not isinstance(key, str | int):
                self.refuse(event, "a key that is not text; quote it if it is meant as text")
            here = (*path, key)
            if key in data:
                first = self.keys[here]
                self.refuse(event, f"the key {key!r} a second time; the first is in line {first.line}")
            self.keys[here] = self.place(event.start_mark)
            data[key] = self.value(self.next(), here)
        return data

    def place(self, mark: Any) -> Place:
        if not self.placed or mark is None:
            return Place(self.origin)
        return Place(self.origin, mark.line + 1, mark.column + 1)

    def refuse(self, event: yaml.Event, found: str) -> NoReturn:
        raise InputError(f"{self.place(event.start_mark)}: found {found}")
