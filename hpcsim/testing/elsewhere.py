"""The schedule of a plug-in in a new process with another PYTHONHASHSEED, where sets have another order.

``python -m hpcsim.testing.elsewhere`` reads a request from its standard input and writes what was decided.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import subprocess
import sys
from functools import reduce
from importlib.machinery import SourceFileLoader
from typing import Any, cast

from hpcsim.testing.factory import Factory

__tracebackhide__ = True

_LONGEST_S = 300


def elsewhere(factory: Factory, what: str, hash_seed: int) -> subprocess.Popen[str]:
    """A new process that answers ``what`` for ``factory``; raises AssertionError if it could not make one."""
    request = {"what": what, "options": _plain(factory), "path": sys.path, **_address(factory.kind)}
    process = subprocess.Popen(
        [sys.executable, "-m", "hpcsim.testing.elsewhere"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if process.stdin is None:
        raise OSError("a new process has no standard input")
    json.dump(request, process.stdin)
    process.stdin.close()
    process.stdin = None  # or communicate() closes it again
    return process


def answer_of(process: subprocess.Popen[str], name: str) -> Any:
    """What the process has answered. Raises AssertionError with the end of what it said if it broke."""
    try:
        answer, complaint = process.communicate(timeout=_LONGEST_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise AssertionError(f"{name} did not come to an end in a new process within {_LONGEST_S} s") from None
    if process.returncode:
        last = complaint.strip().splitlines()[-1:] or ["it said nothing"]
        raise AssertionError(f"{name} does not run in a new process: {last[0]}")
    return json.loads(answer.splitlines()[-1])  # a plug-in may print


def _address(kind: type) -> dict[str, str]:
    """Where a new process finds the class."""
    if "<locals>" in kind.__qualname__:
        raise AssertionError(
            f"{kind.__qualname__} cannot be made in a new process, because it is defined inside a function; "
            "define it at the top level of its module"
        )
    try:
        file = os.path.abspath(inspect.getfile(kind))
    except (TypeError, OSError):
        raise AssertionError(f"{kind.__qualname__} cannot be made in a new process: it stands in no file") from None
    return {"module": kind.__module__, "file": file, "qualname": kind.__qualname__}


def _plain(factory: Factory) -> dict[str, Any]:
    """The options as JSON has them."""
    model = getattr(factory.kind, "Options", None)
    if model is None:
        return {}
    factory()  # or it says why it cannot be made
    plain: dict[str, Any] = model.model_validate(dict(factory.options)).model_dump(mode="json", by_alias=True)
    return plain


def _kind_at(request: dict[str, Any]) -> type:
    """The class, from its module where that can be imported, else from its file."""
    module, file = request["module"], request["file"]
    if module not in sys.modules:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            spec = None
        if spec is None or spec.origin is None or os.path.realpath(spec.origin) != os.path.realpath(file):
            name = "hpcsim_checked" if module == "__main__" else module
            spec = importlib.util.spec_from_loader(name, SourceFileLoader(name, file))
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} cannot be imported")
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[module] = sys.modules[spec.name] = loaded
        spec.loader.exec_module(loaded)
    found: Any = reduce(getattr, request["qualname"].split("."), cast("Any", sys.modules[module]))
    kind: type = found
    return kind


def _answer(request: dict[str, Any]) -> Any:
    factory = Factory(_kind_at(request), request["options"])
    if request["what"] == "schedules":
        from hpcsim.testing.schedules import schedules

        return schedules(factory)
    raise ValueError(f"nobody can answer {request['what']!r}")


if __name__ == "__main__":
    json.dump(_answer(json.load(sys.stdin)), sys.stdout)
