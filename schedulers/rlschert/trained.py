"""Trained networks of RLSchert: those that come with hpcsim, and how they are read and written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from hpcsim.plugin import weights as files

from .network import Tensors
from .shape import OF_ALL, OF_JOB, OF_RUNNING, shapes

KIND: Final = "rlschert"
TRAINED: Final = Path(__file__).with_name("trained")
_FEATURES: Final = tuple(
    f"{of}.{name}" for of, names in (("job", OF_JOB), ("running", OF_RUNNING), ("all", OF_ALL)) for name in names
)


def read(name: str) -> Tensors:
    """The tensors of a network by its name, or by its JSON file. Raises InputError where the files are not sound."""
    return _read(files.path(name, TRAINED))


@cache
def _read(path: Path) -> Tensors:
    return files.load(path, KIND, shapes(), _FEATURES).tensors


def write(directory: Path, name: str, tensors: Tensors, about: Mapping[str, Any]) -> Path:
    """Write a network; returns the path of its JSON file."""
    return files.save_network(directory, name, KIND, _FEATURES, tensors, about)
