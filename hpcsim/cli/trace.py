"""``hpcsim trace``: make, describe and convert traces of jobs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcsim.cli.plugins import load_and_complain, plugin_option

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from hpcsim.workload.describe import Description
    from hpcsim.workload.job import Workload
    from hpcsim.workload.records import PluggedReader


_PICTURES = (".png", ".svg", ".pdf")


@click.group(short_help="Make, describe and convert traces of jobs.")
def trace() -> None:
    """Make, describe and convert traces of jobs: ALCF records (.csv), SWF (.swf), workflows (.json), also with .gz.

    Plug-ins can read other formats (--plugin FILE).
    """


def _reads(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say who reads a trace."""
    chosen = click.option(
        "--trace-format", metavar="NAME", help="Who reads it: alcf, swf, wfcommons or a plug-in's reader."
    )
    return chosen(plugin_option(command))


def _readers(plugins: tuple[Path, ...]) -> list[PluggedReader]:
    """The workload readers of plug-ins, with their default options."""
    from hpcsim.scenario.parts import readers_of

    return readers_of(load_and_complain(plugins).offers["workloads"])


@trace.command(short_help="Write a synthetic trace.")
@click.argument("profile")
@click.option("--jobs", type=int, metavar="N", help="Exactly N jobs.")
@click.option("--days", type=float, metavar="D", help="D days of traffic.  [default: 30]")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of all chance.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE",
    help="Where to write; the name's end says the format.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def synth(profile: str, jobs: int | None, days: float | None, seed: int, output: Path, force: bool) -> None:
    """Write a trace that looks like that of PROFILE (polaris, mira, theta, ...) to FILE."""
    from hpcsim.workload.synthetic import synthesise
    from hpcsim.workload.trace import write_trace

    _refuse_existing(output, force)
    workload = synthesise(profile, seed=seed, jobs=jobs, days=days)
    write_trace(workload, output)
    click.echo(f"{output}: {len(workload):,} jobs of {profile}, seed {seed}")


@trace.command(short_help="Write an example of a workflow.")
@click.option("--columns", type=click.IntRange(min=1), default=5, show_default=True, help="Images side by side.")
@click.option("--rows", type=click.IntRange(min=1), default=4, show_default=True, help="Rows of images.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of all chance.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE.json", help="Where to write."
)
@click.option("--force", is_flag=True, help="Replace FILE.json if it exists.")
def workflow(columns: int, rows: int, seed: int, output: Path, force: bool) -> None:
    """Write a workflow in WfFormat 1.5: a mosaic of COLUMNS x ROWS images of the sky, as Montage makes one."""
    from hpcsim.errors import InputError
    from hpcsim.workload.mosaic import mosaic
    from hpcsim.workload.trace_file import write_file
    from hpcsim.workload.wfcommons import read_workflow

    if not output.name.lower().endswith((".json", ".json.gz")):
        raise InputError(f"{output}: a workflow's name ends in .json or .json.gz")
    _refuse_existing(output, force)
    write_file(output, [mosaic(columns, rows, seed).encode()])
    click.echo(f"{output}: {len(read_workflow(output)):,} tasks, seed {seed}")


@trace.command(short_help="Write a trace in another format.")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Refuse a trace with rows that would be dropped or mended.")
@click.option("--force", is_flag=True, help="Replace TARGET if it exists.")
@_reads
def convert(
    source: Path, target: Path, strict: bool, force: bool, trace_format: str | None, plugins: tuple[Path, ...]
) -> None:
    """Read the trace SOURCE, clean it and write it as TARGET, in the format of its name."""
    from rich.console import Console

    from hpcsim.cli.cleaning import print_cleaning
    from hpcsim.workload.trace import read_trace, write_trace

    _refuse_existing(target, force)
    workload = read_trace(source, strict=strict, readers=_readers(plugins), form=trace_format)
    write_trace(workload, target)
    print_cleaning(Console(stderr=True, highlight=False), workload.cleaning)
    lost = workload.recorded_places if ".swf" in target.name.lower() else 0
    click.echo(f"{target}: {len(workload):,} jobs{f', without the places of {lost:,} of them' if lost else ''}")


def _refuse_existing(path: Path, force: bool) -> None:
    """Raise InputError for a file that would be replaced without having been told to."""
    from hpcsim.errors import InputError

    if not force and os.path.lexists(path):
        raise InputError(f"{path}: exists already and is kept as it is; choose another name, or say --force")


