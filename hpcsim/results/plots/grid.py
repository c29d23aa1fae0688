"""What is around the machine: the cap, the price of energy and the carbon that it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D

from hpcsim.results.plots.clock import Clock
from hpcsim.results.plots.drawn import Drawn
from hpcsim.results.plots.ink import DASHED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NO_GRID = "Cap, price and carbon are not drawn: the run is of an older version of hpcsim and has no grid.parquet."


def draw_cap(axes: Axes, clock: Clock, run: Drawn, scale: float, colour: str) -> float:
    """The cap of a run, where there was one, exactly as it changed; the highest that was, or 0."""
    if not run.has("grid"):
        return 0.0
    time, cap = run.column("grid", "time_s"), run.column("grid", "cap_w").astype(float) * scale
    changed = np.append(True, (cap[1:] != cap[:-1]) & ~(np.isnan(cap[1:]) & np.isnan(cap[:-1])))
    time, cap = time[changed], cap[changed]
    if not np.isfinite(cap).any():
        return 0.0
    x = clock.x(run, np.append(time, max(run.end, time[-1])))
    axes.add_line(Line2D(x, np.append(cap, cap[-1]), drawstyle="steps-post", color=colour, ls=DASHED, lw=1.0))
    return float(np.nanmax(cap))
