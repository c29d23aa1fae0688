"""The leaderboards of a tournament: a metric in all scenarios, in each, and in each at each load."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from typing import Final

from hpcsim.errors import InputError
from hpcsim.results.directions import better
from hpcsim.scenario.layers import did_you_mean
from hpcsim.tournament.blocks import complete_blocks
from hpcsim.tournament.cells import KEYS, Cells
from hpcsim.tournament.statistics import Estimate, Judgement, Standing, judge


@dataclass(frozen=True)
class Board:
    """One metric in one scope; ``scenario`` None is all of them, ``load`` None all loads.

    ``refused`` says why there is no judgement, in words.
    """

    metric: str
    scenario: str | None
    load: str | None
    judgement: Judgement | None
    refused: str = ""

    @property
    def scope(self) -> str:
        """Of what it is, in words."""
        scenario = "all scenarios" if self.scenario is None else self.scenario
        return scenario if self.load is None else f"{scenario} at load {self.load}"

    @cached_property
    def letters(self) -> dict[str, str]:
        """Letters by scheduler: two that share one are not separable by their ranks (Piepho 2004)."""
        if self.judgement is None:
            return {}
        names = [each.scheduler for each in self.judgement.standings]
        grouped = {name for group in self.judgement.groups for name in group}
        groups = [*self.judgement.groups, *((name,) for name in names if name not in grouped)]
        groups.sort(key=lambda group: min(names.index(name) for name in group))
        return {name: "".join(_letter(at) for at, group in enumerate(groups) if name in group) for name in names}


def _letter(at: int) -> str:
    return chr(ord("a") + at) if at < 26 else chr(ord("A") + at - 26)


def metrics_of(cells: Cells) -> tuple[str, ...]:
    """All metrics of the table."""
    return tuple(name for name in cells.header if name not in (*KEYS, "state"))


def control_of(cells: Cells, asked: str | None = None) -> str:
    """The control: the one asked for, else the first scheduler. Raises InputError for one that is not there."""
    if asked is None:
        return cells.schedulers[0]
    if asked not in cells.schedulers:
        known = cells.schedulers
        raise InputError(
            f"{cells.place}: no scheduler {asked!r} to compare with.{did_you_mean(asked, known)} "
            f"There are: {', '.join(known)}."
        )
    return asked


def boards(cells: Cells, metrics: Sequence[str], control: str, *, by_load: bool = True) -> Iterator[Board]:
    """The boards of each metric: all scenarios if there are several, each, and each at each load if several."""
    for metric in metrics:
        refused = _refused(metric)
        if refused:
            yield Board(metric, None if len(cells.scenarios) > 1 else cells.scenarios[0], None, None, refused)
            continue
        if len(cells.scenarios) > 1:
            yield board_of(cells, metric, None, None, control)
        for scenario in cells.scenarios:
            yield board_of(cells, metric, scenario, None, control)
        for scenario, loads in _loads_of(cells).items() if by_load else ():
            for load in loads if len(loads) > 1 else ():
                yield board_of(cells, metric, scenario, load, control)


def widest(found: Sequence[Board]) -> list[Board]:
    """Of each metric the board over most: all scenarios, or the only one."""
    first: dict[str, Board] = {}
    for board in found:
        first.setdefault(board.metric, board)
    return [*first.values()]


def _refused(metric: str) -> str:
    try:
        better(metric)
    except InputError as error:
        return str(error)
    return ""


def _loads_of(cells: Cells) -> dict[str, list[str]]:
    pairs = {*zip(cells.column("scenario"), cells.column("load"), strict=True)}
    return {s: [load for load in cells.loads if (s, load) in pairs] for s in cells.scenarios}


def board_of(cells: Cells, metric: str, scenario: str | None, load: str | None, control: str) -> Board:
    """The board of one scope; it says why where nothing can be compared."""
    try:
        blocks = complete_blocks(cells, metric, scenarios=[scenario] if scenario is not None else (), load=load)
        return Board(metric, scenario, load, judge(blocks, control))
    except InputError as error:
        return Board(metric, scenario, load, None, str(error).removeprefix(f"{cells.place}: "))


COLUMNS: Final = (
    "metric", "better", "scenario", "load", "control", "windows", "seeds", "scheduler", "mean_rank", "group",
    "mean", "mean_low", "mean_high", "difference", "difference_low", "difference_high",
    "relative", "relative_low", "relative_high", "iqm", "iqm_low", "iqm_high",
    "improvement", "improvement_low", "improvement_high", "cliffs_delta", "a12", "standardised_difference",
    "p_wilcoxon", "p_holm", "verdict",
)  # fmt: skip


def rows(board: Board) -> Iterator[tuple[str, ...]]:
    """The board as rows of ``leaderboard.csv``; empty where a figure is of nothing."""
    judged = board.judgement
    if judged is None:
        return
    scope = "all" if board.scenario is None else board.scenario, "all" if board.load is None else board.load
    for each in judged.standings:
        yield (
            board.metric, judged.blocks.better, *scope, judged.control, str(judged.blocks.windows), judged.seeds,
            each.scheduler, cell(each.mean_rank), board.letters[each.scheduler], *_figures(each), each.verdict,
        )  # fmt: skip


def _figures(each: Standing) -> Iterator[str]:
    for estimate in (each.mean, each.difference, each.relative, each.iqm, each.improvement):
        yield from map(cell, estimate or Estimate(*[float("nan")] * 3))
    for figure in (each.cliffs_delta, each.a12, each.standardised, each.p_wilcoxon, each.p_holm):
        yield cell(figure)


def cell(value: float) -> str:
    """A figure as text of a table; nothing for NaN."""
    return "" if value != value else f"{value:.10g}"


def as_csv(found: Sequence[Board]) -> str:
    """The boards as ``leaderboard.csv``."""
    return csv_text(COLUMNS, [row for board in found for row in rows(board)])


def csv_text(header: Sequence[str], content: Sequence[Sequence[str]]) -> str:
    """A table as CSV, with the same line ends everywhere."""
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *content])
    return text.getvalue()
