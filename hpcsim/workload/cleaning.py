"""The cleaning rules: what is dropped from a trace, mended or only noted, and how many rows each rule met.

A rule is a function of the rows read so far, an Arrow table with a row for every line of the trace, in the
columns below. It answers the rows that it met, a mask of J values, and the table after it. The docstring
of a rule is its public description.

``line``, ``name``, ``submit_s``, ``nodes``, ``walltime_s``, ``runtime_s`` and ``user`` are there in every
format; -1 is an unknown time. SWF adds ``status`` and ``preceding`` (a job number), the ALCF format adds
``start_s``, ``end_s``, ``queue`` and ``job_number``, readers of plug-ins add ``start_s``, ``end_s`` and ``after``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hpcsim.errors import InputError
from hpcsim.workload.job import Int64s

Bools = npt.NDArray[np.bool_]
Effect = Literal["dropped", "mended", "sorted", "noted"]

RESERVATION_QUEUE = r"^R[.0-9]|^M[0-9]"
CLOCK_TOLERANCE_S = 60
AT_LIMIT = 0.98  # of the walltime: a job that ran at least so long was stopped by its limit
LONGEST_RUNTIME_S = 30 * 86_400
CENTURY_S = 100 * 365 * 86_400
LATEST_S = 32_503_680_000  # the year 3000, after 1970 or after the trace's zero


class Rule(NamedTuple):
    """A cleaning rule: its name, what it does to the rows that it meets, its description and its function."""

    name: str
    effect: Effect
    about: str
    apply: Callable[[pa.Table], tuple[Bools, pa.Table]]


class Counted(NamedTuple):
    """A row of the table of cleaning: ``rows`` lines of the trace were ``effect`` by ``rule``."""

    rule: str
    effect: str
    rows: int
    about: str


def rule(effect: Effect) -> Callable[[Callable[[pa.Table], tuple[Bools, pa.Table]]], Rule]:
    """Make a function a cleaning rule."""

    def named(function: Callable[[pa.Table], tuple[Bools, pa.Table]]) -> Rule:
        return Rule(function.__name__, effect, (function.__doc__ or "").strip(), function)

    return named


def clean(
    rows: pa.Table, rules: Sequence[Rule], *, source: str, strict: bool = False
) -> tuple[pa.Table, dict[str, int]]:
    """Apply the rules in their order; answer the rows left and the count of each rule, zeros included.

    ``strict`` refuses, with ``InputError``, at the first rule that would drop or mend a row, and names the
    first such row. No row left is an ``InputError`` too.
    """
    counts = {"rows_read": rows.num_rows}
    rows = rows.combine_chunks()
    for each in rules:
        met, after = each.apply(rows)
        counts[each.name] = int(np.count_nonzero(met))
        if strict and each.effect in ("dropped", "mended") and counts[each.name]:
            first = int(np.argmax(met))
            raise InputError(
                f"{source}:{rows['line'][first]}: job {rows['name'][first].as_py()!r}: strict reading refuses"
                f" what {each.name} ({each.about.rstrip('.')}) finds in {counts[each.name]} of {len(met)}"
                f" rows, which would be {each.effect}"
            )
        rows = after
    counts["rows_kept"] = rows.num_rows
    if not rows.num_rows:
        emptied = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        raise InputError(f"{source}: no job is left after cleaning ({emptied or 'no rows read'}), expected at least 1")
    return rows, counts


def cleaning_table(counts: Mapping[str, int]) -> Iterator[Counted]:
    """The counts of a ``Workload.cleaning`` as rows to be printed, in the order in which the rules ran."""
    known = {each.name: each for each in (*SWF_RULES, *ALCF_RULES, *READER_RULES)}
    for name, rows in counts.items():
        if name in known:
            yield Counted(name, known[name].effect, rows, known[name].about)
        else:
            yield Counted(name, name.removeprefix("rows_"), rows, "")


def refused_by_strict(counts: Mapping[str, int]) -> bool:
    """Whether a trace with these counts has a row that strict reading refuses."""
    return any(each.rows and each.effect in ("dropped", "mended") for each in cleaning_table(counts))


def _numbers(rows: pa.Table, name: str) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = rows.column(name).to_numpy()
    return array


def _without(rows: pa.Table, met: Bools) -> tuple[Bools, pa.Table]:
    return met, rows.filter(pa.array(~met)).combine_chunks() if met.any() else rows


def _mended(rows: pa.Table, met: Bools, name: str, values: npt.NDArray[Any]) -> tuple[Bools, pa.Table]:
    if not met.any():
        return met, rows
    old = _numbers(rows, name)
    new = np.where(met, values, old).astype(old.dtype)
    return met, rows.set_column(rows.schema.get_field_index(name), name, pa.array(new))


@rule("dropped")
def partial_execution(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """Status 2, 3 or 4: a part of a job that another line sums up."""
    return _without(rows, np.isin(_numbers(rows, "status"), (2, 3, 4)))


@rule("dropped")
def missing_submit(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """No time of submission, or one in 1970 in a trace of dates."""
    return _without(rows, _numbers(rows, "submit_s") < 0)


@rule("dropped")
def missing_start(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """No time of start, or one in 1970: the job never ran or its runtime is garbage."""
    return _without(rows, _numbers(rows, "start_s") < 0)


@rule("dropped")
def end_before_start(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """No time of end, or one before the start."""
    return _without(rows, _numbers(rows, "end_s") < _numbers(rows, "start_s"))


@rule("dropped")
def no_nodes(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """No nodes or processors, or an unknown number of them: the job never ran."""
    return _without(rows, _numbers(rows, "nodes") <= 0)


@rule("dropped")
def beyond_time(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """Submitted after the year 2999 or 100 years after the first job, or waited or ran for more than 100 years."""
    submit_s = _numbers(rows, "submit_s")
    met: Bools = (submit_s >= LATEST_S) | (submit_s - submit_s.min(initial=LATEST_S) > CENTURY_S)
    met |= _numbers(rows, "runtime_s") > CENTURY_S
    waited_s = _numbers(rows, "wait_s") if "wait_s" in rows.column_names else _numbers(rows, "start_s") - submit_s
    return _without(rows, met | (waited_s > CENTURY_S))


@rule("mended")
def absurd_walltime(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """Walltime above 100 years, which stands for no limit: cut down to that."""
    met: Bools = _numbers(rows, "walltime_s") > CENTURY_S
    return _mended(rows, met, "walltime_s", np.full(len(met), CENTURY_S))


@rule("mended")
def runtime_unlike_timestamps(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """Runtime missing or more than 60 s off end minus start: end minus start is taken."""
    elapsed_s = _numbers(rows, "end_s") - _numbers(rows, "start_s")
    met = ~(np.abs(elapsed_s - _numbers(rows, "runtime_s")) <= CLOCK_TOLERANCE_S)  # so that NaN is met
    return _mended(rows, met, "runtime_s", elapsed_s)


@rule("dropped")
def no_runtime(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """Runtime unknown, negative or nearer to 0 s than to 1 s."""
    return _without(rows, _numbers(rows, "runtime_s") < 0.5)


@rule("dropped")
def duplicate_name(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """The same job name again: only the attempt that ended last is kept, of equals the last line."""
    names = rows["name"].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.lexsort((_numbers(rows, "end_s"), names))  # stable, so the last of a name is the one to keep
    met = np.zeros(len(names), bool)
    met[order[:-1]] = names[order[1:]] == names[order[:-1]]
    return _without(rows, met)


@rule("noted")
def only_reservations(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """Every job of the trace ran in a reservation: all are kept, since nothing else would be left."""
    return np.full(rows.num_rows, bool(_in_reservation(rows).all())), rows


@rule("dropped")
def reservation_queue(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """A queue made for a reservation (R.name, R123, M123), which the normal queues never saw."""
    met = _in_reservation(rows)
    return _without(rows, np.zeros_like(met) if met.all() else met)


def _in_reservation(rows: pa.Table) -> Bools:
    column = rows["queue"].combine_chunks()
    is_reservation = pc.match_substring_regex(column.dictionary, RESERVATION_QUEUE).to_numpy(zero_copy_only=False)
    met: Bools = is_reservation[column.indices.to_numpy()].astype(bool)
    return met


@rule("mended")
def absurd_runtime(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """Runtime above twice the walltime, or above 30 days and the walltime: cut down to that bound."""
    walltime_s = _numbers(rows, "walltime_s")
    allowed_s = np.maximum(walltime_s, np.minimum(2 * walltime_s, LONGEST_RUNTIME_S))
    bound_s = np.where(walltime_s > 0, allowed_s, LONGEST_RUNTIME_S)
    return _mended(rows, _numbers(rows, "runtime_s") > bound_s, "runtime_s", bound_s)


@rule("mended")
def missing_walltime(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """No walltime asked for, or none above 0 s: the runtime is taken, a perfect request."""
    met: Bools = _numbers(rows, "walltime_s") <= 0
    return _mended(rows, met, "walltime_s", np.maximum(1, np.rint(_numbers(rows, "runtime_s"))))


@rule("mended")
def start_before_submit(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """A start before the submission: the recorded start is forgotten."""
    start_s = _numbers(rows, "start_s")
    met: Bools = (start_s >= 0) & (start_s < _numbers(rows, "submit_s"))
    return _mended(rows, met, "start_s", np.full(len(start_s), -1))


@rule("noted")
def missing_user(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """No user: the name is left empty."""
    users = rows["user"].combine_chunks()
    is_empty = pc.equal(users.dictionary, "").to_numpy(zero_copy_only=False).astype(bool)
    met: Bools = is_empty[users.indices.to_numpy()]
    return met, rows


@rule("sorted")
def unsorted_rows(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """Below a row submitted later: rows are put in order of submission, ties by job number or as read."""
    submit_s = _numbers(rows, "submit_s")
    ties = (_numbers(rows, "job_number"),) if "job_number" in rows.column_names else ()
    order = np.lexsort((*ties, submit_s))
    met: Bools = submit_s < np.maximum.accumulate(submit_s)
    if np.array_equal(order, np.arange(len(order))):
        return met, rows
    return met, rows.take(pa.array(order)).combine_chunks()


@rule("mended")
def unknown_preceding_job(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """Waits for a job that is not among the kept ones submitted before it: it waits for none."""
    preceding = _numbers(rows, "preceding")
    asks = preceding > 0
    if not asks.any():
        return asks, rows
    ids = first_place(_numbers(rows, "number"), preceding)
    met: Bools = asks & ~((ids >= 0) & (ids < np.arange(len(ids))))
    return _mended(rows, met, "preceding", np.full(len(ids), -1))


@rule("mended")
def unknown_job_before(rows: pa.Table) -> tuple[Bools, pa.Table]:
    """Waits for a job that is not among the kept ones submitted before it: it does not wait for that one."""
    followed = rows["after"].to_pylist()
    met = np.zeros(len(followed), bool)
    if any(followed):
        place = {name: at for at, name in enumerate(rows["name"].to_pylist())}
        kept = [[name for name in names or () if place.get(name, at) < at] for at, names in enumerate(followed)]
        met = np.array([len(left) < len(names or ()) for left, names in zip(kept, followed, strict=True)])
        column = pa.array(kept, rows["after"].type)
        rows = rows.set_column(rows.schema.get_field_index("after"), "after", column)
    return met, rows


def first_place(numbers: Int64s, wanted: Int64s) -> Int64s:
    """For each of ``wanted``, the first place at which ``numbers`` holds it, or -1."""
    known, place = np.unique(numbers, return_index=True)
    nearest = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    found: Int64s = np.where(known[nearest] == wanted, place[nearest], -1)
    return found


# A failed or cancelled job is never dropped for having failed: it held its nodes.
SWF_RULES: tuple[Rule, ...] = (
    partial_execution,
    missing_submit,
    no_nodes,
    no_runtime,
    beyond_time,
    absurd_walltime,
    missing_walltime,
    missing_user,
    unsorted_rows,
    unknown_preceding_job,
)

ALCF_RULES: tuple[Rule, ...] = (
    missing_submit,
    missing_start,
    end_before_start,
    no_nodes,
    runtime_unlike_timestamps,
    no_runtime,
    duplicate_name,  # after the rules above: a broken attempt must not displace a good one
    only_reservations,
    reservation_queue,
    absurd_walltime,
    absurd_runtime,
    beyond_time,
    missing_walltime,
    start_before_submit,
    missing_user,
    unsorted_rows,
)

READER_RULES: tuple[Rule, ...] = (
    missing_submit,
    no_nodes,
    no_runtime,
    duplicate_name,
    absurd_walltime,
    absurd_runtime,
    beyond_time,
    missing_walltime,
    start_before_submit,
    missing_user,
    unsorted_rows,
    unknown_job_before,
)
