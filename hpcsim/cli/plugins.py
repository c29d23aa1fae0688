"""``hpcsim plugins``: which plug-ins were found, what each offers, and why one could not be loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hpcsim.plugin.loader import Plugin, Plugins


def plugin_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--plugin FILE``, which every command that loads plug-ins has."""
    path, what = click.Path(path_type=Path), "A Python file with plug-ins."
    return click.option("--plugin", "plugins", type=path, metavar="FILE", multiple=True, help=what)(command)


def load_and_complain(files: tuple[Path, ...]) -> Plugins:
    """The plug-ins; a line on stderr for each installed one that could not be loaded."""
    from hpcsim.plugin.loader import load_plugins

    found = load_plugins(files)
    for origin, complaint in found.errors.items():
        click.echo(f"hpcsim: plug-in {origin} is not loaded: {complaint}", err=True)
    return found


@click.command(short_help="List the plug-ins that were found, what they offer and their errors.")
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def plugins(plugins: tuple[Path, ...], as_json: bool) -> None:
    """List the plug-ins that were found: where each comes from, what it offers, and why one could not be loaded.

    HPCSIM_PLUGINS=a,b in the environment loads only the installed plug-ins (or all of the distributions) of these
    names besides hpcsim's own; with HPCSIM_STRICT_PLUGINS=1 a broken one ends every command.
    """
    from hpcsim.plugin.loader import load_plugins

    found = load_plugins(plugins).found
    if as_json:
        click.echo(json.dumps([plugin.as_data() for plugin in found], indent=2, ensure_ascii=False))
    else:
        _print_plugins(found)


def _print_plugins(found: list[Plugin]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "version", "from", "offers"):
        table.add_column(heading, overflow="fold")
    for plugin in found:
        installed = f"{plugin.distribution} ({plugin.value})" if plugin.distribution else plugin.value or ""
        offers = "\n".join(f"{kind}: {', '.join(names)}" for kind, names in plugin.offers.items()) or "nothing"
        said = Text(f"not loaded: {plugin.error}", "red") if plugin.error else Text(offers)
        table.add_row(plugin.name, plugin.version or "", Text(plugin.file or installed), said)
    console.print(table)
