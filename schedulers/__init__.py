"""The built-in schedulers, written exactly as a third party would write theirs."""

from hpcsim.plugin import Register, Scheduler, hookimpl

from .backfilling import EASY, FCFS, Conservative, Hybrid
from .heft import CPOP, HEFT
from .recorded import Recorded


@hookimpl
def hpcsim_schedulers(register: Register[Scheduler]) -> None:
    """Register every built-in scheduler."""
    for scheduler in (FCFS, EASY, Conservative, Hybrid, HEFT, CPOP, Recorded):
        register(scheduler)
