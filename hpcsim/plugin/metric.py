"""What a metric is, and the finished run that it is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that is over, as its metrics see it: the tables of its directory and what hpcsim made of them.

    ``jobs``, ``attempts`` and ``timeline`` are Arrow tables; ``power`` and ``interrupts`` are None in a run without
    physics. docs/results.md has every column and its unit; ``jobs["measured"]`` says which jobs count. ``summary`` has
    hpcsim's own figures, ``nodes`` is the size of the machine, ``t0_utc`` the Unix time of second 0. The figures of
    the summary are of the seconds from ``measured_from`` to before ``measured_to``; None where the window is not
    limited.
    """

    jobs: pa.Table
    attempts: pa.Table
    timeline: pa.Table
    power: pa.Table | None
    interrupts: pa.Table | None
    summary: Mapping[str, Any]
    nodes: int
    t0_utc: int
    measured_from: int | None
    measured_to: int | None


class Metric(Protocol):
    """What a metric is: a name, the version of this interface, a unit, and one method.

    The first line of the class's docstring says what it is; ``unit`` is empty for a number without one. With a class
    ``Options`` it is made with an instance of that.
    """

    name: str
    api: int
    unit: str

    def compute(self, run: FinishedRun) -> float | None:
        """The figure, a finite number; None where the run has nothing that it could be of."""
        ...
