"""The job records of the Argonne Leadership Computing Facility (DIM_JOB_COMPOSITE, CSV).

Columns are found by the name in the header, whatever their case, order and number: the format has had 57,
58, 66 and 67 of them. Dates are UTC without a zone mark. Assumptions:

* nodes are the ones used, not the ones requested; fractions of seconds and nodes are rounded;
* the exit status tells the outcome: 0 completed, -29 (PBS) at the limit, 143 (Cobalt) at the limit if the
  job ran for at least 0.98 of its walltime; anything else failed. ``EXIT_CODE`` is asked where
  ``EXIT_STATUS`` is empty; where neither says anything the job counts as completed;
* the place of a job is kept where it is a block of Mira (``MIR-...``). Other machines list hosts, cut off at about
  2,048 characters, and nothing says which of them are neighbours;
* jobs submitted in the same second are ordered by job number: the rows lie in the order of their ends,
  and that order would tell a scheduler which job is short.

References: ALCF public data, reports.alcf.anl.gov; PBS Professional Reference Guide (job exit codes).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from hpcsim.errors import InputError
from hpcsim.workload.cleaning import ALCF_RULES, AT_LIMIT, clean, only_reservations, reservation_queue
from hpcsim.workload.csv_table import Column, read_csv
from hpcsim.workload.job import COMPLETED, FAILED, TIMEOUT, Int64s, Workload, workload_from_columns
from hpcsim.workload.trace_file import write_file

Reservations = Literal["drop", "keep"]

# Compute nodes of each machine: ALCF user guides; the records themselves do not say.
MACHINE_NODES = {
    "aurora": 10_624,
    "cooley": 126,
    "intrepid": 40_960,
    "mira": 49_152,
    "polaris": 560,
    "theta": 4_392,
    "thetagpu": 24,
}

DAY_S = 86_400  # a date of 1970-01-01 stands for an unknown one

JOB_COLUMNS = (
    Column("JOB_NAME", "text"),
    Column("COBALT_JOBID", "number", optional=True),
    Column("MACHINE_NAME", "text", optional=True),
    Column("QUEUED_TIMESTAMP", "date"),
    Column("START_TIMESTAMP", "date"),
    Column("END_TIMESTAMP", "date"),
    Column("USERNAME_GENID", "text"),
    Column("PROJECT_NAME_GENID", "text"),
    Column("QUEUE_NAME", "text"),
    Column("WALLTIME_SECONDS", "number"),
    Column("RUNTIME_SECONDS", "number"),
    Column("NODES_USED", "number"),
    Column("EXIT_STATUS", "number"),
    Column("EXIT_CODE", "number", optional=True),
    Column("LOCATION", "text", optional=True),
    Column("MACHINE_PARTITION", "text", optional=True),
)

STATUS_COLUMNS = (
    Column("START_TIMESTAMP", "date", also=("start",)),
    Column("END_TIMESTAMP", "date", also=("end",)),
    Column("IS_ALL_MACHINE_DOWN", "text", optional=True),
    Column("NUMBER_NODES_DOWN", "number", optional=True),
)

_task_kinds = ("SUBBLOCK", "CONSECUTIVE", "MULTILOCATION", "SINGLE")
_job_kinds = (
    *("SINGLE", "CONSECUTIVE", "MULTILOCATION", "SUBBLOCK", "SUBBLOCK_ONLY", "MULTILOCATION_ONLY"),
    *("MULTILOCATION_SUBBLOCK", "CONSECUTIVE_ONLY", "SINGLE_ONLY", "NO_TASKS", "OTHER"),
)
_yes_no = {
    "1": True,
    "1.0": True,
    "true": True,
    "y": True,
    "0": False,
    "0.0": False,
    "false": False,
    "n": False,
}


class Outage(NamedTuple):
    """Nodes out of service from ``start_utc`` to ``end_utc``, Unix times.

    ``end_utc`` is None where the record does not say, ``nodes_down`` None where it is the whole machine.
    """

    start_utc: int
    end_utc: int | None
    nodes_down: int | None


def read_alcf(path: str | Path, *, strict: bool = False, reservations: Reservations = "drop") -> Workload:
    """The jobs of a ``.csv`` or ``.csv.gz`` file of job records, cleaned by ``ALCF_RULES``.

    Second 0 is the earliest submission that is kept; the size of the machine is known by its name.
    ``reservations="keep"`` keeps the jobs of reservation queues. ``strict`` refuses a file in which a rule would
    drop or mend a job. Raises ``InputError`` that names the file, and the line and column where there are such.
    """
    path = Path(path)
    blocks = [_rows(cells) for cells in read_csv(path, JOB_COLUMNS)]
    if not blocks:
        raise InputError(f"{path}: found only a header, expected job records below it")
    rows = pa.concat_tables(blocks)
    blocks.clear()
    rows = rows.unify_dictionaries().combine_chunks()
    about_reservations = (only_reservations, reservation_queue)
    rules = tuple(rule for rule in ALCF_RULES if reservations == "drop" or rule not in about_reservations)
    rows, counts = clean(rows, rules, source=str(path), strict=strict)

    queued_s, start_s = rows["submit_s"].to_numpy(), rows["start_s"].to_numpy()
    walltime_s, runtime_s = rows["walltime_s"].to_numpy(), np.rint(rows["runtime_s"].to_numpy())
    exit_status = rows["exit_status"].to_numpy()
    t0_utc = int(queued_s[0])
    at_limit = (exit_status == -29) | ((exit_status == 143) & (runtime_s >= AT_LIMIT * walltime_s))
    return workload_from_columns(
        t0_utc=t0_utc,
        source=path.name,
        name=rows["name"],
        submit_s=queued_s - t0_utc,
        nodes=rows["nodes"].to_numpy(),
        walltime_s=walltime_s,
        runtime_s=runtime_s,
        user=rows["user"],
        project=rows["project"],
        queue=rows["queue"],
        outcome=np.select([exit_status == 0, at_limit], [COMPLETED, TIMEOUT], FAILED),
        recorded_start_s=np.where(start_s >= 0, start_s - t0_utc, -1),
        recorded_place=rows["block"],
        machine_nodes=MACHINE_NODES.get(rows["machine"][0].as_py().lower()),
        cleaning=counts,
    )


def _rows(cells: pa.Table) -> pa.Table:
    """The columns that the rules of cleaning know, from the cells of a block of records."""
    exit_status, exit_code = _floats(cells["EXIT_STATUS"]), _floats(cells["EXIT_CODE"])
    exit_code[exit_code == -1] = np.nan  # "no record"
    exit_status = np.where(np.isnan(exit_status), exit_code, exit_status)
    return pa.table(
        {
            "line": cells["line"],
            "name": cells["JOB_NAME"],
            "job_number": _job_number(cells),
            "submit_s": _seconds(cells["QUEUED_TIMESTAMP"]),
            "start_s": _seconds(cells["START_TIMESTAMP"]),
            "end_s": _seconds(cells["END_TIMESTAMP"]),
            "nodes": _whole(_floats(cells["NODES_USED"])),
            "walltime_s": _whole(_floats(cells["WALLTIME_SECONDS"])),
            "runtime_s": _floats(cells["RUNTIME_SECONDS"]),
            "exit_status": _whole(exit_status),
            "user": _generated_id(cells["USERNAME_GENID"]),
            "project": _generated_id(cells["PROJECT_NAME_GENID"]),
            "queue": cells["QUEUE_NAME"].combine_chunks().dictionary_encode(),
            "block": _block_name(cells),
            "machine": pc.fill_null(cells["MACHINE_NAME"].cast(pa.string()), ""),
        }
    )


def _floats(cells: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """The numbers, NaN for an empty cell."""
    return np.array(pc.fill_null(cells, float("nan")).to_numpy())


def _whole(values: npt.NDArray[np.float64]) -> Int64s:
    return np.rint(np.nan_to_num(values, nan=0.0)).astype(np.int64)


def _seconds(dates: pa.ChunkedArray) -> Int64s:
    """Whole Unix seconds, -1 for a date that is empty or in 1970-01-01 or before."""
    seconds = pc.fill_null(dates.cast(pa.int64()), 0).to_numpy() // 1_000_000
    return np.where(seconds < DAY_S, -1, seconds)


def _job_number(cells: pa.Table) -> Int64s:
    """The number of the Cobalt job, or the digits that the job's name begins with where there is none."""
    number = _whole(_floats(cells["COBALT_JOBID"]))
    if (number > 0).all():
        return number
    digits = pc.struct_field(pc.extract_regex(cells["JOB_NAME"], r"^(?P<digits>[0-9]{1,15})"), "digits")
    return np.where(number > 0, number, pc.fill_null(digits.cast(pa.int64()), 0).to_numpy())


