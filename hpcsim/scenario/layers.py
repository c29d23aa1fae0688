"""The layers that a scenario is merged from: the files below ``base:``, the file itself, the overrides.

Each value keeps the place where it was written, so that whatever finds fault with it can say where to look.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hpcsim.errors import InputError
from hpcsim.machine.shape import cut
from hpcsim.scenario.models import DEFAULT_PERFORMANCE, DEFAULT_SCHEDULER
from hpcsim.strict_yaml import Place, Steps, YamlText, parse_value, read_mapping


class Given(NamedTuple):
    """A dotted key and its value, and what the user said to give it, such as ``--scheduler easy``."""

    key: str
    value: object
    said: str


Overrides = Mapping[str, object] | Sequence[str | tuple[str, object] | Given]

FILES: tuple[Steps, ...] = (
    ("trace",),
    ("physics", "recorded_outages"),
    ("physics", "queues"),
    ("physics", "carbon"),
    ("physics", "price"),
)
"""The keys whose values, where they are text, are files."""

MODEL: Steps = ("machine", "model")
"""The key whose value is a name of the catalogue or a file."""

PLUGGED: Mapping[Steps, str | None] = {
    ("scheduler",): DEFAULT_SCHEDULER,
    ("twins", "performance"): DEFAULT_PERFORMANCE,
    ("twins", "energy"): None,
    ("twins", "fault"): None,
    ("twins", "thermal"): None,
    ("trace_format",): None,
}
"""The keys whose values are names of what plug-ins offer, or mappings with a ``name`` and options; their defaults."""

NAMED: tuple[str, ...] = ("observers", "metrics")
"""The keys whose values are names with options behind them."""

_TOURNAMENTS = ("tournament", "aims-question")  # what the names of packaged files begin with that are tournaments
_TRACES = (".swf", ".swf.gz", ".csv", ".csv.gz")  # what names of traces end in that no scenario has
_LONGEST_PATH = 1000  # characters; os.path.expanduser and the system's own limits raise in many ways beyond
_MOST_BASES = 20  # below one another


@dataclass(frozen=True, slots=True)
class Layer:
    """Data of a scenario that may be incomplete, and the places of its keys and values."""

    data: dict[Any, Any]
    key_places: dict[Steps, Place] = field(default_factory=dict)
    value_places: dict[Steps, Place] = field(default_factory=dict)

    def place(self, path: Steps, *, of_key: bool = False) -> Place:
        """The place of what stands at ``path``, or of the nearest thing around it."""
        if of_key and path in self.key_places:
            return self.key_places[path]
        while path and path not in self.value_places:
            path = path[:-1]
        return self.value_places.get(path, Place("scenario"))


def source_layers(source: str | Path | Mapping[str, object]) -> list[Layer]:
    """The layers of a file, a packaged name or a mapping, the deepest base first."""
    if isinstance(source, Mapping):
        data = _plain(source)
        return _with_base(YamlText(data, {}, _places_of(data, Place("mapping"))), Path(), [])
    return _file_layers(_find(source, Path()), [])


def text_layers(text: YamlText, folder: Path) -> list[Layer]:
    """The layers of a scenario that was read already, with files relative to ``folder``; the deepest base first."""
    return _with_base(text, folder, [])


def override_layer(overrides: Overrides) -> Layer:
    """One layer of all overrides, later ones above earlier ones; ``InputError`` names every malformed one."""
    wrong: list[str] = []
    layer = Layer({})
    for override in overrides.items() if isinstance(overrides, Mapping) else overrides:
        origin = _origin(override)
        try:
            key, value = _key_and_value(override, origin)
        except InputError as error:
            wrong.append(str(error))
            continue
        path: Steps = tuple(key.split("."))
        if isinstance(value, str) and (path in FILES or (path == MODEL and _is_file_name(value))):
            value = _absolute(value, Path())
        places = _places_of(value, Place(origin), path)
        for step in reversed(path):
            value = {step: value}
        single = _named_as_mappings(_plugged_as_mappings(Layer(value, {path: Place(origin)}, places)))
        layer = merged(layer, single, forget_options=False)
    if wrong:
        raise InputError("\n".join(wrong))
    return layer


def merged(lower: Layer, upper: Layer, *, forget_options: bool = True) -> Layer:
    """``upper`` over ``lower``: mappings are merged key by key, everything else is replaced.

    With ``forget_options`` another scheduler or twin does not inherit the options of the one it replaces.
    """
    whole = Layer(dict(lower.data), dict(lower.key_places), dict(lower.value_places))
    for path in PLUGGED if forget_options else ():
        if _other_name(path, lower.data, upper.data):
            whole = Layer(_without(whole.data, path), whole.key_places, whole.value_places)
            _forget_places(whole, path)
    _merge_into(whole, whole.data, upper, upper.data, ())
    return whole


def packaged_scenarios() -> dict[str, Path]:
    """The scenarios that come with hpcsim: file by name."""
    return {name: path for name, path in _packaged().items() if not name.startswith(_TOURNAMENTS)}


def packaged_tournaments() -> dict[str, Path]:
    """The tournaments that come with hpcsim, in the folder of the scenarios: file by name."""
    return {name: path for name, path in _packaged().items() if name.startswith(_TOURNAMENTS)}


def _packaged() -> dict[str, Path]:
    folder = Path(str(files("hpcsim"))) / "scenarios"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that guesses the name that was meant, with a space before it; empty without a good guess."""
    close = get_close_matches(name, list(known), n=3)
    close.sort(key=lambda each: sorted(each) != sorted(name))  # letters that changed places are the likelier slip
    return f" Did you mean {close[0]!r}?" if close else ""


