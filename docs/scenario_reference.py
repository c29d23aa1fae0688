"""Writes the reference of scenario files out of what reads them: the models of scenarios, and the options of plug-ins.

    python docs/scenario_reference.py        # docs/scenario.md and docs/options.md, anew

A test compares both pages with what this makes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from hpcsim.cli.words import in_yaml, type_in_words
from hpcsim.engine.capabilities import CAPABILITIES, declared
from hpcsim.plugin.loader import load_plugins
from hpcsim.scenario.layers import packaged_scenarios
from hpcsim.scenario.models import Plugged, Scenario
from hpcsim.scenario.times import SPAN_SCHEMA, Moment

HERE = Path(__file__).parent
_MOMENT = get_args(Moment)[-1].json_schema["anyOf"]
_SPAN = SPAN_SCHEMA["anyOf"]
_HEAD = "| key | what | type | default [unit] |\n|---|---|---|---|"

# The unit of a number, by its name or by what is said of it; the first that is found. All others are counts and shares.
_UNITS = (
    ("GB/s", r"\bgigabytes\b"),
    ("kW", r"\bkilowatts\b"),
    ("s", r"^\w+_s:|(?<!node-)\bseconds\b"),
    ("h", r"^hours_utc:|\bhours between\b"),
    ("d", r"^days:"),
    ("nodes", r"^(nodes|least_nodes|most_nodes|reserve):"),
    ("units", r"^units:"),
    ("jobs", r"^jobs:|\bhow many (waiting |blocked )?jobs\b|^accruing:"),
)

_SCENARIO = """\
# The scenario file

A scenario is one simulation, as a YAML file. Every key has a default but `name`; a machine with everything on is short:

```yaml
name: mine
machine: {model: polaris}
profile: polaris            # jobs that are made up; trace: my.swf.gz takes recorded ones
days: 7
physics: {}                 # places, power, heat, failures and the centre's queues, at their defaults
scheduler: {name: easy, order: sjf}
levers: {sleep_idle: 15m}
twins: {performance: last-two}
window: {warm_up: 1d, cool_down: 12h}
```

    hpcsim validate mine.yaml                                # what is wrong and where: first keys, then what they name
    hpcsim run mine.yaml
    hpcsim run mine.yaml --set scheduler.order=wfp3 --set physics.heat=false
    hpcsim schema -o scenario.schema.json                    # for completion in an editor

`--set KEY=VALUE` overrides a key by its dotted path; the value is YAML. `scenario.yaml` in a run directory has every
default written out. An unknown key is an error, with a guess of what was meant.

- A **span** is whole seconds, or text such as `90s`, `12h30m`, `3d` and `12:30:00`.
- A **moment** is a span since the trace's zero, or a date in UTC such as `2023-09-15` and `2023-09-15 12:00`.
- What a plug-in offers (`scheduler`, each of `twins`, `trace_format`) is its name, or a mapping of its `name` and its
  options: [options.md](options.md) has those of the built-in ones.
- A default of *none* means that there is none of it: the key is left out, or `null`.
- Files are relative to the scenario's own.

This page is made from the models that read the file: `python docs/scenario_reference.py`.

## Packaged scenarios
Their names stand wherever a file could."""

_OPTIONS = """\
# Options of schedulers and twins

What stands beside `name` in a scenario's `scheduler` and `twins` ([scenario.md](scenario.md)), of everything that comes
with hpcsim:

```yaml
name: mine
machine: {model: cooley}
profile: cooley
physics: {}
scheduler: {name: pbs, backfill_depth: 1}
twins:
  performance: {name: runtime-ensemble, point: mean}
  energy: energy-last-two
```

    hpcsim run cooley --scheduler pbs --set scheduler.backfill_depth=1
    hpcsim schedulers pbs                                    # the same of one, and of plug-ins of your own
    hpcsim twins runtime-ensemble

