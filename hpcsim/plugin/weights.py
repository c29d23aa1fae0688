"""Files of trained weights: tensors as safetensors, and beside them JSON with all that is needed to use them.

``NAME.safetensors`` holds nothing but numbers, ``NAME.json`` the kind of network, its features and scalers, what it was
trained on and how well it did. Neither can hold code, and nothing of either is executed: both are read as data, and
everything is compared with what is expected before it is used.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.errors import InputError

FORMAT: Final = "hpcsim-weights"
VERSION: Final = 1
_LARGEST_BYTES: Final = 64 << 20


class Weights(NamedTuple):
    """Tensors by name, and what is told of them."""

    tensors: dict[str, npt.NDArray[np.float32]]
    about: dict[str, Any]


def save(directory: Path, name: str, tensors: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any]) -> Path:
    """Write both files, each whole or not at all; returns the path of the JSON. The same input gives the same bytes."""
    from safetensors.numpy import save as to_bytes

    directory.mkdir(parents=True, exist_ok=True)
    data = to_bytes({key: np.ascontiguousarray(value) for key, value in tensors.items()})
    told = {"format": FORMAT, "version": VERSION, "sha256": hashlib.sha256(data).hexdigest(), **about}
    text = json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    for suffix, content in ((".safetensors", data), (".json", text.encode())):
        draft = directory / f".{name}{suffix}.draft"
        draft.write_bytes(content)
        draft.replace(directory / f"{name}{suffix}")
    return directory / f"{name}.json"


@cache
def names(directory: Path, ending: str = "") -> tuple[str, ...]:
    """The names of the weights in a directory, whose JSON files are called NAME + ``ending`` + .json."""
    return tuple(sorted(path.name.removesuffix(f"{ending}.json") for path in directory.glob(f"*{ending}.json")))


def path(named: str, directory: Path, ending: str = "") -> Path:
    """The JSON file of weights that an option names: by a path, or by a name of those in a directory."""
    if named.endswith(".json"):
        return Path(named)
    known = names(directory, ending)
    if named not in known:
        told = ", ".join(known) or "none"
        raise InputError(f"no weights named {named!r}. Known: {told}; or give the path of a .json file")
    return directory / f"{named}{ending}.json"


def save_network(
    directory: Path,
    name: str,
    kind: str,
    features: tuple[str, ...],
    tensors: Mapping[str, npt.NDArray[np.float32]],
    about: Mapping[str, Any],
) -> Path:
    """``save`` in half precision, of a network whose features need no scaling."""
    unscaled = {"center": [0.0] * len(features), "scale": [1.0] * len(features)}
    told = {"kind": kind, "features": list(features), **unscaled, **about}
    return save(directory, name, {key: value.astype(np.float16) for key, value in tensors.items()}, told)


def load(path: Path, kind: str, shapes: Mapping[str, tuple[int, ...]], features: tuple[str, ...]) -> Weights:
    """The weights that the JSON file ``path`` tells of; InputError where either file is not what is expected.

    ``shapes`` are those of the tensors by name.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    told = about(path, kind, features)
    data = _bytes(path.with_suffix(".safetensors"))
    if hashlib.sha256(data).hexdigest() != told.get("sha256"):
        raise InputError(f"{path.with_suffix('.safetensors')}: damaged, or of other weights than {path.name} tells of")
    try:
        tensors = from_bytes(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path.with_suffix('.safetensors')}: no safetensors file: {error}") from error
    return Weights(_checked(path, tensors, shapes), told)


def about(path: Path, kind: str, features: tuple[str, ...]) -> dict[str, Any]:
    """What the JSON file ``path`` tells of weights; InputError where it is not of this kind, or not sound."""
    try:
        told = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: no JSON file: {error}") from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise InputError(f"{path}: tells of no weights of hpcsim")
    for key, wanted in (("version", VERSION), ("kind", kind)):
        if told.get(key) != wanted:
            raise InputError(f"{path}: {key} should be {wanted!r}, found {told.get(key)!r}")
    if told.get("features") != list(features):
        raise InputError(f"{path}: trained with other features than this hpcsim computes; train again")
    for key in ("center", "scale"):
        numbers = told.get(key)
        sound = isinstance(numbers, list) and len(numbers) == len(features) and all(map(_is_number, numbers))
        if not sound or (key == "scale" and min(told[key]) <= 0):
            raise InputError(f"{path}: {key} should be {len(features)} finite numbers, and a scale above 0")
    return told


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise InputError(f"{path}: larger than {_LARGEST_BYTES >> 20} MiB, so these are no weights of hpcsim")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _checked(
    path: Path, tensors: Mapping[str, npt.NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, npt.NDArray[np.float32]]:
    if sorted(tensors) != sorted(shapes):
        raise InputError(
            f"{path}: the tensors should be {', '.join(sorted(shapes))}, found {', '.join(sorted(tensors))}"
        )
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype.kind != "f":
            raise InputError(f"{path}: {name} should be numbers of shape {shape}, found {tensor.dtype} {tensor.shape}")
        if not np.isfinite(tensor).all():
            raise InputError(f"{path}: {name} holds what is no finite number")
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
