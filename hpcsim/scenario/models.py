"""What a scenario file may say: which machine, which jobs, which scheduler, and which part of the trace.

These models check names, types and bounds; whether the named trace, profile and scheduler exist is decided
where they are looked up. Numbers are never made from text (``strict``), so that a typing slip is not a value.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from hpcsim.scenario.times import Moment, Seconds

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # it becomes part of file names


class Section(BaseModel):
    """A mapping of the file: unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Machine(Section):
    """The machine that the jobs run on."""

    name: str = Field("machine", min_length=1, max_length=100, description="name of the machine, for reports")
    nodes: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="number of compute nodes; when left out, what the trace's header says",
    )


class Scheduler(Section):
    """Which scheduler decides, and its options as further keys (``hpcsim schedulers NAME`` lists them)."""

    model_config = ConfigDict(extra="allow")

    name: str = Field("easy", min_length=1, description="name of the scheduler, built in or of a plug-in")

    @property
    def options(self) -> dict[str, Any]:
        """The keys besides ``name``, as written."""
        return dict(self.model_extra or {})


class Window(Section):
    """The part of the trace that is run, and the part of the run that is measured."""

    start: Moment | None = Field(
        None,
        description="jobs submitted before it are left out: seconds from the trace's zero, or a UTC date",
    )
    end: Moment | None = Field(
        None,
        description="jobs submitted from it on are left out: seconds from the trace's zero, or a UTC date",
    )
    warm_start: bool = Field(
        False, description="begin with the jobs that the trace shows running or waiting at the start"
    )
    warm_up: Seconds = Field(0, description="seconds after the start that no metric counts")
    cool_down: Seconds = Field(0, description="seconds before the end that no metric counts")

    @field_validator("end")
    @classmethod
    def _ends_after_start(cls, end: Moment | None, info: ValidationInfo) -> Moment | None:
        start = info.data.get("start")
        if (
            start is not None
            and end is not None
            and isinstance(start.value, datetime) == isinstance(end.value, datetime)
        ):
            if end.value <= start.value:
                raise PydanticCustomError("window", "Input should be after window.start")
        return end


class Scenario(Section):
    """One simulation: a machine, the jobs submitted to it and the scheduler that places them."""

    name: str = Field(
        pattern=_NAME, max_length=100, description="name of the scenario: letters, digits, '.', '_' and '-'"
    )
    description: str = Field("", description="what the scenario is for, in a sentence")
    seed: int = Field(
        1, ge=0, lt=2**63, description="seed of every random number of the run; same seed, same bytes"
    )
    machine: Machine = Field(default_factory=Machine, description="the machine that the jobs run on")
    trace: str | None = Field(
        None,
        min_length=1,
        description="file of jobs: a log in Standard Workload Format (.swf, .swf.gz) or a job table of the "
        "Argonne Leadership Computing Facility (.csv, .csv.gz); relative to this file",
    )
    profile: str | None = Field(
        None, min_length=1, description="synthetic profile that jobs are drawn from when no trace is given"
    )
    jobs: int | None = Field(
        None, ge=1, le=10**9, description="number of jobs: the first by submit time, or so many of a profile"
    )
    days: float | None = Field(
        None,
        gt=0,
        le=36_500,
        description="length of a synthetic workload in days; 30 when jobs is not given either",
    )
    strict: bool = Field(
        False, description="refuse the trace at its first bad row instead of counting bad rows"
    )
    reservations: Literal["drop", "keep"] = Field(
        "drop", description="what becomes of jobs that ran inside a reservation of the real machine"
    )
    overrun: Literal["trace", "kill"] = Field(
        "trace",
        description="a job that the trace shows running beyond its walltime: as recorded, or killed at its walltime",
    )
    scheduler: Scheduler = Field(
        default_factory=Scheduler, description="the scheduler: its name, or a mapping of its name and options"
    )
    window: Window | None = Field(
        None, description="the part of the trace to run and to measure; all when left out"
    )
    until: Moment | None = Field(
        None,
        description="when the simulation stops although jobs are left: seconds from the trace's zero, or a UTC date",
    )
    pass_interval: Seconds = Field(
        0, description="least seconds between two scheduling passes; 0 is a pass whenever something changed"
    )
    launch_latency: Seconds = Field(
        0,
        description="seconds from the decision to start a job until its program runs; its nodes are taken meanwhile",
    )

    @model_validator(mode="before")
    @classmethod
    def _scheduler_by_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("scheduler"), str):
            return {**data, "scheduler": {"name": data["scheduler"]}}
        return data
