"""Energy over time, and what power had to do with cap, price and carbon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hpcsim.results.plots.clock import Clock
from hpcsim.results.plots.drawn import Drawn
from hpcsim.results.plots.grid import NO_GRID, draw_cap
from hpcsim.results.plots.ink import BLACK, BLUE, DASHED, GREEN, PURPLE, SOLID, VERMILLION
from hpcsim.results.plots.sheet import KWH, WATTS, Key, Panel, Sheet, draw_curve, from_zero, run_keys, scaled

_J_PER_KWH = 3.6e6


def draw(question: str, runs: Sequence[Drawn]) -> Figure:
    """The facility's energy added up, its power with the cap, and the price and carbon of the grid's energy."""
    alone = len(runs) == 1
    clock = Clock(runs)
    watts = [each.column("power", "facility_w") for each in runs]
    power_unit, to_power = scaled(max(float(each.max()) for each in watts), WATTS)
    totals = [each.summary["energy_facility_kwh"] for each in runs]
    unit, to_unit = scaled(min(totals) / 10, KWH)
    notes = [f"{total * to_unit:,.1f} {unit}" for total in totals]
    solar = alone and bool(runs[0].column("power", "solar_w").any())
    keys = [Key(f"facility ({notes[0]})", VERMILLION)] if alone else []
    if solar:
        keys.append(Key("of which from the grid", BLUE, DASHED))
    capped = any(each.has("grid") and np.isfinite(each.column("grid", "cap_w")).any() for each in runs)
    panels = [
        Panel(1.7, f"facility energy\n[{unit}]", keys),
        Panel(1.5, f"facility power\n[{power_unit}]", [Key("cap", BLACK, DASHED)] if capped else []),
    ]
    around = [(name, label, colour) for name, label, colour in (
        ("price_usd_per_kwh", "price\n[USD/kWh]", PURPLE), ("carbon_g_per_kwh", "carbon\n[g CO₂/kWh]", GREEN))
        if any(each.has("grid") and np.isfinite(each.column("grid", name)).any() for each in runs)]  # fmt: skip
    panels += [Panel(0.9, label) for _, label, _ in around]
    note = "" if all(each.has("grid") for each in runs) else NO_GRID
    sheet = Sheet(question, runs, panels, keys=run_keys(runs, notes), note=note)
    most = [0.0]
    for each, facility_w in zip(runs, watts, strict=True):
        colour, line = (VERMILLION, SOLID) if alone else (each.colour, each.line)
        seconds, joules = each.integral("power", facility_w)
        x, to_energy = clock.x(each, seconds), to_unit / _J_PER_KWH
        sheet.axes[0].add_line(Line2D(x, joules * to_energy, color=colour, ls=line, lw=1.5))
        if solar:
            grid_w = facility_w - np.minimum(facility_w, each.column("power", "solar_w"))
            _, joules = each.integral("power", grid_w)
            sheet.axes[0].add_line(Line2D(x, joules * to_energy, color=BLUE, ls=DASHED, lw=1.5))
        edges = clock.x(each, each.edges)
        draw_curve(sheet.axes[1], edges, each.curve("power", facility_w), colour, line, to_power)
        most += [
            float(facility_w.max()) * to_power,
            draw_cap(sheet.axes[1], clock, each, to_power, BLACK if alone else colour),
        ]
        for axes, (name, _, own) in zip(sheet.axes[2:], around, strict=True):
            if each.has("grid"):
                draw_curve(axes, edges, each.curve("grid", each.column("grid", name)), own if alone else colour, line)
    from_zero(sheet.axes[0], max(totals) * to_unit)
    from_zero(sheet.axes[1], *most)
    for axes, (name, _, _) in zip(sheet.axes[2:], around, strict=True):
        values = np.concatenate([each.column("grid", name) for each in runs if each.has("grid")])
        from_zero(axes, float(np.nanmax(values)))
        if np.nanmin(values) < 0:  # prices may be
            axes.set_ylim(bottom=1.06 * float(np.nanmin(values)))
    clock.dress(sheet.axes[-1])
    return sheet.figure
