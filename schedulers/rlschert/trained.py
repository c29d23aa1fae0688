"""Trained networks of RLSchert: those that come with hpcsim, and how they are read and written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import InputError
from hpcsim.plugin import weights as files

from .network import Tensors
from .shape import OF_ALL, OF_JOB, OF_RUNNING, shapes

KIND: Final = "rlschert"
TRAINED: Final = Path(__file__).with_name("trained")
_FEATURES: Final = tuple(
    f"{of}.{name}" for of, names in (("job", OF_JOB), ("running", OF_RUNNING), ("all", OF_ALL)) for name in names
)


def shipped() -> list[str]:
    """The names of the networks that come with hpcsim."""
    return sorted(path.stem for path in TRAINED.glob("*.json"))


def read(name: str) -> Tensors:
    """The tensors of a network by its name, or by its JSON file. Raises InputError where the files are not sound."""
    if name.endswith(".json"):
        return _read(Path(name))
    known = shipped()
    if name not in known:
        told = ", ".join(known) or "none"
        raise InputError(f"no weights named {name!r}. Known: {told}; or give the path of a .json file")
    return _read(TRAINED / f"{name}.json")


@cache
def _read(path: Path) -> Tensors:
    return files.load(path, KIND, shapes(), _FEATURES).tensors


def write(directory: Path, name: str, tensors: Tensors, about: Mapping[str, Any]) -> Path:
    """Write a network in half precision; returns the path of its JSON file."""
    nothing = {"center": [0.0] * len(_FEATURES), "scale": [1.0] * len(_FEATURES)}  # inputs are scaled already
    told = {"kind": KIND, "features": list(_FEATURES), **nothing, **about}
    halves: dict[str, npt.NDArray[Any]] = {key: value.astype(np.float16) for key, value in tensors.items()}
    return files.save(directory, name, halves, told)
