"""Columns in pages that forks share: they hold what plain lists would, whoever changes what."""

from __future__ import annotations

import copy
from array import array

import numpy as np
import pytest

from hpcsim.machine.history import PAGE, History

SIZES = (0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 5)
Rows = list[tuple[int, float, str]]


def grow(history: History, rows: Rows, more: int) -> None:
    for number in range(len(rows), len(rows) + more):
        row = (number, number / 2, f"r{number}")
        for column, value in zip(history.to_append(), row, strict=True):
            column.append(value)
        rows.append(row)


def change(history: History, rows: Rows, at: int, number: int) -> None:
    columns, place = history.to_change(at)
    rows[at] = (number, rows[at][1], "changed")
    columns[0][place], columns[2][place] = number, "changed"


def holds(history: History, rows: Rows) -> None:
    assert len(history) == len(rows)
    assert history.column("number").tolist() == [number for number, _, _ in rows]
    assert history.column("half").tolist() == [half for _, half, _ in rows]
    assert history.objects("name") == [name for _, _, name in rows]
    for first in {0, len(rows) // 2, max(0, len(rows) - 1)}:
        assert history.column("number", first).tolist() == [number for number, _, _ in rows[first:]]
        assert history.objects("name", first) == [name for _, _, name in rows[first:]]
    for at in {0, len(rows) // 2, len(rows) - 1} if rows else ():
        assert history.row(at) == rows[at]


def made(size: int) -> tuple[History, Rows]:
    history, rows = History(number="q", half="d", name="O"), []
    grow(history, rows, size)
    return history, rows


@pytest.mark.parametrize("size", SIZES)
def test_rows_are_kept_as_they_come(size: int) -> None:
    history, rows = made(size)
    holds(history, rows)
    columns = history.as_columns()
    assert [*columns] == ["number", "half", "name"]
    assert columns["number"].dtype == np.int64
    assert columns["half"].dtype == np.float64


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("size", SIZES)
def test_a_copy_and_its_parent_leave_each_other_alone(size: int, copied) -> None:
    first, rows = made(size)
    twin, other = copied(first), rows.copy()
    grow(first, rows, 3)
    grow(twin, other, PAGE + 2)
    for at in (0, size // 2, size):
        change(first, rows, at, -at)
        change(twin, other, at, 7 + at)
    third, third_rows = copied(twin), other.copy()
    change(twin, other, 0, 99)
    grow(third, third_rows, 1)
    grow(twin, other, 2)
    for each, expected in ((first, rows), (twin, other), (third, third_rows)):
        holds(each, expected)


@pytest.mark.parametrize("size", SIZES)
def test_what_was_filled_in_goes_on_as_what_grew(size: int) -> None:
    history, rows = made(size)
    again, old = made(5)
    kept, same = copy.copy(again), old.copy()
    again.fill(history.as_columns())
    holds(again, rows)
    grow(again, rows, 2)
    change(again, rows, 0, 5)
    holds(again, rows)
    holds(kept, same)


def test_pages_are_shared_until_one_changes_them() -> None:
    history, rows = made(3 * PAGE)
    twin = copy.copy(history)
    change(twin, rows.copy(), PAGE, 1)
    shared = [mine is its for mine, its in zip(history._pages, twin._pages, strict=True)]
    assert shared == [True, False, True]
    columns, _ = twin.to_change(PAGE + 1)
    assert columns is twin._pages[1]  # it is its own now, and copied no second time
    assert isinstance(columns[0], array)
