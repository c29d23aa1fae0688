"""RLSchert on its toy cluster: trained from nothing, then compared on jobs that it has never seen.

    python -m benchmarks.rlschert                         trains (a few CPU minutes), then compares
    python -m benchmarks.rlschert --weights general           compares weights that come with hpcsim

Each row is a scheduler on the same 30 episodes of 35 jobs, seeds 1 to 30: the mean slowdown over all of them, and by
how much it differs from that of ``easy`` in the order of shortest job first, with a 95 % interval of the paired
bootstrap over episodes. ``rule`` is what RLSchert begins by imitating: of the jobs that fit, the shortest. ``with
kills`` is RLSchert that may also stop running jobs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import hpcsim
from hpcsim.schedulers.rlschert import trained
from hpcsim.tournament.bootstrap import drawn_again, interval

EPISODES = 30
RIVALS: Mapping[str, Mapping[str, Any]] = {
    "easy, sjf": {"name": "easy", "order": "sjf"},
    "fcfs, sjf": {"name": "fcfs", "order": "sjf"},
    "tetris": {"name": "tetris"},
}
Floats = npt.NDArray[np.float64]


def slowdowns(scheduler: Mapping[str, Any], scenario: str = "toy") -> Floats:
    """The mean slowdown of each episode under a scheduler."""
    runs = (hpcsim.simulate(scenario, {"seed": seed, "scheduler": dict(scheduler)}) for seed in _seeds())
    return np.array([run.summary["mean_bounded_slowdown"] for run in runs])


def slowdowns_of_rule(scenario: str = "toy") -> Floats:
    """The same under the rule that training begins with."""
    from hpcsim.schedulers.rlschert.teacher import by_rule
    from hpcsim.training.rlschert import played_by

    return np.array([played_by(by_rule, scenario, seed) for seed in _seeds()])


def _seeds() -> range:
    return range(1, EPISODES + 1)


def table(found: Mapping[str, Floats], control: str) -> str:
    """Means and paired differences as text."""
    episode_U = np.zeros(EPISODES, np.int64)
    count_BU = drawn_again(episode_U)
    lines = [f"{'scheduler':<12}  mean slowdown  against {control}, %  95 % interval"]
    for name, value_U in found.items():
        line = f"{name:<12}  {value_U.mean():13.3f}"
        if name != control:
            differs_B = 100.0 * ((count_BU @ value_U) / (count_BU @ found[control]) - 1.0)
            low, high = interval(differs_B, episode_U)
            line += f"  {differs_B[0]:+{12 + len(control)}.1f}  {low:+.1f} to {high:+.1f}"
        lines.append(line)
    return "\n".join(lines)


def trained_now(steps: int, seed: int, folder: Path) -> Path:
    """Train on the toy cluster, tell how it goes, and write the weights; their JSON file."""
    from hpcsim.training.rlschert import Plan, Told, train

    began = time.process_time()

    def tell(now: Told) -> None:
        cpu_s = time.process_time() - began
        print(f"{now.steps:9,} choices  {now.score:.3f} of the rule  {cpu_s:6.0f} CPU s", flush=True)

    return trained.write(folder, "toy", train(Plan(("toy",), seed=seed, steps=steps), tell).tensors, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="compare these, and train nothing")
    parser.add_argument("--steps", type=int, default=120_000, help="choices to learn from (default 120,000)")
    parser.add_argument("--seed", type=int, default=1, help="of the training (default 1)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        weights = arguments.weights or str(trained_now(arguments.steps, arguments.seed, Path(folder)))
        found = {name: slowdowns(scheduler) for name, scheduler in RIVALS.items()}
        found["rule"] = slowdowns_of_rule()
        for name, kill in (("rlschert", False), ("with kills", True)):
            found[name] = slowdowns({"name": "rlschert", "weights": weights, "patience": 0, "kill": kill})
    print(table(found, "easy, sjf"))


if __name__ == "__main__":
    main()
