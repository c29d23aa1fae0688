"""A CSV file with a header: named columns of texts, UTC dates and numbers, a block of lines at a time."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from hpcsim.errors import InputError
from hpcsim.workload.job import Int64s
from hpcsim.workload.trace_file import LARGEST_NUMBER, content_lines, line_blocks

_date = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?")
_expected = {"text": "UTF-8 text", "date": "YYYY-MM-DD HH:MM:SS", "number": "a number"}
_types = {"text": pa.string(), "date": pa.timestamp("us"), "number": pa.float64()}


class Column(NamedTuple):
    """A wanted column: what it is called here, what it holds and by what other names a header may know it."""

    name: str
    holds: Literal["text", "date", "number"]
    optional: bool = False
    also: tuple[str, ...] = ()


def read_csv(path: Path, columns: Sequence[Column]) -> Iterator[pa.Table]:
    """The wanted columns, a table for each block of lines, and ``line``, the number of each row in the file.

    Columns are found by name, whatever their case and order; others are ignored. A text is a string, a date
    a timestamp in UTC, a number a float; an empty date or number is null, an optional column that the file
    has not is null throughout. Raises ``InputError`` for a wanted column that is missing or there twice, a
    row of another length than the header and a cell that does not hold what it should.
    """
    header: list[str] = []
    places: dict[str, int] = {}
    for first_line, block in line_blocks(path):
        text, line = content_lines(block.replace(b"\r\n", b"\n"), first_line)
        if text and not header:
            top, _, text = text.partition(b"\n")
            header = _split(f"{path}:{line[0]}", top.decode("utf-8-sig", "replace"))
            places = _places(f"{path}:{line[0]}", header, columns)
            line = line[1:]
        if text:
            table = _fast_table(text, len(header), places, columns)
            if table is None or len(table) != len(line):  # fewer rows than lines: a quote was left open
                table = _slow_table(path, text, line, header, places, columns)
            yield table.append_column("line", pa.array(line))
    if not header:
        raise InputError(f"{path}: found only blank lines, expected a header with names of columns")


def _places(where: str, header: list[str], columns: Sequence[Column]) -> dict[str, int]:
    """The place in the header of each wanted column that it has."""
    labels = [label.strip().upper() for label in header]
    expected = {name.upper() for column in columns for name in (column.name, *column.also)}
    others = [label for label in labels if label not in expected]
    places = {}
    for column in columns:
        names = [name.upper() for name in (column.name, *column.also)]
        found = [place for place, label in enumerate(labels) if label in names]
        if len(found) > 1:
            raise InputError(f"{where}: found the column {column.name} {len(found)} times, expected it once")
        if found:
            places[column.name] = found[0]
        elif not column.optional:
            near = get_close_matches(column.name.upper(), others, n=1)
            hint = f"; did you mean {column.name} where it says {near[0]}?" if near else ""
            raise InputError(f"{where}: the column {column.name} is missing from the header{hint}")
    return places


def _fast_table(text: bytes, width: int, places: dict[str, int], columns: Sequence[Column]) -> pa.Table | None:
    """The rows by Arrow, or None if there is anything odd about them."""
    if b"\r" in text:  # Arrow would take it for the end of a line
        return None
    labels = [str(place) for place in range(width)]
    numbers = {str(places[c.name]) for c in columns if c.holds == "number" and c.name in places}
    types = {str(place): pa.float64() if str(place) in numbers else pa.string() for place in places.values()}
    try:
        cells = pyarrow.csv.read_csv(
            pa.BufferReader(text),
            read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=labels, block_size=1 << 20),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=[""]
            ),
        )
        arrays = {c.name: _fast_column(c, cells, places) for c in columns}
    except pa.ArrowInvalid:
        return None
    for column in columns:
        if column.holds == "number" and column.name in places:
            largest = pc.max(pc.fill_null(pc.abs(arrays[column.name]), 0.0), skip_nulls=False).as_py()
            if pc.any(pc.is_nan(arrays[column.name])).as_py() or largest > LARGEST_NUMBER:
                return None
    return pa.table(arrays)


def _fast_column(column: Column, cells: pa.Table, places: dict[str, int]) -> pa.ChunkedArray | pa.Array:
    if column.name not in places:
        return pa.nulls(len(cells), _types[column.holds])
    values = cells[str(places[column.name])]
    if column.holds == "date":
        length = pc.utf8_length(values)
        values = pc.if_else(pc.equal(length, 0), None, values)
        if pc.any(pc.or_(pc.and_(pc.greater(length, 0), pc.less(length, 19)), pc.greater(length, 26))).as_py():
            raise pa.ArrowInvalid("a date is too short or too long")
        values = values.cast(_types["date"])
    return values


def _slow_table(
    path: Path,
    text: bytes,
    line: Int64s,
    header: list[str],
    places: dict[str, int],
    columns: Sequence[Column],
) -> pa.Table:
    """The same, a line at a time, naming the first cell that is wrong."""
    values: dict[str, list[Any]] = {column.name: [] for column in columns}
    for number, row in zip(line.tolist(), text.removesuffix(b"\n").split(b"\n"), strict=True):
        cells = _split(f"{path}:{number}", row.rstrip(b"\r").decode("utf-8", "surrogateescape"))
        if len(cells) != len(header):
            raise InputError(f"{path}:{number}: found {len(cells)} cells, expected {len(header)} as in the header")
        for column in columns:
            cell = cells[places[column.name]] if column.name in places else ""
            try:
                values[column.name].append(_value(column, cell))
            except ValueError as error:
                where = f"{path}:{number}: column {header[places[column.name]]}"
                raise InputError(f"{where}: found {cell[:60]!r}, expected {_expected[column.holds]}") from error
    return pa.table({column.name: pa.array(values[column.name], _types[column.holds]) for column in columns})


def _split(where: str, row: str) -> list[str]:
    try:
        return next(csv.reader([row]))
    except csv.Error as error:
        raise InputError(f"{where}: found what is no row of a CSV file: {error}") from error


def _value(column: Column, cell: str) -> str | float | datetime | None:
    if column.holds == "text":
        cell.encode()  # a UnicodeEncodeError, which is a ValueError, where the bytes were not UTF-8
        return cell
    if not cell:
        return None
    if column.holds == "date":
        if not _date.fullmatch(cell):
            raise ValueError(cell)
        return datetime.fromisoformat(cell)
    number = float(cell)
    if not (math.isfinite(number) and abs(number) <= LARGEST_NUMBER) or "_" in cell:
        raise ValueError(cell)
    return number
