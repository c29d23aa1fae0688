"""What the facility and the machine in it draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from hpcsim.results.plots.clock import Clock
from hpcsim.results.plots.drawn import Drawn
from hpcsim.results.plots.grid import draw_cap
from hpcsim.results.plots.ink import BLACK, BLUE, DASHED, DOTTED, GREEN, SOLID, VERMILLION
from hpcsim.results.plots.sheet import WATTS, Key, Panel, Sheet, draw_curve, from_zero, run_keys, scaled


def draw(question: str, runs: Sequence[Drawn]) -> Figure:
    """Power of the facility, of its nodes and switches and of a solar plant, the cap, and what cooling adds to it."""
    alone = len(runs) == 1
    clock = Clock(runs)
    watts = [each.column("power", "facility_w") for each in runs]
    unit, scale = scaled(max(float(each.max()) for each in watts), WATTS)
    peaks = [f"peak {each.max() * scale:,.2f} {unit}" for each in watts]
    solar = alone and bool(runs[0].column("power", "solar_w").any())
    capped = any(each.has("grid") and np.isfinite(each.column("grid", "cap_w")).any() for each in runs)
    keys = [Key(f"facility ({peaks[0]})", VERMILLION), Key("nodes and switches", BLUE, DASHED)] if alone else []
    if solar:
        keys.append(Key("solar plant", GREEN, DOTTED))
    if capped:
        keys.append(Key("cap", BLACK, DASHED))
    sheet = Sheet(
        question,
        runs,
        [Panel(2.4, f"{'' if alone else 'facility '}power [{unit}]", keys), Panel(1.1, "facility power /\nIT power")],
        keys=run_keys(runs, peaks),
    )
    above, below = sheet.axes
    most, ratios = [], []
    for each, facility_w in zip(runs, watts, strict=True):
        x, it_w = clock.x(each, each.edges), each.column("power", "it_w")
        colour, line = (VERMILLION, SOLID) if alone else (each.colour, each.line)
        draw_curve(above, x, each.curve("power", facility_w), colour, line, scale)
        if alone:
            draw_curve(above, x, each.curve("power", it_w), BLUE, DASHED, scale)
        if solar:
            draw_curve(above, x, each.curve("power", each.column("power", "solar_w")), GREEN, DOTTED, scale)
        most += [float(facility_w.max()) * scale, draw_cap(above, clock, each, scale, BLACK if alone else colour)]
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = each.curve("power", np.where(it_w > 0, facility_w / it_w, np.nan))
        draw_curve(below, x, ratio, BLACK if alone else colour, line)
        ratios += [float(np.nanmax(ratio.most, initial=1.0))]
    from_zero(above, *most)
    below.set_ylim(1.0, 1.0 + 1.1 * max(max(ratios) - 1.0, 0.05))
    clock.dress(below)
    return sheet.figure
