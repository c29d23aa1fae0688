"""``hpcsim check``: whether a plug-in keeps the contract, as a table of every check of the kit."""

from __future__ import annotations

import json
import shutil
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from hpcsim.testing import Check, Factory


class Row(NamedTuple):
    """A check, what came of it (passes, fails, not reached, exempt), how long it took and what was wrong."""

    check: str
    result: str
    seconds: float
    complaint: str


@click.command(short_help="Check that a plug-in keeps the contract.")
@click.argument("name")
@click.option("--plugin", "plugins", type=click.Path(path_type=Path), metavar="FILE", multiple=True,
              help="A Python file with plug-ins.")  # fmt: skip
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Another value of an option, e.g. order=sjf.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def check(name: str, plugins: tuple[Path, ...], settings: tuple[str, ...], as_json: bool) -> int:
    """Check the scheduler NAME with hpcsim's conformance kit, as docs/testing.md describes it.

    The exit code is 0 if every check passes, 1 if not, 2 if there is no such plug-in.
    """
    from hpcsim.testing import scheduler_checks

    checks = scheduler_checks()
    rows: list[Row] = []
    width = max(len(each.name) for each in checks)
    for row in _rows(checks, _factory(name, plugins, settings)):
        rows.append(row)
        if not as_json:
            _print(row, width)
    failed = [row for row in rows if row.result not in ("passes", "exempt")]
    if as_json:
        click.echo(json.dumps({"name": name, "passes": not failed, "checks": [row._asdict() for row in rows]}, indent=2))
    else:
        seconds = sum(row.seconds for row in rows)
        said = "keeps the contract" if not failed else f"{len(failed)} of {len(rows)} checks do not pass"
        click.echo(f"{name}: {said} ({seconds:.1f} s)")
    return 1 if failed else 0


def _factory(name: str, plugins: tuple[Path, ...], settings: tuple[str, ...]) -> Factory:
    """The class of that name, and its options. Raises InputError with what is wrong with the name or an option."""
    from hpcsim.plugin.loader import load_plugins
    from hpcsim.scenario.load import load_scenario
    from hpcsim.testing import Factory

    found = load_plugins(plugins)
    options = [f"scheduler.{setting}" for setting in settings]
    loaded = load_scenario("bare", [("scheduler", name), *options], schedulers=found.schedulers)
    return Factory(found.schedulers[name], loaded.scenario.scheduler.options if settings else {})


def _rows(checks: list[Check], factory: Factory) -> Iterator[Row]:
    from hpcsim.testing import NotReached

    for each in checks:
        began = time.perf_counter()
        result, complaint = "passes", ""
        exempt = each.exempts(factory.kind)
        if exempt is not None:
            result, complaint = "exempt", exempt
        else:
            try:
                each(factory)
            except NotReached as error:
                result, complaint = "not reached", str(error)
            except AssertionError as error:
                result, complaint = "fails", str(error)
        yield Row(each.name, result, round(time.perf_counter() - began, 2), complaint)


_COLOURS = {"passes": "green", "fails": "red", "not reached": "yellow", "exempt": "cyan"}


def _print(row: Row, width: int) -> None:
    """A line of the table as soon as it is known, and below it what was wrong."""
    result = click.style(f"{row.result:11}", fg=_COLOURS[row.result])
    click.echo(f"{row.check:{width}}  {result}  {row.seconds:6.2f} s")
    columns = max(40, shutil.get_terminal_size().columns)
    for line in textwrap.wrap(row.complaint, columns - 4, break_long_words=False, break_on_hyphens=False):
        click.echo(f"    {line}")
