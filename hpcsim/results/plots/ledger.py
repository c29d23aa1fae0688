"""Where the energy went: the parts of the facility's energy, which add up to all of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from hpcsim.results.plots.drawn import Drawn
from hpcsim.results.plots.ink import BLUE, HATCHES, LIGHT, TEXT_PT, width_in
from hpcsim.results.plots.sheet import KWH, LEFT_IN, RIGHT_IN, WIDTH_IN, Numbers, Panel, Sheet, run_keys, scaled

_WORDS = {
    "jobs": "jobs, work that counted", "lost": "jobs, work that was lost", "idle": "idle nodes",
    "asleep": "sleeping nodes", "waking": "waking nodes", "repair": "nodes in repair", "fixed": "switches, fixed loads",
    "cooling": "cooling, pumps, fans", "unshared": "idle parts of shared nodes",
    "of_which_conversion": "converters (in the others)",
}  # fmt: skip
_BAR_IN = 0.24
_LABELS_IN = 1.0  # more than other figures have on the left


def draw(question: str, runs: Sequence[Drawn]) -> Figure:
    """A bar for each part that is not nothing, the largest first; the converters' part, which is in others, last."""
    parts = parts_kwh(runs)
    names = [name for name in parts if name != "of_which_conversion"]
    totals = np.sum([parts[name] for name in names], axis=0)
    unit, to_unit = scaled(float(min(totals)) / 10, KWH)  # so small parts are not rounded away
    notes = [f"{total * to_unit:,.1f} {unit}" for total in totals]
    height = max(1.2, len(parts) * (len(runs) * _BAR_IN + 0.14))
    of = f"; all: {notes[0]}" if len(runs) == 1 else ""
    sheet = Sheet(
        question,
        runs,
        [Panel(height, "")],
        keys=run_keys(runs, notes, filled=True),
        left_in=LEFT_IN + _LABELS_IN,
        bottom_in=0.5,
    )
    (axes,) = sheet.axes
    thick = 0.8 / len(runs)
    longest_in = 0.0
    for number, each in enumerate(runs):
        for row, (name, values) in enumerate(parts.items()):
            y = row + (number - (len(runs) - 1) / 2) * thick
            value = values[number] * to_unit
            inside = name == "of_which_conversion"
            colour = BLUE if len(runs) == 1 else each.colour
            axes.barh(
                y,
                value,
                0.88 * thick,
                color=LIGHT if inside else colour,
                edgecolor=colour if inside else "white",
                lw=0.8,
                hatch="////" if inside else HATCHES[number % len(HATCHES)],
            )
            share = values[number] / totals[number] if totals[number] else 0.0
            text = f"  {value:,.1f} {unit} ({100 * share:.1f} %)"
            axes.text(value, y, text, va="center", fontsize=TEXT_PT - 1)
            longest_in = max(longest_in, width_in(text, TEXT_PT - 1))
    axes.set_ylim(len(parts) - 0.5, -0.5)
    axes.set_yticks(range(len(parts)), [_WORDS.get(name, name) for name in parts])
    most = float(max((values.max() for values in parts.values()), default=0.0)) * to_unit or 1.0
    room_in = WIDTH_IN - LEFT_IN - _LABELS_IN - RIGHT_IN
    axes.set_xlim(0, most * room_in / max(room_in - longest_in, 1.0))
    axes.set_xlabel(f"energy of the facility [{unit}{of}]")
    axes.xaxis.set_major_formatter(Numbers())
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    return sheet.figure


def parts_kwh(runs: Sequence[Drawn]) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Of each part its kWh in each run, the largest in the first first; parts of no run are left out."""
    splits = [each.summary["energy_split_kwh"] for each in runs]
    found = {
        name: np.array([split.get(name, 0.0) for split in splits])
        for name in {name: None for split in splits for name in split}
    }
    order = sorted(found, key=lambda name: (name == "of_which_conversion", -found[name][0]))
    return {name: found[name] for name in order if found[name].any()}
