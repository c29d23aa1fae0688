"""The figures of a run that metrics of plug-ins compute."""

from __future__ import annotations

import math
import numbers
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from hpcsim.plugin.metric import FinishedRun, Metric


def computed(
    metrics: Mapping[str, Callable[[], Metric]], run: FinishedRun
) -> tuple[dict[str, int | float | None], dict[str, str]]:
    """The value of each metric by name, in the order of the names, and what went wrong with each that has none.

    ``metrics`` make a metric with its options.
    """
    values: dict[str, int | float | None] = {}
    errors: dict[str, str] = {}
    for name, make in sorted(metrics.items()):
        try:
            values[name] = _number(make().compute(run))
        except _NoNumber as error:
            errors[name] = str(error)
        except (Exception, SystemExit) as error:  # a metric of a third party voids no run
            where = traceback.extract_tb(error.__traceback__)[-1]
            errors[name] = f"raised {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
    return values, errors


class _NoNumber(Exception):
    """What a metric returned."""


def _number(value: Any) -> int | float | None:
    """The value as JSON writes it."""
    if value is None:
        return None
    if not isinstance(value, bool):
        if isinstance(value, numbers.Integral):
            return int(value)
        if isinstance(value, numbers.Real) and math.isfinite(value):
            return float(value)
    raise _NoNumber(f"returned {value!r}, expected a finite number or None")
