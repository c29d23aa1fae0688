"""Where the files of trained weights lie that come with the twins; ``hpcsim.plugin.weights`` reads and writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hpcsim.plugin import MachineSpec
from hpcsim.plugin import weights as files
from hpcsim.plugin.weights import Weights, about, load, names, save

__all__ = ["TRAINED", "Weights", "about", "load", "of_machine", "path", "save", "shipped"]

TRAINED: Final = Path(__file__).with_name("trained")
"""Where the weights lie that come with hpcsim: NAME.TWIN.json and NAME.TWIN.safetensors."""


def shipped(twin: str) -> list[str]:
    """The names of the weights of a twin that come with hpcsim."""
    return list(names(TRAINED, f".{twin}"))


def path(named: str, twin: str) -> Path:
    """The JSON file of weights of a twin that an option names: by a path, or by a name of shipped ones."""
    return files.path(named, TRAINED, f".{twin}")


def of_machine(machine: MachineSpec | None, twin: str) -> str:
    """The name of the shipped weights of a twin that fit a machine: its own, or where there are none those of all."""
    name = "general" if machine is None else machine.name.lower()
    return name if name in shipped(twin) else "general"