def shown(value: object) -> str:
    """A wrong value as its file shows it, cut where it is long."""
    try:
        text = repr(value) if isinstance(value, str) else json.dumps(value)
    except (TypeError, ValueError):  # ValueError also for a number of more than 4300 digits
        text = f"a value of type {type(value).__name__}"
    return cut(text)


def _file_layers(path: Path, above: list[Path]) -> list[Layer]:
    return _with_base(read_mapping(path), path.parent, [*above, path])


def _with_base(text: YamlText, folder: Path, chain: list[Path]) -> list[Layer]:
    """The layer of a text in ``folder``, below it those of its base; ``chain`` is the files that led here."""
    data = dict(text.data)
    base = data.pop("base", None)
    place = text.value_places.get(("base",))
    _make_absolute(data, folder)
    layer = _named_as_mappings(_plugged_as_mappings(Layer(data, text.key_places, text.value_places)))
    if base is None:
        return [layer]
    if not isinstance(base, str):
        raise InputError(f"{place}: base: should be a file or a packaged scenario (got {shown(base)})")
    try:
        path = _find(base, folder)
    except InputError as error:
        raise InputError(f"{place}: base: {error}") from None
    if len(chain) > _MOST_BASES:
        raise InputError(f"{place}: base: more than {_MOST_BASES} scenarios, each the base of the next")
    if path.resolve() in [known.resolve() for known in chain]:
        ring = " -> ".join(known.name for known in [*chain, path])
        raise InputError(f"{place}: base: a scenario cannot start from itself ({ring})")
    return [*_file_layers(path, chain), layer]


def _find(source: str | Path, folder: Path) -> Path:
    """The file that a path, relative to ``folder``, or a packaged name means."""
    if len(os.fspath(source)) > _LONGEST_PATH:
        raise InputError(f"a name of {len(os.fspath(source)):,} characters, expected a file or a packaged scenario")
    path = folder / os.path.expanduser(source)
    is_name = isinstance(source, str) and os.sep not in source and not source.endswith((".yaml", ".yml"))
    packaged = packaged_scenarios()
    if is_name and source in packaged:
        found = packaged[str(source)]
        return found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found
    if str(source).lower().endswith(_TRACES):
        raise InputError(f"{source}: that is a trace, expected a scenario: hpcsim run bare --trace {source}")
    if path.is_file():
        return path
    if path.is_dir():
        raise InputError(f"{path}: a directory, expected a scenario file")
    if is_name:
        close = did_you_mean(str(source), packaged)
        known = ", ".join(packaged)
        raise InputError(f"no scenario named {str(source)!r} and no such file.{close} Known: {known}.")
    stem = Path(source).stem
    hint = f". The packaged scenario is called {stem!r}" if stem in packaged else ""
    raise InputError(f"{path}: there is no such file{hint}")


def _make_absolute(data: dict[Any, Any], folder: Path) -> None:
    """Turn every file that a scenario names into an absolute path, from one relative to ``folder``."""
    for *above, key in (*FILES, MODEL):
        part = at(data, above)
        value = at(part, [key])
        if isinstance(value, str) and ((*above, key) != MODEL or _is_file_name(value)):
            part[key] = _absolute(value, folder)


def _is_file_name(model: str) -> bool:
    """Whether a machine's model is the name of a file and not of a machine of the catalogue."""
    return model.endswith((".yaml", ".yml")) or os.sep in model


def _absolute(path: str, folder: Path) -> str:
    return os.path.abspath(folder / os.path.expanduser(path)) if path else path


