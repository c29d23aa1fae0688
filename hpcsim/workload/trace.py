"""A trace file as a workload, whatever its format; what has been read once is kept as Parquet.

The kept copy lies in ``$HPCSIM_CACHE``, else ``$XDG_CACHE_HOME/hpcsim``, else ``~/.cache/hpcsim``, in the
folder ``traces``. Its name is a digest of the trace's bytes, of the code that read it and of the options, so
it never has to be thrown away for being out of date. It may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hpcsim.errors import InputError
from hpcsim.workload.alcf import Reservations, read_alcf, write_alcf
from hpcsim.workload.cleaning import refused_by_strict
from hpcsim.workload.job import SCHEMA, Workload
from hpcsim.workload.swf import read_swf, write_swf
from hpcsim.workload.trace_file import replacing
from hpcsim.workload.wfcommons import read_workflow

CACHE_BYTES = 2 << 30  # of kept copies in all; beyond it the ones unused for the longest time go

_reading_modules = ("alcf", "cleaning", "csv_table", "job", "swf", "trace_file", "wfcommons")
_metadata_key = b"hpcsim"


def read_trace(path: str | Path, *, strict: bool = False, reservations: Reservations = "drop") -> Workload:
    """The jobs of a trace, cleaned: ``.swf[.gz]`` by ``read_swf``, ``.csv[.gz]`` by ``read_alcf``.

    A workflow, ``.json[.gz]``, is read by ``read_workflow``, which cleans nothing and refuses what is wrong.
    ``strict`` refuses a trace in which a rule of cleaning would drop or mend a job. ``reservations="keep"``
    keeps the jobs of reservation queues in a ``.csv``; in ``.swf`` they always stay. Raises ``InputError``.
    """
    path = Path(path)
    if reservations not in ("drop", "keep"):
        raise InputError(f"reservations: found {reservations!r}, expected 'drop' or 'keep'")
    form = _format(path)
    kept_at = _kept_at(path, form, path.suffix.lower(), reservations)
    workload = None if kept_at is None else _kept(kept_at)
    if workload is not None and not (strict and refused_by_strict(workload.cleaning)):
        return replace(workload, source=path.name)
    if form == "swf":
        workload = read_swf(path, strict=strict)
    elif form == "json":
        workload = read_workflow(path)
    else:
        workload = read_alcf(path, strict=strict, reservations=reservations)
    if kept_at is not None:
        _keep(workload, kept_at)
    return workload


def write_trace(workload: Workload, path: str | Path) -> None:
    """Write the workload in the format that the name says; whole, or not at all. Raises ``InputError``."""
    path = Path(path)
    form = _format(path)
    if form == "json":
        raise InputError(f"{path}: workflows are read and not written; expected .swf, .swf.gz, .csv or .csv.gz")
    if form == "swf":
        write_swf(workload, path)
    else:
        write_alcf(workload, path)


def _format(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    for form in ("swf", "csv", "json"):
        if name.endswith(f".{form}"):
            return form
    raise InputError(
        f"{path}: the name does not tell the format of the trace, expected .swf, .swf.gz (Standard Workload"
        " Format), .csv or .csv.gz (ALCF job records), .json or .json.gz (WfCommons workflow)"
    )


def cache_folder() -> Path:
    """The folder in which hpcsim keeps what it can make again; it need not exist."""
    if chosen := os.environ.get("HPCSIM_CACHE"):
        return Path(chosen)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "hpcsim"
    return Path("~/.cache/hpcsim").expanduser()


def _kept_at(path: Path, *options: str) -> Path | None:
    """Where the copy of this trace lies or would lie; None where that cannot be known."""
    digest = hashlib.sha256(repr(options).encode())
    try:
        folder = cache_folder()
        for module in _reading_modules:
            digest.update(Path(__file__).with_name(f"{module}.py").read_bytes())
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    except (OSError, RuntimeError):  # the latter where there is no home
        return None  # the reader says what is wrong
    return folder / "traces" / f"{digest.hexdigest()}.parquet"


def _kept(kept_at: Path) -> Workload | None:
    """The kept copy, or None if there is none that can be trusted."""
    try:
        with pq.ParquetFile(kept_at, page_checksum_verification=True) as file:
            table = file.read(use_threads=False)
        facts = json.loads(table.schema.metadata[_metadata_key])
        table = table.replace_schema_metadata(None).combine_chunks()
        workload = Workload(table, facts["t0_utc"], "", facts["machine_nodes"], facts["cleaning"])
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError):
        return None
    with suppress(OSError):
        os.utime(kept_at)  # used just now, so among the last to go
    return workload


def _keep(workload: Workload, kept_at: Path) -> None:
    """Keep a copy; a folder that cannot be written means that there is none."""
    facts = {
        "t0_utc": workload.t0_utc,
        "machine_nodes": workload.machine_nodes,
        "cleaning": dict(workload.cleaning),
    }
    table = workload.table.replace_schema_metadata({_metadata_key: json.dumps(facts).encode()})
    texts = [field.name for field in SCHEMA if pa.types.is_dictionary(field.type)]
    with suppress(OSError):
        kept_at.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept_at) as beside:
            pq.write_table(table, beside, compression="zstd", use_dictionary=texts, write_page_checksum=True)
        _bound(kept_at)


def _bound(newest: Path) -> None:
    """Remove the copies unused for the longest time until the rest has no more than ``CACHE_BYTES``."""
    entries = sorted((file.stat().st_mtime, file.stat().st_size, file) for file in newest.parent.glob("*.parquet"))
    total = sum(size for _, size, _ in entries)
    for _, size, file in entries:
        if total > CACHE_BYTES and file != newest:
            file.unlink(missing_ok=True)
            total -= size
