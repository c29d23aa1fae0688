"""What a scheduler may decide. Decisions are plain values; only the engine carries them out."""

from __future__ import annotations

from typing import NamedTuple

from hpcsim.workload.job import Job


class Start(NamedTuple):
    """Start a waiting job now.

    ``why`` is kept with the attempt, for people who ask later. ``speed`` is the clock relative to nominal, in
    (0, 1]; ``units`` names the places (nodes, on most machines), else the scenario's placement policy picks them.
    Both need a machine with places and power.
    """

    job: Job
    why: str = ""
    speed: float = 1.0
    units: tuple[int, ...] | None = None


class Hold(NamedTuple):
    """Ask for another pass at ``until`` (seconds, later than now) even if nothing happens before."""

    until: int
    why: str = ""


class Preempt(NamedTuple):
    """Take a running job off the machine and back into the queue; it keeps what its last checkpoint saved."""

    job: Job
    why: str = ""


class Kill(NamedTuple):
    """End a running job now, for good."""

    job: Job
    why: str = ""


class SetSpeed(NamedTuple):
    """Run a running job at another clock, relative to nominal, in (0, 1]."""

    job: Job
    speed: float
    why: str = ""


class Sleep(NamedTuple):
    """Send so many free nodes to sleep. They cannot be used until they have been woken, which takes time."""

    nodes: int
    why: str = ""


class Wake(NamedTuple):
    """Wake so many sleeping nodes."""

    nodes: int
    why: str = ""


class SetCap(NamedTuple):
    """Keep what machine and cooling draw together within ``watts`` by slowing all jobs alike; None: no cap."""

    watts: float | None
    why: str = ""


class SetCooling(NamedTuple):
    """Run the cooling plant in another of its modes, each of which supplies at another temperature."""

    mode: str
    why: str = ""


Decision = Start | Hold | Preempt | Kill | SetSpeed | Sleep | Wake | SetCap | SetCooling