@trace.command(short_help="Show what traces look like.")
@click.argument("sources", nargs=-1, required=True, metavar="FILE [FILE]")
@click.option("--nodes", type=click.IntRange(min=1), metavar="N", help="Size of the machine, if the trace is silent.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of a profile's chance.")
@click.option("--days", type=float, metavar="D", help="Days of a profile's traffic.  [default: 30]")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="PNG",
    help="The picture.  [default: NAME.describe.png]",
)
@click.option("--no-plot", is_flag=True, help="Make no picture.")
@click.option(
    "--utc-offset", type=click.FloatRange(-12, 14), metavar="H",
    help="Of the hours and weekdays: how far its clocks are ahead of UTC.  "
    "[default: by the header of an SWF file, 0 without dates, else -6, as at Argonne]",
)  # fmt: skip
@_reads
def describe(
    sources: tuple[str, ...],
    nodes: int | None,
    seed: int,
    days: float | None,
    plot: Path | None,
    no_plot: bool,
    utc_offset: float | None,
    trace_format: str | None,
    plugins: tuple[Path, ...],
) -> None:
    """Show what a trace looks like, or two side by side: arrivals, sizes, lengths and users.

    FILE is a trace, or the name of a profile of synthetic traces.
    """
    from rich.console import Console

    from hpcsim.cli.cleaning import print_cleaning
    from hpcsim.errors import InputError
    from hpcsim.workload.describe import describe as describe_workload

    if utc_offset is not None and not isfinite(utc_offset):
        raise InputError(f"--utc-offset: found {utc_offset}, expected hours")
    if len(sources) > 2:
        raise InputError(f"trace describe: found {len(sources)} traces, but it lays at most 2 side by side")
    if plot is not None and (len(sources) > 1 or no_plot):
        raise InputError("trace describe: --plot names the picture of one trace, without --no-plot")
    if plot is not None and plot.suffix.lower() not in _PICTURES:
        raise InputError(f"{plot}: found {plot.suffix or 'no ending'}; a picture ends in {', '.join(_PICTURES)}")
    console = Console(highlight=False)
    readers = _readers(plugins)
    workloads = [_workload(source, seed, days, readers, trace_format) for source in sources]
    for workload in workloads:
        print_cleaning(console, workload.cleaning)
    found = [
        describe_workload(workload, nodes, _ahead_h(source, workload) if utc_offset is None else utc_offset)
        for source, workload in zip(sources, workloads, strict=True)
    ]
    _print(console, found)
    if not no_plot:
        from hpcsim.results.trace_plots import plot_description

        for source, one in zip(sources, found, strict=True):
            picture = plot or Path(f"{_stem(source)}.describe.png")
            try:
                plot_description(one, picture)
            except OSError as error:
                raise InputError(f"{picture}: the picture cannot be written: {error.strerror or error}") from error
            click.echo(f"\nits picture is {picture}; --no-plot makes none")


def _workload(
    source: str, seed: int, days: float | None, readers: Sequence[PluggedReader], form: str | None
) -> Workload:
    """The jobs of a file, or of a profile where there is no such file."""
    from hpcsim.workload.synthetic import known_names, synthesise
    from hpcsim.workload.trace import read_trace

    # a name without an ending can only be meant for a profile, and a typing error in it gets its answer there
    if not Path(source).exists() and (source in known_names() or not Path(source).suffix):
        return synthesise(source, seed=seed, days=days)
    return read_trace(source, readers=readers, form=form)


def _ahead_h(source: str, workload: Workload) -> float:
    """How far ahead of UTC the clocks are where a trace is from."""
    from hpcsim.workload.describe import ARGONNE_UTC_H
    from hpcsim.workload.swf import utc_offset_h

    if not workload.t0_utc:
        return 0.0  # a trace without dates has hours since its beginning
    named = utc_offset_h(Path(source)) if workload.form == "swf" else None
    return ARGONNE_UTC_H if named is None else named


def _stem(source: str) -> str:
    name = Path(source).name
    for ending in (".gz", ".swf", ".csv", ".json"):
        name = name.removesuffix(ending)
    return name


