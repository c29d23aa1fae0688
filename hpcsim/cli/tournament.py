"""``hpcsim tournament``: all cells of a tournament, resumed where it stopped, and its tables."""

from __future__ import annotations

import os
import re
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcsim.cli import code_of
from hpcsim.cli.plugins import load_and_complain, plugin_option
from hpcsim.errors import InputError

if TYPE_CHECKING:
    from hpcsim.tournament.directories import Directory
    from hpcsim.tournament.plan import Cell, Plan

_AT_ONCE = 2000  # cells that a batch system's workers are given ahead
_PATH = click.Path(path_type=Path)


@click.command(short_help="Run many schedulers on the same windows, and compare them.")
@click.argument("file")
@click.option("--out", type=_PATH, metavar="DIR", help="The tournament's directory; by default tournaments/NAME.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Processes; by default one for each core.")
@click.option("--resume", is_flag=True, help="Go on in a directory: cells that are there are not run again.")
@click.option("--retry", is_flag=True, help="As --resume, and run failed cells again.")
@click.option("--dry-run", is_flag=True, help="Only say what would be run and how long it would take.")
@click.option("--shard", metavar="I/N", help="Run the I-th of N parts; all may run at the same time in one directory.")
@click.option("--executor", metavar="parsl:FILE", help="Workers that Parsl starts, by its configuration in FILE.")
@click.option("--data", type=_PATH, metavar="DIR", help="The folder in which traces are looked for.")
@plugin_option
def tournament(
    file: str,
    out: Path | None,
    workers: int | None,
    resume: bool,
    retry: bool,
    dry_run: bool,
    shard: str | None,
    executor: str | None,
    data: Path | None,
    plugins: tuple[Path, ...],
) -> int:
    """Run all cells of a tournament FILE, or of a packaged one: scenario x load x window x seed x scheduler.

    The tables cells.csv and failures.csv are made anew from all cells that are there; when none is missing, so are
    leaderboard.csv, tables/, figures/ and report.html.
    """
    from hpcsim.tournament.directories import Directory
    from hpcsim.tournament.execute import missing
    from hpcsim.tournament.grid import read_grid
    from hpcsim.tournament.plan import plan
    from hpcsim.tournament.tables import write_tables

    part = _shard(shard)
    parsl_config = _parsl_config(executor)
    if data is not None and not data.is_dir():
        raise InputError(f"--data {data}: there is no such folder")
    workers = workers or _cores()
    grid = read_grid(file)
    planned = plan(grid, load_and_complain(plugins), plugin_files=plugins, data=data)
    directory = Directory(out.expanduser() if out is not None else Path("tournaments") / grid.tournament.name)
    if dry_run:
        _say_plan(planned, directory, part, workers)
        return 0
    _claim(planned, directory, resume=resume or retry, retry=retry, sharded=shard is not None)
    to_run = missing(planned, directory, part)
    try:
        code = _run(planned, directory, to_run, workers, parsl_config)
        states = write_tables(planned, directory)
    except OSError as error:
        what = f"{directory.root}: cannot be written: {error.strerror or error}"
        raise InputError(f"{what}; when it can, --resume goes on with what is missing") from error
    whole = not states["pending"] and not code
    if whole:
        from rich.console import Console

        from hpcsim.cli.leaderboard import print_ranks
        from hpcsim.tournament.report import write_report

        print_ranks(Console(highlight=False), write_report(directory.root))
    directory.sweep()
    _say_end(planned, directory, states, whole=whole)
    return code or (1 if states["failed"] else 0)


