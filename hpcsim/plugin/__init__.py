"""The only door for plug-ins: everything that a third party imports."""

from pydantic import BaseModel, ConfigDict

from hpcsim.engine.availability import Profile, Releases, Shadow
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
from hpcsim.engine.operations import Power, Signal
from hpcsim.engine.room import Room
from hpcsim.engine.simulation import Scheduler
from hpcsim.engine.view import Running, View
from hpcsim.machine.spec import MachineSpec
from hpcsim.plugin.hooks import hookimpl
from hpcsim.workload.job import Job


class Options(BaseModel):
    """Base of a plug-in's options: unknown keys are refused, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


__all__ = [
    "Decision",
    "Hold",
    "Job",
    "Kill",
    "MachineSpec",
    "Options",
    "Power",
    "Preempt",
    "Profile",
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
    "Start",
    "View",
    "Wake",
    "hookimpl",
]
