"""The Standard Workload Format, version 2.2: a job a line, 18 numbers a job, header comments.

Assumptions where the format leaves a choice:

* nodes are the requested processors (field 8), else the allocated ones (field 5); times are the file's own
  seconds since ``UnixStartTime``;
* status 1 or unknown is a completed job, 0 a failed one, 5 one at its limit if it ran for at least 0.98 of
  its walltime, else a failed one;
* the preceding job (field 17) must have ended before its follower may start; the think time (field 18) has
  no place in a workload and is not read;
* runtimes above the walltime and jobs above the machine's size are kept: they are the engine's business.

References: Chapin et al. 1999, Benchmarks and Standards for the Evaluation of Parallel Job Schedulers;
Feitelson, Tsafrir and Krakov 2014, Experience with Using the Parallel Workloads Archive.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from hpcsim.errors import InputError
from hpcsim.workload.cleaning import AT_LIMIT, LATEST_S, SWF_RULES, clean, first_place
from hpcsim.workload.job import COMPLETED, FAILED, MOST_NODES, TIMEOUT, Int64s, Workload, workload_from_columns
from hpcsim.workload.trace_file import LARGEST_NUMBER, content_lines, line_blocks, write_file

FIELDS = 18
LARGEST_HEADER_BYTES = 16 << 20  # of its comments, which may stand anywhere

_columns = [f"f{number}" for number in range(1, FIELDS + 1)]
_blanks = bytes.maketrans(b"\t\r\v\f", b"    ")
_numeric = b"0123456789+-.eE \n"
_plain_number = re.compile(r"0|[1-9][0-9]{0,14}")


def read_swf(path: str | Path, *, strict: bool = False) -> Workload:
    """The jobs of a ``.swf`` or ``.swf.gz`` file, cleaned by ``SWF_RULES``.

    ``strict`` refuses a file in which a rule would drop or mend a job. Raises ``InputError`` that names the
    file, and the line where there is one.
    """
    path = Path(path)
    comments: list[str] = []
    blocks = [_fields(path, *numbered, comments) for numbered in line_blocks(path)]
    header = _Header(comments)
    rows = pa.concat_tables(blocks).combine_chunks()
    blocks.clear()
    rows = rows.append_column("name", rows["number"].cast(pa.string()))
    for name, names in (("user", header.users), ("project", header.projects), ("queue", header.queues)):
        rows = rows.set_column(rows.schema.get_field_index(name), name, _text(rows[name], names))
    rows, counts = clean(rows, SWF_RULES, source=str(path), strict=strict)

    numbers = {name: rows[name].to_numpy() for name in ("submit_s", "wait_s", "walltime_s", "runtime_s", "status")}
    at_limit = numbers["runtime_s"] >= AT_LIMIT * numbers["walltime_s"]
    killed = np.where(at_limit, TIMEOUT, FAILED)
    outcome = np.select([numbers["status"] == 0, numbers["status"] == 5], [FAILED, killed], COMPLETED)
    start_s = np.where(numbers["wait_s"] >= 0, numbers["submit_s"] + numbers["wait_s"], -1)
    preceding = rows["preceding"].to_numpy()
    after: list[list[int] | None] | None = None
    if (preceding > 0).any():
        ids = first_place(rows["number"].to_numpy(), preceding)
        waits = preceding > 0
        after = [[job] if follows else None for job, follows in zip(ids.tolist(), waits.tolist(), strict=True)]
    return workload_from_columns(
        t0_utc=header.t0_utc,
        source=path.name,
        name=rows["name"],
        submit_s=numbers["submit_s"],
        nodes=rows["nodes"].to_numpy(),
        walltime_s=numbers["walltime_s"],
        runtime_s=numbers["runtime_s"],
        user=rows["user"],
        project=rows["project"],
        queue=rows["queue"],
        after=after,
        outcome=outcome,
        recorded_start_s=start_s,
        machine_nodes=header.machine_nodes,
        cleaning=counts,
    )


def write_swf(workload: Workload, path: str | Path) -> None:
    """Write the workload as ``.swf`` or ``.swf.gz``, so that ``read_swf`` gives its jobs back.

    Users, projects and queues that are not numbers are numbered, and named in the header. Lost are job names
    that are not distinct numbers (the jobs are numbered from 1), a ``timeout`` before 0.98 of the walltime
    (it is read as ``failed``), the places in which jobs ran (the header says of how many) and the counts of
    cleaning. Raises ``InputError`` for a job that waits for more than one other: the format has room for one.
    """
    path = Path(path)
    table = workload.table
    submit_s, start_s = workload.column("submit_s"), workload.column("recorded_start_s")
    number = _job_numbers(table["name"])
    user, users = _codes(table["user"])
    project, projects = _codes(table["project"])
    queue, queues = _codes(table["queue"])
    unknown = np.full(len(workload), -1)
    fields = [
        number,
        submit_s,
        np.where(start_s >= submit_s, start_s - submit_s, -1),
        workload.column("runtime_s"),
        workload.column("nodes"),
        unknown,
        unknown,
        workload.column("nodes"),
        workload.column("walltime_s"),
        unknown,
        np.array([1, 0, 5])[workload.column("outcome")],  # by COMPLETED, FAILED, TIMEOUT
        user,
        project,
        unknown,
        queue,
        unknown,
        _preceding_numbers(path, table["after"], number),
        unknown,
    ]
    machine = (
        ""
        if workload.machine_nodes is None
        else "".join(f"; {label}: {workload.machine_nodes}\n" for label in ("MaxNodes", "MaxProcs"))
    )
    names = "".join(
        f"; {label}: {code} {name}\n"
        for label, named in (("Queue", queues), ("User", users), ("Group", projects))
        for code, name in named.items()
    )
    places = workload.recorded_places
    left_out = f"; Note: the places of {places} jobs are left out, SWF has no field for them\n" if places else ""
    header = (
        f"; Version: 2.2\n; UnixStartTime: {workload.t0_utc}\n; TimeZoneString: UTC\n"
        f"; MaxJobs: {len(workload)}\n; MaxRecords: {len(workload)}\n{machine}"
        f"; Note: processors are whole nodes; written by hpcsim from {workload.source}\n{left_out}{names}"
    )
    lines = pa.table(dict(zip(_columns, fields, strict=True)))
    write_file(path, (header.encode(), *_lines(lines)))


def _lines(table: pa.Table) -> Iterator[bytes]:
    """The rows of a table of numbers as text, a part at a time."""
    options = pyarrow.csv.WriteOptions(include_header=False, delimiter=" ", quoting_style="none")
    for start in range(0, table.num_rows, 1 << 16):
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(table.slice(start, 1 << 16), sink, options)
        yield sink.getvalue().to_pybytes()


def _job_numbers(names: pa.ChunkedArray) -> Int64s:
    """The names themselves where they are distinct numbers above 0, else 1, 2, ..."""
    if pc.all(pc.match_substring_regex(names, r"^[1-9][0-9]{0,14}$")).as_py():
        numbers: Int64s = names.cast(pa.int64()).to_numpy()
        if len(np.unique(numbers)) == len(numbers):
            return numbers
    return np.arange(1, len(names) + 1)


def _codes(column: pa.ChunkedArray) -> tuple[Int64s, dict[int, str]]:
    """A number for each text, -1 for the empty one, and the names of numbers that are not the text itself."""
    coded = column.combine_chunks()
    texts = [" ".join(text.split()) for text in coded.dictionary.to_pylist()]
    if all(_plain_number.fullmatch(text) for text in texts if text):
        numbers, names = [int(text) if text else -1 for text in texts], {}
    else:
        numbers = [place if text else -1 for place, text in enumerate(texts, 1)]
        names = {place: text for place, text in zip(numbers, texts, strict=True) if text}
    codes: Int64s = np.array(numbers, np.int64)[coded.indices.to_numpy()]
    return codes, names


def _preceding_numbers(path: Path, after: pa.ChunkedArray, number: Int64s) -> Int64s:
    preceding = np.full(len(number), -1)
    if after.null_count < len(after):
        for job, follows in enumerate(after.to_pylist()):
            if follows and len(follows) > 1:
                raise InputError(
                    f"{path}: job {job} waits for {len(follows)} jobs, expected at most 1, all that SWF holds"
                )
            if follows:
                preceding[job] = number[follows[0]]
    return preceding


def _fields(path: Path, first_line: int, block: bytes, comments: list[str]) -> pa.Table:
    """The fields of a block of lines as whole numbers; its comments are added to ``comments``."""
    text = block.translate(_blanks)
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    text = text.replace(b"\n ", b"\n").replace(b" \n", b"\n").removeprefix(b" ")
    if b";" in text:
        original = block.decode("utf-8", "replace").splitlines()
        comments += _comments(original)
        if sum(map(len, comments)) > LARGEST_HEADER_BYTES:
            raise InputError(f"{path}: found more than {LARGEST_HEADER_BYTES >> 20} MiB of comments, expected jobs")
    text, line = content_lines(text, first_line, b";")
    values_FJ = _fast_numbers(text)
    if values_FJ is None:
        values_FJ = _slow_numbers(path, text, line)

    def whole(number: int) -> Int64s:
        return np.rint(values_FJ[number - 1]).astype(np.int64)

    return pa.table(
        {
            "line": line,
            "number": whole(1),
            "submit_s": whole(2),
            "wait_s": whole(3),
            "runtime_s": whole(4),
            "nodes": np.where(whole(8) > 0, whole(8), whole(5)),
            "walltime_s": whole(9),
            "status": whole(11),
            "user": whole(12),
            "project": whole(13),
            "queue": whole(15),
            "preceding": whole(17),
        }
    )


def _fast_numbers(text: bytes) -> list[npt.NDArray[np.float64]] | None:
    """The 18 columns of single-spaced lines, or None if there is anything odd about them."""
    if not text:
        return [np.empty(0)] * FIELDS
    if text.translate(None, _numeric):
        return None
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(text),
            read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=_columns, block_size=1 << 20),
            parse_options=pyarrow.csv.ParseOptions(delimiter=" ", quote_char=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(_columns, pa.float64()), null_values=[]
            ),
        )
    except pa.ArrowInvalid:
        return None
    values_FJ = [table[name].to_numpy() for name in _columns]
    return values_FJ if all(np.abs(values).max() <= LARGEST_NUMBER for values in values_FJ) else None


def _slow_numbers(path: Path, text: bytes, line: Int64s) -> list[npt.NDArray[np.float64]]:
    """The same, a line at a time, naming the first one that is not 18 numbers."""

    def number(cell: bytes) -> float | None:
        try:
            value = float(cell)
        except ValueError:
            return None
        return value if math.isfinite(value) and abs(value) <= LARGEST_NUMBER and b"_" not in cell else None

    values_JF = np.empty((len(line), FIELDS))
    for j, row in enumerate(text.splitlines()):
        cells = row.split()
        values = [number(cell) for cell in cells]
        if len(cells) != FIELDS or None in values:
            odd = next((cell for cell, value in zip(cells, values, strict=True) if value is None), None)
            found = f"{len(cells)} numbers" if odd is None else repr(odd[:40].decode("utf-8", "replace"))
            shown = row[:60].decode("utf-8", "replace")
            raise InputError(f"{path}:{line[j]}: found {found}, expected {FIELDS} numbers, in {shown!r}")
        values_JF[j] = values
    return list(values_JF.T)


def _comments(lines: Iterable[str]) -> list[str]:
    return [line.lstrip(" \t;").rstrip() for line in lines if line.lstrip().startswith(";")]


def _text(codes: pa.ChunkedArray, names: dict[int, str]) -> pa.DictionaryArray:
    """Numbers as texts: the header's name of the number, else its digits; below 0 the empty text."""
    column = codes.combine_chunks().dictionary_encode()
    numbers = column.dictionary.to_pylist()
    texts = pa.array([names.get(n, "" if n < 0 else str(n)) for n in numbers], pa.string()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(texts.indices.take(column.indices), texts.dictionary)


def utc_offset_h(path: Path) -> float | None:
    """By how many hours the standard time of the place that the header names is ahead of UTC; None if it names none.

    UTC is no place: it says in what the times are written, not where the users are.
    """
    comments: list[str] = []
    for _, block in line_blocks(path):
        lines = block.decode("utf-8", "replace").splitlines()
        comments += _comments(lines)
        if any(line.strip() and not line.lstrip().startswith(";") for line in lines):
            break  # the jobs begin
    header = _Header(comments)
    for name in header.zones:
        if name.rpartition("/")[2].upper() in ("UTC", "UCT", "GMT", "ZULU", "UNIVERSAL", "GREENWICH"):
            continue
        try:
            moment = datetime.fromtimestamp(header.t0_utc, UTC).astimezone(ZoneInfo(name))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
        ahead = (moment.utcoffset() or timedelta()) - (moment.dst() or timedelta())
        return ahead / timedelta(hours=1)
    return None


class _Header:
    """What is used of the header's comments; whatever cannot be understood is as if it were not there."""

    def __init__(self, comments: list[str]) -> None:
        self.t0_utc = self._number(comments, "UnixStartTime", LATEST_S) or 0
        sizes = (self._number(comments, label, MOST_NODES) for label in ("MaxProcs", "MaxNodes"))
        self.machine_nodes = next((size for size in sizes if size), None)
        self.queues = self._names(comments, "Queue") or self._list(comments, "Queues")
        self.users = self._names(comments, "User")
        self.projects = self._names(comments, "Group")
        self.zones = [*self._values(comments, "TimeZoneString")]

    @staticmethod
    def _values(comments: list[str], label: str) -> Iterator[str]:
        for comment in comments:
            key, colon, value = comment.partition(":")
            if colon and key.strip().lower() == label.lower():
                yield value.strip()

    def _number(self, comments: list[str], label: str, largest: int) -> int | None:
        for value in self._values(comments, label):
            if (found := re.match(r"[0-9]{1,15}\b", value)) and int(found[0]) <= largest:
                return int(found[0]) or None
        return None

    def _names(self, comments: list[str], label: str) -> dict[int, str]:
        """Names given one a line, as ``Queue: 1 batch``."""
        found = (re.fullmatch(r"([0-9]{1,15})\s+(\S.*)", value) for value in self._values(comments, label))
        return {int(match[1]): match[2] for match in found if match}

    def _list(self, comments: list[str], label: str) -> dict[int, str]:
        """Names given in one line, as ``Queues: 1 batch, 2 debug``."""
        for value in self._values(comments, label):
            found = [re.fullmatch(r"\s*([0-9]{1,15})\s+(\S.*?)\s*", part) for part in value.split(",")]
            if all(found):
                return {int(match[1]): match[2] for match in found if match}
        return {}
