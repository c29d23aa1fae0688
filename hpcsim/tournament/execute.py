"""Running the cells that are missing, through one seam: ``concurrent.futures.Executor``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait

from hpcsim.tournament.cell import Ended, Order, run_cell, write_failure
from hpcsim.tournament.directories import FAILED, PENDING, Directory
from hpcsim.tournament.plan import Cell, Plan

Told = Callable[[Cell, Ended], None]


def missing(plan: Plan, directory: Directory, shard: tuple[int, int] = (1, 1)) -> list[Cell]:
    """The cells that have neither a result nor a failure yet, in the order in which they should run.

    ``shard`` is i of n: of n programs the i-th (from 1) runs those that this returns. Which shard a cell is in hangs on
    its key alone, so that every shard has cells of every scheduler.
    """
    number, of = shard
    found: dict[str, Cell] = {}
    for cell in plan.cells:
        if int(cell.key, 16) % of == number - 1 and cell.key not in found and directory.state(cell.key) == PENDING:
            found[cell.key] = cell
    scenarios = {name: at for at, name in enumerate(plan.windows)}
    seeds = {seed: at for at, seed in enumerate(plan.grid.tournament.seeds)}
    # a worker remembers the last workloads: those of a scenario, and where they are drawn of a seed
    return sorted(found.values(), key=lambda cell: (scenarios[cell.scenario], seeds[cell.seed]))


def run_cells(
    cells: Sequence[Cell], plan: Plan, directory: Directory, executor: Executor, told: Told, *, ahead: int
) -> None:
    """Run cells to their end, whatever becomes of each; ``told`` hears of each. ``ahead`` are handed out at once."""
    waiting = iter(cells)
    running: dict[Future[Ended], tuple[Cell, Order]] = {}

    def hand_out() -> None:
        for cell in waiting:
            order = order_of(cell, plan, directory)
            running[executor.submit(run_cell, order)] = (cell, order)
            if len(running) >= ahead:
                return

    hand_out()
    while running:
        over, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in over:
            cell, order = running.pop(future)
            error = future.exception()
            if error is None:
                told(cell, future.result())
            elif isinstance(error, OSError):  # the folder cannot be written: every other cell would fail as well
                raise error
            else:  # not the cell's own failure, which it writes itself
                write_failure(directory, order, "worker", error)
                told(cell, Ended(FAILED, 0.0, said=f"worker: {error}"))
        hand_out()


def order_of(cell: Cell, plan: Plan, directory: Directory) -> Order:
    """A cell as workers get it."""
    given, root = plan.grid.tournament, os.path.abspath(directory.root)
    return Order(root, cell.key, cell.identity, cell.content, given.keep, given.cell_limit, plan.plugin_files)
