"""``hpcsim check``: whether a plug-in keeps the contract, as a table of every check of the kit."""

from __future__ import annotations

import json
import shutil
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hpcsim.cli.plugins import load_and_complain, plugin_option

if TYPE_CHECKING:
    from hpcsim.testing import Check, Factory


_WIDEST = 120  # columns: longer lines are hard to read


class Row(NamedTuple):
    """A check, what came of it (passes, fails, not reached, exempt), how long it took and what was wrong."""

    check: str
    result: str
    seconds: float
    complaint: str


@click.command(short_help="Check that a plug-in keeps the contract.")
@click.argument("name")
@plugin_option
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Another value of an option, e.g. order=sjf."
)
@click.option("--twin", is_flag=True, help="NAME is a twin, where a scheduler has the same name.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def check(name: str, plugins: tuple[Path, ...], settings: tuple[str, ...], twin: bool, as_json: bool) -> int:
    """Check the scheduler or twin NAME with hpcsim's conformance kit: docs/testing.md describes every check.

    The exit code is 0 if all pass, 1 if not, 2 if there is no such plug-in.
    """
    from hpcsim.testing import scheduler_checks, twin_checks

    factory = _factory(name, plugins, settings, twin=twin)
    checks = twin_checks() if factory.is_twin else scheduler_checks()
    width = max(len(each.name) for each in checks)
    rows: list[Row] = []
    for row in _rows(checks, factory):
        rows.append(row)
        if not as_json:
            _print(row, width)
    results = Counter(row.result for row in rows)
    passes = not (results["fails"] or results["not reached"])
    if as_json:
        data = {"name": name, "passes": passes, "checks": [row._asdict() for row in rows]}
        click.echo(json.dumps(data, indent=2))
    else:
        _print_end(name, rows, results)
    return 0 if passes else 1


def _factory(name: str, plugins: tuple[Path, ...], settings: tuple[str, ...], *, twin: bool) -> Factory:
    """The class of that name, and its options. Raises InputError with what is wrong with the name or an option."""
    from hpcsim.errors import InputError
    from hpcsim.scenario.layers import did_you_mean
    from hpcsim.scenario.load import load_scenario
    from hpcsim.testing import Factory

    found = load_and_complain(plugins)
    offered = found.twins if twin or name not in found.schedulers else found.schedulers
    if name not in offered:
        known = sorted({*found.schedulers, *found.twins} if not twin else found.twins)
        what = "twin" if twin else "scheduler or twin"
        raise InputError(f"no {what} named {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")
    kind: Any = offered[name]
    key = "scheduler" if offered is found.schedulers else f"twins.{kind.answers}"
    options = [f"{key}.{setting}" for setting in settings]
    loaded = load_scenario("bare", [(key, name), *options], schedulers=found.schedulers, twins=found.twins)
    section = loaded.scenario.scheduler if key == "scheduler" else getattr(loaded.scenario.twins, kind.answers)
    return Factory(kind, section.options)


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
    """A line of the table as soon as it is known, and below it what was wrong, or why it is no law here."""
    result = click.style(f"{row.result:11}", fg=_COLOURS[row.result])
    click.echo(f"{row.check:{width}}  {result}  {row.seconds:6.2f} s")
    if row.result != "not reached":
        _print_complaint(row)


def _print_complaint(row: Row) -> None:
    columns = max(40, min(_WIDEST, shutil.get_terminal_size().columns)) - 4
    for line in textwrap.wrap(row.complaint, columns, break_long_words=False, break_on_hyphens=False):
        click.echo(f"    {line}")


def _print_end(name: str, rows: list[Row], results: Counter[str]) -> None:
    seconds = sum(row.seconds for row in rows)
    if not (results["fails"] or results["not reached"]):
        click.echo(f"{name} keeps the contract ({len(rows)} checks, {seconds:.1f} s)")
        return
    if not results["fails"]:  # else what fails says why
        _print_complaint(next(row for row in rows if row.result == "not reached"))
    blocked = f", {results['not reached']} not reached: mend what fails first" if results["not reached"] else ""
    click.echo(
        f"{name} does not keep the contract ({results['fails']} of {len(rows)} checks fail{blocked}; {seconds:.1f} s)"
    )
