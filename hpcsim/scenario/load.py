"""From a file, a name or a mapping to a checked ``Scenario``; all that is wrong with it is told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from hpcsim.errors import InputError
from hpcsim.scenario.layers import (
    Layer,
    Overrides,
    did_you_mean,
    merged,
    override_layer,
    shown,
    source_layers,
)
from hpcsim.scenario.models import DEFAULT_SCHEDULER, Scenario, Scheduler
from hpcsim.strict_yaml import Place, Steps
from hpcsim.workload.reader import BUILT_IN


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A scenario that holds by itself, and where its values were written.

    ``options`` is the checked options of the scheduler, an instance of its ``Options``; None when it has
    none, or when the scenario was loaded without the table of schedulers. ``part_options`` are those of what else
    plug-ins offer, by where they stand: ``("observers", NAME)``, ``("metrics", NAME)`` or ``("trace_format",)``.
    """

    scenario: Scenario
    options: BaseModel | None
    layer: Layer
    part_options: Mapping[Steps, BaseModel] = field(default_factory=dict)

    def place(self, *path: str | int) -> str:
        """Where the value at ``path`` or something in it stands: ``file:line:column``, ``--set key``, ``default``."""
        places = self.layer.value_places
        inside = (place for steps, place in places.items() if steps[: len(path)] == path)
        return str(places.get(path) or next(inside, "default"))

    def resolved(self) -> dict[str, Any]:
        """The whole scenario as plain data, defaults written out: loading it gives an equal scenario."""
        return self.scenario.model_dump(mode="json")


def load_scenario(
    source: str | Path | Mapping[str, object],
    overrides: Overrides = (),
    *,
    schedulers: Mapping[str, type] | None = None,
    parts: Mapping[str, Mapping[str, Any]] | None = None,
) -> LoadedScenario:
    """Read, merge and check a scenario.

    ``source`` is a YAML file, the name of a packaged scenario such as ``"polaris"``, or a mapping.
    ``overrides`` are texts ``key=value`` with dotted keys and values in YAML, or pairs (or a mapping) of
    dotted keys and plain values; the last one wins. A ``trace`` in a file is relative to that file,
    elsewhere to the working directory. With ``schedulers`` (name to class) the scheduler's name and options
    are checked as well; with ``parts`` (kind to name to class) those of observers, metrics and the trace's reader.

    Raises ``InputError`` with a line for each thing that is wrong, ordered by place.
    """
    layer = Layer({})
    for upper in (*source_layers(source), override_layer(overrides)):
        layer = merged(layer, upper)
    wrong: list[tuple[Place, str]] = []
    scenario: Scenario | None = None
    options: BaseModel | None = None
    try:
        scenario = Scenario.model_validate(layer.data)
    except ValidationError as error:
        wrong += _told(error, layer, Scenario, ())
    if schedulers is not None:
        options, told = _checked_options(layer, schedulers)
        wrong += told
    part_options: dict[Steps, BaseModel] = {}
    if parts is not None:
        part_options, told = _checked_parts(layer, parts)
        wrong += told
    if scenario is None or wrong:
        raise InputError("\n".join(dict.fromkeys(f"{place}: {text}" for place, text in sorted(wrong))))
    if options is not None:
        scenario = scenario.model_copy(update={"scheduler": _written_out(scenario.scheduler.name, options, layer)})
    for path, checked in part_options.items():
        scenario = _with_part(scenario, path, checked, layer)
    return LoadedScenario(scenario, options, layer, part_options)


