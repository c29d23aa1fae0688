"""From a file, a name or a mapping to a checked ``Scenario``; all that is wrong with it is told at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from hpcsim.errors import InputError
from hpcsim.machine.shape import dotted
from hpcsim.scenario.layers import (
    NAMED,
    PLUGGED,
    Layer,
    Overrides,
    at,
    did_you_mean,
    merged,
    override_layer,
    shown,
    source_layers,
)
from hpcsim.scenario.models import DEFAULT_PERFORMANCE, DEFAULT_SCHEDULER, Plugged, Scenario
from hpcsim.strict_yaml import Place, Steps
from hpcsim.workload.reader import BUILT_IN

_MOST_COMPLAINTS = 200  # that are told of one scenario
_PARTS = (*NAMED, "trace_format")
_NAMED_OPTIONS = {"type": "object", "additionalProperties": {"anyOf": [{"type": "object"}, {"type": "null"}]}}


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A scenario that holds by itself, and where its values were written.

    ``options`` is the checked options of the scheduler, an instance of its ``Options``; None when it has
    none, or when the scenario was loaded without the table of schedulers. ``twin_options`` is the same of the twin
    that answers each question, ``part_options`` of what else plug-ins offer, by where it stands:
    ``("observers", NAME)``, ``("metrics", NAME)`` or ``("trace_format",)``.
    """

    scenario: Scenario
    options: BaseModel | None
    layer: Layer
    twin_options: Mapping[str, BaseModel | None] = field(default_factory=dict)
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
    twins: Mapping[str, type] | None = None,
    parts: Mapping[str, Mapping[str, Any]] | None = None,
) -> LoadedScenario:
    """Read, merge and check a scenario.

    ``source`` is a YAML file, the name of a packaged scenario such as ``"polaris"``, or a mapping.
    ``overrides`` are texts ``key=value`` with dotted keys and values in YAML, or pairs (or a mapping) of
    dotted keys and plain values, or ``Given``; the last one wins. A ``trace`` in a file is relative to that file,
    elsewhere to the working directory. With ``schedulers`` and ``twins`` (name to class) their names and options
    are checked as well; with ``parts`` (kind to name to class) those of observers, metrics and the trace's reader.

    Raises ``InputError`` with a line for each thing that is wrong, ordered by place.
    """
    layers = (*source_layers(source), override_layer(overrides))
    return checked(layers, schedulers=schedulers, twins=twins, parts=parts)


def checked(
    layers: Iterable[Layer],
    *,
    schedulers: Mapping[str, type] | None = None,
    twins: Mapping[str, type] | None = None,
    parts: Mapping[str, Mapping[str, Any]] | None = None,
) -> LoadedScenario:
    """The scenario of these layers, the lowest first; see ``load_scenario``."""
    layer = Layer({})
    for upper in layers:
        layer = merged(layer, upper)
    if schedulers is not None and twins is not None:
        layer = _with_own_twins(layer, schedulers, twins)
    wrong: list[tuple[Place, str]] = []
    scenario: Scenario | None = None
    try:
        scenario = Scenario.model_validate(layer.data)
    except ValidationError as error:
        wrong += complaints(error, layer, Scenario, ())
    options: dict[Steps, BaseModel | None] = {}
    readers = None if parts is None else {**dict.fromkeys(BUILT_IN, object), **parts["workloads"]}
    for path in PLUGGED:
        known = {"scheduler": schedulers, "twins": twins, "trace_format": readers}[str(path[0])]
        if known is not None:
            options[path], told = _checked_options(layer, path, known)
            wrong += told
    if parts is not None:
        told = _check_named(layer, parts, options)
        wrong += told
    if scenario is None or wrong:
        lines = list(dict.fromkeys(f"{place}: {text}" for place, text in sorted(wrong)))
        more = ["there is more; these are the first"] if len(lines) > _MOST_COMPLAINTS else []
        raise InputError("\n".join([*lines[:_MOST_COMPLAINTS], *more]))
    for path, checked in options.items():
        if checked is not None:
            scenario = _with_options(scenario, path, checked, layer)
    of_twins = {str(path[1]): checked for path, checked in options.items() if path[0] == "twins"}
    of_parts = {path: checked for path, checked in options.items() if path[0] in _PARTS and checked is not None}
    return LoadedScenario(scenario, options.get(("scheduler",)), layer, of_twins, of_parts)


