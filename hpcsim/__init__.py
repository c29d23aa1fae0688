"""hpcsim replays the jobs of real supercomputers under pluggable schedulers.

``simulate`` runs a scenario, ``load_scenario`` reads one; both are loaded when they are first used, so that
``import hpcsim`` costs nothing.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "load_scenario", "simulate"]

if TYPE_CHECKING:
    from hpcsim.replay import simulate
    from hpcsim.results.run import Run
    from hpcsim.scenario.load import load_scenario

_HOME = {"simulate": "hpcsim.replay", "load_scenario": "hpcsim.scenario.load", "Run": "hpcsim.results.run"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
