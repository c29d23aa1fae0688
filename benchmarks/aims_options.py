"""What is an option of AIMS worth to its rule? Months of training, each played with it and without.

    python -m benchmarks.aims_options polaris runtime_power=1 patience=0 [--episodes 24] [--days 1.5]

The episodes are like those of trainings (a day and a half at loads of 0.7, 0.9 and 1.2), with seeds of their own. Told
is the logarithm of what they cost with the option, over what they cost with the defaults, in the mean, and its standard
error: -0.01 is cheaper by one in a hundred.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt
import yaml

from hpcsim.schedulers.aims import trained
from hpcsim.schedulers.aims.objectives import BEGIN
from hpcsim.schedulers.aims.shape import OBJECTIVES
from hpcsim.training.course import LOADS, Plan, hourly_cost, log_ratios
from hpcsim.training.episodes import Order, play

FIRST_SEED = 7_000  # no network is trained or judged by these


def hourly(
    scenario: str, options: tuple[tuple[str, object], ...], episodes: int, days: float
) -> npt.NDArray[np.float64]:
    """What each episode costs the rule with these options, ``(E, O)``."""
    usual_O = trained.read(trained.named(scenario)).hourly_O
    usual = float(usual_O[0]), float(usual_O[1]), float(usual_O[2])
    found = []
    for seed in range(FIRST_SEED, FIRST_SEED + episodes):
        month = {"seed": seed, "days": days, "load": LOADS[seed % len(LOADS)]}
        order = Order(scenario, month, "rule", seed, BEGIN, usual, options=options)
        found.append(hourly_cost(play(order, None, keep=False), usual_O))
    return np.array(found)


def main() -> None:
    """Play, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario")
    parser.add_argument("option", nargs="+", metavar="NAME=VALUE")
    parser.add_argument("--episodes", type=int, default=24)
    parser.add_argument("--days", type=float, default=Plan(()).days)
    asked = parser.parse_args()
    without_EO = hourly(asked.scenario, (), asked.episodes, asked.days)
    print("| | weighed |", " | ".join(OBJECTIVES), "|")
    print("|---" * (2 + len(OBJECTIVES)) + "|")
    for option in asked.option:
        name, _, value = option.partition("=")
        options = ((name, yaml.safe_load(value)),)
        ratio_EO = log_ratios(hourly(asked.scenario, options, asked.episodes, asked.days), without_EO)
        told = [
            f"{ratio_E.mean():+.3f} ± {ratio_E.std(ddof=1) / np.sqrt(asked.episodes):.3f}"
            for ratio_E in (ratio_EO @ np.array(BEGIN), *ratio_EO.T)
        ]
        print(f"| `{option}` |", " | ".join(told), "|", flush=True)


if __name__ == "__main__":
    main()
