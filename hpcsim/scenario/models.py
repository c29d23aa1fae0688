"""What a scenario file may say: which machine, which jobs, which scheduler, and which part of the trace.

These models check names, types and bounds; whether the named trace, profile and scheduler exist is decided
where they are looked up. Numbers are never made from text (``strict``), so that a typing slip is not a value.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from hpcsim.scenario.levers import Levers
from hpcsim.scenario.section import Section
from hpcsim.scenario.times import Instant, Moment, Seconds

DEFAULT_SCHEDULER = "easy"
DEFAULT_PERFORMANCE = "walltime"

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # it becomes part of file names


class NodeClass(Section):
    """A set of nodes of one speed, with storage of its own."""

    name: str = Field(pattern=_NAME, max_length=100, description="name of the class")
    nodes: int = Field(ge=1, le=100_000_000, description="how many nodes are of it")
    speed: float = Field(
        default=1.0, gt=0, le=1000, description="speed relative to that of the nodes that runtimes and walltimes are of"
    )


class Machine(Section):
    """The machine that the jobs run on."""

    name: str = Field(default="machine", min_length=1, max_length=100, description="name of the machine, for reports")
    nodes: int | None = Field(
        default=None,
        ge=1,
        le=100_000_000,
        description="number of compute nodes; when left out, the model's, or what the trace's header says",
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        description="machine of the catalogue (``hpcsim machines`` lists them) or YAML file of one, for its physics",
    )
    classes: list[NodeClass] | None = Field(
        default=None,
        min_length=2,
        description="sets of nodes of different speed, together all of them; all nodes are of speed 1 when left out",
    )
    transfer_gb_s: float | None = Field(
        default=None,
        gt=0,
        description="gigabytes (10^9 bytes) in a second that a job's data move at from one class to another; at once "
        "when left out",
    )


class Checkpoint(Section):
    """How programs save their work, so that a failed job does not begin anew."""

    cost: Seconds = Field(description="seconds that one checkpoint takes")
    interval: Seconds | Literal["young", "daly"] = Field(
        default="daly", description="seconds of work between two; or Young's or Daly's best for the machine's failures"
    )


class Telemetry(Section):
    """What sensors of the machine are read, and how often, into ``telemetry.parquet``."""

    interval: Seconds = Field(default=300, description="seconds from one sample to the next, at most a day")
    units: int | None = Field(
        default=None, ge=1, description="how many units, drawn at random, are sampled; all when left out"
    )
    noise: bool = Field(default=True, description="whether sensors err; else readings are exact")

    @field_validator("interval")
    @classmethod
    def _is_a_second_to_a_day(cls, interval: int) -> int:
        if not 1 <= interval <= 86_400:
            raise PydanticCustomError("interval", "Input should be at least 1 s and at most 1d")
        return interval


class Physics(Section):
    """What the machine is besides a number of nodes. Needs ``machine.model``."""

    placement: Literal["packed", "spread", "contiguous", "coolest", "most-reliable", "torus", "recorded"] = Field(
        default="packed",
        description="which free nodes a job gets, when its scheduler names none; 'recorded' is 'torus', but a job gets "
        "the block that it really had, where the trace names one and it is free",
    )
    processors: Literal["nodes", "cores"] = Field(
        default="nodes",
        description="what the processors of a trace are; jobs of fewer cores than a node has share nodes",
    )
    variation: bool = Field(default=True, description="whether nodes differ in speed and scattered jobs run slower")
    heat: bool = Field(default=True, description="whether nodes warm up, throttle and shut down")
    failures: bool = Field(default=True, description="whether hardware fails and is repaired")
    outages: bool = Field(default=True, description="whether the whole system goes down now and then, unforeseen")
    maintenance: bool = Field(
        default=True, description="whether there is scheduled maintenance, which jobs must not reach"
    )
    recorded_outages: str | None = Field(
        default=None,
        min_length=1,
        description="file of recorded outages (MACHINESTATUS, or start,end) to replay instead of drawn outages and "
        "maintenance; relative to this file",
    )
    queues: bool | Annotated[str, Field(min_length=1)] = Field(
        default=True,
        description="whether the queue rules of the machine's centre hold; or a YAML file of others, relative to "
        "this file",
    )
    failure_rate: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        allow_inf_nan=False,
        description="how often hardware fails, relative to what the machine's file says: to learn from more failures",
    )
    failure_seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**63,
        description="what failures, outages and maintenance are drawn by from the start on; the scenario's seed when "
        "left out. Which nodes are prone to fail hangs on the scenario's seed in any case",
    )
    on_failure: Literal["requeue", "lose"] = Field(
        default="requeue", description="what becomes of a job that loses a node"
    )
    checkpoint: Checkpoint | None = Field(
        default=None, description="how programs save their work; not at all when left out"
    )
    walltime_scaling: Literal["stretch", "keep"] = Field(
        default="stretch", description="whether the walltime of a slowed job stretches with the clock"
    )
    cap_kw: float | None = Field(
        default=None,
        gt=0,
        description="kilowatts that the facility may draw, the machine with its cooling; jobs slow down to keep it",
    )
    cooling_mode: str | None = Field(
        default=None,
        min_length=1,
        description="mode that the cooling plant begins in, one of the machine's; its first when left out",
    )
    solar_kw: float | None = Field(
        default=None, gt=0, description="kilowatts of solar modules at the site; their power is used before the grid's"
    )
    carbon: str | None = Field(
        default=None, min_length=1, description="Electricity Maps CSV of carbon intensities; PJM-like when left out"
    )
    price: str | None = Field(
        default=None, min_length=1, description="CSV of electricity prices; PJM-like when left out"
    )
    telemetry: Telemetry | None = Field(
        default=None, description="sensors that are read at an interval; none when left out"
    )


class Plugged(Section):
    """Something that a plug-in offers: its name, and its options as further keys."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    name: str = Field(min_length=1, description="its name, built in or of a plug-in")

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data

    @property
    def options(self) -> dict[str, Any]:
        """The keys besides ``name``, as written."""
        return dict(self.model_extra or {})