def scenario_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a scenario file, for completion in editors."""
    schema = Scenario.model_json_schema()
    fields = schema["properties"]
    base = {"description": "a scenario to start from: a file, relative to this one, or a packaged name"}
    _take_names(fields["scheduler"], {"$ref": "#/$defs/Scheduler"}, DEFAULT_SCHEDULER)
    twins = schema["$defs"]["Twins"]["properties"]
    _take_names(twins["performance"], {"$ref": "#/$defs/PerformanceTwin"}, DEFAULT_PERFORMANCE)
    for question in ("energy", "fault", "thermal"):
        _take_names(twins[question], {"$ref": "#/$defs/Plugged"}, None)
    _take_names(fields["trace_format"], {"$ref": "#/$defs/Plugged"}, None)
    for many in NAMED:
        names = {"type": "string"}
        fields[many]["anyOf"] = [names, {"type": "array", "items": names}, _NAMED_OPTIONS]
        for key in ("type", "additionalProperties"):
            fields[many].pop(key)
    fields["twins"]["default"] = {}
    return schema | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hpcsim scenario",
        "properties": {"base": {"title": "Base", "type": "string", **base}, **fields},
        "required": [],
        "anyOf": [{"required": ["name"]}, {"required": ["base"]}],  # a name may come from the base
    }


def _take_names(field: dict[str, Any], mapping: dict[str, Any], default: str | None) -> None:
    """Let the schema of a field take a name alone beside ``mapping``; and null, where that is the default."""
    by_name = {"type": "string", "description": "its name, with its default options"}
    description = field["description"]
    field.clear()
    field["anyOf"] = [by_name, mapping, *([] if default else [{"type": "null"}])]
    field["default"] = default
    field["description"] = description


def _with_own_twins(layer: Layer, schedulers: Mapping[str, type], twins: Mapping[str, type]) -> Layer:
    """The layer with the twins that its scheduler names for itself, where it names none, and has what they need."""
    section = at(layer.data, ("scheduler",))
    name = section.get("name", DEFAULT_SCHEDULER) if isinstance(section, dict) else DEFAULT_SCHEDULER
    own = getattr(schedulers.get(name), "twins", {}) if isinstance(name, str) else {}
    physics, has = at(layer.data, ("physics",)), set()
    if isinstance(physics, dict):
        has = {"power"} if physics.get("heat") is False else {"power", "heat"}
    wished = {}
    for question, twin in own.items():
        kind = twins.get(twin)
        senses = hasattr(kind, "senses_every_s") and not has
        if kind is not None and not senses and set(getattr(kind, "needs", ())) <= has:
            wished[question] = {"name": twin}
    return merged(Layer({"twins": wished}), layer) if wished else layer


def _checked_options(
    layer: Layer, path: Steps, known: Mapping[str, type]
) -> tuple[BaseModel | None, list[tuple[Place, str]]]:
    """The options of the scheduler or twin that ``path`` names, and what is wrong with its name or with them."""
    section = at(layer.data, path)
    if section is None:
        section = {}
    name = section.get("name", PLUGGED[path]) if isinstance(section, dict) else None
    if not isinstance(name, str):
        return None, []  # nothing is named, or the models say what is wrong with it
    one, key = {"scheduler": "scheduler", "twins": "twin"}.get(str(path[0]), "reader"), ".".join(map(str, path))
    if path[0] == "twins":
        all_twins, known = known, {name: each for name, each in known.items() if _answers(each) == path[1]}
        if name in all_twins and name not in known:
            others = f"known for {path[1]}: {', '.join(sorted(known)) or 'none'}"
            text = f"{key}.name: the twin {name!r} answers {_answers(all_twins[name])}; {others}"
            return None, [(layer.place((*path, "name")), text)]
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        guess = did_you_mean(name, known)
        text = f"{key}.name: no {one} named {name!r}.{guess} Known: {names}."
        return None, [(layer.place((*path, "name")), text)]
    given = {key: value for key, value in section.items() if key != "name"}
    return _made_options(layer, path, name, known[name], given)


def _check_named(
    layer: Layer, parts: Mapping[str, Mapping[str, Any]], options: dict[Steps, BaseModel | None]
) -> list[tuple[Place, str]]:
    """Add the options of all observers and metrics that are named; answers what is wrong with names or options."""
    wrong: list[tuple[Place, str]] = []
    for many in NAMED:
        section = layer.data.get(many)
        for name, given in section.items() if isinstance(section, dict) else ():
            path = (many, name)
            if not isinstance(name, str) or not isinstance(given, dict):
                continue  # the models say what is wrong with it
            if name not in parts[many]:
                guess = did_you_mean(name, parts[many]) or f" Known: {', '.join(sorted(parts[many])) or 'none'}."
                wrong.append((_nearest(layer, path), f"{many}.{name}: no {many[:-1]} named {name!r}.{guess}"))
                continue
            options[path], told = _made_options(layer, path, name, parts[many][name], dict(given))
            wrong += told
    return wrong


def _nearest(layer: Layer, path: Steps) -> Place:
    """The place of the key at ``path``, or of what is written inside it."""
    inside = (place for steps, place in layer.value_places.items() if steps[: len(path)] == path)
    return layer.key_places.get(path) or next(inside, layer.place(path))


def _made_options(
    layer: Layer, path: Steps, name: str, kind: type, given: dict[Any, Any]
) -> tuple[BaseModel | None, list[tuple[Place, str]]]:
    """The options ``given`` at ``path`` for ``name``, an instance of its ``Options``, and what is wrong with them."""
    key = ".".join(map(str, path))
    model: type[BaseModel] | None = getattr(kind, "Options", None)
    known_keys = _keys(model) if model else []
    wrong: list[tuple[Place, str]] = []
    if model is None or model.model_config.get("extra") != "allow":
        # Checked here, because a model of pydantic silently ignores unknown keys unless it forbids them.
        for option in [option for option in given if option not in known_keys]:
            complaint = f"{name} has no such option"
            wrong.append(_unknown_key(layer, (*path, option), given.pop(option), known_keys, complaint))
    if model is None:
        return None, wrong
    try:
        return model.model_validate(given), wrong
    except ValidationError as error:
        return None, wrong + complaints(error, layer, model, path)
    except Exception as error:  # the validators are the plug-in's own code
        text = f"{key}: the options of {name} broke while being checked: {type(error).__name__}: {error}"
        return None, [*wrong, (layer.place(path), text)]


def _answers(twin: type) -> object:
    return getattr(twin, "answers", None)


def _with_options(scenario: Scenario, path: Steps, options: BaseModel, layer: Layer) -> Scenario:
    """The scenario with all options of what ``path`` names, defaults too, as they would stand in a file."""
    *above, last = map(str, path)
    part: Any = scenario
    for step in above:
        part = getattr(part, step)
    plugged: Plugged | None = None if path[0] in NAMED else getattr(part, last)
    name = last if plugged is None else plugged.name
    try:
        values = options.model_dump(mode="json", by_alias=True, round_trip=True)
    except PydanticSerializationError as error:
        raise InputError(f"{layer.place(path)}: the options of {name} cannot be written down: {error}") from error
    if plugged is None:
        part = {**part, last: values}
    else:
        part = part.model_copy(update={last: type(plugged).model_validate({"name": name, **values})})
    return scenario.model_copy(update={above[0]: part}) if above else part


def complaints(error: ValidationError, layer: Layer, model: type[BaseModel], above: Steps) -> list[tuple[Place, str]]:
    """The errors of pydantic as ``key.path: what was wrong (got VALUE)``, each with its place."""
    told: list[tuple[Place, str]] = []
    for found in error.errors(include_url=False)[: _MOST_COMPLAINTS + 1]:
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
    text = f"{dotted(path)}: {complaint}.{guess} (got {shown(value)})"
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
