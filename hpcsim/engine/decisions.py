"""What a scheduler may decide. Decisions are plain values; only the engine carries them out."""

from __future__ import annotations

from typing import NamedTuple

from hpcsim.workload.job import Job


class Start(NamedTuple):
    """Start a waiting job now. ``why`` is kept with the attempt, for people who ask later."""

    job: Job
    why: str = ""


class Hold(NamedTuple):
    """Ask for another pass at ``until`` (seconds, later than now) even if nothing happens before."""

    until: int
    why: str = ""


class Preempt(NamedTuple):
    """Take a running job off the machine and back into the queue; its progress is lost."""

    job: Job
    why: str = ""


class Kill(NamedTuple):
    """End a running job now, for good."""

    job: Job
    why: str = ""


Decision = Start | Hold | Preempt | Kill
