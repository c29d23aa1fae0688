"""A trace file as a workload, whatever its format."""

from __future__ import annotations

from pathlib import Path

from hpcsim.errors import InputError
from hpcsim.workload.job import Workload
from hpcsim.workload.swf import read_swf


def read_trace(path: str | Path, *, strict: bool = False, reservations: str = "drop") -> Workload:
    path = Path(path)
    if path.name.endswith((".swf", ".swf.gz")):
        return read_swf(path, strict=strict)
    raise InputError(f"{path}: unknown format")