def _block_name(cells: pa.Table) -> pa.DictionaryArray:
    """The name of the block of Mira that each job had, null where neither column holds one."""
    columns = [cells[name] for name in ("LOCATION", "MACHINE_PARTITION")]
    names = [pc.if_else(pc.starts_with(column, "MIR-"), column, None) for column in columns]
    return pc.coalesce(*names).combine_chunks().dictionary_encode()


def _generated_id(cells: pa.ChunkedArray) -> pa.DictionaryArray:
    """Users and projects as text; ``123.0``, which tools make of numbers beside empty cells, is ``123``."""
    column = cells.combine_chunks().dictionary_encode()
    texts = pc.replace_substring_regex(column.dictionary, r"^([0-9]+)\.0+$", r"\1").dictionary_encode()
    return pa.DictionaryArray.from_arrays(texts.indices.take(column.indices), texts.dictionary)


def write_alcf(workload: Workload, path: str | Path) -> None:
    """Write the workload as job records of 57 columns, so that ``read_alcf`` gives its jobs back.

    The first submission becomes second 0. A start that the workload does not know is written as the
    submission. Columns of which a workload knows nothing get a constant. Lost are the size of the machine,
    the counts of cleaning and places that are no blocks of Mira. Raises ``InputError`` for what the format
    cannot say: a job that waits for another, or dates that are not known (``t0_utc`` 0).
    """
    path = Path(path)
    if len(workload) and workload.t0_utc + int(workload.column("submit_s")[0]) < DAY_S:
        raise InputError(f"{path}: job records hold dates, but second 0 of {workload.source} has none (t0_utc 0)")
    if any(workload.table["after"].to_pylist()):
        raise InputError(f"{path}: job records cannot say that a job waits for another; write .swf instead")
    write_file(path, _records(workload))


