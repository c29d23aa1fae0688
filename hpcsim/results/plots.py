"""Pictures of a run, with matplotlib's object interface only: no global state, no display."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

POINTS = 600  # columns of a plot: few enough to see and to draw fast

_BLUE, _ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito (2008): told apart by all


def plot_utilisation(timeline: pa.Table, *, nodes: int, t0_utc: int, title: str, path: Path) -> None:
    """Busy nodes and waiting jobs over time, as a PNG.

    Each column of the picture shows the time-weighted mean of its interval as a line and the smallest and
    largest value of it as a band, so that no peak is lost however long the run is.
    """
    time = timeline.column("time_s").to_numpy()
    edges = np.linspace(time[0], max(int(time[-1]), int(time[0]) + 1), min(POINTS, max(2, time.size)) + 1)
    zero = datetime.fromtimestamp(t0_utc, UTC).replace(tzinfo=None)
    dates = [zero + timedelta(seconds=float(second)) for second in edges]
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, column, scale, colour, label in (
        (upper, "busy_nodes", 100 / nodes, _BLUE, f"busy nodes [% of {nodes:,}]"),
        (lower, "queue", 1.0, _ORANGE, "waiting jobs"),
    ):
        mean, least, most = _by_interval(time, timeline.column(column).to_numpy() * scale, edges)
        axes.stairs(most, dates, baseline=least, fill=True, color=colour, alpha=0.25, lw=0)
        axes.stairs(mean, dates, baseline=None, color=colour, lw=1.2)
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    upper.set_ylim(0, 105)
    lower.set_xlabel("date (UTC)")
    # matplotlib's dates have no types
    lower.xaxis.set_major_formatter(ConciseDateFormatter(lower.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]
    lower.set_xlim(dates[0], dates[-1])
    figure.suptitle(title)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _by_interval(
    time: npt.NDArray[np.int64], value: npt.NDArray[Any], edges: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], ...]:
    """Time-weighted mean, minimum and maximum in each interval of a step function that holds from each time on."""
    integral = np.concatenate([[0.0], np.cumsum(value[:-1] * np.diff(time))])
    last = np.searchsorted(time, edges, side="right") - 1
    at_edge = integral[last] + value[last] * (edges - time[last])
    mean = np.diff(at_edge) / np.diff(edges)
    # what holds at the left edge, and every change inside
    from_ = last[:-1]
    spans = np.column_stack([from_, np.maximum(last[1:], from_) + 1]).ravel()
    padded = np.append(value, value[-1])
    least = np.minimum.reduceat(padded, spans)[::2]
    most = np.maximum.reduceat(padded, spans)[::2]
    return mean, least, most
