"""A workload profile: the measured tables of one machine's traffic, read from ``profiles/<name>.yaml``.

Everything random about a workload is drawn through tables like these, so a profile is data that can be
read, compared with its source and changed without touching the generator.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from hpcsim.errors import InputError

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Table:
    """Values in ascending order with the cumulated share of jobs up to and including each."""

    values: Int64s
    cumulated: Floats

    def at(self, u: Floats) -> Int64s:
        """The value below which a share ``u`` (0 to 1) of the jobs lies."""
        place = np.searchsorted(self.cumulated, u, side="right")
        return self.values[np.minimum(place, len(self.values) - 1)]


@dataclass(frozen=True, slots=True)
class Band:
    """How long the programs run that asked for a walltime up to ``up_to_s``.

    ``at_limit`` is the share that runs into the walltime; ``log_ratio`` are probabilities and quantiles of
    ln(runtime / walltime) of all others.
    """

    up_to_s: int
    at_limit: float
    log_ratio: tuple[Floats, Floats]


@dataclass(frozen=True, slots=True)
class SizeClass:
    """Jobs of like size: which node counts, which walltimes, and how long they run in each band."""

    walltimes: Table
    bands: tuple[Band, ...]


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue takes jobs within its limits; ``weight`` is its pull where several would take a job."""

    name: str
    nodes: tuple[int, int]
    walltime_s: tuple[int, int]
    weight: float


@dataclass(frozen=True, slots=True)
class Silence:
    """Hours without submissions: maintenance every other Monday, outages at random (0: never)."""

    maintenance_hour: int
    maintenance_hours: int
    outage_every_days: float
    outage_hours: int


@dataclass(frozen=True, slots=True)
class Patience:
    """Above ``backlog_h`` hours of submitted work for the whole machine, heavy sessions are put off.

    ``sessions`` is how many there are to choose from (1: the backlog makes no difference).
    """

    sessions: int
    backlog_h: float


@dataclass(frozen=True, slots=True)
class Habits:
    """How users repeat themselves: the chances to leave an application or an input between two jobs.

    The pairs are (within a session, at the start of a new session). ``user_walltime`` is how much of the
    choice of walltime belongs to the user and not to the application; ``steadiness`` is
    how much of a job's runtime/walltime ratio belongs to its application and input, and not to chance.
    """

    leave_application: tuple[float, float]
    leave_input: tuple[float, float]
    applications: float
    inputs: int
    user_nodes: float
    user_walltime: float
    steadiness: float


@dataclass(frozen=True, slots=True)
class Profile:
    """The tables of one machine's traffic. Cycles are in local hours and have mean 1.

    ``hour_sd`` is the standard deviation of the logarithm of an hour's traffic beyond the cycle.
    """

    name: str
    machine: str
    machine_nodes: int
    jobs_per_day: float
    hour_weights: Floats
    weekday_weights: Floats
    day_quantiles: tuple[Floats, Floats]
    hour_sd: float
    silence: Silence
    patience: Patience
    session_quantiles: tuple[Floats, Floats]
    gap_quantiles: tuple[Floats, Floats]
    user_shares: Floats
    projects: int
    habits: Habits
    nodes: Table
    size_of_value: Int64s
    sizes: tuple[SizeClass, ...]
    limit_quantiles: tuple[Floats, Floats]
    failed: tuple[float, float]
    queues: tuple[Queue, ...]


def profile_names() -> list[str]:
    """The names of the packaged profiles, in alphabetical order."""
    folder = resources.files("hpcsim.workload") / "profiles"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_profile(name: str) -> Profile:
    """The packaged profile ``name``."""
    names = profile_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"workload profile {name!r} does not exist.{hint} There are: {', '.join(names)}")
    text = (resources.files("hpcsim.workload") / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")
    return _profile(name, yaml.load(text, Loader=_Loader))


# The C parser reads a profile of 2,000 numbers 8 times faster; it is missing in some builds of PyYAML.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _profile(name: str, facts: dict[str, Any]) -> Profile:
    sizes = facts["sizes"]
    values = [int(v) for size in sizes for v in size["nodes"]]
    shares = [float(share) for size in sizes for share in size["nodes"].values()]
    if values != sorted(set(values)):
        raise InputError(f"workload profile {name!r}: node counts must ascend from class to class")
    return Profile(
        name=name,
        machine=facts["machine"],
        machine_nodes=int(facts["machine_nodes"]),
        jobs_per_day=float(facts["jobs_per_day"]),
        hour_weights=np.array(facts["hour_weights"], float),
        weekday_weights=np.array(facts["weekday_weights"], float),
        day_quantiles=_quantiles(facts["day_quantiles"]),
        hour_sd=float(facts["hour_sd"]),
        silence=Silence(**facts["silence"]),
        patience=Patience(**facts["patience"]),
        session_quantiles=_quantiles(facts["session_jobs"]),
        gap_quantiles=_quantiles(facts["gap_s"]),
        user_shares=_user_shares(**facts["users"]),
        projects=int(facts["projects"]),
        habits=Habits(**{key: _pair(value) for key, value in facts["habits"].items()}),
        nodes=_table(values, shares),
        size_of_value=np.repeat(np.arange(len(sizes)), [len(size["nodes"]) for size in sizes]),
        sizes=tuple(_size(size) for size in sizes),
        limit_quantiles=_quantiles(facts["limit_ratio"]),
        failed=(float(facts["failed"]["early"]), float(facts["failed"]["later"])),
        queues=tuple(_queue(queue) for queue in facts["queues"]),
    )


def _size(facts: dict[str, Any]) -> SizeClass:
    walltimes = facts["walltime_min"]
    return SizeClass(
        _table([60 * int(minutes) for minutes in walltimes], list(walltimes.values())),
        tuple(
            Band(60 * int(band["up_to_min"]), float(band["at_limit"]), _log_quantiles(band["ratio"]))
            for band in facts["runtime"]
        ),
    )


def _queue(facts: dict[str, Any]) -> Queue:
    fewest, most = facts["nodes"]
    shortest, longest = facts["walltime_min"]
    return Queue(facts["name"], (fewest, most), (60 * shortest, 60 * longest), float(facts["weight"]))


def _table(values: list[int], shares: list[float]) -> Table:
    return Table(np.array(values, np.int64), np.cumsum(shares) / np.sum(shares))


def _quantiles(facts: dict[float, float]) -> tuple[Floats, Floats]:
    """A mapping probability -> value as two arrays for ``np.interp``."""
    return np.array(list(facts), float), np.array(list(facts.values()), float)


def _log_quantiles(facts: dict[float, float]) -> tuple[Floats, Floats]:
    at, values = _quantiles(facts)
    return at, np.log(values)


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _user_shares(count: int, slope: float, cutoff: float) -> Floats:
    """Cumulated job shares of ``count`` users: Zipf's law with an exponential end, rank by rank."""
    rank = np.arange(1, count + 1)
    weights = rank**-slope * np.exp(-rank / cutoff)
    shares: Floats = np.cumsum(weights) / weights.sum()
    return shares
