"""The telemetry of a run as a Parquet file: written while the run goes, read when somebody asks."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hpcsim.errors import InputError
from hpcsim.machine.readings import STATES, Readings

SCHEMA = pa.schema(
    [
        ("time_s", pa.int64()),  # as in the other tables, with which it is joined
        ("unit", pa.int32()),
        ("state", pa.dictionary(pa.int8(), pa.string())),
        ("job_id", pa.dictionary(pa.int32(), pa.string())),
        ("node_c", pa.float32()),
        ("gpu_c", pa.float32()),
        ("node_w", pa.float32()),
        ("cpu_util", pa.float32()),
        ("gpu_util", pa.float32()),
        ("corrected_errors", pa.int32()),
    ]
)


class TelemetryFile:
    """A file of telemetry, a row group for each batch of readings, which is closed when nobody holds it any more.

    One that is being made (``begin``) has no name: a run that is never written leaves nothing behind, however it ends.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writer: pq.ParquetWriter | None = None
        self._last = ExitStack()  # what is done when nobody holds this any more, the latest first
        self._last.callback(file.close)
        weakref.finalize(self, _close, self._last)

    @classmethod
    def begin(cls) -> TelemetryFile:
        """An empty one, for ``writer`` to fill."""
        with _telling_of_no_room():
            return cls(TemporaryFile(prefix="hpcsim-telemetry-"))

    @classmethod
    def open(cls, path: Path) -> TelemetryFile:
        """The one of a run directory. Raises OSError or ArrowException where there is none."""
        opened = cls(path.open("rb"))
        pq.read_metadata(opened._file)
        return opened

    def writer(self, names: pa.ChunkedArray) -> Callable[[Readings], None]:
        """What takes the readings, until ``close``; ``names`` are those of all jobs."""
        with _telling_of_no_room():
            writer = self._writer = pq.ParquetWriter(self._file, SCHEMA, compression="zstd")
        self._last.callback(_abandon, writer)

        def write(readings: Readings) -> None:
            with _telling_of_no_room():
                writer.write_table(_table(readings, names), row_group_size=readings.unit.size)

        return write

    def close(self) -> None:
        """Finish the file: no more readings come."""
        if self._writer is not None:
            with _telling_of_no_room():
                self._writer.close()
                self._file.flush()

    def copy_to(self, path: Path) -> None:
        """Write the whole file to ``path``. Raises OSError."""
        self._file.seek(0)
        with path.open("wb") as copy:
            shutil.copyfileobj(self._file, copy)

    def table(self) -> pa.Table:
        """All of it, which may be more than memory holds."""
        self._file.seek(0)
        return pq.read_table(self._file)


def _table(readings: Readings, names: pa.ChunkedArray) -> pa.Table:
    """The readings of a batch as they stand in the file; names of jobs once for each job of the batch."""
    jobs, code = np.unique(readings.job, return_inverse=True)
    none = int(jobs[0] < 0)
    job_id = pa.DictionaryArray.from_arrays(
        pa.array(code.astype(np.int32) - np.int32(none), mask=readings.job < 0),
        names.take(pa.array(jobs[none:])).combine_chunks(),
    )
    columns: dict[str, Any] = {
        **readings._asdict(),
        "state": pa.DictionaryArray.from_arrays(pa.array(readings.state), pa.array(STATES)),
        "job_id": job_id,
    }
    rows = readings.unit.size
    return pa.Table.from_arrays([_column(columns[field.name], field.type, rows) for field in SCHEMA], schema=SCHEMA)


def _column(values: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if values is None:
        return pa.nulls(rows, kind)
    return values if isinstance(values, pa.Array) else pa.array(values).cast(kind, safe=False)  # safe: no rounding


def _close(last: ExitStack) -> None:
    """Do what is left to do; a disk that is full was told of already, or nobody wants the file."""
    with suppress(OSError):
        last.close()


def _abandon(writer: pq.ParquetWriter) -> None:
    """Close the writer of a file that nobody wants any more, and that may have no room for its end."""
    with suppress(OSError):
        writer.close()
    writer.is_open = False  # or else it would try again


@contextmanager
def _telling_of_no_room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"physics.telemetry: cannot be kept in {gettempdir()}: {error.strerror or error}; let TMPDIR name a folder "
            f"with more room, sample fewer units, or at a longer interval"
        ) from error
