"""Columns that grow by a row at a time, and whose past a copy shares instead of copying it.

A run of a year has hundreds of thousands of rows, and to fork it must not take longer for that. So columns lie in
*pages* of ``PAGE`` rows. A copy has the same pages; a page that two of them share is copied by the one that first
changes something on it.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import numpy.typing as npt

PAGE: Final = 4096  # rows
_BITS: Final = PAGE.bit_length() - 1
_LAST: Final = PAGE - 1

if TYPE_CHECKING:
    Column = array[Any] | list[Any]


class History:
    """Rows of ``columns``: the names of the columns, and what is in each.

    That is the type code of an array (``q``, ``d``, ``b``), or ``O`` for any object, which must not change.
    """

    __slots__ = ("_columns", "_last", "_own", "_pages", "_room", "_rows")

    def __init__(self, **columns: str) -> None:
        self._columns = columns
        self._pages: list[tuple[Column, ...]] = []
        self._last: tuple[Column, ...] = ()  # of the pages
        self._own: set[int] = set()  # the pages that no other history has
        self._rows = 0
        self._room = 0  # how many more of them the last page takes as it is

    def __len__(self) -> int:
        return self._rows

    def __copy__(self) -> History:
        """An independent history with the same rows."""
        twin = type(self).__new__(type(self))
        twin._columns = self._columns
        twin._pages, twin._last = self._pages.copy(), self._last
        self._own.clear()
        twin._own = set()
        twin._rows = self._rows
        self._room = twin._room = 0
        return twin

    def __deepcopy__(self, memo: object) -> History:
        return self.__copy__()

    def to_append(self) -> tuple[Column, ...]:
        """The columns of the last page, to each of which a value is to be appended at once."""
        if not self._room:
            self._make_room()
        self._room -= 1
        self._rows += 1
        return self._last

    def to_change(self, row: int) -> tuple[tuple[Column, ...], int]:
        """The columns of the page that ``row`` is on, and its place in them."""
        number = row >> _BITS
        if number not in self._own:
            self._take_over(number)
        return self._pages[number], row & _LAST

    def row(self, row: int) -> tuple[Any, ...]:
        """The values of a row."""
        return tuple(column[row & _LAST] for column in self._pages[row >> _BITS])

    def _make_room(self) -> None:
        on_last = self._rows & _LAST
        if on_last:
            self._take_over(len(self._pages) - 1)
        else:
            self._own.add(len(self._pages))
            self._pages.append(tuple(_empty(code) for code in self._columns.values()))
        self._last = self._pages[-1]
        self._room = PAGE - on_last

    def _take_over(self, number: int) -> None:
        """Have a page for itself."""
        self._pages[number] = tuple(column[:] for column in self._pages[number])
        self._last = self._pages[-1]
        self._own.add(number)

    def column(self, name: str, from_row: int = 0) -> npt.NDArray[Any]:
        """A column of numbers, from a row on."""
        at, code = self._place(name)
        kind, first = np.dtype(code), from_row >> _BITS
        pages = [np.frombuffer(cast("array[Any]", page[at]), kind) for page in self._pages[first:]]
        return np.concatenate(pages)[from_row - first * PAGE :] if pages else np.zeros(0, kind)

    def objects(self, name: str, from_row: int = 0) -> list[Any]:
        """A column of objects, from a row on."""
        at, _ = self._place(name)
        first = from_row >> _BITS
        return [each for page in self._pages[first:] for each in page[at]][from_row - first * PAGE :]

    def as_columns(self) -> dict[str, Any]:
        """All rows, by the name of the column."""
        return {name: self.objects(name) if code == "O" else self.column(name) for name, code in self._columns.items()}

    def fill(self, columns: dict[str, Any]) -> None:
        """Have these rows and no others."""
        self._pages, self._own, self._rows, self._room = [], set(), 0, 0
        for first in range(0, len(next(iter(columns.values()))), PAGE):
            part = {name: columns[name][first : first + PAGE] for name in self._columns}
            self._pages.append(
                tuple(
                    [*part[name]] if code == "O" else array(code, part[name].tobytes())
                    for name, code in self._columns.items()
                )
            )
            self._rows += len(self._pages[-1][0])
        if self._pages:
            self._last = self._pages[-1]

    def _place(self, name: str) -> tuple[int, str]:
        return [*self._columns].index(name), self._columns[name]


def _empty(code: str) -> Column:
    return [] if code == "O" else array(code)
