"""Rows of evidence from several files as one table of cells, with the mean of several trainings as one scheduler."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hpcsim.tournament.cells import DONE, KEYS, Cells, read_cells

DEVIATION = "sd_bounded_slowdown"
_NUMBERED = re.compile(r"(?P<stem>.+?)(?: seed)? \d+")


def rows_in(files: Sequence[Path]) -> Cells:
    """The cells of all files, or directories of tournaments, by the columns of the first; of a cell the last counts.

    Raises InputError for what is not there or no such table.
    """
    tables = [read_cells(file / "cells.csv" if file.is_dir() else file) for file in files]
    header = tables[0].header
    rows: dict[tuple[str, ...], tuple[str, ...]] = {}
    for table in tables:
        for values in table.rows:
            row = dict(zip(table.header, values, strict=True))
            rows[tuple(row[key] for key in KEYS)] = tuple(row.get(name, "") for name in header)
    return Cells(" ".join(map(str, files)), header, tuple(rows.values()))


def with_means(cells: Cells) -> Cells:
    """The table with "NAME, mean of N" in place of "NAME 1" or "NAME seed 1" and others that differ in the number.

    Where there is a NAME without a number it is one of the N, and stays. There is a mean where all N have ended.
    """
    trainings: dict[str, list[str]] = {}
    for name in cells.schedulers:
        found = _NUMBERED.fullmatch(name)
        if found:
            trainings.setdefault(found["stem"], []).append(name)
    for stem, names in trainings.items():
        if stem in cells.schedulers:
            names.insert(0, stem)
    trainings = {stem: names for stem, names in trainings.items() if len(names) > 1}
    who, at = cells.header.index("scheduler"), [cells.header.index(key) for key in KEYS]
    dropped = {name for stem, names in trainings.items() for name in names if name != stem}
    rows = [row for row in cells.rows if row[who] not in dropped]
    state = cells.header.index("state")
    for stem, names in trainings.items():
        by_place: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
        for row in cells.rows:
            if row[who] in names and row[state] == DONE:
                by_place.setdefault(tuple(row[k] for k in at if k != who), []).append(row)
        label = f"{stem}, mean of {len(names)}"
        for group in by_place.values():
            if len(group) == len(names):
                columns = zip(*group, strict=True)
                rows.append(tuple(label if k == who else _mean(column) for k, column in enumerate(columns)))
    return replace(cells, rows=tuple(rows))


def with_deviation(cells: Cells) -> Cells:
    """The table with the standard deviation of bounded slowdowns: their variability times their mean."""
    deviation_C = cells.values("variability") * cells.values("mean_bounded_slowdown")
    added = [
        (*row, "" if np.isnan(value) else repr(float(value)))
        for row, value in zip(cells.rows, deviation_C, strict=True)
    ]
    return replace(cells, header=(*cells.header, DEVIATION), rows=tuple(added))


def _mean(texts: tuple[str, ...]) -> str:
    """The mean of a column of numbers; what all agree on; else nothing."""
    if len(set(texts)) == 1:
        return texts[0]
    try:
        return repr(float(np.mean([float(text) for text in texts])))
    except ValueError:
        return ""
