"""The figures by name: what each asks, which tables it needs, and who draws it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from hpcsim.errors import InputError
from hpcsim.results.plots.drawn import Drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[str, Sequence[Drawn]], "Figure"]


class Plot(NamedTuple):
    """A figure: its name, which is also its module's and its file's, the question that is its title, and its tables.

    ``key`` is what it needs of the summary.
    """

    name: str
    question: str
    tables: tuple[str, ...]
    key: str = ""

    def draw(self, runs: Sequence[Drawn]) -> Figure:
        """The figure of one run, or of several. Raises InputError if one lacks what it needs."""
        self.demand(runs)
        draw: Draw = import_module(f"hpcsim.results.plots.{self.name}").draw
        return draw(self.question, runs)

    def demand(self, runs: Sequence[Drawn]) -> None:
        """Raise InputError if one of the runs lacks what the figure needs."""
        for each in runs:
            lacking = self.lacking(each)
            if lacking:
                raise InputError(f"{each.place}: there is no figure {self.name!r} of this run: {lacking}")

    def lacking(self, run: Drawn) -> str:
        """What the run lacks for this figure; nothing if it can be drawn."""
        for table in self.tables:
            if not run.has(table):
                return f"it has no {table}.parquet ({_OF_WHICH_RUNS[table]})"
            if not run.run.tables[table].num_rows and table != "interrupts" and table not in ("jobs", "attempts"):
                return f"its {table}.parquet has no rows"
        if self.key and self.key not in run.summary:
            return f"its summary.json has no {self.key} (runs with physics do)"
        return ""


PLOTS = {
    plot.name: plot
    for plot in (
        Plot("makespan", "When was the work done?", ("jobs", "timeline")),
        Plot("energy", "How much energy did it take, and when?", ("power",), "energy_facility_kwh"),
        Plot("power", "How much power did it draw?", ("power",)),
        Plot("temperature", "How warm did it get, and was it slowed down for that?", ("temperature",)),
        Plot("utilisation", "How full was the machine, and how many jobs waited?", ("timeline",)),
        Plot("waits", "How long did jobs wait, by their size?", ("jobs",)),
        Plot("gantt", "Which job had which nodes, and when?", ("attempts", "jobs")),
        Plot("failures", "What went out of service, and when was it back?", ("interrupts",)),
        Plot("ledger", "Where did the energy go?", (), "energy_split_kwh"),
    )
}
STANDARD = ("makespan", "energy", "power", "temperature", "utilisation", "waits")  # what every run gets

_OF_WHICH_RUNS = {
    "power": "runs with physics do", "interrupts": "runs with physics do",
    "temperature": "runs with heat do, but for those of an older hpcsim",
    "jobs": "every run does", "attempts": "every run does", "timeline": "every run does",
}  # fmt: skip
