"""``hpcsim leaderboard``: who stands where in a tournament, with intervals, and its tables and page written again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from hpcsim.tournament.leaderboard import Board
    from hpcsim.tournament.statistics import Standing

_WIDE = 140  # columns, from which on everything has room
_BRACKETS = "In brackets: 95 % intervals of a bootstrap over windows."


@click.command(short_help="Say who stands where in a tournament, with intervals.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="This metric, scenario by scenario.")
@click.option("--control", metavar="NAME", help="The scheduler that all are compared with.")
@click.option("--format", "form", type=click.Choice(["text", "csv", "latex"]), default="text", show_default=True)
def leaderboard(directory: Path, metrics: tuple[str, ...], control: str | None, form: str) -> None:
    """Say who stands where in the tournament in DIR, and write its tables and report.html again.

    Without --metric it prints one leaderboard for each metric, over all scenarios; with it, those of each scenario
    and load too. As csv and latex it prints all of them. Values in brackets are 95 % intervals over windows.
    """
    from hpcsim.errors import InputError
    from hpcsim.scenario.layers import did_you_mean
    from hpcsim.tournament.report import write_report

    found = write_report(directory, control=control)
    known = list(dict.fromkeys(board.metric for board in found))
    for metric in metrics:
        if metric not in known:
            there = f"no metric {metric!r} in {directory}.{did_you_mean(metric, known)} Known: {', '.join(known)}."
            how = "Add it to the metrics of the tournament's file, and --resume"
            raise InputError(f"{there} {how}: for a figure of hpcsim's own no cell is run again.")
    found = [board for board in found if not metrics or board.metric in metrics]
    if form == "csv":
        from hpcsim.tournament.leaderboard import as_csv

        click.echo(as_csv(found), nl=False)
    elif form == "latex":
        from hpcsim.tournament.latex import board_as_latex

        click.echo("\n\n".join(map(board_as_latex, found)))
    else:
        _print(found, every=bool(metrics))


def print_ranks(console: Console, found: list[Board]) -> None:
    """A small table of mean ranks, who is first, and each warning once."""
    from rich.table import Table
    from rich.text import Text

    from hpcsim.tournament.report_tables import ranks_table
    from hpcsim.tournament.words import RANKS, firsts, said_once

    header, rows, _ = ranks_table(found)
    if rows:
        console.print(Text(RANKS, style="bold"))
        table = Table(box=None, pad_edge=False)
        for number, name in enumerate(header):
            table.add_column(Text(name), overflow="fold", justify="right" if number else "left")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
    for sentence in firsts(found):
        console.print(Text(sentence))
    for sentence in said_once(found):
        console.print(Text(sentence, style="yellow"))


def _print(found: list[Board], *, every: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    from hpcsim.tournament.words import TWO_TESTS

    console = Console(highlight=False, width=max(60, shutil.get_terminal_size().columns))
    alone = {board.metric for board in found if board.scenario is None}
    shown = [board for board in found if every or (board.load is None and (board.scenario is None or not alone))]
    print_ranks(console, shown)
    console.print(Text(f"{TWO_TESTS} {_BRACKETS}\n"))
    for board in shown:
        _board(console, board)


def _board(console: Console, board: Board) -> None:
    from rich.table import Table
    from rich.text import Text

    from hpcsim.tournament.statistics import conclusion
    from hpcsim.tournament.words import compared, omnibus, title

    console.print(Text(title(board), style="bold"))
    judged = board.judgement
    if judged is None:
        console.print(Text(board.refused + "\n"))
        return
    console.print(Text(compared(judged)))
    table = Table(box=None, pad_edge=False)
    wide = console.width >= _WIDE
    one = judged.standings[0].mean is not None
    table.add_column("scheduler", overflow="fold", max_width=48)
    for name in ["rank", "", *(["mean"] if one else []), f"vs {_cut(judged.control)}, %", *(_MORE if wide else ()), ""]:
        table.add_column(name, justify="left" if name == "" else "right", no_wrap=True)
    for each in judged.standings:
        table.add_row(*map(Text, _cells(each, board.letters[each.scheduler], wide=wide, one=one)))
    console.print(table)
    for sentence in filter(None, (conclusion(judged), omnibus(judged))):
        console.print(Text(sentence))
    console.print()


_MORE = ("IQM", "better in, %", "A12", "d", "p (Holm)")


def _cells(each: Standing, letters: str, *, wide: bool, one: bool) -> list[str]:
    from hpcsim.tournament.words import against, ahead, effect, estimate, number, p_value

    mean = [] if not one else [estimate(each.mean)] if wide else [number(each.mean.value if each.mean else 0.0)]
    more = [
        estimate(each.iqm, 3), ahead(each), effect(each.a12), effect(each.standardised),
        p_value(each.p_holm),
    ]  # fmt: skip
    return [
        each.scheduler, f"{each.mean_rank:.2f}", letters, *mean, against(each), *(more if wide else []),
        each.verdict,
    ]  # fmt: skip


def _cut(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}…"