def scenario_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a scenario file, for completion in editors."""
    schema = Scenario.model_json_schema()
    fields = schema["properties"]
    base = {"description": "a scenario to start from: a file, relative to this one, or a packaged name"}
    by_name = {"type": "string", "description": "name of the scheduler, with its default options"}
    scheduler = {
        "anyOf": [by_name, {"$ref": "#/$defs/Scheduler"}],
        "default": DEFAULT_SCHEDULER,
        "description": fields["scheduler"]["description"],
    }
    return schema | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hpcsim scenario",
        "properties": {"base": {"title": "Base", "type": "string", **base}, **fields, "scheduler": scheduler},
        "required": [],
        "anyOf": [{"required": ["name"]}, {"required": ["base"]}],  # a name may come from the base
    }


def _checked_options(layer: Layer, schedulers: Mapping[str, type]) -> tuple[BaseModel | None, list[tuple[Place, str]]]:
    """The options of the named scheduler, and what is wrong with its name or with them."""
    section = layer.data.get("scheduler", {})
    name = section.get("name", DEFAULT_SCHEDULER) if isinstance(section, dict) else None
    if not isinstance(name, str):
        return None, []  # the models say what is wrong with it
    if name not in schedulers:
        known = ", ".join(sorted(schedulers)) or "none"
        guess = did_you_mean(name, schedulers)
        text = f"scheduler.name: no scheduler named {name!r}.{guess} Known: {known}."
        return None, [(layer.place(("scheduler", "name")), text)]
    given = {key: value for key, value in section.items() if key != "name"}
    return _checked(layer, ("scheduler",), name, schedulers[name], given)


def _checked_parts(
    layer: Layer, parts: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[Steps, BaseModel], list[tuple[Place, str]]]:
    """The options of all observers, metrics and readers that are named, and what is wrong with names or options."""
    options: dict[Steps, BaseModel] = {}
    wrong: list[tuple[Place, str]] = []
    for key, one, kinds in (
        ("observers", "observer", parts["observers"]),
        ("metrics", "metric", parts["metrics"]),
        ("trace_format", "workload reader", {**dict.fromkeys(BUILT_IN, object), **parts["workloads"]}),
    ):
        section = layer.data.get(key)
        if isinstance(section, str):
            section = {"name": section}
        if not isinstance(section, dict):
            continue  # there is none, or the models say what is wrong with it
        chosen = key == "trace_format"
        for name, each in [(section.get("name"), section)] if chosen else section.items():
            if not isinstance(name, str) or not isinstance(each, dict):
                continue
            path: Steps = (key,) if chosen else (key, name)
            if name not in kinds:
                guess = did_you_mean(name, kinds) or f" Known: {', '.join(sorted(kinds)) or 'none'}."
                text = f"{'.'.join(map(str, path))}: no {one} named {name!r}.{guess}"
                wrong.append((_nearest(layer, path), text))
                continue
            given = {option: value for option, value in each.items() if not chosen or option != "name"}
            checked, told = _checked(layer, path, name, kinds[name], given)
            wrong += told
            if checked is not None:
                options[path] = checked
    return options, wrong


def _nearest(layer: Layer, path: Steps) -> Place:
    """The place of the key at ``path``, or of what is written inside it."""
    inside = (place for steps, place in layer.value_places.items() if steps[: len(path)] == path)
    return layer.key_places.get(path) or next(inside, layer.place(path))


def _checked(
    layer: Layer, path: Steps, name: str, kind: type, given: dict[Any, Any]
) -> tuple[BaseModel | None, list[tuple[Place, str]]]:
    """The options ``given`` at ``path`` for ``name``, an instance of its ``Options``, and what is wrong with them."""
    model: type[BaseModel] | None = getattr(kind, "Options", None)
    known_keys = _keys(model) if model else []
    wrong: list[tuple[Place, str]] = []
    if model is None or model.model_config.get("extra") != "allow":
        # Checked here, because a model of pydantic silently ignores unknown keys unless it forbids them.
        for key in [key for key in given if key not in known_keys]:
            complaint = f"{name} has no such option"
            wrong.append(_unknown_key(layer, (*path, key), given.pop(key), known_keys, complaint))
    if model is None:
        return None, wrong
    try:
        return model.model_validate(given), wrong
    except ValidationError as error:
        return None, wrong + _told(error, layer, model, path)
    except Exception as error:  # the validators are the plug-in's own code
        key = ".".join(map(str, path))
        text = f"{key}: the options of {name} broke while being checked: {type(error).__name__}: {error}"
        return None, [*wrong, (layer.place(path), text)]


def _written_out(name: str, options: BaseModel, layer: Layer) -> Scheduler:
    """The scheduler with all its options, defaults too, as they would stand in a file."""
    return Scheduler.model_validate({"name": name, **_dumped(("scheduler",), name, options, layer)})


def _with_part(scenario: Scenario, path: Steps, options: BaseModel, layer: Layer) -> Scenario:
    """The scenario with all options of the observer, metric or reader at ``path``."""
    key, *names = map(str, path)
    before = getattr(scenario, key)
    if names:
        return scenario.model_copy(update={key: {**before, names[0]: _dumped(path, names[0], options, layer)}})
    chosen = type(before).model_validate({"name": before.name, **_dumped(path, before.name, options, layer)})
    return scenario.model_copy(update={key: chosen})


def _dumped(path: Steps, name: str, options: BaseModel, layer: Layer) -> dict[str, Any]:
    try:
        return options.model_dump(mode="json", by_alias=True, round_trip=True)
    except PydanticSerializationError as error:
        raise InputError(f"{layer.place(path)}: the options of {name} cannot be written down: {error}") from error


def _told(error: ValidationError, layer: Layer, model: type[BaseModel], above: Steps) -> list[tuple[Place, str]]:
    """The errors of pydantic as ``key.path: what was wrong (got VALUE)``, each with its place."""
    told: list[tuple[Place, str]] = []
    for found in error.errors(include_url=False):
        path = (*above, *found["loc"])
        key = ".".join(map(str, path))
        kind, text, value = found["type"], found["msg"], found["input"]
        if kind == "extra_forbidden":
            level = _model_at(model, found["loc"][:-1])
            told.append(_unknown_key(layer, path, value, _keys(level) if level else [], "no such key"))
        elif kind == "invalid_key":
            told.append((layer.place(path, of_key=True), f"{key}: a key should be text (got {shown(value)})"))
        elif kind == "missing":
            told.append((layer.place(path), f"{key}: missing, and it has no default"))
        else:
            if kind in ("model_type", "model_attributes_type"):
                text = "Input should be a mapping of keys and values"
            elif kind == "literal_error" and isinstance(value, str):
                guess = did_you_mean(value, _alternatives(model, found["loc"]))
                text += f".{guess}" if guess else ""
            told.append((layer.place(path), f"{key}: {text} (got {shown(value)})"))
    return told


def _unknown_key(layer: Layer, path: Steps, value: object, known: Sequence[str], complaint: str) -> tuple[Place, str]:
    guess = did_you_mean(str(path[-1]), known) or f" Known: {', '.join(known) or 'none'}."
    text = f"{'.'.join(map(str, path))}: {complaint}.{guess} (got {shown(value)})"
    return layer.place(path, of_key=True), text


def _keys(model: type[BaseModel]) -> list[str]:
    """The keys that a model reads."""
    return [info.alias or name for name, info in model.model_fields.items()]


def _model_at(model: type[BaseModel], path: Steps) -> type[BaseModel] | None:
    """The model of the section at ``path``."""
    for step in path:
        info = model.model_fields.get(str(step))
        inner = (info.annotation, *get_args(info.annotation)) if info else ()
        models = [part for part in inner if isinstance(part, type) and issubclass(part, BaseModel)]
        if not models:
            return None
        model = models[0]
    return model


def _alternatives(model: type[BaseModel], path: Steps) -> list[str]:
    """The texts that a field of literals takes."""
    level = _model_at(model, path[:-1])
    info = level.model_fields.get(str(path[-1])) if level else None
    return [value for value in get_args(info.annotation) if isinstance(value, str)] if info else []
