"""What a run's scheduler has decided besides starts, a row for each decision."""

from __future__ import annotations

from math import nan
from typing import Final

from hpcsim.engine.decisions import Decision, Hold, Kill, Preempt, SetCap, SetCooling, SetSpeed, Sleep, Start, Wake
from hpcsim.machine.history import History

KINDS: Final = ("hold", "preempt", "kill", "set_speed", "sleep", "wake", "set_cap", "set_cooling")
"""What the rows may say that was decided."""

_KIND: Final[dict[type, int]] = {
    kind: number for number, kind in enumerate((Hold, Preempt, Kill, SetSpeed, Sleep, Wake, SetCap, SetCooling))
}


class Decided(History):
    """Columns: the second, a place in ``KINDS``, the job (-1: none), a number and a cooling mode where it has one, why.

    The number is what the decision names: the second of a hold, a speed, nodes, watts; NaN where it names none.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(time_s="q", kind="b", job="q", value="d", mode="O", why="O")

    def add(self, now: int, decision: Decision) -> None:
        """Note a decision that was carried out at ``now``."""
        if isinstance(decision, Start):
            raise ValueError("starts are noted as attempts")
        job, value, mode = -1, nan, ""
        if isinstance(decision, Preempt | Kill | SetSpeed):
            job = decision.job.id
        if isinstance(decision, Hold):
            value = decision.until
        elif isinstance(decision, SetSpeed):
            value = decision.speed
        elif isinstance(decision, Sleep | Wake):
            value = decision.nodes
        elif isinstance(decision, SetCap) and decision.watts is not None:
            value = decision.watts
        elif isinstance(decision, SetCooling):
            mode = decision.mode
        row = now, _KIND[type(decision)], job, float(value), mode, decision.why
        for column, each in zip(self.to_append(), row, strict=True):
            column.append(each)
