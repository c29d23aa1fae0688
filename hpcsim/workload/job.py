"""A job as its user submitted it, and the table of all jobs of a run with the truth about each.

``Job`` holds what a scheduler may know. What only the trace knows (how long the program really runs,
how it ends, when and where it once started) stays in columns of the ``Workload`` that no plug-in is handed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hpcsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Int64s = npt.NDArray[np.int64]

# How the program itself would end if nothing of the machine stopped it.
OUTCOMES = ("completed", "failed", "timeout")
COMPLETED, FAILED, TIMEOUT = range(3)

MOST_NODES = 100_000_000  # of a machine, as a scenario may say

_text = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        # what the user submitted
        pa.field("name", pa.string(), nullable=False),
        pa.field("submit_s", pa.int64(), nullable=False),
        pa.field("nodes", pa.int64(), nullable=False),
        pa.field("walltime_s", pa.int64(), nullable=False),
        pa.field("user", _text, nullable=False),
        pa.field("project", _text, nullable=False),
        pa.field("queue", _text, nullable=False),
        pa.field("after", pa.list_(pa.int64())),  # ids that must have ended before this job may start
        # of one node, for a job that shares it with others; all 0 for one that takes whole nodes
        pa.field("cores", pa.int64(), nullable=False),
        pa.field("gpus", pa.int64(), nullable=False),
        pa.field("memory_gib", pa.float64(), nullable=False),
        pa.field("after_bytes", pa.list_(pa.int64())),  # that it reads of what each job of ``after`` wrote
        # the truth: hidden from every scheduler
        pa.field("runtime_s", pa.int64(), nullable=False),
        pa.field("outcome", pa.int8(), nullable=False),  # an index into OUTCOMES
        pa.field("recorded_start_s", pa.int64(), nullable=False),  # -1 where the trace does not say
        pa.field("recorded_place", _text),  # as the trace names it; null where it does not say
    ]
)

_PARTS = ("cores", "gpus", "memory_gib")


class Job(NamedTuple):
    """What a user submitted: all that a scheduler may know about a job before it has ended.

    ``id`` is the place in the order of submission, from 0 (equal submit times: the order of the trace),
    so sorting by ``(…, job.id)`` breaks ties by submission. ``name`` is the trace's own identifier.
    Times are whole seconds; ``submit`` counts from the trace's zero, ``walltime`` is the limit asked for.
    ``cores``, ``gpus`` and ``memory_gib`` are what a job takes of one node (``nodes`` is 1) that it shares with others;
    a job that takes whole nodes has 0 cores. ``after`` are the ids of jobs that must have ended before it may start,
    ``after_bytes`` how much it reads of what each of these wrote; None where there are none.
    """

    id: int
    name: str
    submit: int
    nodes: int
    walltime: int
    user: str
    project: str
    queue: str
    after: tuple[int, ...] | None = None
    cores: int = 0
    gpus: int = 0
    memory_gib: float = 0.0
    after_bytes: tuple[int, ...] | None = None

    def __deepcopy__(self, memo: object) -> Job:
        return self  # nothing in it can change


@dataclass(frozen=True, slots=True)
class Workload:
    """The jobs of a run, a row a job in order of submission (``SCHEMA``), and where they came from.

    ``t0_utc`` is the Unix time of simulated second 0. ``machine_nodes`` is what the trace's header says of
    the machine's size. ``cleaning`` counts, by the name of the rule, the rows that were dropped or mended.
    ``form`` is the format of the trace that they were read from, None if from none.
    """

    table: pa.Table
    t0_utc: int
    source: str
    machine_nodes: int | None = None
    cleaning: Mapping[str, int] = field(default_factory=dict)
    form: str | None = None

    def __post_init__(self) -> None:
        if not self.table.schema.equals(SCHEMA):
            raise TypeError(f"a workload's table must have the columns of SCHEMA, not {self.table.schema}")
        if np.any(np.diff(self.column("submit_s")) < 0):
            raise ValueError("a workload's rows must be in the order of submission")

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def recorded_places(self) -> int:
        """Of how many jobs the trace says where they ran."""
        return len(self) - int(self.table.column("recorded_place").null_count)

    @property
    def shares_nodes(self) -> bool:
        """Whether any job asks for a part of a node."""
        return bool(np.any(self.column("cores")) or np.any(self.column("gpus")))

    def column(self, name: str) -> npt.NDArray[Any]:
        """A numeric column as a numpy array of J values, J jobs."""
        array: npt.NDArray[Any] = self.table.column(name).to_numpy()
        return array

    def jobs(self, start: int = 0, stop: int | None = None) -> Iterator[Job]:
        """The jobs ``start <= id < stop``, made as they are asked for."""
        stop = len(self) if stop is None else stop
        part = self.table.slice(start, stop - start)

        def values(name: str) -> Iterator[Any]:
            column = part.column(name).combine_chunks()
            if pa.types.is_dictionary(column.type):
                return map(column.dictionary.to_pylist().__getitem__, column.indices.to_numpy().tolist())
            return iter(column.to_numpy(zero_copy_only=False).tolist())

        def lists(name: str) -> Iterator[tuple[int, ...] | None]:
            column = part.column(name)
            if column.null_count == len(column):
                return repeat(None)
            return (None if several is None else tuple(several) for several in column.to_pylist())

        asks = any(part.column(name).to_numpy().any() for name in _PARTS)
        parts = map(values, _PARTS) if asks else (repeat(0), repeat(0), repeat(0.0))
        names = SCHEMA.names[:7]
        rows = zip(range(start, stop), *map(values, names), lists("after"), *parts, lists("after_bytes"), strict=False)
        return map(partial(tuple.__new__, Job), rows)  # Job(*row), but without a Python call for each job

    def take(self, ids: Int64s) -> Workload:
        """Only the jobs ``ids`` (ascending), numbered anew; an ``after`` outside them is forgotten."""
        table = self.table.take(pa.array(ids))
        after = table.column("after")
        if after.null_count < len(after):
            new_id = {old: new for new, old in enumerate(ids.tolist())}
            jobs, sizes = after.to_pylist(), table.column("after_bytes").to_pylist()
            kept = {
                "after": [None if row is None else [new_id[i] for i in row if i in new_id] for row in jobs],
                "after_bytes": [
                    None if each is None else [size for i, size in zip(row, each, strict=True) if i in new_id]
                    for row, each in zip(jobs, sizes, strict=True)
                ],
            }
            for name, lists in kept.items():
                index = table.schema.get_field_index(name)
                table = table.set_column(index, SCHEMA.field(name), pa.array(lists, pa.list_(pa.int64())))
        return replace(self, table=table)

    def with_nodes(self, nodes: Int64s) -> Workload:
        """The same jobs with other node counts, J of them."""
        index = self.table.schema.get_field_index("nodes")
        return replace(self, table=self.table.set_column(index, SCHEMA.field("nodes"), pa.array(nodes, pa.int64())))

    def with_parts(self, cores: Int64s, gpus: Int64s, memory_gib: npt.NDArray[np.float64]) -> Workload:
        """The same jobs with other parts of nodes, J of each."""
        table = self.table
        for name, values in zip(_PARTS, (cores, gpus, memory_gib), strict=True):
            field = SCHEMA.field(name)
            table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
        return replace(self, table=table)

    def first(self, count: int) -> Workload:
        """The first ``count`` jobs by submit time."""
        if count < 1:
            raise InputError(f"jobs: found {count}, but a run needs at least 1 job")
        return replace(self, table=self.table.slice(0, count))


def workload_from_columns(
    *,
    t0_utc: int,
    source: str,
    name: Sequence[str] | npt.NDArray[Any] | pa.Array,
    submit_s: npt.ArrayLike,
    nodes: npt.ArrayLike,
    walltime_s: npt.ArrayLike,
    runtime_s: npt.ArrayLike,
    user: Any = None,
    project: Any = None,
    queue: Any = None,
    after: Sequence[Sequence[int] | None] | None = None,
    cores: npt.ArrayLike | None = None,
    gpus: npt.ArrayLike | None = None,
    memory_gib: npt.ArrayLike | None = None,
    after_bytes: Sequence[Sequence[int] | None] | None = None,
    outcome: npt.ArrayLike | None = None,
    recorded_start_s: npt.ArrayLike | None = None,
    recorded_place: Any = None,
    machine_nodes: int | None = None,
    cleaning: Mapping[str, int] | None = None,
) -> Workload:
    """A workload from plain columns of J values already in the order of submission.

    ``cores``, ``gpus`` and ``memory_gib`` are what jobs take of one node that they share; 0, or none at all: nothing is
    said of it. ``user``, ``project`` and ``queue`` are J texts or an Arrow dictionary array; none means unknown
    (empty). So is ``recorded_place``, but what is unknown is null there.
    """
    count = len(name)

    def text(values: Any) -> pa.Array:
        if values is None:
            return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([""]))
        if isinstance(values, (pa.Array, pa.ChunkedArray)) and pa.types.is_dictionary(values.type):
            # encoded anew, because a dictionary may hold a text twice, which pandas refuses
            return values.cast(pa.string()).dictionary_encode().cast(_text)
        return pa.array(values, pa.string()).dictionary_encode().cast(_text)

    def whole(values: npt.ArrayLike | None, default: int, dtype: Any = np.int64) -> pa.Array:
        return pa.array(np.full(count, default, dtype) if values is None else np.asarray(values, dtype))

    def lists(values: Sequence[Sequence[int] | None] | None) -> pa.Array:
        return pa.nulls(count, pa.list_(pa.int64())) if values is None else pa.array(values, pa.list_(pa.int64()))

    columns = [
        pa.array(name, pa.string()) if not isinstance(name, (pa.Array, pa.ChunkedArray)) else name.cast(pa.string()),
        whole(submit_s, 0),
        whole(nodes, 1),
        whole(walltime_s, 1),
        text(user),
        text(project),
        text(queue),
        lists(after),
        whole(cores, 0),
        whole(gpus, 0),
        whole(memory_gib, 0, np.float64),
        lists(after_bytes),
        whole(runtime_s, 1),
        whole(outcome, COMPLETED, np.int8),
        whole(recorded_start_s, -1),
        pa.nulls(count, _text) if recorded_place is None else text(recorded_place),
    ]
    table = pa.Table.from_arrays(columns, schema=SCHEMA).combine_chunks()
    return Workload(table, t0_utc, source, machine_nodes, dict(cleaning or {}))
