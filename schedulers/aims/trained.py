"""Trained networks of AIMS: those that come with hpcsim, and how they are read and written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import InputError
from hpcsim.plugin import weights as files

from .shape import OBJECTIVES, OF_ALL, OF_JOB, shapes

KIND: Final = "aims"
TRAINED: Final = Path(__file__).with_name("trained")
_FEATURES: Final = (*OF_JOB, *OF_ALL)


class Network(NamedTuple):
    """The tensors of a network by name, and the ``usual`` rates of the objectives in training, an hour's mean.

    ``dueling`` says whether the value of the state is in what it says of actions.
    """

    tensors: dict[str, npt.NDArray[np.float32]]
    usual: npt.NDArray[np.float64]
    dueling: bool


def named(machine: str | None) -> str:
    """The network of a machine: its own if it has one, else the general one."""
    return machine if machine is not None and machine in files.names(TRAINED) else "general"


def read(name: str) -> Network:
    """A network by its name, or by the path of its JSON file. Raises InputError where the files are not sound."""
    return _read(files.path(name, TRAINED))


@cache
def _read(path: Path) -> Network:
    tensors, about = files.load(path, KIND, shapes(), _FEATURES)
    usual = about.get("usual")
    if not isinstance(usual, list) or len(usual) != len(OBJECTIVES) or not all(isinstance(x, float) for x in usual):
        raise InputError(f"{path}: usual should be {len(OBJECTIVES)} numbers, found {usual!r}")
    return Network(tensors, np.array(usual), about.get("dueling") is not False)


def write(
    directory: Path,
    name: str,
    tensors: Mapping[str, npt.NDArray[np.float32]],
    usual: npt.NDArray[np.float64],
    about: Mapping[str, Any],
) -> Path:
    """Write a network; returns the path of its JSON file."""
    return files.save_network(directory, name, KIND, _FEATURES, tensors, {"usual": usual.tolist(), **about})
