"""What a workload reader of a third party is, and the records in which it hands over the jobs of a trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

BUILT_IN: Final = ("alcf", "swf", "wfcommons")
"""The formats that hpcsim reads by itself."""

UNKNOWN: Final = -1  # a time


class JobRecord(NamedTuple):
    """One job as the trace records it; times are seconds, -1 or None where the trace does not say.

    Parameters
    ----------
    name : the trace's own identifier of the job.
    submit_s : when it was submitted; see ``JobLog`` for the zero of times.
    nodes : nodes that it had, or asked for; processors, in traces that count those.
    runtime_s : how long it really ran.
    walltime_s : the limit that it asked for.
    start_s : when it really started.
    user, project, queue : texts, empty where unknown.
    outcome : how its program ended, ``completed``, ``failed`` or ``timeout`` (stopped at its limit).
    after : names of jobs that must have ended before this one may start.
    line : the line of the file on which it stands, for messages; 0: the records are counted.
    """

    name: str
    submit_s: float
    nodes: float
    runtime_s: float
    walltime_s: float | None = UNKNOWN
    start_s: float | None = UNKNOWN
    user: str = ""
    project: str = ""
    queue: str = ""
    outcome: str = "completed"
    after: tuple[str, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class JobLog:
    """The jobs of a trace, with what the trace says of itself.

    ``jobs`` are records, or an Arrow table with columns of their names (the first four at least). Where ``t0_utc`` is
    given, times are seconds after that Unix time; else they may have any zero, such as Unix time itself, and the
    first submission becomes second 0. ``machine_nodes`` is the size of the machine, if the trace says it.
    """

    jobs: Iterable[JobRecord] | pa.Table
    t0_utc: int | None = None
    machine_nodes: int | None = None


class Reader(Protocol):
    """What a workload reader is: a name, the version of this interface, and two methods.

    What it reads goes through the rules of cleaning, and is kept in the cache until the file, the code of the reader
    (its module, or all modules of its package) or its options change.
    """

    name: str
    api: int

    def matches(self, path: Path, head: bytes) -> bool:
        """Whether ``path`` is a trace for this reader, by its name and its first bytes.

        ``head`` are the first 4,096, unpacked where the name ends in ``.gz``.
        """
        ...

    def read(self, path: Path) -> JobLog | Iterable[JobRecord] | pa.Table:
        """The jobs of the trace, in any order. Raise ``InputError`` that names ``path:line`` for what is wrong."""
        ...


def trace_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file, plain or ``.gz``, without the blank ones: the number of each, from 1, and its text.

    Bytes that are not UTF-8 become U+FFFD. Raises ``InputError`` for a file that is missing, empty or damaged.
    """
    from hpcsim.workload.trace_file import line_blocks  # numpy, which the contract itself can do without

    for number, block in line_blocks(Path(path)):
        lines = block.decode("utf-8-sig" if number == 1 else "utf-8", "replace").split("\n")
        for offset, line in enumerate(lines):
            if line.strip():
                yield number + offset, line.rstrip("\r")
