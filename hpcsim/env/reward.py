"""What the learner is paid: the metric of an episode, at its end or with each job that ends.

The formulas are those of the tables of a run (``hpcsim.results``); what is to be small counts negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from hpcsim.errors import InputError
from hpcsim.results.tables import SLOWDOWN_BOUND_S

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation

RewardName = Literal["bounded-slowdown", "wait", "utilisation", "energy"]
OF_JOBS = ("bounded-slowdown", "wait")  # sums over jobs, which can be paid job by job


class Ended(NamedTuple):
    """A job that has ended: when it was submitted, and when its last attempt began and ended."""

    job_id: int
    submit: int
    start: int
    end: int

    @property
    def bounded_slowdown(self) -> float:
        """Its slowdown, where shorter jobs than 10 s count as if they had run so long; at least 1."""
        return max(1.0, (self.end - self.submit) / max(self.end - self.start, SLOWDOWN_BOUND_S))


class Reward:
    """The reward ``name`` of one episode at a time, all at its end or, where ``dense``, as jobs end."""

    def __init__(self, name: RewardName, *, dense: bool) -> None:
        if name not in get_args(RewardName):
            raise InputError(f"reward: found {name!r}, expected one of {', '.join(get_args(RewardName))}")
        if dense and name not in OF_JOBS:
            raise InputError(f"dense: found True, but {name} is known at the end of an episode only")
        self.name = name
        self._dense = dense
        self.begin(1)

    def begin(self, jobs: int) -> None:
        """A new episode, of so many jobs that count."""
        self._jobs = jobs
        self._ended = 0
        self._slowdowns = self._waits_s = 0.0
        self._due = 0.0

    def add(self, job: Ended) -> None:
        """Count a job of the episode."""
        wait_s = job.start - job.submit
        self._ended += 1
        self._slowdowns += job.bounded_slowdown
        self._waits_s += wait_s
        if self.name == "bounded-slowdown":
            self._due -= job.bounded_slowdown / self._jobs
        elif self.name == "wait":
            self._due -= wait_s / 3600.0 / self._jobs

    def pay(self, simulation: Simulation, *, is_over: bool) -> float:
        """What the last step has earned."""
        if not is_over and not self._dense:
            return 0.0
        if self.name == "utilisation":
            return self.utilisation(simulation)
        if self.name == "energy":
            return -self._energy_kwh(simulation) / self._jobs
        due, self._due = self._due, 0.0
        return due

    def summary(self, simulation: Simulation) -> dict[str, float]:
        """The metrics of the finished episode, whatever is paid; means are over the jobs that were not refused."""
        ended = max(1, self._ended)
        return {
            "mean_bounded_slowdown": self._slowdowns / ended,
            "mean_wait_s": self._waits_s / ended,
            "utilisation": self.utilisation(simulation),
        }

    def utilisation(self, simulation: Simulation) -> float:
        """Busy node-seconds over all, from the first submission to the last end."""
        ends = simulation.attempts.end
        span_s = (int(ends.max()) if ends.size else simulation.now) - simulation.start
        return simulation.ledger.busy_node_seconds / (simulation.nodes * span_s) if span_s else 0.0

    def _energy_kwh(self, simulation: Simulation) -> float:
        """What the facility has drawn, from the first submission to the last end."""
        from hpcsim.results.energy import J_PER_KWH, power_curve  # for few episodes

        if simulation.site is None:
            raise InputError("reward: found 'energy', but this scenario only counts nodes; give it physics")

        curve = power_curve(simulation, simulation.site)
        return curve.joules(curve.facility_w) / J_PER_KWH
