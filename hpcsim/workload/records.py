"""The jobs that a reader of a third party hands over: checked, cleaned and made a workload."""

from __future__ import annotations

import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from hpcsim.errors import InputError
from hpcsim.workload.cleaning import LATEST_S, READER_RULES, clean
from hpcsim.workload.job import MOST_NODES, OUTCOMES, Int64s, Workload, workload_from_columns
from hpcsim.workload.reader import UNKNOWN, JobLog, JobRecord, Reader
from hpcsim.workload.trace_file import LARGEST_NUMBER

_AT_ONCE = 1 << 16  # records that become columns together
_NUMBERS = ("submit_s", "start_s", "walltime_s", "nodes", "runtime_s")
_TEXTS = ("name", "user", "project", "queue", "outcome")
_TYPES = {
    **dict.fromkeys((*_NUMBERS, "line"), pa.float64()),
    **dict.fromkeys(_TEXTS, pa.string()),
    "after": pa.list_(pa.string()),
}
_SCHEMA = pa.schema([(name, _TYPES[name]) for name in JobRecord._fields])
_NEEDED = [name for name in JobRecord._fields if name not in JobRecord._field_defaults]
_EXPECTED = {pa.float64(): "a number", pa.string(): "text", pa.list_(pa.string()): "a tuple of names"}