class Scheduler(Plugged):
    """Which scheduler decides, and its options as further keys."""

    name: str = Field(
        default=DEFAULT_SCHEDULER, min_length=1, description="name of the scheduler, built in or of a plug-in"
    )


class PerformanceTwin(Plugged):
    """Which twin says how long jobs would run, and its options as further keys."""

    name: str = Field(
        default=DEFAULT_PERFORMANCE, min_length=1, description="name of the twin, built in or of a plug-in"
    )


class Twins(Section):
    """Which digital twins answer what schedulers ask; each is a name, or a mapping of its name and options."""

    performance: PerformanceTwin = Field(
        default=PerformanceTwin(), description="the twin that says how long jobs would run"
    )
    energy: Plugged | None = Field(
        default=None, description="the twin that says how much energy jobs would take; none when left out"
    )
    fault: Plugged | None = Field(
        default=None, description="the twin that says how likely nodes fail; none when left out"
    )
    thermal: Plugged | None = Field(
        default=None, description="the twin that says how warm nodes would become; none when left out"
    )


class Window(Section):
    """The part of the trace that is run, and the part of the run that is measured."""

    start: Moment | None = Field(
        default=None,
        description="jobs submitted before it are left out: seconds from the trace's zero or UTC date",
    )
    end: Moment | None = Field(
        default=None,
        description="jobs submitted from it on are left out: seconds from the trace's zero or UTC date",
    )
    jobs: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="only so many jobs, the first submitted from the start on; all are measured, and to their ends",
    )
    warm_start: bool = Field(
        default=False, description="begin with the jobs that the trace shows running or waiting at the start"
    )
    warm_up: Seconds = Field(default=0, description="seconds after the start that no metric counts")
    cool_down: Seconds = Field(default=0, description="seconds before the end that no metric counts")

    @field_validator("end")
    @classmethod
    def _ends_after_start(cls, end: Moment | None, info: ValidationInfo) -> Moment | None:
        start: Instant | None = info.data.get("start")
        if start is None or end is None or isinstance(start.value, datetime) != isinstance(end.value, datetime):
            return end  # a date and a span cannot be compared before the trace's zero is known
        if end.seconds(0) <= start.seconds(0):
            raise PydanticCustomError("window", "Input should be after window.start")
        return end

    @field_validator("jobs")
    @classmethod
    def _is_the_end(cls, jobs: int | None, info: ValidationInfo) -> int | None:
        if jobs is not None and info.data.get("end") is not None:
            raise PydanticCustomError("window", "Input should not stand beside window.end: it is the end")
        return jobs

    @field_validator("warm_up", "cool_down")
    @classmethod
    def _has_an_interval(cls, span: int, info: ValidationInfo) -> int:
        if span and info.data.get("jobs") is not None:
            raise PydanticCustomError("window", "Input should be 0 beside window.jobs, of which all are measured")
        return span


class Shake(Section):
    """Input shaking: every job a little off, to see whether a result hangs on a coincidence."""

    submit: Seconds = Field(default=60, description="jobs are submitted up to so many seconds earlier or later")
    runtime: float = Field(
        default=0.01, ge=0, lt=1, description="and run up to this share of their runtime shorter or longer"
    )


