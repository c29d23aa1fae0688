"""The ceilings of the cells of a tournament, as rows of a file: bounds, and the best plans of one who knows all.

A row is of a scenario, window, seed and load. It is appended when it is made; of several rows of one the last counts.
"""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from hpcsim.engine.simulation import Simulation
from hpcsim.errors import InputError
from hpcsim.machine.power import break_even_s
from hpcsim.plugin.loader import Plugins
from hpcsim.replay import made, replay, source_of
from hpcsim.scenario.load import load_scenario
from hpcsim.tournament import bounds as _bounds
from hpcsim.tournament import clairvoyant as _clairvoyant
from hpcsim.tournament.bounds import WEEK_S, Truth, bounds, earliest_end_s
from hpcsim.tournament.cells import Cells
from hpcsim.tournament.clairvoyant import METRICS, Clairvoyant, Policy, Summary, search, to_fail
from hpcsim.tournament.grid import Entrant, read_grid
from hpcsim.tournament.identity import made_by
from hpcsim.tournament.plan import Cell, plan

KEYS: Final = ("scenario", "window", "seed", "load")
HEADER: Final = (
    *KEYS, "made_by", "plans", "cpu_s", "work_node_hours", "failed_node_hours",
    *(f"{metric}.{part}" for metric in METRICS for part in ("bound", "plan", "by")),
)  # fmt: skip

PLAN, BOUND = "clairvoyant plan", "bound"
"""What stands in a table of cells in the place of a scheduler: the two kinds of ceilings."""


def ceilings(cell: Cell, plugins: Plugins, tries: int) -> dict[str, Any]:
    """The row of a cell, whose scheduler does not matter."""
    began = time.process_time()
    content = cell.content | {"scheduler": {"name": "easy"}, "levers": None}
    loaded = load_scenario(content, schedulers=plugins.schedulers, twins=plugins.twins, parts=plugins.offers)
    source = source_of(loaded, plugins)
    plans = 1

    def played(policy: Policy) -> Summary:
        nonlocal plans
        plans += 1

        def begun(simulation: Simulation) -> None:
            simulation.take_over(Clairvoyant(simulation, truth, failures, policy))

        return replay(loaded, plugins, source=source, begun=begun).summary

    under_easy: list[Simulation] = []
    easy = replay(loaded, plugins, source=source, begun=under_easy.append).summary
    whole = made(loaded, plugins, source=source)
    simulation = whole.simulation
    truth = Truth(simulation, under_easy[0].rejected)
    failures = to_fail(simulation, earliest_end_s(simulation, truth) + WEEK_S)
    bound = bounds(simulation, truth, whole.piece.measured_from, whole.piece.measured_to)
    name = " ".join(getattr(cell, key) for key in ("scenario", "window", "load"))
    even_s = break_even_s(truth.site.cluster.spec.power)
    best = search(easy, played, even_s, tries=tries, seed=cell.seed, name=name)
    row: dict[str, Any] = {key: getattr(cell, key) for key in KEYS}
    row |= {"made_by": version(plugins), "plans": plans}
    row |= {"work_node_hours": f"{bound.work_node_hours:.8g}", "failed_node_hours": f"{bound.failed_node_hours:.8g}"}
    for metric in METRICS:
        least = getattr(bound, metric)
        row[f"{metric}.bound"] = "" if least is None else f"{least:.8g}"
        if metric in best:
            row |= {f"{metric}.plan": f"{best[metric].value:.8g}", f"{metric}.by": best[metric].policy}
    return row | {"cpu_s": f"{time.process_time() - began:.1f}"}


def version(plugins: Plugins) -> str:
    """A digest of the code that a row hangs on: that of runs, of bounds and of plans."""
    digest = hashlib.sha256(made_by(plugins)["hpcsim"].encode())
    for module in (_bounds, _clairvoyant):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:20]


def cells_of(target: str, data: Path | None, plugins: Plugins, **wanted: str | None) -> list[Cell]:
    """One cell for each scenario, window, seed and load of the tournament in a directory or file, or of that name.

    ``wanted`` are the only scenario, load and window, where they are not None; ``data`` is the folder of traces. Raises
    InputError for what there is not.
    """
    directory = Path(target)
    grid = read_grid(directory / "tournament.yaml" if directory.is_dir() else target)
    alone = grid.tournament.model_copy(update={"schedulers": [Entrant(name="easy")]})
    cells = plan(replace(grid, tournament=alone), plugins, data=data).cells
    for key, only in wanted.items():
        known = list(dict.fromkeys(getattr(cell, key) for cell in cells))
        if only is not None and only not in known:
            raise InputError(f"{key}: found {only!r}, expected one of {', '.join(known)}")
        cells = tuple(cell for cell in cells if only is None or getattr(cell, key) == only)
    number: dict[str, dict[str, int]] = {}
    for cell in cells:
        of_scenario = number.setdefault(cell.scenario, {})
        of_scenario.setdefault(cell.window, len(of_scenario))
    # the first windows of all scenarios at all loads come first: a page compares windows that are whole
    return sorted(cells, key=lambda cell: number[cell.scenario][cell.window])


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a file of ceilings; none if it is not there. Raises InputError if it is another file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        if tuple(reader.fieldnames or ()) != HEADER:
            raise InputError(f"{path}:1: found {', '.join(reader.fieldnames or ())}, expected {', '.join(HEADER)}")
    for line, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise InputError(f"{path}:{line}: found a row of another length than {len(HEADER)}; remove it")
    return rows


def append(path: Path, row: dict[str, Any]) -> None:
    """Append a row, and the header to an empty file, in one piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.is_file()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEADER, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def with_ceilings(cells: Cells, found: Mapping[tuple[str, ...], Mapping[str, str]]) -> Cells:
    """The cells that there are ceilings of, by their ``KEYS``, and these as two further schedulers: PLAN and BOUND."""
    of_cell = list(zip(*(cells.column(key) for key in KEYS), strict=True))
    kept = [row for row, key in zip(cells.rows, of_cell, strict=True) if key in found]
    for key in dict.fromkeys(key for key in of_cell if key in found):
        for who, part in ((PLAN, "plan"), (BOUND, "bound")):
            known = dict(zip(KEYS, key, strict=True)) | {"scheduler": who, "state": "done"}
            known |= {metric: found[key][f"{metric}.{part}"] for metric in METRICS}
            kept.append(tuple(known.get(name, "") for name in cells.header))
    return replace(cells, rows=tuple(kept))