@dataclass(frozen=True, slots=True)
class PluggedReader:
    """The reader of a plug-in for the format ``name``: its class, and the ``options`` that it is made with."""

    name: str
    kind: Callable[..., Reader]
    options: BaseModel | None = None

    def matches(self, path: Path, head: bytes) -> bool:
        """Whether it claims the trace. Raises ``InputError`` where the reader does not say."""
        try:
            return bool(self._made().matches(path, head))
        except (Exception, SystemExit) as error:
            raise InputError(f"{path}: {self._raised(error)}") from error

    def _made(self) -> Reader:
        return self.kind() if self.options is None else self.kind(self.options)

    def code(self) -> bytes:
        """A digest of what reads: the options, and the module or all modules of its package.

        Raises OSError or TypeError where there is no source to be found.
        """
        kind, options = self.kind, "" if self.options is None else self.options.model_dump_json()
        top = sys.modules.get(kind.__module__.partition(".")[0])
        folders = [Path(folder) for folder in getattr(top, "__path__", ())]
        files = sorted(file for folder in folders for file in folder.rglob("*.py"))
        digest = hashlib.sha256(f"{kind.__qualname__} {options}".encode())
        for file in files or [Path(inspect.getsourcefile(kind) or "")]:
            digest.update(file.read_bytes())
        return digest.digest()

    def read(self, path: Path, *, strict: bool) -> Workload:
        """The jobs of the trace, cleaned by ``READER_RULES``.

        ``strict`` refuses a trace in which a rule would drop or mend a job. Raises ``InputError`` that names the file
        and the reader, and the line where there is one.
        """
        log = self._log(path)
        rows = self._rows(path, log)
        rows, counts = clean(rows, READER_RULES, source=str(path), strict=strict)
        submit_s, start_s = _whole(rows["submit_s"].to_numpy()), _whole(rows["start_s"].to_numpy())
        zero = 0 if log.t0_utc is not None else int(submit_s[0])
        outcome = rows["outcome"].combine_chunks().dictionary_encode()
        codes = np.array([OUTCOMES.index(name) for name in outcome.dictionary.to_pylist()])
        return workload_from_columns(
            t0_utc=zero if log.t0_utc is None else log.t0_utc,
            source=path.name,
            name=rows["name"],
            submit_s=submit_s - zero,
            nodes=_whole(rows["nodes"].to_numpy()),
            walltime_s=_whole(rows["walltime_s"].to_numpy()),
            runtime_s=np.maximum(1, _whole(rows["runtime_s"].to_numpy())),
            user=rows["user"],
            project=rows["project"],
            queue=rows["queue"],
            after=_ids(rows),
            outcome=codes[outcome.indices.to_numpy()],
            recorded_start_s=np.where(start_s >= 0, start_s - zero, UNKNOWN),
            machine_nodes=log.machine_nodes,
            cleaning=counts,
        )

    # -- what the reader says -----------------------------------------------------------------

    def _log(self, path: Path) -> JobLog:
        try:
            log = cast(object, self._made().read(path))
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise InputError(f"{path}: {self._raised(error)}") from error
        if not isinstance(log, JobLog):
            log = JobLog(cast("Iterable[JobRecord]", log))
        for what, largest in (("t0_utc", LATEST_S), ("machine_nodes", MOST_NODES)):
            value = getattr(log, what)
            if value is not None and (type(value) is not int or not 0 <= value <= largest):
                raise self._wrong(path, f"{what}: found {value!r}, expected an int from 0 to {largest}, or None")
        return log

    def _rows(self, path: Path, log: JobLog) -> pa.Table:
        """What the rules of cleaning know, from the records or the table of a reader."""
        jobs = cast(object, log.jobs)
        if isinstance(jobs, pa.Table):
            rows = self._columns(path, jobs)
        elif isinstance(jobs, Iterable) and not isinstance(jobs, str | bytes | dict):
            rows = pa.concat_tables([_SCHEMA.empty_table(), *self._batches(path, jobs)])
        else:
            raise self._wrong(path, f"read() gave {jobs!r}, expected JobRecords or an Arrow table")
        if not rows.num_rows:
            raise self._wrong(path, "found no job, expected at least 1")
        numbers = {name: _known(rows[name]) for name in _NUMBERS}
        line = _whole(_known(rows["line"]))
        line = np.where(line > 0, line, np.arange(1, len(line) + 1))
        for name, values in numbers.items():
            self._refuse(path, rows, line, name, ~(np.abs(values) <= LARGEST_NUMBER), "a number below 2^53")
        texts = {name: pc.fill_null(rows[name].combine_chunks(), "") for name in _TEXTS}
        self._refuse(path, rows, line, "name", _mask(pc.equal(texts["name"], "")), "text that is not empty")
        strange = pc.invert(pc.is_in(texts["outcome"], pa.array(OUTCOMES)))
        self._refuse(path, rows, line, "outcome", _mask(strange), f"one of {', '.join(OUTCOMES)}")
        started, runtime_s = numbers["start_s"] >= 0, numbers["runtime_s"]
        return pa.table(
            {
                "line": line,
                **{name: _whole(numbers[name]) for name in ("submit_s", "start_s", "walltime_s", "nodes")},
                "runtime_s": runtime_s,
                "end_s": np.where(started, numbers["start_s"], numbers["submit_s"]) + runtime_s,
                **texts,
                "user": texts["user"].dictionary_encode(),
                "after": rows["after"],
            }
        )

    def _batches(self, path: Path, jobs: Iterable[object]) -> Iterator[pa.Table]:
        """The records as columns, some thousands at a time."""
        records, last = iter(jobs), 0
        while True:
            batch: list[Any] = []
            try:
                batch.extend(islice(records, _AT_ONCE))
            except InputError:
                raise
            except (Exception, SystemExit) as error:
                line = batch[-1].line if batch and isinstance(batch[-1], JobRecord) else last
                where = f"{path}: after line {line}" if line else path
                raise InputError(f"{where}: {self._raised(error)}") from error
            if not batch:
                return
            for record in batch:
                if type(record) is not JobRecord:
                    raise self._wrong(path, f"read() gave {record!r}, expected a JobRecord")
            last = batch[-1].line
            columns = zip(*batch, strict=True)
            arrays = [
                self._array(path, batch, name, column) for name, column in zip(JobRecord._fields, columns, strict=True)
            ]
            yield pa.Table.from_arrays(arrays, schema=_SCHEMA)

    def _array(self, path: Path, batch: list[JobRecord], name: str, values: tuple[Any, ...]) -> pa.Array:
        kind = _TYPES[name]
        try:
            if not (name == "after" and any(isinstance(each, str) for each in values)):  # each letter would be a name
                return pa.array(values, kind)
        except (pa.ArrowException, OverflowError):
            pass
        for record, value in zip(batch, values, strict=True):
            try:
                pa.array([value], kind)
                right = not (name == "after" and isinstance(value, str))
            except (pa.ArrowException, OverflowError):
                right = False
            if not right:
                too_large = kind == pa.float64() and isinstance(value, int)
                expected = "a number below 2^53" if too_large else _EXPECTED[kind]
                raise self._wrong_job(path, record.line, record.name, name, value, expected)
        raise self._wrong(path, f"{name}: found values that do not go together, expected {_EXPECTED[kind]} each")

    def _columns(self, path: Path, table: pa.Table) -> pa.Table:
        """A reader's own table, with all columns of a record."""
        for name in table.column_names:
            if name not in _SCHEMA.names:
                close = get_close_matches(name, _SCHEMA.names, n=1)
                guess = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(_SCHEMA.names)}"
                raise self._wrong(path, f"found a column {name!r}; {guess}")
        columns = []
        for name in _SCHEMA.names:
            kind = _TYPES[name]
            if name in table.column_names:
                try:
                    columns.append(_as(table[name], kind))
                except (pa.ArrowException, TypeError) as error:
                    what = f"column {name}: found {table[name].type}, expected {_EXPECTED[kind]} each"
                    raise self._wrong(path, what) from error
            elif name in _NEEDED:
                raise self._wrong(path, f"the column {name} is missing")
            else:
                default = JobRecord._field_defaults[name]
                columns.append(pa.array([list(default) if name == "after" else default] * table.num_rows, kind))
        return pa.Table.from_arrays(columns, schema=_SCHEMA)

    # -- complaints ---------------------------------------------------------------------------

    def _refuse(
        self, path: Path, rows: pa.Table, line: Int64s, name: str, met: npt.NDArray[np.bool_], expected: str
    ) -> None:
        if met.any():
            at = int(np.argmax(met))
            job, value = rows["name"][at].as_py(), rows[name][at].as_py()
            raise self._wrong_job(path, int(line[at]), job, name, value, expected)

    def _wrong_job(self, path: Path, line: int, job: object, field: str, value: object, expected: str) -> InputError:
        where = f"{path}:{line}" if line > 0 else path
        return InputError(f"{where}: reader {self.name}: job {job!r}: {field}: found {value!r}, expected {expected}")

    def _wrong(self, path: Path, what: str) -> InputError:
        return InputError(f"{path}: reader {self.name}: {what}")

    def _raised(self, error: BaseException) -> str:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"reader {self.name} raised {type(error).__name__}: {error} ({where.filename}:{where.lineno})"


def _as(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """A column of a reader's own type; TypeError for one that would have to be parsed."""
    found = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_number = pa.types.is_integer(found) or pa.types.is_floating(found)
    if kind == pa.float64() and not (is_number or pa.types.is_null(found)):
        raise TypeError(f"found {found}")
    if kind == pa.string() and not (pa.types.is_string(found) or pa.types.is_large_string(found)):
        raise TypeError(f"found {found}")
    return column.cast(kind).combine_chunks()


def _known(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Numbers, -1 for what is not there."""
    values = np.array(pc.fill_null(column, float(UNKNOWN)).to_numpy())
    values[np.isnan(values)] = UNKNOWN
    return values


def _whole(values: npt.NDArray[Any]) -> Int64s:
    whole: Int64s = np.rint(values).astype(np.int64)
    return whole


def _mask(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = column.to_numpy(zero_copy_only=False).astype(bool)
    return mask


def _ids(rows: pa.Table) -> list[list[int] | None] | None:
    """For each job the places of those that it waits for; None if none waits."""
    followed = rows["after"].to_pylist()
    if not any(followed):
        return None
    place = {name: at for at, name in enumerate(rows["name"].to_pylist())}
    return [[place[name] for name in names] if names else None for names in followed]
