"""When a lever acts: in hours of the day, or while power is dear or dirty."""

from __future__ import annotations

import numpy as np

from hpcsim.engine.operations import DAY_AHEAD_S, Signal
from hpcsim.engine.view import View
from hpcsim.scenario import levers as settings

_DAY_S = 86_400


class When:
    """Whether a lever acts now: while any of its conditions holds, or always if it has none."""

    def __init__(self, when: settings.When | None) -> None:
        self._always = when is None
        self._hours_s = None if when is None or when.hours_utc is None else [round(3600 * h) for h in when.hours_utc]
        above = {} if when is None else {"price": when.price_above, "carbon": when.carbon_above}
        self._above = {signal: share for signal, share in above.items() if share is not None}
        self._known: dict[str, tuple[int, bool]] = {}  # until when it is known whether a signal is high

    @property
    def wakes_on(self) -> frozenset[str]:
        """The signals whose changes matter."""
        return frozenset(self._above)

    @property
    def needs(self) -> frozenset[str]:
        """What a scenario has to have for it."""
        return frozenset({"power"} if self._above else ())

    def holds(self, view: View) -> bool:
        """Whether it does now."""
        return (
            self._always
            or (self._hours_s is not None and self._in_hours(view.utc_s % _DAY_S))
            or any(self._is_high(signal, view) for signal in self._above)
        )

    def next_s(self, view: View) -> int | None:
        """The second at which its hours next begin or end; None without hours."""
        if self._hours_s is None:
            return None
        return view.now + min((hour_s - view.utc_s - 1) % _DAY_S + 1 for hour_s in self._hours_s)

    def _in_hours(self, second: int) -> bool:
        first, last = self._hours_s or (0, 0)
        return first <= second < last if first < last else second >= first or second < last

    def _is_high(self, signal: str, view: View) -> bool:
        until, high = self._known.get(signal, (view.now, False))
        if view.now >= until:
            of_now: Signal = getattr(view, signal)
            ahead = of_now.forecast(DAY_AHEAD_S)
            high = bool(of_now.now > np.quantile(ahead.values, self._above[signal]))
            changes = ahead.times_s[1:]
            self._known[signal] = (int(changes[0]) if changes.size else view.now + DAY_AHEAD_S), high
        return high
