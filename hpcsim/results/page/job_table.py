"""The jobs of a run as packed columns, as many as a page has room for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpcsim.results.page.pack import Packed, named, real, size_of, texts, whole

# What goes first where not all columns have room; the others stay.
DROPPED = ("energy_j", "why", "after", "eligible_s", "held_by", "rejected_by", "routed_to", "attempts", "project")


def job_table(jobs: pa.Table, attempts: pa.Table, room: int) -> dict[str, Any]:
    """Packed columns of ``jobs.parquet`` and the reason of each job's last start, in at most ``room`` characters.

    Times that depend on each other are packed as spans: ``wait_s`` and ``runtime_s`` beside ``submit_s`` give the
    start and the end. If there is no room for all, columns are dropped as ``DROPPED`` says; if that is not enough,
    jobs from the last submitted on. ``dropped`` and ``left_out`` say so.
    """
    columns = _columns(jobs, attempts)
    dropped = []
    for name in DROPPED:
        if sum(map(size_of, columns.values())) <= room:
            break
        if columns.pop(name, None) is not None:
            dropped.append(name)
    kept = jobs.num_rows
    while kept and (size := sum(map(size_of, columns.values()))) > room:
        kept = max(0, int(kept * min(0.9, 0.95 * room / size)))
        columns = {name: each for name, each in _columns(jobs.slice(0, kept), attempts).items() if name not in dropped}
    return {"count": kept, "columns": columns, "dropped": dropped, "left_out": jobs.num_rows - kept}


def _columns(jobs: pa.Table, attempts: pa.Table) -> dict[str, Packed]:
    found = {"job_id": _ids(jobs.column("job_id")), "submit_s": whole(jobs.column("submit_s"), changes=True)}
    kinds: dict[str, Callable[[Any], Packed]] = {
        **dict.fromkeys(("user", "project", "queue", "routed_to", "state", "held_by", "rejected_by"), named),
        **dict.fromkeys(("nodes", "walltime_s", "wait_s", "runtime_s", "attempts", "cores", "gpus"), whole),
        **dict.fromkeys(("memory_gib", "energy_j"), real),
        "after": texts,
    }
    for name, kind in kinds.items():
        if name in jobs.column_names and _says_something(jobs.column(name)):
            found[name] = kind(jobs.column(name))
    if "eligible_s" in jobs.column_names and _says_something(jobs.column("eligible_s")):
        found["eligible_s"] = whole(pc.subtract(jobs.column("eligible_s"), jobs.column("submit_s")))
    if "why" in attempts.column_names and _says_something(why := _reasons(jobs, attempts)):
        found["why"] = named(why)
    return found


def _says_something(column: pa.ChunkedArray) -> bool:
    """Whether any row has more than an empty text or nothing."""
    if column.null_count == len(column):
        return False
    return not pa.types.is_dictionary(column.type) or any(pc.unique(column.cast(pa.string())).to_pylist())


def _ids(names: pa.ChunkedArray) -> Packed:
    """Names of jobs: where all are a number between the same two texts, as ``2881.polaris``, only the numbers."""
    if len(names):
        parts = pc.extract_regex(names, r"^(?P<before>[^0-9]*)(?P<number>0|[1-9][0-9]{0,14})(?P<after>(?s:[^0-9].*)?)$")
        if not parts.null_count:
            before, number, after = (pc.struct_field(parts, [field]) for field in (0, 1, 2))
            if len(pc.unique(before)) == len(pc.unique(after)) == 1:
                numbers = whole(number.cast(pa.int64()), changes=True)
                return {"kind": "numbered", "before": before[0].as_py(), "after": after[0].as_py(), "numbers": numbers}
    return texts(names)


def _reasons(jobs: pa.Table, attempts: pa.Table) -> pa.ChunkedArray:
    """Why each job was started, the last time."""
    job = pc.index_in(attempts.column("job_id"), value_set=jobs.column("job_id").combine_chunks())
    job = job.fill_null(jobs.num_rows).to_numpy()
    last = np.full(jobs.num_rows + 1, -1, np.int64)
    last[job] = np.arange(job.size)  # a later attempt overwrites an earlier one
    last = last[:-1]
    return attempts.column("why").take(pa.array(last, mask=last < 0))