class ClosedLoop(Section):
    """Users who submit a job when they have seen an earlier one end: it decides when the next one comes."""

    think: Seconds = Field(
        default=1200,
        description="a job that was submitted at most so long after the latest end of a job of its user's is submitted "
        "so long after that end in the run, too; all others when they were",
    )


def _by_name(value: Any) -> Any:
    """One name, a list of names, or names with nothing behind them, as a mapping of names to their options."""
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return {name: {} for name in value}
    if isinstance(value, dict):
        return {name: {} if options is None else options for name, options in value.items()}
    return {} if value is None else value


NamedOptions = Annotated[dict[str, dict[str, Any]], BeforeValidator(_by_name)]


class Scenario(Section):
    """One simulation: a machine, the jobs submitted to it and the scheduler that places them."""

    name: str = Field(
        pattern=_NAME, max_length=100, description="name of the scenario: letters, digits, '.', '_' and '-'"
    )
    description: str = Field(default="", description="what the scenario is for, in a sentence")
    seed: int = Field(
        default=1, ge=0, lt=2**63, description="seed of every random number of the run; same seed, same bytes"
    )
    machine: Machine = Field(default=Machine(), description="the machine that the jobs run on")
    trace: str | None = Field(
        default=None,
        min_length=1,
        description="file of jobs: a log in Standard Workload Format (.swf, .swf.gz) or a job table of the "
        "Argonne Leadership Computing Facility (.csv, .csv.gz), or a workflow in WfFormat (.json, .json.gz); relative "
        "to this file",
    )
    trace_format: Plugged | None = Field(
        default=None,
        description="who reads the trace: alcf, swf, wfcommons, or a workload reader of a plug-in, by name or as a "
        "mapping of its name and options; who recognises it when left out",
    )
    profile: str | None = Field(
        default=None,
        min_length=1,
        description="synthetic profile that jobs are drawn from when no trace is given",
    )
    jobs: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="number of jobs: the first by submit time, or so many of a profile",
    )
    days: float | None = Field(
        default=None,
        gt=0,
        le=36_500,
        description="days of a synthetic workload; 30 when jobs is not given either",
    )
    load: float | None = Field(
        default=None,
        gt=0,
        le=10,
        description="offered load of the jobs that are run, node-seconds over those of the machine; the times between "
        "their submissions are scaled to it, the daily and weekly cycle stays. As it is when left out",
    )
    shake: Shake | None = Field(
        default=None,
        description="every job a little earlier or later, shorter or longer, by the seed; none when left out",
    )
    closed_loop: ClosedLoop | None = Field(
        default=None,
        description="users wait for their jobs to end before they submit the next; when left out, all jobs are "
        "submitted when they were, however late earlier ones end",
    )
    strict: bool = Field(default=False, description="refuse a trace with a bad row instead of counting bad rows")
    reservations: Literal["drop", "keep"] = Field(
        default="drop", description="what becomes of jobs that ran inside a reservation of the real machine"
    )
    overrun: Literal["trace", "kill"] = Field(
        default="trace",
        description="jobs recorded as running beyond their walltime: as recorded, or killed at it",
    )
    physics: Physics | None = Field(
        default=None, description="places, power, heat, failures and queues; nodes are only counted when left out"
    )
    scheduler: Scheduler = Field(
        default=Scheduler(),
        description="the scheduler: its name, or a mapping of its name and options",
    )
    levers: Levers | None = Field(
        default=None,
        description="idle nodes that sleep, slower clocks, a cap and places by rule, whatever the scheduler; none when "
        "left out",
    )
    preemption: bool = Field(
        default=True,
        description="whether the scheduler may take running jobs off the machine (Preempt, Kill); false as on machines "
        "where what has started runs on. Queue rules that stop jobs for others hold all the same",
    )
    twins: Twins = Field(default=Twins(), description="the digital twins that the scheduler can ask")
    observers: NamedOptions = Field(
        default={},
        description="who is told what happens, of plug-ins: a name, a list of names, or a mapping of names to options",
    )
    metrics: NamedOptions = Field(
        default={},
        description="options of metrics of plug-ins, by the metric's name; every metric there is is computed anyway",
    )
    window: Window | None = Field(default=None, description="the part to run and to measure; all when left out")
    until: Moment | None = Field(
        default=None,
        description="when the run stops although jobs are left: seconds from the trace's zero or UTC date",
    )
    pass_interval: Seconds = Field(
        default=0,
        description="least seconds between two scheduling passes; 0 is a pass whenever something changed",
    )
    launch_latency: Seconds = Field(
        default=0,
        description="seconds from a start to the first of the program; the nodes are taken meanwhile",
    )
