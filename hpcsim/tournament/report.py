"""Everything that is written of a finished tournament: tables, figures and one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpcsim.tournament.cells import read_cells
from hpcsim.tournament.leaderboard import Board, as_csv, boards, control_of, metrics_of


def write_report(directory: str | Path, *, control: str | None = None, metrics: Sequence[str] = ()) -> list[Board]:
    directory = Path(directory).expanduser()
    cells = read_cells(directory / "cells.csv")
    against = control_of(cells, control)
    found = [*boards(cells, metrics_of(cells, metrics), against)]
    (directory / "leaderboard.csv").write_text(as_csv(found), encoding="utf-8")
    return found
