"""Tables as LaTeX, for ``\\input`` in a document that uses booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from hpcsim.tournament.leaderboard import Board
from hpcsim.tournament.words import NOTHING, against, ahead, compared, effect, estimate, number, omnibus, p_value, title

_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "−": r"$-$", "∞": r"$\infty$", NOTHING: "--", "Δ": r"$\Delta$", "°": r"$^\circ$", "\"": r"\textquotedbl{}",
}  # fmt: skip


def escaped(text: str) -> str:
    """A text as LaTeX shows it, whatever is in it; a line break becomes a space."""
    return "".join(_ESCAPES.get(sign, sign if sign.isprintable() else " ") for sign in text)


def tabular(header: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int = 1) -> str:
    """A booktabs table; columns from ``numbers_from`` on that have a name stand at the right."""
    columns = "".join("r" if at >= numbers_from and name else "l" for at, name in enumerate(header))
    lines = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *(" & ".join(map(escaped, row)) + r" \\" for row in [header]),
        r"\midrule",
        *(" & ".join(map(escaped, row)) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines)


def board_as_latex(board: Board) -> str:
    """A leaderboard as a table of its own, with a caption that says what was compared and what the interval is."""
    judged = board.judgement
    if judged is None:
        return f"% {' '.join(f'{title(board)}: {board.refused}'.split())}"
    one = judged.standings[0].mean is not None
    header = [
        "scheduler", "mean rank", "", *(["mean"] if one else []), f"against {judged.control} [%]", "better in [%]",
        "A12", "d", "p (Holm)",
    ]  # fmt: skip
    rows = [
        [
            each.scheduler, number(each.mean_rank, 3), board.letters[each.scheduler],
            *([estimate(each.mean)] if one else []), against(each), ahead(each),
            effect(each.a12), effect(each.standardised), p_value(each.p_holm),
        ]
        for each in judged.standings
    ]  # fmt: skip
    caption = (
        f"{title(board)}. {compared(judged)} In brackets: 95 % intervals of a bootstrap over windows, stratified by "
        f"scenario and load. Schedulers that share a letter are not separable. {omnibus(judged)}"
    )
    return "\n".join(
        [r"\begin{table}", r"\centering", rf"\caption{{{escaped(caption)}}}", tabular(header, rows), r"\end{table}"]
    )
