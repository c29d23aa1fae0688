"""The built-in schedulers, written exactly as a third party would write theirs."""

from hpcsim.plugin import Register, Scheduler, hookimpl

from .backfilling import EASY, FCFS, Conservative, Hybrid
from .recorded import Recorded
from .tetris import Tetris


@hookimpl
def hpcsim_schedulers(register: Register[Scheduler]) -> None:
    """Register every built-in scheduler."""
    for scheduler in (FCFS, EASY, Conservative, Hybrid, Recorded, Tetris):
        register(scheduler)
