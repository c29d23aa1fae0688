"""How a tournament goes on: on a terminal a bar and what every worker is at, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import click

from hpcsim.tournament.cell import Ended, Order
from hpcsim.tournament.directories import FAILED
from hpcsim.tournament.estimate import Remaining
from hpcsim.tournament.plan import Cell
from hpcsim.workers import Pool

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_LINE_EVERY_S = 10.0


class CellProgress:
    """Shows how cells end, as ``execute.run_cells`` tells it; ``total`` are all cells, also those that were there."""

    def __init__(self, cells: Sequence[Cell], total: int, executor: Executor, workers: int) -> None:
        self._total, self._there = total, total - len(cells)
        self._cells = {cell.key: cell for cell in cells}
        self._remaining = Remaining(cells)
        self._pool = executor if isinstance(executor, Pool) else None
        self._workers = workers
        self._done = self._failed = 0
        self._began = self._said = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> CellProgress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True)
            self._live = Live(get_renderable=self._frame, console=console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def ended(self, cell: Cell, ended: Ended) -> None:
        """A cell is over."""
        self._done += 1
        self._remaining.ended(cell, ended.seconds)
        if ended.state == FAILED:
            self._failed += 1
            self._say(f"failed: {cell}: {ended.said}")
        now = time.monotonic()
        if self._live is None and (now - self._said > _LINE_EVERY_S or self._done == len(self._cells)):
            self._said = now
            self._say(self._line())

    def interrupted(self) -> None:
        """Say how to go on."""
        self._say("interrupted; --resume goes on with what is missing")

    def _say(self, text: str) -> None:
        if self._live is not None:
            from rich.text import Text

            self._live.console.print(Text(text))
        else:
            click.echo(text, err=True)

    def _line(self) -> str:
        left_s = self._left_s()
        about = f", about {span(left_s)} left" if left_s else ""
        failed = f", {self._failed:,} failed" if self._failed else ""
        return f"{self._there + self._done:,} of {self._total:,} cells{failed}{about}"

    def _left_s(self) -> float | None:
        """Seconds until all are done; where it is not known who works, as fast as so far."""
        if self._pool is None:
            passed_s = time.monotonic() - self._began
            return passed_s / self._done * (len(self._cells) - self._done) if self._done else None
        seconds = self._remaining.seconds()
        return None if seconds is None else seconds / self._workers

    def _frame(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        head = Table.grid(padding=(0, 1))
        head.add_row(ProgressBar(self._total, self._there + self._done, width=30), Text(self._line()))
        rows: list[Any] = [head]
        if self._pool is not None:
            table = Table.grid(padding=(0, 1))
            table.add_column(justify="right")
            table.add_column(justify="right")
            table.add_column(no_wrap=True, overflow="ellipsis")
            now = time.monotonic()
            for number, busy in enumerate(list(self._pool.busy), start=1):
                key = busy.task.key if busy is not None and isinstance(busy.task, Order) else None
                what = str(self._cells[key]) if key in self._cells else "waits"
                since = "" if busy is None else f"{now - busy.since:.0f} s"
                table.add_row(f"worker {number}", since, Text(what))
            rows.append(table)
        return Group(*rows)


def span(seconds: float) -> str:
    """A span of time as people say it: 40 s, 12 min, 3 h 20 min, 2 d 5 h."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
