"""The Pareto front of each scenario: schedulers that no other is as good as in energy, slowdown and lost node-hours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from hpcsim.tournament.cells import Cells
from hpcsim.tournament.leaderboard import Board, board_of
from hpcsim.tournament.statistics import Estimate

OBJECTIVES: Final = ("energy_kwh_per_work_node_hour", "mean_bounded_slowdown", "lost_node_hours")
"""Lower is better in each."""


@dataclass(frozen=True, slots=True)
class Front:
    """The means of each scheduler in the objectives, with intervals, and who is on the front."""

    scenario: str
    means: dict[str, tuple[Estimate, ...]]
    on_front: frozenset[str]


def fronts(cells: Cells, control: str, known: Iterable[Board] = ()) -> Iterator[Front]:
    """The front of each scenario in which all objectives can be judged; ``known`` are boards that are there already."""
    if not {*OBJECTIVES} <= {*cells.header}:
        return
    there = {(board.metric, board.scenario, board.load): board for board in known}
    for scenario in cells.scenarios:
        found = [
            there.get((metric, scenario, None)) or board_of(cells, metric, scenario, None, control)
            for metric in OBJECTIVES
        ]
        judged = [board.judgement for board in found if board.judgement is not None]
        if len(judged) < len(OBJECTIVES):
            continue
        of_each = [{s.scheduler: s.mean for s in each.standings if s.mean is not None} for each in judged]
        names = [name for name in cells.schedulers if all(name in means for means in of_each)]
        means = {name: tuple(each[name] for each in of_each) for name in names}
        yield Front(scenario, means, not_dominated({n: tuple(m.value for m in of) for n, of in means.items()}))


def not_dominated(values: dict[str, tuple[float, ...]]) -> frozenset[str]:
    """Those that no other is at least as good as everywhere and better than somewhere; lower is better."""
    return frozenset(
        name
        for name, own in values.items()
        if not any(all(a <= b for a, b in zip(other, own, strict=True)) and other != own for other in values.values())
    )
