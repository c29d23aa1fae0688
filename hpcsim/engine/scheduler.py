"""What a scheduler is to the engine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hpcsim.engine.decisions import Decision
    from hpcsim.engine.view import View


class Scheduler(Protocol):
    """What a scheduler plug-in is: a name, the version of this interface, and one method.

    It is called when something happened and jobs wait. With an attribute ``passes_when_idle = True`` it is called
    with an empty queue as well, and with ``wakes_on``, some of ``operations.SIGNALS``, whenever one of these changes.
    ``needs`` is a set of ``CAPABILITIES`` that a scenario must have: for all that it decides besides ``Start`` and
    ``Hold``, and for what it could not do without in the view. The manifest of a run repeats it. A class attribute
    ``twins``, such as ``{"performance": "runtime-ensemble"}``, names twins that it asks where a scenario names no
    others and has what they need. A method ``tables()`` tells at the end of a run what it keeps of its choices: columns
    of ``choices`` and ``weights``, which stand in the run directory.
    """

    name: str
    api: int

    def schedule(self, view: View) -> Iterable[Decision]:
        """Decide what happens now; called once for every instant at which something changed."""
        ...
