"""``hpcsim schedulers`` and ``hpcsim twins``: what there is to choose from, and all about one of them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcsim.cli.plugins import load_and_complain, plugin_option
from hpcsim.cli.words import in_yaml, type_in_words

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console

    from hpcsim.plugin.loader import Plugins

_WIDEST = 120  # columns: longer lines are hard to read


@click.command(short_help="List the schedulers, or say all about one.")
@click.argument("name", required=False)
@plugin_option
def schedulers(name: str | None, plugins: tuple[Path, ...]) -> None:
    """List the schedulers; with NAME, what that one does, needs and can be told, and how a scenario names it."""
    _tell("schedulers", name, plugins)


@click.command(short_help="List the digital twins, or say all about one.")
@click.argument("name", required=False)
@plugin_option
def twins(name: str | None, plugins: tuple[Path, ...]) -> None:
    """List the digital twins; with NAME, what that one answers, needs and can be told, and how a scenario names it."""
    _tell("twins", name, plugins)


def _tell(kind: str, name: str | None, files: tuple[Path, ...]) -> None:
    from rich.console import Console

    from hpcsim.errors import InputError
    from hpcsim.scenario.layers import did_you_mean

    found, console = load_and_complain(files), Console(highlight=False)
    offered = found.offers[kind]
    if name is None:
        _print_list(console, found, kind)
        return
    if name not in offered:
        known = ", ".join(sorted(offered)) or "none"
        raise InputError(f"no {kind[:-1]} named {name!r}.{did_you_mean(name, offered)} Known: {known}.")
    console.width = min(console.width, _WIDEST)
    _print_one(console, found, kind, name)


def _print_list(console: Console, found: Plugins, kind: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from hpcsim.engine.twins import answered

    headings = ("name", "answers") if kind == "twins" else ("name",)
    table = Table(*headings, box=None, pad_edge=False)
    for heading in ("what it does", "needs", "from"):
        table.add_column(heading, overflow="fold")
    for name, offered in found.offers[kind].items():
        first = [name, ", ".join(answered(offered))] if kind == "twins" else [name]
        what = (_docstring(offered).splitlines() or [""])[0]
        cells = (*first, what, ", ".join(_needs(offered)) or "-", _source(found, kind, name, short=True))
        table.add_row(*[Text(cell) for cell in cells])
    console.print(table)


def _print_one(console: Console, found: Plugins, kind: str, name: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from hpcsim.engine.capabilities import CAPABILITIES
    from hpcsim.engine.twins import answered

    offered = found.offers[kind][name]
    answers = f", answers {' and '.join(answered(offered))}" if kind == "twins" else ""
    console.print(Text(f"{name}{answers}, from {_source(found, kind, name)}", "bold"))
    console.print()
    for paragraph in _docstring(offered).split("\n\n"):
        lines = paragraph.splitlines()
        if lines[1:] and set(lines[1]) == {"-"}:  # a section with a heading, such as References
            console.print(Text(lines[0], "italic"))
            entries = re.split(r"\n(?=.*\(\d{4}\))", "\n".join(lines[2:]))  # each has its year in its first line
            console.print(*[Padding(Text(" ".join(entry.splitlines())), (0, 0, 0, 2)) for entry in entries])
        else:
            console.print(Text(" ".join(lines)))
        console.print()
    if _needs(offered):
        console.print(Text("needs", "italic"))
    for need in _needs(offered):
        gives, key = CAPABILITIES[need]
        console.print(Padding(Text(f"{need}: for {gives}; a scenario has it by {key}"), (0, 0, 0, 2)))
    if _needs(offered):
        console.print()
    options: type[BaseModel] | None = getattr(offered, "Options", None)
    if options is None or not options.model_fields:
        console.print("It has no options.\n")
    else:
        _print_options(console, options)
    if kind == "schedulers":
        from hpcsim.scenario.levers import Levers

        console.print(Text("levers", "italic"))
        *first, last = Levers.model_fields
        which = f"any scheduler can be given {', '.join(first)} and {last} besides, under levers"
        console.print(Padding(Text(which), (0, 0, 0, 2)))
        console.print()
    console.print(Text("in a scenario", "italic"))
    above = "scheduler" if kind == "schedulers" else f"twins:\n    {offered.answers}"
    indent = "  " if kind == "schedulers" else "    "
    click.echo(f"  {above}:\n" + "\n".join(f"  {indent}{line}" for line in _snippet(name, options)))


def _print_options(console: Console, model: type[BaseModel]) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    schema = model.model_json_schema()
    console.print(Text("options", "italic"))
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    required = schema.get("required", ())
    for key, about in schema["properties"].items():
        default = "required" if key in required else f"default {in_yaml(about.get('default'))}"
        kind = f"{type_in_words(about, schema)}; {default}"
        lines = [about.get("description", ""), kind] if about.get("description") else [kind]
        table.add_row(Text(key), Text("\n").join([Text(lines[0]), *[Text(line, "dim") for line in lines[1:]]]))
    console.print(Padding(table, (0, 0, 0, 2)))
    console.print()


def _snippet(name: str, model: type[BaseModel] | None) -> list[str]:
    """The lines of a mapping that names a plug-in with all its options at their defaults, in YAML."""
    from hpcsim.strict_yaml import dump_yaml

    values: dict[str, Any] = {"name": name}
    required: list[str] = []
    schema = model.model_json_schema() if model is not None else {"properties": {}}
    for key, about in schema["properties"].items():
        if key in schema.get("required", ()):
            required.append(f"{key}:  # required: {type_in_words(about, schema)}")
        else:
            values[key] = about.get("default")
    return [*dump_yaml(values).splitlines(), *required]


def _docstring(offered: type) -> str:
    return inspect.cleandoc(offered.__doc__ or "").replace("``", "")


def _needs(offered: type) -> list[str]:
    from hpcsim.engine.capabilities import CAPABILITIES, declared

    return [name for name in CAPABILITIES if name in declared(offered)]


def _source(found: Plugins, kind: str, name: str, *, short: bool = False) -> str:
    plugin = found.provider(kind, name)
    if plugin is None:
        return ""
    return (plugin.distribution if short and plugin.distribution else None) or plugin.origin
