"""The built-in schedulers, written exactly as a third party would write theirs."""

from hpcsim.plugin import Register, Scheduler, hookimpl

from .aims import Aims
from .backfilling import EASY, FCFS, Conservative, Hybrid
from .centres_cobalt import Cobalt
from .centres_pbs import PBS
from .centres_slurm import Slurm
from .flux import Flux
from .greendrl import GreenDRL
from .heft import CPOP, HEFT
from .nsga2 import NSGA2
from .recorded import Recorded
from .rlschert import RLSchert
from .tetris import Tetris


@hookimpl
def hpcsim_schedulers(register: Register[Scheduler]) -> None:
    """Register every built-in scheduler."""
    for scheduler in (
        Aims,
        GreenDRL,
        FCFS,
        EASY,
        Conservative,
        Hybrid,
        Flux,
        Cobalt,
        PBS,
        Slurm,
        NSGA2,
        Tetris,
        RLSchert,
        HEFT,
        CPOP,
        Recorded,
    ):
        register(scheduler)
