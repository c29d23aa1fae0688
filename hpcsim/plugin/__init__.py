"""The only door for plug-ins: everything that a third party imports."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from hpcsim.engine.availability import Profile, Releases, Shadow
from hpcsim.engine.backfill import backfill, taken_at
from hpcsim.engine.capabilities import CAPABILITIES, Capability
from hpcsim.engine.decisions import (
    Decision,
    Hold,
    Kill,
    Preempt,
    SetCap,
    SetCooling,
    SetSpeed,
    Sleep,
    Start,
    Wake,
)
from hpcsim.engine.observers import Observer
from hpcsim.engine.operations import Node, Power, Signal
from hpcsim.engine.plant import Plant
from hpcsim.engine.room import Room
from hpcsim.engine.scheduler import Scheduler
from hpcsim.engine.sleeping import Sleeping
from hpcsim.engine.truth import Truth
from hpcsim.engine.twins import (
    Ended,
    EnergyTwin,
    FaultTwin,
    PerformanceTwin,
    Prediction,
    ThermalTwin,
    Twin,
    Twins,
)
from hpcsim.engine.view import Blocked, Running, View
from hpcsim.engine.what_if import Outlook
from hpcsim.errors import InputError
from hpcsim.machine.node_classes import NodeClass
from hpcsim.machine.readings import STATES as UNIT_STATES
from hpcsim.machine.readings import Readings
from hpcsim.machine.spec import MachineSpec
from hpcsim.plugin.hooks import Register, RegisterFile, hookimpl
from hpcsim.plugin.metric import FinishedRun, Metric
from hpcsim.workload.job import Job
from hpcsim.workload.reader import JobLog, JobRecord, Reader, trace_lines


class Options(BaseModel):
    """Base of a plug-in's options: unknown keys are refused, values cannot change."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


__all__ = [
    "CAPABILITIES",
    "UNIT_STATES",
    "Blocked",
    "Capability",
    "Decision",
    "Ended",
    "EnergyTwin",
    "FaultTwin",
    "FinishedRun",
    "Hold",
    "InputError",
    "Job",
    "JobLog",
    "JobRecord",
    "Kill",
    "MachineSpec",
    "Metric",
    "Node",
    "NodeClass",
    "Observer",
    "Options",
    "Outlook",
    "PerformanceTwin",
    "Plant",
    "Power",
    "Prediction",
    "Preempt",
    "Profile",
    "Reader",
    "Readings",
    "Register",
    "RegisterFile",
    "Releases",
    "Room",
    "Running",
    "Scheduler",
    "SetCap",
    "SetCooling",
    "SetSpeed",
    "Shadow",
    "Signal",
    "Sleep",
    "Sleeping",
    "Start",
    "ThermalTwin",
    "Truth",
    "Twin",
    "Twins",
    "View",
    "Wake",
    "backfill",
    "hookimpl",
    "taken_at",
    "trace_lines",
]
