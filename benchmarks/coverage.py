"""How often the intervals of tournaments hold the true mean: of samples from distributions whose mean is known.

Prints, for several numbers of windows on a machine and of machines, the share of samples whose 95 % interval holds it.
Paired differences are about symmetric where both schedulers were given the same jobs; skewed ones show what is left of
the promise where they are not. ``docs/statistics.md`` keeps a result.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from hpcsim.tournament.bootstrap import RESAMPLES, drawn_again, interval

MACHINES = ((5,), (10,), (20,), (30,), (10, 10), (10,) * 4, (30,) * 4)
DRAW: dict[str, tuple[float, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]]] = {
    "normal": (0.0, lambda rng, shape: rng.normal(size=shape)),
    "Student's t, 4 df": (0.0, lambda rng, shape: rng.standard_t(4, size=shape)),
    "exponential": (1.0, lambda rng, shape: rng.exponential(size=shape)),
    "log-normal": (float(np.exp(0.5)), lambda rng, shape: rng.lognormal(size=shape)),
}
CHUNK = 500  # samples at a time


def coverage(name: str, machines: tuple[int, ...], samples: int, rng: np.random.Generator) -> float:
    """The share of samples whose interval holds the mean, in %."""
    mean, draw = DRAW[name]
    scenario = np.repeat(np.arange(len(machines)), machines)
    weight = 1 / np.asarray(machines)[scenario] / len(machines)
    held = 0
    for start in range(0, samples, CHUNK):
        again = drawn_again(scenario, RESAMPLES, seed=int(rng.integers(2**32)))
        sample = draw(rng, (min(CHUNK, samples - start), scenario.size))
        low, high = interval(again @ (weight * sample).T, scenario)
        held += int(((low <= mean) & (mean <= high)).sum())
    return 100 * held / samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000, help="of each distribution and number of windows")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    print(f"{given.samples:,} samples, {RESAMPLES:,} resamples, seed {given.seed}")
    print(f"{'windows':<14}" + "".join(f"{name:>20}" for name in DRAW))
    for machines in MACHINES:
        said = f"{machines[0]}" if len(machines) == 1 else f"{len(machines)} x {machines[0]}"
        shares = "".join(f"{coverage(name, machines, given.samples, rng):>18.1f} %" for name in DRAW)
        print(f"{said:<14}{shares}", flush=True)


if __name__ == "__main__":
    main()
