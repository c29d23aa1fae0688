"""How long a tournament will take: from pilot cells before it, and from its own cells while it runs."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from hpcsim.engine.simulation import Simulation
from hpcsim.replay import replay
from hpcsim.tournament.cell import Order, prepared
from hpcsim.tournament.plan import Cell, Plan

PILOT_S: Final = 2.0  # after which a pilot is broken off and its rest reckoned
PILOTS_S: Final = 45.0  # after which no further pilot begins


@dataclass(frozen=True, slots=True)
class Pilot:
    """How long a cell took, or would have taken."""

    cell: Cell
    seconds: float


def pilots(plan: Plan) -> list[Cell]:
    """One cell of each scenario, scheduler and load, in an order that meets each of these early."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in plan.cells:
        groups.setdefault((cell.scenario, cell.scheduler, cell.load), []).append(cell)
    ranks = [{name: at for at, name in enumerate(dict.fromkeys(names))} for names in zip(*groups, strict=True)]
    scenarios, loads = len(ranks[0]), len(ranks[2])

    def turn(of: tuple[str, str, str]) -> tuple[int, int, int]:
        """Each round has every scheduler once, and the rounds all its scenarios and loads."""
        scenario, scheduler, load = (rank[name] for rank, name in zip(ranks, of, strict=True))
        return (load - scheduler // scenarios - scenario) % loads, (scenario - scheduler) % scenarios, scheduler

    # the windows differ too: a middle one first, and then the next ones
    return [groups[of][(len(groups[of]) // 2 + at) % len(groups[of])] for at, of in enumerate(sorted(groups, key=turn))]


def measured(orders: Sequence[tuple[Cell, Order]], executor: Executor, *, workers: int) -> list[Pilot]:
    """Run pilots, as many as there is time for; nothing is kept of them but how long they took."""
    until = time.monotonic() + PILOTS_S
    found: list[Pilot] = []
    waiting = iter(orders)
    running: dict[Future[float | None], Cell] = {}
    while True:
        for cell, order in waiting if time.monotonic() < until else ():
            running[executor.submit(time_cell, order)] = cell
            if len(running) == workers:
                break
        if not running:
            return found
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            cell, seconds = running.pop(future), future.result()
            if seconds is not None:
                found.append(Pilot(cell, seconds))


def time_cell(order: Order) -> float | None:
    """Seconds that a cell takes a worker that has its jobs already, reckoned where that is long; None if it fails."""
    try:
        loaded, plugins, source = prepared(order)
        watch = _Watch()
        try:
            run = replay(loaded, plugins, source=source, progress=watch)
        except _Enough:
            return watch.whole_s()
        with TemporaryDirectory() as folder:
            run.write_into(Path(folder), tables=order.keep == "tables")
        return watch.passed_s()
    except Exception:
        return None


class _Enough(Exception):
    """A pilot has run for long enough."""


class _Watch:
    """Breaks a run off after a while, and reckons from how it slowed down how long the whole would take."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._seen: list[tuple[float, float]] = []  # share of the simulated time, and seconds that it took

    def passed_s(self) -> float:
        return time.perf_counter() - self._began

    def __call__(self, simulation: Simulation) -> None:
        last = int(simulation.workload.column("submit_s")[-1])
        share = (simulation.now - simulation.start) / max(1, last - simulation.start)
        self._seen.append((share, self.passed_s()))
        if self.passed_s() > PILOT_S and 0.02 < share < 1.0:
            raise _Enough

    def whole_s(self) -> float:
        """The seconds follow a power of the share, at least the share itself and at most its square."""
        share, seconds = self._seen[-1]
        half_s = next(then for at, then in self._seen if at >= share / 2)
        power = min(2.0, max(1.0, math.log2(seconds / half_s)))
        return float(seconds * (1.0 / share) ** power)


def reckoned(cells: Iterable[Cell], pilots: Sequence[Pilot]) -> float:
    """Seconds that all cells take one worker, from the pilots.

    Seconds a job are those of the pilot of the same scenario, scheduler and load; where there was none, a product of
    three factors, one for each of these, that fits all pilots best.
    """
    names = [sorted({axis(pilot.cell) for pilot in pilots}) for axis in _AXES]
    rows, logs = np.zeros((len(pilots), sum(map(len, names)))), np.zeros(len(pilots))
    direct = {}
    for number, pilot in enumerate(pilots):
        each_s = pilot.seconds / max(1, pilot.cell.jobs)
        direct[_group(pilot.cell)] = each_s
        rows[number, _columns(pilot.cell, names)] = 1.0
        logs[number] = math.log(each_s)
    usual = float(logs.mean())
    factors, *_ = np.linalg.lstsq(rows, logs - usual, rcond=None)
    jobs: Counter[tuple[str, str, str]] = Counter()
    cell_of = {}
    for cell in cells:
        jobs[_group(cell)] += cell.jobs
        cell_of[_group(cell)] = cell
    total = 0.0
    for of, count in jobs.items():
        total += count * direct.get(of, math.exp(usual + factors[_columns(cell_of[of], names)].sum()))
    return total


_AXES: Final[tuple[Callable[[Cell], str], ...]] = (
    lambda cell: cell.scenario, lambda cell: cell.scheduler, lambda cell: cell.load
)  # fmt: skip


def _group(cell: Cell) -> tuple[str, str, str]:
    return cell.scenario, cell.scheduler, cell.load


def _columns(cell: Cell, names: Sequence[Sequence[str]]) -> list[int]:
    """The columns of a cell's three factors; fewer where no pilot has one, which then counts as usual."""
    found, before = [], 0
    for axis, known in zip(_AXES, names, strict=True):
        if axis(cell) in known:
            found.append(before + known.index(axis(cell)))
        before += len(known)
    return found


class Remaining:
    """How long the cells that are left will take, from those that have ended: of their kind, or else by their jobs."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._left: Counter[tuple[str, str, str]] = Counter()
        self._done: Counter[tuple[str, str, str]] = Counter()
        self._seconds: defaultdict[tuple[str, str, str], float] = defaultdict(float)
        for cell in cells:
            self._left[_group(cell)] += cell.jobs

    def ended(self, cell: Cell, seconds: float) -> None:
        """Take note of a cell that has ended."""
        of = _group(cell)
        self._left[of] -= cell.jobs
        self._done[of] += cell.jobs
        self._seconds[of] += seconds

    def seconds(self) -> float | None:
        """Seconds of one worker; None before the first cell has ended."""
        jobs = self._done.total()
        if not jobs:
            return None
        usual = sum(self._seconds.values()) / jobs
        known = {of: self._seconds[of] / count for of, count in self._done.items()}
        return sum(count * known.get(of, usual) for of, count in self._left.items())
