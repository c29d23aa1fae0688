"""The tables of a tournament, made anew from its cells: ``cells.csv``, ``failures.csv``, ``timing.csv``.

Cells are in the order of the tournament file, never in that in which they ended, so the same cells give the same bytes;
but ``timing.csv``, which clocks measured.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hpcsim.tournament.directories import DONE, FAILED, PENDING, Directory
from hpcsim.tournament.plan import Cell, Plan

KEYS = ("scenario", "window", "scheduler", "seed", "load")
_CLOCKED = ("cpu_s", "cell_s", "peak_memory_mib", "decision_latency_p50_s", "decision_latency_p99_s")
_FAILURES = ("origin", "plugin", "error", "message")


def write_tables(plan: Plan, directory: Directory) -> dict[str, int]:
    """Write the tables from the cells that are there now; returns how many cells are in each state.

    Other programs may add cells and write the tables at the same time. So it looks again after writing, and who writes
    last has seen all cells.
    """
    known: dict[str, dict[str, Any]] = {}
    while True:
        before = len(known)
        _look(plan, directory, known)
        if len(known) == before and before:
            break
        rows = [_row(cell, plan.grid.tournament.metrics, known) for cell in plan.cells]
        directory.put("cells.csv", _csv([[*KEYS, "state", *plan.grid.tournament.metrics], *rows]))
        directory.put("failures.csv", _csv([[*KEYS, *_FAILURES, "folder"], *_failures(plan, known)]))
        directory.put("timing.csv", _csv(_timing(plan, known)))
        if not known:
            break
    states = [row[len(KEYS)] for row in rows]
    return {state: states.count(state) for state in (DONE, FAILED, PENDING)}


def _look(plan: Plan, directory: Directory, known: dict[str, dict[str, Any]]) -> None:
    """Add the cells that are there to those that are known: record and summary by key."""
    for key in {cell.key for cell in plan.cells} - known.keys():
        record = directory.record(key)
        if record is not None:
            summary = directory.read(key, "summary.json") if record["state"] == DONE else None
            timing = directory.read(key, "timing.json") if record["state"] == DONE else None
            known[key] = {**record, "summary": summary or {}, "timing": timing}


def _row(cell: Cell, metrics: Sequence[str], known: Mapping[str, dict[str, Any]]) -> list[str]:
    found = known.get(cell.key, {"state": PENDING, "summary": {}})
    coordinates = [cell.scenario, cell.window, cell.scheduler, str(cell.seed), cell.load]
    return [*coordinates, found["state"], *(_text(_figure(found["summary"], metric)) for metric in metrics)]


def _figure(summary: Mapping[str, Any], metric: str) -> Any:
    """A figure of a summary, a part of one, or a metric of a plug-in."""
    if metric in summary:
        return summary[metric]
    if metric in summary.get("metrics", {}):
        return summary["metrics"][metric]
    whole, _, part = metric.partition(".")
    return (summary.get(whole) or {}).get(part) if part else None


def _timing(plan: Plan, known: Mapping[str, dict[str, Any]]) -> Iterator[list[str]]:
    """What clocks measured of each cell that is done, and what training cost, where a scheduler says so."""
    took = {key: record["timing"] for key, record in known.items() if record["timing"] is not None}
    trained = sorted({name for timing in took.values() for name in timing if name.startswith("training_")})
    yield [*KEYS, *_CLOCKED, *trained]
    for cell in plan.cells:
        if cell.key in took:
            timing = {**took[cell.key], "cpu_s": sum(took[cell.key]["cpu_s"].values())}
            coordinates = [cell.scenario, cell.window, cell.scheduler, str(cell.seed), cell.load]
            yield [*coordinates, *(_text(timing.get(name)) for name in (*_CLOCKED, *trained))]


def _failures(plan: Plan, known: Mapping[str, dict[str, Any]]) -> Iterator[list[str]]:
    for cell in plan.cells:
        record = known.get(cell.key)
        if record is not None and record["state"] == FAILED:
            said = [" ".join(str(record["failure"].get(name, "")).split()) for name in _FAILURES]
            coordinates = [cell.scenario, cell.window, cell.scheduler, str(cell.seed), cell.load]
            yield [*coordinates, *said, f"cells/{cell.key}"]


def _text(value: Any) -> str:
    if value is None or isinstance(value, str | dict | list):
        return ""
    return repr(value)


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
