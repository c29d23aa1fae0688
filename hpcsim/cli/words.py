"""What a JSON schema says of a value, in words: its type with its bounds, and the value as YAML has it."""

from __future__ import annotations

import json
from typing import Any

_BOUNDS = {
    "minimum": "at least {}", "exclusiveMinimum": "above {}", "maximum": "at most {}", "exclusiveMaximum": "below {}",
    "multipleOf": "a multiple of {}", "minLength": "at least {} long", "maxLength": "at most {} long",
    "minItems": "at least {} of them", "maxItems": "at most {} of them", "pattern": "like {}",
}  # fmt: skip
_TYPES = {"integer": "whole number", "string": "text", "boolean": "true or false", "null": "null", "array": "list",
          "object": "mapping"}  # fmt: skip


def type_in_words(about: dict[str, Any], schema: dict[str, Any]) -> str:
    """A JSON schema's type with its bounds, in words; ``schema`` has the definitions that it refers to."""
    if "$ref" in about:
        return type_in_words(schema["$defs"][about["$ref"].rpartition("/")[2]], schema)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in about:
            return ", or ".join(type_in_words(part, schema) for part in about[key])
    if "enum" in about or "const" in about:
        return "one of " + ", ".join(in_yaml(value) for value in about.get("enum", [about.get("const")]))
    kind = about.get("type", "any value")
    least, most = about.get("minItems"), about.get("maxItems")
    several = ("minItems", "maxItems") if least is not None and least == most else ()
    bounds = [text.format(about[key]) for key, text in _BOUNDS.items() if key in about and key not in several]
    bounds += [f"{least} of them"] if several else []
    if kind == "array" and about.get("items"):
        bounds.insert(0, f"of {type_in_words(about['items'], schema)}")
    return " ".join([_TYPES.get(kind, kind), ", ".join(bounds)]).strip()


def in_yaml(value: Any) -> str:
    """A value as YAML has it in a line."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)
