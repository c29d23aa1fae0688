"""``hpcsim metrics``: the figures that a run's summary has, hpcsim's own and those of plug-ins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcsim.cli.plugins import load_and_complain, plugin_option

if TYPE_CHECKING:
    from hpcsim.plugin.loader import Plugins

_Row = tuple[str, str, str]  # name, unit, what


@click.command(short_help="List the figures of a run and the metrics of plug-ins.")
@plugin_option
def metrics(plugins: tuple[Path, ...]) -> None:
    """List what summary.json says of a run: hpcsim's own figures, and under "metrics" those of plug-ins."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    found = load_and_complain(plugins)
    console = Console(highlight=False)
    groups = {**_own(), **_plugged(found)}
    widths = [max(len(row[column]) for rows in groups.values() for row in rows) for column in (0, 1)]
    for number, (title, rows) in enumerate(groups.items()):
        table = Table(box=None, pad_edge=False, show_header=False)
        for width in widths:
            table.add_column(width=width, no_wrap=True)
        table.add_column()
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(f"\n{title}" if number else title, style="italic", markup=False, soft_wrap=True)
        console.print(table)


def _own() -> dict[str, list[_Row]]:
    from hpcsim.results.figures import FIGURES, FIGURES_OF_MACHINE, FIGURES_OF_WORKFLOW

    titled = {
        "of every run, where J are the measured jobs that were not rejected": FIGURES,
        "of a run of one workflow, whose jobs all come at once": FIGURES_OF_WORKFLOW,
        "of a run with physics": FIGURES_OF_MACHINE,
    }
    return {
        title: [(name, unit, formula.replace("`", "")) for names, unit, formula in figures for name in names]
        for title, figures in titled.items()
    }


def _plugged(found: Plugins) -> dict[str, list[_Row]]:
    """The metrics of each plug-in that has any, by where it comes from."""
    return {
        f"metrics of {plugin.origin}": [_row(found.offers["metrics"][name]) for name in plugin.offers["metrics"]]
        for plugin in found.found
        if "metrics" in plugin.offers
    }


def _row(metric: type) -> _Row:
    what = (metric.__doc__ or "").strip().splitlines()[0].replace("`", "")
    return metric.name, metric.unit, what  # type: ignore[attr-defined]  # the loader has seen to it
