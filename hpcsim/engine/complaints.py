"""What is said of a scheduler that is at fault: when, who, what was found, and what would have been right."""

from __future__ import annotations

import traceback
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpcsim.engine.attempts import STATES
from hpcsim.engine.capabilities import declared
from hpcsim.engine.operations import SIGNALS
from hpcsim.errors import BadDecision, SchedulerError
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation


_HERE: Final = Path(__file__).parent
_AROUND: Final = {_HERE, *(_HERE.parent / name for name in ("cli", "levers", "machine", "testing"))}
"""The folders of what calls a plug-in, or is called by it: an error is the fault of who is between."""

_LONG_S: Final = 2.0  # of a pass: no scheduler that is meant to be used takes so long

_WRAPPERS: Final = ("hpcsim.levers", "hpcsim.testing")


def needs_of(scheduler: Any) -> frozenset[str]:
    """What the scheduler says that it needs. Raises SchedulerError for what is no set of capabilities."""
    try:
        return declared(scheduler)
    except ValueError as error:
        raise SchedulerError(f"scheduler {scheduler.name}: {error}") from None


def wishes_of(scheduler: Any) -> Collection[str]:
    """The signals whose changes it wants to be called for, its attribute ``wakes_on``. Raises SchedulerError."""
    signals = getattr(scheduler, "wakes_on", ())
    several = isinstance(signals, tuple | list | set | frozenset)
    if not several or not all(signal in SIGNALS for signal in signals):
        raise SchedulerError(
            f"scheduler {scheduler.name}: wakes_on should be a set of {', '.join(SIGNALS)} (got {signals!r})"
        )
    return tuple(signals)


def raised(simulation: Simulation, error: BaseException) -> SchedulerError:
    """For an exception out of its code: the place is the last line outside hpcsim that was come to."""
    what = f"{type(error).__name__}: {error}{_meant(error)}"
    where = _place(simulation.scheduler, error)
    return SchedulerError(f"t={simulation.now}: scheduler {simulation.scheduler.name} raised {what} ({where})")


def note_who_decided(simulation: Simulation, stop: KeyboardInterrupt, seconds: float) -> None:
    """Add to an interrupt where the scheduler was, if its pass had lasted so long that it may have been the reason."""
    if seconds > _LONG_S:
        place = _place(simulation.scheduler, stop)
        name = simulation.scheduler.name
        stop.add_note(f"t={simulation.now}: scheduler {name} had been deciding for {seconds:.0f} s ({place})")


def _place(scheduler: Any, error: BaseException) -> str:
    """The last line outside hpcsim that was come to, else where ``schedule`` begins."""
    path, line = _begins_at(scheduler)
    own = [each for each in traceback.extract_tb(error.__traceback__) if Path(each.filename).parent not in _AROUND]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else f"{path}:{line}"


def _meant(error: BaseException) -> str:
    """The attribute that was perhaps meant, of one that is not there."""
    if not isinstance(error, AttributeError) or error.obj is None or error.name is None:
        return ""
    if isinstance(error.obj, Job) and error.name in ("runtime", "runtime_s", "run_time"):
        return "; how long a job will run nobody knows: there is job.walltime, and view.twins.performance predicts"
    close = get_close_matches(error.name, [name for name in dir(error.obj) if not name.startswith("_")], n=1)
    return f". Did you mean {close[0]!r}?" if close else ""


def _begins_at(scheduler: Any) -> tuple[Path, int]:
    """The file and the line in which its method ``schedule`` begins; of one with levers around it, of that itself."""
    inner = scheduler
    while type(inner).__module__.startswith(_WRAPPERS):
        inner = getattr(inner, "scheduler", None) or inner.inner
    code = getattr(getattr(type(inner), "schedule", None), "__code__", None)
    return (Path("?"), 0) if code is None else (Path(code.co_filename), code.co_firstlineno)


def with_place(simulation: Simulation, error: BadDecision) -> BadDecision:
    """The same complaint, with the line of ``schedule`` that yielded the decision, else that where it begins."""
    path, line = _begins_at(simulation.scheduler)
    if error.yielded_at is not None and Path(error.yielded_at[0]) == path:
        line = error.yielded_at[1]
    return BadDecision(f"{error} ({path}:{line})")


def bad(simulation: Simulation, what: str) -> BadDecision:
    """For a decision that cannot be carried out; ``what`` goes on behind its name."""
    return BadDecision(f"t={simulation.now}: scheduler {simulation.scheduler.name} {what}")


def undeclared(simulation: Simulation, deed: str, need: str) -> BadDecision:
    """For a decision that needs what was not declared."""
    needs = ", ".join(f'"{name}"' for name in sorted({*simulation.needs, need}))
    return bad(simulation, f"{deed}, which it did not say that it needs; declare needs = frozenset({{{needs}}})")


def called(job: object) -> str:
    """How a job, or what stands in its place, is called in a message."""
    return f"job {job.name}" if isinstance(job, Job) else f"{job!r}"


def whereabouts(simulation: Simulation, job: object) -> str:
    """Where a job is, to say why it is in the wrong place."""
    if not isinstance(job, Job):
        return f"no job but of type {type(job).__name__}"
    if not 0 <= job.id < len(simulation.state):
        return "not a job of this run"
    if job.id in simulation.running:
        return "running" if simulation.running[job.id].start < simulation.now else "running since this very second"
    if job.id in simulation.queue:
        return "waiting"
    if job.id in simulation.dependencies.blocked:
        return "waiting for other jobs"
    return STATES[simulation.state[job.id]]


def refuse_a_stall(simulation: Simulation) -> None:
    """Raise SchedulerError if jobs are left waiting while nothing more can happen."""
    waiting = [job.name for job in simulation.waiting]
    if waiting:
        some = ", ".join(waiting[:5]) + (f" and {len(waiting) - 5} more" if len(waiting) > 5 else "")
        reason = (
            f"scheduler {simulation.scheduler.name} left jobs waiting with nothing left to happen"
            if simulation.queue
            else "jobs wait for jobs that never end"
        )
        free = f"{simulation.free_nodes} of {simulation.nodes} nodes are free"
        raise SchedulerError(f"t={simulation.now}: {reason}: {some}; {free}")
