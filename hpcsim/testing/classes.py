"""Checks of a plug-in's class alone: its attributes and its options."""

from __future__ import annotations

import json

from pydantic import BaseModel

from hpcsim.engine.capabilities import declared
from hpcsim.engine.operations import SIGNALS
from hpcsim.plugin.kinds import KINDS, Refused
from hpcsim.testing.check import NotReached
from hpcsim.testing.factory import Factory

__tracebackhide__ = True


def scheduler_keeps_to_the_api(factory: Factory) -> None:
    kind = factory.kind
    _registers(factory, "scheduler")
    signals = getattr(kind, "wakes_on", ())
    if not isinstance(signals, tuple | list | set | frozenset) or not set(signals) <= set(SIGNALS):
        raise AssertionError(f"{kind.__qualname__}.wakes_on should be some of {', '.join(SIGNALS)} (found {signals!r})")
    idle = getattr(kind, "passes_when_idle", False)
    if type(idle) is not bool:
        raise AssertionError(f"{kind.__qualname__}.passes_when_idle should be True or False (found {idle!r})")


def twin_keeps_to_the_api(factory: Factory) -> None:
    _registers(factory, "twin")


def _registers(factory: Factory, one: str) -> None:
    """It would be taken by the loader, and what is made of it is what was registered."""
    kind = factory.kind
    try:
        name, _ = next(each for each in KINDS if each.one == one).checked(kind)
    except Refused as error:
        raise AssertionError(str(error)) from error
    made = factory()
    if getattr(made, "name", None) != name:
        raise AssertionError(
            f"{kind.__qualname__} is registered as {name!r}, but one that is made calls itself {made.name!r}"
        )
    try:
        more = declared(made) - declared(kind)
    except ValueError as error:
        raise AssertionError(f"{kind.__qualname__}, when made: {error}") from error
    if more:
        raise AssertionError(
            f"{kind.__qualname__} needs {', '.join(sorted(more))} when made, which its class does not declare"
        )


def options_have_defaults_and_a_schema(factory: Factory) -> None:
    model = getattr(factory.kind, "Options", None)
    if model is None:
        _can_be_made(factory)
        return
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise AssertionError(f"{factory.kind.__qualname__}.Options should be a pydantic model, found {model!r}")
    needed = [name for name, info in model.model_fields.items() if info.is_required()]
    if needed:
        raise AssertionError(
            f"the options of {factory.name} have no default for {', '.join(needed)}, so that its name alone is refused "
            "in a scenario; give a default to every field"
        )
    _can_be_made(Factory(factory.kind))
    _can_be_made(factory)
    try:
        json.dumps(model.model_json_schema())
        options = model.model_validate(dict(factory.options))
        again = model.model_validate(json.loads(json.dumps(options.model_dump(mode="json", by_alias=True))))
    except Exception as error:
        raise AssertionError(
            f"the options of {factory.name} cannot be written into a scenario file and read again: "
            f"{type(error).__name__}: {error}. Most likely a field holds something that JSON has not"
        ) from error
    if again != options:
        raise AssertionError(f"the options of {factory.name} change when written and read: {options!r}, then {again!r}")


def _can_be_made(factory: Factory) -> None:
    try:
        factory()
    except NotReached as error:
        rule = "a class without Options is made without arguments, one with Options takes them as its only argument"
        raise AssertionError(f"{error}; {rule}") from error
