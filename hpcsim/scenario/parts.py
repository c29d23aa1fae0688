"""What else of plug-ins takes part in a scenario's run: observers, metrics and the readers of its trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from hpcsim.errors import InputError
from hpcsim.scenario.load import LoadedScenario

if TYPE_CHECKING:
    from hpcsim.workload.records import PluggedReader


def make_observers(loaded: LoadedScenario, kinds: Mapping[str, type]) -> dict[str, object]:
    """The observers that the scenario asks for, by name; ``kinds``: class by name.

    Raises ``InputError`` for one that cannot be made: it was asked for, and nothing has been run yet.
    """
    made: dict[str, object] = {}
    for name in loaded.scenario.observers:
        try:
            made[name] = _made(kinds[name], loaded.part_options.get(("observers", name)))
        except (Exception, SystemExit) as error:
            what = f"observer {name} could not be made: {type(error).__name__}: {error}"
            raise InputError(f"{loaded.place('observers', name)}: {what}") from error
    return made


def metric_makers(loaded: LoadedScenario, kinds: Mapping[str, type]) -> dict[str, Callable[[], Any]]:
    """For each metric by name what makes it, with the scenario's options for it if there are any."""
    return {
        name: partial(_made, kind, loaded.part_options.get(("metrics", name), _default_options(kind)))
        for name, kind in kinds.items()
    }


def readers_of(kinds: Mapping[str, type], loaded: LoadedScenario | None = None) -> list[PluggedReader]:
    """The readers of plug-ins, by the order of their names, with the scenario's options for the one that it chooses."""
    from hpcsim.workload.records import PluggedReader  # pyarrow, which checking a scenario can do without

    chosen = None if loaded is None else loaded.scenario.trace_format
    readers = []
    for name, kind in sorted(kinds.items()):
        options = _default_options(kind)
        if chosen is not None and loaded is not None and name == chosen.name:
            options = loaded.part_options.get(("trace_format",), options)
        readers.append(PluggedReader(name, kind, options))
    return readers


def _default_options(kind: type) -> BaseModel | None:
    model: type[BaseModel] | None = getattr(kind, "Options", None)
    return None if model is None else model()


def _made(kind: type, options: BaseModel | None) -> Any:
    return kind() if options is None else kind(options)