def _records(workload: Workload, count: int = 1 << 16) -> Iterator[bytes]:
    """The header and the records as text, ``count`` jobs at a time."""
    for start in range(0, max(1, len(workload)), count):
        sink = pa.BufferOutputStream()
        options = pyarrow.csv.WriteOptions(include_header=start == 0)
        pyarrow.csv.write_csv(_record_table(workload, start, min(start + count, len(workload))), sink, options)
        yield sink.getvalue().to_pybytes()


def _record_table(workload: Workload, start: int, stop: int) -> pa.Table:
    """The 57 columns of the jobs ``start <= id < stop``, in the order of the files of 2023."""
    table = workload.table.slice(start, stop - start)
    submit_s, runtime_s, nodes, walltime_s, recorded_s = (
        table[name].to_numpy() for name in ("submit_s", "runtime_s", "nodes", "walltime_s", "recorded_start_s")
    )
    start_s = np.where(recorded_s >= 0, recorded_s, submit_s)
    wait_s = start_s - submit_s
    exit_status = np.array([0, 1, -29])[table["outcome"].to_numpy()]  # by COMPLETED, FAILED, TIMEOUT
    node_hours = nodes * runtime_s / 3600
    place = table["recorded_place"].cast(pa.string())

    def dates(prefix: str, seconds: Int64s) -> dict[str, pa.Array]:
        moments = pa.array(seconds + workload.t0_utc).cast(pa.timestamp("s"))
        return {
            f"{prefix}_TIMESTAMP": pc.strftime(moments, "%Y-%m-%d %H:%M:%S"),
            f"{prefix}_DATE_ID": pc.strftime(moments, "%Y%m%d").cast(pa.int64()),
        }

    columns: dict[str, Any] = {
        "JOB_NAME": table["name"],
        "COBALT_JOBID": np.arange(start + 1, stop + 1),
        "MACHINE_NAME": "unknown",
        **dates("QUEUED", submit_s),
        **dates("START", start_s),
        **dates("END", start_s + runtime_s),
        "USERNAME_GENID": table["user"],
        "PROJECT_NAME_GENID": table["project"],
        "QUEUE_NAME": table["queue"],
        "WALLTIME_SECONDS": walltime_s,
        "RUNTIME_SECONDS": runtime_s,
        **dict.fromkeys(("NODES_USED", "NODES_REQUESTED", "CORES_USED", "CORES_REQUESTED"), nodes),
        "LOCATION": pc.fill_null(place, "UNKNOWN"),
        "EXIT_STATUS": exit_status,
        "ELIGIBLE_WAIT_SECONDS": wait_s,
        "ELIGIBLE_WAIT_FACTOR": wait_s // np.maximum(1, walltime_s),
        "QUEUED_WAIT_SECONDS": wait_s,
        "QUEUED_WAIT_FACTOR": wait_s // np.maximum(1, walltime_s),
        "REQUESTED_CORE_HOURS": node_hours,  # in the real files, too, the runtime and not the walltime counts
        "USED_CORE_HOURS": node_hours,
        "CAPABILITY_USAGE_CORE_HOURS": 0,
        "NONCAPABILITY_USAGE_CORE_HOURS": node_hours,
        **dict.fromkeys(("BUCKETS3_A_USAGE_CORE_HOURS", "BUCKETS3_B_USAGE_CORE_HOURS"), 0),
        "BUCKETS3_C_USAGE_CORE_HOURS": node_hours,
        "MACHINE_PARTITION": pc.fill_null(place, ""),
        "EXIT_CODE": exit_status,
        "MODE": "script",
        "RESID": -1,
        "DATA_LOAD_STATUS": "UNKNOWN",
        "CAPABILITY": "Not capability",
        **dict.fromkeys(("SIZE_BUCKETS3", "PERCENTILE"), "N/A"),
        **dict.fromkeys((f"NUM_TASKS_{kind}" for kind in _task_kinds), -1),
        "COBALT_NUM_TASKS": 0,
        **dict.fromkeys((f"IS_{kind}" for kind in _job_kinds), 0),
        "OVERBURN_CORE_HOURS": 0,
        "IS_OVERBURN": 0,
    }
    constant = {name: value for name, value in columns.items() if isinstance(value, (str, int))}
    columns |= {name: pa.repeat(value, stop - start) for name, value in constant.items()}
    return pa.table(columns)


