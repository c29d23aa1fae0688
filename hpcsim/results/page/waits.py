"""How long jobs waited, by how many nodes they asked for: shares of jobs over a scale of waits, and a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpcsim.results.run import Run
from hpcsim.results.size_classes import size_classes

_POINTS_A_DECADE = 30


def waits(runs: Sequence[Run]) -> dict[str, Any]:
    """Of each class and run the share of jobs that waited at most each of ``scale_s``, and figures of the class.

    The scale begins at a second; who waited less is in the share of its first point.
    """
    of_runs = [size_classes(run.tables["jobs"]) for run in runs]
    longest = max((each.wait_s[-1] for classes in of_runs for each in classes), default=1.0)
    decades = max(1, int(np.ceil(np.log10(max(longest, 10.0)))))
    scale_s = 10 ** (np.arange(decades * _POINTS_A_DECADE + 1) / _POINTS_A_DECADE)
    classes: dict[int, dict[str, Any]] = {}
    for number, found in enumerate(of_runs):
        for each in found:
            own = classes.setdefault(each.least, {"name": each.name, "runs": [None] * len(runs)})
            shares = np.searchsorted(each.wait_s, scale_s, side="right") / each.wait_s.size
            own["runs"][number] = {
                "jobs": each.wait_s.size,
                "node_hours": each.node_hours,
                "at_once": float(np.mean(each.wait_s == 0)),
                "mean_wait_s": float(each.wait_s.mean()),
                "median_wait_s": float(np.quantile(each.wait_s, 0.5)),
                "p90_wait_s": float(np.quantile(each.wait_s, 0.9)),
                "max_wait_s": float(each.wait_s[-1]),
                "mean_bounded_slowdown": float(each.bounded_slowdown.mean()) if each.bounded_slowdown.size else None,
                "shares": [round(share, 5) for share in shares.tolist()],
            }
    return {
        "scale_s": [round(second, 3) for second in scale_s.tolist()],
        "classes": [classes[least] for least in sorted(classes)],
    }
