"""hpcsim replays the jobs of real supercomputers under pluggable schedulers.

``simulate`` runs a scenario, ``begin`` gives its simulation to be stepped, ``resume`` one that was written to a file,
``load_scenario`` reads a scenario; they are loaded when they are first used, so that ``import hpcsim`` costs nothing.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "begin", "load_scenario", "resume", "simulate"]

if TYPE_CHECKING:
    from hpcsim.replay import begin, resume, simulate
    from hpcsim.results.run import Run
    from hpcsim.scenario.load import load_scenario

_HOME = {
    "simulate": "hpcsim.replay",
    "begin": "hpcsim.replay",
    "resume": "hpcsim.replay",
    "load_scenario": "hpcsim.scenario.load",
    "Run": "hpcsim.results.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