def read_machine_status(path: str | Path) -> list[Outage]:
    """The outages of a MACHINESTATUS file, or of a plain list of ``start,end``, in order of their start.

    Whole-machine outages that overlap or touch are merged. A row that is not of the whole machine and does
    not say how many nodes were down is left out, and so is one that lasts 0 s. Raises ``InputError`` that
    names the file, and the line where there is one.
    """
    path = Path(path)
    whole: list[Outage] = []
    partial: list[Outage] = []
    for rows in read_csv(path, STATUS_COLUMNS):
        for row in rows.to_pylist():
            where = f"{path}:{row['line']}"
            outage = _outage(where, row)
            if outage.end_utc == outage.start_utc:
                continue
            if outage.nodes_down is None:
                whole.append(outage)
            elif outage.nodes_down:
                partial.append(outage)
    return sorted([*_merged(whole), *partial], key=lambda outage: outage.start_utc)


def _outage(where: str, row: dict[str, Any]) -> Outage:
    begin, end = row["START_TIMESTAMP"], row["END_TIMESTAMP"]
    if begin is None:
        raise InputError(f"{where}: column START_TIMESTAMP: found nothing, expected YYYY-MM-DD HH:MM:SS")
    if end is not None and end < begin:
        raise InputError(f"{where}: column END_TIMESTAMP: found {end}, before the start {begin}, expected it after")
    all_down = (row["IS_ALL_MACHINE_DOWN"] if row["IS_ALL_MACHINE_DOWN"] is not None else "1").strip().lower()
    if all_down not in _yes_no:
        raise InputError(f"{where}: column IS_ALL_MACHINE_DOWN: found {all_down[:40]!r}, expected 1 or 0")
    nodes_down = None if _yes_no[all_down] else max(0, round(row["NUMBER_NODES_DOWN"] or 0))
    return Outage(_unix(begin), None if end is None else _unix(end, up=True), nodes_down)


def _unix(moment: datetime, up: bool = False) -> int:
    seconds = int(moment.replace(tzinfo=UTC, microsecond=0).timestamp())
    return seconds + (up and moment.microsecond > 0)


def _merged(outages: list[Outage]) -> Iterator[Outage]:
    """Overlapping outages as one; one without an end joins those around it but swallows none after it."""
    current: Outage | None = None
    for outage in sorted(outages, key=lambda each: (each.start_utc, each.end_utc or each.start_utc)):
        if current is None or outage.start_utc > (current.end_utc or current.start_utc):
            if current is not None:
                yield current
            current = outage
        else:
            ends = [each.end_utc for each in (current, outage) if each.end_utc is not None]
            current = Outage(current.start_utc, max(ends, default=None), None)
    if current is not None:
        yield current
