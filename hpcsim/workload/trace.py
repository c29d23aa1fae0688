"""A trace file as a workload, whatever its format; what has been read once is kept as Parquet.

hpcsim's own formats and those of plug-ins are chosen, cached and counted alike. Only the rows differ: SWF and ALCF
records know what a ``JobRecord`` does not (statuses, blocks, reservations), and have rules of cleaning for it.

The kept copy lies in ``$HPCSIM_CACHE``, else ``$XDG_CACHE_HOME/hpcsim``, else ``~/.cache/hpcsim``, in the
folder ``traces``. Its name is a digest of the trace's bytes, of the code that read it and of the options, so
it never has to be thrown away for being out of date. It may be deleted at any time.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hpcsim.errors import InputError
from hpcsim.workload.alcf import JOB_COLUMNS, Reservations, read_alcf, write_alcf
from hpcsim.workload.cleaning import refused_by_strict
from hpcsim.workload.job import SCHEMA, Workload
from hpcsim.workload.reader import BUILT_IN
from hpcsim.workload.records import PluggedReader
from hpcsim.workload.swf import read_swf, write_swf
from hpcsim.workload.trace_file import replacing
from hpcsim.workload.wfcommons import read_workflow

CACHE_BYTES = 2 << 30  # of kept copies in all; beyond it the ones unused for the longest time go

HEAD_BYTES = 4096  # of a trace that its reader is known by

_reading_modules = ("alcf", "cleaning", "csv_table", "job", "reader", "records", "swf", "trace_file", "wfcommons")
_metadata_key = b"hpcsim"
_endings = {"swf": ".swf", "alcf": ".csv", "wfcommons": ".json"}  # of hpcsim's own formats


def read_trace(
    path: str | Path,
    *,
    strict: bool = False,
    reservations: Reservations = "drop",
    readers: Sequence[PluggedReader] = (),
    form: str | None = None,
) -> Workload:
    """The jobs of a trace, cleaned: ``.swf[.gz]`` by ``read_swf``, ``.csv[.gz]`` by ``read_alcf``, else by a plug-in's.

    A workflow, ``.json[.gz]``, is read by ``read_workflow``, which cleans nothing and refuses what is wrong.
    ``strict`` refuses a trace in which a rule of cleaning would drop or mend a job. ``reservations="keep"``
    keeps the jobs of reservation queues in a ``.csv``; in ``.swf`` they always stay. ``readers`` are those of
    plug-ins, of distinct names; ``form`` chooses one by its name (or one of ``reader.BUILT_IN``), else who matches the
    trace reads it. Raises ``InputError``.
    """
    path = Path(path)
    if reservations not in ("drop", "keep"):
        raise InputError(f"reservations: found {reservations!r}, expected 'drop' or 'keep'")
    plugged = {reader.name: reader for reader in readers}
    if form is None and _own_format(path) is None and not os.path.exists(path):
        raise InputError(f"{path}: there is no such file")
    form = _format(path, plugged) if form is None else _known_format(path, form, plugged)
    reader = plugged.get(form)
    kept_at = _kept_at(path, reader, form, path.suffix.lower(), reservations)
    workload = None if kept_at is None else _kept(kept_at)
    if workload is not None and not (strict and refused_by_strict(workload.cleaning)):
        return replace(workload, source=path.name, form=form)
    if reader is not None:
        workload = reader.read(path, strict=strict)
    elif form == "swf":
        workload = read_swf(path, strict=strict)
    elif form == "wfcommons":
        workload = read_workflow(path)
    else:
        workload = read_alcf(path, strict=strict, reservations=reservations)
    if kept_at is not None:
        _keep(workload, kept_at)
    return replace(workload, form=form)


def write_trace(workload: Workload, path: str | Path) -> None:
    """Write the workload in the format that the name says; whole, or not at all. Raises ``InputError``."""
    path = Path(path)
    form = _format(path, {})
    if form == "wfcommons":
        raise InputError(f"{path}: workflows are read and not written; expected .swf, .swf.gz, .csv or .csv.gz")
    if form == "swf":
        write_swf(workload, path)
    else:
        write_alcf(workload, path)


def _format(path: Path, plugged: Mapping[str, PluggedReader]) -> str:
    """The format of a trace: of the one reader that claims it, else by its name."""
    own = _own_format(path)
    if plugged:
        head = _head(path)
        claims, silent = [], []
        for name, reader in plugged.items():
            try:
                claims += [name] * reader.matches(path, head)
            except InputError as error:
                silent.append(str(error))
        # any .csv could be job records, and any .json a workflow: there only what they begin with is a claim
        looks = {"alcf": _looks_like_alcf, "wfcommons": _looks_like_workflow}
        if own is not None and claims and (own not in looks or looks[own](head)):
            claims.append(own)
        if len(claims) > 1:
            names = f"{', '.join(claims[:-1])} and {claims[-1]}"
            raise InputError(f"{path}: the readers {names} all claim this trace; choose one with trace_format")
        if claims:
            return claims[0]
        if silent and own is None:
            raise InputError("\n".join(silent))
    if own is not None:
        return own
    others = f", and none of the readers {', '.join(plugged)} claims it" if plugged else ""
    if path.is_dir():
        raise InputError(f"{path}: is a directory, expected the file of a trace")
    raise InputError(
        f"{path}: the name does not tell the format of the trace, expected .swf, .swf.gz (Standard Workload"
        f" Format), .csv or .csv.gz (ALCF job records), .json or .json.gz (WfCommons workflow){others}"
    )


def _own_format(path: Path) -> str | None:
    """The one of hpcsim's own formats that the name tells."""
    name = path.name.lower().removesuffix(".gz")
    return next((form for form, ending in _endings.items() if name.endswith(ending)), None)


