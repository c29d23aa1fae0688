"""What was out of service, when and why, from a run's interrupts."""

from __future__ import annotations

import numpy as np

from hpcsim.results.curves import by_interval
from hpcsim.results.plots.drawn import Bools, Curve, Drawn, Floats

CAUSES = ("hardware", "heat", "outage", "maintenance", "recorded")  # docs/results.md
PLANNED = ("maintenance",)


def steps(run: Drawn, rows: Bools | None = None) -> tuple[Floats, Floats]:
    """Seconds, and the nodes that are out of service from each on; of these rows of the interrupts, or of all."""
    begins, ends, nodes = (run.column("interrupts", name) for name in ("time_s", "until_s", "nodes"))
    if rows is not None:
        begins, ends, nodes = begins[rows], ends[rows], nodes[rows]
    time = np.concatenate([[run.begin], begins, ends]).astype(np.float64)
    change = np.concatenate([[0.0], nodes, -nodes])
    order = np.argsort(time, kind="stable")
    time, level = time[order], np.cumsum(change[order])
    last = np.append(np.diff(time) > 0, True)  # of a second only what holds from it on
    return time[last], level[last]


def away(run: Drawn, rows: Bools | None = None) -> Curve:
    """The nodes that were out of service, by intervals."""
    return Curve(run.edges, *by_interval(*steps(run, rows), run.edges))
