"""The report of a tournament as one page that needs no network: words, tables, and figures as SVG within it.

Every text that comes from a table is escaped. The page has no script, and its policy forbids all of the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from typing import NamedTuple

import hpcsim
from hpcsim.results.citations import bibtex, own
from hpcsim.tournament.bootstrap import RESAMPLES
from hpcsim.tournament.cells import Cells
from hpcsim.tournament.drawn import Drawn, in_page
from hpcsim.tournament.leaderboard import Board
from hpcsim.tournament.report_tables import Table, ranks_table
from hpcsim.tournament.statistics import Judgement, conclusion
from hpcsim.tournament.words import (
    RANKS,
    TWO_TESTS,
    against,
    ahead,
    compared,
    effect,
    estimate,
    firsts,
    omnibus,
    p_value,
    said_once,
    title,
)  # fmt: skip

CITES = (
    "Demsar2006", "Agarwal2021", "ImanDavenport1980", "Holm1979", "Friedman1937", "Nemenyi1963", "Wilcoxon1945",
    "Benavoli2016", "EfronTibshirani1993", "Hesterberg2015", "DolanMore2002", "Cliff1993", "VarghaDelaney2000",
    "Piepho2004",
)  # fmt: skip

_COLOURED = ("better", "worse")
_NO_BREAK = "\N{NO-BREAK SPACE}"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class Parts(NamedTuple):
    """What the page is made of besides the boards."""

    front: Table
    cost: Table
    states: Table
    failures: Table


def page(
    name: str, description: str, cells: Cells, boards: Sequence[Board], figures: Sequence[Drawn], parts: Parts
) -> str:
    """The whole page."""
    metrics = list(dict.fromkeys(board.metric for board in boards))
    styles = (files("hpcsim.results.page") / "page.css").read_text("utf-8")
    styles += (files("hpcsim.tournament") / "page.css").read_text("utf-8")
    links = [("conclusions", "Conclusions"), *((f"metric-{metric}", metric) for metric in metrics)]
    links += [("front", "Pareto front"), ("cost", "What deciding cost"), ("cells", "Cells"), ("reading", "How to read")]
    body = [
        *_conclusions(boards),
        *(line for metric in metrics for line in _metric(metric, boards, figures)),
        *_front(figures, parts.front),
        *_cost(parts.cost),
        *_cells(parts),
        *_reading(),
    ]
    return "\n".join([
        "<!doctype html>",
        "<!-- a tournament of hpcsim -->",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(name)}: a tournament of schedulers</title>",
        f"<style>{styles}</style>",
        "</head>",
        "<body>",
        f'<header id="top"><h1>{escape(name)}</h1>',
        f'<p id="what">{escape(description)}{"<br>" if description else ""}{escape(_what(cells))}</p>',
        '<nav aria-label="Parts of this page">',
        *(f'<a href="#{escape(to)}">{escape(said)}</a>' for to, said in links),
        "</nav>",
        "</header>",
        "<main>",
        *body,
        "</main>",
        f"<footer>hpcsim {escape(hpcsim.__version__)}</footer>",
        "</body>",
        "</html>",
        "",
    ])  # fmt: skip


def _what(cells: Cells) -> str:
    """What was run, in a sentence."""
    windows = len({*zip(cells.column("scenario"), cells.column("window"), strict=True)})
    parts = [
        _counted(len(cells.schedulers), "scheduler"),
        f"{_counted(len(cells.scenarios), 'scenario')} ({', '.join(cells.scenarios)})",
        f"{_counted(windows, 'window')} in all",
        f"{_counted(len(cells.loads), 'load')} ({', '.join(load or 'as it is' for load in cells.loads)})",
        _counted(len({*cells.column("seed")}), "seed"),
    ]
    return f"{', '.join(parts)}: {_counted(len(cells.rows), 'cell')}, of which {cells.count('done'):,} are done."


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _conclusions(boards: Sequence[Board]) -> Iterator[str]:
    yield '<section id="conclusions"><h2>Conclusions</h2>'
    yield f'<p class="said">{escape(RANKS)}</p>'
    yield _table(ranks_table(boards))
    yield from (f'<p class="said">{escape(said)}</p>' for said in firsts(boards))
    yield f'<p class="said">{escape(TWO_TESTS)}</p>'
    yield from (f'<p class="warning">{escape(said)}</p>' for said in said_once(boards))
    yield (
        '<p class="note">A scheduler is called first only where its mean rank is apart from all others by the '
        "critical distance and the interval of its paired differences from each of them lies on one side of zero. "
        "Each metric is judged by itself: among several, one may be first by chance.</p></section>"
    )


def _metric(metric: str, boards: Sequence[Board], figures: Sequence[Drawn]) -> Iterator[str]:
    own = [board for board in boards if board.metric == metric]
    yield f'<section id="metric-{escape(metric)}"><h2>{escape(title(own[0]).partition(":")[0])}</h2>'
    for name in ("ranks", "differences"):
        yield from _figure(f"{name}-{metric}", figures)
    for number, board in enumerate(own):
        if board.load is None:
            yield from _board(board, unfolded=number == 0)
    for name in ("profiles", "loads"):
        yield from _figure(f"{name}-{metric}", figures)
    by_load = [board for board in own if board.load is not None]
    if by_load:
        yield f"<details><summary>{escape(metric)} at each load</summary>"
        for board in by_load:
            yield from _board(board, unfolded=True)
        yield "</details>"
    yield "</section>"


def _board(board: Board, *, unfolded: bool) -> Iterator[str]:
    if not unfolded:
        yield f"<details><summary>{escape(board.scope)}</summary>"
    else:
        yield f"<h3>{escape(board.scope)}</h3>"
    judged = board.judgement
    if judged is None:
        yield f'<p class="said">{escape(board.refused)}</p>'
    else:
        yield f'<p class="said">{escape(compared(judged))} {escape(conclusion(judged))} {escape(omnibus(judged))}</p>'
        yield _standings(board, judged)
    if not unfolded:
        yield "</details>"


def _standings(board: Board, judged: Judgement) -> str:
    one = judged.standings[0].mean is not None
    shares = any(each.relative.is_there for each in judged.standings)
    header = [
        "scheduler", "mean rank", "", *(["mean"] if one else []),
        f"against {judged.control} [%]" if shares or not one else f"difference from {judged.control}", "", "IQM",
        "better in [%]", "A12", "d", "p (Holm)",
    ]  # fmt: skip
    rows = []
    for each in judged.standings:
        difference = None if each.verdict == "control" else each.difference
        means = [estimate(each.mean)] if one else []
        rows.append((
            each.scheduler, f"{each.mean_rank:.2f}", board.letters[each.scheduler], *means,
            against(each) if shares or not one else estimate(difference), each.verdict.replace(" ", _NO_BREAK),
            estimate(each.iqm, 3), ahead(each), effect(each.a12), effect(each.standardised), p_value(each.p_holm),
        ))  # fmt: skip
    return _table(Table(tuple(header), rows))


def _front(figures: Sequence[Drawn], table: Table) -> Iterator[str]:
    yield '<section id="front"><h2>Pareto front: energy, slowdown, lost node-hours</h2>'
    if table.rows:
        yield (
            '<p class="said">On the front is a scheduler if no other is at least as good in all three means and '
            "better in one. It is a statement on means over windows and loads: where intervals overlap, another "
            "sample of windows may have another front.</p>"
        )
        for figure in figures:
            if figure.name.startswith("front-"):
                yield from _figure(figure.name, figures)
        yield _table(table)
    else:
        yield (
            '<p class="said">No scenario has all three of energy, slowdown and lost node-hours under two schedulers or '
            "more: it takes scenarios with physics, and these metrics among those of the tournament.</p>"
        )
    yield "</section>"


def _cost(table: Table) -> Iterator[str]:
    yield '<section id="cost"><h2>What deciding cost</h2>'
    if table.rows:
        yield (
            '<p class="said">As clocks measured it on the machine of the tournament; so these figures, alone on this '
            "page, are others when the tournament is repeated. Latencies are of one scheduling pass, the median over "
            "cells of their quantiles. Training is of learned schedulers; it is empty for those made of rules.</p>"
        )
        yield _table(table)
    else:
        yield '<p class="said">The tournament left no timing.csv: nothing is known of it.</p>'
    yield "</section>"


def _cells(parts: Parts) -> Iterator[str]:
    yield '<section id="cells"><h2>Cells</h2>'
    yield _table(parts.states)
    if parts.failures.rows:
        yield f"<details><summary>{_counted(len(parts.failures.rows), 'failed cell')}</summary>"
        yield _table(parts.failures)
        yield "</details>"
    yield "</section>"


def _reading() -> Iterator[str]:
    said = {
        "window": "A part of a scenario's time, with the same jobs, failures and weather for all schedulers. It is the "
        "unit of replication: seeds of a window are averaged, and its loads stay together.",
        "[ , ]": f"95 % intervals: the expanded percentile interval of {RESAMPLES:,} resamples of whole windows, "
        "drawn again within each scenario, so that each scenario and load keeps its number. Were the tournament "
        "repeated on other windows of the same kind, about 95 in 100 such intervals would hold the true figure; "
        "fewer where few windows differ much more than the rest.",
        "mean rank, letters": "1 is the best of each window. Schedulers that share a letter are not separable by their "
        "mean ranks (Nemenyi, alpha 0.05), as those that a bar joins in the figure.",
        "against": "The mean difference from the control, as a share of the control's mean, paired by window.",
        "IQM": "The mean of the middle half of all windows, 1 being the control's mean; extreme ones do not move it.",
        "better in": "Probability of improvement: the share of windows in which it is better than the control.",
        "A12": "The probability that one window of it is better than one of the control taken at random, ties counting "
        "half. Cliff's delta is twice that less 1.",
        "d": "The mean of the paired differences over their standard deviation; positive is better.",
        "p (Holm)": "Of Wilcoxon's signed-rank test against the control, adjusted for how many are compared with it.",
        "better, worse": "Said only where p (Holm) is below 0.05 and the interval of paired differences is on one side "
        "of zero; else they are not separated.",
    }  # fmt: skip
    yield '<section id="reading"><h2>How to read</h2><dl>'
    yield from (f"<dt><b>{escape(term)}</b></dt><dd>{escape(about)}</dd>" for term, about in said.items())
    yield "</dl><details><summary>BibTeX</summary>"
    entries = [*bibtex({"hpcsim": [own(hpcsim.__version__)]}), *bibtex({"statistics": CITES})]
    yield f"<pre>{escape(chr(10).join(entries))}</pre></details></section>"


def _figure(name: str, figures: Sequence[Drawn]) -> Iterator[str]:
    for figure in figures:
        if figure.name == name:
            label = escape(figure.about)
            yield f"<figure>{in_page(figure, label)}<figcaption>{label}</figcaption></figure>"


def _table(table: Table) -> str:
    kinds = ["" if at < table.words or not name else "number" for at, name in enumerate(table.header)]
    names = [escape(name).replace("_", "_<wbr>") for name in table.header]
    head = "".join(f'<th scope="col"{_class(kind)}>{name}</th>' for name, kind in zip(names, kinds, strict=True))
    lines = [f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>']
    for first, *rest in table.rows:
        cells = "".join(
            f"<td{_class(text if text in _COLOURED else kind)}>{escape(text)}</td>"
            for text, kind in zip(rest, kinds[1:], strict=True)
        )
        lines.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    return "\n".join([*lines, "</tbody></table></div>"])


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
