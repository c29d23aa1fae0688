"""How fast the nodes of a machine are: the truth, and what a benchmark tells of it.

No two nodes are equally fast. How much slower each is than the best is hidden. What an operator can know is a
performance class: all nodes have run the same benchmark once, with the noise of any measurement, and are put by their
times into five classes of as many nodes each. Source of the five classes: Patki et al. (2023), Fluxion: a scalable
graph-based resource model for HPC scheduling challenges. The equal sizes of the classes and the noise are assumed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CLASSES = 5
BENCHMARK_NOISE = 0.005  # sigma of one run's time relative to its mean (assumed)


def slowness(units: int, spread: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """How much longer than the best each of U units takes: 1 plus half a normal of sigma ``spread``."""
    return 1.0 + np.abs(rng.normal(0.0, spread, units))


def performance_classes(class_U: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """The class of each of U units by a benchmark: 0 for the fastest fifth, 4 for the slowest.

    ``class_U`` is how much longer than the best a unit really takes.
    """
    time_U = class_U * (1.0 + rng.normal(0.0, BENCHMARK_NOISE, class_U.size))
    classes_U = np.empty(class_U.size, np.int64)
    classes_U[np.argsort(time_U, kind="stable")] = np.arange(class_U.size) * CLASSES // class_U.size
    classes_U.setflags(write=False)
    return classes_U
