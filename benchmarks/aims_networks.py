"""What the networks of AIMS that come with hpcsim may depart from the rule in, and by what evidence.

    python -m benchmarks.aims_networks

What episodes cost with the network, as a multiple of what they cost with the rule, while it was trained: the best of
these checks is kept. Then, of each kind of departure, the logarithm of that ratio and its standard error; in the end
the one that looked best, on other episodes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcsim.schedulers.aims.choosing import HELD
from hpcsim.schedulers.aims.shape import DEPARTURES
from hpcsim.schedulers.aims.trained import TRAINED

KINDS = ("another job", "another mode", "to hold", "another rest")
HEAD = (
    "network",
    "while trained, after rounds",
    *KINDS,
    "all",
    "what looked best, on other episodes",
    "it may choose",
    "CPU min",
)


def ratio(tried: Mapping[str, Any] | None) -> str:
    """A logarithm of a ratio and its standard error."""
    return "-" if tried is None else f"{tried['ratio']:+.3f} ± {tried['error']:.3f}"


def line(file: Path) -> list[str]:
    """The row of a network."""
    about = json.loads(file.read_text(encoding="utf-8"))
    tried = about.get("departures", {})
    confirmed = next((name for name in tried if name.startswith("confirmed: ")), None)
    last = "none" if confirmed is None else f"{confirmed.removeprefix('confirmed: ')} {ratio(tried[confirmed])}"
    allowed = [kind for kind, averse in zip(KINDS, about["aversion"], strict=True) if averse < HELD]
    checks = ", ".join(f"{each['number']}: {each['score']:.3f}" for each in about["rounds"])
    columns = [ratio(tried.get(name)) for name in (*DEPARTURES, " + ".join(DEPARTURES))]
    return [f"`{file.stem}`", checks, *columns, last, ", ".join(allowed) or "nothing", f"{about['cpu_s'] / 60:.0f}"]


def main() -> None:
    """Print the table."""
    print(f"| {' | '.join(HEAD)} |")
    print("|---" * len(HEAD) + "|")
    for file in sorted(TRAINED.glob("*.json")):
        print(f"| {' | '.join(line(file))} |")


if __name__ == "__main__":
    main()
