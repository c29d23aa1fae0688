"""The figures of a tournament as SVG: the same text for the same tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure

from hpcsim.results.directions import UNITS
from hpcsim.results.plots.files import as_bytes
from hpcsim.results.plots.ink import inked
from hpcsim.tournament.cells import Cells
from hpcsim.tournament.figures.canvas import Style, styles
from hpcsim.tournament.figures.differences import differences
from hpcsim.tournament.figures.front import front_figure
from hpcsim.tournament.figures.loads import loads
from hpcsim.tournament.figures.profiles import MOST_BANDS, can_be_drawn, profiles
from hpcsim.tournament.figures.rank_diagram import rank_diagram
from hpcsim.tournament.fronts import Front
from hpcsim.tournament.leaderboard import Board


class Drawn(NamedTuple):
    """A figure: its name as a file, what it shows in a sentence, and the SVG."""

    name: str
    about: str
    svg: str


def drawn(cells: Cells, boards: Sequence[Board], fronts: Sequence[Front]) -> Iterator[Drawn]:
    """All figures of a tournament."""
    named = styles(cells.schedulers)
    with inked():
        matplotlib.rcParams["svg.fonttype"] = "none"  # texts stay texts, to be found and read aloud
        for metric in dict.fromkeys(board.metric for board in boards):
            yield from _of_metric(metric, [board for board in boards if board.metric == metric], cells, named)
        for number, front in enumerate(fronts, 1):
            about = f"Means of each scheduler in {front.scenario} over windows and loads, with 95 % intervals."
            yield _as_svg(f"front-{number}", about, front_figure(front, named))


def _of_metric(metric: str, boards: Sequence[Board], cells: Cells, named: Mapping[str, Style]) -> Iterator[Drawn]:
    wide = [(board, board.judgement) for board in boards if board.load is None and board.judgement is not None]
    if not wide:
        return
    widest, first = wide[0]
    unit = f" [{UNITS[metric]}]" if UNITS.get(metric) else ""
    if len(first.blocks.schedulers) > 2:
        about = (
            f"Mean ranks by {metric} in {widest.scope}, over {first.blocks.windows:,} windows. A bar joins schedulers "
            "that are not separable: their mean ranks differ by less than the critical distance (Nemenyi, alpha 0.05)."
        )
        yield _as_svg(f"ranks-{metric}", about, rank_diagram(first, f"Mean ranks by {metric}: {widest.scope}"))
    if any(each.relative.is_there for _, judged in wide for each in judged.standings):
        about = (
            f"By how much {metric} differs from that of {first.control}, paired by window, with 95 % intervals; "
            "rows are in the order of the first panel's mean ranks."
        )
        better = f"{first.blocks.better} is better"
        shown = list(dict.fromkeys(name for board, _ in wide for name in board.letters))  # by rank in the first
        yield _as_svg(
            f"differences-{metric}", about, differences([board for board, _ in wide], shown, f"{metric}, {better}")
        )
    if can_be_drawn(first):
        about = (
            f"Performance profiles of {metric} in {widest.scope}: the share of windows in which a scheduler is within "
            "a factor of the best one; where a curve begins is how often it is the best itself."
        )
        if len(first.blocks.schedulers) <= MOST_BANDS:
            about += " Bands are of 95 %."
        yield _as_svg(f"profiles-{metric}", about, profiles(first, named, f"Profiles of {metric}: {widest.scope}"))
    by_scenario = {
        board.scenario: judged for board, judged in wide if board.scenario is not None and len(judged.blocks.strata) > 1
    }
    if by_scenario:
        yield _as_svg(
            f"loads-{metric}",
            f"Mean {metric} at each load, with 95 % intervals; points of one load stand beside each other.",
            loads(by_scenario, named, f"{metric} by load", f"{metric}{unit}"),
        )


def _as_svg(name: str, about: str, figure: Figure) -> Drawn:
    matplotlib.rcParams["svg.hashsalt"] = name  # so that no two figures of a page share a mark
    return Drawn(name, about, as_bytes(figure, "svg").decode())


_BEFORE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_STYLE = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>\s*", re.DOTALL)
_ID = re.compile(r' id="([^"]+)"')
_LINK = re.compile(r'#([\w-]+)["\')]')


def in_page(figure: Drawn, label: str) -> str:
    """The SVG as it stands within HTML; ``label`` is what a screen reader says of it, escaped."""
    svg = _STYLE.sub("", _METADATA.sub("", _BEFORE.sub("", figure.svg)))
    used = {*_LINK.findall(svg)}
    svg = _ID.sub(lambda found: found[0] if found[1] in used else "", svg)
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).rstrip()
