"""Everything that is written of a tournament: its leaderboard and further tables, figures, and one page."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpcsim.errors import InputError
from hpcsim.strict_yaml import read_mapping
from hpcsim.tournament.cells import KEYS, Cells, read_cells
from hpcsim.tournament.cost import costs
from hpcsim.tournament.directories import Directory
from hpcsim.tournament.drawn import drawn
from hpcsim.tournament.fronts import fronts
from hpcsim.tournament.latex import board_as_latex, tabular
from hpcsim.tournament.leaderboard import Board, as_csv, boards, control_of, csv_text, metrics_of
from hpcsim.tournament.page import Parts, page
from hpcsim.tournament.report_tables import Table, cost_table, front_table, paired_table, states_table, tests_table

ITS_FILE = "tournament.yaml"


def write_report(directory: str | Path, *, control: str | None = None) -> list[Board]:
    """Write what the cells of the tournament in ``directory`` say, and return the leaderboards.

    It reads ``cells.csv``, and ``failures.csv`` and ``timing.csv`` where they are; it writes ``leaderboard.csv``,
    ``report.html``, ``tables/`` (CSV and LaTeX) and ``figures/`` (SVG): the same bytes for the same input.
    ``control`` is the scheduler that all are compared with; when not given, that of ``tournament.yaml``, or else the
    first. The name and the description on the page are those of that file too.

    Raises InputError for a table that is none, a control that did not take part, and what cannot be written.
    """
    directory = Path(directory).expanduser()
    cells = read_cells(directory / "cells.csv")
    its = _its_file(directory)
    against = control_of(cells, control or its.get("control"))
    called = str(its.get("name") or "tournament"), str(its.get("description") or "")
    found = [*boards(cells, metrics_of(cells), against)]
    there = [*fronts(cells, against, found)]
    parts = Parts(front_table(there), cost_table(costs(directory)), states_table(_states(cells)), _failures(directory))
    files = Directory(directory)
    figures = [*drawn(cells, found, there)]
    try:
        files.put("leaderboard.csv", as_csv(found))
        for file, text in _tables(found, parts):
            files.put(f"tables/{file}", text)
        for figure in figures:
            files.put(f"figures/{_as_file(figure.name)}.svg", figure.svg)
        files.put("report.html", page(*called, cells, found, figures, parts))
    except OSError as error:
        raise InputError(f"{error.filename or directory}: cannot be written: {error.strerror or error}") from error
    return found


def _tables(found: list[Board], parts: Parts) -> Iterator[tuple[str, str]]:
    for metric in dict.fromkeys(board.metric for board in found):
        own = [board_as_latex(board) for board in found if board.metric == metric]
        yield f"leaderboard-{_as_file(metric)}.tex", "\n\n".join(own) + "\n"
    both = {"tests": tests_table(found), "front": parts.front, "cost": parts.cost, "cells": parts.states}
    for name, table in both.items():
        yield f"{name}.csv", csv_text(table.header, table.rows)
        yield f"{name}.tex", tabular(table.header, table.rows, table.words) + "\n"
    paired = paired_table(found)  # as long as the table of cells: for programs, not for a page
    yield "paired.csv", csv_text(paired.header, paired.rows)


def _as_file(name: str) -> str:
    """The name without what no file name may have: a metric is called as its author likes."""
    return re.sub(r"[^\w.-]", "_", name)


def _states(cells: Cells) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {name: {} for name in cells.schedulers}
    for scheduler, state in zip(cells.column("scheduler"), cells.column("state"), strict=True):
        found[scheduler][state] = found[scheduler].get(state, 0) + 1
    return found


def _failures(directory: Path) -> Table:
    """``failures.csv`` as it is, if there is one."""
    path = directory / "failures.csv"
    if not path.exists():
        return Table(KEYS, [], len(KEYS))
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [tuple(row) for row in csv.reader(file)]
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a table of failures: {error}") from error
    header = rows[0] if rows else KEYS
    return Table(header, rows[1:], len(header))


def _its_file(directory: Path) -> dict[str, Any]:
    path = directory / ITS_FILE
    found: dict[str, Any] = read_mapping(path).data if path.exists() else {}
    return found
