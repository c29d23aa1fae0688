"""What a tournament's directory says of the tournament itself."""

from __future__ import annotations

from hpcsim.strict_yaml import dump_yaml
from hpcsim.tournament.grid import Windows
from hpcsim.tournament.plan import Plan


def text_of(plan: Plan) -> str:
    """The tournament with every default written out; the schedulers have their labels, and the control is named."""
    grid = plan.grid
    content = grid.tournament.model_dump(mode="json")
    for entrant, one in zip(grid.tournament.schedulers, content["schedulers"], strict=True):
        one["label"] = entrant.shown
    content["control"] = grid.control
    if isinstance(grid.windows, Windows):
        content["windows"] = grid.windows.model_dump(mode="json")
    elif grid.windows is not None:
        content["windows"] = [window.model_dump(mode="json") for window in grid.windows]
    return dump_yaml(content)