def _print(console: Console, found: list[Description]) -> None:
    labels = ["A", "B"] if len(found) > 1 else [""]
    for label, one in zip(labels, found, strict=True):
        text = f"{one.source}: {one.jobs:,} jobs, machine of {one.machine_nodes:,} nodes"
        console.print(f"{label}  {text}" if label else text, markup=False, style="bold")
    clocks = " and ".join(dict.fromkeys(one.clock for one in found))
    tables = {
        "summary": _quantities([one.summary for one in found], labels),
        "job sizes: shares, medians, and the share of jobs that run into the walltime": _sizes(found, labels),
        f"cycles: jobs relative to the mean, local time {clocks}": _cycles(found, labels),
        "walltimes asked for most: minutes and % of jobs": _walltimes(found, labels),
    }
    if any(one.users for one in found):
        tables["users"] = _quantities([one.users for one in found], labels)
    for title, table in tables.items():
        # not the table's own title: that would be folded to the width of the table
        console.print(f"\n{title}", style="italic", markup=False)
        console.print(table)


def _table(*, show_header: bool = True, gap: int = 2) -> Table:
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), show_header=show_header)


def _quantities(columns: list[dict[str, float]], labels: list[str]) -> Table:
    table = _table(show_header=len(labels) > 1)
    table.add_column("")
    for label in labels:
        table.add_column(label, justify="right")
    names = dict.fromkeys(name for column in columns for name in column)
    for name in names:
        table.add_row(name, *[_number(column.get(name)) for column in columns])
    return table


def _sizes(found: list[Description], labels: list[str]) -> Table:
    """A row for each class and trace; waits only where a trace knows them."""
    waits = any(row.wait_median_s is not None for one in found for row in one.sizes)
    table = _table(gap=1)
    table.add_column("nodes", no_wrap=True)
    if len(found) > 1:
        table.add_column("")
    titles = ["jobs %", "node-h %", "runtime s", "walltime s", "limit %"]
    for title in titles + ["wait s", "mean wait s"] * waits:
        table.add_column(title, justify="right")
    rows = [(row.nodes, label, row) for label, one in zip(labels, found, strict=True) for row in one.sizes]
    shown: tuple[int, int] | None = None
    for nodes, label, row in sorted(rows, key=lambda entry: entry[:2]):
        name = "" if nodes == shown else f"{nodes[0]:,}" if nodes[0] == nodes[1] else f"{nodes[0]:,}-{nodes[1]:,}"
        shown = nodes
        cells = [
            _number(100 * row.job_share),
            _number(100 * row.node_hour_share),
            _number(row.runtime_median_s),
            _number(row.walltime_median_s),
            _number(100 * row.at_limit_share),
        ]
        cells += [_number(row.wait_median_s), _number(row.wait_mean_s)] * waits
        table.add_row(name, *([label] if len(found) > 1 else []), *cells)
    return table


def _cycles(found: list[Description], labels: list[str]) -> Table:
    """Jobs by hour and weekday relative to their mean, as 24 and 7 numbers and as little bars."""
    table = _table(show_header=False)
    for label, one in zip(labels, found, strict=True):
        hours = [f"{weight:.2f}" for weight in one.hour_weights]
        table.add_row(label, "hours", _bars(one.hour_weights.tolist()))
        table.add_row("", "0-11", " ".join(hours[:12]))
        table.add_row("", "12-23", " ".join(hours[12:]))
        weekdays = " ".join(f"{weight:.2f}" for weight in one.weekday_weights)
        table.add_row("", "Mon-Sun", f"{weekdays}  {_bars(one.weekday_weights.tolist())}")
    return table


def _bars(weights: list[float]) -> str:
    """One block a number, full at twice the mean."""
    return "".join("▁▂▃▄▅▆▇█"[min(int(weight * 4), 7)] for weight in weights)


def _walltimes(found: list[Description], labels: list[str]) -> Table:
    table = _table()
    for label in labels:
        table.add_column(f"{label} minutes".strip(), justify="right")
        table.add_column("%", justify="right")
    for place in range(max(len(one.walltimes) for one in found)):
        cells: list[str] = []
        for one in found:
            if place < len(one.walltimes):
                seconds, share = one.walltimes[place]
                cells += [f"{seconds / 60:g}", f"{100 * share:.1f}"]
            else:
                cells += ["", ""]
        table.add_row(*cells)
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
