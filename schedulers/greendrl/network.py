"""The network in numpy: two layers of tanh, and the logits of both parts of the action. Training has it in torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from .observing import FEATURES

Floats32 = npt.NDArray[np.float32]
Tensors = Mapping[str, Floats32]

LEVELS: Final = 9
"""Of the load target: 0, 1/8, ..., 1 of the nodes that deferrable jobs could have now."""

COOLING: Final = ("coldest", "normal", "warmest")
WIDTH: Final = 128


def shapes() -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by its name."""
    out = LEVELS + len(COOLING)
    return {
        "1": (len(FEATURES), WIDTH), "1.bias": (WIDTH,),
        "2": (WIDTH, WIDTH), "2.bias": (WIDTH,),
        "out": (WIDTH, out), "out.bias": (out,),
    }  # fmt: skip


def choose(tensors: Tensors, numbers_F: Floats32) -> tuple[int, int]:
    """The most probable load level and place in ``COOLING``."""
    hidden = np.tanh(numbers_F @ tensors["1"] + tensors["1.bias"])
    hidden = np.tanh(hidden @ tensors["2"] + tensors["2.bias"])
    logits = hidden @ tensors["out"] + tensors["out.bias"]
    return int(logits[:LEVELS].argmax()), int(logits[LEVELS:].argmax())
