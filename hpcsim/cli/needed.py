"""Libraries that only some commands need."""

from __future__ import annotations

from importlib.util import find_spec

from hpcsim.errors import lacking


def need(*modules: str, extra: str = "twins") -> None:
    """InputError where what learning needs is not installed; ``extra`` of hpcsim installs it."""
    for module in modules:
        if find_spec(module) is None:
            raise lacking("this", module, extra)
