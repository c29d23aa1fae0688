"""The picture of a workload: when jobs come, how large they are and how long they run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hpcsim.workload.describe import Description, Floats

_BLUE, _ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito (2008): told apart by all
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SLANTED: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor", "fontsize": 8}
_TIME_TICKS_S = {1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3_600: "1 h", 21_600: "6 h", 86_400: "1 d",
                 604_800: "7 d"}  # fmt: skip


def plot_description(description: Description, path: str | Path) -> None:
    """One PNG of the tables of a description. Nothing but ``path`` is written."""
    figure = Figure(figsize=(13, 7.6), layout="constrained")
    axes = figure.subplot_mosaic("hhhhww;ssllrr")
    clock = description.clock.replace("-", "−")
    hours = [f"{hour}" for hour in range(24)]
    _plot_cycle(axes["h"], hours, description.hour_weights, f"local hour ({clock})")
    _plot_cycle(axes["w"], list(_DAYS), description.weekday_weights, f"local weekday ({clock})")
    _plot_sizes(axes["s"], description)
    _plot_lengths(axes["l"], description)
    _plot_ratios(axes["r"], description)
    for one in axes.values():
        one.grid(axis="y", alpha=0.3)
        one.set_axisbelow(True)
    figure.suptitle(f"{description.source}: {description.jobs:,} jobs, {description.machine_nodes:,} nodes")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _plot_cycle(axes: Axes, names: list[str], weights: Floats, title: str) -> None:
    axes.bar(names, weights, color=_BLUE, width=0.8)
    axes.margins(x=0.01)
    axes.axhline(1, color="black", lw=0.8, ls=":")
    axes.set_xlabel(title)
    axes.set_ylabel("jobs relative to the mean")


def _plot_sizes(axes: Axes, description: Description) -> None:
    place = np.arange(len(description.sizes))
    shares = {
        "jobs": ([100 * row.job_share for row in description.sizes], _BLUE, -0.2),
        "node-hours": ([100 * row.node_hour_share for row in description.sizes], _ORANGE, 0.2),
    }
    for label, (values, colour, shift) in shares.items():
        axes.bar(place + shift, values, width=0.4, color=colour, label=label)
    names = [f"{a:,}" if a == b else f"{a:,}–{b:,}" for a, b in (row.nodes for row in description.sizes)]
    axes.set_xticks(place, names, **_SLANTED)
    axes.set_xlabel("nodes")
    axes.set_ylabel("share [%]")
    highest = max(max(row.job_share, row.node_hour_share) for row in description.sizes)
    axes.set_ylim(0, 125 * highest)  # room for the legend above the bars
    axes.legend(ncols=2, loc="upper center")


def _plot_lengths(axes: Axes, description: Description) -> None:
    percent = np.linspace(0, 100, len(description.runtime_quantiles_s))
    for label, values, colour in (
        ("runtime", description.runtime_quantiles_s, _BLUE),
        ("walltime", description.walltime_quantiles_s, _ORANGE),
    ):
        axes.plot(np.maximum(values, 1), percent, color=colour, label=label)
    longest = max(float(description.runtime_quantiles_s[-1]), float(description.walltime_quantiles_s[-1]))
    axes.set_xscale("log")
    axes.set_xlim(1, max(longest, 10) * 1.2)
    ticks = {at: name for at, name in _TIME_TICKS_S.items() if at <= longest * 1.2}
    axes.set_xticks(list(ticks), list(ticks.values()), **_SLANTED)
    axes.minorticks_off()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("time")
    axes.set_ylabel("jobs no longer [%]")
    axes.set_ylim(0, 101)
    axes.legend()


def _plot_ratios(axes: Axes, description: Description) -> None:
    counts = description.ratio_counts
    axes.stairs(100 * counts / counts.sum(), np.linspace(0, 1.2, len(counts) + 1), fill=True, color=_BLUE)
    axes.axvline(1, color="black", lw=0.8, ls=":")
    axes.set_xlim(0, 1.2)
    axes.set_xlabel("runtime / walltime (last bin: 1.18 and more)")
    axes.set_ylabel("share of jobs [%]")
