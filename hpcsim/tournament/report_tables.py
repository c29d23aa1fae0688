"""The tables of a report, as CSV and LaTeX: each a header and rows of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hpcsim.results.directions import UNITS
from hpcsim.tournament.cost import Cost
from hpcsim.tournament.fronts import OBJECTIVES, Front
from hpcsim.tournament.leaderboard import Board, cell, widest
from hpcsim.tournament.words import NOTHING, estimate, number


class Table(NamedTuple):
    """A table; the first ``words`` columns are text, and so are those without a name; the others are numbers."""

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: int = 1


def ranks_table(boards: Sequence[Board]) -> Table:
    """Who stands where at a glance: the mean rank of each scheduler in each metric, in the order of the first metric.

    A ``+`` or ``−`` says that it is better or worse than the control, as the verdict of the board does. Of schedulers
    and metrics those go down that are more.
    """
    of_metric = {each.metric: each.judgement for each in widest(boards) if each.judgement is not None}
    cells: dict[str, dict[str, str]] = {}
    for metric, judged in of_metric.items():
        for each in judged.standings:
            name = each.scheduler + (" (control)" if each.verdict == "control" else "")
            sign = {"better": " +", "worse": " −"}.get(each.verdict, "")
            cells.setdefault(name, {})[metric] = f"{each.mean_rank:.2f}{sign}"
    rows = [(name, *(of_one.get(metric, NOTHING) for metric in of_metric)) for name, of_one in cells.items()]
    header: tuple[str, ...] = ("", *of_metric)
    if len(rows) < len(of_metric):
        header, *rows = zip(header, *rows, strict=True)
    return Table(header, rows)


def tests_table(boards: Sequence[Board]) -> Table:
    """Of each board Friedman's test, Nemenyi's distance, and how much was left out."""
    header = (
        "metric", "scenario", "load", "schedulers", "windows", "seeds", "friedman_chi2", "friedman_p",
        "iman_davenport_f", "df1", "df2", "iman_davenport_p", "nemenyi_distance", "first", "blocks", "blocks_left_out",
        "windows_left_out", "schedulers_left_out",
    )  # fmt: skip
    return Table(header, [*_tests(boards)], 3)


def _tests(boards: Sequence[Board]) -> Iterator[tuple[str, ...]]:
    for board in boards:
        judged = board.judgement
        if judged is None:
            continue
        test, left = judged.friedman, judged.blocks.left_out
        figures: tuple[str, ...] = ("",) * 6
        if test is not None:
            figures = (cell(test.chi2), cell(test.p_chi2), cell(test.f), *map(str, test.df), cell(test.p))
        yield (
            board.metric, board.scenario or "all", "all" if board.load is None else board.load,
            str(len(judged.blocks.schedulers)), str(judged.blocks.windows), judged.seeds, *figures,
            cell(judged.distance), judged.first or "", str(left.blocks), str(left.incomplete), str(left.windows),
            "; ".join(name for name, _ in left.schedulers),
        )  # fmt: skip


def paired_table(boards: Sequence[Board]) -> Table:
    """What all of it is computed from: of each window and load the values, seeds averaged, and the ranks."""
    header = (
        "metric", "scenario", "window", "load", "seeds", "scheduler", "value", "control", "difference", "window_rank"
    )  # fmt: skip
    return Table(header, [row for board in boards for row in _paired(board)], 6)


def _paired(board: Board) -> Iterator[tuple[str, ...]]:
    judged = board.judgement
    if judged is None or board.scenario is None or board.load is not None:
        return
    blocks = judged.blocks
    control = blocks.schedulers.index(judged.control)
    for row, value_K in enumerate(blocks.value_RK.tolist()):
        window = int(blocks.window_R[row])
        scenario, load = blocks.strata[blocks.stratum_R[row]]
        for k, value in enumerate(value_K):
            yield (
                board.metric, scenario, blocks.window_names[window], load, str(blocks.seeds_R[row]),
                blocks.schedulers[k], cell(value), cell(value_K[control]), cell(value - value_K[control]),
                cell(float(judged.rank_UK[window, k])),
            )  # fmt: skip


def front_table(fronts: Sequence[Front]) -> Table:
    """The objectives of each scheduler in each scenario, and whether it is on the front."""
    named = [f"{name} [{UNITS[name]}]" if UNITS[name] else name for name in OBJECTIVES]
    rows = [
        (front.scenario, name, *(estimate(each) for each in means), "yes" if name in front.on_front else "no")
        for front in fronts
        for name, means in front.means.items()
    ]
    return Table(("scenario", "scheduler", *named, "on the front"), rows, 2)


def cost_table(costs: Sequence[Cost]) -> Table:
    """What deciding cost; columns of training are empty for what was not trained."""
    trained = list(dict.fromkeys(name for cost in costs for name in cost.training)) or [""]
    header = (
        "scheduler", "cells", "CPU s per cell", "decision p50 [ms]", "decision p99 [ms]", "worst p99 [ms]",
        *(f"training {name}".strip() for name in trained),
    )  # fmt: skip
    rows = []
    for cost in costs:
        latency = (1000 * each for each in (cost.latency_p50_s, cost.latency_p99_s, cost.latency_worst_p99_s))
        training = (cost.training.get(name) for name in trained)
        rows.append((
            cost.scheduler, f"{cost.cells:,}", number(cost.cpu_s, 3), *(number(each, 3) for each in latency),
            *("" if each is None else number(each) for each in training),
        ))  # fmt: skip
    return Table(header, rows)


def states_table(states: dict[str, dict[str, int]]) -> Table:
    """How many cells of each scheduler are in each state."""
    seen = list(dict.fromkeys(state for counts in states.values() for state in counts))
    seen.sort(key=lambda state: (state != "done", state))
    rows = [
        (name, *(f"{counts[state]:,}" if state in counts else NOTHING for state in seen))
        for name, counts in states.items()
    ]
    return Table(("scheduler", *seen), rows)