What each does and where it is from: [baselines.md](baselines.md), [aims.md](aims.md), [twins.md](twins.md).
This page is made from the classes: `python docs/scenario_reference.py`."""


def scenario_page() -> str:
    """docs/scenario.md: every key of every section, in the order of the models."""
    return "\n\n".join([_SCENARIO, _packaged(), *_sections(Scenario, (), "## Keys of a scenario")]) + "\n"


def options_page() -> str:
    """docs/options.md: the options of every built-in scheduler and twin, and what each needs."""
    offers, parts = load_plugins().offers, [_OPTIONS]
    for kind in ("schedulers", "twins"):
        parts.append(f"## {kind.capitalize()}")
        for name, offered in offers[kind].items():
            if not offered.__module__.startswith("hpcsim."):
                continue
            options: type[BaseModel] | None = getattr(offered, "Options", None)
            parts += [f"### `{name}`", _about(offered)]
            parts += ["It has no options."] if options is None else list(_sections(options, (name,), ""))
    return "\n\n".join(parts) + "\n"


def _packaged() -> str:
    rows = ["| name | what |", "|---|---|"]
    for name, path in packaged_scenarios().items():
        rows.append(f"| `{name}` | {yaml.safe_load(path.read_text(encoding='utf-8'))['description']} |")
    return "\n".join(rows)


def _about(offered: type) -> str:
    """The first paragraph of its docstring, what it answers and what it needs."""
    parts = [f"Answers `{offered.answers}`."] if hasattr(offered, "answers") else []
    parts.append(_told((offered.__doc__ or "").strip().split("\n\n")[0]))
    needs = [f"`{need}`" for need in CAPABILITIES if need in declared(offered)]
    if needs:
        parts.append(f"Needs {', '.join(needs)} ([what these are](plugins.md#needs)).")
    return " ".join(parts)


def _sections(
    model: type[BaseModel], path: tuple[str, ...], heading: str, seen: dict[type[BaseModel], str] | None = None
) -> Iterator[str]:
    """Heading and table of a model and of all that lie in it; one that is met again is only linked."""
    seen = {} if seen is None else seen
    inner = {}
    for name, field in model.model_fields.items():
        for part in _models_in(field.annotation):
            if part not in seen and not issubclass(part, Plugged):
                seen[part] = _slug(".".join((*path, name)))
                inner[name] = part
    if heading:
        yield heading
        yield _told(model.__doc__ or "")
    yield "\n".join([_HEAD, *_rows(model, seen)])
    for name, part in inner.items():
        yield from _sections(part, (*path, name), f"{'#' * min(len(path) + 3, 4)} `{'.'.join((*path, name))}`", seen)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _rows(model: type[BaseModel], links: dict[type[BaseModel], str]) -> Iterator[str]:
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        names = {part.__name__: links.get(part) for part in _models_in(field.annotation)}
        about, told = schema["properties"][name], _told(field.description or "")
        unit = _unit(name, about, told)
        default = _default(field) + (f" [{unit}]" if unit else "")
        cells = (f"`{name}`", told, type_in_words(_plain(about, names), {}), default)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(about: dict[str, Any], links: dict[str, str | None]) -> dict[str, Any]:
    """The schema with times by their names, values as code, mappings as links, and without null: that is a default."""
    if "$ref" in about:
        slug = links[about["$ref"].rpartition("/")[2]]
        return {"type": f"[mapping](#{slug})" if slug else "name or mapping"}
    if "enum" in about:
        return {"type": " or ".join(f"`{in_yaml(value)}`" for value in about["enum"])}
    if "const" in about:
        return {"type": f"`{in_yaml(about['const'])}`"}
    if "anyOf" in about:
        parts = about["anyOf"]
        for name, spelled in (("span", _SPAN), ("moment", _MOMENT)):
            if all(part in parts for part in spelled):
                parts = [{"type": name}, *[part for part in parts if part not in spelled]]
        return {"anyOf": [_plain(part, links) for part in parts if part != {"type": "null"}]}
    plain = {key: _number(value) for key, value in about.items() if (key, value) != ("minLength", 1)}
    if "items" in about:
        plain["items"] = _plain(about["items"], links)
    each = about.get("items") or (about.get("prefixItems") or [None])[0]
    if each and about.get("maxItems") is not None and about.get("minItems") == about["maxItems"]:
        return {"type": f"list of {about['minItems']}, each {type_in_words(_plain(each, links), {})}"}
    if "pattern" in about:
        plain["pattern"] = f"`{about['pattern']}`"
    return plain


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return "2^63" if value == 2**63 else f"{value:,}"


def _unit(name: str, about: dict[str, Any], told: str) -> str:
    kinds = set(re.findall(r"'type': '(\w+)'", str({key: about[key] for key in about if key != "default"})))
    if ("pattern" in str(about) and kinds >= {"integer", "string"}) or _MOMENT[0] in about.get("anyOf", []):
        return "s"  # a span or a moment
    if not {"integer", "number"} & kinds or "object" in kinds:
        return ""
    return next((unit for unit, pattern in _UNITS if re.search(pattern, f"{name}: {told}")), "")


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Plugged):
        value = value.name
    if isinstance(value, BaseModel):
        return "its defaults"
    if value is None or value in ("", {}, []):
        return "none" if value is None else "empty"
    return f"`{in_yaml(value)}`"


def _told(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


def _slug(heading: str) -> str:
    return re.sub(r"[^\w-]", "", heading.lower())


if __name__ == "__main__":
    for page, text in (("scenario.md", scenario_page()), ("options.md", options_page())):
        (HERE / page).write_text(text, encoding="utf-8")
