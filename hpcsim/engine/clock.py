"""SimPy as the clock of a simulation: whole seconds, and an order of what happens within one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import simpy

FIRST, AFTER_ENDS, LAST = (simpy.events.EventPriority(number) for number in (0, 2, 3))
"""Within one second: before and after ends and arrivals, which are SimPy's timeouts with the priority 1; the pass."""

Callback = Callable[[simpy.Event], None]

if TYPE_CHECKING:

    class Clock(simpy.Environment):
        """SimPy's environment: here it begins at a whole second, and every delay is whole."""

        @property
        def now(self) -> int: ...


def clock_from(now: int) -> Clock:
    """A clock on which nothing is pending."""
    return cast("Clock", simpy.Environment(initial_time=now))


def schedule(
    clock: Clock, delay: int, priority: simpy.events.EventPriority, callback: Callback, value: Any = None
) -> None:
    """Have ``callback`` called after ``delay`` seconds, in the order of ``priority`` within that second."""
    event = simpy.Event(clock)
    event._ok, event._value = True, value
    event.callbacks.append(callback)
    clock.schedule(event, priority, delay)


class PassEvent(simpy.Event):
    """The scheduling pass of an instant, after all other events of that second. One object serves all passes."""

    def __init__(self, clock: Clock, callback: Callback) -> None:
        super().__init__(clock)
        self._ok = True
        self._value = None
        self._each = callback

    def due_in(self, delay: int) -> None:
        """Have it happen after so many seconds."""
        self.callbacks = [self._each]
        self.env.schedule(self, LAST, delay)
