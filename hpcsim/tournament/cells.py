"""The table of a tournament's cells, ``cells.csv``, as columns."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpcsim.errors import InputError
from hpcsim.scenario.layers import did_you_mean

KEYS = ("scenario", "window", "scheduler", "seed", "load")
DONE = "done"
NO_LOAD = ("", "as-is")  # the load that the jobs bring


@dataclass(frozen=True)
class Cells:
    """A row per cell: what it was (``KEYS``), its ``state``, and its metrics, empty where there is none.

    ``place`` is the file, for messages.
    """

    place: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, name: str) -> list[str]:
        """A column as text. Raises InputError if there is none of that name."""
        if name not in self.header:
            known = self.header[len(KEYS) :]
            raise InputError(
                f"{self.place}: no column {name!r}.{did_you_mean(name, known)} There are: {', '.join(known)}."
            )
        at = self.header.index(name)
        return [row[at] for row in self.rows]

    def values(self, metric: str) -> npt.NDArray[np.float64]:
        """A metric by cell; NaN where it has none, or the cell is not done. Raises InputError for text."""
        found = np.full(len(self.rows), np.nan)
        for row, (text, state) in enumerate(zip(self.column(metric), self.column("state"), strict=True)):
            if text and state == DONE:
                try:
                    found[row] = float(text)
                except ValueError:
                    where = f"{self.place}:{row + 2}: column {metric!r}"
                    raise InputError(f"{where}: found {text!r}, expected a number or nothing") from None
        found[~np.isfinite(found)] = np.nan
        return found

    @cached_property
    def scenarios(self) -> tuple[str, ...]:
        """The scenarios in the order of the table; so for the next two."""
        return tuple(dict.fromkeys(self.column("scenario")))

    @cached_property
    def schedulers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.column("scheduler")))

    @cached_property
    def loads(self) -> tuple[str, ...]:
        """``as-is`` first, then numbers by size, then ``saturation``."""
        return tuple(sorted(dict.fromkeys(self.column("load")), key=_by_size))

    def count(self, state: str) -> int:
        """How many cells are in a state."""
        return self.column("state").count(state)


def read_cells(path: Path) -> Cells:
    """Read ``cells.csv``. Raises InputError if it is not there, or not such a table."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
    except FileNotFoundError:
        raise InputError(f"{path.parent}: not the directory of a tournament: it has no {path.name}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a table of cells: {error}") from error
    missing = [name for name in (*KEYS, "state") if name not in header]
    if missing:
        raise InputError(f"{path}:1: no column {', '.join(map(repr, missing))}; found {', '.join(header)}")
    seen: dict[tuple[str, ...], int] = {}
    at = [header.index(name) for name in KEYS]
    for line, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise InputError(f"{path}:{line}: found {len(row)} values, expected {len(header)}")
        key = tuple(row[column] for column in at)
        if key in seen:
            raise InputError(f"{path}:{line}: the cell {', '.join(key)} stands in line {seen[key]} already")
        seen[key] = line
    if not rows:
        raise InputError(f"{path}: no cell in it yet")
    return Cells(str(path), tuple(header), tuple(map(tuple, rows)))


def _by_size(load: str) -> tuple[float, str]:
    try:
        return float(load), load
    except ValueError:
        return -inf if load in NO_LOAD else inf, load
