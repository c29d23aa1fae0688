"""A workflow in WfFormat, the JSON of WfCommons: every task is a job that waits for others and reads what they wrote.

Versions 1.4 to 1.6 are read: structure and execution apart (1.5, 1.6), or one list of tasks that know each other by
name (1.4). All tasks are submitted in second 0. What the format leaves open:

* runtimes are rounded up to whole seconds, at least 1; the walltime is the runtime, a perfect request;
* ``coreCount`` (``cores``), rounded up, are the processors of the job, 1 where it is missing;
* the user is the workflow, the project the program of the task (its ``name``; ``category`` in 1.4);
* a task reads of a task that it follows all files that this one lists as output and it lists as input;
* jobs are numbered so that none comes before one that it follows, else in the order of the file.

Reference: Coleman, Casanova, Pottier, Kaushik, Deelman and Ferreira da Silva (2022), WfCommons: a framework for
enabling scientific workflow research and development.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush
from pathlib import Path
from reprlib import repr as shown  # cut where it is long
from typing import Any

from hpcsim.errors import InputError
from hpcsim.workload.cleaning import CENTURY_S, LATEST_S
from hpcsim.workload.job import Workload, workload_from_columns
from hpcsim.workload.trace_file import LARGEST_NUMBER, whole_content

VERSIONS = ("1.4", "1.5", "1.6")


@dataclass(slots=True)
class _Task:
    """A task as the file gives it; ``where`` is its place in the file, for messages."""

    name: str
    program: str
    where: str
    runtime_s: float | None = None
    cores: float = 1.0
    follows: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)


def read_workflow(path: str | Path) -> Workload:
    """The tasks of a ``.json`` or ``.json.gz`` file as jobs. Raises ``InputError`` with the place of what is wrong."""
    path = Path(path)
    try:
        return _Reader(path).workload()
    except _Wrong as wrong:
        raise InputError(f"{path}: {wrong}") from None


class _Wrong(Exception):
    """What is wrong with a file, without its name."""


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        content = whole_content(path)
        try:
            data = json.loads(content)
        except UnicodeDecodeError as error:
            raise _Wrong(f"found bytes that are no UTF-8 ({error.reason} at {error.start})") from None
        except RecursionError:
            raise _Wrong("found JSON that is nested too deeply") from None
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{error.lineno}:{error.colno}: no JSON: {error.msg}") from None
        except ValueError:  # Python refuses to read whole numbers of more than 4300 digits
            raise _Wrong("found a number of thousands of digits") from None
        self.data = _mapping(data, "the file")
        version = self.data.get("schemaVersion")
        if version not in VERSIONS:
            raise _Wrong(f"schemaVersion: found {shown(version)}, expected one of {', '.join(VERSIONS)} (WfFormat)")
        self.workflow = _mapping(self.data.get("workflow"), "workflow")
        self.tasks: dict[str, _Task] = {}
        self.sizes: dict[str, int] = {}

    def workload(self) -> Workload:
        if "specification" in self.workflow:
            self._read_parts()
        else:
            self._read_flat()
        ordered = self._in_order()
        number = {task.name: i for i, task in enumerate(ordered)}
        runtime = [max(1, math.ceil(self._runtime_s(task))) for task in ordered]
        after = [sorted(number[name] for name in task.follows) or None for task in ordered]
        read = [
            None if before is None else [self._bytes(ordered[i], task) for i in before]
            for before, task in zip(after, ordered, strict=True)
        ]
        return workload_from_columns(
            t0_utc=self._executed_at(),
            source=self.path.name,
            name=[task.name for task in ordered],
            submit_s=[0] * len(ordered),
            nodes=[math.ceil(task.cores) for task in ordered],
            walltime_s=runtime,
            runtime_s=runtime,
            user=[str(self.data.get("name") or self.path.stem)] * len(ordered),
            project=[task.program for task in ordered],
            after=after,
            after_bytes=read,
        )

    # -- versions 1.5 and 1.6 -----------------------------------------------------------------

    def _read_parts(self) -> None:
        place = "workflow.specification"
        specification = _mapping(self.workflow["specification"], place)
        for where, entry in _entries(specification, "tasks", place):
            name = _text(entry, "id", where)
            self._add(_Task(name, _text(entry, "name", where), where))
            task = self.tasks[name]
            task.reads.update(_texts(entry, "inputFiles", where))
            task.writes.update(_texts(entry, "outputFiles", where))
        for where, entry in _entries(specification, "files", place, needed=False):
            self.sizes[_text(entry, "id", where)] = _size(entry, where)
        for name, task in self.tasks.items():
            for file in sorted(task.reads | task.writes):
                if file not in self.sizes:
                    raise _Wrong(f"{task.where}: task {name!r} names the file {file!r}, which {place}.files lacks")
        place = "workflow.execution"
        execution = _mapping(self.workflow.get("execution"), place)
        for where, entry in _entries(execution, "tasks", place):
            name = _text(entry, "id", where)
            if name not in self.tasks:
                raise _Wrong(f"{where}.id: found {name!r}, which is no task of workflow.specification")
            self.tasks[name].runtime_s = _number(entry, "runtimeInSeconds", where, CENTURY_S)
            self.tasks[name].cores = _cores(entry, "coreCount", where)
        self._connect(_entries(specification, "tasks", "workflow.specification"), "id")

    # -- version 1.4 --------------------------------------------------------------------------

    def _read_flat(self) -> None:
        for where, entry in _entries(self.workflow, "tasks", "workflow"):
            name = _text(entry, "name", where)
            self._add(_Task(name, str(entry.get("category") or name), where))
            task = self.tasks[name]
            task.runtime_s = _number(entry, "runtimeInSeconds", where, CENTURY_S)
            task.cores = _cores(entry, "cores", where)
            for file_where, file in _entries(entry, "files", where, needed=False):
                file_name = str(file.get("path") or "") + _text(file, "name", file_where)
                self.sizes[file_name] = _size(file, file_where)
                link = file.get("link")
                if link not in ("input", "output"):
                    raise _Wrong(f"{file_where}.link: found {shown(link)}, expected 'input' or 'output'")
                (task.reads if link == "input" else task.writes).add(file_name)
        self._connect(_entries(self.workflow, "tasks", "workflow"), "name")

    # -- both ---------------------------------------------------------------------------------

    def _add(self, task: _Task) -> None:
        if task.name in self.tasks:
            raise _Wrong(f"{task.where}: found the task {task.name!r} again, first in {self.tasks[task.name].where}")
        self.tasks[task.name] = task

    def _connect(self, entries: Iterable[tuple[str, dict[str, Any]]], key: str) -> None:
        """Read who follows whom, which each of both may say."""
        for where, entry in entries:
            name = entry[key]
            for side in ("parents", "children"):
                for other in _texts(entry, side, where):
                    if other not in self.tasks:
                        raise _Wrong(f"{where}.{side}: found {shown(other)}, which is no task of this workflow")
                    follower, before = (name, other) if side == "parents" else (other, name)
                    self.tasks[follower].follows.add(before)

    def _in_order(self) -> list[_Task]:
        """The tasks so that each comes after those that it follows."""
        place = {name: i for i, name in enumerate(self.tasks)}
        followers: dict[str, list[str]] = {name: [] for name in self.tasks}
        for name, task in self.tasks.items():
            for before in task.follows:
                followers[before].append(name)
        waits_for = {name: len(task.follows) for name, task in self.tasks.items()}
        free = [(place[name], name) for name, count in waits_for.items() if not count]
        heapify(free)
        ordered = []
        while free:
            _, name = heappop(free)
            ordered.append(self.tasks[name])
            for follower in followers[name]:
                waits_for[follower] -= 1
                if not waits_for[follower]:
                    heappush(free, (place[follower], follower))
        if len(ordered) < len(self.tasks):
            circle = [name for name, count in waits_for.items() if count]
            some = ", ".join(circle[:5]) + (f" and {len(circle) - 5} more" if len(circle) > 5 else "")
            raise _Wrong(f"found tasks that wait for each other: {some}")
        return ordered

    def _runtime_s(self, task: _Task) -> float:
        if task.runtime_s is None:
            raise _Wrong(f"{task.where}: task {task.name!r} has no runtimeInSeconds in workflow.execution.tasks")
        return task.runtime_s

    def _bytes(self, writer: _Task, reader: _Task) -> int:
        return sum(self.sizes[file] for file in writer.writes & reader.reads)

    def _executed_at(self) -> int:
        """The Unix time of second 0; 0 where the file says none that can be understood."""
        execution = self.workflow.get("execution")
        said = (execution if isinstance(execution, dict) else self.workflow).get("executedAt")
        try:
            date = datetime.fromisoformat(said) if isinstance(said, str) else None
        except ValueError:
            date = None
        if date is None:
            return 0
        second = int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
        return second if 0 <= second <= LATEST_S else 0


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise _Wrong(f"{where}: found {found}, expected an object of WfFormat")
    return value


def _entries(
    parent: dict[str, Any], key: str, where: str, *, needed: bool = True
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a list, each with its place."""
    entries = parent.get(key, None if needed else [])
    if not isinstance(entries, list) or (needed and not entries):
        raise _Wrong(
            f"{where}.{key}: found {'none' if not entries else type(entries).__name__}, expected a list of them"
        )
    for i, entry in enumerate(entries):
        yield f"{where}.{key}[{i}]", _mapping(entry, f"{where}.{key}[{i}]")


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise _Wrong(f"{where}.{key}: found {shown(value)}, expected text")
    return value


def _texts(entry: dict[str, Any], key: str, where: str) -> list[str]:
    values = entry.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _Wrong(f"{where}.{key}: found {shown(values)}, expected a list of texts")
    return values


def _number(entry: dict[str, Any], key: str, where: str, largest: int = LARGEST_NUMBER) -> float:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= largest:
        raise _Wrong(f"{where}.{key}: found {shown(value)}, expected a number from 0 to {largest}")
    return value


def _cores(entry: dict[str, Any], key: str, where: str) -> float:
    return max(1.0, _number(entry, key, where)) if entry.get(key) is not None else 1.0


def _size(entry: dict[str, Any], where: str) -> int:
    return int(_number(entry, "sizeInBytes", where))
