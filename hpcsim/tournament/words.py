"""How figures of a leaderboard are written: for a terminal, a page and LaTeX alike."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, isfinite, log10

from hpcsim.results.directions import UNITS
from hpcsim.tournament.cells import NO_LOAD
from hpcsim.tournament.leaderboard import Board, widest
from hpcsim.tournament.statistics import Estimate, Judgement, Standing, warnings

NOTHING = "–"
RANKS = "Mean rank over windows, 1 is the best; + better and − worse than the control."
TWO_TESTS = (
    "Two tests, two answers: letters compare the mean ranks of all schedulers with one another (Nemenyi); better and "
    "worse compare each with the control alone, window by window (signed-rank test, Holm, 5 %), where the interval of "
    "the paired differences says so too. So one that shares a letter with the control may be better than it, and an "
    "interval that excludes 0 separates nobody if the test does not."
)


def number(value: float, digits: int = 4) -> str:
    """So many significant digits, with commas and without powers of ten: ``4,492``, ``0.07123``."""
    if not isfinite(value):
        return NOTHING if value != value else "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - floor(log10(abs(value))))
    return _minus(f"{value:,.{min(decimals, 8)}f}")


def estimate(of: Estimate | None, digits: int = 4) -> str:
    """A figure and its interval: ``4,492 [4,048, 5,070]``."""
    if of is None or not of.is_there:
        return NOTHING
    if of.low != of.low:
        return number(of.value, digits)
    return f"{number(of.value, digits)} [{number(of.low, digits)}, {number(of.high, digits)}]"


def against(each: Standing) -> str:
    """The relative difference from the control and its interval in percent; nothing for the control itself."""
    return NOTHING if each.verdict == "control" else percent(each.relative)


def ahead(each: Standing) -> str:
    """The probability of improvement over the control in percent; nothing for the control itself."""
    return NOTHING if each.verdict == "control" else percent(each.improvement, signed=False)


def percent(of: Estimate, signed: bool = True) -> str:
    """A share and its interval in percent: ``−31.1 [−32.4, −29.7]``."""
    if not of.is_there:
        return NOTHING
    form = "+.1f" if signed else ".0f"
    value, low, high = (_minus(format(100 * each + 0.0, form)) for each in of)
    return value if of.low != of.low else f"{value} [{low}, {high}]"


def p_value(p: float) -> str:
    """A p to three digits."""
    return NOTHING if p != p else "<0.001" if p < 0.001 else f"{p:.3f}"


def effect(value: float) -> str:
    """An effect size to two digits."""
    return NOTHING if value != value else number(value) if not isfinite(value) else _minus(f"{value:.2f}")


def _minus(text: str) -> str:
    return text.replace("-", "−")


def title(board: Board) -> str:
    """``mean_wait_s [s], lower is better: polaris``."""
    unit = UNITS.get(board.metric, "")
    said = f"{board.metric}{f' [{unit}]' if unit else ''}"
    judged = board.judgement
    return f"{said}{f', {judged.blocks.better} is better' if judged else ''}: {board.scope}"


def firsts(found: Sequence[Board]) -> list[str]:
    """Who is first in which metrics, and in which nobody is, a sentence each; why others are not judged."""
    metrics_of: dict[str | None, list[str]] = {}
    said = []
    for board in widest(found):
        if board.judgement is None:
            said.append(f"{board.metric}: {board.refused}")
        else:
            metrics_of.setdefault(board.judgement.first, []).append(board.metric)
    nobody = metrics_of.pop(None, [])
    firsts = [f"{name} is first in {', '.join(metrics)}." for name, metrics in metrics_of.items()]
    if nobody:
        where = ", ".join(nobody) if firsts else "any metric"
        firsts.append(f"Nobody is first in {where}: ranks or paired differences do not separate the best from all.")
    return [*firsts, *said]


def said_once(found: Sequence[Board]) -> list[str]:
    """The warnings of all boards, each once; before it where it holds, if not everywhere."""
    judged = [board for board in found if board.judgement is not None]
    boards_of: dict[str, list[Board]] = {}
    for board in judged:
        for sentence in warnings(board.judgement) if board.judgement else ():
            boards_of.setdefault(sentence, []).append(board)
    return [f"{_where(boards, judged)}{sentence}" for sentence, boards in boards_of.items()]


def _where(some: Sequence[Board], every: Sequence[Board]) -> str:
    if len(some) == len(every):
        return ""
    parts = []
    for of in ("scope", "metric"):
        names = dict.fromkeys(getattr(board, of) for board in some)
        if len(names) < len({getattr(board, of) for board in every}):
            parts.append(", ".join(names))
    return f"{'; '.join(parts)}: " if parts else ""


def compared(judged: Judgement) -> str:
    """What was compared, in one sentence."""
    blocks = judged.blocks
    loads = list(dict.fromkeys(load for _, load in blocks.strata))
    if len(loads) == 1 and loads[0] in NO_LOAD:
        loads = []
    at = f" at {'loads' if len(loads) > 1 else 'load'} {', '.join(loads)}" if loads else ""
    several = f" of {len(blocks.scenarios)} scenarios ({', '.join(blocks.scenarios)})"
    machines = "" if len(blocks.scenarios) == 1 else several
    return (
        f"{len(blocks.schedulers)} schedulers in {_count(blocks.windows, 'window')}{machines}{at}, "
        f"{judged.seeds} {'seed' if judged.seeds == '1' else 'seeds'} each; "
        f"against {judged.control}."
    )


def omnibus(judged: Judgement) -> str:
    """What Friedman's test says, and Nemenyi's distance unless a warning says it."""
    near = f"Mean ranks that differ by less than {judged.distance:.2f} are not separable (Nemenyi, alpha 0.05)."
    test = judged.friedman
    if judged.distance > 1:
        near = ""
    if test is None:
        return near
    differ = "differ" if test.p < 0.05 else "cannot be told apart as a whole"
    p = p_value(test.p)
    of_f = f"F({test.df[0]}, {test.df[1]}) = {number(test.f)}, p {p if p[0] == '<' else f'= {p}'}"
    return f"The schedulers {differ} (Friedman with Iman and Davenport: {of_f}). {near}".rstrip()


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")
