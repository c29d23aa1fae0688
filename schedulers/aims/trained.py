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

from .shape import DEPARTURES, OBJECTIVES, OF_ALL, OF_JOB, shapes

KIND: Final = "aims by time waited"  # networks of other objectives are refused
TRAINED: Final = Path(__file__).with_name("trained")
_FEATURES: Final = (*OF_JOB, *OF_ALL)


class Network(NamedTuple):
    """The tensors of a network by name, and what was usual in training.

    ``usual`` are the mean rates of the objectives; ``hourly_O`` is what an hour cost in the units of rewards,
    by which rewards were divided. ``dueling`` says whether the value of the state is in what it says of actions, and
    ``aversion_D`` how many deviations better than the rule an action had best to be, by how it departs from that.
    """

    tensors: dict[str, npt.NDArray[np.float32]]
    usual: npt.NDArray[np.float64]
    hourly_O: npt.NDArray[np.float64]
    dueling: bool
    aversion_D: npt.NDArray[np.float64]


def named(machine: str | None) -> str:
    """The network of a machine: its own if it has one, else the general one."""
    return machine if machine is not None and machine in files.names(TRAINED) else "general"


def read(name: str) -> Network:
    """A network by its name, or by the path of its JSON file. Raises InputError where the files are not sound."""
    return _read(files.path(name, TRAINED))


@cache
def _read(path: Path) -> Network:
    tensors, about = files.load(path, KIND, shapes(), _FEATURES)
    usual, hourly = (_numbers(path, about, name, len(OBJECTIVES)) for name in ("usual", "hourly"))
    aversion_D = _numbers(path, about, "aversion", len(DEPARTURES))
    return Network(tensors, usual, hourly, about.get("dueling") is not False, aversion_D)


def _numbers(path: Path, about: Mapping[str, Any], name: str, count: int) -> npt.NDArray[np.float64]:
    found = about.get(name)
    if not isinstance(found, list) or len(found) != count or not all(isinstance(x, float) and x >= 0.0 for x in found):
        raise InputError(f"{path}: {name} should be {count} numbers that are not negative, found {found!r}")
    return np.array(found)


def write(
    directory: Path,
    name: str,
    tensors: Mapping[str, npt.NDArray[np.float32]],
    usual: npt.NDArray[np.float64],
    hourly_O: npt.NDArray[np.float64],
    about: Mapping[str, Any],
) -> Path:
    """Write a network; returns the path of its JSON file."""
    told = {"usual": usual.tolist(), "hourly": hourly_O.tolist(), **about}
    return files.save_network(directory, name, KIND, _FEATURES, tensors, told)
