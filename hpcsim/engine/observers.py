"""Those who watch a simulation: each is told what happens when it happens, and has no say in it.

What nobody has a method for is told to nobody. An observer that raises is told no more, and the run goes on as if it
had never been there (after Trio's instruments).
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

from hpcsim.engine.decisions import Decision
from hpcsim.engine.view import View
from hpcsim.errors import InputError
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hpcsim.engine.room import Room
    from hpcsim.engine.simulation import Simulation


class Observer:
    """What an observer is: a name, the version of this interface, and those of these methods that it needs.

    Inherit from it or not: a method that is not overridden is never called. ``now`` is the simulated second, ``job``
    what its user submitted. A view shows the present and may be kept: it always shows the present. It is a
    scheduler's ``View`` without its random numbers, its twins and hindsight. ``units`` are places (nodes, on most
    machines; midplanes on Mira), None where the scenario only counts nodes.
    """

    name: str
    api: int

    def began(self, view: View) -> None:
        """The simulation begins; jobs that are on the machine from the start are in ``view.running``."""

    def submitted(self, job: Job, now: int) -> None:
        """A user has submitted ``job``."""

    def rejected(self, job: Job, now: int, rule: str) -> None:
        """``job`` broke ``rule`` when it was submitted, or could never start any more by the rules from now on."""

    def started(self, job: Job, now: int, units: tuple[int, ...] | None, why: str) -> None:
        """``job`` was put on the machine, for the reason ``why``; it runs ``view.launch_latency`` seconds later."""

    def ended(self, job: Job, now: int, state: str) -> None:
        """``job`` was taken off the machine, by itself or not.

        ``state`` is ``completed``, ``timeout``, ``failed``, ``killed``, ``node_failed`` or ``preempted``. After the
        last, and after ``node_failed`` where the scenario requeues, it waits again.
        """

    def passed(self, view: View, decisions: tuple[Decision, ...]) -> None:
        """The scheduler was called and ``decisions`` is all that it decided, carried out by now."""

    def failed(self, units: tuple[int, ...], now: int, cause: str) -> None:
        """``units`` went out of service; the jobs that this ends are told next.

        ``cause`` is ``hardware``, ``heat``, ``outage``, ``maintenance`` or ``recorded``.
        """

    def repaired(self, units: tuple[int, ...], now: int) -> None:
        """``units`` are back in service."""

    def finished(self, view: View) -> Mapping[str, Any] | None:
        """The simulation is over. What is returned, plain data that JSON can hold, stands in ``summary.json``."""
        return None


HOOKS: Final = tuple(name for name in vars(Observer) if not name.startswith("_"))
"""The methods that an observer may have."""


class Observers:
    """Those who watch ``simulation``, by name.

    ``errors`` says of each that raised when, in which method, what and where. Nobody watches a copy of a simulation,
    or one that was restored from a file: what happens there is not what happens.
    """

    def __init__(self, simulation: Simulation, watching: Mapping[str, object]) -> None:
        self.view: WatchersView = WatchersView(simulation)
        self.errors: dict[str, str] = {}
        self._names = tuple(watching)
        self._told = {
            hook: [(name, getattr(each, hook)) for name, each in watching.items() if _overrides(each, hook)]
            for hook in HOOKS
        }

    def __reduce__(self) -> tuple[Callable[..., None], tuple[()]]:
        return type(None), ()

    def tell(self, hook: str, *facts: object) -> None:
        """Call the method ``hook`` of all who have it."""
        for name, call in [*self._told[hook]]:
            self._call(name, hook, call, *facts)

    def finish(self) -> dict[str, Any]:
        """Tell all that the simulation is over; answers what each wants to stand in the summary, None if nothing."""
        reports: dict[str, Any] = dict.fromkeys(self._names)
        for name, finished in [*self._told["finished"]]:
            reports[name] = self._call(name, "finished", partial(_report, finished), self.view)
        return reports

    def _call(self, name: str, hook: str, call: Callable[..., Any], *facts: object) -> Any:
        try:
            return call(*facts)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also SystemExit: a plug-in does not end the program
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
            self.errors[name] = f"t={self.view.now}: {hook} raised {what}"
            for told in self._told.values():
                told[:] = [each for each in told if each[0] != name]
            return None


def _overrides(observer: object, hook: str) -> bool:
    """Whether the observer has a method of its own under this name."""
    method = getattr(observer, hook, None)
    return method is not None and getattr(method, "__func__", method) is not getattr(Observer, hook)


def _report(finished: Callable[[View], object], view: View) -> Any:
    """What an observer returns, as a JSON file gives it back; TypeError or ValueError for what JSON cannot hold."""
    report = finished(view)
    if report is not None and not isinstance(report, Mapping):
        raise TypeError(f"returned {report!r}, expected a mapping or None")
    return json.loads(json.dumps(report if report is None else dict(report), allow_nan=False))


class WatchersView(View):
    """A view that leaves no trace of having been looked at, and shows nothing of the scheduler's own."""

    __slots__ = ()

    @property
    def rng(self) -> NoReturn:
        """PermissionError: who draws the scheduler's random numbers takes part in the run."""
        raise PermissionError("the random numbers of a view are the scheduler's; an observer needs its own")

    def _record(self) -> NoReturn:
        raise PermissionError("an observer cannot see what the trace recorded")

    @property
    def twins(self) -> NoReturn:
        """PermissionError: a twin may learn from being asked, or draw random numbers."""
        raise PermissionError("the twins of a view are the scheduler's; an observer cannot ask them")

    def what_if(self, *_: object, **__: object) -> NoReturn:
        """PermissionError: what would come of a decision is drawn with the scheduler's random numbers."""
        raise PermissionError("what would come of a decision is for the scheduler to ask; an observer cannot")

    @property
    def node_c(self) -> npt.NDArray[np.float64]:
        """Temperature of the nodes of each unit, degrees Celsius; a copy that cannot be written to."""
        heat = self._site("node_c").cluster.heat
        if heat is None:
            raise InputError("view.node_c: this scenario models no heat; set physics.heat to true")
        node_c = heat.seen_c(self.now)
        node_c.setflags(write=False)
        return node_c

    def room(self) -> Room:
        """The nodes that are free now; what is taken of it here is taken from nobody."""
        chosen = self._simulation.chosen
        room = super().room()
        self._simulation.chosen = chosen
        return room
