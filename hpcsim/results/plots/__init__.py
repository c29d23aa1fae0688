"""Figures of finished runs, with matplotlib's object interface only: no global state, no display.

runs = drawn_runs([("runs/polaris-easy-1", Run.open("runs/polaris-easy-1"))])
write_plots(runs, ["energy"], Path("plots"), "svg")
"""

from hpcsim.results.plots.drawn import Drawn, drawn_runs
from hpcsim.results.plots.figures import PLOTS, STANDARD, Plot
from hpcsim.results.plots.files import FORMATS, as_bytes, write_plots, write_standard
from hpcsim.results.plots.ink import inked

__all__ = [
    "FORMATS",
    "PLOTS",
    "STANDARD",
    "Drawn",
    "Plot",
    "as_bytes",
    "drawn_runs",
    "inked",
    "write_plots",
    "write_standard",
]
