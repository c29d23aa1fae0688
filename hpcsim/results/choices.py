"""The choice in which a job was started, as the scheduler weighed it: a table of candidates for a terminal."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

if TYPE_CHECKING:
    from hpcsim.results.run import Run

_NUMBERS = ("worth", "deviation", "energy", "performance", "reliability")


def choice_of(run: Run, job_id: str, start_s: int) -> list[dict[str, Any]]:
    """The rows of the choice that started ``job_id`` at ``start_s``, the chosen one first; none if none was kept.

    Where nodes had to wake first, or to be placed, it is the last choice of the job until then.
    """
    table = run.tables.get("choices")
    if table is None:
        return []
    mine = pc.and_(pc.equal(table["job_id"], job_id), table["chosen"])
    starts = pc.and_(mine, pc.and_(pc.less_equal(table["time_s"], start_s), pc.starts_with(table["action"], "start")))
    made = table.filter(starts)
    if not len(made):
        return []
    rows: list[dict[str, Any]] = table.filter(pc.equal(table["choice"], made["choice"][-1])).to_pylist()
    return sorted(rows, key=lambda row: (not row["chosen"], -row["worth"]))


def told(rows: list[dict[str, Any]], width: int = 100) -> list[str]:
    """The candidates as a table, and the weights: what is worth more is less costly."""
    if not rows:
        return []
    weights = ", ".join(f"{name} {rows[0][f'weight_{name}']:.2f}" for name in _NUMBERS[2:])
    head = ("", "job", "action", "worth", "+-", "energy", "perform.", "reliab.")
    cells = [head]
    for row in rows:
        numbers = [f"{row[name]:.3f}" for name in _NUMBERS]
        cells.append(("->" if row["chosen"] else "", row["job_id"] or "-", row["action"], *numbers))
    widths = [max(len(row[place]) for row in cells) for place in range(len(head))]
    spare = width - 2 - sum(widths) - 2 * (len(head) - 1)
    widths[2] = max(12, widths[2] + min(spare, 0))
    lines = wrap(f"What was weighed (the weights of the chosen one: {weights})", width)
    for line in cells:
        action, *more = wrap(line[2], widths[2])
        left = [line[0].ljust(widths[0]), line[1].ljust(widths[1]), action.ljust(widths[2])]
        right = [text.rjust(size) for text, size in zip(line[3:], widths[3:], strict=True)]
        lines.append(("  " + "  ".join([*left, *right])).rstrip())
        lines += [" " * (6 + widths[0] + widths[1]) + each for each in more]
    return lines
