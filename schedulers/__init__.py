"""The built-in schedulers, written exactly as a third party would write theirs."""

from collections.abc import Callable

from hpcsim.plugin import hookimpl

from .backfilling import EASY, FCFS, Conservative, Hybrid
from .centres_cobalt import Cobalt
from .centres_pbs import PBS
from .centres_slurm import Slurm
from .recorded import Recorded


@hookimpl
def hpcsim_schedulers(register: Callable[[type], None]) -> None:
    """Register every built-in scheduler."""
    for scheduler in (FCFS, EASY, Conservative, Hybrid, Cobalt, PBS, Slurm, Recorded):
        register(scheduler)
