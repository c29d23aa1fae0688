"""Where the files of trained weights lie that come with the twins; ``hpcsim.plugin.weights`` reads and writes them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from hpcsim.plugin import InputError
from hpcsim.plugin.weights import Weights, about, load, save

__all__ = ["TRAINED", "Weights", "about", "load", "path", "save", "shipped"]

TRAINED: Final = Path(__file__).with_name("trained")
"""Where the weights lie that come with hpcsim: NAME.TWIN.json and NAME.TWIN.safetensors."""


def shipped(twin: str) -> list[str]:
    """The names of the weights of a twin that come with hpcsim."""
    return list(_shipped(twin))


@cache
def _shipped(twin: str) -> tuple[str, ...]:
    return tuple(sorted(path.name.removesuffix(f".{twin}.json") for path in TRAINED.glob(f"*.{twin}.json")))


def path(named: str, twin: str) -> Path:
    """The JSON file of weights of a twin that an option names: by a path, or by a name of shipped ones."""
    if named.endswith(".json"):
        return Path(named)
    known = shipped(twin)
    if named not in known:
        raise InputError(f"no weights named {named!r}. Known: {', '.join(known)}; or give the path of a .json file")
    return TRAINED / f"{named}.{twin}.json"
