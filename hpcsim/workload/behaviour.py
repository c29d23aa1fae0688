"""How each program behaves on the machine: a hidden truth, drawn by user and application so that it can be learned.

An application is what the same user submits for the same project with the same nodes and walltime. A program's
utilisations, its sensitivity to a lower clock and its need to communicate hang mostly on the user and the
application and a little on the single job. Every number is a function of the seed and of the job's own facts
only, so that another window of the same trace meets the same programs.

Assumed distributions: GPU utilisation has mean 0.45 with a heavy low end (programs draw 30 to 60 % of a
processor's rated power, and most GPU time of Polaris is under-used); sensitivity to the clock is 0.1 to 0.3
where memory limits, up to 1 where computing does.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.workload.job import Workload

Floats = npt.NDArray[np.float64]
_Hashes = npt.NDArray[np.uint64]

# Share of the variance that the user, the application and the single job bring.
_USER, _APPLICATION, _JOB = 0.35, 0.50, 0.15


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What only the machine finds out about each of J jobs; no scheduler is handed any of it.

    ``cpu_util_J`` and ``gpu_util_J``: mean utilisation in [0, 1] while the job runs. ``beta_J``: how much longer
    it takes on a lower clock, from 0 (not at all) to 1 (in proportion). ``communication_J``: how much of the
    worst slow-down by a scattered placement it feels, in [0, 1].
    """

    cpu_util_J: Floats
    gpu_util_J: Floats
    beta_J: Floats
    communication_J: Floats


def draw_behaviour(workload: Workload, seed: int) -> Behaviour:
    """The behaviour of every job of ``workload``."""
    from scipy.special import ndtr, ndtri  # a tenth of a second that runs without physics need not spend

    user = _text_hash(workload, "user") ^ _mixed(_text_hash(workload, "project"))
    application = user
    for name in ("nodes", "walltime_s"):
        application = _mixed(application ^ workload.column(name).astype(np.uint64))
    names = workload.table.column("name").to_pylist()
    job = _mixed(application ^ np.fromiter((zlib.crc32(name.encode()) for name in names), np.uint64, len(names)))

    def level(trait: str) -> Floats:
        """A uniform number for each job, alike for jobs of one user and more so of one application."""
        salt = _mixed(np.array([zlib.crc32(f"{seed} {trait}".encode())], np.uint64))
        normal = sum(
            np.sqrt(share) * ndtri(_uniform(_mixed(source ^ salt)))
            for share, source in ((_USER, user), (_APPLICATION, application), (_JOB, job))
        )
        uniform: Floats = ndtr(normal)
        return uniform

    return Behaviour(
        cpu_util_J=_kumaraswamy(level("cpu"), 1.2, 1.6),
        gpu_util_J=_kumaraswamy(level("gpu"), 0.9, 1.15),
        beta_J=0.1 + 0.9 * _kumaraswamy(level("beta"), 1.1, 1.4),
        communication_J=_kumaraswamy(level("communication"), 0.8, 1.6),
    )


def _kumaraswamy(uniform: Floats, a: float, b: float) -> Floats:
    """Values in [0, 1] by the closed quantile function of Kumaraswamy's distribution (1980), much like a beta's."""
    values: Floats = (1 - (1 - uniform) ** (1 / b)) ** (1 / a)
    return values


def _text_hash(workload: Workload, column: str) -> _Hashes:
    """A number for each job's text, the same in every process."""
    array = workload.table.column(column).combine_chunks()
    names = np.array([zlib.crc32(name.encode()) for name in array.dictionary.to_pylist()], np.uint64)
    hashes: _Hashes = _mixed(names)[array.indices.to_numpy()]
    return hashes


def _mixed(values: _Hashes) -> _Hashes:
    """Steele, Lea and Flood's (2014) splitmix64: every bit of the result hangs on every bit of the value."""
    with np.errstate(over="ignore"):
        z = values + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: _Hashes = z ^ (z >> np.uint64(31))
    return mixed


def _uniform(hashes: _Hashes) -> Floats:
    """Numbers strictly between 0 and 1."""
    uniform: Floats = ((hashes >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    return uniform
