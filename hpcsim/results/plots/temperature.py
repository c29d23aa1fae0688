"""How warm the machine was, and how much of it was slowed down for that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hpcsim.errors import InputError
from hpcsim.results.plots.clock import Clock
from hpcsim.results.plots.drawn import Drawn
from hpcsim.results.plots.ink import BLACK, BLUE, DASH_DOTTED, DASHED, DOTTED, ORANGE, SKY, SOLID, VERMILLION
from hpcsim.results.plots.sheet import Key, Panel, Sheet, from_zero, run_keys


def draw(question: str, runs: Sequence[Drawn]) -> Figure:
    """The hottest node and GPU, the mean and the supply, beside the temperatures at which nodes throttle.

    Below that the throttled nodes. Of several runs the hottest node of each is drawn.
    """
    alone = len(runs) == 1
    clock = Clock(runs)
    curves = [
        (name, *rest) for name, *rest in _CURVES if alone and name in runs[0].run.tables["temperature"].column_names
    ]
    if not alone:
        curves = [("hottest_c", "", "", SOLID)]
    thresholds = throttles_c(runs[0])
    if not alone:
        same = all(throttles_c(each) == thresholds for each in runs)
        thresholds = {text: value for text, value in thresholds.items() if same and text == "a node"}
    keys = [Key(text, colour, line) for _, text, colour, line in curves if alone]
    for text, value in thresholds.items():
        keys.append(Key(f"{text} throttles at {value:g} °C", BLACK, _THRESHOLD[text]))
    hottest = [each.summary["hottest_node_c"] for each in runs]
    notes = ["" if value is None else f"at most {value:.1f} °C" for value in hottest]
    sheet = Sheet(
        question,
        runs,
        [Panel(2.4, "temperature [°C]" if alone else "hottest node [°C]", keys), Panel(1.2, "throttled\nnodes")],
        keys=run_keys(runs, notes),
        note="Temperatures are of regular seconds, the highest are in the summary. A job whose node comes to a "
        "threshold stays slowed, mostly until it ends.",
    )
    above, below = sheet.axes
    seen, throttled = list(thresholds.values()), [0.0]
    for each in runs:
        x = clock.x(each, each.column("temperature", "time_s"))
        for name, _, colour, line in curves:
            values = each.column("temperature", name)
            own, style = (colour, line) if alone else (each.colour, each.line)
            above.add_line(Line2D(x, values, color=own, ls=style, lw=1.2, marker="." if x.size == 1 else ""))
            seen += [float(value) for value in (np.nanmin(values), np.nanmax(values)) if np.isfinite(value)]
        nodes = each.column("temperature", "throttled_nodes")
        own, style = (VERMILLION, SOLID) if alone else (each.colour, each.line)
        below.add_line(Line2D(x, nodes, color=own, ls=style, lw=1.2, marker="." if x.size == 1 else ""))
        throttled.append(float(nodes.max()))
    for text, value in thresholds.items():
        above.axhline(value, color=BLACK, ls=_THRESHOLD[text], lw=1.0)
    if seen:
        room = 0.06 * max(max(seen) - min(seen), 5.0)
        above.set_ylim(min(seen) - room, max(seen) + room)
    from_zero(below, max(throttled), whole=True)
    clock.dress(below)
    return sheet.figure


def throttles_c(run: Drawn) -> dict[str, float]:
    """The temperatures at which nodes and GPUs of the run's machine throttle; none if its description is not here."""
    from hpcsim.machine.catalogue import load_machine

    model = run.scenario["machine"]["model"]
    try:
        thermal = load_machine(str(model)).thermal
    except InputError:  # a plug-in's machine, or a file that is elsewhere
        return {}
    found = {"a node": thermal.cpu_throttle_c}
    if "hottest_gpu_c" in run.run.tables["temperature"].column_names:
        found["a GPU"] = thermal.gpu_throttle_c
    return found


_CURVES = (
    ("hottest_gpu_c", "hottest GPU", ORANGE, SOLID),
    ("hottest_c", "hottest node", VERMILLION, DASHED),
    ("mean_c", "mean of all nodes", BLUE, SOLID),
    ("supply_c", "supply", SKY, DASH_DOTTED),
)
_THRESHOLD = {"a node": DASHED, "a GPU": DOTTED}
