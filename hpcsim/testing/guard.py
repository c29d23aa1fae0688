"""Tells when a scheduler looks behind its view: which attribute it read, and in which line.

Python hides nothing: from a view, ``view._simulation`` leads to all that is kept from schedulers. For one check the
objects behind the view get classes that look, at every attribute, at who asks. hpcsim's own code may; whoever else asks
while the scheduler decides is written down. The schedulers and twins of hpcsim are plug-ins here like any other.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from hpcsim.engine.simulation import Simulation
from hpcsim.engine.view import View

__tracebackhide__ = True

_HERE = Path(__file__).parents[1]
_OURS = str(_HERE) + "/"
_PLUGINS = tuple(f"{_HERE / name}/" for name in ("schedulers", "twins"))
_PYTHON = (sysconfig.get_paths()["stdlib"] + "/", "<")  # also frozen modules and what named tuples are made of
_THIRD_PARTY = ("/site-packages/", "/dist-packages/")


class Look(NamedTuple):
    """An attribute that was asked for, and the line that did."""

    attribute: str
    file: str
    line: int


class Guard:
    """Watches one simulation while ``deciding`` is entered. ``looks`` are those behind the view, in their order."""

    def __init__(self) -> None:
        self.looks: list[Look] = []
        self._active = False
        self._kinds: dict[type, type] = {}

    @contextmanager
    def deciding(self) -> Iterator[None]:
        self._active = True
        try:
            yield
        finally:
            self._active = False

    def watch(self, simulation: Simulation) -> None:
        """Have every look at the simulation, its machine and its workload noticed from now on."""
        site, centre = simulation.site, simulation.centre
        simulation._view = self._kind(View, private_only=True)(simulation)
        behind: list[Any] = [simulation.workload, simulation.attempts, simulation.ledger]
        if site is not None:
            cluster = site.cluster
            behind += [site, cluster, cluster.service, cluster.meter, cluster.service.failures, cluster.heat]
            behind += [cluster.places, cluster.shares, site.facility, site.facility.solar]
        if centre is not None:
            behind += [centre, centre.admission]
        for each in [*behind, simulation]:
            if each is not None:
                object.__setattr__(each, "__class__", self._kind(type(each)))

    def _kind(self, kind: type, *, private_only: bool = False) -> Any:
        """The class ``kind`` with a look at who asks for an attribute, or sets one."""
        if kind in self._kinds:
            return self._kinds[kind]
        note = self._note
        get: Any = kind.__getattribute__
        put: Any = kind.__setattr__

        def is_hidden(name: str) -> bool:
            if name == "__dict__":
                return True
            return not name.startswith("__") and (not private_only or name.startswith("_"))

        def __getattribute__(self: Any, name: str) -> Any:
            if guard._active and is_hidden(name):
                note(f"{kind.__name__}.{name}", sys._getframe(1))
            return get(self, name)

        def __setattr__(self: Any, name: str, value: Any) -> None:
            if guard._active:
                note(f"{kind.__name__}.{name}", sys._getframe(1))
            put(self, name, value)

        guard = self
        body = {"__slots__": (), "__getattribute__": __getattribute__, "__setattr__": __setattr__}
        self._kinds[kind] = made = type(kind.__name__, (kind,), body)
        return made

    def _note(self, attribute: str, frame: FrameType | None) -> None:
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(_OURS) and not file.startswith(_PLUGINS):
                return
            if not file.startswith(_PYTHON) or any(part in file for part in _THIRD_PARTY):
                self.looks.append(Look(attribute, file, frame.f_lineno))
                return
            frame = frame.f_back

    def told(self) -> str:
        """What was looked at, as text: of the first few lines the attributes one after the other."""
        lines: dict[tuple[str, int], list[str]] = {}
        for attribute, file, line in self.looks:
            names = lines.setdefault((file, line), [])
            if attribute not in names:
                names.append(attribute)
        some = [f"{' and '.join(names)} at {file}:{line}" for (file, line), names in lines.items()]
        more = f", and in {len(some) - 3} more lines" if len(some) > 3 else ""
        return "; ".join(some[:3]) + more