def _plain(value: object) -> Any:
    """A value of Python as a YAML file would give it: dict, list, and paths as text."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _places_of(value: object, place: Place, path: Steps = ()) -> dict[Steps, Place]:
    """The same place for a plain value and everything in it."""
    places = {path: place}
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, part in parts:
        places |= _places_of(part, place, (*path, step))
    return places


def _origin(override: str | tuple[str, object] | Given) -> str:
    if isinstance(override, str):
        return f"--set {override}"
    return override.said if isinstance(override, Given) else f"override {override[0]}"


def _key_and_value(override: str | tuple[str, object] | Given, origin: str) -> tuple[str, Any]:
    if isinstance(override, str):
        key, equals, text = override.partition("=")
        if not equals:
            raise InputError(f"{origin}: expected key=value, such as machine.nodes=560")
        key, value = key.strip(), parse_value(text, origin)
    else:
        key, value = override[0], _plain(override[1])
    if not all(key.split(".")):
        raise InputError(f"{origin}: {key!r} is no key; expected one such as machine.nodes")
    if key == "base":
        raise InputError(f"{origin}: base may stand in a file only")
    return key, value


def _plugged_as_mappings(layer: Layer) -> Layer:
    """``scheduler: easy`` written out as ``scheduler: {name: easy}``, so that layers can be merged; twins too."""
    for path in PLUGGED:
        name = at(layer.data, path)
        if isinstance(name, str):
            places = {**layer.value_places, (*path, "name"): layer.place(path)}
            layer = Layer(_with(layer.data, path, {"name": name}), layer.key_places, places)
    return layer


def _named_as_mappings(layer: Layer) -> Layer:
    """``observers: [a, b]`` and ``observers: a`` written out as mappings of names to options, so that layers merge."""
    for key in NAMED:
        value = layer.data.get(key)
        named: dict[Any, Any]
        places: dict[Steps, Place] = {}
        if isinstance(value, str):
            named, places = {value: {}}, {(key, value): layer.place((key,))}
        elif isinstance(value, list) and all(isinstance(name, str) for name in value):
            named = {name: {} for name in value}
            places = {(key, name): layer.place((key, number)) for number, name in enumerate(value)}
        elif isinstance(value, dict):
            named = {name: {} if options is None else options for name, options in value.items()}
        else:
            continue  # there is none, or the models say what is wrong with it
        layer = Layer({**layer.data, key: named}, layer.key_places | places, layer.value_places | places)
    return layer


def _other_name(path: Steps, lower: Mapping[Any, Any], upper: Mapping[Any, Any]) -> bool:
    """Whether ``upper`` names something else at ``path`` than ``lower`` does."""
    before, after = at(lower, path), at(upper, path)
    if not isinstance(before, dict) or not isinstance(after, dict) or "name" not in after:
        return False
    return bool(before.get("name", PLUGGED[path]) != after["name"])


def at(data: Any, path: Sequence[str | int]) -> Any:
    """What stands at ``path``; None if nothing does."""
    for step in path:
        data = data.get(step) if isinstance(data, Mapping) else None
    return data


def _with(data: Mapping[Any, Any], path: Steps, value: object) -> dict[Any, Any]:
    """A copy of ``data`` with ``value`` at ``path``, where there is something already."""
    step, *rest = path
    return {**data, step: _with(data[step], tuple(rest), value) if rest else value}


def _without(data: Mapping[Any, Any], path: Steps) -> dict[Any, Any]:
    """A copy of ``data`` without what stands at ``path``."""
    step, *rest = path
    if rest:
        return {**data, step: _without(data[step], tuple(rest))}
    return {key: value for key, value in data.items() if key != step}


def _merge_into(whole: Layer, low: dict[Any, Any], upper: Layer, high: dict[Any, Any], at: Steps) -> None:
    """Merge ``high``, which stands at ``at`` in ``upper``, into ``low``, which stands there in ``whole``."""
    if at in upper.value_places:
        whole.value_places[at] = upper.value_places[at]
    for key, value in high.items():
        here = (*at, key)
        if isinstance(low.get(key), dict) and isinstance(value, dict):
            low[key] = dict(low[key])  # the layer below keeps its own
            _merge_into(whole, low[key], upper, value, here)
            if here in upper.key_places:
                whole.key_places[here] = upper.key_places[here]
        else:
            low[key] = value
            _forget_places(whole, here)
            whole.key_places.update(_below(upper.key_places, here))
            below = _below(upper.value_places, here)
            whole.value_places.update(below)
            if below:  # an override tells only where its last key is: that is where all above it is from, too
                whole.value_places.setdefault(here, next(iter(below.values())))


def _below(places: dict[Steps, Place], path: Steps) -> dict[Steps, Place]:
    return {steps: place for steps, place in places.items() if steps[: len(path)] == path}


def _forget_places(layer: Layer, path: Steps) -> None:
    for places in (layer.key_places, layer.value_places):
        for steps in _below(places, path):
            del places[steps]
