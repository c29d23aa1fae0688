"""How long jobs waited, by how many nodes they asked for: shares of jobs over a scale of waits, and a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpcsim.results.run import Run
from hpcsim.results.size_classes import Floats, SizeClass, Started, classes_of

_POINTS_A_DECADE = 30


def waits(runs: Sequence[Run]) -> dict[str, Any]:
    """Of each class and run the share of jobs that waited at most each of ``scale_s``, and figures of the class.

    The scale begins at a second; who waited less is in the share of its first point.
    """
    of_runs = [Started(run) for run in runs]
    classes = classes_of(max(run.machine_nodes for run in of_runs), [run.nodes for run in of_runs])
    longest = max(run.wait_s.max(initial=10.0) for run in of_runs)
    decades = int(np.ceil(np.log10(longest)))
    scale_s = 10 ** (np.arange(decades * _POINTS_A_DECADE + 1) / _POINTS_A_DECADE)
    return {
        "scale_s": [round(second, 3) for second in scale_s.tolist()],
        "classes": [
            {"name": size.name, "runs": [_of_class(run, size, scale_s) for run in of_runs]} for size in classes
        ],
    }


def _of_class(run: Started, size: SizeClass, scale_s: Floats) -> dict[str, Any] | None:
    own = size.rows(run.nodes)
    if not own.any():
        return None
    wait_s = np.sort(run.wait_s[own])
    ended = own & ~np.isnan(run.runtime_s)
    return {
        "jobs": wait_s.size,
        "node_hours": float((run.nodes * run.runtime_s)[ended].sum() / 3600),
        "at_once": float(np.mean(wait_s == 0)),
        "mean_wait_s": float(wait_s.mean()),
        "median_wait_s": float(np.quantile(wait_s, 0.5)),
        "p90_wait_s": float(np.quantile(wait_s, 0.9)),
        "max_wait_s": float(wait_s[-1]),
        "mean_bounded_slowdown": float(run.bounded_slowdown[ended].mean()) if ended.any() else None,
        "shares": [
            round(share, 5) for share in (np.searchsorted(wait_s, scale_s, side="right") / wait_s.size).tolist()
        ],
    }
