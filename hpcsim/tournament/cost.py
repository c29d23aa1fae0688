"""What deciding cost: CPU seconds, decision latency, and training, as clocks measured it.

It is read from ``timing.csv`` and is the only part of a report that is not the same when the tournament is repeated.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from hpcsim.errors import InputError

TIMING: Final = "timing.csv"
_TRAINING: Final = "training_"


class Cost(NamedTuple):
    """A scheduler's cost. Latencies are the median over cells of their quantiles, ``worst`` the largest; NaN: unknown.

    ``training`` has a figure for each column of the table that begins with ``training_``, None for one not trained.
    """

    scheduler: str
    cells: int
    cpu_s: float
    latency_p50_s: float
    latency_p99_s: float
    latency_worst_p99_s: float
    training: dict[str, float | None]


def costs(directory: Path) -> list[Cost]:
    """The cost of each scheduler, in the order of the table; none if there is no ``timing.csv``.

    Raises InputError for a table that is none.
    """
    path = directory / TIMING
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            read = csv.DictReader(file)
            rows, header = list(read), read.fieldnames or []
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a table of what clocks measured: {error}") from error
    if "scheduler" not in header:
        raise InputError(f"{path}:1: no column 'scheduler'; found {', '.join(header)}")
    trained = [name for name in header if name.startswith(_TRAINING)]
    found = []
    for scheduler in dict.fromkeys(row["scheduler"] for row in rows):
        own = [(line, row) for line, row in enumerate(rows, 2) if row["scheduler"] == scheduler]

        def column(name: str, own: list[tuple[int, dict[str, str]]] = own) -> list[float]:
            return [_number(path, line, name, row[name]) for line, row in own if row.get(name)]

        p99 = column("decision_latency_p99_s")
        found.append(
            Cost(
                scheduler,
                len(own),
                _mean(column("cpu_s")),
                _median(column("decision_latency_p50_s")),
                _median(p99),
                max(p99, default=float("nan")),
                {name.removeprefix(_TRAINING): max(column(name), default=None) for name in trained},
            )
        )
    return found


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{path}:{line}: column {column!r}: found {text!r}, expected a number or nothing") from None


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else float("nan")
