"""The directory of a tournament: one folder for each finished cell, by the digest of what it hangs on.

A cell is written under ``drafts/`` and then renamed to ``cells/KEY``, so what stands there is whole, whoever was
killed when. No lock and no database: several programs may work in one directory, and who comes second with a cell that
is there throws his own away, which has the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpcsim.errors import InputError
from hpcsim.results.drafts import begin_draft, sweep_drafts

DONE = "done"
FAILED = "failed"
_NEEDED = {"cell.json": ("state",), "timing.json": ("cpu_s", "cell_s")}  # keys of what cells leave
PENDING = "pending"


class Directory:
    """The folder of a tournament."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cells = root / "cells"
        self._drafts = root / "drafts"

    def state(self, key: str) -> str:
        """Whether the cell is ``done``, ``failed`` or ``pending``."""
        return str(record["state"]) if (record := self.record(key)) else PENDING

    def record(self, key: str) -> dict[str, Any] | None:
        """What ``cell.json`` says of a cell; None if there is none."""
        record = self.read(key, "cell.json")
        if record is None or record["state"] == DONE:
            return record
        if record["state"] == FAILED and isinstance(failure := record.get("failure"), dict) and "origin" in failure:
            return record
        raise self._spoilt(key, "cell.json")

    def read(self, key: str, name: str) -> dict[str, Any] | None:
        """The content of one of a cell's JSON files; None if there is none."""
        try:
            content = json.loads((self.cells / key / name).read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            raise self._spoilt(key, name) from None
        if not isinstance(content, dict) or any(each not in content for each in _NEEDED.get(name, ())):
            raise self._spoilt(key, name)
        return content

    def _spoilt(self, key: str, name: str) -> InputError:
        folder = self.cells / key
        return InputError(f"{folder / name}: not what a cell leaves; remove {folder}, and --resume runs it again")

    def write(self, key: str, record: Mapping[str, Any], fill: Callable[[Path], None] = lambda draft: None) -> None:
        """Keep a cell: ``record`` as ``cell.json``, and what ``fill`` writes into a folder."""
        with self._draft() as draft:
            fill(draft)
            write_json(draft / "cell.json", record)
            for path in draft.iterdir():
                _sync(path)
            draft.chmod(0o755)
            self.cells.mkdir(exist_ok=True)
            try:
                draft.rename(self.cells / key)
            except OSError:
                if not (self.cells / key).is_dir():
                    raise
                # another program was faster with the same cell

    def forget(self, key: str) -> None:
        """Take a cell away, so that it is run again."""
        with self._draft() as draft, suppress(FileNotFoundError):
            (self.cells / key).rename(draft / "cell")  # at once, and then file by file

    def put(self, name: str, text: str) -> None:
        """Write a file of the tournament: it has the old content or the new, never a part."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._draft() as draft:
            (draft / path.name).write_text(text, "utf-8", newline="\n")
            _sync(draft / path.name)
            (draft / path.name).replace(path)

    def sweep(self) -> None:
        """Remove what programs left that were killed while they wrote."""
        sweep_drafts(self._drafts)
        with suppress(OSError):  # others may be writing
            self._drafts.rmdir()

    def _draft(self) -> _Draft:
        return _Draft(self._drafts)


class _Draft:
    """A folder to write in, whose name says who does; away at the end, and so is the folder around it if empty."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Path:
        while True:
            with suppress(FileNotFoundError, FileExistsError):  # another program just took the empty folder away
                self._folder.mkdir(parents=True, exist_ok=True)
                self._draft = begin_draft(self._folder)
                return self._draft

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._draft, ignore_errors=True)
        with suppress(OSError):
            self._folder.rmdir()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Content as JSON, the same bytes for equal content."""
    path.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def _sync(path: Path) -> None:
    """Have the disk hold a file before its folder gets its name: a machine that loses power keeps no empty cell."""
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())
