"""Where trained weights go: asked before a training, which may take hours."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

from hpcsim.errors import InputError


def free_target(out: Path, name: str, ending: str = "") -> Path:
    """The ``writable`` directory for the weights NAME + ``ending`` + .json.

    Raises InputError where there are such weights, and where the name is none.
    """
    if "/" in name or name in ("", ".", ".."):
        raise InputError(f"--name: should be the name of a file without a directory, found {name!r}")
    target = writable(out) / f"{name}{ending}.json"
    if target.exists():
        raise InputError(f"{target}: exists; remove it, or give another -o or --name")
    return target.parent


def writable(out: Path) -> Path:
    """The directory, made if it is not there. Raises InputError where nothing can be written."""
    out = out.expanduser()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror or error}; choose another -o") from error
    return out