def _looks_like_alcf(head: bytes) -> bool:
    """Whether most columns that job records must have are in the first line."""
    top = head.partition(b"\n")[0].decode("utf-8-sig", "replace")
    labels = {label.strip(' "\r').upper() for label in top.split(",")}
    wanted = [column.name for column in JOB_COLUMNS if not column.optional]
    return 2 * sum(name in labels for name in wanted) > len(wanted)


def _looks_like_workflow(head: bytes) -> bool:
    """Whether the version of the WfFormat is in the first bytes."""
    return b'"schemaVersion"' in head


def _head(path: Path) -> bytes:
    """The first bytes of a trace, unpacked; empty where it cannot be read, which its reader then tells."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        if not path.is_file():
            return b""
        with opened(path, "rb") as file:
            return bytes(file.read(HEAD_BYTES))
    except (OSError, EOFError, zlib.error):
        return b""


def _known_format(path: Path, form: str, plugged: Mapping[str, PluggedReader]) -> str:
    known = sorted({*BUILT_IN, *plugged})
    if form not in known:
        close = get_close_matches(form, known, n=1)
        guess = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        raise InputError(f"{path}: there is no trace format {form!r}; {guess}")
    return form


def cache_folder() -> Path:
    """The folder in which hpcsim keeps what it can make again; it need not exist."""
    if chosen := os.environ.get("HPCSIM_CACHE"):
        return Path(chosen)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "hpcsim"
    return Path("~/.cache/hpcsim").expanduser()


def _kept_at(path: Path, reader: PluggedReader | None, *options: str) -> Path | None:
    """Where the copy of this trace lies or would lie; None where that cannot be known."""
    digest = hashlib.sha256(repr(options).encode())
    try:
        folder = cache_folder()
        if reader is not None:
            digest.update(reader.code())
        for module in _reading_modules:
            digest.update(Path(__file__).with_name(f"{module}.py").read_bytes())
        if not path.is_file():
            return None
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    except (OSError, RuntimeError, TypeError):  # where there is no home, or a reader has no source
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
