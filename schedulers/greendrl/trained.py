"""Trained networks of GreenDRL: those that come with hpcsim, and how they are read and written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import weights as files

from .network import shapes
from .observing import FEATURES

KIND: Final = "greendrl"
TRAINED: Final = Path(__file__).with_name("trained")
GENERAL: Final = "general"


def read(name: str) -> dict[str, npt.NDArray[np.float32]]:
    """The tensors of a network by its name, or by the path of its JSON file; InputError where they are not sound."""
    return _read(files.path(name, TRAINED))


@cache
def _read(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    return files.load(path, KIND, shapes(), FEATURES).tensors


def write(directory: Path, name: str, tensors: Mapping[str, npt.NDArray[np.float32]], about: Mapping[str, Any]) -> Path:
    """Write a network; returns the path of its JSON file."""
    return files.save_network(directory, name, KIND, FEATURES, tensors, about)