def _say_plan(plan: Plan, directory: Directory, part: tuple[int, int], workers: int) -> None:
    """The grid, and how long it would take, from pilot cells."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from hpcsim.cli.cell_progress import span
    from hpcsim.tournament.estimate import measured, pilots, reckoned
    from hpcsim.tournament.execute import missing, order_of
    from hpcsim.workers import Pool

    console = Console(highlight=False)
    given, to_run = plan.grid.tournament, missing(plan, directory, part)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    table.add_row("scenarios", f"{len(plan.windows):,}", Text(", ".join(plan.windows)))
    for name, windows in plan.windows.items():
        span_of = windows[0].label if len(windows) == 1 else f"{windows[0].label} to {windows[-1].label}"
        jobs = sum(window.jobs for window in windows) // len(windows)
        table.add_row("  windows", f"{len(windows):,}", Text(f"{name}: {span_of}, about {jobs:,} jobs each"))
    for what, values in (
        ("schedulers", [entrant.shown for entrant in given.schedulers]), ("loads", given.loads), ("seeds", given.seeds)
    ):  # fmt: skip
        table.add_row(what, f"{len(values):,}", Text(_few(values)))
    table.add_row("cells", f"{len(plan.cells):,}", Text(f"in {directory.root}"))
    table.add_row("to run", f"{len(to_run):,}", "" if part == (1, 1) else f"in shard {part[0]} of {part[1]}")
    console.print(table)
    if not to_run:
        return
    candidates = [(cell, order_of(cell, plan, directory)) for cell in pilots(plan)]
    with Pool(workers) as pool:
        found = measured(candidates, pool, workers=workers)
    if not found:
        raise InputError("no pilot cell ended well, so there is no estimate; run the tournament to see why they fail")
    seconds = reckoned(to_run, found) / workers
    console.print(
        f"about {span(seconds)} with {workers} worker{'' if workers == 1 else 's'}, reckoned from pilot cells of "
        f"{len(found)} of the {len(candidates)} kinds (scenario, scheduler, load)",
        soft_wrap=True,
    )


def _few(values: list[Any]) -> str:
    """Up to a dozen of these."""
    shown = ", ".join(map(str, values[:12]))
    return shown if len(values) <= 12 else f"{shown} and {len(values) - 12} more"


def _say_end(plan: Plan, directory: Directory, states: dict[str, int], *, whole: bool) -> None:
    parts = [f"{count:,} {state}" for state, count in states.items() if count or state == "done"]
    click.echo(f"{len(plan.cells):,} cells: {', '.join(parts)}")
    names = ["cells.csv", *(["failures.csv"] if states["failed"] else [])]
    names += ["leaderboard.csv", "report.html"] if whole else []
    click.echo(f"{directory.root}: {', '.join(names)}")
    if whole:
        click.echo(f"hpcsim leaderboard {directory.root} says more, with intervals")


def _cores() -> int:
    """The cores that this process may use."""
    may_use = getattr(os, "sched_getaffinity", None)
    return len(may_use(0)) if may_use else os.cpu_count() or 1


def _shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 1
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    number, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= of:
        raise InputError(f"--shard {text}: expected I/N with I from 1 to N, such as 3/16")
    return number, of


def _parsl_config(executor: str | None) -> Any:
    if executor is None:
        return None
    kind, _, file = executor.partition(":")
    if kind != "parsl" or not file:
        raise InputError(f"--executor {executor}: expected parsl:FILE; without it cells run in processes here")
    from hpcsim.tournament.parsl_pool import config_in

    return config_in(Path(file))


def _claim(plan: Plan, directory: Directory, *, resume: bool, retry: bool, sharded: bool) -> None:
    """Make the directory this tournament's, or refuse one that is not to be touched."""
    from hpcsim.tournament.directories import FAILED
    from hpcsim.tournament.record import text_of

    text = text_of(plan)
    root = directory.root
    if root.exists() and not root.is_dir():
        raise InputError(f"{root}: a file; choose another --out")
    used = root.is_dir() and any(root.iterdir())
    record = root / "tournament.yaml"
    is_one = record.is_file()
    is_same = is_one and record.read_bytes() == text.encode()
    if used and not is_one and not (root / "cells").is_dir() and not (root / "drafts").is_dir():
        raise InputError(f"{root}: exists already and is no tournament's; choose another --out")
    if is_one and not resume and not (sharded and is_same):
        there = sum(directory.state(key) != "pending" for key in {cell.key for cell in plan.cells})
        what = "this tournament" if is_same else "another tournament, or another version of this one,"
        raise InputError(
            f"{root}: {what} was run there, {there} of the {len(plan.cells)} cells are there; "
            "--resume goes on with it and runs none of these again, another --out begins anew"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        directory.sweep()
        directory.put("tournament.yaml", text)  # also where it is the same: now is the time to find that nothing can be
    except OSError as error:
        raise InputError(f"{root}: cannot be written: {error.strerror or error}; choose another --out") from error
    for key in {cell.key for cell in plan.cells} if retry else ():
        if directory.state(key) == FAILED:
            directory.forget(key)


def _run(plan: Plan, directory: Directory, cells: list[Cell], workers: int, parsl_config: Any) -> int:
    """Run cells; returns the exit code of an interrupt, else 0."""
    from hpcsim.cli.cell_progress import CellProgress
    from hpcsim.tournament.execute import run_cells
    from hpcsim.workers import Pool

    total = len({cell.key for cell in plan.cells})
    if not cells:
        return 0
    executor: Executor
    if parsl_config is not None:
        from hpcsim.tournament.parsl_pool import parsl_executor

        executor, ahead = parsl_executor(parsl_config), _AT_ONCE
    else:
        executor = Pool(min(workers, len(cells)))
        ahead = 2 * workers
    with CellProgress(cells, total, executor, workers) as progress:
        try:
            run_cells(cells, plan, directory, executor, progress.ended, ahead=ahead)
        except BaseException as error:
            executor.shutdown(wait=parsl_config is None, cancel_futures=parsl_config is None)
            if not isinstance(error, KeyboardInterrupt):
                raise
            progress.interrupted()
            return code_of(error)
        executor.shutdown()
    return 0
