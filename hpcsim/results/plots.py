"""Pictures of a run, with matplotlib's object interface only: no global state, no display."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

POINTS = 600  # columns of a plot: few enough to see and to draw fast

_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"  # Okabe and Ito (2008): told apart by all


def plot_utilisation(timeline: pa.Table, *, nodes: int, t0_utc: int, title: str, path: Path) -> None:
    """Busy nodes and waiting jobs over time, as a PNG."""
    busy, queue = (timeline.column(name).to_numpy() for name in ("busy_nodes", "queue"))
    panels = (
        (f"busy nodes [% of {nodes:,}]", 105.0, ((busy * (100 / nodes), _BLUE, ""),)),
        ("waiting jobs", None, ((queue, _ORANGE, ""),)),
    )
    _plot(timeline.column("time_s").to_numpy(), panels, t0_utc=t0_utc, title=title, path=path)


def plot_power(power: pa.Table, *, t0_utc: int, title: str, path: Path) -> None:
    """What the facility and the machine in it draw, and what a solar plant gives, over time, as a PNG."""
    facility_w, it_w, solar_w = (power.column(f"{name}_w").to_numpy() for name in ("facility", "it", "solar"))
    unit, scale = ("MW", 1e-6) if facility_w.max() >= 1e6 else ("kW", 1e-3)
    curves = [(facility_w * scale, _ORANGE, "facility"), (it_w * scale, _BLUE, "nodes and switches")]
    if solar_w.any():
        curves.append((solar_w * scale, _GREEN, "solar plant"))
    _plot(
        power.column("time_s").to_numpy(), ((f"power [{unit}]", None, curves),), t0_utc=t0_utc, title=title, path=path
    )


def _plot(
    time: npt.NDArray[np.int64],
    panels: Sequence[tuple[str, float | None, Sequence[tuple[npt.NDArray[Any], str, str]]]],
    *,
    t0_utc: int,
    title: str,
    path: Path,
) -> None:
    """Step functions of ``time`` below one another: of each panel its label, its top, and curves with colour and name.

    Each column of the picture shows the time-weighted mean of its interval as a line and the smallest and
    largest value of it as a band, so that no peak is lost however long the run is.
    """
    edges = np.linspace(time[0], max(int(time[-1]), int(time[0]) + 1), min(POINTS, max(2, time.size)) + 1)
    zero = datetime.fromtimestamp(t0_utc, UTC).replace(tzinfo=None)
    dates = [zero + timedelta(seconds=float(second)) for second in edges]
    figure = Figure(figsize=(10, 1.6 + 2 * max(2, len(panels))), layout="constrained")
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, top, curves) in zip(rows, panels, strict=True):
        for value, colour, name in curves:
            mean, least, most = _by_interval(time, value, edges)
            axes.stairs(most, dates, baseline=least, fill=True, color=colour, alpha=0.25, lw=0)
            axes.stairs(mean, dates, baseline=None, color=colour, lw=1.2, label=name)
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0, top=top)
        axes.grid(alpha=0.3)
        if len(curves) > 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(curves), frameon=False)
    axes = rows[-1]
    axes.set_xlabel("date (UTC)")
    # matplotlib's dates have no types
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]
    axes.set_xlim(dates[0], dates[-1])
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
